//! Objects for blocking threads: what the map's algorithms read through.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use snafu::OptionExt;
use sync_core::content::decode_list;
use sync_core::map::{NodeSource, StoreError};
use sync_core::{Chunk, Content, Digest};
use tokio::runtime::Handle;

use super::arrived::Arrived;
use super::assembly::Pending;
use super::blocks::{self, Block};
use super::{Received, Repository};
use crate::catalogue::Location;
use crate::error::CorruptSnafu;
use crate::pack::{Class, Span};
use crate::{Error, task};

/// A [`NodeSource`] over a repository, for blocking threads; see [`Repository::nodes`].
///
/// A map's nodes lie together in blocks, so it takes apart a block when one of its nodes is asked for and has the
/// neighbours at hand. Some two MiB of them are kept.
#[derive(Debug)]
pub struct RepositoryNodes {
    repository: Repository,
    /// Objects that were received and are not recorded yet.
    pending: Option<Arc<Pending>>,
    /// Where these are, and the objects of packs that came before them.
    arrived: Arrived,
    runtime: Handle,
    near: Mutex<Near>,
    /// Whether nodes that were read before may be taken from memory. What vouches that an object is there looks itself.
    from_memory: bool,
}

/// The blocks that were taken apart last, with all their objects by digest.
#[derive(Debug, Default)]
struct Near {
    objects: HashMap<Digest, Bytes>,
    blocks: VecDeque<Vec<Digest>>,
    /// Blocks of which one object was asked for lately. Only the second one has its neighbours named: whoever reads here and
    /// there would have all of a block hashed for each node.
    touched: VecDeque<(Digest, u32)>,
}

/// How many blocks are kept near.
const MAX_NEAR: usize = 32;

impl RepositoryNodes {
    /// Reads what is recorded, and what was `received` and is not recorded yet.
    pub(crate) fn new(repository: Repository, received: &Received) -> Self {
        Self {
            repository,
            pending: received.pending.clone(),
            arrived: Arrived::new(received),
            runtime: Handle::current(),
            near: Mutex::default(),
            from_memory: false,
        }
    }

    /// Takes nodes that were read before from memory, too.
    pub(crate) fn reading_memory(self) -> Self {
        Self {
            from_memory: true,
            ..self
        }
    }

    /// Asks the catalogue even for what was recorded while this push was received.
    pub(crate) fn forget_rolled(&mut self, received: &Received) {
        self.arrived = Arrived::pending(received);
    }

    /// An object, checked against its digest when its block was read; `None` where it is not stored.
    pub fn object(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = near.objects.get(digest) {
            return Ok(Some(object.clone()));
        }
        if self.from_memory
            && let Some(object) = self.repository.remembered(digest)
        {
            return Ok(Some(object));
        }
        let Some(location) = self.locations(&[*digest])?.into_iter().flatten().next() else {
            return Ok(None);
        };
        let (block, location) = self.block_of(digest, &location)?;
        let object = blocks::object(&block.raw, &location, digest)?;
        if let Some(objects) = self.arrived.block(&location) {
            let named = objects.filter_map(|(digest, place)| {
                let (start, len) = (place.start, place.len);
                Some((digest, Span { start, len }.of(&block.raw)?))
            });
            near.keep(named.collect());
        } else if near.is_touched((location.pack, location.place.block)) {
            near.keep(self.named(&block)?);
        } else if block.class == Class::Nodes {
            self.repository.remember(*digest, &object);
        }
        Ok(Some(object))
    }

    /// A node of a map that is trusted: nothing is concluded from its being there, so it may come from memory.
    pub(crate) fn trusted(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        match self.repository.remembered(digest) {
            Some(node) => Ok(Some(node)),
            None => self.object(digest),
        }
    }

    /// Hands the data chunks of a file to `each`, in the order of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where a chunk list is not there, or is none; what `each` says, and then nothing more is handed out.
    pub fn chunks(
        &self,
        content: &Content,
        each: &mut dyn FnMut(Chunk) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.chunks_below(&content.chunks, content.depth, each)
    }

    fn chunks_below(
        &self,
        items: &[Chunk],
        depth: u8,
        each: &mut dyn FnMut(Chunk) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for item in items {
            if depth == 0 {
                each(*item)?;
                continue;
            }
            let corrupt = CorruptSnafu {
                digest: item.digest,
                reason: "a chunk list of an accepted snapshot is not there, or is none",
            };
            let bytes = self.object(&item.digest)?.context(corrupt)?;
            let below = decode_list(&bytes).context(corrupt)?;
            self.chunks_below(&below, depth - 1, each)?;
        }
        Ok(())
    }

