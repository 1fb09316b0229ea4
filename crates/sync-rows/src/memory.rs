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

    /// The states that the database may have been left in.
    pub(crate) fn known(&self) -> Vec<Known> {
        let candidates = [&self.known, &self.pending];
        let known = candidates.into_iter().flatten().filter_map(Noted::known);
        known.collect()
    }

    /// The database is about to go from the state `seen` to `epoch`, in which it holds `root`. That it has arrived is learnt
    /// when it is looked at next.
    pub(crate) fn expect(&mut self, seen: Option<Epoch>, epoch: Epoch, root: Digest) {
        let arrived = |noted: &mut Noted| noted.known().map(|known| known.epoch) == seen;
        if let Some(pending) = self.pending.take_if(arrived) {
            self.known = Some(pending);
        }
        self.pending = Some(Noted::new(epoch, root));
        self.complete([root]);
    }

    /// In the state `epoch` it holds `root`, and not what was expected.
    pub(crate) fn correct(&mut self, epoch: Epoch, root: Digest) {
        self.pending = Some(Noted::new(epoch, root));
        self.complete([root]);
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
        remembered.expect(None, old, before);
        remembered.expect(Some(old), new, after);
        let known = |epoch, root| Known { epoch, root };
        let both = [known(old, before), known(new, after)];
        assert_eq!(remembered.known(), both);
        // The change was not made, and another one is tried.
        let third = Epoch([3; 16]);
        remembered.expect(Some(old), third, before);
        assert_eq!(remembered.known(), [both[0], known(third, before)]);
        // It was, and comes out otherwise than expected.
        remembered.correct(third, after);
        remembered.expect(Some(third), new, before);
        assert_eq!(
            remembered.known(),
            [known(third, after), known(new, before)]
        );
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
