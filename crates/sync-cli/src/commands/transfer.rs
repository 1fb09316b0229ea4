//! What `push` and `pull` have in common: a plan that is shown or applied, and one report of it.

use std::sync::Arc;

use sync_core::{ByteCount, SnapshotId};
use sync_engine::{Counts, FileChange, Problem, Report, Session, Standing, State};

use super::Place;
use crate::Error;
use crate::args::Target;
use crate::connect::Connection;
use crate::terminal::{one_line, seconds};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Push,
    Pull,
}

/// What was planned.
pub(super) struct Planned {
    pub(super) standing: Standing,
    pub(super) changes: Arc<Vec<FileChange>>,
    pub(super) refused: Vec<Problem>,
}

/// What came of applying it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) message: Option<String>,
}

/// Reports what was done, or with `None` what would be, and ends the connection.
pub(super) async fn conclude(
    place: &Place<'_>,
    (direction, target): (Direction, Target),
    session: Session,
    connection: Connection,
    planned: Planned,
    applied: Option<Applied>,
) -> Result<(), Error> {
    let traffic = session.remote().traffic();
    drop(session);
    connection.close().await;
    let dry_run = applied.is_none();
    let applied = applied.unwrap_or_default();
    let report = Report {
        operation: match direction {
            Direction::Push => format!("push {}", target.as_str()),
            Direction::Pull => format!("pull {}", target.as_str()),
        },
        success: true,
        dry_run,
        state: if dry_run {
            State::NotStarted
        } else {
            State::Completed
        },
        standing: Some(planned.standing),
        items_synced: if dry_run {
            0
        } else {
            planned.changes.len() as u64
        },
        items_skipped: planned.refused.len() as u64,
        errors: planned.refused,
        snapshot: applied.snapshot,
        message: applied.message,
        traffic,
        duration_ms: place.elapsed_ms(),
        changes: Arc::unwrap_or_clone(planned.changes),
    };
    print(place, direction, &report);
    Ok(())
}

fn print(place: &Place<'_>, direction: Direction, report: &Report) {
    let terminal = place.terminal;
    terminal.value(report);
    report
        .errors
        .iter()
        .for_each(|problem| terminal.problem(problem));
    terminal.changes(&report.changes);
    terminal.line(&format!("files     {}", summary(direction, report)));
    if let Some(id) = report.snapshot {
        let message = report
            .message
            .as_ref()
            .map(|message| format!("  \"{}\"", one_line(message)));
        terminal.line(&format!(
            "snapshot  {}{}",
            id.short(),
            message.unwrap_or_default()
        ));
    }
}

fn summary(direction: Direction, report: &Report) -> String {
    let requests = match report.traffic.requests {
        1 => "1 request".to_owned(),
        several => format!("{several} requests"),
    };
    let time = seconds(report.duration_ms);
    let counts = Counts::of(&report.changes);
    match (direction, report.standing) {
        (Direction::Push, Some(Standing::CloudAhead)) => {
            "nothing to push; the tenant is ahead: run `sync-cli pull`".to_owned()
        }
        (Direction::Pull, Some(Standing::LocalAhead)) => {
            "nothing to pull; the workspace is ahead: run `sync-cli push`".to_owned()
        }
        _ if counts.total() == 0 => format!("nothing changed    {requests}    {time}"),
        (Direction::Push, _) if report.dry_run => format!("would push {counts}"),
        (Direction::Pull, _) if report.dry_run => format!("would pull {counts}"),
        (Direction::Push, _) => {
            let sent = ByteCount(report.traffic.bytes_sent);
            format!("pushed {counts}    {sent} sent in {requests}    {time}")
        }
        (Direction::Pull, _) => {
            let received = ByteCount(report.traffic.bytes_received);
            format!("pulled {counts}    {received} received in {requests}    {time}")
        }
    }
}