    /// The objects of a block, those alone that are recorded somewhere where something is concluded from it: what a
    /// collection has removed stays in its block for a while, and must not be taken for stored.
    fn named(&self, block: &Block) -> Result<Vec<(Digest, Bytes)>, Error> {
        let object = |span: &Span| {
            let bytes = span.of(&block.raw)?;
            Some((Digest::of(&bytes), bytes))
        };
        let objects: Vec<_> = block.spans.iter().filter_map(object).collect();
        if self.from_memory {
            return Ok(objects);
        }
        let digests: Vec<_> = objects.iter().map(|(digest, _)| *digest).collect();
        let found = self.locations(&digests)?;
        let objects = objects.into_iter().zip(found);
        Ok(objects
            .filter(|(_, found)| found.is_some())
            .map(|(object, _)| object)
            .collect())
    }

    /// Where each object is, those that are not recorded yet included.
    pub(crate) fn locations(&self, digests: &[Digest]) -> Result<Vec<Option<Location>>, Error> {
        let arrived = |digest: &Digest| self.arrived.locate(digest);
        let mut found: Vec<_> = digests.iter().map(arrived).collect();
        let unknown = || (0..digests.len()).zip(&found).filter(|(_, f)| f.is_none());
        let rest: Vec<_> = unknown().map(|(index, _)| index).collect();
        if rest.is_empty() {
            return Ok(found);
        }
        let asked: Vec<_> = rest.iter().map(|index| digests[*index]).collect();
        let stored = task::block_on(&self.runtime, self.repository.locate(&asked))?;
        for (index, location) in rest.into_iter().zip(stored) {
            found[index] = location;
        }
        Ok(found)
    }

    /// Takes back the condemnation of what starts so: it survives collections for another grace time.
    pub(crate) fn spare(&self, prefixes: &[[u8; 8]]) -> Result<(), Error> {
        let Repository {
            catalogue, tenant, ..
        } = &self.repository;
        task::block_on(&self.runtime, catalogue.spare(tenant.id, prefixes))
    }

    /// The bytes of a recorded block, header included, not looked at; `None` where its pack is gone.
    pub(crate) fn stored(&self, location: &Location) -> Result<Option<Bytes>, Error> {
        let stored = self.repository.stored_block(location);
        match task::block_on(&self.runtime, stored) {
            Err(error) if blocks::is_gone(&error) => Ok(None),
            stored => stored.map(Some),
        }
    }

    /// Takes a recorded block apart that was read as it is, and keeps it for [`RepositoryNodes::block_of`].
    pub(crate) fn keep(&self, location: &Location, stored: Bytes) -> Result<(), Error> {
        let block = blocks::decode(stored, &location.pack)?;
        let key = (location.pack, location.place.block);
        self.repository.blocks.insert(key, &block);
        Ok(())
    }

    /// The block of an object taken apart, and where the object is in it.
    pub(crate) fn block_of(
        &self,
        digest: &Digest,
        location: &Location,
    ) -> Result<(Arc<Block>, Location), Error> {
        let received = self
            .pending
            .as_deref()
            .filter(|p| p.record.name == location.pack);
        let Some(stored) = received.and_then(|pending| pending.block(location.place.block)) else {
            let block = self.repository.block_of(digest, *location);
            return task::block_on(&self.runtime, block);
        };
        let block = blocks::decode(stored, &location.pack)?;
        Ok((block, *location))
    }
}

/// What reading through a repository as a source came to: what the store said is said again.
pub(crate) fn store_error(source: StoreError, action: &str) -> Error {
    match source.downcast::<Error>() {
        Ok(error) => *error,
        Err(source) => Error::Blobs {
            action: action.to_owned(),
            source,
        },
    }
}

impl Near {
    /// Whether an object of this block was asked for before; if not, now it was.
    fn is_touched(&mut self, block: (Digest, u32)) -> bool {
        if self.touched.contains(&block) {
            return true;
        }
        if self.touched.len() == MAX_NEAR {
            self.touched.pop_front();
        }
        self.touched.push_back(block);
        false
    }

    fn keep(&mut self, objects: Vec<(Digest, Bytes)>) {
        self.blocks
            .push_back(objects.iter().map(|(digest, _)| *digest).collect());
        self.objects.extend(objects);
        if self.blocks.len() > MAX_NEAR {
            for digest in self.blocks.pop_front().unwrap_or_default() {
                self.objects.remove(&digest);
            }
        }
    }
}

impl NodeSource for RepositoryNodes {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.object(digest).map_err(Into::into)
    }

    fn is_checked(&self) -> bool {
        // What is near was named by hashing it, the rest is compared when its block is read.
        true
    }
}
