//! What the commands that change something have in common: a plan that is shown or applied, and one report of it.

use std::sync::Arc;

use sync_core::{ByteCount, Fault, SnapshotId};
use sync_engine::all::refusal;
pub(super) use sync_engine::all::{FilesApplied as Applied, FilesPlanned as Planned, ROUNDS};
use sync_engine::{Counts, Direction, Limits, MaxDelete, Report, Session, Standing, Traffic};

use super::Place;
use crate::args::{Format, Target};
use crate::connect::{Connection, Purpose};
use crate::progress::Progress;
use crate::terminal::{Terminal, one_line, seconds};
use crate::{Error, Outcome};

/// What is done, and to which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Push,
    Pull,
    Sync,
    Rollback,
    Undo,
}

impl Verb {
    /// The verb and what it is about.
    pub(super) fn operation(self, target: &str) -> String {
        match self {
            Self::Push => format!("push {target}"),
            Self::Pull => format!("pull {target}"),
            Self::Sync => format!("sync {target}"),
            Self::Rollback => "rollback".to_owned(),
            Self::Undo => "undo".to_owned(),
        }
    }

    /// What begins with it.
    pub(super) fn start(self, target: &str) -> (String, Option<Direction>) {
        let direction = match self {
            Self::Push => Some(Direction::Push),
            Self::Pull => Some(Direction::Pull),
            Self::Sync => Some(Direction::Sync),
            Self::Rollback | Self::Undo => None,
        };
        (self.operation(target), direction)
    }
}

/// How much may be removed, as the command line says.
pub(super) const fn limits(max_delete: MaxDelete, yes: bool) -> Limits {
    Limits { max_delete, yes }
}

/// A run that is about to change things, or to show what it would change.
pub(super) async fn begin(
    place: &Place<'_>,
    progress: &Arc<Progress>,
    (operation, direction): (String, Option<Direction>),
    dry_run: bool,
) -> Result<(Session, Connection), Error> {
    progress.begin(operation, direction);
    let purpose = Purpose::of(dry_run);
    let (session, connection) = place.session(purpose, progress.listener()).await?;
    if !dry_run {
        session.recover().await?;
    }
    Ok((session, connection))
}

/// Reports what was done, or with `None` what would be, and ends the connection.
pub(super) async fn conclude(
    place: &Place<'_>,
    verb: Verb,
    (session, connection): (Session, Connection),
    planned: Planned,
    dry_run: bool,
    applied: Option<Applied>,
) -> Outcome {
    let traffic = session.remote().traffic();
    if applied.is_some() {
        collect(&session).await;
    }
    drop(session);
    connection.close().await;
    print(place, verb, planned, dry_run, applied, traffic)
}

/// Keeps the workspace's own store from growing for ever; what was done is done, whatever comes of this.
pub(super) async fn collect(session: &Session) {
    match Box::pin(session.collect_when_due()).await {
        Ok(None) => {}
        Ok(Some(report)) => tracing::debug!(?report, "the private store was collected"),
        Err(error) => tracing::warn!(%error, "the private store could not be collected"),
    }
}

/// Prints the report of an operation.
pub(super) fn print(
    place: &Place<'_>,
    verb: Verb,
    planned: Planned,
    dry_run: bool,
    applied: Option<Applied>,
    traffic: Traffic,
) -> Outcome {
    let (report, outcome) = report(place, verb, planned, dry_run, applied, traffic);
    let terminal = &place.terminal;
    terminal.result(&report, outcome, report.errors.last());
    show(terminal, verb, &report, traffic);
    snapshot_line(terminal, report.snapshot, report.message.as_deref());
    outcome
}

/// What programs are told of an operation, and how it ended.
pub(super) fn report(
    place: &Place<'_>,
    verb: Verb,
    planned: Planned,
    dry_run: bool,
    applied: Option<Applied>,
    traffic: Traffic,
) -> (Report, Outcome) {
    let operation = verb.operation(Target::Files.as_str());
    let told = planned.report(operation, applied, Some(traffic), place.elapsed_ms());
    let outcome = if told.success {
        Outcome::Done
    } else {
        Outcome::Undecided
    };
    (Report { dry_run, ..told }, outcome)
}

