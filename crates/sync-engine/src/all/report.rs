//! What came of files and rows, told together.

use serde::Serialize;
use sync_core::{Class, SnapshotId};

use super::run::{AllDone, Failure, FilesOperation, Operation, RowsOperation};
use crate::event::Target;
use crate::report::{Problem, Report, State, Traffic};
use crate::rows::{Direction, RowsReport};

/// What a push, pull or sync of everything did, each operation by itself and all of them together.
#[derive(Debug, Clone, Serialize)]
pub struct SyncReport {
    /// Such as `push all`.
    pub operation: String,
    /// Whether everything that was asked for was done.
    pub success: bool,
    /// Whether nothing was to be done but say what would be.
    pub dry_run: bool,
    /// How many of the operations that were started came to their end.
    pub state: State,
    /// How many paths and rows were synced.
    pub items_synced: u64,
    /// How many were left out.
    pub items_skipped: u64,
    /// What was left out or went wrong.
    pub errors: Vec<Problem>,
    /// The snapshot that both sides now agree on.
    pub snapshot: Option<SnapshotId>,
    /// Why that snapshot was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What went over the wire.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// How long it took in milliseconds.
    pub duration_ms: u64,
    /// The exit code of the worst that happened; `None` where everything was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The worst that happened; `None` where everything was done.
    #[serde(skip)]
    pub class: Option<Class>,
    /// Files, then rows.
    pub operations: Vec<OperationReport>,
}

/// What came of one operation.
#[derive(Debug, Clone, Serialize)]
pub struct OperationReport {
    /// What of.
    pub target: Target,
    /// What came of it.
    #[serde(flatten)]
    pub told: Told,
}

/// What is told of one operation.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Told {
    /// Files that came to an end, or wait for a person.
    Files(Box<Report>),
    /// Rows likewise.
    Rows(Box<RowsReport>),
    /// What was not started, or failed.
    Without(WithoutEnd),
}

/// An operation that was not started, or failed.
#[derive(Debug, Clone, Serialize)]
pub struct WithoutEnd {
    /// Such as `push files`.
    pub operation: String,
    /// Whether it was to be so.
    pub success: bool,
    /// With the reason where it was not started.
    pub state: State,
    /// None.
    pub items_synced: u64,
    /// None.
    pub items_skipped: u64,
    /// Why it failed.
    pub errors: Vec<Problem>,
    /// None.
    pub snapshot: Option<SnapshotId>,
    /// That of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why it failed.
    #[serde(skip)]
    pub failure: Option<Failure>,
    /// Whether people are told.
    #[serde(skip)]
    pub is_told: bool,
}

impl WithoutEnd {
    fn not_started(operation: &str, reason: &str, is_told: bool) -> Self {
        Self {
            operation: operation.to_owned(),
            success: true,
            state: State::NotStarted {
                reason: Some(reason.to_owned()),
            },
            items_synced: 0,
            items_skipped: 0,
            errors: Vec::new(),
            snapshot: None,
            exit_code: None,
            failure: None,
            is_told,
        }
    }

    fn failed(operation: &str, failure: &Failure) -> Self {
        Self {
            success: false,
            state: State::Failed,
            errors: vec![Problem::from_fault(failure.as_ref())],
            exit_code: Some(failure.class().exit_code()),
            failure: Some(failure.clone()),
            ..Self::not_started(operation, "", true)
        }
    }
}

impl<P, A> Operation<P, A> {
    /// What is told where it did not come to an end of its own.
    pub fn without_end(&self, operation: &str) -> Option<WithoutEnd> {
        match self {
            Self::NotStarted { reason, is_told } => {
                Some(WithoutEnd::not_started(operation, reason, *is_told))
            }
            Self::Failed(failure) => Some(WithoutEnd::failed(operation, failure)),
            Self::Ended(..) => None,
        }
    }

    /// What is told of it, `of` what was planned and done where it came to an end.
    fn told(self, operation: &str, of: impl FnOnce(P, Option<A>) -> Told) -> Told {
        Told::Without(match self {
            Self::Ended(planned, done) => return of(planned, done),
            Self::NotStarted { reason, is_told } => {
                WithoutEnd::not_started(operation, &reason, is_told)
            }
            Self::Failed(failure) => WithoutEnd::failed(operation, &failure),
        })
    }
}

impl OperationReport {
    fn files(operation: &str, done: FilesOperation, duration_ms: u64) -> Self {
        Self {
            target: Target::Files,
            told: done.told(operation, |planned, applied| {
                let report = planned.report(operation.to_owned(), applied, None, duration_ms);
                Told::Files(Box::new(report))
            }),
        }
    }

    fn rows(operation: &str, done: RowsOperation, duration_ms: u64) -> Self {
        Self {
            target: Target::Database,
            told: done.told(operation, |planned, outcome| {
                let report = planned.report(operation.to_owned(), outcome, None, duration_ms);
                Told::Rows(Box::new(report))
            }),
        }
    }

    /// How far it came.
    pub const fn state(&self) -> &State {
        match &self.told {
            Told::Files(report) => &report.state,
            Told::Rows(report) => &report.state,
            Told::Without(without) => &without.state,
        }
    }

    /// What was left out or went wrong.
    pub fn errors(&self) -> &[Problem] {
        match &self.told {
            Told::Files(report) => &report.errors,
            Told::Rows(report) => &report.errors,
            Told::Without(without) => &without.errors,
        }
    }

    /// How many paths or rows were synced, and how many left out.
    const fn items(&self) -> (u64, u64) {
        match &self.told {
            Told::Files(report) => (report.items_synced, report.items_skipped),
            Told::Rows(report) => (report.items_synced, report.items_skipped),
            Told::Without(_) => (0, 0),
        }
    }

