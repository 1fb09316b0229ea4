//! Objects that travel as differences, and are stored whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sync_core::map::{MemoryNodes, new_nodes, replaced_nodes};
use sync_core::patch::Signature;
use sync_core::{Digest, SnapshotId};

use super::fixture::{Tree, advance, collect, complete, fetch, pack, push, receive, unpack};
use crate::pack::{Event, PackDecoder, PackError, PackWriter, Patch};
use crate::protocol::Fetch;
use crate::{Advanced, Class, Error, Repository, Store};

/// Files of one chunk each, of words that do not repeat.
fn tree(count: usize) -> Tree {
    let file = |n: usize| (format!("d{:02}/f{n:04}", n % 7), text(n, 500 + n % 400));
    Tree::of((0..count).map(file).collect())
}

fn text(seed: usize, len: usize) -> Vec<u8> {
    let words =
        (0..len / 8).map(|n| Digest::of(&[seed, n].map(usize::to_le_bytes).concat()).to_string());
    words
        .map(|word| word[..8].to_owned())
        .collect::<String>()
        .into_bytes()
}

/// The tree with some bytes of some files replaced.
fn edited(tree: &Tree, edits: impl IntoIterator<Item = (usize, usize)>) -> Tree {
    let mut files = tree.files.clone();
    for (number, at) in edits {
        let path = files.keys().nth(number % files.len()).unwrap().clone();
        let bytes = files.get_mut(&path).unwrap();
        let at = at % bytes.len();
        bytes.splice(at..(at + 20).min(bytes.len()), text(at, 24));
    }
    Tree::of(files)
}

/// A client's pack of what `after` has and `before` lacks, with patches where they pay; and how many these are.
fn patched(before: &Tree, after: &Tree, parent: SnapshotId) -> (SnapshotId, Vec<u8>, usize) {
    let (id, snapshot) = after.snapshot(&[parent]).encode().unwrap();
    let (old, new) = (before.root.unwrap(), after.root.unwrap());
    let (mut writer, mut patches) = (PackWriter::new().unwrap(), 0);
    writer.add(Class::Nodes, &snapshot).unwrap();
    let replaced = replaced_nodes(&before.nodes, old, &after.nodes, new).unwrap();
    for node in new_nodes(&before.nodes, Some(old), &after.nodes, new) {
        let node = node.unwrap().node;
        let base = replaced.base_of(&node).unwrap();
        match Patch::between(base, &node_of(&before.nodes, &base), node.bytes()) {
            Some(patch) => {
                patches += 1;
                writer.add_patch(Class::Nodes, &patch).unwrap();
            }
            None => writer.add(Class::Nodes, node.bytes()).unwrap(),
        }
    }
    for (path, bytes) in &after.files {
        let base = &before.files[path];
        if base == bytes {
            continue;
        }
        match Patch::from_signature(Digest::of(base), &Signature::of(base), bytes) {
            Some(patch) => {
                patches += 1;
                writer.add_patch(Class::Contents, &patch).unwrap();
            }
            None => writer.add(Class::Contents, bytes).unwrap(),
        }
    }
    (id, writer.finish().unwrap().concat(), patches)
}

fn node_of(nodes: &MemoryNodes, digest: &Digest) -> Vec<u8> {
    let found = nodes.iter().find(|(other, _)| *other == digest);
    found.unwrap().1.to_vec()
}

/// What comes out of an export, patches applied to what the holder of `before` has; and how many patches there were.
fn unpatched(pack: &[u8], before: &Tree) -> (BTreeMap<Digest, usize>, usize) {
    let mut decoder = PackDecoder::new().unwrap();
    decoder.push(pack);
    let (mut objects, mut patches) = (BTreeMap::new(), 0);
    let mut add = |object: &[u8]| *objects.entry(Digest::of(object)).or_default() += 1;
    while let Some(event) = decoder.next_event().unwrap() {
        match event {
            Event::Block(block) => block.objects().for_each(|object| add(&object)),
            Event::Patches(block) => {
                for patch in block.patches {
                    patches += 1;
                    let base = match block.class {
                        Class::Nodes => node_of(&before.nodes, &patch.base()),
                        Class::Contents => before.chunks[&patch.base()].clone(),
                    };
                    add(&patch.apply(&base).unwrap());
                }
            }
            Event::End { .. } => {}
        }
    }
    decoder.finish().unwrap();
    (objects, patches)
}

async fn exported(repository: &Repository, asked: Fetch) -> Vec<u8> {
    collect(repository.export(asked).await.unwrap())
        .await
        .unwrap()
}

