//! What is refused, and that everything ends.

use std::cell::Cell;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::nodes::{child, encode, value};
use super::*;

/// Puts a node under the digest that names it.
fn put(nodes: &mut MemoryNodes, bytes: Vec<u8>) -> Digest {
    let digest = Digest::of(&bytes);
    nodes.put(digest, bytes).unwrap();
    digest
}

fn reason(error: &MapError) -> &'static str {
    match error {
        MapError::Malformed { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// Changes the bytes of a node, and names it and all above it anew, as somebody does who makes up a map.
/// Returns the root.
fn forge(nodes: &mut MemoryNodes, root: Digest, at: Digest, bytes: Vec<u8>) -> Digest {
    let mut names = BTreeMap::from([(at, put(nodes, bytes))]);
    let mut all = nodes_of_unchecked(nodes, root);
    all.reverse();
    for digest in all {
        let mut bytes = nodes.node(&digest).unwrap().unwrap().to_vec();
        let mut renamed = false;
        for start in 0..bytes.len().saturating_sub(Digest::LEN) {
            let range = start..start + Digest::LEN;
            let name = Digest::from_slice(&bytes[range.clone()]);
            if let Some(new) = name.and_then(|name| names.get(&name)) {
                bytes[range].copy_from_slice(new.as_bytes());
                renamed = true;
            }
        }
        if renamed {
            names.insert(digest, put(nodes, bytes));
        }
    }
    names.get(&root).copied().unwrap_or(root)
}

/// Parents before children, as far as the nodes are there.
fn nodes_of_unchecked(nodes: &MemoryNodes, root: Digest) -> Vec<Digest> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(digest) = found.get(next).copied() {
        next += 1;
        let node = nodes.node(&digest).unwrap().unwrap();
        if let Ok(node) = Node::decode(node) {
            found.extend(node.children().map(|child| child.digest));
        }
    }
    found
}

#[test]
fn any_flipped_bit_is_found() {
    let mut nodes = MemoryNodes::new();
    let root = build(&files(300), &mut nodes).root;
    let all: Vec<_> = nodes.clone().into_iter().collect();
    for (digest, bytes) in all {
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            nodes.insert(digest, flipped.into());
            let error = verify(&nodes, root).unwrap_err();
            assert!(matches!(error, MapError::Malformed { digest: named, .. } if named == digest));
        }
        nodes.insert(digest, bytes);
    }
}

#[test]
fn a_missing_node_is_named() {
    let mut nodes = MemoryNodes::new();
    let root = build(&files(300), &mut nodes).root;
    for digest in nodes_of(&nodes, root) {
        let bytes = nodes.remove(&digest).unwrap();
        let error = verify(&nodes, root).unwrap_err();
        assert!(matches!(error, MapError::Missing { digest: named } if named == digest));
        nodes.insert(digest, bytes);
    }
}

/// A map of a few leaves, with its root.
static USUAL: LazyLock<(MemoryNodes, Digest)> = LazyLock::new(|| {
    let mut nodes = MemoryNodes::new();
    let root = build(&files(400), &mut nodes).root;
    (nodes, root)
});

