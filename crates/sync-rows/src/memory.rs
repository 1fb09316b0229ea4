//! What is remembered of a database outside of it: whether it is the one that it was, and which maps are whole here.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sync_core::Digest;
use sync_db::{Epoch, Known};

use crate::Error;
use crate::error::MemorySnafu;

/// Where it is kept: a small value that is replaced as a whole.
#[async_trait]
pub trait Memory: Send + Sync + std::fmt::Debug {
    /// What was kept last; `None` where nothing was.
    async fn load(&self) -> Result<Option<Vec<u8>>, String>;
    /// Keeps `bytes`. Lost with the machine, it costs a full comparison.
    async fn store(&self, bytes: Vec<u8>) -> Result<(), String>;
}

/// How many maps are known to be whole, and kept by collections.
const MAX_WHOLE: usize = 16;

/// What is remembered. Without it the database is read whole, and nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// The state that the database was left in.
    #[serde(default)]
    known: Option<Noted>,
    /// The state that it is about to be left in: a run that ends in between leaves it in one of both.
    #[serde(default)]
    pending: Option<Noted>,
    /// Maps of tables of which everything is in the store, the last ones used last.
    #[serde(default)]
    pub whole: Vec<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    epoch: String,
    root: Digest,
}

impl Noted {
    fn new(epoch: Epoch, root: Digest) -> Self {
        Self {
            epoch: epoch.to_string(),
            root,
        }
    }

    fn known(&self) -> Option<Known> {
        let epoch = self.epoch.parse().ok()?;
        Some(Known {
            epoch,
            root: self.root,
        })
    }
}

impl Remembered {
    pub(crate) async fn load(memory: &dyn Memory) -> Result<Self, Error> {
        match memory.load().await {
            // What cannot be read is not needed.
            Ok(bytes) => Ok(bytes
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default()),
            Err(reason) => MemorySnafu { reason }.fail(),
        }
    }

    pub(crate) async fn store(&self, memory: &dyn Memory) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        let stored = memory.store(bytes).await;
        stored.map_err(|reason| MemorySnafu { reason }.build())
    }

    /// What is known of a database that says it is in the state `epoch`.
    pub(crate) fn known(&self, epoch: Option<Epoch>) -> Option<Known> {
        let candidates = [&self.known, &self.pending];
        let known = candidates.into_iter().flatten().filter_map(Noted::known);
        let mut known = known.filter(|known| Some(known.epoch) == epoch);
        known.next()
    }

    pub(crate) fn expect(&mut self, epoch: Epoch, root: Digest) {
        self.pending = Some(Noted::new(epoch, root));
    }

    pub(crate) fn confirm(&mut self, epoch: Epoch, root: Digest) {
        self.pending = None;
        self.known = Some(Noted::new(epoch, root));
    }

    /// Everything of these maps is in the store.
    pub(crate) fn complete(&mut self, roots: impl IntoIterator<Item = Digest>) {
        for root in roots {
            self.whole.retain(|known| *known != root);
            self.whole.push(root);
        }
        let excess = self.whole.len().saturating_sub(MAX_WHOLE);
        self.whole.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_known_in_the_state_that_it_is_in() {
        let (old, new) = (Epoch([1; 16]), Epoch([2; 16]));
        let (before, after) = (Digest::of(b"before"), Digest::of(b"after"));
        let mut remembered = Remembered::default();
        remembered.confirm(old, before);
        remembered.expect(new, after);
        let root = |epoch| remembered.known(Some(epoch)).map(|known| known.root);
        assert_eq!((root(old), root(new)), (Some(before), Some(after)));
        assert_eq!(root(Epoch([3; 16])), None);
        assert_eq!(remembered.known(None), None);
    }

    #[test]
    fn the_maps_that_were_used_last_are_kept() {
        let mut remembered = Remembered::default();
        let root = |n: usize| Digest::of(&n.to_le_bytes());
        remembered.complete((0..MAX_WHOLE).map(root));
        remembered.complete([root(0), root(99)]);
        assert_eq!(remembered.whole.len(), MAX_WHOLE);
        assert!(!remembered.whole.contains(&root(1)) && remembered.whole.contains(&root(0)));
    }
}