/// Shows people what an operation did, but for its snapshot.
pub(super) fn show(terminal: &Terminal, verb: Verb, report: &Report, traffic: Traffic) {
    report
        .errors
        .iter()
        .filter(|problem| problem.path.is_some())
        .for_each(|problem| terminal.problem(problem));
    if !report.success {
        // What else would change is not said: nothing does.
        report
            .conflicts
            .iter()
            .for_each(|conflict| terminal.conflict(conflict));
        if let Some(refusal) = refusal(&report.conflicts)
            && terminal.format == Format::Text
        {
            terminal.error(&refusal);
        }
        return;
    }
    if !report.pulled.is_empty() {
        terminal.line("from the tenant:");
        terminal.changes(&report.pulled, &report.merged);
    }
    if !report.changes.is_empty() {
        if matches!(verb, Verb::Sync | Verb::Rollback) {
            terminal.line("to the tenant:");
        }
        terminal.changes(&report.changes, &[]);
    }
    terminal.line(&format!("files     {}", summary(verb, report, traffic)));
}

/// Shows which snapshot both sides agree on now.
pub(super) fn snapshot_line(terminal: &Terminal, id: Option<SnapshotId>, message: Option<&str>) {
    if let Some(id) = id {
        let message = message.map(|message| format!("  \"{}\"", one_line(message)));
        let message = message.unwrap_or_default();
        terminal.line(&format!("snapshot  {}{message}", id.short()));
    }
}

fn summary(verb: Verb, report: &Report, traffic: Traffic) -> String {
    let requests = match traffic.requests {
        1 => "1 request".to_owned(),
        several => format!("{several} requests"),
    };
    let time = seconds(report.duration_ms);
    let counts = Counts::of(&report.changes);
    let pulled = Counts::of(&report.pulled);
    let sent = ByteCount(traffic.bytes_sent);
    let received = ByteCount(traffic.bytes_received);
    match (verb, report.standing) {
        (Verb::Push, Some(Standing::CloudAhead)) => {
            "nothing to push; the tenant is ahead: run `sync-cli pull`".to_owned()
        }
        (Verb::Pull, Some(Standing::LocalAhead)) => {
            "nothing to pull; the workspace is ahead: run `sync-cli push`".to_owned()
        }
        _ if counts.total() + pulled.total() == 0 => {
            format!("nothing changed    {requests}    {time}")
        }
        (Verb::Push, _) if report.dry_run => format!("would push {counts}"),
        (Verb::Pull, _) if report.dry_run => format!("would pull {counts}"),
        (Verb::Undo, _) if report.dry_run => format!("would bring back {counts}"),
        (Verb::Sync | Verb::Rollback, _) if report.dry_run => {
            format!("would {}", both_ways("pull", pulled, "push", counts))
        }
        (Verb::Push, _) => format!("pushed {counts}    {sent} sent in {requests}    {time}"),
        (Verb::Pull, _) => {
            format!("pulled {counts}    {received} received in {requests}    {time}")
        }
        (Verb::Undo, _) => format!("brought back {counts}    {time}"),
        (Verb::Sync | Verb::Rollback, _) => format!(
            "{}    {received} received, {sent} sent in {requests}    {time}",
            both_ways("pulled", pulled, "pushed", counts)
        ),
    }
}

/// `pulled 1 changed, pushed 2 added`; a side on which nothing changes is not named.
fn both_ways(pull: &str, pulled: Counts, push: &str, pushed: Counts) -> String {
    let side =
        |verb: &str, counts: Counts| (counts.total() > 0).then(|| format!("{verb} {counts}"));
    [side(pull, pulled), side(push, pushed)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// Whether an error is one that waiting may mend.
pub(super) fn is_unavailable(error: &Error) -> bool {
    error.class() == sync_core::Class::Unavailable
}