proptest! {
    /// The whole of canonicity: what is accepted is what a build of its content gives.
    #[test]
    fn a_forged_map_is_refused_or_is_canonical(
        node: prop::sample::Index,
        at: prop::sample::Index,
        byte: u8,
    ) {
        let (mut nodes, root) = USUAL.clone();
        let forged = *node.get(&nodes_of(&nodes, root));
        let mut bytes = nodes.node(&forged).unwrap().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let root = forge(&mut nodes, root, forged, bytes);
        if let Ok(map) = verify(&nodes, root) {
            let model = content(&nodes, root);
            prop_assert_eq!(build(&model, &mut MemoryNodes::new()), map);
        }
    }

    /// Made-up trees, deep and out of order, never make a reader run for ever or go back.
    #[test]
    fn everything_ends_on_made_up_maps(
        shapes in prop::collection::vec((0..3u8, prop::collection::vec((0..9u8, 1..4u64, any::<prop::sample::Index>()), 1..4)), 2..30),
        pick: [prop::sample::Index; 2],
    ) {
        let mut nodes = MemoryNodes::new();
        let mut made = vec![(0, put(&mut nodes, encode(0, &[(b"a", value(b"1"))])))];
        for (lift, mut entries) in shapes {
            entries.sort_by_key(|entry| entry.0);
            entries.dedup_by_key(|entry| entry.0);
            let keys: Vec<_> = entries.iter().map(|entry| [b'a' + entry.0]).collect();
            // Children mostly of the level below, so that some of it holds.
            let below: Vec<_> = made.iter().filter(|(level, _)| *level + 1 == lift).collect();
            let payload = |(_, len, child_pick): &(u8, u64, prop::sample::Index)| {
                if lift == 0 || below.is_empty() {
                    value(&len.to_le_bytes())
                } else {
                    child(child_pick.get(&below).1, *len)
                }
            };
            let level = if below.is_empty() { 0 } else { lift };
            let entries: Vec<_> = keys.iter().zip(&entries).map(|(key, entry)| (&key[..], payload(entry))).collect();
            made.push((level, put(&mut nodes, encode(level, &entries))));
        }
        let [one, other] = pick.map(|pick| pick.get(&made).1);
        let mut last = None;
        for change in diff(&nodes, one, &nodes, other).map_while(Result::ok) {
            prop_assert!(last < Some(change.key.clone()));
            last = Some(change.key);
        }
        for _ in new_nodes(&nodes, Some(one), &nodes, other) {}
        for _ in merge(&nodes, one, other, made[0].1) {}
        for (key, _) in iter(&nodes, one).map_while(Result::ok) {
            let mut sink = MemoryNodes::new();
            let _ = edit(&nodes, other, [(key, Some(b"2"))], &mut sink);
        }
        if let Ok(map) = verify(&nodes, one) {
            prop_assert_eq!(build(&content(&nodes, one), &mut MemoryNodes::new()), map);
        }
    }
}

#[track_caller]
fn check(make: impl FnOnce(&mut MemoryNodes) -> Digest, expected: &str) {
    let mut nodes = MemoryNodes::new();
    let root = make(&mut nodes);
    assert_eq!(reason(&verify(&nodes, root).unwrap_err()), expected);
}

/// The leaf with one entry under `key`.
fn leaf(nodes: &mut MemoryNodes, key: &[u8]) -> Digest {
    put(nodes, encode(0, &[(key, value(b""))]))
}

#[test]
fn trees_that_are_no_map_are_refused() {
    check(
        |nodes| {
            let only = leaf(nodes, b"a");
            put(nodes, encode(1, &[(b"a", child(only, 1))]))
        },
        "a root has a single child",
    );
    check(
        |nodes| {
            let (a, b) = (leaf(nodes, b"a"), leaf(nodes, b"b"));
            put(
                nodes,
                encode(1, &[(b"a", child(a, 1)), (b"b", child(b, 1))]),
            )
        },
        "it ends where the cut rule does not end it",
    );
    check(
        |nodes| {
            let (a, b) = (leaf(nodes, b"a"), leaf(nodes, b"b"));
            put(
                nodes,
                encode(1, &[(b"a", child(a, 2)), (b"b", child(b, 1))]),
            )
        },
        "it has not as many entries as its parent says",
    );
    check(
        |nodes| {
            let (a, b) = (leaf(nodes, b"a"), leaf(nodes, b"b"));
            put(
                nodes,
                encode(1, &[(b"a", child(b, 1)), (b"b", child(a, 1))]),
            )
        },
        "its last key is not the one that its parent says",
    );
    check(
        |nodes| {
            let a = put(nodes, encode(0, &[(b"b", value(&[0; MAX_VALUE]))]));
            let b = put(nodes, encode(0, &[(b"a", value(b"")), (b"c", value(b""))]));
            put(
                nodes,
                encode(1, &[(b"b", child(a, 1)), (b"c", child(b, 2))]),
            )
        },
        "it overlaps the node before",
    );
    check(
        |nodes| {
            let a = leaf(nodes, b"a");
            put(
                nodes,
                encode(2, &[(b"a", child(a, 1)), (b"b", child(a, 1))]),
            )
        },
        "it is not one level below its parent",
    );
    check(
        |nodes| {
            let empty = Map::empty_root();
            put(
                nodes,
                encode(1, &[(b"a", child(empty, 1)), (b"b", child(empty, 1))]),
            )
        },
        "it has not as many entries as its parent says",
    );
    // Two leaves of a usual map in one.
    check(
        |nodes| {
            let model = files(300);
            build(&model, nodes);
            let entries: Vec<_> = model.iter().map(|(k, v)| (&k[..], value(v))).collect();
            put(nodes, encode(0, &entries[..150]))
        },
        "it goes on after an entry that ends a node",
    );
}

