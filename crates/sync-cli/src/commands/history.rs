//! `log` and `show`: the history.

use serde_json::json;
use sync_store::protocol::Logged;

use super::{Place, diff, rows};
use crate::args::{Log, Show};
use crate::connect::Purpose;
use crate::progress::Progress;
use crate::terminal::{Paint, Terminal, moment, one_line};
use crate::{Error, Outcome};

pub(super) async fn log(place: &Place<'_>, log: &Log) -> Result<Outcome, Error> {
    let progress = Progress::new(place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = session.log(log.limit).await;
    drop(session);
    connection.close().await;
    let found = found?;
    let terminal = place.terminal;
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
    let progress = Progress::new(place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = session.show(show.snapshot.as_deref(), !show.stat).await;
    let rows = match &found {
        Ok((logged, _)) => Box::pin(rows::shown(place, &session, logged)).await,
        Err(_) => Ok(None),
    };
    progress.finish();
    drop(session);
    connection.close().await;
    let ((logged, difference), rows) = (found?, rows?);
    let terminal = place.terminal;
    terminal.value(&json!({
        "operation": "show",
        "success": true,
        "id": logged.id,
        "snapshot": logged.snapshot,
        "difference": difference,
        "rows": rows,
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
    diff::print(terminal, &difference, show.stat);
    if let Some(rows) = &rows {
        rows::difference(terminal, rows, show.stat);
    }
    Ok(Outcome::Done)
}

fn line(terminal: Terminal, logged: &Logged) {
    terminal.line(&format!(
        "{}  {}  {}  {}",
        terminal.paint(Paint::Yellow, &logged.id.short()),
        moment(logged.snapshot.time),
        one_line(&logged.snapshot.author),
        one_line(&logged.snapshot.message)
    ));
}
