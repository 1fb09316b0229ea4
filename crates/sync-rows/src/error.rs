//! What can go wrong between a database and the store of its history.

use snafu::Snafu;
use sync_core::map::MapError;
use sync_core::rows::{MergeError, RowError, TableName};
use sync_core::{Class, Digest, Fault};

/// Why rows could not be captured, merged, applied or shown.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The database.
    #[snafu(transparent)]
    Database {
        /// What `sync-db` said.
        source: sync_db::Error,
    },
    /// The store.
    #[snafu(display("the store of the history failed"))]
    Store {
        /// What it said.
        source: sync_store::Error,
    },
    /// A map could not be read.
    #[snafu(display("the map of rows could not be read"))]
    Map {
        /// What is wrong.
        source: MapError,
    },
    /// Two sides could not be merged.
    #[snafu(display("the rows could not be merged: {source}"))]
    Merge {
        /// Why.
        source: MergeError,
    },
    /// A row could not be read.
    #[snafu(display("a row of `{table}` could not be read"))]
    Row {
        /// The table.
        table: TableName,
        /// Why.
        source: RowError,
    },
    /// The schema of a table is not there, or is none.
    #[snafu(display("the schema {digest} of a table is missing or malformed"))]
    Schema {
        /// Its digest.
        digest: Digest,
    },
    /// What is remembered of the database cannot be read or written.
    #[snafu(display("what is remembered of the database cannot be kept: {reason}"))]
    Memory {
        /// Why.
        reason: String,
    },
    /// A task of this process ended without an answer.
    #[snafu(display("a task of this process ended without an answer"))]
    Task {
        /// What the runtime said.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// Whether rows changed since the plan was made, so that a new plan may well succeed.
    pub fn is_moved(&self) -> bool {
        matches!(
            self,
            Self::Database {
                source: sync_db::Error::Moved { .. } | sync_db::Error::Overtaken
            }
        )
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Database { source } => source.code(),
            Self::Store { source } => source.code(),
            Self::Map { source } => source.code(),
            Self::Merge { .. } => "rows/merge",
            Self::Row { .. } => "rows/row",
            Self::Schema { .. } => "rows/schema",
            Self::Memory { .. } => "rows/memory",
            Self::Task { .. } => "rows/task",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Database { source } => source.class(),
            Self::Store { source } => source.class(),
            Self::Map { source } => source.class(),
            Self::Merge { source } => match source {
                MergeError::Map { source } => source.class(),
                MergeError::Row { .. } => Class::Integrity,
                MergeError::Schema { .. } | MergeError::TooMany { .. } => Class::Conflict,
            },
            Self::Row { .. } | Self::Schema { .. } => Class::Integrity,
            Self::Memory { .. } => Class::Failed,
            Self::Task { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Database { source } => source.hint(),
            Self::Store { source } => source.hint(),
            Self::Merge {
                source: MergeError::Schema { .. },
            } => Some("run the same migration on both sides, then sync again".to_owned()),
            Self::Merge {
                source: MergeError::TooMany { .. },
            } => Some("choose for all of them with `--on-conflict ours|theirs`".to_owned()),
            _ => None,
        }
    }
}
