//! The port to where packs are: immutable bytes named by content.

mod dir;
mod memory;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use sync_core::Digest;

use crate::Error;

pub use dir::DirBlobs;
pub(crate) use dir::sync_dir;
pub use memory::MemoryBlobs;

/// Where packs are: a directory, a bucket, or memory. Object-safe; `contract::blobs` (feature `contract`) is what all must pass.
///
/// A pack is named by the digest of its content, so whatever has a name never changes: no adapter has to agree on
/// anything between two writers of one name.
#[async_trait]
pub trait Blobs: Send + Sync + std::fmt::Debug + 'static {
    /// Stores the bytes of `parts`, one after the other, under `name`.
    ///
    /// When this returns they are durable. Storing a name again is fine and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Blobs`]. The name is then either absent or complete, never half there.
    async fn put(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error>;

    /// Stores the bytes of `parts` under `name` even where something has this name: what is there may be damaged.
    ///
    /// # Errors
    ///
    /// [`Error::Blobs`]. The name is then either as it was or complete.
    async fn replace(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error>;

    /// The bytes of `range`, `None` where nothing has this name.
    ///
    /// # Errors
    ///
    /// [`Error::Blobs`], also where the range goes beyond the end.
    async fn get(&self, name: &Digest, range: Range<u64>) -> Result<Option<Bytes>, Error>;

    /// At most `limit` names greater than `after`, in rising order, with their sizes in bytes.
    async fn list(&self, after: Option<&Digest>, limit: usize)
    -> Result<Vec<(Digest, u64)>, Error>;

    /// Removes `name`; says whether it was there. When this returns the removal is durable.
    async fn delete(&self, name: &Digest) -> Result<bool, Error>;
}

/// The error of a range that goes beyond the end.
fn beyond_the_end(name: &Digest, len: u64) -> Error {
    Error::Blobs {
        action: format!("read pack {name}"),
        source: format!("it has {len} bytes, fewer than were asked for").into(),
    }
}
