//! The nodes of an older map that new ones took the place of.

use bytes::Bytes;

use super::node::Node;
use super::{MapError, NodeSource, new_nodes};
use crate::Digest;

/// The nodes that an older map has and a newer one lacks, by level and last key: see [`replaced_nodes`].
#[derive(Debug, Default)]
pub struct ReplacedNodes {
    levels: Vec<Vec<(Bytes, Digest)>>,
}

/// Collects the nodes of the map under `before_root` that the one under `after_root` has not: the versions that its new nodes
/// are likely to differ least from. Memory follows the number of these nodes.
pub fn replaced_nodes<A: NodeSource, B: NodeSource>(
    before: A,
    before_root: Digest,
    after: B,
    after_root: Digest,
) -> Result<ReplacedNodes, MapError> {
    let mut replaced = ReplacedNodes::default();
    for node in new_nodes(after, Some(after_root), before, before_root) {
        let node = node?;
        let level = usize::from(node.node.level());
        if replaced.levels.len() <= level {
            replaced.levels.resize_with(level + 1, Vec::new);
        }
        // A copy: a slice would keep the whole node.
        let last_key = Bytes::copy_from_slice(node.node.last_key().unwrap_or_default());
        replaced.levels[level].push((last_key, node.digest));
    }
    Ok(replaced)
}

impl ReplacedNodes {
    /// The node in the place of which `node` came: the one of its level that held its last key, or else the one nearest to it.
    pub fn base_of(&self, node: &Node) -> Option<Digest> {
        let level = self.levels.get(usize::from(node.level()))?;
        let key = node.last_key()?;
        let found = level.partition_point(|(last_key, _)| &last_key[..] < key);
        let (_, digest) = level.get(found).or(level.last())?;
        Some(*digest)
    }
}
