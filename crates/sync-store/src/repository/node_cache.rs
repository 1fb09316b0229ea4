//! Nodes that were read here and there, by tenant: an operation reads the same few again and again, each in a block of its own.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sync_core::Digest;

use super::node_file::{self, NodeFile};
use crate::catalogue::TenantId;

/// How many bytes of nodes are in memory at the most: what a change of some 250 scattered rows reads and makes.
const MAX_BYTES: usize = 4 << 20;

pub(crate) type Key = (TenantId, Digest);

/// The nodes that were read last. What came first goes first, unless it was asked for since its turn came last: out of memory
/// into a file, where the store has a directory.
#[derive(Debug, Default)]
pub(crate) struct NodeCache {
    held: Mutex<Held>,
    /// Taken after `held`, never before.
    file: Option<Mutex<NodeFile>>,
}

#[derive(Debug, Default)]
struct Held {
    nodes: HashMap<Key, Entry>,
    /// In the order in which they may go.
    turns: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    node: Bytes,
    was_asked_for: bool,
}

/// A cache: whatever a panic left is as good as anything.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NodeCache {
    /// A cache that has its file in `dir`.
    pub(crate) fn with_file_in(dir: &Path) -> Self {
        Self {
            file: Some(Mutex::new(NodeFile::new(dir))),
            ..Self::default()
        }
    }

    /// How many bytes of nodes it has room for.
    pub(crate) fn capacity(&self) -> u64 {
        let file = self.file.as_ref().map_or(0, |_| node_file::MAX_BYTES);
        MAX_BYTES as u64 + file
    }

    /// The node; for a thread that may block.
    pub(crate) fn get(&self, tenant: TenantId, digest: &Digest) -> Option<Bytes> {
        let key = (tenant, *digest);
        if let Some(entry) = lock(&self.held).nodes.get_mut(&key) {
            entry.was_asked_for = true;
            return Some(entry.node.clone());
        }
        lock(self.file.as_ref()?).get(&key)
    }

    /// Holds a copy: the slice that was read holds on to the whole of its block. For a thread that may block.
    pub(crate) fn insert(&self, tenant: TenantId, digest: Digest, node: &[u8]) {
        let mut held = lock(&self.held);
        let mut goes = Vec::new();
        held.insert((tenant, digest), Bytes::copy_from_slice(node), &mut goes);
        let file = self.file.as_ref().filter(|_| !goes.is_empty());
        // Whoever looks for a node finds it here or there.
        let file = file.map(lock);
        drop(held);
        if let Some(mut file) = file {
            for (key, node) in goes {
                file.insert(key, &node);
            }
        }
    }

    /// Forgets everything: a collection is about to remove objects.
    pub(crate) fn clear(&self) {
        *lock(&self.held) = Held::default();
        if let Some(file) = &self.file {
            lock(file).clear();
        }
    }
}

impl Held {
    /// Takes a node, and gives those to `goes` for which there is no room any more.
    fn insert(&mut self, key: Key, node: Bytes, goes: &mut Vec<(Key, Bytes)>) {
        let (len, was_asked_for) = (node.len(), false);
        let entry = Entry {
            node,
            was_asked_for,
        };
        if self.nodes.insert(key, entry).is_some() {
            return;
        }
        self.bytes += len;
        self.turns.push_back(key);
        while self.bytes > MAX_BYTES
            && let Some(next) = self.turns.pop_front()
        {
            goes.extend(self.turn(next));
        }
    }

    fn turn(&mut self, key: Key) -> Option<(Key, Bytes)> {
        let entry = self.nodes.get_mut(&key)?;
        if std::mem::take(&mut entry.was_asked_for) {
            self.turns.push_back(key);
            return None;
        }
        let entry = self.nodes.remove(&key)?;
        self.bytes -= entry.node.len();
        Some((key, entry.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_no_tenant_sees_another() {
        let cache = NodeCache::default();
        let (ours, theirs) = (TenantId(1), TenantId(2));
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        let node = vec![7; 64 << 10];
        cache.insert(ours, digest(0), &node);
        for n in 1..1000 {
            cache.insert(ours, digest(n), &node);
            assert!(cache.get(ours, &digest(0)).is_some(), "{n}");
        }
        assert_eq!(cache.get(ours, &digest(1)), None);
        assert_eq!(cache.get(theirs, &digest(0)), None);
        cache.clear();
        assert_eq!(cache.get(ours, &digest(0)), None);
    }

    #[test]
    fn what_no_longer_fits_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = NodeCache::with_file_in(dir.path());
        let tenant = TenantId(1);
        let node = |n: u64| n.to_le_bytes().repeat(8 << 10);
        for n in 0..1000 {
            cache.insert(tenant, Digest::of(&node(n)), &node(n));
        }
        for n in 0..1000 {
            let held = cache.get(tenant, &Digest::of(&node(n)));
            assert_eq!(held.as_deref(), Some(&node(n)[..]));
        }
        cache.clear();
        assert_eq!(cache.get(tenant, &Digest::of(&node(0))), None);
    }
}
