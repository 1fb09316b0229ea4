//! A place in a map, between what was passed and what is ahead: the descent that all readers share.

use bytes::Bytes;
use snafu::{OptionExt, ResultExt, ensure};

use super::error::{MalformedSnafu, MissingSnafu, StoreSnafu};
use super::node::{EMPTY_ROOT, Node};
use super::{MAX_NODE, Map, MapError, NodeSource};
use crate::Digest;

/// A place in a map. What is ahead starts with its *head*: an entry, or a subtree that was not opened.
/// Reading goes on by passing the head, or by opening it, which costs one read.
#[derive(Debug)]
pub(crate) struct Cursor<N> {
    source: N,
    root: Digest,
    /// The root's node, between [`Cursor::start`] and the opening of the root.
    unopened: Option<Node>,
    started: bool,
    /// The opened nodes, each one level below the one before. The last one has entries ahead.
    stack: Vec<Frame>,
    /// A better lower bound of the head than the frames know.
    raised: Option<Bytes>,
}

#[derive(Debug)]
struct Frame {
    node: Node,
    /// The entry that is the head, or is opened in the next frame. Below the node's count.
    index: usize,
    /// All keys of the node are greater; `None` where nothing is known.
    lower: Option<Bytes>,
    /// Whether the node is the last one of its level.
    is_last: bool,
}

/// What is next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Head<'c> {
    Entry { key: &'c [u8], value: &'c [u8] },
    Subtree(Subtree<'c>),
}

/// A node that was not opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subtree<'c> {
    pub(crate) level: u8,
    /// Its digest and its number of leaf entries.
    pub(crate) map: Map,
    pub(crate) last_key: &'c [u8],
    /// All its keys are greater; `None` where nothing is known, which compares as less than every key.
    pub(crate) lower: Option<&'c [u8]>,
    /// Whether it is the last node of its level.
    pub(crate) is_last: bool,
}

impl<N: NodeSource> Cursor<N> {
    /// Before the first entry of the map under `root`; nothing is read yet.
    pub(crate) const fn new(source: N, root: Digest) -> Self {
        Self {
            source,
            root,
            unopened: None,
            started: false,
            stack: Vec::new(),
            raised: None,
        }
    }

    /// Reads the root if that was not done yet; before, there is no head.
    pub(crate) fn start(&mut self) -> Result<(), MapError> {
        if !self.started {
            let root = load(&self.source, self.root)?;
            self.started = true;
            self.unopened = (root.count() > 0).then_some(root);
        }
        Ok(())
    }

