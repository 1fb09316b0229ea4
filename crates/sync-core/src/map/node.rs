//! One node: its bytes, and what they say.
//!
//! `0xa1`, level, number of entries, entries. Keys are stored as what they do not share with the key before,
//! so a node is decoded as a whole. There is one encoding per node: bytes that decode encode back to themselves.

use std::ops::Range;

use bytes::Bytes;
use snafu::{OptionExt, Snafu, ensure};

use super::cut::{MAX_WEIGHT, branch_weight, ends_node, leaf_weight};
use super::{MAX_KEY, MAX_LEVEL, MAX_NODE, MAX_VALUE};
use crate::Digest;
use crate::wire::Reader;

/// First byte of every node.
pub(crate) const NODE_TAG: u8 = 0xa1;
/// The leaf without entries.
const EMPTY_NODE: &[u8] = &[NODE_TAG, 0, 0];
/// The digest of [`EMPTY_NODE`].
pub(crate) const EMPTY_ROOT: Digest = Digest::from_bytes([
    0x3b, 0xe4, 0x86, 0x5a, 0xa1, 0xf0, 0x5e, 0x07, 0x28, 0x25, 0x8e, 0x59, 0xcd, 0xbb, 0x18, 0x33,
    0x13, 0x41, 0xe3, 0x33, 0x3d, 0x08, 0x0b, 0x5b, 0x1b, 0xa8, 0x5d, 0x40, 0xc9, 0xe5, 0x09, 0xae,
]);
/// The fewest bytes of an entry: three lengths of zero.
const MIN_ENTRY: usize = 3;

/// Why bytes are not a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display("{reason}"))]
pub struct NodeError {
    reason: &'static str,
}

impl NodeError {
    /// What is wrong, as a clause without capital and full stop.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

/// A decoded node.
///
/// **Invariant:** its keys rise strictly and are within bounds, its encoding is the shortest, no entry comes after the largest
/// allowed weight, and the counts of a branch are positive and do not overflow. Only the leaf of the empty map has no entries.
#[derive(Debug, Clone)]
pub struct Node {
    level: u8,
    bytes: Bytes,
    /// The whole keys, one after the other.
    keys: Bytes,
    entries: Vec<Slot>,
    total: u64,
}

/// Where an entry is: offsets fit 32 bits because nodes are small.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Where its key ends in `keys`; it starts where the one before ends.
    key_end: u32,
    payload: Payload,
}

#[derive(Debug, Clone, Copy)]
enum Payload {
    /// A leaf entry's value in `bytes`.
    Value { start: u32, end: u32 },
    /// A branch entry's digest in `bytes`, and the number of leaf entries below.
    Child { at: u32, len: u64 },
}

/// An entry of a branch: a node one level down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child<'n> {
    /// The last key below it.
    pub last_key: &'n [u8],
    /// What names it.
    pub digest: Digest,
    /// How many leaf entries are below it, as its parent says.
    pub len: u64,
}

/// Reads a received node and checks all that it shows by itself: shortest encodings, order, bounds, and no cut inside.
///
/// That it is cut at its end is only true of nodes that another one follows on their level: ask [`Node::ends_in_cut`].
/// Whether it fits its parent and its children shows when the map is read; [`verify`](super::verify) checks all of it.
pub fn check_node(bytes: impl Into<Bytes>) -> Result<Node, NodeError> {
    let node = Node::decode(bytes.into())?;
    let inside = node.entries.len().saturating_sub(1);
    ensure!(
        !node.cuts().take(inside).any(|cut| cut),
        reason("it goes on after an entry that ends a node")
    );
    Ok(node)
}

