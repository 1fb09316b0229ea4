//! The rows of a workspace's database: the operations that files have, over maps of tables.
//!
//! A [`Rows`] is one run with the database of a workspace against its tenant. Its base is in the database itself and
//! changes with its rows, in one transaction; the maps are in the workspace's private store.
//!
//! - `look`: what database and tenant hold; [`plan`], [`apply`]: push, pull and sync. [`changes`]: rows that differ, for people.
//! - [`back`]: rollback and undo. [`conflicts`]: what a person has to choose. `memory`: what is remembered of the database
//!   outside of it.

pub mod apply;
pub mod back;
pub mod changes;
pub mod conflicts;
mod look;
mod memory;
pub mod plan;

use serde::{Deserialize, Serialize};
use sync_core::rows::{Rules, TableName};
use sync_core::{Digest, SnapshotId};
use sync_db::{Base, Database, TableSpec};

use crate::error::ConfigSnafu;
use crate::{Error, Session};

pub use apply::RowsOutcome;
pub use changes::{CellChange, RowChange, RowsDifference, TableSum};
pub use conflicts::{OpenConflict, Resolution};
pub use look::RowsStatus;
pub use plan::{Direction, RowsPlan};

/// One run with the database of a workspace.
#[derive(Debug)]
pub struct Rows<'s> {
    pub(crate) session: &'s Session,
    pub(crate) database: Database,
    pub(crate) specs: Vec<TableSpec>,
}

/// What both sides last agreed on about rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) snapshot: Option<SnapshotId>,
    /// The map of tables.
    pub(crate) root: Digest,
    pub(crate) note: Note,
}

/// What else is remembered in the database's own transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The root of the files of the snapshot, which a push of rows repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<Digest>,
    /// The root of the rows of the snapshot, where it is not what is agreed on: some could not be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<Digest>,
    /// What the last operation replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undo: Option<ReplacedRows>,
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
    pub agreed: Option<(Option<SnapshotId>, Digest)>,
}

impl Session {
    /// A run with `database`, of which the rows travel that `sync.toml` names.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where a table is named twice, or its rules make no sense.
    pub fn rows(&self, database: Database) -> Result<Rows<'_>, Error> {
        let specs = self.workspace.config().database.tables();
        check_specs(&specs)?;
        Ok(Rows {
            session: self,
            database,
            specs,
        })
    }
}

/// Refuses row sets that contradict themselves.
pub fn check_specs(specs: &[TableSpec]) -> Result<(), Error> {
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
    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The row sets.
    pub fn specs(&self) -> &[TableSpec] {
        &self.specs
    }

    /// How rows of a table are merged.
    pub(crate) fn rules(&self, table: &TableName) -> Rules {
        rules_of(&self.specs, table)
    }
}

/// How rows of a table are merged; one that is not configured here is left to a person.
pub(crate) fn rules_of(specs: &[TableSpec], table: &TableName) -> Rules {
    let spec = specs.iter().find(|spec| spec.name == *table);
    spec.and_then(|spec| spec.rules().ok()).unwrap_or_default()
}

impl Agreed {
    pub(crate) fn of(base: Option<Base>) -> Self {
        match base {
            None => Self {
                snapshot: None,
                root: sync_core::map::Map::empty_root(),
                note: Note::default(),
            },
            Some(Base { snapshot, root, note }) => Self {
                snapshot,
                root,
                // What is not ours to read is forgotten: it only saves work.
                note: serde_json::from_str(&note).unwrap_or_default(),
            },
        }
    }

    pub(crate) fn into_base(self) -> Base {
        Base {
            snapshot: self.snapshot,
            root: self.root,
            note: serde_json::to_string(&self.note).unwrap_or_default(),
        }
    }
}
