//! The rows of a workspace's database: the operations that files have, over maps of tables.
//!
//! A [`Rows`] is one run with the database of a workspace against its tenant. What both agree on is in the database itself
//! and changes with its rows, in one transaction; the maps are in the workspace's private store.
//!
//! - `look`: what database and tenant hold. [`plan`], [`apply`]: push, pull and sync. [`back`]: rollback and undo.
//! - [`difference`]: what differs between two sides. [`conflicts`]: what a person has to choose, and has chosen.

pub mod apply;
pub mod back;
pub mod conflicts;
pub mod difference;
mod look;
mod memory;
pub mod plan;
mod report;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sync_core::map::Map;
use sync_core::{Digest, SnapshotId};
use sync_db::{ConnectOptions, Epoch};
use sync_rows::WorkingCopy;

use crate::decide::Point;
use crate::error::ConfigSnafu;
use crate::{Error, Session};

pub(crate) use apply::BroughtRows;
pub use apply::RowsOutcome;
pub use back::BackPlan;
pub use difference::RowsDifference;
pub(crate) use look::Look as RowsLook;
pub use look::{RowsRoots, RowsStatus};
pub(crate) use memory::kept;
pub use plan::{Direction, RowsPlan};
pub use report::{RowsPlanned, RowsReport};
pub use sync_core::rows::{Decided, Decider, TableCounts};
pub use sync_db::{Agreement, Database, Health, Hold, Holder, TableSpec, default_tables};
pub use sync_rows::{OpenConflict, Resolution, RowChange, RowKind};

/// One run with the database of a workspace.
#[derive(Debug)]
pub struct Rows<'s> {
    session: &'s Session,
    copy: WorkingCopy,
}

/// What both sides last agreed on about rows.
type Agreed = sync_rows::Agreed<Note>;

/// What else is remembered in the database's own transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Note {
    /// The root of the files of the snapshot, which a push of rows repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<Digest>,
    /// The root of the rows of the snapshot: what is agreed on may be less, where some could not be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<Digest>,
    /// What the last operation replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<ReplacedRows>,
}

/// What an operation replaced in the database. The maps are in the private store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedRows {
    /// Which operation, such as `pull`.
    pub operation: String,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub time: u64,
    /// The map of tables before it.
    pub before: Digest,
    /// The map of tables after it.
    pub after: Digest,
    /// What is agreed on again once it is undone; `None` where undoing it leaves that as it is.
    pub agreed: Option<Earlier>,
}

/// What was agreed on before an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The map of tables that both sides held.
    pub root: Digest,
    /// The root of the files of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// The root of the rows of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Digest>,
}

impl Earlier {
    fn of(agreed: &Agreed) -> Self {
        Self {
            snapshot: agreed.snapshot,
            root: agreed.root,
            files: agreed.note.files,
            rows: agreed.note.rows,
        }
    }

    fn again(self, note: Note) -> Agreed {
        Agreed {
            snapshot: self.snapshot,
            root: self.root,
            note: Note {
                files: self.files,
                rows: self.rows,
                ..note
            },
        }
    }
}

/// The database at a URL; nothing is connected yet.
///
/// # Errors
///
/// Where it is no URL of a database, or its certificates cannot be read; neither shows the URL.
pub fn open_database(url: &str) -> Result<Database, Error> {
    let database = Database::new(url, ConnectOptions::default());
    Ok(database.map_err(sync_rows::Error::from)?)
}

impl Session {
    /// A run with `database`, of which the rows travel that `sync.toml` names. Opens the private store.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where a table is named twice, or its rules make no sense.
    pub async fn rows(&self, database: Database) -> Result<Rows<'_>, Error> {
        let specs = self.workspace.config().database.tables();
        check_specs(&specs)?;
        let private = self.private().await?;
        let memory = Arc::new(memory::File::new(&self.workspace));
        let copy = WorkingCopy::new(database, specs, private, memory, self.key.clone());
        Ok(Rows {
            session: self,
            copy,
        })
    }
}

/// Refuses row sets that contradict themselves.
fn check_specs(specs: &[TableSpec]) -> Result<(), Error> {
    let refused = |reason: String| {
        ConfigSnafu {
            key: "database.tables",
            reason,
        }
        .fail()
    };
    for (index, spec) in specs.iter().enumerate() {
        if specs[..index].iter().any(|other| other.name == spec.name) {
            return refused(format!("table `{}` is named twice", spec.name));
        }
        if let Err(reason) = spec.rules() {
            return refused(reason);
        }
    }
    Ok(())
}

impl Rows<'_> {
    /// The database and its history.
    pub fn copy(&self) -> &WorkingCopy {
        &self.copy
    }

    /// A name for the state that the database is about to be left in.
    fn epoch(&self) -> Epoch {
        let random = || (self.session.context.random)().to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random());
        bytes[8..].copy_from_slice(&random());
        Epoch(bytes)
    }
}

/// The rows of a point; none where none were ever captured.
fn rows_of(point: Option<Point>) -> Digest {
    let rows = point.and_then(|point| point.rows);
    rows.unwrap_or(Map::empty_root())
}

/// Agreement on a whole snapshot.
fn agreed_on(head: Option<Point>, note: Note) -> Agreed {
    Agreed {
        snapshot: head.map(|head| head.id),
        root: rows_of(head),
        note: Note {
            files: head.map(|head| head.files),
            rows: head.and_then(|head| head.rows),
            ..note
        },
    }
}
