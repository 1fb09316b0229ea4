//! Trees that no client of ours makes.

use proptest::prelude::*;
use sync_core::map::{self, MemoryNodes, NodeSource};
use sync_core::wire::{put_bytes, put_varint};
use sync_core::{Chunk, Content, Digest, Entry, SnapshotId};

use super::fixture::{Tree, advance, pack, push, receive, tenant};
use crate::{Advanced, Class, Error, Repository};

async fn push_onto(
    repository: &Repository,
    base: Option<SnapshotId>,
    tree: &Tree,
) -> Result<Advanced, Error> {
    push(repository, tree, base)
        .await
        .map(|(_, advanced)| advanced)
}

fn file(tree: &mut Tree, text: &str) -> Vec<u8> {
    tree.file(text.as_bytes()).encode()
}

fn link(target: &str) -> Vec<u8> {
    Entry::Link {
        target: target.into(),
    }
    .encode()
}

/// Pushes `base`, if it has entries, then `entries`; `F` stands for a file. Says where and why it was refused.
async fn outcome(base: &[(&str, &str)], entries: &[(&[u8], &str)]) -> Result<(), String> {
    let tree_of = |entries: &[(&[u8], &str)]| {
        let mut tree = Tree::default();
        let mut encoded = Vec::new();
        for (path, kind) in entries {
            let value = match kind.split_once(' ') {
                None if *kind == "D" => Entry::Directory.encode(),
                Some(("L", target)) => link(target),
                Some(("raw", bytes)) => bytes.as_bytes().to_vec(),
                _ => file(&mut tree, kind),
            };
            encoded.push((*path, value));
        }
        encoded.sort();
        tree.map(encoded);
        tree
    };
    let repository = tenant().await;
    let mut head = None;
    if !base.is_empty() {
        let base: Vec<_> = base
            .iter()
            .map(|(path, kind)| (path.as_bytes(), *kind))
            .collect();
        let tree = tree_of(&base);
        head = Some(push(&repository, &tree, None).await.unwrap().0);
    }
    let pushed = push_onto(&repository, head, &tree_of(entries)).await;
    match pushed {
        Ok(_) => Ok(()),
        Err(Error::Malformed { place, reason }) => {
            assert_eq!(repository.head("main").await.unwrap(), head);
            Err(format!("{place}: {reason}"))
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn entries_that_cannot_be_in_a_tree_are_refused() {
    #[track_caller]
    fn refused(outcome: Result<(), String>, place: &str) {
        match outcome {
            Err(why) => assert!(why.starts_with(place), "{why} instead of {place}"),
            Ok(()) => panic!("{place} was accepted"),
        }
    }
    let first = async |entries: &[(&[u8], &str)]| outcome(&[], entries).await;
    for path in [
        "../a", "/a", "a//b", "a/", ".", "a\\b", "c:/a", "a\u{1b}b", "",
    ] {
        let place = path.as_bytes().escape_ascii().to_string();
        refused(first(&[(path.as_bytes(), "F")]).await, &place);
    }
    refused(first(&[(b"\xff", "F")]).await, "\\xff");
    refused(
        first(&[(b"a", "raw \u{9}junk")]).await,
        "a: its entry does not decode",
    );
    refused(
        first(&[(b"a", "raw ")]).await,
        "a: its entry does not decode",
    );
    for target in ["/etc/passwd", "..", "b/../../c"] {
        let kind = format!("L {target}");
        refused(first(&[(b"a", &kind)]).await, "a: the link leads out");
    }
    assert_eq!(
        first(&[(b"a/b", "L ../c"), (b"d", "D"), (b"e/f", "F")]).await,
        Ok(())
    );
    // Something below a file, a link, an empty directory; also with other names in between, as `-` sorts before `/`.
    for kind in ["F", "L x", "D"] {
        refused(
            first(&[(b"a", kind), (b"a/b", "F")]).await,
            "a/b: it is below `a`",
        );
        refused(
            first(&[
                (b"a", kind),
                (b"a-b", "F"),
                (b"a-b/c", "D"),
                (b"a/b/c/d", "F"),
            ])
            .await,
            "a-b/c: it is below `a-b`",
        );
        refused(
            first(&[(b"a", kind), (b"a-b/c", "F"), (b"a/b/c", "F")]).await,
            "a/b/c",
        );
        refused(
            first(&[(b"x/a", kind), (b"x/a/b/c", "F"), (b"x/c", "F")]).await,
            "x/a/b/c",
        );
    }
}

#[tokio::test]
async fn a_change_is_checked_against_what_it_does_not_touch() {
    let base = [("a", "F"), ("d/e", "F"), ("d/g/h", "F")];
    let old: [(&[u8], &str); 3] = [(b"a", "F"), (b"d/e", "F"), (b"d/g/h", "F")];
    let with = |path: &'static [u8], kind: &'static str| {
        let mut entries = old.to_vec();
        entries.push((path, kind));
        entries
    };
    let onto = async |entries: &[(&[u8], &str)]| outcome(&base, entries).await;
    assert_eq!(onto(&with(b"a-b", "F")).await, Ok(()));
    assert_eq!(onto(&with(b"d/f", "F")).await, Ok(()));
    // Below an old file; above an old file, directly and further up.
    assert!(onto(&with(b"a/b", "F")).await.is_err());
    assert!(onto(&with(b"d", "F")).await.is_err());
    assert!(onto(&with(b"d", "D")).await.is_err());
    assert!(onto(&with(b"d/g", "L x")).await.is_err());
    // A file takes the place of a directory that goes, and a directory the place of a file.
    assert_eq!(onto(&[(b"a/b", "F"), (b"d", "F")]).await, Ok(()));
}

#[tokio::test]
async fn lists_that_lie_are_refused() {
    let chunk = |bytes: &[u8], len: u64| Chunk {
        digest: Digest::of(bytes),
        len,
    };
    let entry = |depth, chunks| {
        let content = Content { depth, chunks };
        let executable = true;
        Entry::File {
            executable,
            content,
        }
        .encode()
    };
    let bytes = vec![7; 16 << 10];
    let size = 16 << 10;
    let encode = |item, count| sync_core::content::encode_list(&vec![item; count]);
    let list = encode(chunk(&bytes, size), 5);
    let short = encode(chunk(&bytes, size), 4);
    let full = encode(chunk(&bytes, size), 4096);
    let lists = encode(chunk(&full, 4096 * size), 5);
    let loose = encode(chunk(&list, 5 * size), 5);
    let tiny = encode(chunk(b"tiny", 4), 5);
    let outcome = async |value: Vec<u8>| {
        let mut tree = Tree::raw(&[(b"file", value)]);
        for object in [
            &bytes,
            &list,
            &lists,
            &short,
            &full,
            &loose,
            &tiny,
            &b"tiny".to_vec(),
        ] {
            tree.chunks.insert(Digest::of(object), object.clone());
        }
        push_onto(&tenant().await, None, &tree).await
    };
    assert!(outcome(entry(0, vec![chunk(&bytes, size)])).await.is_ok());
    assert!(
        outcome(entry(1, vec![chunk(&list, 5 * size)]))
            .await
            .is_ok()
    );
    let (whole, deep) = (4096 * size, 5 * 4096 * size);
    let packed = vec![chunk(&full, whole), chunk(&short, 4 * size)];
    assert!(outcome(entry(1, packed)).await.is_ok());
    assert!(outcome(entry(2, vec![chunk(&lists, deep)])).await.is_ok());
    let refused = async |value, why: &str| match outcome(value).await {
        Err(Error::Malformed { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?} instead of {why}"),
    };
    let form = "not in the one form";
    refused(entry(1, vec![chunk(&short, 4 * size)]), form).await;
    let turned = vec![chunk(&short, 4 * size), chunk(&full, whole)];
    refused(entry(1, turned), form).await;
    refused(entry(2, vec![chunk(&loose, 25 * size)]), "is not full").await;
    refused(
        entry(1, vec![chunk(&tiny, 20)]),
        "more chunks than its size",
    )
    .await;
    for lie in [
        entry(0, vec![chunk(&bytes, size + 1)]),
        entry(0, vec![chunk(&list, 5 * size)]),
        entry(1, vec![chunk(&list, 5 * size + 1)]),
        entry(1, vec![chunk(&bytes, size)]),
        entry(1, vec![chunk(&lists, deep)]),
        entry(2, vec![chunk(&list, 5 * size)]),
        entry(2, vec![chunk(&lists, deep), chunk(&lists, deep + 1)]),
    ] {
        let refused = outcome(lie).await;
        assert!(
            matches!(refused, Err(Error::Malformed { .. })),
            "{refused:?}"
        );
    }
    let absent = outcome(entry(0, vec![chunk(b"absent", 6)])).await;
    assert!(
        matches!(absent, Err(Error::Incomplete { missing, total: 1 }) if missing == [Digest::of(b"absent")])
    );
}

/// Lists that name one another many times over are followed once each.
#[tokio::test]
async fn a_list_of_lists_of_lists_does_not_multiply_the_work() {
    let mut tree = Tree::default();
    let bytes = vec![1; 16 << 10];
    let (mut below, mut len) = (Digest::of(&bytes), 16 << 10);
    tree.chunks.insert(below, bytes);
    for _ in 0..4 {
        let items = vec![Chunk { digest: below, len }; Content::MAX_LIST];
        let list = sync_core::content::encode_list(&items);
        below = Digest::of(&list);
        len *= Content::MAX_LIST as u64;
        tree.lists.insert(below, list);
    }
    let content = Content {
        depth: 4,
        chunks: vec![Chunk { digest: below, len }],
    };
    let executable = false;
    let entry = Entry::File {
        executable,
        content,
    };
    tree.map(vec![("huge", entry.encode())]);
    assert!(push_onto(&tenant().await, None, &tree).await.is_ok());
}

#[tokio::test]
async fn snapshots_that_are_none_are_refused() {
    let repository = tenant().await;
    let tree = Tree::numbered(5);
    let parent = SnapshotId(Digest::of(b"nobody"));
    let orphan = push(&repository, &tree, Some(parent)).await;
    // The head is not the parent, so it is stale before anything is looked at.
    assert!(matches!(orphan, Ok((_, Advanced::Stale { head: None }))));
    let snapshot = tree.snapshot(&[parent]);
    let (id, bytes) = snapshot.encode().unwrap();
    let received = receive(&repository, &pack(&tree.objects(&snapshot)))
        .await
        .unwrap();
    let orphan = repository.advance(received, advance(None, id)).await;
    assert!(matches!(orphan, Err(Error::UnknownSnapshot { id }) if id == parent));

    let loose = [b" ", &bytes[..]].concat();
    for bytes in [
        loose,
        b"{}".to_vec(),
        tree.nodes.iter().next().unwrap().1.to_vec(),
    ] {
        let id = SnapshotId(Digest::of(&bytes));
        let received = receive(&repository, &pack(&[(Class::Nodes, bytes)]))
            .await
            .unwrap();
        let refused = repository.advance(received, advance(None, id)).await;
        assert!(
            matches!(refused, Err(Error::Malformed { .. })),
            "{refused:?}"
        );
    }
    let received = receive(&repository, &pack(&[])).await.unwrap();
    let missing = repository.advance(received, advance(None, id)).await;
    // It came with the stale push, which kept it.
    assert!(matches!(missing, Err(Error::UnknownSnapshot { .. })));
    let mut named = advance(None, id);
    named.branch = "a b".into();
    let refused = repository.advance(crate::Received::nothing(), named).await;
    assert!(matches!(refused, Err(Error::Name { kind: "branch", .. })));
}

/// A node as anyone could write it.
#[derive(Debug, Clone)]
pub(super) struct RawNode {
    level: u8,
    /// Key; value or child with count.
    items: Vec<Item>,
}

impl RawNode {
    pub(super) fn of(bytes: &bytes::Bytes) -> Self {
        let node = map::check_node(bytes.clone()).unwrap();
        let entries = node
            .entries()
            .map(|(key, value)| (key.to_vec(), Ok(value.to_vec())));
        let children = node.children();
        let children = children.map(|c| (c.last_key.to_vec(), Err((c.digest, c.len))));
        Self {
            level: node.level(),
            items: entries.chain(children).collect(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0xa1, self.level];
        put_varint(&mut out, self.items.len() as u64);
        let mut before: &[u8] = &[];
        for (key, item) in &self.items {
            let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
            put_varint(&mut out, shared as u64);
            put_bytes(&mut out, &key[shared..]);
            match item {
                Ok(value) => put_bytes(&mut out, value),
                Err((digest, len)) => {
                    out.extend_from_slice(digest.as_bytes());
                    put_varint(&mut out, *len);
                }
            }
            before = key;
        }
        out
    }
}

/// One thing that is done to a map by someone who does not keep to its rules.
#[derive(Debug, Clone)]
pub(super) enum Tamper {
    Remove(usize),
    Swap(usize, usize),
    Repeat(usize),
    Count(usize, u64),
    Level(u8),
    Split,
    Wrap,
    /// Takes the children from this one on from the base's root.
    Graft(usize),
}

pub(super) fn tampers() -> impl Strategy<Value = Tamper> {
    let n = 0..64usize;
    prop_oneof![
        n.clone().prop_map(Tamper::Remove),
        (n.clone(), n.clone()).prop_map(|(a, b)| Tamper::Swap(a, b)),
        n.clone().prop_map(Tamper::Repeat),
        (n.clone(), 0..4u64).prop_map(|(at, by)| Tamper::Count(at, by)),
        (0..5u8).prop_map(Tamper::Level),
        Just(Tamper::Split),
        Just(Tamper::Wrap),
        n.prop_map(Tamper::Graft),
    ]
}

pub(super) fn total(node: &RawNode) -> u64 {
    let len = |(_, item): &Item| item.as_ref().map_or_else(|c| c.1, |_| 1);
    node.items.iter().map(len).sum()
}

pub(super) fn tamper(
    nodes: &mut MemoryNodes,
    root: Digest,
    base: &RawNode,
    how: &[Tamper],
) -> Digest {
    let mut node = RawNode::of(&nodes.node(&root).unwrap().unwrap());
    for how in how {
        let count = node.items.len().max(1);
        match *how {
            Tamper::Remove(at) if node.items.len() > 1 => {
                let _ = node.items.remove(at % count);
            }
            Tamper::Swap(a, b) if !node.items.is_empty() => {
                let (a, b) = (a % count, b % count);
                let (x, y) = (node.items[a].1.clone(), node.items[b].1.clone());
                node.items[a].1 = y;
                node.items[b].1 = x;
            }
            Tamper::Repeat(at) if !node.items.is_empty() => {
                let (mut key, item) = node.items[at % count].clone();
                key.push(b'0');
                node.items.insert(at % count + 1, (key, item));
            }
            Tamper::Count(at, by) if !node.items.is_empty() => {
                if let Err((_, len)) = &mut node.items[at % count].1 {
                    *len = len.wrapping_add(by);
                }
            }
            Tamper::Level(level) => node.level = node.level.wrapping_add(level % 2),
            Tamper::Split if node.items.len() > 1 && node.level < 60 => {
                let mut left = node.clone();
                let right_items = left.items.split_off(count / 2);
                let right = RawNode {
                    level: node.level,
                    items: right_items,
                };
                let child = |half: &RawNode, digest| {
                    let key = half.items.last().unwrap().0.clone();
                    (key, Err((digest, total(half))))
                };
                let mut above = Vec::new();
                for half in [left, right] {
                    let bytes = half.encode();
                    let digest = Digest::of(&bytes);
                    nodes.insert(digest, bytes.into());
                    above.push(child(&half, digest));
                }
                node = RawNode {
                    level: node.level + 1,
                    items: above,
                };
            }
            Tamper::Wrap if !node.items.is_empty() && node.level < 60 => {
                let bytes = node.encode();
                let digest = Digest::of(&bytes);
                nodes.insert(digest, bytes.into());
                let key = node.items.last().unwrap().0.clone();
                node = RawNode {
                    level: node.level + 1,
                    items: vec![(key, Err((digest, total(&node))))],
                };
            }
            Tamper::Graft(from) if base.level == node.level && !base.items.is_empty() => {
                let from = from % base.items.len();
                let floor = node.items.get(from % count).map(|(key, _)| key.clone());
                node.items.truncate(from % count);
                let rest = base.items.iter();
                let rest = rest.filter(|(key, _)| Some(key) >= floor.as_ref());
                node.items.extend(rest.cloned());
            }
            _ => {}
        }
    }
    let bytes = node.encode();
    let digest = Digest::of(&bytes);
    nodes.insert(digest, bytes.into());
    digest
}

/// The last key, name and number of entries of a child, as a branch has it.
type Item = (Vec<u8>, Result<Vec<u8>, (Digest, u64)>);

fn root_of(tree: &Tree) -> RawNode {
    RawNode::of(&tree.nodes.node(&tree.root.unwrap()).unwrap().unwrap())
}

/// Pushes `tree`, whose root is replaced by a branch of `children`, onto `before`.
async fn graft(before: &Tree, mut tree: Tree, children: Vec<Item>) -> Result<Advanced, Error> {
    tree.nodes.extend(before.nodes.clone());
    let root = RawNode {
        level: 1,
        items: children,
    };
    let bytes = root.encode();
    tree.root = Some(Digest::of(&bytes));
    tree.nodes.insert(Digest::of(&bytes), bytes.into());
    assert!(map::verify(&tree.nodes, tree.root.unwrap()).is_err());
    let repository = tenant().await;
    let (base, _) = push(&repository, before, None).await.unwrap();
    push_onto(&repository, Some(base), &tree).await
}

#[track_caller]
fn refused_for(outcome: Result<Advanced, Error>, because: &str) {
    match outcome {
        Err(Error::Malformed { reason, .. }) => assert_eq!(reason, because),
        other => panic!("{other:?} instead of {because}"),
    }
}

/// A leaf of the base stays, although the new leaf before it goes on into it.
#[tokio::test]
async fn a_trusted_node_that_is_overlapped_is_refused() {
    let before = Tree::numbered(1200);
    let old = root_of(&before);
    assert_eq!(old.level, 1);
    let mut tried = 0;
    for cut in 0..old.items.len() - 1 {
        // Without the entry that ends the leaf, the leaf goes on into the next one.
        let last = String::from_utf8(old.items[cut].0.clone()).unwrap();
        let after = before.with([(last.as_str(), None)]);
        let new = root_of(&after);
        let longer = new.items[cut].clone();
        if longer.0 >= old.items[cut + 1].0 {
            continue;
        }
        let mut children = old.items[..cut].to_vec();
        children.push(longer);
        children.extend_from_slice(&old.items[cut + 1..]);
        let outcome = graft(&before, after, children).await;
        refused_for(outcome, "it overlaps the node before");
        tried += 1;
    }
    assert!(tried > 2);
}

/// The last leaf of the base, which no cut ends, stays although another one follows.
#[tokio::test]
async fn a_trusted_last_node_that_is_followed_is_refused() {
    let before = Tree::numbered(1200);
    let old = root_of(&before);
    let mut after = before.clone();
    let value = file(&mut after, "added");
    let leaf = RawNode {
        level: 0,
        items: vec![(b"zzz".to_vec(), Ok(value))],
    };
    let bytes = leaf.encode();
    let mut children = old.items;
    children.push((b"zzz".to_vec(), Err((Digest::of(&bytes), 1))));
    after.nodes.insert(Digest::of(&bytes), bytes.into());
    let outcome = graft(&before, after, children).await;
    refused_for(outcome, "it ends where the cut rule does not end it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The law: a head moves exactly where reading all of the new map finds it canonical, however much of it is trusted.
    #[test]
    fn what_is_accepted_is_canonical(
        count in 1..2500usize,
        dropped in prop::collection::btree_set(0..2500usize, 0..6),
        how in prop::collection::vec(tampers(), 0..3),
    ) {
        let before = Tree::numbered(count);
        let mut files = before.files.clone();
        for n in dropped {
            let path = files.keys().nth(n % files.len().max(1)).cloned();
            path.and_then(|path| files.remove(&path));
        }
        let mut after = Tree::of(files);
        let base = before.nodes.node(&before.root.unwrap()).unwrap().unwrap();
        after.nodes.extend(before.nodes.clone());
        if after.root != Some(map::Map::empty_root()) {
            let root = tamper(&mut after.nodes, after.root.unwrap(), &RawNode::of(&base), &how);
            after.root = Some(root);
        }
        let canonical = map::verify(&after.nodes, after.root.unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (onto, alone) = runtime.block_on(async {
            let repository = tenant().await;
            let (base, _) = push(&repository, &before, None).await.unwrap();
            (push_onto(&repository, Some(base), &after).await, push_onto(&tenant().await, None, &after).await)
        });
        // Grafts and repeats may name chunks that the new tree does not bring: then something is missing, and rightly.
        let refused = |outcome: &Result<Advanced, Error>| {
            matches!(outcome, Err(Error::Malformed { .. } | Error::Incomplete { .. }))
        };
        if canonical.is_ok() {
            prop_assert!(onto.is_ok(), "{onto:?}");
        } else {
            prop_assert!(refused(&onto), "onto the base {canonical:?} but {onto:?}");
            prop_assert!(refused(&alone), "alone {canonical:?} but {alone:?}");
        }
    }
}
