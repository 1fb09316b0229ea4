//! Stored blocks taken apart, with a cache of the last few.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use snafu::{OptionExt, ensure};
use sync_core::Digest;

use super::Repository;
use crate::catalogue::Location;
use crate::error::CorruptSnafu;
use crate::pack::{BlockDecoder, Class, Span};
use crate::{Error, task};

/// A block taken apart.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) class: Class,
    pub(crate) raw: Bytes,
    pub(crate) spans: Vec<Span>,
}

/// Which block: the pack, and where in it.
type Key = (Digest, u32);

/// The last blocks that were taken apart, up to a number of bytes. What is evicted is what was used longest ago.
#[derive(Debug, Default)]
pub(crate) struct BlockCache {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    blocks: HashMap<Key, (Arc<Block>, u64)>,
    bytes: usize,
    uses: u64,
}

/// 4 MiB: a hundred blocks of nodes, or some fifteen of contents.
const MAX_BYTES: usize = 4 << 20;

impl Block {
    fn bytes(&self) -> usize {
        self.raw.len() + self.spans.len() * size_of::<Span>()
    }
}

impl BlockCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // A cache: whatever a panic left is as good as anything.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Block>> {
        let mut held = self.lock();
        held.uses += 1;
        let now = held.uses;
        let (block, used) = held.blocks.get_mut(&key)?;
        *used = now;
        Some(Arc::clone(block))
    }

    /// Forgets the blocks of a pack that is written anew.
    pub(crate) fn forget(&self, pack: &Digest) {
        let mut held = self.lock();
        held.blocks.retain(|(name, _), _| name != pack);
        held.bytes = held.blocks.values().map(|(block, _)| block.bytes()).sum();
    }

    pub(crate) fn insert(&self, key: Key, block: &Arc<Block>) {
        let mut held = self.lock();
        held.uses += 1;
        let uses = held.uses;
        held.bytes += block.bytes();
        if let Some((before, _)) = held.blocks.insert(key, (Arc::clone(block), uses)) {
            held.bytes -= before.bytes();
        }
        while held.bytes > MAX_BYTES && held.blocks.len() > 1 {
            let oldest = held.blocks.iter().min_by_key(|(_, (_, used))| *used);
            let Some(key) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some((evicted, _)) = held.blocks.remove(&key) {
                held.bytes -= evicted.bytes();
            }
        }
    }
}

/// The object at `location` among the raw bytes of its block, checked against its digest.
pub(crate) fn object(raw: &Bytes, location: &Location, digest: &Digest) -> Result<Bytes, Error> {
    let span = Span {
        start: location.place.start,
        len: location.place.len,
    };
    let reason = "its bytes are not what its digest names";
    let corrupt = CorruptSnafu {
        digest: *digest,
        reason,
    };
    let object = span.of(raw).context(corrupt)?;
    ensure!(Digest::of(&object) == *digest, corrupt);
    Ok(object)
}

/// Takes a stored block apart; what is wrong with it is damage, since it was checked when it came.
///
/// Whoever reads here and there takes a block apart for each node: the inflating context stays with the thread.
pub(crate) fn decode(stored: Bytes, pack: &Digest) -> Result<Arc<Block>, Error> {
    thread_local! {
        static DECODER: RefCell<Option<BlockDecoder>> = const { RefCell::new(None) };
    }
    let decoded = DECODER.with_borrow_mut(|decoder| {
        let decoder = match decoder {
            Some(decoder) => decoder,
            None => decoder.insert(BlockDecoder::new()?),
        };
        decoder.decode(stored)
    });
    let block = decoded.ok().context(CorruptSnafu {
        digest: *pack,
        reason: "a block of the pack does not decode",
    })?;
    Ok(Arc::new(Block {
        class: block.header.class,
        raw: block.raw,
        spans: block.spans,
    }))
}

/// What is wrong where a collection has moved an object since it was looked up, or its pack was lost.
pub(super) const GONE: &str = "the pack is not there";

/// Whether an error says that.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Corrupt { reason, .. } if *reason == GONE)
}

impl Repository {
    /// The block of an object, and where the object is now: where a collection has moved it since it was looked up, it
    /// is looked up again.
    pub(crate) async fn block_of(
        &self,
        digest: &Digest,
        location: Location,
    ) -> Result<(Arc<Block>, Location), Error> {
        match self.block(&location).await {
            Err(error) if is_gone(&error) => {
                let moved = self.locate(&[*digest]).await?.into_iter().flatten().next();
                match moved.filter(|moved| *moved != location) {
                    Some(moved) => Ok((self.block(&moved).await?, moved)),
                    None => Err(error),
                }
            }
            block => block.map(|block| (block, location)),
        }
    }

    /// A stored block, from the cache or the blob store.
    pub(crate) async fn block(&self, location: &Location) -> Result<Arc<Block>, Error> {
        let (pack, key) = (location.pack, (location.pack, location.place.block));
        if let Some(block) = self.blocks.get(key) {
            return Ok(block);
        }
        let stored = self.stored_block(location).await?;
        let block = task::blocking(move || decode(stored, &pack)).await?;
        self.blocks.insert(key, &block);
        Ok(block)
    }
}
