//! What the commands that change something have in common: a plan that is shown or applied, and one report of it.

use std::sync::Arc;

use sync_core::{ByteCount, Fault, SnapshotId, TreePath};
use sync_engine::{
    Conflict, Counts, Direction, FileChange, Limits, MaxDelete, Problem, PullPlan, PushPlan,
    Report, Session, Standing, State, SyncPlan, Traffic,
};

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

/// How often an operation begins anew because somebody else was quicker.
pub(super) const ROUNDS: u32 = 8;

/// What was planned.
#[derive(Debug, Clone, Default)]
pub(super) struct Planned {
    pub(super) target: Target,
    pub(super) standing: Option<Standing>,
    /// What changes on the tenant; on the workspace for a pull and an undo.
    pub(super) changes: Arc<Vec<FileChange>>,
    /// What else changes in the workspace.
    pub(super) pulled: Vec<FileChange>,
    pub(super) merged: Vec<TreePath>,
    pub(super) conflicts: Vec<Conflict>,
    /// What is left out, and what a person should know of.
    pub(super) problems: Vec<Problem>,
}

impl Planned {
    /// What a plan says; what only a person reads is taken out of it.
    pub(super) fn of_push(plan: &mut PushPlan) -> Self {
        Self {
            standing: Some(plan.standing),
            changes: Arc::clone(&plan.changes),
            problems: problems(&mut plan.refused, &mut plan.collisions),
            ..Self::default()
        }
    }

    /// What a plan says; what only a person reads is taken out of it.
    pub(super) fn of_pull(plan: &mut PullPlan) -> Self {
        Self {
            standing: Some(plan.standing),
            changes: Arc::new(plan.changes.clone()),
            conflicts: plan.conflicts.clone(),
            problems: problems(&mut plan.refused, &mut plan.collisions),
            ..Self::default()
        }
    }

    /// What a plan says; what only a person reads is taken out of it.
    pub(super) fn of_sync(plan: &mut SyncPlan) -> Self {
        Self {
            standing: Some(plan.standing),
            changes: Arc::new(plan.push.clone()),
            pulled: plan.pull.clone(),
            merged: std::mem::take(&mut plan.merged),
            conflicts: plan.conflicts.clone(),
            problems: problems(&mut plan.refused, &mut plan.collisions),
            ..Self::default()
        }
    }

    /// Puts what `earlier` rounds brought first: it is in the tree, so a later plan no longer speaks of it.
    pub(super) fn put_first(&mut self, earlier: Self) {
        self.pulled.splice(0..0, earlier.pulled);
        self.merged.splice(0..0, earlier.merged);
    }
}

fn problems(refused: &mut Vec<Problem>, collisions: &mut Vec<Problem>) -> Vec<Problem> {
    let mut problems = std::mem::take(refused);
    problems.append(collisions);
    problems
}

/// What came of applying it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) message: Option<String>,
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
    let purpose = if dry_run { Purpose::Look } else { Purpose::Act };
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
    let terminal = place.terminal;
    terminal.result(&report, outcome, report.errors.last());
    show(terminal, verb, &report);
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
    let refusal = (!planned.conflicts.is_empty()).then(|| refusal(&planned.conflicts));
    let mut errors = planned.problems;
    let skipped = errors.len() as u64;
    errors.extend(refusal.as_ref().map(Problem::from_fault));
    let done = applied.is_some();
    let applied = applied.unwrap_or_default();
    let report = Report {
        operation: verb.operation(planned.target.as_str()),
        success: refusal.is_none(),
        dry_run,
        state: if refusal.is_some() {
            State::Failed
        } else if done {
            State::Completed
        } else {
            State::NOT_STARTED
        },
        standing: planned.standing,
        items_synced: if done {
            (planned.changes.len() + planned.pulled.len()) as u64
        } else {
            0
        },
        items_skipped: skipped,
        errors,
        snapshot: applied.snapshot,
        message: applied.message,
        traffic: Some(traffic),
        duration_ms: place.elapsed_ms(),
        changes: Arc::unwrap_or_clone(planned.changes),
        pulled: planned.pulled,
        merged: planned.merged,
        conflicts: planned.conflicts,
    };
    let outcome = if refusal.is_some() {
        Outcome::Undecided
    } else {
        Outcome::Done
    };
    (report, outcome)
}

/// Shows people what an operation did, but for its snapshot.
pub(super) fn show(terminal: Terminal, verb: Verb, report: &Report) {
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
        if terminal.format == Format::Text {
            terminal.error(&refusal(&report.conflicts));
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
    terminal.line(&format!("files     {}", summary(verb, report)));
}

fn refusal(conflicts: &[Conflict]) -> sync_engine::Error {
    let paths = conflicts.iter().map(|conflict| conflict.path.to_string());
    sync_engine::Error::Conflict {
        paths: paths.collect(),
    }
}

/// Shows which snapshot both sides agree on now.
pub(super) fn snapshot_line(terminal: Terminal, id: Option<SnapshotId>, message: Option<&str>) {
    if let Some(id) = id {
        let message = message.map(|message| format!("  \"{}\"", one_line(message)));
        let message = message.unwrap_or_default();
        terminal.line(&format!("snapshot  {}{message}", id.short()));
    }
}

fn summary(verb: Verb, report: &Report) -> String {
    let traffic = report.traffic.unwrap_or_default();
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
