//! `log` and `show`: the history.

use serde_json::json;
use sync_store::protocol::Logged;

use super::{Place, diff, rows};
use crate::args::{Log, Show};
use crate::connect::Purpose;
use crate::progress::Progress;
use crate::terminal::{Paint, Terminal, moment, one_line};
use crate::{Error, Outcome};

/// How many rows `show` lists.
const LISTED: usize = 1000;

pub(super) async fn log(place: &Place<'_>, log: &Log) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = session.log(log.limit).await;
    drop(session);
    connection.close().await;
    let found = found?;
    let terminal = &place.terminal;
    terminal.value(&json!({"operation": "log", "success": true, "snapshots": found}));
    if found.is_empty() {
        terminal.line("no snapshot yet: `sync-cli push` makes the first");
    }
    for logged in &found {
        line(terminal, logged);
    }
    Ok(Outcome::Done)
}

pub(super) async fn show(place: &Place<'_>, show: &Show) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = async {
        let (logged, difference) = session.show(show.snapshot.as_deref(), !show.stat).await?;
        let rows = session.show_rows(&logged, LISTED).await?;
        Ok::<_, sync_engine::Error>((logged, difference, rows))
    };
    let found = Box::pin(found).await;
    progress.finish();
    drop(session);
    connection.close().await;
    let (logged, difference, changed) = found?;
    let terminal = &place.terminal;
    terminal.value(&json!({
        "operation": "show",
        "success": true,
        "id": logged.id,
        "snapshot": logged.snapshot,
        "release": logged.release,
        "difference": difference,
        "rows": changed,
    }));
    terminal.line(&format!(
        "snapshot  {}",
        terminal.paint(Paint::Yellow, &logged.id.to_string())
    ));
    for parent in &logged.snapshot.parents {
        terminal.line(&format!("parent    {parent}"));
    }
    terminal.line(&format!("author    {}", one_line(&logged.snapshot.author)));
    terminal.line(&format!("time      {}", moment(logged.snapshot.time)));
    terminal.line(&format!("message   {}", one_line(&logged.snapshot.message)));
    if let Some(release) = &logged.release {
        terminal.line(&format!("release   {}", one_line(&release.tag)));
        terminal.line(&format!("image     {}", one_line(&release.image)));
        if let Some(commit) = &release.commit {
            let dirty = if release.dirty { " and changes" } else { "" };
            terminal.line(&format!("source    {}{dirty}", one_line(commit)));
        }
    }
    diff::print(terminal, &difference, show.stat);
    if let Some(changed) = &changed {
        rows::difference(terminal, changed, show.stat);
    }
    Ok(Outcome::Done)
}

fn line(terminal: &Terminal, logged: &Logged) {
    let release = logged.release.as_ref();
    let release = release.map_or_else(String::new, |release| {
        format!("  [{}]", one_line(&release.tag))
    });
    terminal.line(&format!(
        "{}  {}  {}  {}{release}",
        terminal.paint(Paint::Yellow, &logged.id.short()),
        moment(logged.snapshot.time),
        one_line(&logged.snapshot.author),
        one_line(&logged.snapshot.message)
    ));
}
