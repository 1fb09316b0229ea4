//! The objects that this run can read: new ones in memory, above those of the workspace's private store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{Node, NodeSink, NodeSource, StoreError};
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
    ///
    /// What a node names comes before it: a run that ends while they are stored leaves no root without what is below it.
    pub(crate) fn new_objects(&self) -> Vec<(Digest, Bytes)> {
        let mut rest: BTreeMap<Digest, Bytes> = {
            let new = self.lock();
            new.iter()
                .map(|(digest, bytes)| (*digest, bytes.clone()))
                .collect()
        };
        let mut ordered = Vec::with_capacity(rest.len());
        while let Some((digest, bytes)) = rest.pop_first() {
            let mut open = vec![(digest, bytes, false)];
            while let Some((digest, bytes, below_done)) = open.pop() {
                if below_done {
                    ordered.push((digest, bytes));
                    continue;
                }
                // What is no node names nothing that a map is read through.
                let children: Vec<Digest> = Node::decode(bytes.clone())
                    .map(|node| node.children().map(|child| child.digest).collect())
                    .unwrap_or_default();
                open.push((digest, bytes, true));
                let new = children
                    .into_iter()
                    .filter_map(|child| rest.remove_entry(&child));
                open.extend(new.map(|(digest, bytes)| (digest, bytes, false)));
            }
        }
        ordered
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

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::map;

    #[test]
    fn what_a_node_names_is_stored_before_it() {
        let maps = Maps::new();
        let entries: Vec<_> = (0..20_000).map(|n| format!("{n:08}")).collect();
        let edits = entries
            .iter()
            .map(|key| (key.as_bytes(), Some(key.as_bytes())));
        let made = map::edit(&maps, map::Map::empty_root(), edits, &mut maps.clone()).unwrap();
        let objects = maps.new_objects();
        let mut stored = std::collections::HashSet::new();
        for (digest, bytes) in &objects {
            let node = Node::decode(bytes.clone()).unwrap();
            assert!(node.children().all(|child| stored.contains(&child.digest)));
            stored.insert(*digest);
        }
        assert!(stored.contains(&made.root) && objects.len() > 100);
        assert_eq!(objects.len(), stored.len());
    }
}
