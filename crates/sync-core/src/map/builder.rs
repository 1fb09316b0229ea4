//! Nodes from entries in order: one chunker per level.

use snafu::{ResultExt, ensure};

use super::cut::{branch_weight, ends_node, leaf_weight};
use super::error::{EntrySnafu, StoreSnafu};
use super::node::NODE_TAG;
use super::{MAX_KEY, MAX_VALUE, Map, MapError, NodeSink};
use crate::Digest;
use crate::wire::{put_bytes, put_varint};

/// Builds a map from entries that come in strictly rising key order.
///
/// Every node is given to the sink as soon as it is complete, children before parents;
/// no more than one unfinished node per level is held.
/// After an error the builder is of no use: what the sink was given by then is named by nothing.
#[derive(Debug)]
pub struct Builder<'s, S: NodeSink + ?Sized> {
    sink: &'s mut S,
    /// The chunkers, leaves first; there is always one.
    levels: Vec<Chunker>,
    /// Whether anything was pushed: then the first chunker has the last key.
    started: bool,
}

/// What a builder ends with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Built {
    /// The root, and the number of entries.
    pub(crate) map: Map,
    /// Whether the root was taken over from another map, and not made here.
    pub(crate) taken_over: bool,
}

/// The unfinished node of one level.
#[derive(Debug)]
struct Chunker {
    /// The level as one byte, then the last key that came by, in this node or an earlier one: what the cut rule hashes.
    tagged_key: Vec<u8>,
    /// The encoded entries.
    body: Vec<u8>,
    count: u64,
    weight: u64,
    /// Leaf entries in or below the entries.
    total: u64,
    /// How many nodes this level had before this one, finished or taken over; counted to 2 at least, then at will.
    nodes: u64,
    /// The last of them.
    newest: Option<Built>,
    /// The node of an older map in whose place this chunker now is: if it comes out again, the sink has it.
    existing: Option<Digest>,
}

