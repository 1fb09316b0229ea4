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
/// are likely to differ least from. No leaf is read. Memory follows the number of these nodes.
pub fn replaced_nodes<A: NodeSource, B: NodeSource>(
    before: A,
    before_root: Digest,
    after: B,
    after_root: Digest,
) -> Result<ReplacedNodes, MapError> {
    let mut replaced = ReplacedNodes::default();
    new_nodes(after, Some(after_root), before, before_root).names(|node| {
        let level = usize::from(node.level);
        if replaced.levels.len() <= level {
            replaced.levels.resize_with(level + 1, Vec::new);
        }
        // A copy: a slice would keep the whole node.
        let last_key = Bytes::copy_from_slice(node.last_key);
        replaced.levels[level].push((last_key, node.map.root));
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Builder, Map, MemoryNodes};

    fn numbered(nodes: &mut MemoryNodes, changed: u32) -> Map {
        let mut builder = Builder::new(nodes);
        for n in 0..5000u32 {
            let value = [u8::from(n == changed); 40];
            builder.push(&n.to_be_bytes(), &value).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn what_was_replaced_is_known_without_its_leaves() {
        let mut nodes = MemoryNodes::default();
        let (old, new) = (
            numbered(&mut nodes, 6000).root,
            numbered(&mut nodes, 2500).root,
        );
        let gone = new_nodes(&nodes, Some(new), &nodes, old).map(Result::unwrap);
        let gone: Vec<_> = gone.collect();
        let mut branches = nodes.clone();
        for node in gone.iter().filter(|node| node.node.level() == 0) {
            branches.remove(&node.digest);
        }
        let replaced = replaced_nodes(&branches, old, &branches, new).unwrap();
        for node in &gone {
            assert_eq!(replaced.base_of(&node.node), Some(node.digest));
        }
        assert!(gone.len() > 1);
        assert!(
            replaced_nodes(&branches, old, &branches, old)
                .unwrap()
                .levels
                .is_empty()
        );
    }
}
