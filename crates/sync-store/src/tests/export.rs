//! What goes out.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use proptest::prelude::*;
use sync_core::{Digest, SnapshotId};

use super::fixture::{Tree, collect, fetch, numbered_bytes, push, receive, tenant, unpack};
use crate::{Class, Error, Repository};

fn digests<'o>(objects: impl IntoIterator<Item = &'o Vec<u8>>) -> BTreeSet<Digest> {
    objects
        .into_iter()
        .map(|object| Digest::of(object))
        .collect()
}

async fn exported(
    repository: &Repository,
    want: SnapshotId,
    have: Option<SnapshotId>,
    contents: bool,
) -> Vec<u8> {
    collect(
        repository
            .export(fetch(want, have, contents))
            .await
            .unwrap(),
    )
    .await
    .unwrap()
}

/// Exports `after` to a holder of `before`: he then has every node and list, and the chunks of every changed path
/// unless the old side of the change has them; nothing comes twice.
async fn check(before: &Tree, after: &Tree) {
    let repository = tenant().await;
    let (have, _) = push(&repository, before, None).await.unwrap();
    let (want, _) = push(&repository, after, Some(have)).await.unwrap();

    let everything = after.objects(&after.snapshot(&[have]));
    let everything = digests(everything.iter().map(|(_, object)| object));
    let clone = unpack(&exported(&repository, want, None, true).await);
    assert!(clone.values().all(|times| *times == 1));
    let sent: BTreeSet<_> = clone.into_keys().collect();
    assert_eq!(sent, everything);

    let update = unpack(&exported(&repository, want, Some(have), true).await);
    assert!(update.values().all(|times| *times == 1));
    let sent: BTreeSet<_> = update.into_keys().collect();
    // What he has: nodes and lists of all of `before`.
    let held: BTreeSet<_> = before.nodes.iter().map(|(digest, _)| *digest).collect();
    let new_nodes = after.nodes.iter().map(|(digest, _)| *digest);
    let new_nodes: BTreeSet<_> = new_nodes.filter(|digest| !held.contains(digest)).collect();
    assert!(sent.is_superset(&new_nodes));
    let (old, new) = changed(before, after);
    let chunks: BTreeSet<_> = sent
        .iter()
        .filter(|d| after.chunks.contains_key(d))
        .copied()
        .collect();
    assert_eq!(chunks, &digests(new.1.iter()) - &digests(old.1.iter()));
    let lists: BTreeSet<_> = sent
        .iter()
        .filter(|d| after.lists.contains_key(d))
        .copied()
        .collect();
    assert_eq!(lists, &digests(new.0.iter()) - &digests(old.0.iter()));

    let without = unpack(&exported(&repository, want, Some(have), false).await);
    let without: BTreeSet<_> = without.into_keys().collect();
    assert_eq!(without, &sent - &chunks);

    let nothing = unpack(&exported(&repository, want, Some(want), true).await);
    assert_eq!(nothing.into_keys().collect::<Vec<_>>(), [want.0]);
}

type Parts = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Lists and chunks of the files that differ, on both sides.
fn changed(before: &Tree, after: &Tree) -> (Parts, Parts) {
    let parts = |tree: &Tree, other: &Tree| {
        let mut differing = tree.files.clone();
        differing.retain(|path, bytes| other.files.get(path) != Some(bytes));
        let part = Tree::of(differing);
        (
            part.lists.into_values().collect(),
            part.chunks.into_values().collect(),
        )
    };
    (parts(before, after), parts(after, before))
}

