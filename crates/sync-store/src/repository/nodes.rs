//! Objects for blocking threads: what the map's algorithms read through.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{NodeSource, StoreError};
use tokio::runtime::Handle;

use super::assembly::Pending;
use super::blocks::{self, Block};
use super::{Received, Repository};
use crate::Error;
use crate::catalogue::{Location, PackRecord};
use crate::pack::BlockDecoder;

/// A [`NodeSource`] over a repository, for blocking threads; see [`Repository::nodes`].
///
/// A map's nodes lie together in blocks, so it takes apart a block when one of its nodes is asked for and has the
/// neighbours at hand. Some eight MiB of them are kept.
#[derive(Debug)]
pub struct RepositoryNodes {
    repository: Repository,
    /// Objects that were received and are not recorded yet.
    pending: Option<Arc<Pending>>,
    /// The packs that came before them.
    rolled: Vec<Arc<PackRecord>>,
    runtime: Handle,
    near: Mutex<Near>,
}

/// The blocks that were taken apart last, with all their objects by digest.
#[derive(Debug, Default)]
struct Near {
    objects: HashMap<Digest, Bytes>,
    blocks: VecDeque<Vec<Digest>>,
}

/// How many blocks are kept near.
const MAX_NEAR: usize = 32;

impl RepositoryNodes {
    /// Reads what is recorded, and what was `received` and is not recorded yet.
    pub(crate) fn new(repository: Repository, received: &Received) -> Self {
        Self {
            repository,
            pending: received.pending.clone(),
            rolled: received.rolled.clone(),
            runtime: Handle::current(),
            near: Mutex::default(),
        }
    }

    /// An object, checked against its digest when its block was read; `None` where it is not stored.
    pub(crate) fn object(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = near.objects.get(digest) {
            return Ok(Some(object.clone()));
        }
        let Some(location) = self.locations(&[*digest])?.into_iter().flatten().next() else {
            return Ok(None);
        };
        let block = self.block(&location)?;
        let object = blocks::object(&block.raw, &location, digest)?;
        near.keep(&block);
        Ok(Some(object))
    }

    /// Where each object is, those that are not recorded yet included.
    pub(crate) fn locations(&self, digests: &[Digest]) -> Result<Vec<Option<Location>>, Error> {
        let pending = self.pending.iter().map(|pending| &pending.record);
        let received = |digest: &Digest| {
            let mut records = pending.clone().chain(&self.rolled);
            records.find_map(|record| {
                let (pack, place) = (record.name, record.place(digest)?);
                Some(Location { pack, place })
            })
        };
        let mut found: Vec<_> = digests.iter().map(received).collect();
        let unknown = || (0..digests.len()).zip(&found).filter(|(_, f)| f.is_none());
        let rest: Vec<_> = unknown().map(|(index, _)| index).collect();
        if rest.is_empty() {
            return Ok(found);
        }
        let asked: Vec<_> = rest.iter().map(|index| digests[*index]).collect();
        let stored = self.runtime.block_on(self.repository.locate(&asked))?;
        for (index, location) in rest.into_iter().zip(stored) {
            found[index] = location;
        }
        Ok(found)
    }

    /// The bytes of a recorded block, header included, not looked at.
    pub(crate) fn stored(&self, location: &Location) -> Result<Bytes, Error> {
        self.runtime
            .block_on(self.repository.stored_block(location))
    }

    /// Takes a recorded block apart that was read as it is, and keeps it for [`RepositoryNodes::block`].
    pub(crate) fn keep(&self, location: &Location, stored: Bytes) -> Result<(), Error> {
        let block = blocks::decode(&mut BlockDecoder::new()?, stored, &location.pack)?;
        let key = (location.pack, location.place.block);
        self.repository.blocks.insert(key, &block);
        Ok(())
    }

    /// A block taken apart.
    pub(crate) fn block(&self, location: &Location) -> Result<Arc<Block>, Error> {
        let received = self
            .pending
            .as_deref()
            .filter(|p| p.record.name == location.pack);
        let Some(stored) = received.and_then(|pending| pending.block(location.place.block)) else {
            return self.runtime.block_on(self.repository.block(location));
        };
        blocks::decode(&mut BlockDecoder::new()?, stored, &location.pack)
    }
}

impl Near {
    fn keep(&mut self, block: &Block) {
        let object = |span: &crate::pack::Span| {
            let bytes = span.of(&block.raw)?;
            Some((Digest::of(&bytes), bytes))
        };
        let objects: Vec<_> = block.spans.iter().filter_map(object).collect();
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
}
