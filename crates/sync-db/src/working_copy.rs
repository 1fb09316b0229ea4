//! What the database remembers of its own syncs, and what its owner remembers outside of it.

use std::fmt;
use std::str::FromStr;

use sync_core::rows::{TableEntry, TableName};
use sync_core::{Digest, SnapshotId};

use crate::relation::Relation;

/// The random name of a state that was written down. Whoever captures remembers it outside of the database too:
/// where the two differ, the database is another one than it was, and nothing it remembers is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Epoch {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Longer or shorter text overflows or loses digits: `{:032x}` of what was read says which.
        let number = u128::from_str_radix(text, 16)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What the owner of a database remembers of its last written state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The state.
    pub epoch: Epoch,
    /// The map of tables that was captured then.
    pub root: Digest,
}

/// Until where the change logs were read: a snapshot of the database, in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// `pg_current_snapshot()` of the capture.
    pub(crate) snapshot: String,
    /// `system_identifier` of the cluster and the number of the database in it.
    pub(crate) cluster: String,
}

/// Why a database was read whole although it was captured before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing is remembered here, or nothing there.
    Unknown,
    /// The database remembers another state: it was restored, or somebody else captured it.
    OtherEpoch,
    /// It is another cluster or database than it was: it was copied.
    OtherCluster,
    /// It is a standby, where the list of running transactions cannot be trusted.
    Standby,
    /// What was captured then is no longer held here.
    LostMap,
}

/// How a table was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Only the rows that the change log names.
    Log {
        /// How many keys those were.
        keys: u64,
    },
    /// All of it.
    Whole,
}

/// What was captured of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCapture {
    /// Which table.
    pub name: TableName,
    /// What it holds.
    pub entry: TableEntry,
    /// How it was read.
    pub reading: Reading,
    /// Whether it is known that its rows name nothing beside the nodes of their map: no value was too large for one.
    pub is_inline: bool,
}

/// A consistent cut through all tables. Nothing was written by making it.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The map of tables.
    pub root: Digest,
    /// The tables, in the order of their names.
    pub tables: Vec<TableCapture>,
    /// Why everything was read, where there was something to go on from.
    pub doubt: Option<Doubt>,
    /// The tables as the database defines them, in the order of their names.
    pub relations: Vec<Relation>,
    /// Whether there is anything to write down: changed rows, keys in the log, or a doubt.
    pub is_news: bool,
    /// Whether transactions were running that had changed rows of tracked tables: what they did is in the next capture, and
    /// perhaps nobody is woken for it.
    pub is_writing: bool,
    /// Until where the logs were read.
    pub(crate) cursor: Cursor,
    /// Whether schema `sync` has the version of this program.
    pub(crate) is_current: bool,
    /// The state that the database had written down.
    pub(crate) seen: Option<Epoch>,
    /// What keeps the logs, as it was then.
    pub(crate) tracks: Vec<String>,
}

impl Capture {
    /// The state that the database had written down; `None` where it had none.
    pub const fn epoch(&self) -> Option<Epoch> {
        self.seen
    }

    /// What a capture would find that was made right after this one was applied or written down: the database holds `root`,
    /// in the state `epoch`. What others changed in between is found by the next one, as the cursor stays.
    #[must_use]
    pub fn applied(&self, root: Digest, epoch: Epoch) -> Self {
        Self {
            root,
            seen: Some(epoch),
            is_news: false,
            doubt: None,
            ..self.clone()
        }
    }
}

/// What a database and a remote last agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The map of tables that both sides hold: that of the snapshot, but for rows that could not be stored here.
    pub root: Digest,
    /// Whatever else its owner wants to change in the same transaction.
    pub note: String,
}

/// What is written down about a database, in one transaction with what changes in it.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The new name of its state; the owner has noted it already.
    pub epoch: Epoch,
    /// What is agreed on with a remote afterwards, by the remote's name; `None` leaves all agreements as they are.
    pub agreed: Option<(String, Base)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_read_as_it_is_written() {
        let epoch = Epoch(*b"\x00\x01abcdefghijklmn");
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert!("x".parse::<Epoch>().is_err());
    }
}
