//! Files and rows in one run: one look at the tenant, two plans, one snapshot.
//!
//! Each of the two operations stands by itself: where one cannot be planned or fails, the other goes on, and both are told of.
//! Where both have something that goes to the tenant, it goes as one snapshot in one request ([`Session::apply_all`]).

mod files;
mod report;
mod run;

use std::sync::Arc;

use sync_core::SnapshotId;
use sync_files::Patterns;
use sync_store::protocol::Part;

use crate::guard::Limits;
use crate::look::{Look, head_of};
use crate::merge::{Conflict, OnConflict, Rules};
use crate::pull::PullPlan;
use crate::push::{Going, PushPlan, Rest, default_message};
use crate::report::FileChange;
use crate::rows::{BroughtRows, Direction, Rows, RowsLook, RowsOutcome, RowsPlan, RowsStatus};
use crate::session::Session;
use crate::sync::SyncPlan;
use crate::{Error, FilesStatus};

pub use files::{FilesApplied, FilesPlanned, refusal};
pub use report::{OperationReport, SyncReport, Told, WithoutEnd};
pub use run::{
    AllDone, AllPlanned, AllRequest, Failure, FilesOperation, Operation, ROUNDS, RowsOperation,
    WithDatabase,
};

/// One of the operations, or why there is none of it. Where one error ended both, both have it.
pub type Each<T> = Result<T, Arc<Error>>;

/// What is planned.
#[derive(Debug, Clone, Copy)]
pub struct AllOptions<'o> {
    /// Which way.
    pub direction: Direction,
    /// Whether files are part of it; rows are where there is a database.
    pub files: bool,
    /// Which paths travel; all where it is `None`. Not for a sync.
    pub filter: Option<&'o Patterns>,
    /// What is done where both sides changed the same; for a sync.
    pub on_conflict: OnConflict,
}

/// What would be done with files.
#[derive(Debug)]
pub enum FilesPlan {
    /// From the workspace to the tenant.
    Push(Box<PushPlan>),
    /// From the tenant to the workspace.
    Pull(Box<PullPlan>),
    /// Both ways, merged.
    Sync(Box<SyncPlan>),
}

impl FilesPlan {
    /// What a person has to choose; nothing of the files is done while there are any.
    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            Self::Push(_) => &[],
            Self::Pull(plan) => &plan.conflicts,
            Self::Sync(plan) => &plan.conflicts,
        }
    }
}

/// What would be done; `None` where something is not part of it.
#[derive(Debug, Default)]
pub struct AllPlan {
    /// With files.
    pub files: Option<Each<FilesPlan>>,
    /// With rows.
    pub rows: Option<Each<RowsPlan>>,
}

/// What was done with files.
#[derive(Debug, Default)]
pub struct FilesOutcome {
    /// The snapshot that both sides agree on now.
    pub snapshot: Option<SnapshotId>,
    /// Why it was made, where this run made it.
    pub message: Option<String>,
    /// What a pull has changed in the tree, in path order.
    pub pulled: Option<Vec<FileChange>>,
}

/// What was done; `None` where something was not part of it.
#[derive(Debug, Default)]
pub struct AllOutcome {
    /// With files.
    pub files: Option<Each<FilesOutcome>>,
    /// With rows.
    pub rows: Option<Each<RowsOutcome>>,
}

/// Where everything stands; `None` where something is not part of it.
#[derive(Debug)]
pub struct AllStatus {
    /// The files.
    pub files: Option<Each<FilesStatus>>,
    /// The rows.
    pub rows: Option<Each<RowsStatus>>,
}

/// What both sides hold.
struct Looks {
    files: Option<Each<Look>>,
    rows: Option<Each<RowsLook>>,
}

impl Session {
    /// Plans a push, pull or sync of files and of the rows of a database, beside one head of the tenant. Neither side changes.
    ///
    /// # Errors
    ///
    /// Where nothing can be planned at all, because the tenant does not answer, say.
    /// What only one of the two cannot be planned for is in its place.
    pub async fn plan_all(
        &self,
        rows: Option<&Rows<'_>>,
        options: AllOptions<'_>,
    ) -> Result<AllPlan, Error> {
        let looks = self.look_at_all(rows, options.files, false).await?;
        let mut plan = AllPlan::default();
        if let Some((rows, look)) = rows.zip(looks.rows) {
            plan.rows = Some(match look {
                Ok(look) => {
                    let planned = rows.plan_of(look, options.direction, options.on_conflict);
                    Box::pin(planned).await.map_err(Arc::new)
                }
                Err(error) => Err(error),
            });
        }
        // Last, as the contents of a pull may be on their way already.
        if let Some(look) = looks.files {
            plan.files = Some(match look {
                Ok(look) => {
                    let planned = Box::pin(self.plan_files(look, options)).await;
                    planned.map_err(Arc::new)
                }
                Err(error) => Err(error),
            });
        }
        Ok(plan)
    }

