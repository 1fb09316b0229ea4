//! The objects that this run can read: new ones in memory, above those of the workspace's private store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{NodeSink, NodeSource, StoreError};
use sync_store::RepositoryNodes;

/// Nodes, chunk lists and snapshots by digest. Cheap to clone; all clones see the same new objects.
///
/// Reading blocks, so this is used on blocking threads. What is new stays in memory until the plan it belongs to
/// is applied: a plan that is only looked at changes nothing on disk.
#[derive(Debug, Clone)]
pub(crate) struct Maps {
    new: Arc<Mutex<HashMap<Digest, Bytes>>>,
    stored: Arc<OnceLock<RepositoryNodes>>,
}

impl Maps {
    /// Nothing yet: [`Maps::attach`] adds what is stored.
    pub(crate) fn new() -> Self {
        Self {
            new: Arc::default(),
            stored: Arc::default(),
        }
    }

    /// Whether what is stored can be read through it.
    pub(crate) fn is_attached(&self) -> bool {
        self.stored.get().is_some()
    }

    /// Lets it, and all its clones, read what is stored; the first one counts.
    pub(crate) fn attach(&self, stored: RepositoryNodes) {
        let _ = self.stored.set(stored);
    }

    /// Adds an object whose digest was checked.
    pub(crate) fn insert(&self, digest: Digest, bytes: Bytes) {
        self.lock().insert(digest, bytes);
    }

    /// The bytes of an object.
    pub(crate) fn object(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.lock().get(digest) {
            return Ok(Some(bytes.clone()));
        }
        self.stored
            .get()
            .map_or(Ok(None), |stored| stored.node(digest))
    }

    /// Everything that is new, to be stored. It stays at hand, for it is what a run reads next.
    pub(crate) fn new_objects(&self) -> Vec<(Digest, Bytes)> {
        let new = self.lock();
        new.iter()
            .map(|(digest, bytes)| (*digest, bytes.clone()))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Bytes>> {
        // The map is whole at every moment: a panic elsewhere cannot have left it half changed.
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeSource for Maps {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.object(digest)
    }
}

impl NodeSink for Maps {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.insert(digest, bytes.into());
        Ok(())
    }
}
