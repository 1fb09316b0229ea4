//! One tenant's view of the store.

mod advance;
mod arrived;
mod assembly;
mod blocks;
mod closure;
mod export;
mod history;
mod keep;
mod lineage;
mod node_cache;
mod node_file;
mod nodes;
mod receive;
mod signatures;
mod upkeep;
mod writer;

use std::sync::Arc;

use bytes::Bytes;
use snafu::OptionExt;
use sync_core::{Digest, SnapshotId};

use crate::blobs::Blobs;
use crate::catalogue::{Catalogue, Location, TenantRecord};
use crate::error::{CorruptSnafu, Error};

pub use advance::Advance;
pub(crate) use blocks::BlockCache;
pub use export::RowsPush;
pub use keep::Kept;
pub(crate) use node_cache::NodeCache;
pub use nodes::RepositoryNodes;
pub(crate) use nodes::store_error;
pub use receive::Received;
pub use upkeep::{GcPlan, Keep};
pub use writer::{Writer, Writing};

/// One tenant's view of the store: its objects, snapshots and heads. Cheap to clone.
///
/// Everything is async and runs on a Tokio runtime; what needs the processor or the disk runs on its blocking threads.
#[derive(Debug, Clone)]
pub struct Repository {
    blobs: Arc<dyn Blobs>,
    catalogue: Arc<dyn Catalogue>,
    blocks: Arc<BlockCache>,
    cached: Arc<NodeCache>,
    storing: Storing,
    tenant: Arc<TenantRecord>,
    /// A stored pack is closed when it has this many bytes.
    roll_bytes: u64,
}

/// Held shared from before a pack is put until the catalogue knows it, and alone while packs that nobody knows are
/// deleted: of one store, by all its tenants.
pub(crate) type Storing = Arc<tokio::sync::RwLock<()>>;

/// 8 MiB: large enough for an object store to like it, small enough for two to be held in memory, one that fills and one
/// that is written.
const ROLL_BYTES: u64 = 8 << 20;

impl Repository {
    pub(crate) fn new(
        blobs: Arc<dyn Blobs>,
        catalogue: Arc<dyn Catalogue>,
        blocks: Arc<BlockCache>,
        cached: Arc<NodeCache>,
        storing: Storing,
        tenant: TenantRecord,
    ) -> Self {
        Self {
            blobs,
            catalogue,
            blocks,
            cached,
            storing,
            tenant: Arc::new(tenant),
            roll_bytes: ROLL_BYTES,
        }
    }

    /// The same view, with smaller stored packs, so that tests need not send much.
    #[cfg(test)]
    pub(crate) fn rolling_at(self, roll_bytes: u64) -> Self {
        Self { roll_bytes, ..self }
    }

    /// The tenant's name.
    pub fn name(&self) -> &str {
        &self.tenant.name
    }

    /// Whether the tenant has no object at all: then nothing need be asked before everything is sent.
    pub async fn is_vacant(&self) -> Result<bool, Error> {
        self.catalogue.is_vacant(self.tenant.id).await
    }

    /// For each prefix of a digest, in the order asked, whether *no* object starts so and it has to be sent.
    ///
    /// An answer "not missing" can be wrong, where another object happens to start so;
    /// [`Repository::advance`] then names the object that is missing after all.
    /// An object that is "not missing" survives collections for another grace time (ADR 0008).
    pub async fn missing(&self, prefixes: &[[u8; 8]]) -> Result<Vec<bool>, Error> {
        self.catalogue.spare(self.tenant.id, prefixes).await?;
        let held = self.catalogue.holds(self.tenant.id, prefixes).await?;
        Ok(held.into_iter().map(|held| !held).collect())
    }

    /// The head of a branch; `None` where nothing was ever pushed to it.
    pub async fn head(&self, branch: &str) -> Result<Option<SnapshotId>, Error> {
        self.catalogue.head(self.tenant.id, branch).await
    }

    /// All branches with their heads, by name.
    pub async fn heads(&self) -> Result<Vec<(String, SnapshotId)>, Error> {
        self.catalogue.heads(self.tenant.id).await
    }

    /// A small value that the tenant keeps under `key`.
    pub async fn note(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.catalogue.note(self.tenant.id, key).await
    }

    /// Sets what the tenant keeps under `key`, some KiB at most, durable when this returns; `None` removes it.
    pub async fn set_note(&self, key: &str, value: Option<Vec<u8>>) -> Result<(), Error> {
        self.catalogue.set_note(self.tenant.id, key, value).await
    }

    /// An object, checked against its digest; `None` where it is not stored.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the stored bytes are not what the digest names.
    pub async fn object(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let found = self.locate(&[*digest]).await?;
        let Some(location) = found.into_iter().flatten().next() else {
            return Ok(None);
        };
        let (block, location) = self.block_of(digest, location).await?;
        blocks::object(&block.raw, &location, digest).map(Some)
    }

    /// Gives every one of `digests` that is stored to `take`, checked, those of one block together.
    /// Returns those that are not stored.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where stored bytes are not what their digest names; `take` may have had others by then.
    pub async fn objects(
        &self,
        digests: &[Digest],
        mut take: impl FnMut(Digest, Bytes),
    ) -> Result<Vec<Digest>, Error> {
        let locations = self.locate(digests).await?;
        let mut absent = Vec::new();
        let mut found = Vec::with_capacity(digests.len());
        for (digest, location) in digests.iter().zip(locations) {
            match location {
                Some(location) => found.push((*digest, location)),
                None => absent.push(*digest),
            }
        }
        let block = |location: &Location| (location.pack, location.place.block);
        found.sort_by_key(|(_, location)| (block(location), location.place.start));
        for group in found.chunk_by(|(_, a), (_, b)| block(a) == block(b)) {
            let (first, location) = group[0];
            let (decoded, found) = self.block_of(&first, location).await?;
            for (digest, location) in group {
                if block(&found) == block(location) {
                    take(*digest, blocks::object(&decoded.raw, location, digest)?);
                } else if let Some(object) = self.object(digest).await? {
                    take(*digest, object);
                } else {
                    absent.push(*digest);
                }
            }
        }
        Ok(absent)
    }

    /// A source of map nodes for blocking threads.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime; its methods panic on the runtime's own async threads.
    pub fn nodes(&self) -> RepositoryNodes {
        self.nodes_as_stored().reading_memory()
    }

    /// The same without what was read before, for whoever concludes that something is there.
    fn nodes_as_stored(&self) -> RepositoryNodes {
        RepositoryNodes::new(self.clone(), &Received::nothing())
    }

    /// A node that was read not long ago.
    fn remembered(&self, digest: &Digest) -> Option<Bytes> {
        self.cached.get(self.tenant.id, digest)
    }

    fn remember(&self, digest: Digest, node: &[u8]) {
        self.cached.insert(self.tenant.id, digest, node);
    }

    async fn locate(&self, digests: &[Digest]) -> Result<Vec<Option<Location>>, Error> {
        self.catalogue.locate(self.tenant.id, digests).await
    }

    /// The bytes of a stored block, header included, not looked at.
    async fn stored_block(&self, location: &Location) -> Result<Bytes, Error> {
        let start = u64::from(location.place.block);
        let range = start..start + u64::from(location.place.block_len);
        let stored = self.blobs.get(&location.pack, range).await?;
        stored.context(CorruptSnafu {
            digest: location.pack,
            reason: blocks::GONE,
        })
    }
}
