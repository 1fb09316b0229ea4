//! A push, pull or sync of everything from plan to end: what lost a race is planned and applied again.

use std::sync::Arc;

use sync_core::Fault;
use sync_files::Patterns;

use super::files::{FilesApplied, FilesPlanned};
use super::{AllOptions, AllPlan, Each, FilesOutcome, FilesPlan};
use crate::guard::Limits;
use crate::merge::OnConflict;
use crate::rows::{Database, Direction, Rows, RowsOutcome, RowsPlanned};
use crate::{Error, Session};

/// How often an operation begins anew because somebody else was quicker.
pub const ROUNDS: u32 = 8;

/// Why an operation failed; where one error ended both, both have it.
pub type Failure = Arc<dyn Fault + Send + Sync>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct AllRequest {
    /// Which way.
    pub direction: Direction,
    /// Whether files are part of it.
    pub files: bool,
    /// Which paths travel; all where it is `None`. Not for a sync.
    pub filter: Option<Patterns>,
    /// What is done where both sides changed the same; for a sync.
    pub on_conflict: OnConflict,
    /// Why, for a snapshot that is made.
    pub message: Option<String>,
}

/// The database of the workspace, as far as it is part of a run.
#[derive(Debug, Clone)]
pub enum WithDatabase {
    /// It is not, and why.
    Absent {
        /// In words.
        reason: String,
        /// Whether people are told.
        is_told: bool,
    },
    /// It should be, and cannot.
    Failed(Failure),
    /// It is.
    There(Box<Database>),
}

/// What came of one of the operations.
#[derive(Debug)]
pub enum Operation<P, A> {
    /// It is not part of the run.
    NotStarted {
        /// Why.
        reason: String,
        /// Whether people are told.
        is_told: bool,
    },
    /// It could not be planned, or not be done.
    Failed(Failure),
    /// What was planned, and what was done; without the latter nobody asked for it, or a person has to choose.
    Ended(P, Option<A>),
}

/// What came of files.
pub type FilesOperation = Operation<FilesPlanned, FilesApplied>;
/// What came of rows.
pub type RowsOperation = Operation<RowsPlanned, RowsOutcome>;

/// What is planned, and can be applied once.
#[derive(Debug)]
pub struct AllPlanned {
    plan: AllPlan,
    files: Option<FilesPlanned>,
    rows: Option<RowsPlanned>,
    /// What is told of rows where there is nothing planned for them.
    instead: Option<RowsOperation>,
}

/// What came of a run.
#[derive(Debug)]
pub struct AllDone {
    /// Of files.
    pub files: FilesOperation,
    /// Of rows.
    pub rows: RowsOperation,
}

impl WithDatabase {
    /// A run with it.
    ///
    /// # Errors
    ///
    /// What is to be told instead.
    pub async fn rows<'s, P, A>(&self, session: &'s Session) -> Result<Rows<'s>, Operation<P, A>> {
        match self {
            Self::Absent { reason, is_told } => Err(Operation::NotStarted {
                reason: reason.clone(),
                is_told: *is_told,
            }),
            Self::Failed(failure) => Err(Operation::Failed(Arc::clone(failure))),
            Self::There(database) => {
                let rows = session.rows(Database::clone(database)).await;
                rows.map_err(|error| Operation::Failed(Arc::new(error)))
            }
        }
    }
}

impl<P, A> Operation<P, A> {
    /// Nobody asked for it.
    pub fn not_asked_for() -> Self {
        Self::NotStarted {
            reason: "not asked for".to_owned(),
            is_told: false,
        }
    }

    /// Whether people are told nothing of it: the other operation is all there is.
    pub const fn is_silent(&self) -> bool {
        matches!(self, Self::NotStarted { is_told: false, .. })
    }
}

impl AllPlanned {
    /// What is planned for files.
    pub const fn files(&self) -> Option<&FilesPlanned> {
        self.files.as_ref()
    }

    /// What is planned for rows.
    pub const fn rows(&self) -> Option<&RowsPlanned> {
        self.rows.as_ref()
    }

    /// What there is to tell of it while nothing is done.
    pub fn outline(&self) -> AllDone {
        let rows = match &self.instead {
            Some(Operation::NotStarted { reason, is_told }) => Some(Operation::NotStarted {
                reason: reason.clone(),
                is_told: *is_told,
            }),
            Some(Operation::Failed(failure)) => Some(Operation::Failed(Arc::clone(failure))),
            Some(Operation::Ended(..)) | None => {
                outlined(self.plan.rows.as_ref(), self.rows.as_ref())
            }
        };
        let files = outlined(self.plan.files.as_ref(), self.files.as_ref());
        AllDone {
            files: files.unwrap_or_else(Operation::not_asked_for),
            rows: rows.unwrap_or_else(Operation::not_asked_for),
        }
    }
}

fn outlined<T, P: Clone, A>(
    plan: Option<&Each<T>>,
    planned: Option<&P>,
) -> Option<Operation<P, A>> {
    match plan? {
        Err(error) => Some(Operation::Failed(Arc::clone(error) as Failure)),
        Ok(_) => Some(Operation::Ended(planned?.clone(), None)),
    }
}