/// Shorter where it is used: selectors of this kind fill every check.
const fn reason(reason: &'static str) -> NodeSnafu<&'static str> {
    NodeSnafu { reason }
}

impl Node {
    /// Reads a node; see the invariant of this type for what is checked.
    pub fn decode(bytes: Bytes) -> Result<Self, NodeError> {
        ensure!(bytes.len() < MAX_NODE, reason("it is too long"));
        let mut reader = Reader::new(&bytes);
        ensure!(
            reader.byte() == Some(NODE_TAG),
            reason("it does not start as a node")
        );
        let level = reader.byte().context(reason("it is cut off"))?;
        ensure!(level <= MAX_LEVEL, reason("its level is too high"));
        let count = reader.varint().context(reason("it is cut off"))?;
        ensure!(
            count <= (reader.remaining() / MIN_ENTRY) as u64,
            reason("it has fewer entries than it says")
        );
        ensure!(count > 0 || level == 0, reason("a branch has no children"));

        let count = usize::try_from(count).unwrap_or_default();
        let mut entries = Vec::with_capacity(count);
        let mut keys = Vec::with_capacity(bytes.len());
        let mut last_key = 0..0;
        let mut weight = 0;
        let mut total = 0u64;
        for index in 0..count {
            ensure!(
                weight < MAX_WEIGHT,
                reason("it goes on after an entry that ends a node")
            );
            last_key = decode_key(&mut reader, &mut keys, last_key, index == 0)?;
            let start = offset(&bytes, &reader);
            let payload = if level == 0 {
                let cut_off = reason("a value is cut off or too long");
                let value = reader.bytes(MAX_VALUE).context(cut_off)?;
                weight += leaf_weight(last_key.len(), value.len());
                let end = offset(&bytes, &reader);
                total += 1;
                Payload::Value {
                    start: end - narrow(value.len()),
                    end,
                }
            } else {
                reader.digest().context(reason("a child is cut off"))?;
                let len = reader.varint().context(reason("a count is malformed"))?;
                ensure!(len > 0, reason("a child is empty"));
                weight += branch_weight(last_key.len());
                total = total.checked_add(len).context(reason("counts overflow"))?;
                Payload::Child { at: start, len }
            };
            entries.push(Slot {
                key_end: narrow(last_key.end),
                payload,
            });
        }
        ensure!(reader.is_empty(), reason("bytes are left over"));
        Ok(Self {
            level,
            keys: keys.into(),
            entries,
            total,
            bytes,
        })
    }

    /// The leaf of the empty map.
    pub(crate) fn empty() -> Self {
        Self {
            level: 0,
            bytes: Bytes::from_static(EMPTY_NODE),
            keys: Bytes::new(),
            entries: Vec::new(),
            total: 0,
        }
    }

    /// 0 for a leaf; a branch is one level above its children.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The encoding: what the node's digest names.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The number of entries of the node itself.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The number of leaf entries in this node or below it, as the node says.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The largest key in the node or below it; `None` in the empty leaf.
    pub fn last_key(&self) -> Option<&[u8]> {
        let last = self.entries.len().checked_sub(1)?;
        Some(self.key(last))
    }

    /// A leaf's keys and values in key order; nothing for a branch.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.entries.len()).map_while(|index| Some((self.key(index), self.value(index)?)))
    }

    /// A branch's children in key order; nothing for a leaf.
    pub fn children(&self) -> impl Iterator<Item = Child<'_>> {
        (0..self.entries.len()).map_while(|index| self.child(index))
    }

    /// Whether the node ends where the cut rule says. One that does not is the last of its level, or not canonical.
    pub fn ends_in_cut(&self) -> bool {
        let Some(last) = self.entries.len().checked_sub(1) else {
            return false;
        };
        let before = (0..last).map(|index| self.weight(index)).sum();
        ends_node(
            &self.tagged_key(last, Vec::new()),
            before,
            before + self.weight(last),
        )
    }

    /// For every entry, whether the cut rule ends the node after it.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = bool> {
        let mut tagged = Vec::new();
        let mut before = 0;
        (0..self.entries.len()).map(move |index| {
            let after = before + self.weight(index);
            tagged = self.tagged_key(index, std::mem::take(&mut tagged));
            let cut = ends_node(&tagged, before, after);
            before = after;
            cut
        })
    }

    /// The key of entry `index`, which is below [`Node::count`].
    pub(crate) fn key(&self, index: usize) -> &[u8] {
        &self.keys[self.key_range(index)]
    }

    /// The same as a slice that shares the node's memory.
    pub(crate) fn shared_key(&self, index: usize) -> Bytes {
        self.keys.slice(self.key_range(index))
    }

    /// The value of entry `index`, `None` in a branch.
    pub(crate) fn value(&self, index: usize) -> Option<&[u8]> {
        self.value_range(index).map(|range| &self.bytes[range])
    }

    /// The same as a slice that shares the node's memory.
    pub(crate) fn shared_value(&self, index: usize) -> Option<Bytes> {
        self.value_range(index).map(|range| self.bytes.slice(range))
    }

    /// Entry `index` of a branch, `None` in a leaf.
    pub(crate) fn child(&self, index: usize) -> Option<Child<'_>> {
        let Payload::Child { at, len } = self.entries.get(index)?.payload else {
            return None;
        };
        let digest = self.bytes.get(at as usize..)?.get(..Digest::LEN)?;
        Some(Child {
            last_key: self.key(index),
            digest: Digest::from_slice(digest)?,
            len,
        })
    }

    /// The first entry, from `from` on, whose key is not below `key`.
    pub(crate) fn seek(&self, from: usize, key: &[u8]) -> usize {
        let (mut low, mut high) = (from, self.entries.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn key_range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |i| self.entries[i].key_end);
        start as usize..self.entries[index].key_end as usize
    }

    fn value_range(&self, index: usize) -> Option<Range<usize>> {
        match self.entries.get(index)?.payload {
            Payload::Value { start, end } => Some(start as usize..end as usize),
            Payload::Child { .. } => None,
        }
    }

    fn weight(&self, index: usize) -> u64 {
        let key = self.key_range(index).len();
        match self.entries[index].payload {
            Payload::Value { start, end } => leaf_weight(key, (end - start) as usize),
            Payload::Child { .. } => branch_weight(key),
        }
    }

    /// What is hashed for entry `index`, in the memory of `buffer`.
    fn tagged_key(&self, index: usize, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        buffer.push(self.level);
        buffer.extend_from_slice(self.key(index));
        buffer
    }
}

