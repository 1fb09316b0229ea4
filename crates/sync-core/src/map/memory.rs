//! Nodes in memory.

use std::collections::HashMap;

use bytes::Bytes;

use super::{NodeSink, NodeSource, StoreError};
use crate::Digest;

/// A source and sink that holds its nodes in memory: for small maps, for nodes on their way to a store, and for tests.
#[derive(Debug, Clone, Default)]
pub struct MemoryNodes {
    nodes: HashMap<Digest, Bytes>,
}

impl MemoryNodes {
    /// Without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the node is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.nodes.contains_key(digest)
    }

    /// The nodes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Bytes)> {
        self.nodes.iter()
    }

    /// Adds a node under the digest that names it, believed as it is: what reads the map checks it.
    pub fn insert(&mut self, digest: Digest, bytes: Bytes) {
        self.nodes.insert(digest, bytes);
    }

    /// Takes a node away.
    pub fn remove(&mut self, digest: &Digest) -> Option<Bytes> {
        self.nodes.remove(digest)
    }
}

impl IntoIterator for MemoryNodes {
    type Item = (Digest, Bytes);
    type IntoIter = std::collections::hash_map::IntoIter<Digest, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.nodes.into_iter()
    }
}

impl Extend<(Digest, Bytes)> for MemoryNodes {
    fn extend<I: IntoIterator<Item = (Digest, Bytes)>>(&mut self, nodes: I) {
        self.nodes.extend(nodes);
    }
}

impl NodeSource for MemoryNodes {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(self.nodes.get(digest).cloned())
    }
}

impl NodeSink for MemoryNodes {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.nodes.insert(digest, bytes.into());
        Ok(())
    }
}