#[tokio::test]
async fn an_update_brings_what_changed_and_no_more() {
    let tree = Tree::numbered(600);
    check(
        &tree,
        &tree.with([("dir03/file00003", Some("changed")), ("new", Some("x"))]),
    )
    .await;
    check(&Tree::of(BTreeMap::new()), &tree).await;
    check(&tree, &Tree::of(BTreeMap::new())).await;
    // A file moves: its bytes are in the file that goes away.
    let mut moved = tree.files.clone();
    let bytes = moved.remove("dir16/file00050").unwrap();
    moved.insert("moved".into(), bytes);
    check(&tree, &Tree::of(moved)).await;
    // A large file grows: its first chunks stay.
    let mut grown = tree.files.clone();
    grown
        .get_mut("dir16/file00050")
        .unwrap()
        .extend_from_slice(b"more");
    check(&tree, &Tree::of(grown)).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_update_brings_what_changed(
        before in prop::collection::btree_map(0..400usize, 0..400usize, 0..200),
        edits in prop::collection::btree_map(0..400usize, prop::option::of(0..400usize), 0..30),
    ) {
        let files = |picks: &BTreeMap<usize, usize>| {
            let file = |(path, bytes): (&usize, &usize)| (format!("d{}/f{path}", path % 7), numbered_bytes(*bytes));
            Tree::of(picks.iter().map(file).collect())
        };
        let mut after = before.clone();
        for (path, bytes) in edits {
            match bytes {
                Some(bytes) => after.insert(path, bytes),
                None => after.remove(&path),
            };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(check(&files(&before), &files(&after)));
    }
}

/// What came in one push goes out as it came: nothing is compressed again.
#[tokio::test]
async fn whole_blocks_go_out_as_they_are() {
    let repository = tenant().await;
    let tree = Tree::numbered(3000);
    let (id, _) = push(&repository, &tree, None).await.unwrap();
    let sent = super::fixture::pack(&tree.objects(&tree.snapshot(&[])));
    let back = exported(&repository, id, None, true).await;
    assert_eq!(unpack(&back), unpack(&sent));
    assert_eq!(back.len(), sent.len());
}

#[tokio::test]
async fn contents_come_in_the_order_of_their_paths() {
    let repository = tenant().await;
    let tree = Tree::numbered(400);
    let (first, _) = push(&repository, &tree, None).await.unwrap();
    // Every third file only, so that no stored block is wanted whole.
    let mut fewer = tree.files.clone();
    let mut n = 0;
    fewer.retain(|_, _| {
        n += 1;
        n % 3 == 0
    });
    let fewer = Tree::of(fewer);
    let (second, _) = push(&repository, &fewer, Some(first)).await.unwrap();
    let pack = exported(&repository, second, None, true).await;
    let mut decoder = crate::pack::PackDecoder::new().unwrap();
    decoder.push(&pack);
    let mut contents = Vec::new();
    while let Some(event) = decoder.next_event().unwrap() {
        if let crate::pack::Event::Block(block) = event {
            if block.header.class == Class::Contents {
                contents.extend(block.objects());
            } else {
                assert!(contents.is_empty(), "nodes come first");
            }
        }
    }
    let wanted = fewer.files.values().map(|bytes| bytes.chunks(16 << 10));
    let wanted: Vec<_> = wanted.flatten().map(<[u8]>::to_vec).collect();
    assert_eq!(contents, wanted);
}

#[tokio::test]
async fn objects_are_exported_by_name() {
    let repository = tenant().await;
    let tree = Tree::numbered(300);
    push(&repository, &tree, None).await.unwrap();
    let some: Vec<_> = tree.chunks.keys().step_by(3).copied().collect();
    let twice = [&some[..], &some[..5]].concat();
    let stream = repository.export_objects(twice).await.unwrap();
    let pack = collect(stream).await.unwrap();
    let sent = unpack(&pack);
    assert_eq!(sent.keys().copied().collect::<Vec<_>>(), some);
    assert!(sent.values().all(|times| *times == 1));

    let unknown = Digest::of(b"unknown");
    let refused = repository.export_objects(vec![some[0], unknown]).await;
    assert!(matches!(refused.err(), Some(Error::UnknownObject { digest }) if digest == unknown));

    let mut taken = Vec::new();
    let asked = [&some[..], &[unknown]].concat();
    let absent = repository.objects(&asked, |digest, bytes| {
        assert_eq!(Digest::of(&bytes), digest);
        taken.push(digest);
    });
    assert_eq!(absent.await.unwrap(), [unknown]);
    taken.sort_unstable();
    assert_eq!(taken, some);
}

#[tokio::test]
async fn snapshots_that_are_not_accepted_are_not_exported() {
    let repository = tenant().await;
    let tree = Tree::numbered(20);
    let snapshot = tree.snapshot(&[]);
    let (id, _) = snapshot.encode().unwrap();
    let received = receive(&repository, &super::fixture::pack(&tree.objects(&snapshot))).await;
    repository.record(&received.unwrap()).await.unwrap();
    assert!(repository.object(&id.0).await.unwrap().is_some());
    let refused = repository.export(fetch(id, None, true)).await.err();
    assert!(matches!(refused, Some(Error::UnknownSnapshot { .. })));
}

/// A reader that goes away ends the producer; nothing hangs and nothing is left behind.
#[tokio::test]
async fn a_reader_may_go_away() {
    let repository = tenant().await;
    let (id, _) = push(&repository, &Tree::numbered(3000), None)
        .await
        .unwrap();
    for pieces in 0..4 {
        let stream = repository.export(fetch(id, None, true)).await.unwrap();
        let some: Vec<_> = stream.take(pieces).collect().await;
        assert_eq!(some.len(), pieces);
    }
}
