//! What the nodes of a map are called.

use super::cursor::load;
use super::{Map, MapError, NodeSource};
use crate::Digest;

/// The digests of all nodes of the map under `root`, parents before children and children in key order. What names a leaf is
/// its parent, so leaves are not read. The root of the empty map is no node.
pub fn digests<N: NodeSource>(source: N, root: Digest) -> Digests<N> {
    let ahead = if root == Map::empty_root() {
        Vec::new()
    } else {
        vec![(root, None)]
    };
    Digests { source, ahead }
}

/// The digests of the nodes of a map: see [`digests`]. The first error is the last item.
#[derive(Debug)]
pub struct Digests<N> {
    source: N,
    /// What comes next, the first of it last, with its level where a parent has told it.
    ahead: Vec<(Digest, Option<u8>)>,
}

impl<N: NodeSource> Digests<N> {
    fn open(&mut self, digest: Digest, level: Option<u8>) -> Result<(), MapError> {
        if level == Some(0) {
            return Ok(());
        }
        let node = load(&self.source, digest)?;
        if level.is_some_and(|level| level != node.level()) {
            let reason = "it is not one level below its parent";
            return Err(MapError::Malformed { digest, reason });
        }
        if node.level() > 0 {
            let below = Some(node.level() - 1);
            let first = self.ahead.len();
            let children = node.children().map(|child| (child.digest, below));
            self.ahead.extend(children);
            self.ahead[first..].reverse();
        }
        Ok(())
    }
}

impl<N: NodeSource> Iterator for Digests<N> {
    type Item = Result<Digest, MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (digest, level) = self.ahead.pop()?;
        let opened = self.open(digest, level);
        if opened.is_err() {
            self.ahead.clear();
        }
        Some(opened.map(|()| digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Builder, MemoryNodes, new_nodes};

    #[test]
    fn they_are_those_of_all_nodes_and_no_leaf_is_read() {
        let mut nodes = MemoryNodes::default();
        let mut builder = Builder::new(&mut nodes);
        for n in 0..5000u32 {
            builder.push(&n.to_be_bytes(), &[7; 40]).unwrap();
        }
        let root = builder.finish().unwrap().root;
        let all = new_nodes(&nodes, None, &nodes, root).map(|node| node.unwrap());
        let (mut expected, mut leaves) = (Vec::new(), Vec::new());
        for node in all {
            expected.push(node.digest);
            if node.node.level() == 0 {
                leaves.push(node.digest);
            }
        }
        let mut branches = nodes.clone();
        for leaf in &leaves {
            branches.remove(leaf);
        }
        let found: Result<Vec<_>, _> = digests(&branches, root).collect();
        assert_eq!(found.unwrap(), expected);
        assert!(leaves.len() > 20);
        assert_eq!(digests(&nodes, Map::empty_root()).count(), 0);
        assert!(digests(&nodes, leaves[0]).all(|digest| digest.is_ok()));
        branches.remove(&root);
        assert!(digests(&branches, root).next().unwrap().is_err());
    }
}
