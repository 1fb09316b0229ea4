//! A plan that can be shown, and applied once.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Serialize, Serializer};
use sync_core::rows::TableCounts;

use crate::all::{AllPlanned, AllRequest, SyncReport, Told};
use crate::event::Listener;
use crate::report::{ChangeKind, Counts};
use crate::session::Session;

/// What would be done: it can be shown, and applied once.
///
/// Serialized, it is the report of what would be done.
pub struct ServicePlan {
    report: SyncReport,
    ready: Mutex<Option<Ready>>,
}

/// What an application needs.
pub(super) struct Ready {
    pub(super) session: Session,
    pub(super) planned: AllPlanned,
    pub(super) request: AllRequest,
    /// Whom the session tells, from the application on.
    pub(super) told: Arc<OnceLock<Listener>>,
}

impl ServicePlan {
    pub(super) const fn new(report: SyncReport, ready: Ready) -> Self {
        Self {
            report,
            ready: Mutex::new(Some(ready)),
        }
    }

    /// What would be done, and what a person has to choose before.
    pub const fn report(&self) -> &SyncReport {
        &self.report
    }

    /// Whether there is nothing to do, and nothing to choose.
    pub fn is_empty(&self) -> bool {
        self.report.operations.iter().all(|one| match &one.told {
            Told::Files(files) => {
                files.changes.is_empty() && files.pulled.is_empty() && files.conflicts.is_empty()
            }
            Told::Rows(rows) => {
                rows.pulled.is_empty() && rows.pushed.is_empty() && rows.conflicts.is_empty()
            }
            Told::Without(without) => without.failure.is_none(),
        })
    }

    /// What is applied; `None` where it was already.
    pub(super) fn take(&self) -> Option<Ready> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.take()
    }
}

impl fmt::Debug for ServicePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicePlan")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl Serialize for ServicePlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.report.serialize(serializer)
    }
}

impl fmt::Display for ServicePlan {
    /// A line for each operation, below it what would change on which side.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for operation in &self.report.operations {
            write!(f, "{:<9} ", operation.target.as_str())?;
            match &operation.told {
                Told::Files(files) => {
                    let all = files.pulled.iter().chain(&files.changes);
                    writeln!(f, "{}", Counts::of(all.clone()))?;
                    for change in all {
                        let mark = match change.kind {
                            ChangeKind::Added => '+',
                            ChangeKind::Removed => '-',
                            ChangeKind::Modified | ChangeKind::Mode | ChangeKind::Type => '~',
                        };
                        writeln!(f, "  {mark} {}", change.path)?;
                    }
                    for conflict in &files.conflicts {
                        writeln!(f, "  ! {}: {}", conflict.path, conflict.reason.as_str())?;
                    }
                }
                Told::Rows(rows) => {
                    let tables = rows.pulled.iter().chain(&rows.pushed);
                    let sum: u64 = tables.clone().map(TableCounts::total).sum();
                    writeln!(f, "{sum} rows")?;
                    for table in tables {
                        writeln!(
                            f,
                            "  ~ {}: {} created, {} updated, {} deleted",
                            table.table, table.created, table.updated, table.deleted
                        )?;
                    }
                    for conflict in &rows.conflicts {
                        writeln!(f, "  ! {}: both sides changed it", conflict.table)?;
                    }
                }
                Told::Without(without) => match without.errors.first() {
                    Some(problem) => writeln!(f, "{} [{}]", problem.message, problem.code)?,
                    None => writeln!(
                        f,
                        "not started: {}",
                        without.state.reason().unwrap_or_default()
                    )?,
                },
            }
        }
        Ok(())
    }
}
