//! A map from another one and a batch of edits.

use std::cmp::Ordering;

use snafu::ensure;

use super::builder::Builder;
use super::cursor::{Cursor, Head, load};
use super::error::EntrySnafu;
use super::{Map, MapError, NodeSink, NodeSource};
use crate::Digest;

/// Applies `edits`, in strictly rising key order, to the map under `root`: `Some` sets a key's value, `None` removes it.
///
/// The outcome is what building the edited content anew would give. Removing what is not there changes nothing,
/// and neither does setting what is already so: then the outcome is `root` and the sink is given nothing.
/// Otherwise the sink is given the nodes that `root` does not have, children before parents.
/// Reads and writes follow what changes; subtrees between two edits are taken over without being read.
///
/// # Errors
///
/// [`MapError::Entry`] where edits are out of order or too long. After any error nothing names what the sink was given.
pub fn edit<N, S, K, V>(
    source: &N,
    root: Digest,
    edits: impl IntoIterator<Item = (K, Option<V>)>,
    sink: &mut S,
) -> Result<Map, MapError>
where
    N: NodeSource + ?Sized,
    S: NodeSink + ?Sized,
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    let mut editor = Editor::new(source, root, sink);
    for (key, value) in edits {
        match value {
            Some(value) => editor.set(key.as_ref(), value.as_ref())?,
            None => editor.remove(key.as_ref())?,
        }
    }
    editor.finish()
}

/// Applies edits one by one, for a caller whose edits come from something that can fail; see [`edit`].
///
/// After an error the editor is of no use: drop it, nothing names what the sink was given.
#[derive(Debug)]
pub struct Editor<'e, N: NodeSource + ?Sized, S: NodeSink + ?Sized> {
    source: &'e N,
    old: Cursor<&'e N>,
    new: Builder<'e, S>,
    /// The key of the last edit.
    last_edit: Option<Vec<u8>>,
}

impl<'e, N: NodeSource + ?Sized, S: NodeSink + ?Sized> Editor<'e, N, S> {
    /// Starts to edit the map under `root`; nothing is read yet.
    pub fn new(source: &'e N, root: Digest, sink: &'e mut S) -> Self {
        Self {
            source,
            old: Cursor::new(source, root),
            new: Builder::new(sink),
            last_edit: None,
        }
    }

    /// Sets the value under `key`, which comes after the keys of all edits before.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        self.pass(key)?;
        self.new.push(key, value)
    }

    /// Removes `key`, which comes after the keys of all edits before, if it is there.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), MapError> {
        self.pass(key)
    }

    /// Completes the edited map.
    pub fn finish(mut self) -> Result<Map, MapError> {
        self.old.start()?;
        while let Some(head) = self.old.head() {
            match head {
                Head::Entry { .. } => self.keep_entry()?,
                Head::Subtree(_) => self.keep_subtree(true)?,
            }
        }
        let built = self.new.build()?;
        let mut map = built.map;
        if built.taken_over {
            // The last node of a level may have one child only; where all nodes before it are gone, that child is the root.
            while let Some(child) = only_child(&self.source, map.root)? {
                map.root = child;
            }
        }
        Ok(map)
    }

    /// Brings what is before `key` into the new map, and drops what is at `key`.
    fn pass(&mut self, key: &[u8]) -> Result<(), MapError> {
        ensure!(
            self.last_edit.as_deref() < Some(key),
            EntrySnafu {
                reason: "the key of an edit does not come after the one before"
            }
        );
        let last_edit = self.last_edit.get_or_insert_default();
        last_edit.clear();
        last_edit.extend_from_slice(key);

        self.old.start()?;
        while let Some(head) = self.old.head() {
            match head {
                Head::Subtree(subtree) if subtree.last_key < key => self.keep_subtree(false)?,
                Head::Subtree(_) => self.open()?,
                Head::Entry { key: at, .. } => match at.cmp(key) {
                    Ordering::Less => self.keep_entry()?,
                    Ordering::Equal => {
                        self.old.pass();
                        break;
                    }
                    Ordering::Greater => break,
                },
            }
        }
        Ok(())
    }

    fn keep_entry(&mut self) -> Result<(), MapError> {
        if let Some(Head::Entry { key, value }) = self.old.head() {
            self.new.push(key, value)?;
        }
        self.old.pass();
        Ok(())
    }

    /// Takes the head over as it is where the new map has a node starting and ending just there, else opens it.
    /// The last node of a level ends anywhere, so it is only a node of the new map if nothing follows.
    fn keep_subtree(&mut self, nothing_follows: bool) -> Result<(), MapError> {
        if let Some(Head::Subtree(subtree)) = self.old.head()
            && self.new.is_at_boundary(subtree.level)
            && (nothing_follows || !subtree.is_last)
        {
            self.new
                .push_node(subtree.level, subtree.last_key, subtree.map)?;
            self.old.pass();
            Ok(())
        } else {
            self.open()
        }
    }

    fn open(&mut self) -> Result<(), MapError> {
        if let Some(Head::Subtree(subtree)) = self.old.head() {
            self.new.replace(subtree.level, subtree.map.root);
        }
        self.old.open()?;
        Ok(())
    }
}

/// The child of a branch that has no other.
fn only_child(source: &impl NodeSource, digest: Digest) -> Result<Option<Digest>, MapError> {
    let node = load(source, digest)?;
    let first = node.child(0).map(|child| child.digest);
    Ok(first.filter(|_| node.count() == 1))
}
