//! `status`: where workspace and tenant stand.

use serde_json::json;
use sync_engine::{Counts, FilesStatus, Standing};

use super::{Place, all, local, rows};
use crate::args::{Chosen, Status, Target};
use crate::connect::Purpose;
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, status: &Status) -> Result<Outcome, Error> {
    let target = match Chosen::of(&status.targets)? {
        Chosen::Local(kinds) => return local::status(place, &kinds, status).await,
        Chosen::All => return all::status(place, status).await,
        Chosen::Tenant(target) => target,
    };
    if target == Target::Database {
        return rows::status(place, status).await;
    }
    let progress = Progress::new(&place.terminal);
    let filter = Place::filter(&status.filter)?;
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = session.status(filter.as_ref()).await;
    progress.finish();
    let traffic = session.remote().traffic();
    drop(session);
    connection.close().await;
    let found = found?;
    let terminal = &place.terminal;
    terminal.value(&json!({
        "operation": format!("status {}", target.as_str()),
        "success": true,
        "files": &found,
        "errors": &found.refused,
        "bytes_sent": traffic.bytes_sent,
        "bytes_received": traffic.bytes_received,
        "requests": traffic.requests,
        "duration_ms": place.elapsed_ms(),
    }));
    show(terminal, &found);
    let different = status.exit_code && found.standing != Standing::InSync;
    Ok(if different {
        Outcome::Different
    } else {
        Outcome::Done
    })
}

/// Shows people where the files stand.
pub(super) fn show(terminal: &Terminal, found: &FilesStatus) {
    found
        .refused
        .iter()
        .for_each(|problem| terminal.problem(problem));
    let side = |name: &str, counts: Counts| {
        if counts.total() == 0 {
            String::new()
        } else {
            format!("{name} {counts}    ")
        }
    };
    let base = found.base.map_or_else(
        || "never synced".to_owned(),
        |base| format!("base {}", base.short()),
    );
    terminal.line(&format!(
        "files     {:<13} {}{}{base}",
        found.standing.as_str(),
        side("here:", found.local),
        side("tenant:", found.cloud)
    ));
    for there in &found.branches {
        let standing = there.standing.map_or("never synced", Standing::as_str);
        terminal.line(&format!(
            "  branch  {standing:<13} {}  {}",
            there.branch,
            there.head.short()
        ));
    }
}