    /// What is next, `None` at the end.
    pub(crate) fn head(&self) -> Option<Head<'_>> {
        if let Some(root) = &self.unopened {
            return Some(Head::Subtree(Subtree {
                level: root.level(),
                map: Map {
                    root: self.root,
                    len: root.total(),
                },
                last_key: root.last_key()?,
                // The whole of one map may be a part of another: then its root is raised, too.
                lower: self.raised.as_deref(),
                is_last: true,
            }));
        }
        let frame = self.stack.last()?;
        let Some(child) = frame.node.child(frame.index) else {
            return Some(Head::Entry {
                key: frame.node.key(frame.index),
                value: frame.node.value(frame.index)?,
            });
        };
        Some(Head::Subtree(Subtree {
            level: frame.node.level().saturating_sub(1),
            map: Map {
                root: child.digest,
                len: child.len,
            },
            last_key: child.last_key,
            lower: self.raised.as_deref().or(match frame.index {
                0 => frame.lower.as_deref(),
                index => Some(frame.node.key(index - 1)),
            }),
            is_last: frame.is_last && frame.index + 1 == frame.node.count(),
        }))
    }

    /// Goes past the head.
    pub(crate) fn pass(&mut self) {
        self.raised = None;
        if self.unopened.take().is_some() {
            return;
        }
        while let Some(frame) = self.stack.last_mut() {
            frame.index += 1;
            if frame.index < frame.node.count() {
                return;
            }
            self.stack.pop();
        }
    }

    /// Goes past the head, which is an entry, and returns its key and value; `None` where it is not one.
    pub(crate) fn take_entry(&mut self) -> Option<(Bytes, Bytes)> {
        let frame = self.stack.last()?;
        let value = frame.node.shared_value(frame.index)?;
        let key = frame.node.shared_key(frame.index);
        self.pass();
        Some((key, value))
    }

    /// Opens the head, a subtree: its first entry or child becomes the head. Returns the node, `None` where it is not one.
    pub(crate) fn open(&mut self) -> Result<Option<&Node>, MapError> {
        let frame = if let Some(node) = self.unopened.take() {
            Frame {
                node,
                index: 0,
                lower: self.raised.take(),
                is_last: true,
            }
        } else {
            let Some(Head::Subtree(subtree)) = self.head() else {
                return Ok(None);
            };
            Frame {
                node: load_child(&self.source, &subtree)?,
                index: 0,
                lower: subtree.lower.map(Bytes::copy_from_slice),
                is_last: subtree.is_last,
            }
        };
        self.raised = None;
        self.stack.push(frame);
        Ok(self.stack.last().map(|frame| &frame.node))
    }

    /// Goes past everything in the node that was opened last, and returns it.
    pub(crate) fn leave(&mut self) -> Option<Node> {
        let frame = self.stack.pop()?;
        self.pass();
        Some(frame.node)
    }

    /// Goes past everything whose key is below `key`, opening what lies across it. A head that is left is an entry.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), MapError> {
        self.start()?;
        loop {
            match self.head() {
                Some(Head::Subtree(subtree)) if subtree.last_key >= key => {
                    self.open()?;
                }
                Some(Head::Entry { key: at, .. }) if at >= key => return Ok(()),
                None => return Ok(()),
                Some(_) => match self.stack.last_mut() {
                    // To the last entry that is passed, so that passing it keeps the invariant of the stack.
                    Some(frame) => {
                        frame.index = frame.node.seek(frame.index, key) - 1;
                        self.pass();
                    }
                    None => self.pass(),
                },
            }
        }
    }

    /// Looks for `subtree`, the head of another cursor, among the unopened siblings ahead, without reading anything.
    /// Where it is there, returns the key before it: a lower bound of what `subtree` holds.
    pub(crate) fn find_ahead(&self, subtree: &Subtree<'_>) -> Option<Bytes> {
        let top = self.stack.first()?.node.level();
        let depth = top.checked_sub(subtree.level.checked_add(1)?)?;
        let frame = self.stack.get(usize::from(depth))?;
        let found = frame.node.seek(frame.index + 1, subtree.last_key);
        let child = frame.node.child(found)?;
        // A parent that says something else of the same node is wrong: opening its child says so.
        let same = child.digest == subtree.map.root && child.last_key == subtree.last_key;
        same.then(|| frame.node.shared_key(found - 1))
    }

    /// Says that everything ahead is greater than `lower`.
    pub(crate) fn raise(&mut self, lower: Bytes) {
        self.raised = Some(lower);
    }
}

/// Reads the node that `digest` names, and checks its bytes.
pub(crate) fn load(source: &impl NodeSource, digest: Digest) -> Result<Node, MapError> {
    if digest == EMPTY_ROOT {
        return Ok(Node::empty());
    }
    let bytes = source.node(&digest).context(StoreSnafu { digest })?;
    let bytes = bytes.context(MissingSnafu { digest })?;
    ensure!(
        bytes.len() < MAX_NODE && (source.is_checked() || Digest::of(&bytes) == digest),
        MalformedSnafu {
            digest,
            reason: "its bytes have another digest"
        }
    );
    Node::decode(bytes).map_err(|error| MapError::malformed(digest, error))
}

/// Reads the node of `subtree`, and checks that it is what its parent says.
fn load_child(source: &impl NodeSource, subtree: &Subtree<'_>) -> Result<Node, MapError> {
    let digest = subtree.map.root;
    let node = load(source, digest)?;
    let first_key = (node.count() > 0).then(|| node.key(0));
    let wrong = if node.level() != subtree.level {
        "it is not one level below its parent"
    } else if node.total() != subtree.map.len {
        "it has not as many entries as its parent says"
    } else if node.last_key() != Some(subtree.last_key) {
        "its last key is not the one that its parent says"
    } else if first_key <= subtree.lower {
        "it overlaps the node before"
    } else {
        return Ok(node);
    };
    MalformedSnafu {
        digest,
        reason: wrong,
    }
    .fail()
}