    async fn plan_files(&self, look: Look, options: AllOptions<'_>) -> Result<FilesPlan, Error> {
        let filter = options.filter;
        Ok(match options.direction {
            Direction::Push => FilesPlan::Push(Box::new(self.plan_push_of(look, filter).await?)),
            Direction::Pull => {
                self.ensure_begun()?;
                let rules = Rules {
                    filter,
                    ..Rules::default()
                };
                FilesPlan::Pull(Box::new(self.plan_merge(look, rules).await?))
            }
            Direction::Sync => {
                let plan = Box::pin(self.plan_sync_of(look, options.on_conflict)).await?;
                FilesPlan::Sync(Box::new(plan))
            }
        })
    }

    /// Does what `plan` says: first what comes from the tenant, files then rows; then what goes to it, as one snapshot where both
    /// have something that goes.
    ///
    /// # Errors
    ///
    /// Where another run holds the workspace. What ended one of the two is in its place, as [`Session::apply_push`],
    /// [`Session::apply_pull`], [`Session::apply_sync`] and [`Rows::apply`] have it; each is all or nothing.
    pub async fn apply_all(
        &self,
        rows: Option<&Rows<'_>>,
        plan: AllPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<AllOutcome, Error> {
        let _lock = self.lock()?;
        let mut outcome = AllOutcome::default();
        let mut going = None;
        match plan.files {
            None => {}
            Some(Err(error)) => outcome.files = Some(Err(error)),
            Some(Ok(plan)) => match Box::pin(self.begin_files(plan, limits)).await {
                Ok((Rest::Goes(files), _)) => going = Some(*files),
                Ok((Rest::Nothing { snapshot }, pulled)) => {
                    outcome.files = Some(Ok(FilesOutcome {
                        snapshot,
                        message: None,
                        pulled,
                    }));
                }
                Err(error) => outcome.files = Some(Err(Arc::new(error))),
            },
        }
        let mut brought = None;
        if let Some((rows, plan)) = rows.zip(plan.rows) {
            match plan {
                Err(error) => outcome.rows = Some(Err(error)),
                Ok(plan) => match Box::pin(rows.bring(plan, limits)).await {
                    Ok(done) if done.goes() => brought = Some((rows, done)),
                    Ok(done) => outcome.rows = Some(Ok(done.outcome)),
                    Err(error) => outcome.rows = Some(Err(Arc::new(error))),
                },
            }
        }
        match (going, brought) {
            (None, None) => {}
            (Some(going), None) => {
                let sent = self.send_only_files(going, message).await;
                outcome.files = Some(sent.map_err(Arc::new));
            }
            (None, Some((rows, brought))) => {
                let sent = rows.send_alone(brought, message).await;
                outcome.rows = Some(sent.map_err(Arc::new));
            }
            (Some(going), Some((rows, brought))) => {
                let sent = Box::pin(self.send_both(going, rows, brought, message)).await;
                outcome.files = Some(sent.0);
                outcome.rows = Some(sent.1);
            }
        }
        Ok(outcome)
    }

    /// Does everything with files but the sending; gives what a pull has changed, too.
    async fn begin_files(
        &self,
        plan: FilesPlan,
        limits: &Limits,
    ) -> Result<(Rest, Option<Vec<FileChange>>), Error> {
        match plan {
            FilesPlan::Push(plan) => Ok((self.begin_push(*plan, limits).await?, None)),
            FilesPlan::Sync(plan) => Ok((self.begin_sync(*plan, limits).await?, None)),
            FilesPlan::Pull(plan) => {
                let done = self.bring_pull(*plan, limits).await?;
                let snapshot = done.snapshot;
                Ok((Rest::Nothing { snapshot }, Some(done.changes)))
            }
        }
    }

    async fn send_only_files(
        &self,
        going: Going,
        message: Option<String>,
    ) -> Result<FilesOutcome, Error> {
        let moved = self.send_files(going, message).await?;
        Ok(FilesOutcome {
            snapshot: Some(moved.target.id),
            message: Some(moved.message),
            pulled: None,
        })
    }

    /// Sends files and rows as one snapshot; where only one of the two is refused, the other goes alone.
    async fn send_both(
        &self,
        going: Going,
        rows: &Rows<'_>,
        brought: BroughtRows,
        message: Option<String>,
    ) -> (Each<FilesOutcome>, Each<RowsOutcome>) {
        let said = message.clone().unwrap_or_else(|| {
            let files = default_message(&going.step.changes);
            format!("{files}; {}", brought.default_message())
        });
        let both = Some((rows, &brought));
        let telling = rows.tell_going(&brought);
        let (local, step) = (&going.local, going.step.clone());
        let sent = self.advance(local, step, Some(said), going.vacant, both);
        match Box::pin(sent).await {
            Ok(moved) => {
                let files = FilesOutcome {
                    snapshot: Some(moved.target.id),
                    message: Some(moved.message.clone()),
                    pulled: None,
                };
                let arrived = rows.arrived(brought, moved.target, moved.set_aside, moved.message);
                let settled = arrived.await;
                if let Ok(settled) = &settled {
                    telling.complete(settled.snapshot);
                }
                (Ok(files), settled.map_err(Arc::new))
            }
            Err(error) if error.is_about_rows() => {
                let sent = self.send_only_files(going, message).await;
                (sent.map_err(Arc::new), Err(Arc::new(error)))
            }
            Err(error @ Error::Files { .. }) => {
                let sent = rows.send_alone(brought, message).await;
                (Err(Arc::new(error)), sent.map_err(Arc::new))
            }
            Err(error) => {
                let error = Arc::new(error);
                (Err(Arc::clone(&error)), Err(error))
            }
        }
    }

    /// Compares base, workspace and tenant, for files and for rows, beside one head. Keeps what was captured.
    ///
    /// # Errors
    ///
    /// Where the tenant does not answer, say; what ended one of the two is in its place.
    pub async fn status_all(
        &self,
        rows: Option<&Rows<'_>>,
        filter: Option<&Patterns>,
    ) -> Result<AllStatus, Error> {
        let _looking = self.forbearance.look();
        let looks = self.look_at_all(rows, true, true).await?;
        let files = match looks.files {
            Some(Ok(look)) => {
                let status = Box::pin(self.status_of(look, filter)).await;
                Some(status.map_err(Arc::new))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        };
        let rows = match rows.zip(looks.rows) {
            None => None,
            Some((rows, Ok(look))) => Some(rows.status_of(look).await.map_err(Arc::new)),
            Some((_, Err(error))) => Some(Err(error)),
        };
        Ok(AllStatus { files, rows })
    }

    /// Captures the tree and the database while the head is asked for, with `others` those of the other branches, too.
    async fn look_at_all(
        &self,
        rows: Option<&Rows<'_>>,
        files: bool,
        others: bool,
    ) -> Result<Looks, Error> {
        let remembered = self.remembered()?;
        let base = remembered.agreed.base;
        let known = base.map(|base| base.id);
        let part = if rows.is_some() {
            Part::All
        } else {
            Part::Files
        };
        let tree = async {
            if files {
                Some(self.capture().await)
            } else {
                None
            }
        };
        let database = async {
            match rows {
                Some(rows) => Some((rows, rows.read().await)),
                None => None,
            }
        };
        let (answer, tree, database) = tokio::join!(
            self.remote.head_of(known, part, others),
            tree,
            Box::pin(database)
        );
        // Files need nothing of the tenant's database.
        let (answer, refused) = match answer {
            Err(error) if files && error.is_about_rows() => {
                let answer = self.remote.head_of(known, Part::Files, others).await?;
                (answer, Some(error))
            }
            answer => (answer?, None),
        };
        let head = head_of(&remembered, answer.as_ref());
        let kin = self.files_kin(&remembered, head).await?;
        let begins = kin.and_then(|kin| kin.base);
        let rows = match (database, refused) {
            (None, _) => None,
            (Some((_, Err(error))), _) | (Some(_), Some(error)) => Some(Err(Arc::new(error))),
            (Some((rows, Ok(reading))), None) => {
                let look = Box::pin(rows.look_beside(reading, head.or(begins))).await;
                Some(look.map_err(Arc::new))
            }
        };
        let looked = |local| Look::of(&remembered, kin, answer, local);
        let files = tree.map(|local| local.map(looked).map_err(Arc::new));
        Ok(Looks { files, rows })
    }
}
