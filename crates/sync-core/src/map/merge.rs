//! What two maps did to a third.

use std::cmp::Ordering;
use std::iter::Peekable;

use bytes::Bytes;

use super::diff::{Change, Diff, diff};
use super::{MapError, NodeSource};
use crate::Digest;

/// One key that differs from the base in one map or in both. A [`Change`] goes from the base to what a side has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// Only we changed it.
    Ours(Change),
    /// Only they changed it.
    Theirs(Change),
    /// Both sides made the same change.
    Both(Change),
    /// The sides made different changes: somebody must choose.
    Conflict {
        /// The key.
        key: Bytes,
        /// The value in the base, `None` where the key was absent.
        base: Option<Bytes>,
        /// Our value, `None` where we removed the key.
        ours: Option<Bytes>,
        /// Their value, `None` where they removed the key.
        theirs: Option<Bytes>,
    },
}

impl Merged {
    /// The key that it is about.
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Ours(change) | Self::Theirs(change) | Self::Both(change) => &change.key,
            Self::Conflict { key, .. } => key,
        }
    }
}

/// Compares two maps with the one that both came from: every key that either changed, in key order.
///
/// It decides nothing where both changed a key differently, and it is symmetric: with the sides exchanged,
/// the same keys come with `Ours` and `Theirs` exchanged. The cost follows the number of changes.
/// A source is a `&S` or an `Arc<S>` that has all three maps.
pub fn merge<N: NodeSource + Clone>(
    source: N,
    base: Digest,
    ours: Digest,
    theirs: Digest,
) -> Merge<N> {
    let ours = diff(source.clone(), base, source.clone(), ours);
    let theirs = diff(source.clone(), base, source, theirs);
    Merge {
        ours: ours.peekable(),
        theirs: theirs.peekable(),
        done: false,
    }
}

/// The keys that two maps changed in a third, in key order: see [`merge`]. The first error is the last item.
#[derive(Debug)]
pub struct Merge<N: NodeSource> {
    ours: Peekable<Diff<N, N>>,
    theirs: Peekable<Diff<N, N>>,
    done: bool,
}

impl<N: NodeSource> Merge<N> {
    fn step(&mut self) -> Result<Option<Merged>, MapError> {
        let order = match (self.ours.peek(), self.theirs.peek()) {
            (Some(Ok(ours)), Some(Ok(theirs))) => ours.key.cmp(&theirs.key),
            // An error on our side is taken first, one on theirs when our side has nothing more or has failed.
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(None),
        };
        Ok(match order {
            Ordering::Less => self.ours.next().transpose()?.map(Merged::Ours),
            Ordering::Greater => self.theirs.next().transpose()?.map(Merged::Theirs),
            Ordering::Equal => {
                let ours = self.ours.next().transpose()?;
                let theirs = self.theirs.next().transpose()?;
                ours.zip(theirs).map(|(ours, theirs)| meet(ours, theirs))
            }
        })
    }
}

/// Both sides changed one key.
fn meet(ours: Change, theirs: Change) -> Merged {
    if ours.after == theirs.after {
        Merged::Both(ours)
    } else {
        Merged::Conflict {
            key: ours.key,
            base: ours.before,
            ours: ours.after,
            theirs: theirs.after,
        }
    }
}

impl<N: NodeSource> Iterator for Merge<N> {
    type Item = Result<Merged, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
