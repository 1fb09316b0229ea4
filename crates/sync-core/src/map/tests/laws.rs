//! What holds for all maps.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::RangeBounds;

use proptest::prelude::*;

use super::*;

/// Edits of one batch.
type Edits = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Few distinct keys, so that batches meet; values long enough for several levels.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => (0..400u32).prop_map(|n| format!("k/{:03}/{n}", n / 10).into_bytes()),
        1 => prop::collection::vec(0..4u8, 0..6),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    (
        any::<u8>(),
        prop_oneof![8 => 0..40usize, 2 => 100..3000usize],
    )
        .prop_map(|(byte, len)| vec![byte; len])
}

fn model() -> impl Strategy<Value = Model> {
    prop_oneof![
        1 => prop::collection::btree_map(key(), value(), 0..5),
        4 => prop::collection::btree_map(key(), value(), 0..400),
    ]
}

fn edits() -> impl Strategy<Value = Edits> {
    let scattered = prop::collection::btree_map(key(), prop::option::of(value()), 0..40);
    // Everything in a part of the key space goes, whether it is there or not.
    let range = (0..400u32, 0..400u32).prop_map(|(a, b)| {
        (a.min(b)..a.max(b))
            .map(|n| (format!("k/{:03}/{n}", n / 10).into_bytes(), None))
            .collect()
    });
    prop_oneof![3 => scattered, 1 => range]
}

fn apply(model: &mut Model, edits: &Edits) {
    for (key, value) in edits {
        match value {
            Some(value) => drop(model.insert(key.clone(), value.clone())),
            None => drop(model.remove(key)),
        }
    }
}

/// The same change seen from the other end.
fn inverse(change: Change) -> Change {
    Change {
        key: change.key,
        before: change.after,
        after: change.before,
    }
}

/// The same with the sides exchanged.
fn mirrored(merged: Merged) -> Merged {
    match merged {
        Merged::Ours(change) => Merged::Theirs(change),
        Merged::Theirs(change) => Merged::Ours(change),
        Merged::Both(change) => Merged::Both(change),
        Merged::Conflict {
            key,
            base,
            ours,
            theirs,
        } => Merged::Conflict {
            key,
            base,
            ours: theirs,
            theirs: ours,
        },
    }
}

fn changes(nodes: &MemoryNodes, before: Map, after: Map) -> Vec<Change> {
    diff(nodes, before.root, nodes, after.root)
        .map(Result::unwrap)
        .collect()
}

