//! Looking things up in a map, again and again at rising keys.

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{Map, check_node};

use crate::Error;
use crate::repository::RepositoryNodes;

/// Looks things up in a map, and remembers the way to where it was last, so that a walk in key order reads each node once.
///
/// The map may have missing or malformed nodes: what is below them is not found.
#[derive(Debug)]
pub(super) struct Lookup<'r> {
    reader: &'r RepositoryNodes,
    root: Digest,
    /// From the root down; each is the one child of the one before.
    path: Vec<Step>,
}

/// A node on the way.
#[derive(Debug)]
struct Step {
    level: u8,
    /// The last key before the node's first.
    lower: Option<Bytes>,
    /// Whether no node comes after it on its level.
    is_last: bool,
    total: u64,
    items: Items,
}

#[derive(Debug)]
enum Items {
    /// Last key, digest and number of entries of every child.
    Branch(Vec<(Bytes, Digest, u64)>),
    /// Keys and values.
    Leaf(Vec<(Bytes, Bytes)>),
}

/// A node that was looked up by level and last key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) digest: Digest,
    pub(super) len: u64,
    /// The last key before the node's first.
    pub(super) lower: Option<Bytes>,
    /// Whether no node comes after it on its level.
    pub(super) is_last: bool,
}

impl Step {
    fn last_key(&self) -> Option<&Bytes> {
        match &self.items {
            Items::Branch(children) => children.last().map(|(key, _, _)| key),
            Items::Leaf(entries) => entries.last().map(|(key, _)| key),
        }
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.lower.as_deref() < Some(key) && self.last_key().is_some_and(|last| key <= last)
    }
}

impl<'r> Lookup<'r> {
    pub(super) fn new(reader: &'r RepositoryNodes, root: Digest) -> Self {
        Self {
            reader,
            root,
            path: Vec::new(),
        }
    }

    pub(super) fn root(&self) -> Digest {
        self.root
    }

    /// The node of `level` whose last key is `key`.
    pub(super) fn node(&mut self, level: u8, key: &[u8]) -> Result<Option<Known>, Error> {
        self.descend(key, level.saturating_add(1))?;
        let Some(step) = self.path.last() else {
            return Ok(None);
        };
        if step.level == level && self.path.len() == 1 {
            let is_root = step.last_key().is_some_and(|last| last == key);
            return Ok(is_root.then(|| Known {
                digest: self.root,
                len: step.total,
                lower: None,
                is_last: true,
            }));
        }
        let Items::Branch(children) = &step.items else {
            return Ok(None);
        };
        if step.level != level.saturating_add(1) {
            return Ok(None);
        }
        let Ok(index) = children.binary_search_by(|(last, _, _)| last.as_ref().cmp(key)) else {
            return Ok(None);
        };
        let (_, digest, len) = &children[index];
        let before = index
            .checked_sub(1)
            .map(|before| children[before].0.clone());
        Ok(Some(Known {
            digest: *digest,
            len: *len,
            lower: before.or_else(|| step.lower.clone()),
            is_last: step.is_last && index + 1 == children.len(),
        }))
    }

    /// The value under `key`.
    pub(super) fn value(&mut self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.at_or_after(key)?;
        Ok(found.filter(|(at, _)| at == key).map(|(_, value)| value))
    }

    /// Whether a key starts with `prefix`.
    pub(super) fn has_prefix(&mut self, prefix: &[u8]) -> Result<bool, Error> {
        let found = self.at_or_after(prefix)?;
        Ok(found.is_some_and(|(at, _)| at.starts_with(prefix)))
    }

    /// The first entry whose key is not below `key`.
    fn at_or_after(&mut self, key: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error> {
        self.descend(key, 0)?;
        let Some(Step {
            items: Items::Leaf(entries),
            ..
        }) = self.path.last()
        else {
            return Ok(None);
        };
        let index = entries.partition_point(|(at, _)| at < key);
        Ok(entries.get(index).cloned())
    }

    /// Goes to the node of `level` that holds `key`, or the first key after it: as far down as there is one.
    fn descend(&mut self, key: &[u8], level: u8) -> Result<(), Error> {
        while self.path.len() > 1
            && self
                .path
                .last()
                .is_some_and(|step| step.level < level || !step.covers(key))
        {
            self.path.pop();
        }
        if self.path.is_empty() {
            let Some(step) = self.read(&self.root, None, true)? else {
                return Ok(());
            };
            self.path.push(step);
        }
        while let Some(step) = self.path.last()
            && step.level > level
            && let Items::Branch(children) = &step.items
        {
            let index = children.partition_point(|(last, _, _)| last < key);
            let Some((_, digest, _)) = children.get(index) else {
                return Ok(());
            };
            let before = index
                .checked_sub(1)
                .map(|before| children[before].0.clone());
            let lower = before.or_else(|| step.lower.clone());
            let is_last = step.is_last && index + 1 == children.len();
            let above = step.level;
            let Some(step) = self.read(digest, lower, is_last)? else {
                return Ok(());
            };
            // A child that is not below its parent could lead round for ever.
            if step.level >= above {
                return Ok(());
            }
            self.path.push(step);
        }
        Ok(())
    }

    fn read(
        &self,
        digest: &Digest,
        lower: Option<Bytes>,
        is_last: bool,
    ) -> Result<Option<Step>, Error> {
        if *digest == Map::empty_root() {
            return Ok(None);
        }
        let node = self.reader.trusted(digest)?.map(check_node);
        let Some(Ok(node)) = node else {
            return Ok(None);
        };
        let items = if node.level() == 0 {
            let owned = |(key, value): (&[u8], &[u8])| {
                (Bytes::copy_from_slice(key), node.bytes().slice_ref(value))
            };
            Items::Leaf(node.entries().map(owned).collect())
        } else {
            let children = node.children().map(|child| {
                let last_key = Bytes::copy_from_slice(child.last_key);
                (last_key, child.digest, child.len)
            });
            Items::Branch(children.collect())
        };
        Ok(Some(Step {
            level: node.level(),
            lower,
            is_last,
            total: node.total(),
            items,
        }))
    }
}
