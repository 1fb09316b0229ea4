//! The laws of the map, and what it does with hostile nodes.

mod bounds;
mod hostile;
mod laws;
mod nodes;

use std::collections::BTreeMap;

use super::*;

/// What a map holds, as the simplest thing that does the same.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Builds `content` anew.
fn build(content: &Model, nodes: &mut MemoryNodes) -> Map {
    let mut builder = Builder::new(nodes);
    for (key, value) in content {
        builder.push(key, value).unwrap();
    }
    builder.finish().unwrap()
}

/// Reads everything under `root`.
fn content(nodes: &MemoryNodes, root: Digest) -> Model {
    iter(nodes, root)
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The digests of all nodes under `root`.
fn nodes_of(nodes: &MemoryNodes, root: Digest) -> Vec<Digest> {
    new_nodes(nodes, None, nodes, root)
        .map(|node| node.unwrap().digest)
        .collect()
}

/// `count` entries under keys and with values like those of a files map.
fn files(count: u32) -> Model {
    let file = |n: u32| {
        let key = format!("dir-{:03}/file-{n:05}", n / 100);
        let value = Digest::of(&n.to_le_bytes()).as_bytes().to_vec();
        (key.into_bytes(), value)
    };
    (0..count).map(file).collect()
}
