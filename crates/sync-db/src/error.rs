//! What can go wrong with a database, under which code, and what to do next.

use std::time::Duration;

use snafu::Snafu;
use sync_core::map::{MapError, StoreError};
use sync_core::rows::TableName;
use sync_core::{Class, Fault};
use tokio_postgres::error::SqlState;

use crate::apply::TableDifference;

/// Why a database could not be captured, or a plan not applied.
///
/// No variant has a value of a row in it, nor the address with its password. Unless a variant says otherwise, the rows are as
/// they were before the call.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The address is none, or asks for what is not supported.
    #[snafu(display("the database URL cannot be used: {reason}"))]
    Url {
        /// What is wrong, without the URL itself: it has a password in it.
        reason: String,
    },
    /// The certificates to trust cannot be used.
    #[snafu(display("the certificate authorities for the database cannot be used: {reason}"))]
    Certificates {
        /// What is wrong with them.
        reason: String,
    },
    /// The database does not answer, or ended the connection.
    #[snafu(display("the database at {at} is not reachable while {doing}: {reason}"))]
    Unreachable {
        /// Host, port and name of the database.
        at: String,
        /// What was being done, as a participle.
        doing: String,
        /// What was said.
        reason: String,
    },
    /// The database took longer than it may.
    #[snafu(display("the database took longer than {} s while {doing}", limit.as_secs()))]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long it may take.
        limit: Duration,
    },
    /// The database refused a statement.
    #[snafu(display("the database refused {doing}: {}", refusal.as_ref()))]
    Refused {
        /// What was being done.
        doing: String,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// A table that is to be synced is not there.
    #[snafu(display("there is no table `{table}`"))]
    NoTable {
        /// Its name.
        table: TableName,
    },
    /// A table cannot be a row set as it is, or as it is configured.
    #[snafu(display("table `{table}` cannot be synced: {reason}"))]
    Unfit {
        /// Its name.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// Foreign keys that cannot be deferred go in a circle.
    #[snafu(display("the foreign keys of {} go in a circle and cannot be deferred", constraints.join(", ")))]
    Cycle {
        /// `table.constraint` of each, in order.
        constraints: Vec<String>,
    },
    /// Schema `sync` is not there, or of a version that this program does not know.
    #[snafu(display("the bookkeeping of the database is {found}, and {wanted} is needed"))]
    Bookkeeping {
        /// What is there.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// Another run has this database.
    #[snafu(display("another sync holds the database (process {pid} of the database server)"))]
    Held {
        /// The process of the database server that holds the lock.
        pid: i32,
    },
    /// Rows are not what the plan expects: somebody changed them since it was made. Nothing was overwritten.
    #[snafu(display("{total} rows changed after the plan was made, the first in `{table}`"))]
    Moved {
        /// The table of the first of them.
        table: TableName,
        /// How many were found.
        total: u64,
    },
    /// Somebody else wrote down a state of the database since it was captured. Nothing was written.
    #[snafu(display("another sync wrote down the state of the database since it was captured"))]
    Overtaken,
    /// The database sent rows in another order than that of their keys.
    #[snafu(display("the rows of `{table}` came out of order"))]
    Order {
        /// The table.
        table: TableName,
    },
    /// A large value or a schema could not be stored.
    #[snafu(display("an object of a row could not be stored"))]
    Object {
        /// Why.
        source: StoreError,
    },
    /// The tables of the two sides differ, so that rows of one cannot go to the other.
    #[snafu(display("tables differ: {}", listed(differences)))]
    Schemas {
        /// The tables, and how they differ.
        differences: Vec<(TableName, TableDifference)>,
    },
    /// The connection was lost while a transaction was committed: it is done whole, or not at all.
    #[snafu(display(
        "the connection to the database at {at} was lost during the commit: {reason}"
    ))]
    Uncertain {
        /// Host, port and name of the database.
        at: String,
        /// What was said.
        reason: String,
    },
    /// A map that names rows could not be read or written.
    #[snafu(display("the map of rows could not be read or written"))]
    Map {
        /// Why.
        source: MapError,
    },
    /// What a map has is no row of this table.
    #[snafu(display("a row of `{table}` is malformed: {reason}"))]
    Malformed {
        /// The table.
        table: TableName,
        /// What is wrong with it.
        reason: String,
    },
    /// A thread of ours ended early.
    #[snafu(display("a task ended early"))]
    Task,
}

/// What the database said when it refused: `tokio-postgres` itself prints only "db error".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The five characters of `SQLSTATE`.
    pub state: String,
    /// The message.
    pub message: String,
    /// The constraint that it is about, if any.
    pub constraint: Option<String>,
    /// The table that it is about, if any.
    pub table: Option<String>,
    /// The column that it is about, if any.
    pub column: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {}", self.message, self.state)?;
        for (what, name) in [
            ("constraint", &self.constraint),
            ("table", &self.table),
            ("column", &self.column),
        ] {
            if let Some(name) = name {
                write!(f, ", {what} {name}")?;
            }
        }
        f.write_str(")")
    }
}

impl Refusal {
    /// From what the driver has. The detail is left out: it quotes values of rows.
    pub(crate) fn of(error: &tokio_postgres::error::DbError) -> Self {
        Self {
            state: error.code().code().to_owned(),
            message: error.message().to_owned(),
            constraint: error.constraint().map(str::to_owned),
            table: error.table().map(str::to_owned),
            column: error.column().map(str::to_owned),
        }
    }

