//! The ordered map as a Merkle search tree.
//!
//! Entries sorted by key are cut into nodes where a hash of the key says so; nodes are named by their digest, and the levels
//! above are made the same way (the "prolly tree" of Noms and Dolt; Auvolat and Taïani, "Merkle Search Trees", SRDS 2019).
//! The shape depends on the content alone, so **equal content has equal roots**, whatever the order of edits,
//! and two maps are compared by descending only where digests differ.
//! The format is `docs/adr/0002-ordered-map.md` and `docs/formats.md`.
//!
//! - [`Node`], [`check_node`]: one node's bytes; the cut rule that says where a node ends.
//! - [`Builder`]: a map from entries in order. [`Editor`] and [`edit`]: a map from another one and a batch of edits.
//! - [`get`], [`len`], [`iter`], [`range`]: reading.
//! - [`diff`]: what differs between two maps. [`merge`]: what two maps did to a third. [`new_nodes`]: what a copy lacks;
//!   [`replaced_nodes`]: what it has in their places.
//! - [`verify`]: reads everything and checks everything.
//!
//! Everything reads through [`NodeSource`] and writes through [`NodeSink`], which block; [`MemoryNodes`] is both.
//! Memory is bounded by a few nodes per level (a node is under [`MAX_NODE`]), however large the maps are.
//!
//! **Invariant:** a source is not believed. Whatever is read was checked against its digest (by the source itself where
//! [`NodeSource::is_checked`] says so), its own shape and what its
//! parent says about it, so that keys always come out in strictly rising order and counts are true.
//! Only [`verify`] also checks that nodes are cut where the rule says.
//!
//! Keys and values come out as slices of their node's memory: copy the few that are to be kept for long.

mod builder;
mod cursor;
mod cut;
mod diff;
mod digests;
mod edit;
mod error;
mod memory;
mod merge;
mod new_nodes;
mod node;
mod read;
mod replaced;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::Digest;

pub use builder::Builder;
pub use diff::{Change, Diff, diff};
pub use digests::{Digests, digests};
pub use edit::{Editor, edit};
pub use error::{MapError, StoreError};
pub use memory::MemoryNodes;
pub use merge::{Merge, Merged, merge};
pub use new_nodes::{NewNode, NewNodes, new_nodes};
pub use node::{Child, Node, NodeError, check_node};
pub use read::{Range, get, iter, len, range};
pub use replaced::{ReplacedNodes, replaced_nodes};
pub use verify::verify;

/// The longest key in bytes.
pub const MAX_KEY: usize = 8 * 1024;
/// The longest value in bytes; a larger one is an object of its own.
pub const MAX_VALUE: usize = 16 * 1024;
/// No node has as many bytes as this; that follows from the cut rule and from the longest key and value.
pub const MAX_NODE: usize = 64 * 1024;
/// The highest level of a node. A canonical map doubles its entries with every level, so no real one comes near.
pub const MAX_LEVEL: u8 = 63;

/// A handle of a map: what names its content, and how many entries it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Map {
    /// The digest of the root node.
    pub root: Digest,
    /// The number of entries.
    pub len: u64,
}

impl Map {
    /// The map without entries.
    pub const EMPTY: Self = Self {
        root: node::EMPTY_ROOT,
        len: 0,
    };

    /// The root of the map without entries, a leaf without entries.
    /// Every algorithm here knows that node: no source needs to have it, and no sink is given it.
    pub const fn empty_root() -> Digest {
        node::EMPTY_ROOT
    }

    /// Whether there are no entries.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Where nodes are read from.
pub trait NodeSource {
    /// The bytes of the node that `digest` names; `None` where there is no such node.
    /// The map checks what it gets: a source may be wrong, it is not believed.
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError>;

    /// Whether it has compared what it gives with the digest that was asked for: then nobody does so again, which is most
    /// of what reading a node costs.
    fn is_checked(&self) -> bool {
        false
    }
}

impl<T: NodeSource + ?Sized> NodeSource for &T {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        (**self).node(digest)
    }

    fn is_checked(&self) -> bool {
        (**self).is_checked()
    }
}

impl<T: NodeSource + ?Sized> NodeSource for Arc<T> {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        (**self).node(digest)
    }

    fn is_checked(&self) -> bool {
        (**self).is_checked()
    }
}

/// Where new nodes are written to.
pub trait NodeSink {
    /// Takes a node. The same node may come more than once; children come before their parents.
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError>;

    /// Takes a chunk of a content that an entry names. A sink that keeps nodes and contents apart has its own way with these.
    fn put_chunk(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.put(digest, bytes)
    }
}

impl<T: NodeSink + ?Sized> NodeSink for &mut T {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        (**self).put(digest, bytes)
    }

    fn put_chunk(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        (**self).put_chunk(digest, bytes)
    }
}
