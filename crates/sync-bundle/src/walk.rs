//! The objects that a snapshot names and another one does not, in an order that depends on both alone.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sync_core::map::{Map, MapError, NewNode, diff, new_nodes};
use sync_core::rows::tables;
use sync_core::{Content, Digest, Entry, Roots};
use sync_store::{Class, RepositoryNodes};

type StoreError = sync_store::Error;

/// Takes an object that goes, and says whether a pack ended with it.
pub(crate) type Each<'e> = &'e mut dyn FnMut(Class, Digest) -> Result<bool, StoreError>;

/// What went out, within bounds: objects up to [`MOST`] of a bundle, then those of a pack alone.
///
/// Half of a digest is enough to tell objects apart: two that share it take 2^64 tries.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    all: HashSet<[u8; 16]>,
    of_pack: HashSet<[u8; 16]>,
}

/// 36 MiB, and half of that while it grows.
const MOST: usize = (1 << 20) / 8 * 7;

impl Sent {
    /// Whether this one has not gone out yet; now it has.
    fn is_fresh(&mut self, digest: &Digest) -> bool {
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_bytes()[..16]);
        self.is_first(half)
    }

    /// Whether it is to be followed as a list of this depth; now it was. The same bytes can be a chunk of another file.
    fn is_followed_first(&mut self, digest: &Digest, depth: u8) -> bool {
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_bytes()[16..]);
        half[0] ^= depth;
        self.is_first(half)
    }

    fn is_first(&mut self, half: [u8; 16]) -> bool {
        if self.all.contains(&half) {
            return false;
        }
        if self.all.len() < MOST {
            return self.all.insert(half);
        }
        self.of_pack.insert(half)
    }

    fn end_pack(&mut self) {
        self.of_pack.clear();
    }
}

/// What the values of a map are.
#[derive(Debug, Clone, Copy)]
enum Values {
    Files,
    Rows,
}

/// A walk through the maps of one repository. Blocking.
pub(crate) struct Walk<'w> {
    pub(crate) nodes: &'w RepositoryNodes,
    pub(crate) sent: &'w mut Sent,
    pub(crate) each: Each<'w>,
}

impl Walk<'_> {
    /// Shows what `after` names and `before` does not, each object once: of a map its nodes, of a node what its entries name.
    pub(crate) fn objects(&mut self, before: Roots, after: Roots) -> Result<(), StoreError> {
        if let Some(root) = after.files {
            self.map(before.files, root, Values::Files)?;
        }
        if let Some(release) = after.release.filter(|_| after.release != before.release) {
            self.emit(Class::Nodes, release)?;
        }
        after
            .rows
            .map_or(Ok(()), |root| self.tables(before.rows, root))
    }

    fn tables(&mut self, before: Option<Digest>, after: Digest) -> Result<(), StoreError> {
        if before == Some(after) {
            return Ok(());
        }
        for node in new_nodes(self.nodes, before, self.nodes, after) {
            let NewNode { digest, .. } = node?;
            self.emit(Class::Nodes, digest)?;
        }
        let held = before.map(|root| tables(self.nodes, root)).transpose()?;
        let held: HashMap<_, _> = held.unwrap_or_default().into_iter().collect();
        for (name, table) in tables(self.nodes, after)? {
            let before = held.get(&name);
            if before.map(|before| before.schema) != Some(table.schema) {
                self.emit(Class::Nodes, table.schema)?;
            }
            let before = before.map(|before| before.rows.root);
            self.map(before, table.rows.root, Values::Rows)?;
        }
        Ok(())
    }

    fn map(
        &mut self,
        before: Option<Digest>,
        after: Digest,
        values: Values,
    ) -> Result<(), StoreError> {
        if before == Some(after) {
            return Ok(());
        }
        // Of a map that is all new the entries of its nodes are all there is.
        let is_new = before.is_none_or(|before| before == Map::empty_root());
        for node in new_nodes(self.nodes, before, self.nodes, after) {
            let NewNode { digest, node } = node?;
            self.emit(Class::Nodes, digest)?;
            if is_new {
                for (_, value) in node.entries() {
                    self.value(values, &node.bytes().slice_ref(value))?;
                }
            }
        }
        if is_new {
            return Ok(());
        }
        let before = before.unwrap_or(Map::empty_root());
        for change in diff(self.nodes, before, self.nodes, after) {
            if let Some(after) = change?.after {
                self.value(values, &after)?;
            }
        }
        Ok(())
    }

    /// Shows the lists and chunks that a value names.
    fn value(&mut self, values: Values, value: &Bytes) -> Result<(), StoreError> {
        let contents: Vec<Content> = match values {
            Values::Files => match Entry::decode(value) {
                Some(Entry::File { content, .. }) => vec![content],
                _ => Vec::new(),
            },
            Values::Rows => self.nodes.row_contents(value)?,
        };
        let nodes = self.nodes;
        for content in contents {
            nodes.walk_content(&content, &mut |digest, depth| {
                let class = match depth {
                    0 => Class::Contents,
                    _ => Class::Nodes,
                };
                self.emit(class, digest)?;
                Ok(depth > 0 && self.sent.is_followed_first(&digest, depth))
            })?;
        }
        Ok(())
    }

    fn emit(&mut self, class: Class, digest: Digest) -> Result<(), StoreError> {
        if self.sent.is_fresh(&digest) && (self.each)(class, digest)? {
            self.sent.end_pack();
        }
        Ok(())
    }
}

/// The fingerprints of the schemas of a map of tables.
pub(crate) fn schemas(
    nodes: &RepositoryNodes,
    rows: Digest,
) -> Result<Vec<(String, Digest)>, MapError> {
    let tables = tables(nodes, rows)?.into_iter();
    Ok(tables
        .map(|(name, table)| (name.to_string(), table.schema))
        .collect())
}

/// How many rows a map of tables has.
pub(crate) fn count_rows(nodes: &RepositoryNodes, rows: Digest) -> Result<u64, MapError> {
    let tables = tables(nodes, rows)?.into_iter();
    Ok(tables.map(|(_, table)| table.rows.len).sum())
}