    /// The snapshot that both sides agree on, and why it was made, where this run made it.
    fn snapshot(&self) -> (Option<SnapshotId>, Option<&String>) {
        match &self.told {
            Told::Files(report) => (report.snapshot, report.message.as_ref()),
            Told::Rows(report) => (report.snapshot, report.message.as_ref()),
            Told::Without(_) => (None, None),
        }
    }

    /// Whose fault it is that not everything was done; `None` where it was.
    pub fn class(&self) -> Option<Class> {
        match &self.told {
            Told::Files(report) => (!report.success).then_some(Class::Conflict),
            Told::Rows(report) if !report.conflicts.is_empty() => Some(Class::Conflict),
            Told::Rows(report) => (!report.success).then_some(Class::Failed),
            Told::Without(without) => Some(without.failure.as_ref()?.class()),
        }
    }

    /// The problem for which not everything was done.
    fn problem(&self) -> Option<&Problem> {
        self.class().and_then(|_| self.errors().last())
    }
}

impl AllDone {
    /// What is told of it: a run that went `direction`, and took so long.
    pub fn report(self, direction: Direction, traffic: Traffic, duration_ms: u64) -> SyncReport {
        let verb = direction.as_str();
        let operations = vec![
            OperationReport::files(&format!("{verb} files"), self.files, duration_ms),
            OperationReport::rows(&format!("{verb} database"), self.rows, duration_ms),
        ];
        let count = |is: fn(&State) -> bool| {
            let states = operations.iter().map(OperationReport::state);
            states.filter(|state| is(state)).count() as u64
        };
        let started = count(|state| !matches!(state, State::NotStarted { .. }));
        let completed = count(|state| *state == State::Completed);
        let failed = count(|state| *state == State::Failed);
        let state = match started {
            0 => State::NOT_STARTED,
            _ if completed == started => State::Completed,
            _ if failed == started => State::Failed,
            total => State::Partial { completed, total },
        };
        let items = operations.iter().map(OperationReport::items);
        let (items_synced, items_skipped) =
            items.fold((0, 0), |sum, items| (sum.0 + items.0, sum.1 + items.1));
        // Whichever run made a snapshot says which one both sides agree on; rows are sent last.
        let snapshots = || operations.iter().map(OperationReport::snapshot);
        let made = snapshots().rev().find(|(_, message)| message.is_some());
        let found = snapshots().find(|(snapshot, _)| snapshot.is_some());
        let (snapshot, message) = made.or(found).unwrap_or_default();
        let classes = operations.iter().filter_map(OperationReport::class);
        let class = classes.min_by_key(|class| class.rank());
        let errors = operations.iter().flat_map(OperationReport::errors);
        SyncReport {
            operation: format!("{verb} all"),
            success: class.is_none(),
            dry_run: false,
            state,
            items_synced,
            items_skipped,
            errors: errors.cloned().collect(),
            snapshot,
            message: message.cloned(),
            traffic,
            duration_ms,
            exit_code: class.map(Class::exit_code),
            class,
            operations,
        }
    }
}

impl SyncReport {
    /// The same of what would be done.
    #[must_use]
    pub fn of_plan(mut self) -> Self {
        self.dry_run = true;
        for operation in &mut self.operations {
            match &mut operation.told {
                Told::Files(report) => report.dry_run = true,
                Told::Rows(report) => report.dry_run = true,
                Told::Without(_) => {}
            }
        }
        self
    }

    /// The problem for which not everything was done, where something failed or waits for a person.
    pub fn problem(&self) -> Option<&Problem> {
        let is_failed = |operation: &&OperationReport| *operation.state() == State::Failed;
        let mut failed = self.operations.iter().filter(is_failed);
        failed.find_map(OperationReport::problem)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Error;
    use crate::all::{FilesApplied, FilesPlanned};
    use crate::rows::{RowsOutcome, RowsPlanned};

    #[track_caller]
    fn check(files: FilesOperation, rows: RowsOperation, state: &State, class: Option<Class>) {
        let done = AllDone { files, rows };
        let report = done.report(Direction::Push, Traffic::default(), 7);
        assert_eq!((&report.state, report.class), (state, class));
        assert_eq!(report.success, class.is_none());
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["operations"][0]["target"], "files");
        assert_eq!(value["operations"][1]["target"], "database");
        assert_eq!(value["operations"][1]["operation"], "push database");
    }

    #[test]
    fn each_operation_is_told_and_the_worst_counts() {
        let files = || Operation::Ended(FilesPlanned::default(), Some(FilesApplied::default()));
        let rows = || Operation::Ended(RowsPlanned::default(), Some(RowsOutcome::default()));
        let failed = |error: Error| Arc::new(error) as Failure;
        check(files(), rows(), &State::Completed, None);
        let absent = Operation::NotStarted {
            reason: "no database".to_owned(),
            is_told: true,
        };
        check(files(), absent, &State::Completed, None);
        let half = State::Partial {
            completed: 1,
            total: 2,
        };
        let away = Operation::Failed(failed(Error::Cut));
        check(files(), away, &half, Some(Class::Unavailable));
        let both = failed(Error::NoRemote);
        check(
            Operation::Failed(Arc::clone(&both)),
            Operation::Failed(both),
            &State::Failed,
            Some(Class::Usage),
        );
        let nothing = AllDone {
            files: Operation::not_asked_for(),
            rows: Operation::not_asked_for(),
        };
        let report = nothing.report(Direction::Sync, Traffic::default(), 0);
        assert_eq!(report.state, State::NOT_STARTED);
        assert!(report.of_plan().dry_run);
    }
}