/// No stored pack depends on another one.
async fn assert_stored_whole(store: &Store) {
    let packs = store.blobs().list(None, 1000).await.unwrap();
    assert!(!packs.is_empty());
    for (name, len) in packs {
        let stored = store.blobs().get(&name, 0..len).await.unwrap().unwrap();
        // It panics at a patch no less than at damage.
        let mut decoder = PackDecoder::new().unwrap();
        decoder.push(&stored);
        while let Some(event) = decoder.next_event().unwrap() {
            assert!(matches!(event, Event::Block(_) | Event::End { .. }));
        }
        decoder.finish().unwrap();
    }
}

/// Pushes and pulls an update as patches: the same objects arrive as without.
async fn check(before: &Tree, after: &Tree) {
    let store = Store::in_memory();
    let repository = store.create_tenant("acme").await.unwrap();
    let (have, _) = push(&repository, before, None).await.unwrap();
    let (want, sent, patches) = patched(before, after, have);
    let received = receive(&repository, &sent).await.unwrap();
    assert_eq!(received.bytes, sent.len() as u64);
    let advanced = repository
        .advance(received, advance(Some(have), want))
        .await;
    assert_eq!(advanced.unwrap(), Advanced::Moved);
    complete(&repository, want, after).await;
    assert_stored_whole(&store).await;

    let whole = exported(&repository, fetch(want, Some(have), true)).await;
    let asked = Fetch {
        patches: true,
        ..fetch(want, Some(have), true)
    };
    let update = exported(&repository, asked.clone()).await;
    let (objects, pulled) = unpatched(&update, before);
    assert_eq!(objects, unpack(&whole));
    assert!(pulled >= patches, "{pulled} patches, {patches} sent");
    assert!(patches == 0 || update.len() < whole.len());

    // Who has nothing gets no patches.
    let first = exported(
        &repository,
        Fetch {
            have: None,
            ..asked
        },
    )
    .await;
    assert_eq!(
        unpack(&first),
        unpack(&exported(&repository, fetch(want, None, true)).await)
    );
}

#[tokio::test]
async fn edits_travel_as_patches_and_are_stored_whole() {
    let before = tree(2000);
    let after = edited(&before, (0..20).map(|n| (n * 97, n * 31)));
    let (_, sent, patches) = patched(&before, &after, SnapshotId(Digest::of(b"parent")));
    assert!(patches > 30, "{patches} patches");
    assert!(sent.len() < 12_000, "{} bytes", sent.len());
    check(&before, &after).await;
    check(&before, &before).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn any_edits_arrive(
        count in 1..300usize,
        edits in prop::collection::vec((0..300usize, 0..900usize), 0..40),
    ) {
        let before = tree(count);
        let after = edited(&before, edits);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(check(&before, &after));
    }
}

/// A tenant with `old` in its only file, and a tree with `new` there.
async fn edit(old: &[u8], new: &[u8]) -> (Repository, SnapshotId, Tree) {
    let tree = |bytes: &[u8]| Tree::of([("a".to_owned(), bytes.to_vec())].into());
    let repository = Store::in_memory().create_tenant("acme").await.unwrap();
    let (have, _) = push(&repository, &tree(old), None).await.unwrap();
    (repository, have, tree(new))
}

/// Sends the nodes whole and the contents as `patch`, and has what is missing sent whole.
async fn check_refused(old: &[u8], new: &[u8], base: Digest, from: &[u8]) {
    let (repository, have, tree) = edit(old, new).await;
    let snapshot = tree.snapshot(&[have]);
    let (id, _) = snapshot.encode().unwrap();
    let mut objects = tree.objects(&snapshot);
    objects.retain(|(class, _)| *class == Class::Nodes);
    let mut writer = PackWriter::new().unwrap();
    for (class, object) in &objects {
        writer.add(*class, object).unwrap();
    }
    let patch = Patch::between(base, from, new).unwrap();
    writer.add_patch(Class::Contents, &patch).unwrap();
    if from != new {
        // What stands in the same pack is no base: it is not stored yet.
        writer.add(Class::Contents, from).unwrap();
    }
    let sent = writer.finish().unwrap().concat();
    let received = receive(&repository, &sent).await.unwrap();
    let refused = repository.advance(received, advance(Some(have), id)).await;
    match refused {
        Err(Error::Incomplete { missing, total: 1 }) => assert_eq!(missing, [Digest::of(new)]),
        other => panic!("{other:?}"),
    }
    let rest = pack(&[(Class::Contents, new.to_vec())]);
    let received = receive(&repository, &rest).await.unwrap();
    let advanced = repository.advance(received, advance(Some(have), id)).await;
    assert_eq!(advanced.unwrap(), Advanced::Moved);
    complete(&repository, id, &tree).await;
}

