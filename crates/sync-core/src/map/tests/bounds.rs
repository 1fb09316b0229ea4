//! What sizes and costs are bounded by.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Bound;

use super::*;

/// Counts what is read.
struct Counted<'n> {
    nodes: &'n MemoryNodes,
    reads: Cell<usize>,
}

impl<'n> Counted<'n> {
    fn new(nodes: &'n MemoryNodes) -> Self {
        let reads = Cell::new(0);
        Self { nodes, reads }
    }
}

impl NodeSource for Counted<'_> {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.reads.set(self.reads.get() + 1);
        self.nodes.node(digest)
    }
}

/// The number of nodes between the root and a leaf, both included.
fn depth(nodes: &MemoryNodes, root: Digest) -> usize {
    let bytes = nodes.node(&root).unwrap().unwrap();
    usize::from(check_node(bytes).unwrap().level()) + 1
}

/// Every node is under the bound that readers trust, and all but the last of a level are worth their digest.
#[track_caller]
fn check_sizes(content: &Model) -> MemoryNodes {
    let mut nodes = MemoryNodes::new();
    let map = build(content, &mut nodes);
    assert_eq!(verify(&nodes, map.root).unwrap(), map);
    for (_, bytes) in nodes.iter() {
        assert!(bytes.len() < MAX_NODE, "{} bytes", bytes.len());
    }
    nodes
}

#[test]
fn nodes_of_usual_content_stay_near_the_target() {
    let content = files(20_000);
    let nodes = check_sizes(&content);
    let bytes: usize = nodes.iter().map(|(_, bytes)| bytes.len()).sum();
    let average = bytes / nodes.len();
    assert!((2000..5000).contains(&average), "{average} bytes a node");
    let largest = nodes.iter().map(|(_, bytes)| bytes.len()).max();
    assert!(
        largest < Some(9000),
        "{largest:?} bytes in the largest node"
    );
}

#[test]
fn the_largest_keys_and_values_fit() {
    let key = |n: u8| [&[n; MAX_KEY - 2][..], &[0, n]].concat();
    check_sizes(&(0..200).map(|n| (key(n), vec![n; MAX_VALUE])).collect());
    check_sizes(&(0..200).map(|n| (key(n), vec![])).collect());
    // Keys that share all but the last byte are small when encoded, and large in memory.
    let alike = |n: u8| [&[7; MAX_KEY - 1][..], &[n]].concat();
    check_sizes(&(0..=255).map(|n| (alike(n), vec![])).collect());
    check_sizes(&(0..=255).map(|n| (vec![n], vec![n; MAX_VALUE])).collect());
    check_sizes(&Model::from([(vec![], vec![1; MAX_VALUE])]));
}

#[test]
fn chosen_keys_make_no_node_larger_than_the_bound() {
    // Keys that no hash cuts after, found by trying: all nodes but the last end at the bound.
    let (mut content, mut weight) = (Model::new(), 0);
    for n in 0..40_000 {
        let key = format!("{n:06}").into_bytes();
        let after = weight + cut::leaf_weight(key.len(), 0);
        let is_cut = cut::ends_node(&[&[0], &key[..]].concat(), weight, after);
        if !is_cut || after >= cut::MAX_WEIGHT {
            weight = if is_cut { 0 } else { after };
            content.insert(key, vec![]);
        }
    }
    let nodes = check_sizes(&content);
    assert!(nodes.len() < 40, "{} nodes", nodes.len());
    let mut sink = MemoryNodes::new();
    let root = build(&content, &mut MemoryNodes::new()).root;
    let first: &[u8] = b"0";
    let edited = edit(&nodes, root, [(first, Some(first))], &mut sink).unwrap();
    sink.extend(nodes);
    assert_eq!(verify(&sink, edited.root).unwrap(), edited);
}

#[test]
fn an_update_rewrites_one_path() {
    let content = files(20_000);
    let mut nodes = MemoryNodes::new();
    let root = build(&content, &mut nodes).root;
    for key in content.keys().step_by(97) {
        let mut sink = MemoryNodes::new();
        edit(&nodes, root, [(key, Some([7; 32]))], &mut sink).unwrap();
        assert_eq!(sink.len(), depth(&nodes, root));
    }
}

