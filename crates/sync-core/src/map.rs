//! The ordered map as a Merkle search tree.
//!
//! SKELETON: signatures that the other crates build against; see docs/adr/0002-ordered-map.md.

use bytes::Bytes;
use snafu::Snafu;

use crate::Digest;

/// A failure below the map: whatever the store behind a source or sink said.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Where nodes are read from.
pub trait NodeSource {
    /// The bytes of the node that `digest` names; `None` where there is no such node.
    /// The map checks what it gets: a source may be wrong, it is not believed.
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError>;
}

/// Where new nodes are written to.
pub trait NodeSink {
    /// Takes a node. The same node may come more than once.
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError>;
}

/// Why a map could not be read or written.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum MapError {
    /// The source or the sink failed.
    #[snafu(display("node {digest} could not be read or written"))]
    Store {
        /// Which node.
        digest: Digest,
        /// What the store said.
        source: StoreError,
    },
    /// The source has no such node.
    #[snafu(display("node {digest} is missing"))]
    Missing {
        /// Which node.
        digest: Digest,
    },
    /// A node's bytes are not what its name promises, or not a node of canonical shape.
    #[snafu(display("node {digest} is malformed: {reason}"))]
    Malformed {
        /// Which node.
        digest: Digest,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key or a value is longer than [`MAX_KEY`] or [`MAX_VALUE`], or keys did not come in strictly rising order.
    #[snafu(display("an entry cannot be stored: {reason}"))]
    Entry {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The longest key in bytes.
pub const MAX_KEY: usize = 8 * 1024;
/// The longest value in bytes; a larger one is an object of its own.
pub const MAX_VALUE: usize = 16 * 1024;

/// One key whose value differs between two maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The value before; `None` where the key was absent.
    pub before: Option<Bytes>,
    /// The value after; `None` where the key is gone.
    pub after: Option<Bytes>,
}
