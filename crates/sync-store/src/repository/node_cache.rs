//! Nodes that were read here and there, by tenant: an operation reads the same few again and again, each in a block of its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sync_core::Digest;

use crate::catalogue::TenantId;

/// Half of what is held at the most, in bytes of nodes.
pub(crate) const GENERATION: usize = 6 << 20;

type Key = (TenantId, Digest);

/// The nodes that were read last, in two generations: what is asked for stays, what is not goes with the older one.
#[derive(Debug, Default)]
pub(crate) struct NodeCache {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    young: HashMap<Key, Bytes>,
    old: HashMap<Key, Bytes>,
    bytes: usize,
}

impl NodeCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // A cache: whatever a panic left is as good as anything.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, tenant: TenantId, digest: &Digest) -> Option<Bytes> {
        let key = (tenant, *digest);
        let mut held = self.lock();
        if let Some(node) = held.young.get(&key) {
            return Some(node.clone());
        }
        let node = held.old.remove(&key)?;
        held.insert(key, node.clone());
        Some(node)
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
        if self.bytes + node.len() > GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += node.len();
        if let Some(before) = self.young.insert(key, node) {
            self.bytes -= before.len();
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
