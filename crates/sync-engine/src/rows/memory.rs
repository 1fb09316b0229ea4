//! What is remembered of the database outside of it: whether it is the one that it was, and a push that is under way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::Digest;
use sync_db::{Epoch, Known};

use super::Rows;
use crate::Error;
use crate::decide::Point;
use crate::error::{StateSnafu, WriteSnafu};

const FILE: &str = "database.json";

/// Kept in `.sync/database.json`. Without it the database is read whole, and nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The state that the database was left in.
    #[serde(default)]
    known: Option<Noted>,
    /// The state that it is about to be left in: a run that ends in between leaves it in one of both.
    #[serde(default)]
    pending: Option<Noted>,
    /// The push that was begun last, until it is known to have arrived.
    #[serde(default)]
    pub(crate) pushing: Option<Point>,
    /// Maps of tables of which everything is in the private store, the last ones used last.
    #[serde(default)]
    pub(crate) complete: Vec<Digest>,
}

/// How many maps are known to be complete, and kept by collections.
const MAX_COMPLETE: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    epoch: String,
    root: Digest,
}

impl Noted {
    fn known(&self) -> Option<Known> {
        let epoch = self.epoch.parse().ok()?;
        Some(Known {
            epoch,
            root: self.root,
        })
    }
}

impl Memory {
    /// What is known of a database that says it is in the state `epoch`.
    pub(crate) fn known(&self, epoch: Option<Epoch>) -> Option<Known> {
        let candidates = [&self.known, &self.pending];
        let known = candidates.into_iter().flatten().filter_map(Noted::known);
        let mut known = known.filter(|known| Some(known.epoch) == epoch);
        known.next()
    }
}

impl Rows<'_> {
    fn path(&self) -> PathBuf {
        self.session.workspace.private().join(FILE)
    }

    pub(crate) fn memory(&self) -> Result<Memory, Error> {
        let path = self.path();
        match std::fs::read(&path) {
            // What cannot be read is not needed.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(error) => StateSnafu {
                path,
                reason: error.to_string(),
            }
            .fail(),
        }
    }

    fn remember(&self, memory: &Memory) -> Result<(), Error> {
        self.session.workspace.make_private()?;
        let path = self.path();
        let bytes = serde_json::to_vec_pretty(memory).unwrap_or_default();
        // Lost with the machine, it costs a full comparison.
        crate::state::replace(&path, &bytes, crate::state::Sync::No).context(WriteSnafu { path })
    }

    /// Names the state that the database is about to be left in, with the map of tables that it will hold.
    pub(crate) fn name_epoch(&self, root: Digest) -> Result<Epoch, Error> {
        let random = || (self.session.context.random)().to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random());
        bytes[8..].copy_from_slice(&random());
        let epoch = Epoch(bytes);
        let mut memory = self.memory()?;
        memory.pending = Some(Noted {
            epoch: epoch.to_string(),
            root,
        });
        self.remember(&memory)?;
        Ok(epoch)
    }

    /// The database was left in the state that was named; it holds `root`.
    pub(crate) fn confirm_epoch(&self, epoch: Epoch, root: Digest) -> Result<(), Error> {
        let mut memory = self.memory()?;
        memory.pending = None;
        memory.known = Some(Noted {
            epoch: epoch.to_string(),
            root,
        });
        self.remember(&memory)
    }

    /// Everything of these maps is in the private store: what they are needed for is not fetched again.
    pub(crate) fn set_complete(&self, roots: impl IntoIterator<Item = Digest>) -> Result<(), Error> {
        let mut memory = self.memory()?;
        let before = memory.complete.clone();
        for root in roots {
            memory.complete.retain(|known| *known != root);
            memory.complete.push(root);
        }
        let excess = memory.complete.len().saturating_sub(MAX_COMPLETE);
        memory.complete.drain(..excess);
        if memory.complete == before {
            return Ok(());
        }
        self.remember(&memory)
    }

    /// A push to `target` begins, or with `None` has ended.
    pub(crate) fn set_pushing(&self, target: Option<Point>) -> Result<(), Error> {
        let mut memory = self.memory()?;
        memory.pushing = target;
        self.remember(&memory)
    }
}
