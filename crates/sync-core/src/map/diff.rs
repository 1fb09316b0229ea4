//! What differs between two maps.

use std::cmp::Ordering;

use bytes::Bytes;

use super::cursor::{Cursor, Head, Subtree};
use super::{MapError, NodeSource};
use crate::Digest;

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

/// The keys whose values differ between the map under `before_root` and the one under `after_root`, in key order.
///
/// Subtrees with equal digests are passed without being read, so the cost follows the number of changes.
/// A source is a `&S` or an `Arc<S>`.
pub fn diff<A: NodeSource, B: NodeSource>(
    before: A,
    before_root: Digest,
    after: B,
    after_root: Digest,
) -> Diff<A, B> {
    Diff {
        before: Cursor::new(before, before_root),
        after: Cursor::new(after, after_root),
        done: before_root == after_root,
    }
}

/// The changes from one map to another in key order: see [`diff`]. The first error is the last item.
#[derive(Debug)]
pub struct Diff<A, B> {
    before: Cursor<A>,
    after: Cursor<B>,
    done: bool,
}

/// What the two heads call for.
enum Step {
    End,
    /// Both heads are the same subtree.
    PassBoth,
    OpenBefore,
    OpenAfter,
    /// The head of `after` is a subtree whose keys are all greater than this.
    RaiseAfter(Bytes),
    RaiseBefore(Bytes),
    /// Both heads are entries with the same key.
    Compare,
    /// The head of `before` is an entry whose key `after` has not.
    Removed,
    /// The head of `after` is an entry whose key `before` has not.
    Added,
}

impl<A: NodeSource, B: NodeSource> Diff<A, B> {
    fn step(&mut self) -> Result<Option<Change>, MapError> {
        self.before.start()?;
        self.after.start()?;
        loop {
            let (before, after) = match self.decide() {
                Step::End => return Ok(None),
                Step::PassBoth => {
                    self.before.pass();
                    self.after.pass();
                    continue;
                }
                Step::OpenBefore => {
                    self.before.open()?;
                    continue;
                }
                Step::OpenAfter => {
                    self.after.open()?;
                    continue;
                }
                Step::RaiseBefore(lower) => {
                    self.before.raise(lower);
                    continue;
                }
                Step::RaiseAfter(lower) => {
                    self.after.raise(lower);
                    continue;
                }
                Step::Compare => (self.before.take_entry(), self.after.take_entry()),
                Step::Removed => (self.before.take_entry(), None),
                Step::Added => (None, self.after.take_entry()),
            };
            let (key, before, after) = match (before, after) {
                (Some((_, before)), Some((_, after))) if before == after => continue,
                (Some((key, before)), Some((_, after))) => (key, Some(before), Some(after)),
                (Some((key, before)), None) => (key, Some(before), None),
                (None, Some((key, after))) => (key, None, Some(after)),
                (None, None) => return Ok(None),
            };
            return Ok(Some(Change { key, before, after }));
        }
    }

    fn decide(&self) -> Step {
        match (self.before.head(), self.after.head()) {
            (None, None) => Step::End,
            (Some(Head::Entry { .. }), None) => Step::Removed,
            (None, Some(Head::Entry { .. })) => Step::Added,
            (Some(Head::Subtree(_)), None) => Step::OpenBefore,
            (None, Some(Head::Subtree(_))) => Step::OpenAfter,
            (Some(Head::Entry { key: before, .. }), Some(Head::Entry { key: after, .. })) => {
                match before.cmp(after) {
                    Ordering::Less => Step::Removed,
                    Ordering::Equal => Step::Compare,
                    Ordering::Greater => Step::Added,
                }
            }
            (Some(Head::Entry { key, .. }), Some(Head::Subtree(after))) => {
                if Some(key) <= after.lower {
                    Step::Removed
                } else if let Some(lower) = self.before.find_ahead(&after) {
                    Step::RaiseAfter(lower)
                } else {
                    Step::OpenAfter
                }
            }
            (Some(Head::Subtree(before)), Some(Head::Entry { key, .. })) => {
                if Some(key) <= before.lower {
                    Step::Added
                } else if let Some(lower) = self.after.find_ahead(&before) {
                    Step::RaiseBefore(lower)
                } else {
                    Step::OpenBefore
                }
            }
            (Some(Head::Subtree(before)), Some(Head::Subtree(after))) => {
                self.decide_subtrees(&before, &after)
            }
        }
    }

    /// Opens as little as possible: a subtree that is found again on the other side will be passed.
    fn decide_subtrees(&self, before: &Subtree<'_>, after: &Subtree<'_>) -> Step {
        if before.map == after.map {
            Step::PassBoth
        } else if Some(before.last_key) <= after.lower {
            Step::OpenBefore
        } else if Some(after.last_key) <= before.lower {
            Step::OpenAfter
        } else if let Some(lower) = self.before.find_ahead(after) {
            Step::RaiseAfter(lower)
        } else if let Some(lower) = self.after.find_ahead(before) {
            Step::RaiseBefore(lower)
        } else if (before.level, after.lower) >= (after.level, before.lower) {
            // The higher one, whose children may be what the other is; of two on the same level the one that starts first.
            Step::OpenBefore
        } else {
            Step::OpenAfter
        }
    }
}

impl<A: NodeSource, B: NodeSource> Iterator for Diff<A, B> {
    type Item = Result<Change, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