/// Fails at the call whose number is in the cell.
struct Faulty<'n> {
    nodes: &'n MemoryNodes,
    calls_left: Cell<usize>,
}

impl Faulty<'_> {
    fn call(&self) -> Result<(), StoreError> {
        let left = self.calls_left.get().checked_sub(1).ok_or("no more")?;
        self.calls_left.set(left);
        Ok(())
    }
}

impl NodeSource for Faulty<'_> {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        self.call()?;
        self.nodes.node(digest)
    }
}

impl NodeSink for Faulty<'_> {
    fn put(&mut self, _: Digest, _: Vec<u8>) -> Result<(), StoreError> {
        self.call()
    }
}

#[test]
fn a_failing_store_is_reported_once_and_ends_the_iterator() {
    let mut nodes = MemoryNodes::new();
    let mut model = files(1000);
    let before = build(&model, &mut nodes).root;
    model.retain(|key, _| !key.ends_with(b"7"));
    let after = build(&model, &mut nodes).root;

    let mut failures = 0;
    for n in 0.. {
        let source = || Faulty {
            nodes: &nodes,
            calls_left: Cell::new(n),
        };
        let ends = [
            iter(source(), before).skip_while(Result::is_ok).count(),
            diff(source(), before, &nodes, after)
                .skip_while(Result::is_ok)
                .count(),
            diff(&nodes, before, source(), after)
                .skip_while(Result::is_ok)
                .count(),
            new_nodes(source(), Some(before), &nodes, after)
                .skip_while(Result::is_ok)
                .count(),
            new_nodes(&nodes, Some(before), source(), after)
                .skip_while(Result::is_ok)
                .count(),
            merge(&source(), before, after, before)
                .skip_while(Result::is_ok)
                .count(),
        ];
        assert!(ends.iter().all(|items| *items <= 1), "{ends:?}");
        let removed: (&[u8], Option<&[u8]>) = (b"dir-005/file-00555", None);
        let edits = [
            edit(&source(), before, [removed], &mut MemoryNodes::new()).is_err(),
            edit(&nodes, before, [removed], &mut source()).is_err(),
            verify(&source(), before).is_err(),
        ];
        if !edits.contains(&true) && ends.iter().all(|items| *items == 0) {
            break;
        }
        failures += 1;
    }
    assert!(failures > 10, "{failures}");
}

#[test]
fn entries_out_of_order_or_too_long_are_refused() {
    let mut nodes = MemoryNodes::new();
    let mut builder = Builder::new(&mut nodes);
    builder.push(b"b", b"").unwrap();
    for key in [&b""[..], b"a", b"b"] {
        assert!(matches!(
            builder.push(key, b""),
            Err(MapError::Entry { .. })
        ));
    }
    assert!(builder.push(&[b'c'; MAX_KEY + 1], b"").is_err());
    assert!(builder.push(b"c", &vec![0; MAX_VALUE + 1]).is_err());
    builder.push(b"ba", b"").unwrap();

    let root = Map::empty_root();
    for keys in [[b"b", b"a"], [b"a", b"a"]] {
        let edits = keys.map(|key| (key, None::<&[u8]>));
        let error = edit(&MemoryNodes::new(), root, edits, &mut nodes).unwrap_err();
        assert!(matches!(error, MapError::Entry { .. }));
    }
}

#[test]
fn a_node_that_is_named_by_another_key_is_not_taken_for_itself() {
    let mut nodes = MemoryNodes::new();
    let (one, other) = (leaf(&mut nodes, b"a"), leaf(&mut nodes, b"b"));
    // The second child is the first map, under a key that it does not have.
    let wrong = encode(1, &[(b"b", child(other, 1)), (b"c", child(one, 1))]);
    let wrong = put(&mut nodes, wrong);
    let changes: Vec<_> = diff(&nodes, one, &nodes, wrong).collect();
    let keys = changes.iter().flatten().map(|change| change.key.clone());
    assert_eq!(keys.collect::<Vec<_>>(), [&b"a"[..], b"b"]);
    let error = changes.last().unwrap().as_ref().unwrap_err();
    assert_eq!(
        reason(error),
        "its last key is not the one that its parent says"
    );
}
