//! What entries name: chunks and lists of them.

use std::collections::HashMap;

use sync_core::content::decode_list;
use sync_core::{Chunk, Content, Digest};

use super::{Found, Missing, malformed_error};
use crate::Error;
use crate::protocol::prefix;
use crate::repository::RepositoryNodes;

/// How many chunks are looked up at once.
const BATCH: usize = 4096;
/// How many chunk lists one push may bring: far more than any tree has, and few enough to remember.
const MAX_LISTS: usize = 1 << 20;

/// Says which entry is looked at, where it is refused.
type Place<'p> = &'p dyn Fn() -> String;

/// What a chunk list stands for.
#[derive(Debug, Clone, Copy)]
struct Listed {
    /// How many bytes of the file.
    len: u64,
    /// How many items it has itself.
    items: usize,
    /// How many data chunks are below it.
    chunks: u64,
    /// Whether it, and every list below it, has as many items as a list can have.
    is_full: bool,
}

/// Checks what the entries of any number of maps name, and collects what is missing.
#[derive(Debug)]
pub(super) struct Contents<'r> {
    reader: &'r RepositoryNodes,
    /// Chunks that are still to be looked up.
    chunks: Vec<Chunk>,
    /// What each list stands for, by digest and depth; `None` where it is missing.
    lists: HashMap<(Digest, u8), Option<Listed>>,
    missing: Missing,
    /// Objects that were looked at and are to be spared by collections, where that is asked for.
    spared: Option<Vec<[u8; 8]>>,
}

impl<'r> Contents<'r> {
    /// Nothing is missing so far. With `spare`, everything that is looked at survives collections for another grace time.
    pub(super) fn new(reader: &'r RepositoryNodes, spare: bool) -> Self {
        Self {
            reader,
            chunks: Vec::new(),
            lists: HashMap::new(),
            missing: Missing::default(),
            spared: spare.then(Vec::new),
        }
    }

    /// Checks what an entry names; `place` says which entry.
    pub(super) fn check(&mut self, place: Place<'_>, content: &Content) -> Result<(), Error> {
        let mut listed = Vec::with_capacity(content.chunks.len());
        for chunk in &content.chunks {
            listed.extend(self.check_chunk(place, chunk, content.depth)?);
        }
        let refused = |reason: &str| Err(malformed_error(place(), reason));
        // Where a list is missing the push is incomplete, and this is looked at again when it came.
        if content.depth == 0 || listed.len() < content.chunks.len() {
            return Ok(());
        }
        let inlined = listed.len() == 1 && listed[0].items <= Content::MAX_INLINE;
        if inlined || !are_packed(&listed) {
            return refused("its chunk lists are not in the one form that they have");
        }
        // Lists may name the same list again and again: a few of them would fill a reader's memory.
        let chunks = listed
            .iter()
            .fold(0u64, |sum, listed| sum.saturating_add(listed.chunks));
        if chunks > Content::most_chunks(content.len().unwrap_or(0)) {
            return refused("it claims more chunks than its size allows");
        }
        Ok(())
    }

    fn check_chunk(
        &mut self,
        place: Place<'_>,
        chunk: &Chunk,
        depth: u8,
    ) -> Result<Option<Listed>, Error> {
        if depth == 0 {
            self.chunks.push(*chunk);
            if self.chunks.len() >= BATCH {
                self.look_up()?;
            }
            return Ok(None);
        }
        let listed = self.list(place, chunk.digest, depth)?;
        if listed.is_some_and(|listed| listed.len != chunk.len) {
            let reason = format!("chunk list {} has another length", chunk.digest);
            return Err(malformed_error(place(), reason));
        }
        Ok(listed)
    }

    /// What a list names; `None` where the list is missing. Each list is followed once.
    fn list(
        &mut self,
        place: Place<'_>,
        digest: Digest,
        depth: u8,
    ) -> Result<Option<Listed>, Error> {
        if let Some(known) = self.lists.get(&(digest, depth)) {
            return Ok(*known);
        }
        if self.lists.len() >= MAX_LISTS {
            return Err(malformed_error(place(), "there are too many chunk lists"));
        }
        let mut listed = None;
        self.touch(digest)?;
        if let Some(bytes) = self.reader.object(&digest)? {
            let wrong = |reason| malformed_error(format!("chunk list {digest}"), reason);
            let items = decode_list(&bytes).ok_or_else(|| wrong("it does not decode"))?;
            let sum = items.iter().try_fold(0u64, |sum, i| sum.checked_add(i.len));
            let len = sum.ok_or_else(|| wrong("its lengths overflow"))?;
            let mut below = Vec::new();
            for item in &items {
                below.extend(self.check_chunk(place, item, depth - 1)?);
            }
            if depth == 1 {
                listed = Some(Listed {
                    len,
                    items: items.len(),
                    chunks: items.len() as u64,
                    is_full: items.len() == Content::MAX_LIST,
                });
            } else if below.len() == items.len() {
                if !are_packed(&below) {
                    return Err(wrong("a list before its last one is not full"));
                }
                let chunks = below.iter().map(|below| below.chunks);
                listed = Some(Listed {
                    len,
                    items: items.len(),
                    chunks: chunks.fold(0, u64::saturating_add),
                    is_full: items.len() == Content::MAX_LIST
                        && below.iter().all(|below| below.is_full),
                });
            }
        } else {
            self.missing.add(digest);
        }
        self.lists.insert((digest, depth), listed);
        Ok(listed)
    }

    /// A missing object.
    pub(super) fn lacks(&mut self, digest: Digest) {
        self.missing.add(digest);
    }

    /// An object that the snapshot names: where that is asked for, a collection leaves it for another grace time.
    pub(super) fn touch(&mut self, digest: Digest) -> Result<(), Error> {
        if let Some(spared) = &mut self.spared {
            spared.push(prefix(&digest));
            if spared.len() >= BATCH {
                self.reader.spare(spared)?;
                spared.clear();
            }
        }
        Ok(())
    }

    /// Looks up the chunks that are left, and gives what is missing.
    pub(super) fn finish(mut self) -> Result<Found, Error> {
        self.look_up()?;
        if let Some(spared) = self.spared.filter(|spared| !spared.is_empty()) {
            self.reader.spare(&spared)?;
        }
        Ok(self.missing.found)
    }

    fn look_up(&mut self) -> Result<(), Error> {
        let digests: Vec<_> = self.chunks.iter().map(|chunk| chunk.digest).collect();
        for digest in &digests {
            self.touch(*digest)?;
        }
        let found = self.reader.locations(&digests)?;
        let chunks = std::mem::take(&mut self.chunks);
        for (chunk, found) in chunks.into_iter().zip(found) {
            match found {
                None => self.missing.add(chunk.digest),
                Some(found) if u64::from(found.place.len) == chunk.len => {}
                Some(_) => {
                    let place = format!("chunk {}", chunk.digest);
                    return Err(malformed_error(place, "an entry says another length"));
                }
            }
        }
        Ok(())
    }
}

/// Whether all but the last of a level's lists are full, as they are where a file's chunks were listed in order.
fn are_packed(level: &[Listed]) -> bool {
    let before_last = level.split_last().map_or(level, |(_, before)| before);
    before_last.iter().all(|listed| listed.is_full)
}