impl<'s, S: NodeSink + ?Sized> Builder<'s, S> {
    /// Starts with the empty map.
    pub fn new(sink: &'s mut S) -> Self {
        Self {
            sink,
            levels: vec![Chunker::new(0)],
            started: false,
        }
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// [`MapError::Entry`] where the key does not come after the one before, or key or value are too long;
    /// [`MapError::Store`] where the sink fails.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        ensure!(
            key.len() <= MAX_KEY,
            EntrySnafu {
                reason: "the key is longer than 8 KiB"
            }
        );
        ensure!(
            value.len() <= MAX_VALUE,
            EntrySnafu {
                reason: "the value is longer than 16 KiB"
            }
        );
        let leaves = &mut self.levels[0];
        let shared = shared_prefix(leaves.last_key(), key);
        ensure!(
            !self.started || key.get(shared) > leaves.last_key().get(shared),
            EntrySnafu {
                reason: "the key does not come after the one before"
            }
        );
        self.started = true;
        leaves.start_entry(key, shared);
        put_bytes(&mut leaves.body, value);
        if leaves.end_entry(1, leaf_weight(key.len(), value.len())) {
            self.end_node(0)?;
        }
        Ok(())
    }

    /// Completes the map.
    ///
    /// # Errors
    ///
    /// [`MapError::Store`] where the sink fails.
    pub fn finish(self) -> Result<Map, MapError> {
        self.build().map(|built| built.map)
    }

    pub(crate) fn build(mut self) -> Result<Built, MapError> {
        let mut level = 0u8;
        while let Some(chunker) = self.levels.get(usize::from(level)) {
            if chunker.count > 0 {
                self.end_node(level)?;
            }
            let chunker = &self.levels[usize::from(level)];
            match chunker.newest {
                Some(only) if chunker.nodes == 1 => return Ok(only),
                _ => level += 1,
            }
        }
        // No level has a node.
        Ok(Built {
            map: Map::EMPTY,
            taken_over: false,
        })
    }

    /// Whether a whole node of `level` can come next: no node of that level or below is unfinished.
    pub(crate) fn is_at_boundary(&self, level: u8) -> bool {
        let up_to = usize::from(level) + 1;
        self.levels.iter().take(up_to).all(|l| l.count == 0)
    }

    /// Takes over a node with all that is below it. The caller sees to it that the builder is at a boundary, that the keys
    /// rise, and that the node ends in a cut or is the last one.
    pub(crate) fn push_node(
        &mut self,
        level: u8,
        last_key: &[u8],
        node: Map,
    ) -> Result<(), MapError> {
        self.started = true;
        self.reach(level);
        let (below, rest) = self.levels.split_at_mut(usize::from(level));
        for chunker in below {
            // A branch has at least two children, or it is the last of its level and the root is looked at again.
            chunker.nodes += 2;
        }
        if let Some(chunker) = rest.first_mut() {
            chunker.nodes += 1;
            chunker.newest = Some(Built {
                map: node,
                taken_over: true,
            });
        }
        let leaves = &mut self.levels[0].tagged_key;
        leaves.truncate(1);
        leaves.extend_from_slice(last_key);
        self.push_child(level, last_key, node)
    }

    /// Says that what comes next on `level` stands in the place of a node that the sink has no need of.
    pub(crate) fn replace(&mut self, level: u8, existing: Digest) {
        self.reach(level);
        self.levels[usize::from(level)].existing = Some(existing);
    }

    /// Ends the node of `level` and hands it to the level above, which may end there too.
    fn end_node(&mut self, level: u8) -> Result<(), MapError> {
        let chunker = &mut self.levels[usize::from(level)];
        let bytes = chunker.encode(level);
        let digest = Digest::of(&bytes);
        let node = Map {
            root: digest,
            len: std::mem::take(&mut chunker.total),
        };
        chunker.nodes += 1;
        chunker.newest = Some(Built {
            map: node,
            taken_over: false,
        });
        if chunker.existing != Some(digest) {
            self.sink
                .put(digest, bytes)
                .context(StoreSnafu { digest })?;
        }
        let last_key = std::mem::take(&mut self.levels[usize::from(level)].tagged_key);
        let pushed = self.push_child(level, &last_key[1..], node);
        self.levels[usize::from(level)].tagged_key = last_key;
        pushed
    }

    /// Appends the node `child` of level `below` to the level above.
    fn push_child(&mut self, below: u8, last_key: &[u8], child: Map) -> Result<(), MapError> {
        let level = below + 1;
        self.reach(level);
        let chunker = &mut self.levels[usize::from(level)];
        let shared = shared_prefix(chunker.last_key(), last_key);
        chunker.start_entry(last_key, shared);
        chunker.body.extend_from_slice(child.root.as_bytes());
        put_varint(&mut chunker.body, child.len);
        if chunker.end_entry(child.len, branch_weight(last_key.len())) {
            self.end_node(level)?;
        }
        Ok(())
    }

    /// Makes chunkers up to `level`.
    fn reach(&mut self, level: u8) {
        while let Ok(next) = u8::try_from(self.levels.len())
            && next <= level
        {
            self.levels.push(Chunker::new(next));
        }
    }
}

impl Chunker {
    fn new(level: u8) -> Self {
        Self {
            tagged_key: vec![level],
            body: Vec::new(),
            count: 0,
            weight: 0,
            total: 0,
            nodes: 0,
            newest: None,
            existing: None,
        }
    }

    fn last_key(&self) -> &[u8] {
        &self.tagged_key[1..]
    }

    /// Writes the key of an entry, of which the last key that came by has the first `shared` bytes too.
    fn start_entry(&mut self, key: &[u8], shared: usize) {
        // The first key of a node is whole: what came by before is in another node.
        let encoded = if self.count == 0 { 0 } else { shared };
        put_varint(&mut self.body, encoded as u64);
        put_bytes(&mut self.body, &key[encoded..]);
        self.tagged_key.truncate(1 + shared);
        self.tagged_key.extend_from_slice(&key[shared..]);
    }

    /// Counts the entry that was just written, and says whether the node ends after it.
    fn end_entry(&mut self, total: u64, weight: u64) -> bool {
        let before = self.weight;
        self.count += 1;
        self.weight += weight;
        self.total = self.total.saturating_add(total);
        ends_node(&self.tagged_key, before, self.weight)
    }

    /// The bytes of the node; the chunker is then at a boundary.
    fn encode(&mut self, level: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 5);
        bytes.extend_from_slice(&[NODE_TAG, level]);
        put_varint(&mut bytes, self.count);
        bytes.append(&mut self.body);
        self.count = 0;
        self.weight = 0;
        bytes
    }
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