/// Reads a key that follows the one at `last`, appends it to `keys` and returns where it is.
fn decode_key(
    reader: &mut Reader<'_>,
    keys: &mut Vec<u8>,
    last: Range<usize>,
    is_first: bool,
) -> Result<Range<usize>, NodeError> {
    let cut_off = "a key is cut off or too long";
    let shared = reader.varint().context(reason(cut_off))?;
    let shared = usize::try_from(shared).unwrap_or(usize::MAX);
    ensure!(
        shared <= last.len(),
        reason("a key shares more than there is")
    );
    let rest = reader.bytes(MAX_KEY - shared).context(reason(cut_off))?;
    // Where the key before goes on, this one goes on with a larger byte: so keys rise, and no shared byte is repeated.
    // `None` is less than any byte.
    let goes_on = keys[last.clone()].get(shared);
    ensure!(
        is_first || rest.first() > goes_on,
        reason("its keys do not rise, or are not shortest")
    );
    let start = keys.len();
    keys.extend_from_within(last.start..last.start + shared);
    keys.extend_from_slice(rest);
    Ok(start..keys.len())
}

/// How many of `bytes` were read.
fn offset(bytes: &[u8], reader: &Reader<'_>) -> u32 {
    narrow(bytes.len() - reader.remaining())
}

/// An offset into a node or its keys: both are far below 4 GiB.
#[allow(clippy::cast_possible_truncation)]
const fn narrow(offset: usize) -> u32 {
    offset as u32
}