#[test]
fn an_insertion_or_removal_rewrites_little_more_than_one_path() {
    let content = files(20_000);
    let mut nodes = MemoryNodes::new();
    let root = build(&content, &mut nodes).root;
    let (mut edits, mut most, mut all) = (0, 0, 0);
    for key in content.keys().step_by(41) {
        let inserted = [&key[..], b"+"].concat();
        for edited in [(key.clone(), None), (inserted, Some([7; 32]))] {
            let mut sink = MemoryNodes::new();
            edit(&nodes, root, [edited], &mut sink).unwrap();
            edits += 1;
            most = most.max(sink.len());
            all += sink.len();
        }
    }
    let path = depth(&nodes, root);
    assert!(most <= path + 6, "{most} nodes");
    assert!(all <= edits * (path + 1), "{all} nodes for {edits} edits");
}

/// Edits a large map, and checks how many nodes of each side a diff then reads, beside those that only this side has.
#[track_caller]
fn check_reads<'k>(edits: impl IntoIterator<Item = (&'k [u8], Option<&'k [u8]>)>, changed: usize) {
    let content = files(20_000);
    let mut nodes = MemoryNodes::new();
    let before = build(&content, &mut nodes);
    let path = depth(&nodes, before.root);
    let after = edit(&nodes.clone(), before.root, edits, &mut nodes).unwrap();

    let [had, has] = [before, after].map(|map| nodes_of(&nodes, map.root));
    let [had, has] = [had, has].map(HashSet::<_>::from_iter);
    let (gone, new) = (had.difference(&has).count(), has.difference(&had).count());
    for (one, other, gone, new) in [(before, after, gone, new), (after, before, new, gone)] {
        let (source, target) = (Counted::new(&nodes), Counted::new(&nodes));
        assert_eq!(
            diff(&source, one.root, &target, other.root).count(),
            changed
        );
        assert!(source.reads.get() <= gone + path, "before");
        assert!(target.reads.get() <= new + path, "after");

        let (source, target) = (Counted::new(&nodes), Counted::new(&nodes));
        let found = new_nodes(&source, Some(one.root), &target, other.root).count();
        assert!(found <= new + path, "{found} new nodes");
        assert!(target.reads.get() <= found + 1);
        assert!(source.reads.get() <= gone + path);
    }
}

#[test]
fn a_diff_reads_what_differs() {
    let value = Some(&b"new"[..]);
    check_reads([(&b"dir-050/file-05050"[..], value)], 1);
    check_reads([(&b"dir-050/file-05050"[..], None)], 1);
    check_reads([(&b"a"[..], value)], 1);
    check_reads([(&b"z"[..], value)], 1);
    check_reads([(&b"a"[..], value), (b"dir-1", value), (b"z", value)], 3);
    // A part of the map that goes moves everything after it; so does one that comes.
    let content = files(20_000);
    let keys: Vec<&[u8]> = content.keys().map(|key| &key[..]).collect();
    for part in [
        &keys[..3000],
        &keys[7000..7100],
        &keys[5000..15_000],
        &keys[19_000..],
    ] {
        check_reads(part.iter().map(|key| (*key, None)), part.len());
    }
    let come: Vec<_> = (0..2000).map(|n| format!("dir-077+/{n:04}")).collect();
    check_reads(come.iter().map(|key| (key.as_bytes(), value)), 2000);
}

#[test]
fn get_reads_one_path_and_a_range_what_is_in_it() {
    let content = files(20_000);
    let mut nodes = MemoryNodes::new();
    let root = build(&content, &mut nodes).root;
    let source = Counted::new(&nodes);
    let key = b"dir-050/file-05050";
    assert!(get(&source, root, key).unwrap().is_some());
    assert_eq!(source.reads.take(), depth(&nodes, root));
    let end: &[u8] = b"dir-051/";
    let bounds = (Bound::Included(&b"dir-050/"[..]), Bound::Excluded(end));
    assert_eq!(range(&source, root, bounds).count(), 100);
    assert!(source.reads.take() <= depth(&nodes, root) + 4);
}
