//! Nodes that were read here and there, by tenant: an operation reads the same few again and again, each in a block of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sync_core::Digest;

use crate::catalogue::TenantId;

/// How many bytes of nodes are held at the most: what a change of a thousand scattered rows reads and makes.
pub(crate) const MAX_BYTES: usize = 16 << 20;

type Key = (TenantId, Digest);

/// The nodes that were read last. What came first goes first, unless it was asked for since its turn came last.
#[derive(Debug, Default)]
pub(crate) struct NodeCache {
    held: Mutex<Held>,
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

impl NodeCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // A cache: whatever a panic left is as good as anything.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, tenant: TenantId, digest: &Digest) -> Option<Bytes> {
        let mut held = self.lock();
        let entry = held.nodes.get_mut(&(tenant, *digest))?;
        entry.was_asked_for = true;
        Some(entry.node.clone())
    }

    /// Holds a copy: the slice that was read holds on to the whole of its block.
    pub(crate) fn insert(&self, tenant: TenantId, digest: Digest, node: &[u8]) {
        self.lock()
            .insert((tenant, digest), Bytes::copy_from_slice(node));
    }

    /// Forgets everything: a collection is about to remove objects.
    pub(crate) fn clear(&self) {
        *self.lock() = Held::default();
    }
}

impl Held {
    fn insert(&mut self, key: Key, node: Bytes) {
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
            self.turn(next);
        }
    }

    fn turn(&mut self, key: Key) {
        let Some(entry) = self.nodes.get_mut(&key) else {
            return;
        };
        if std::mem::take(&mut entry.was_asked_for) {
            self.turns.push_back(key);
        } else {
            self.bytes -= entry.node.len();
            self.nodes.remove(&key);
        }
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
}