#[tokio::test]
async fn a_base_that_is_absent_or_another_makes_the_object_missing() {
    let (old, other) = (text(1, 900), text(2, 900));
    let new = [&old[..700], b"end"].concat();
    // Nobody has the base; it comes with the same pack; the patch was made for another base of the same length.
    check_refused(&old, &new, Digest::of(b"nowhere"), &old).await;
    let near = [&other[..700], b"end"].concat();
    check_refused(&old, &near, Digest::of(&other), &other).await;
    check_refused(&old, &near, Digest::of(&old), &other).await;
    // An object cannot be its own base.
    check_refused(&old, &near, Digest::of(&near), &near).await;
}

#[tokio::test]
async fn a_malformed_patch_is_refused_and_moves_nothing() {
    let old = text(1, 900);
    let (repository, have, tree) = edit(&old[..600], &old).await;
    let mut writer = PackWriter::new().unwrap();
    // Made for a longer base than it names, so that it copies what is not there.
    let patch = Patch::between(Digest::of(&old[..600]), &old, &old).unwrap();
    writer.add_patch(Class::Contents, &patch).unwrap();
    let sent = writer.finish().unwrap().concat();
    let refused = receive(&repository, &sent).await.err();
    match refused {
        Some(Error::Pack {
            source: PackError::Patch { base, .. },
        }) => {
            assert_eq!(base, Digest::of(&old[..600]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(repository.head("main").await.unwrap(), Some(have));
    let made = tree.chunks.keys().copied().collect::<Vec<_>>();
    let absent = repository.objects(&made, |_, _| {}).await.unwrap();
    assert_eq!(absent, made);
}

#[tokio::test]
async fn what_patches_made_is_kept_when_the_stream_is_cut() {
    let old = text(1, 900);
    let (repository, _, _) = edit(&old, b"x").await;
    let new = [&old[..700], b"end"].concat();
    let mut writer = PackWriter::new().unwrap();
    let patch = Patch::between(Digest::of(&old), &old, &new).unwrap();
    writer.add_patch(Class::Contents, &patch).unwrap();
    let sent = writer.finish().unwrap().concat();
    let cut = receive(&repository, &sent[..sent.len() - 3]).await;
    assert!(matches!(cut, Err(Error::Cut { .. })));
    let kept = repository.object(&Digest::of(&new)).await.unwrap();
    assert_eq!(kept.unwrap(), new);
}

#[tokio::test]
async fn a_damaged_base_is_as_good_as_none() {
    let store = Store::in_memory();
    let repository = store.create_tenant("acme").await.unwrap();
    let old = text(1, 900);
    push(
        &repository,
        &Tree::of([("a".to_owned(), old.clone())].into()),
        None,
    )
    .await
    .unwrap();
    for (name, _) in store.blobs().list(None, 10).await.unwrap() {
        store.blobs().delete(&name).await.unwrap();
    }
    let fresh = store.tenant("acme").await.unwrap().unwrap();
    let mut writer = PackWriter::new().unwrap();
    let patch = Patch::between(Digest::of(&old), &old, &old[..800]).unwrap();
    writer.add_patch(Class::Contents, &patch).unwrap();
    let sent = writer.finish().unwrap().concat();
    let received = receive(&fresh, &sent).await.unwrap();
    fresh.record(&received).await.unwrap();
    assert_eq!(fresh.object(&Digest::of(&old[..800])).await.unwrap(), None);
    let signatures = fresh.signatures(vec![Digest::of(&old)], 1000).await;
    assert!(signatures.unwrap().is_empty());
}

#[tokio::test]
async fn signatures_are_given_of_what_is_stored_up_to_a_bound() {
    let repository = Store::in_memory().create_tenant("acme").await.unwrap();
    let tree = tree(50);
    push(&repository, &tree, None).await.unwrap();
    let unknown = Digest::of(b"unknown");
    let mut asked: Vec<_> = tree.chunks.keys().copied().collect();
    asked.push(unknown);
    let all = repository.signatures(asked.clone(), 1 << 20).await.unwrap();
    assert_eq!(all.len(), 50);
    for (digest, bytes) in &tree.chunks {
        assert_eq!(all[digest], Signature::of(bytes));
    }
    let some = repository.signatures(asked, 500).await.unwrap();
    let bytes: usize = some
        .values()
        .map(|signature| signature.encode().len())
        .sum();
    assert!((400..=500).contains(&bytes), "{bytes} bytes");
}
