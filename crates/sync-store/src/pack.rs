//! The pack: a stream, and a stored file, of many objects (ADR 0003; byte layout in `docs/formats.md`).
//!
//! Nothing here does I/O or hashes an object: [`BlockBuilder`] turns objects into blocks, [`PackFrame`] puts the frame
//! of a pack around blocks, [`PackWriter`] is both for the common case, and [`PackDecoder`] takes a stream apart,
//! checking every bound before it allocates or inflates.
//!
//! On the wire a block may hold patches instead of objects (ADR 0009): whoever reads it has their bases and makes the
//! objects of them. **Invariant:** no stored pack has such a block, so that none depends on another one.

mod decode;
mod encode;
mod patches;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use snafu::Snafu;
use sync_core::Digest;
use sync_core::patch::PatchError;

pub use decode::{BlockDecoder, DecodedBlock, Event, PackDecoder};
pub use encode::{BlockBuilder, BuiltBlock, PackFrame, PackWriter};
pub use patches::{Patch, Patches};

/// The first bytes of every pack.
pub const MAGIC: [u8; 8] = *b"SYNCPK1\n";
/// The bytes of a block's header.
pub const HEADER_LEN: usize = 16;
/// The most bytes of one object: 1 MiB.
pub const MAX_OBJECT: usize = 1 << 20;
/// The most bytes a block may inflate to: 2 MiB.
pub const MAX_RAW: usize = 2 << 20;
/// The most objects of one block, so that an index of a block stays small however small its objects are.
pub const MAX_COUNT: u32 = 16_384;
/// A writer closes a block before it grows beyond this: 256 KiB.
pub const TARGET_RAW: usize = 256 << 10;
/// Likewise a block of class 1 that has no patches: 32 KiB.
pub const TARGET_NODES: usize = 32 << 10;
/// The zstd level of blocks: higher ones cost more time than they save bytes.
pub const LEVEL: i32 = 3;

/// What kind of objects a block holds, so that whoever reads nodes does not inflate contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Map nodes, chunk lists and snapshots.
    Nodes = 1,
    /// Chunks of files.
    Contents = 2,
}

/// How the payload of a block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The raw bytes themselves, where zstd would not make them smaller.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// What the items of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The objects themselves.
    Objects = 0,
    /// Patches, each with the digest of its base.
    Patches = 1,
}

/// The header of a block, already checked against every bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// How the payload is stored.
    pub codec: Codec,
    /// What kind of objects it holds.
    pub class: Class,
    /// Whether it holds them whole.
    pub form: Form,
    /// Bytes when inflated: 1 to [`MAX_RAW`].
    pub raw_len: u32,
    /// Bytes of payload: `raw_len` where raw, less where zstd.
    pub stored_len: u32,
    /// How many objects: 1 to [`MAX_COUNT`].
    pub count: u32,
}

/// Where one object is among the raw bytes of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The offset of its first byte.
    pub start: u32,
    /// How many bytes it has: 1 to [`MAX_OBJECT`].
    pub len: u32,
}

impl Span {
    /// The object's bytes, `None` where `raw` is not the block that this span is of.
    pub fn of(self, raw: &Bytes) -> Option<Bytes> {
        let start = self.start as usize;
        let end = start.checked_add(self.len as usize)?;
        (end <= raw.len()).then(|| raw.slice(start..end))
    }
}

/// A length inside a pack as its headers have it. Packs are closed long before 4 GiB, so nothing is ever cut off.
pub(crate) fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Why bytes are not a pack.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum PackError {
    /// The stream does not start as a pack does.
    #[snafu(display("the stream does not start as a pack does"))]
    Magic,
    /// The stream ended before the end block.
    #[snafu(display("the pack ends before its end block"))]
    Cut,
    /// There are bytes after the end block.
    #[snafu(display("there are bytes after the end of the pack"))]
    Trailing,
    /// A block's codec is none that we know.
    #[snafu(display("a block has the unknown codec {codec}"))]
    UnknownCodec {
        /// As received.
        codec: u8,
    },
    /// A block's class is none that we know.
    #[snafu(display("a block has the unknown class {class}"))]
    UnknownClass {
        /// As received.
        class: u8,
    },
    /// A block's form is none that we know, or the reserved byte of a header is not zero.
    #[snafu(display("a block's header has a form or a reserved byte that we do not know"))]
    Reserved,
    /// A block of patches is where only whole objects may be.
    #[snafu(display("a block of patches is where only whole objects may be"))]
    Stored,
    /// A patch has no base, or the patches of a block make more than [`MAX_RAW`] bytes.
    #[snafu(display("a patch has no base, or the patches of a block make too much"))]
    PatchLen,
    /// A patch cannot be applied to its base.
    #[snafu(display("a patch of object {base} is malformed"))]
    Patch {
        /// What it was to be applied to.
        base: Digest,
        /// What is wrong with it.
        source: PatchError,
    },
    /// A block claims to inflate to nothing or to more than [`MAX_RAW`].
    #[snafu(display("a block claims {raw_len} bytes, which no block has"))]
    RawLen {
        /// As received.
        raw_len: u32,
    },
    /// A block's payload is longer than such a block's may be.
    #[snafu(display("a block of {raw_len} bytes claims a payload of {stored_len} bytes"))]
    StoredLen {
        /// As received.
        raw_len: u32,
        /// As received.
        stored_len: u32,
    },
    /// A block claims no objects, more than [`MAX_COUNT`], or another number than it has.
    #[snafu(display("a block claims {count} objects and has another number"))]
    Count {
        /// As received.
        count: u32,
    },
    /// A payload is not one zstd frame of exactly the claimed length.
    #[snafu(display("the payload of a block is not one zstd frame of {raw_len} bytes"))]
    Inflate {
        /// As received.
        raw_len: u32,
    },
    /// An object has no bytes, more than [`MAX_OBJECT`], or more than are left in its block.
    #[snafu(display("an object in a block has a length that no object there can have"))]
    ObjectLen,
    /// The end block's form or its number of objects is wrong.
    #[snafu(display("the end block of the pack does not fit the pack"))]
    End,
    /// The digest in the end block is not that of the bytes before it.
    #[snafu(display("the pack's bytes do not have the digest at its end"))]
    Digest,
    /// The compressor refused; nothing a peer does leads here.
    #[snafu(display("a block could not be compressed: {reason}"))]
    Compress {
        /// What zstd said.
        reason: String,
    },
}
