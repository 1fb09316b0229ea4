//! Reading: one key, a range, everything.

use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::cursor::{Cursor, Head, load};
use super::{MapError, NodeSource};
use crate::Digest;

/// The value under `key` in the map under `root`, `None` where there is none. Reads one node per level.
pub fn get(
    source: &(impl NodeSource + ?Sized),
    root: Digest,
    key: &[u8],
) -> Result<Option<Bytes>, MapError> {
    let mut cursor = Cursor::new(source, root);
    cursor.seek(key)?;
    let found = cursor.take_entry().filter(|(at, _)| at == key);
    Ok(found.map(|(_, value)| value))
}

/// The number of entries of the map under `root`, as its root node says. Reads one node.
pub fn len(source: &(impl NodeSource + ?Sized), root: Digest) -> Result<u64, MapError> {
    load(&source, root).map(|node| node.total())
}

/// All entries of the map under `root` in key order. Every node is read once, when its entries are reached.
pub fn iter<N: NodeSource>(source: N, root: Digest) -> Range<N> {
    range(source, root, ..)
}

/// The entries of the map under `root` whose keys are within `bounds`, in key order. Nodes outside of them are not read.
///
/// A source is a `&S` or an `Arc<S>`; bounds are `..`, or a pair of [`Bound`]s of `&[u8]`.
/// Bounds that contain nothing (the start after the end) give nothing.
pub fn range<N: NodeSource>(source: N, root: Digest, bounds: impl RangeBounds<[u8]>) -> Range<N> {
    Range {
        cursor: Cursor::new(source, root),
        start: Some(bounds.start_bound().map(Bytes::copy_from_slice)),
        end: bounds.end_bound().map(Bytes::copy_from_slice),
        done: false,
    }
}

/// The entries of a part of a map in key order: see [`range`]. The first error is the last item.
#[derive(Debug)]
pub struct Range<N> {
    cursor: Cursor<N>,
    /// Until it was sought.
    start: Option<Bound<Bytes>>,
    end: Bound<Bytes>,
    done: bool,
}

impl<N: NodeSource> Range<N> {
    fn step(&mut self) -> Result<Option<(Bytes, Bytes)>, MapError> {
        match self.start.take() {
            None => {}
            Some(Bound::Unbounded) => self.cursor.start()?,
            Some(Bound::Included(key)) => self.cursor.seek(&key)?,
            Some(Bound::Excluded(key)) => {
                self.cursor.seek(&key)?;
                if matches!(self.cursor.head(), Some(Head::Entry { key: at, .. }) if at == key) {
                    self.cursor.pass();
                }
            }
        }
        loop {
            match self.cursor.head() {
                None => return Ok(None),
                Some(Head::Entry { key, .. }) => {
                    let inside = match &self.end {
                        Bound::Unbounded => true,
                        Bound::Included(end) => key <= &end[..],
                        Bound::Excluded(end) => key < &end[..],
                    };
                    return Ok(self.cursor.take_entry().filter(|_| inside));
                }
                Some(Head::Subtree(subtree)) => {
                    // All its keys are greater than `lower`.
                    let outside = match &self.end {
                        Bound::Unbounded => false,
                        Bound::Included(end) | Bound::Excluded(end) => {
                            subtree.lower >= Some(&end[..])
                        }
                    };
                    if outside {
                        return Ok(None);
                    }
                    self.cursor.open()?;
                }
            }
        }
    }
}

impl<N: NodeSource> Iterator for Range<N> {
    type Item = Result<(Bytes, Bytes), MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
