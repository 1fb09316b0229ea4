//! A stored pack in the making, and one that waits to be recorded.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sync_core::Digest;

use crate::catalogue::{PackRecord, Place};
use crate::pack::{PackFrame, Span, narrow};

/// A stored pack in the making: blocks as they are stored, and where every object is in them.
#[derive(Debug)]
pub(crate) struct Assembly {
    frame: PackFrame,
    parts: Vec<Bytes>,
    places: HashMap<Digest, Place>,
}

impl Assembly {
    pub(crate) fn new() -> Self {
        let (frame, magic) = PackFrame::start();
        Self {
            frame,
            parts: vec![magic],
            places: HashMap::new(),
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.frame.len()
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest)
    }

    /// Appends a block with its objects; an object that came before keeps its place.
    pub(crate) fn push(&mut self, stored: Bytes, objects: &[(Digest, Span)]) {
        // Packs are rolled long before an offset outgrows 32 bits.
        let block = self.frame.append(&stored, narrow(objects.len()));
        let block = u32::try_from(block).unwrap_or(u32::MAX);
        for (digest, span) in objects {
            self.places.entry(*digest).or_insert(Place {
                block,
                block_len: narrow(stored.len()),
                start: span.start,
                len: span.len,
            });
        }
        self.parts.push(stored);
    }

    /// The complete pack, `None` where it has no block.
    pub(crate) fn finish(self) -> Option<Pending> {
        if self.frame.is_empty() {
            return None;
        }
        let mut objects: Vec<_> = self.places.into_iter().collect();
        objects.sort_unstable_by_key(|(digest, _)| *digest);
        let mut parts = self.parts;
        let (name, end) = self.frame.finish();
        parts.push(end);
        let len = parts.iter().map(|part| part.len() as u64).sum();
        Some(Pending {
            record: Arc::new(PackRecord { name, len, objects }),
            parts,
        })
    }
}

/// A complete pack that the catalogue does not know yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) record: Arc<PackRecord>,
    /// The magic, the blocks, the end block.
    pub(crate) parts: Vec<Bytes>,
}

impl Pending {
    /// The stored block that starts at `offset`.
    pub(crate) fn block(&self, offset: u32) -> Option<Bytes> {
        let mut at = 0u64;
        // A pack of 8 MiB has some thirty blocks.
        let part = self.parts.iter().find(|part| {
            let found = at == u64::from(offset);
            at += part.len() as u64;
            found
        });
        part.cloned()
    }
}