impl Session {
    /// Plans what `request` asks for. Neither side changes.
    ///
    /// # Errors
    ///
    /// Where nothing can be planned at all, because the tenant does not answer, say.
    pub async fn plan_run(
        &self,
        database: &WithDatabase,
        request: &AllRequest,
    ) -> Result<AllPlanned, Error> {
        let (rows, instead) = match database.rows(self).await {
            Ok(rows) => (Some(rows), None),
            Err(instead) => (None, Some(instead)),
        };
        let planned = self.plan_round(rows.as_ref(), request, request.files);
        let planned = Box::pin(planned).await?;
        Ok(AllPlanned { instead, ..planned })
    }

    async fn plan_round(
        &self,
        rows: Option<&Rows<'_>>,
        request: &AllRequest,
        files: bool,
    ) -> Result<AllPlanned, Error> {
        let options = AllOptions {
            direction: request.direction,
            files,
            filter: request.filter.as_ref(),
            on_conflict: request.on_conflict,
        };
        let mut plan = Box::pin(self.plan_all(rows, options)).await?;
        let files = match &mut plan.files {
            Some(Ok(FilesPlan::Push(plan))) => Some(FilesPlanned::of_push(plan)),
            Some(Ok(FilesPlan::Pull(plan))) => Some(FilesPlanned::of_pull(plan)),
            Some(Ok(FilesPlan::Sync(plan))) => Some(FilesPlanned::of_sync(plan)),
            _ => None,
        };
        let rows = match &plan.rows {
            Some(Ok(plan)) => Some(RowsPlanned::of(plan)),
            _ => None,
        };
        Ok(AllPlanned {
            plan,
            files,
            rows,
            instead: None,
        })
    }

    /// Does what was planned; in as many `rounds` anew what is not done where rows or the branch moved in between.
    ///
    /// # Errors
    ///
    /// Where another run holds the workspace. What ended one of the two is in its place.
    pub async fn apply_run(
        &self,
        database: &WithDatabase,
        mut planned: AllPlanned,
        request: &AllRequest,
        limits: &Limits,
        rounds: u32,
    ) -> Result<AllDone, Error> {
        let mut rows_done = planned.instead.take();
        let database = match rows_done {
            Some(_) => None,
            None => match database.rows(self).await {
                Ok(rows) => Some(rows),
                Err(instead) => {
                    rows_done = Some(instead);
                    None
                }
            },
        };
        let mut files_done = (!request.files).then(Operation::not_asked_for);
        let mut round = 1;
        loop {
            let with = database.as_ref().filter(|_| rows_done.is_none());
            let applied = self.apply_all(with, planned.plan, request.message.clone(), limits);
            let outcome = Box::pin(applied).await?;
            let may_repeat =
                round < rounds && (database.is_some() || request.direction == Direction::Sync);
            // What earlier rounds brought is in the tree, so the next plan no longer speaks of it.
            let mut earlier = FilesPlanned::default();
            match outcome.files {
                None => {}
                Some(Err(error)) if may_repeat && error.is_race() => {
                    earlier = planned.files.unwrap_or_default();
                }
                Some(done) => files_done = Some(files_operation(planned.files, done)),
            }
            match outcome.rows {
                None => {}
                Some(Err(error)) if may_repeat && error.is_race() => {}
                Some(done) => rows_done = Some(rows_operation(planned.rows, done)),
            }
            match (files_done.take(), rows_done.take()) {
                (Some(files), Some(rows)) => return Ok(AllDone { files, rows }),
                unfinished => (files_done, rows_done) = unfinished,
            }
            round += 1;
            let with = database.as_ref().filter(|_| rows_done.is_none());
            let again = self.plan_round(with, request, files_done.is_none());
            planned = match Box::pin(again).await {
                Ok(planned) => planned,
                Err(error) => {
                    // What was done in earlier rounds is told all the same.
                    let failure: Failure = Arc::new(error);
                    return Ok(AllDone {
                        files: files_done.unwrap_or_else(|| Operation::Failed(failure.clone())),
                        rows: rows_done.unwrap_or(Operation::Failed(failure)),
                    });
                }
            };
            if let Some(files) = &mut planned.files {
                files.put_first(earlier);
            }
        }
    }
}

fn files_operation(planned: Option<FilesPlanned>, done: Each<FilesOutcome>) -> FilesOperation {
    match (done, planned) {
        (Ok(done), Some(mut planned)) => {
            if let Some(pulled) = done.pulled {
                planned.changes = Arc::new(pulled);
            }
            let applied = FilesApplied {
                snapshot: done.snapshot,
                message: done.message,
            };
            Operation::Ended(planned, Some(applied))
        }
        // The conflicts say so.
        (Err(_), Some(planned)) if !planned.conflicts.is_empty() => Operation::Ended(planned, None),
        (Err(error), _) => Operation::Failed(error),
        (Ok(_), None) => Operation::not_asked_for(),
    }
}

fn rows_operation(planned: Option<RowsPlanned>, done: Each<RowsOutcome>) -> RowsOperation {
    match (done, planned) {
        (Ok(done), Some(planned)) => Operation::Ended(planned, Some(done)),
        (Err(_), Some(planned)) if !planned.conflicts.is_empty() => Operation::Ended(planned, None),
        (Err(error), _) => Operation::Failed(error),
        (Ok(_), None) => Operation::not_asked_for(),
    }
}