    /// Whether a constraint or a type refused a row, as another row might not be.
    pub fn is_about_a_row(&self) -> bool {
        // Class 22 is data, class 23 is constraints; a trigger or rule of the application raises P0001 and 44000.
        ["22", "23", "44"]
            .iter()
            .any(|class| self.state.starts_with(class))
            || self.state == "P0001"
    }

    /// Whether doing the same again may succeed: a deadlock, a serialization failure, a lock that was not had in time.
    pub fn is_transient(&self) -> bool {
        [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .iter()
        .any(|state| state.code() == self.state)
    }
}

impl Error {
    /// From an error of the driver, while doing something.
    pub(crate) fn of(at: &str, doing: &str, error: &tokio_postgres::Error) -> Self {
        if let Some(said) = error.as_db_error() {
            let state = said.code();
            // The server goes away, starts up or has no connection to give: class 57 but for a statement's own end, and 53300.
            let away = [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::TOO_MANY_CONNECTIONS,
            ];
            if away.contains(state) {
                return UnreachableSnafu {
                    at,
                    doing,
                    reason: said.message(),
                }
                .build();
            }
            let refusal = Box::new(Refusal::of(said));
            return RefusedSnafu { doing, refusal }.build();
        }
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        UnreachableSnafu { at, doing, reason }.build()
    }

    /// What the database said, where it refused a statement.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

/// `table: difference` of each.
fn listed(differences: &[(TableName, TableDifference)]) -> String {
    let said = differences
        .iter()
        .map(|(table, difference)| format!("`{table}`: {difference}"));
    said.collect::<Vec<_>>().join("; ")
}

impl From<MapError> for Error {
    fn from(source: MapError) -> Self {
        Self::Map { source }
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "db/url",
            Self::Certificates { .. } => "db/certificates",
            Self::Unreachable { .. } => "db/unreachable",
            Self::Timeout { .. } => "db/timeout",
            Self::Refused { .. } => "db/refused",
            Self::NoTable { .. } => "db/no-table",
            Self::Unfit { .. } => "db/unfit",
            Self::Cycle { .. } => "db/cycle",
            Self::Bookkeeping { .. } => "db/bookkeeping",
            Self::Held { .. } => "db/held",
            Self::Moved { .. } => "db/moved",
            Self::Schemas { .. } => "db/schemas",
            Self::Uncertain { .. } => "db/uncertain",
            Self::Overtaken => "db/overtaken",
            Self::Order { .. } => "db/order",
            Self::Object { .. } => "db/object",
            Self::Map { source } => source.code(),
            Self::Malformed { .. } => "db/malformed",
            Self::Task => "db/task",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Url { .. } | Self::Certificates { .. } | Self::Schemas { .. } => Class::Usage,
            Self::Unreachable { .. }
            | Self::Uncertain { .. }
            | Self::Timeout { .. }
            | Self::Held { .. } => Class::Unavailable,
            Self::Refused { refusal, .. } if refusal.is_transient() => Class::Unavailable,
            Self::Refused { refusal, .. }
                if refusal.state.starts_with("28") || refusal.state == "42501" =>
            {
                Class::Denied
            }
            Self::Moved { .. } | Self::Overtaken => Class::Conflict,
            Self::Order { .. } => Class::Bug,
            Self::Map { source } => source.class(),
            Self::Malformed { .. } => Class::Integrity,
            Self::Refused { .. }
            | Self::NoTable { .. }
            | Self::Unfit { .. }
            | Self::Cycle { .. }
            | Self::Bookkeeping { .. }
            | Self::Object { .. }
            | Self::Task => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url { .. } => "give it as `postgres://USER:PASSWORD@HOST:PORT/DATABASE`",
            Self::Certificates { .. } => "name a PEM file with `sslrootcert=FILE` in the URL",
            Self::Unreachable { .. } => {
                "start the database, or check the address; nothing was changed"
            }
            Self::Timeout { .. } => "see what holds it with `sync-cli db status`, then run again",
            Self::NoTable { .. } => {
                "run `sync-cli db migrate`, or your own migration, or take the table out of `sync.toml`"
            }
            Self::Bookkeeping { .. } => "run `sync-cli db migrate`",
            Self::Held { .. } => "wait for it to end, then run again",
            Self::Moved { .. } | Self::Overtaken => "run the command again: it plans anew",
            Self::Schemas { .. } => {
                "run the same migrations on both sides, or take columns and tables out in `sync.toml`"
            }
            Self::Uncertain { .. } => {
                "run the command again: the database itself tells whether the change is in it"
            }
            Self::Cycle { .. } => {
                "make one of the constraints DEFERRABLE, or leave one of the tables out"
            }
            Self::Order { .. } => {
                "report the definition of the table and the collation of the database; nothing was changed"
            }
            Self::Object { .. } => "repair what the cause names, then run again",
            Self::Refused { .. } | Self::Unfit { .. } | Self::Malformed { .. } | Self::Task => {
                return None;
            }
            Self::Map { source } => return source.hint(),
        };
        Some(hint.to_owned())
    }
}
