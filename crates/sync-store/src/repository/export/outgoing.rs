//! Objects in the order in which they are wanted, into the pieces of a pack.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use snafu::{OptionExt, ensure};
use sync_core::Digest;

use crate::Error;
use crate::catalogue::Location;
use crate::error::{BoxError, CorruptSnafu};
use crate::pack::{BlockHeader, Class, HEADER_LEN, MAX_COUNT, PackWriter, Patch};
use crate::repository::{RepositoryNodes, blocks};

/// How many wanted objects are looked at together: more than one block has, so that a block that is wanted whole is seen
/// to be.
const WINDOW: usize = 2 * MAX_COUNT as usize;

/// Takes the pieces of a pack, and says whether anybody still wants them.
pub(super) type Taker = Box<dyn FnMut(Bytes) -> bool + Send>;

/// Takes digests in the order in which they are wanted, each once, and sends their objects.
pub(super) struct Outgoing {
    reader: RepositoryNodes,
    writer: PackWriter,
    taker: Taker,
    window: Vec<Digest>,
}

/// Which block: the pack, and where in it.
type Key = (Digest, u32);

fn key(location: &Location) -> Key {
    (location.pack, location.place.block)
}

impl Outgoing {
    /// Goes on with the pack of `writer`.
    pub(super) fn new(reader: RepositoryNodes, writer: PackWriter, taker: Taker) -> Self {
        Self {
            reader,
            writer,
            taker,
            window: Vec::new(),
        }
    }

    /// Wants one more object.
    pub(super) fn push(&mut self, digest: Digest) -> Result<(), Error> {
        self.window.push(digest);
        if self.window.len() < WINDOW {
            return Ok(());
        }
        self.send_window(false)
    }

    /// Sends an object that need not be stored, at once.
    pub(super) fn push_own(&mut self, class: Class, object: &[u8]) -> Result<(), Error> {
        self.writer.add(class, object)?;
        self.send_ready()
    }

    /// Sends an object as a patch, at once.
    pub(super) fn push_patch(&mut self, class: Class, patch: &Patch) -> Result<(), Error> {
        self.writer.add_patch(class, patch)?;
        self.send_ready()
    }

    /// Sends everything that is wanted so far; what follows is in blocks of its own.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.send_window(true)?;
        self.writer.flush()?;
        self.send_ready()
    }

    /// Sends the rest and the end of the pack.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.send_window(true)?;
        let mut pieces = self.writer.finish()?.into_iter();
        pieces.try_for_each(|piece| send(&mut self.taker, piece))
    }

    /// Sends everything that is wanted; the pack is for others to go on with.
    pub(super) fn into_writer(mut self) -> Result<PackWriter, Error> {
        self.flush()?;
        Ok(self.writer)
    }

    fn send_window(&mut self, to_the_end: bool) -> Result<(), Error> {
        let wanted = std::mem::take(&mut self.window);
        let mut located = Vec::with_capacity(wanted.len());
        let found = self.reader.locations(&wanted)?;
        for (digest, location) in wanted.into_iter().zip(found) {
            let location = location.context(CorruptSnafu {
                digest,
                reason: "an object that an accepted snapshot names is not there",
            })?;
            located.push((digest, location));
        }
        if !to_the_end && let Some((_, last)) = located.last() {
            // More of the last block may follow: it waits, so that it can go whole.
            let last = key(last);
            let waits = located.iter().filter(|(_, location)| key(location) == last);
            self.window = waits.map(|(digest, _)| *digest).collect();
            located.retain(|(_, location)| key(location) != last);
        }
        let mut numbers = HashMap::<Key, u32>::new();
        for (_, location) in &located {
            *numbers.entry(key(location)).or_default() += 1;
        }
        self.send_located(&located, &numbers)
    }

    fn send_located(
        &mut self,
        located: &[(Digest, Location)],
        numbers: &HashMap<Key, u32>,
    ) -> Result<(), Error> {
        let mut whole = HashSet::new();
        let mut part = HashSet::new();
        for (digest, location) in located {
            let key = key(location);
            if whole.contains(&key) {
                continue;
            }
            if part.insert(key) {
                let Some(stored) = self.reader.stored(location)? else {
                    // A collection has moved its objects: they go one by one.
                    self.send_one(digest, location)?;
                    continue;
                };
                let objects = header(&stored, &location.pack)?.count;
                if numbers.get(&key) == Some(&objects) {
                    whole.insert(key);
                    self.writer.add_stored(stored, objects);
                    self.send_ready()?;
                    continue;
                }
                self.reader.keep(location, stored)?;
            }
            self.send_one(digest, location)?;
        }
        Ok(())
    }

    fn send_one(&mut self, digest: &Digest, location: &Location) -> Result<(), Error> {
        let (block, location) = self.reader.block_of(digest, location)?;
        let object = blocks::object(&block.raw, &location, digest)?;
        self.writer.add(block.class, &object)?;
        self.send_ready()
    }

    fn send_ready(&mut self) -> Result<(), Error> {
        let taker = &mut self.taker;
        self.writer.take().try_for_each(|piece| send(taker, piece))
    }
}

fn header(stored: &Bytes, pack: &Digest) -> Result<BlockHeader, Error> {
    let corrupt = CorruptSnafu {
        digest: *pack,
        reason: "a block of the pack does not decode",
    };
    let header = stored.first_chunk::<HEADER_LEN>().context(corrupt)?;
    let header = BlockHeader::decode(header).ok().context(corrupt)?;
    ensure!(header.total_len() == stored.len(), corrupt);
    Ok(header)
}

fn send(taker: &mut Taker, piece: Bytes) -> Result<(), Error> {
    let gone = || Error::Cut {
        source: BoxError::from("nobody takes the pack any more"),
    };
    taker(piece).then_some(()).ok_or_else(gone)
}
