//! Packs in memory, for tests and for stores that need not outlive the process.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sync_core::Digest;

use super::{Blobs, beyond_the_end};
use crate::Error;

/// Packs in memory.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    packs: Mutex<BTreeMap<Digest, Bytes>>,
}

impl MemoryBlobs {
    fn packs(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        // No change below is ever half done, so a panic elsewhere leaves nothing to fear.
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error> {
        let bytes = parts.concat().into();
        self.packs().entry(*name).or_insert(bytes);
        Ok(())
    }

    async fn replace(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error> {
        self.packs().insert(*name, parts.concat().into());
        Ok(())
    }

    async fn get(&self, name: &Digest, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        let Some(pack) = self.packs().get(name).cloned() else {
            return Ok(None);
        };
        let len = pack.len() as u64;
        if range.end > len || range.start > range.end {
            return Err(beyond_the_end(name, len));
        }
        // Below the length of bytes that are in memory.
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(Some(pack.slice(at(range.start)..at(range.end))))
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let packs = self.packs();
        let listed = packs.range((from, Bound::Unbounded)).take(limit);
        Ok(listed
            .map(|(name, pack)| (*name, pack.len() as u64))
            .collect())
    }

    async fn delete(&self, name: &Digest) -> Result<bool, Error> {
        Ok(self.packs().remove(name).is_some())
    }
}
