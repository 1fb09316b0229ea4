//! Reading everything and checking everything.

use snafu::ensure;

use super::cursor::{Cursor, Head};
use super::error::MalformedSnafu;
use super::{Map, MapError, NodeSource};
use crate::Digest;

/// Reads the whole map under `root`, and checks that it is the one canonical map of its content:
/// digests, encodings, order within and across nodes, levels, counts, and that every node ends where the cut rule says.
pub fn verify(source: &(impl NodeSource + ?Sized), root: Digest) -> Result<Map, MapError> {
    let mut cursor = Cursor::new(source, root);
    let mut len = 0;
    cursor.start()?;
    if let Some(Head::Subtree(subtree)) = cursor.head() {
        len = subtree.map.len;
    }
    while let Some(Head::Subtree(subtree)) = cursor.head() {
        let digest = subtree.map.root;
        let (is_root, is_last) = (digest == root, subtree.is_last);
        let Some(node) = cursor.open()? else { break };
        let wrong = |reason| MalformedSnafu { digest, reason };

        let last = node.count().saturating_sub(1);
        for (index, cut) in node.cuts().enumerate() {
            ensure!(
                !cut || index == last,
                wrong("it goes on after an entry that ends a node")
            );
            ensure!(
                cut || index < last || is_last,
                wrong("it ends where the cut rule does not end it")
            );
        }
        let is_leaf = node.level() == 0;
        ensure!(
            is_leaf || !is_root || node.count() > 1,
            wrong("a root has a single child")
        );
        if is_leaf {
            // Its entries were checked with it.
            cursor.leave();
        }
    }
    Ok(Map { root, len })
}
