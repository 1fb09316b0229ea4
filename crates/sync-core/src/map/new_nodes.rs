//! The nodes of one map that another one lacks.

use super::cursor::{Cursor, Head, Subtree};
use super::node::Node;
use super::{MapError, NodeSource};
use crate::Digest;

/// A node of the newer map: see [`new_nodes`].
#[derive(Debug, Clone)]
pub struct NewNode {
    /// What names it.
    pub digest: Digest,
    /// The node, checked; [`Node::bytes`] is what travels.
    pub node: Node,
}

/// The nodes of the map under `after_root` that the one under `before_root` has not: what a holder of the older map needs
/// to hold the newer one whole. `None` is a holder of nothing.
///
/// Parents come before children, and children in key order. Nodes that both maps have are passed without being read, and
/// so are all leaves of the older map. Where many neighbouring nodes were removed, a few nodes that the older map has may come too.
/// The root of the empty map never comes: everybody has it.
pub fn new_nodes<A: NodeSource, B: NodeSource>(
    before: A,
    before_root: Option<Digest>,
    after: B,
    after_root: Digest,
) -> NewNodes<A, B> {
    NewNodes {
        before: before_root.map(|root| Cursor::new(before, root)),
        after: Cursor::new(after, after_root),
        done: before_root == Some(after_root),
    }
}

/// The nodes that an older map lacks: see [`new_nodes`]. The first error is the last item.
#[derive(Debug)]
pub struct NewNodes<A, B> {
    before: Option<Cursor<A>>,
    after: Cursor<B>,
    done: bool,
}

/// What the two heads call for.
enum Step {
    PassBefore,
    OpenBefore,
    PassAfter,
    Emit,
}

impl<A: NodeSource, B: NodeSource> NewNodes<A, B> {
    /// Goes to the next node that the older map lacks, which is not read yet; says whether there is one.
    fn find(&mut self) -> Result<bool, MapError> {
        if let Some(before) = &mut self.before {
            before.start()?;
        }
        self.after.start()?;
        loop {
            if !matches!(self.after.head(), Some(Head::Subtree(_))) {
                return Ok(false);
            }
            match (decide(self.before.as_ref(), &self.after), &mut self.before) {
                (Step::PassBefore, Some(before)) => before.pass(),
                (Step::OpenBefore, Some(before)) => {
                    before.open()?;
                }
                (Step::PassAfter, _) => self.after.pass(),
                _ => return Ok(true),
            }
        }
    }

    fn step(&mut self) -> Result<Option<NewNode>, MapError> {
        if !self.find()? {
            return Ok(None);
        }
        let Some(Head::Subtree(after)) = self.after.head() else {
            return Ok(None);
        };
        let digest = after.map.root;
        let Some(node) = self.after.open()? else {
            return Ok(None);
        };
        // What is in a leaf is not a node.
        let node = if node.level() > 0 {
            Some(node.clone())
        } else {
            self.after.leave()
        };
        Ok(node.map(|node| NewNode { digest, node }))
    }

    /// Shows what the parents of the new nodes say of them, from the first to the last. No leaf is read.
    pub(crate) fn names(mut self, mut each: impl FnMut(Subtree<'_>)) -> Result<(), MapError> {
        while !self.done && self.find()? {
            let Some(Head::Subtree(after)) = self.after.head() else {
                break;
            };
            each(after);
            if after.level > 0 {
                self.after.open()?;
            } else {
                self.after.pass();
            }
        }
        Ok(())
    }
}

fn decide<A: NodeSource, B: NodeSource>(before: Option<&Cursor<A>>, after: &Cursor<B>) -> Step {
    let (Some(cursor), Some(Head::Subtree(after))) = (before, after.head()) else {
        return Step::Emit;
    };
    // Leaves of the older map are never opened, so its head is never an entry.
    let Some(Head::Subtree(before)) = cursor.head() else {
        return Step::Emit;
    };
    if Some(before.last_key) <= after.lower {
        Step::PassBefore
    } else if before.level > after.level {
        Step::OpenBefore
    } else if before.map == after.map || cursor.find_ahead(&after).is_some() {
        Step::PassAfter
    } else {
        Step::Emit
    }
}

impl<A: NodeSource, B: NodeSource> Iterator for NewNodes<A, B> {
    type Item = Result<NewNode, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