proptest! {
    #[test]
    fn a_build_verifies_and_reads_back(model in model()) {
        let mut nodes = MemoryNodes::new();
        let map = build(&model, &mut nodes);
        prop_assert_eq!(verify(&nodes, map.root).unwrap(), map);
        prop_assert_eq!(map.len, model.len() as u64);
        prop_assert_eq!(len(&nodes, map.root).unwrap(), map.len);
        prop_assert_eq!(nodes_of(&nodes, map.root).len(), nodes.len(), "no node is put in vain");
        prop_assert_eq!(content(&nodes, map.root), model);
    }

    #[test]
    fn equal_content_has_equal_roots_whatever_the_batches(
        start in model(),
        batches in prop::collection::vec(edits(), 1..6),
    ) {
        let mut nodes = MemoryNodes::new();
        let mut model = start;
        let mut map = build(&model, &mut nodes);
        for edits in &batches {
            apply(&mut model, edits);
            let had = nodes_of(&nodes, map.root);
            let mut new = MemoryNodes::new();
            let edited = edit(&nodes, map.root, edits.clone(), &mut new).unwrap();
            for (digest, _) in new.iter() {
                prop_assert!(!had.contains(digest), "a node that was there is put again");
            }
            let mut fresh = MemoryNodes::new();
            let built = build(&model, &mut fresh);
            prop_assert_eq!(edited, built);
            prop_assert_eq!(new.iter().filter(|(digest, _)| !fresh.contains(digest)).count(), 0,
                "a node is put that nothing names");
            nodes.extend(new);
            map = edited;
            prop_assert_eq!(verify(&nodes, map.root).unwrap(), map);
        }
    }

    #[test]
    fn an_edit_that_says_what_is_changes_nothing(model in model(), picks: Vec<bool>) {
        let mut nodes = MemoryNodes::new();
        let map = build(&model, &mut nodes);
        let same = model.iter().zip(picks).filter(|(_, picked)| *picked).map(|((key, value), _)| (key, Some(value)));
        let mut sink = MemoryNodes::new();
        prop_assert_eq!(edit(&nodes, map.root, same, &mut sink).unwrap(), map);
        let absent = model.keys().map(|key| ([&key[..], b"\0"].concat(), None::<Vec<u8>>));
        let absent: BTreeMap<_, _> = absent.filter(|(key, _)| !model.contains_key(key)).collect();
        prop_assert_eq!(edit(&nodes, map.root, absent, &mut sink).unwrap(), map);
        prop_assert!(sink.is_empty());
    }

    #[test]
    fn get_and_range_find_what_a_tree_map_finds(model in model(), from in key(), to in key()) {
        let mut nodes = MemoryNodes::new();
        let root = build(&model, &mut nodes).root;
        for key in [&from, &to].into_iter().chain(model.keys().step_by(11)) {
            let found = get(&nodes, root, key).unwrap();
            prop_assert_eq!(found.as_deref(), model.get(key).map(|value| &value[..]));
        }
        for start in [Unbounded, Included(&from[..]), Excluded(&from[..])] {
            for end in [Unbounded, Included(&to[..]), Excluded(&to[..])] {
                let found: Vec<_> = range(&nodes, root, (start, end))
                    .map(|entry| entry.unwrap().0.to_vec())
                    .collect();
                let inside = |key: &&Vec<u8>| RangeBounds::<[u8]>::contains(&(start, end), &key[..]);
                let expected: Vec<_> = model.keys().filter(inside).cloned().collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_new_node_has_a_base_among_those_that_are_gone(before in model(), edits in edits()) {
        let mut nodes = MemoryNodes::new();
        let old = build(&before, &mut nodes).root;
        let mut after = before;
        apply(&mut after, &edits);
        let new = build(&after, &mut nodes).root;
        let replaced = replaced_nodes(&nodes, old, &nodes, new).unwrap();
        let held = nodes_of(&nodes, old);
        for node in new_nodes(&nodes, Some(old), &nodes, new) {
            let node = node.unwrap().node;
            let Some(base) = replaced.base_of(&node) else { continue };
            prop_assert!(held.contains(&base));
            let base = check_node(nodes.node(&base).unwrap().unwrap()).unwrap();
            prop_assert_eq!(base.level(), node.level());
        }
    }

    #[test]
    fn a_diff_is_what_was_edited_and_patches_back(model in model(), edits in edits()) {
        let mut nodes = MemoryNodes::new();
        let before = build(&model, &mut nodes);
        let mut edited = model.clone();
        apply(&mut edited, &edits);
        let after = build(&edited, &mut nodes);

        let there = changes(&nodes, before, after);
        let expected: Vec<_> = edits
            .keys()
            .filter(|key| model.get(*key) != edited.get(*key))
            .map(|key| Change {
                key: key.clone().into(),
                before: model.get(key).cloned().map(Bytes::from),
                after: edited.get(key).cloned().map(Bytes::from),
            })
            .collect();
        prop_assert_eq!(&there, &expected);
        let back: Vec<_> = there.iter().cloned().map(inverse).collect();
        prop_assert_eq!(changes(&nodes, after, before), back);

        let patch = there.into_iter().map(|change| (change.key, change.after));
        let mut sink = MemoryNodes::new();
        prop_assert_eq!(edit(&nodes, before.root, patch, &mut sink).unwrap(), after);
    }

    #[test]
    fn unrelated_maps_are_compared_too(before in model(), after in model()) {
        let mut nodes = MemoryNodes::new();
        let (one, other) = (build(&before, &mut nodes), build(&after, &mut nodes));
        let keys = before.iter().chain(&after).map(|(key, _)| key);
        let expected = keys.filter(|key| before.get(*key) != after.get(*key));
        let expected: std::collections::BTreeSet<_> = expected.cloned().collect();
        let found = changes(&nodes, one, other);
        prop_assert_eq!(found.len(), expected.len());
        prop_assert!(found.iter().zip(&expected).all(|(change, key)| change.key == key[..]));
    }

    #[test]
    fn new_nodes_complete_the_older_map(model in model(), edits in edits(), other in model()) {
        let mut after = model.clone();
        apply(&mut after, &edits);
        for after in [after, other] {
            let (mut old, mut new) = (MemoryNodes::new(), MemoryNodes::new());
            let (before, after) = (build(&model, &mut old), build(&after, &mut new));
            let mut completed = old.clone();
            let mut seen = Vec::new();
            for node in new_nodes(&old, Some(before.root), &new, after.root) {
                let NewNode { digest, node } = node.unwrap();
                let is_named = |parent: &Node| parent.children().any(|child| child.digest == digest);
                prop_assert!(digest == after.root || seen.iter().any(is_named), "a child came first");
                completed.insert(digest, node.bytes().clone());
                seen.push(node);
            }
            prop_assert_eq!(verify(&completed, after.root).unwrap(), after);
        }
    }

    #[test]
    fn merge_is_symmetric_and_says_what_each_side_did(base in model(), ours in edits(), theirs in edits()) {
        let mut nodes = MemoryNodes::new();
        let (mut left, mut right) = (base.clone(), base.clone());
        apply(&mut left, &ours);
        apply(&mut right, &theirs);
        let [base_map, left_map, right_map] = [&base, &left, &right].map(|model| build(model, &mut nodes));
        let merged: Vec<_> = merge(&nodes, base_map.root, left_map.root, right_map.root)
            .map(Result::unwrap)
            .collect();
        let other_way: Vec<_> = merge(&nodes, base_map.root, right_map.root, left_map.root)
            .map(|merged| mirrored(merged.unwrap()))
            .collect();
        prop_assert_eq!(&merged, &other_way);
        prop_assert!(merged.is_sorted_by(|a, b| a.key() < b.key()));

        // Taking our side of everything gives our map.
        let take_ours = merged.iter().filter_map(|merged| match merged {
            Merged::Ours(change) | Merged::Both(change) => Some((&change.key, change.after.as_ref())),
            Merged::Conflict { key, ours, .. } => Some((key, ours.as_ref())),
            Merged::Theirs(_) => None,
        });
        let mut sink = MemoryNodes::new();
        prop_assert_eq!(edit(&nodes, base_map.root, take_ours, &mut sink).unwrap(), left_map);
        for merged in &merged {
            let key = merged.key();
            let [base, left, right] = [&base, &left, &right].map(|model| model.get(&key[..]));
            let expected = match merged {
                Merged::Ours(_) => left != base && right == base,
                Merged::Theirs(_) => left == base && right != base,
                Merged::Both(_) => left == right && left != base,
                Merged::Conflict { .. } => left != base && right != base && left != right,
            };
            prop_assert!(expected, "{:?}", merged);
        }
    }
}

/// Maps whose root is a node inside of the other map, and everything in between.
#[test]
fn a_map_shrinks_to_any_of_its_subtrees() {
    let model = files(4000);
    let mut nodes = MemoryNodes::new();
    let whole = build(&model, &mut nodes);
    for node in nodes_of(&nodes, whole.root) {
        let bytes = nodes.node(&node).unwrap().unwrap();
        let kept = content(&nodes, node);
        let gone = model.keys().filter(|key| !kept.contains_key(*key));
        let gone = gone.map(|key| (key, None::<&[u8]>));
        let mut sink = MemoryNodes::new();
        let map = edit(&nodes, whole.root, gone, &mut sink).unwrap();
        assert_eq!(map, build(&kept, &mut MemoryNodes::new()));
        if check_node(bytes).unwrap().count() > 1 {
            assert_eq!((map.root, sink.len()), (node, 0));
        }
        sink.extend(nodes.clone());
        for (before, after) in [(whole, map), (map, whole)] {
            let changes = changes(&sink, before, after);
            assert_eq!(changes.len(), model.len() - kept.len());
        }
        assert_eq!(
            new_nodes(&sink, Some(whole.root), &sink, map.root).count(),
            0
        );
        assert_eq!(
            new_nodes(&sink, Some(map.root), &sink, whole.root).count(),
            nodes.len() - nodes_of(&sink, map.root).len()
        );
    }
}
