//! Tables and rows: pushed, fetched, sent from a private store, kept, collected.

use std::collections::BTreeMap;

use sync_core::map::{self, Map, MemoryNodes, NodeSink, NodeSource, StoreError};
use sync_core::rows::{
    Column, KeyWriter, Kind, RowValue, RowWriter, Schema, TableEntry, load_content, tables,
};
use sync_core::{Digest, SnapshotId};

use super::fixture::{Tree, advance, collect, fetch, pack, push, receive, tenant, unpack};
use super::upkeep::gc;
use crate::protocol::{DamageKind, Fetch, Part};
use crate::{Advanced, Class, Error, Keep, Received, Repository, RowsPush, Store};

impl NodeSink for Tree {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.nodes.insert(digest, bytes.into());
        Ok(())
    }

    fn put_chunk(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.chunks.insert(digest, bytes);
        Ok(())
    }
}

pub(super) fn schema() -> Schema {
    let column = |name: &str| Column {
        kind: Kind::Text,
        name: name.to_owned(),
        type_name: "text".to_owned(),
    };
    Schema {
        columns: vec![column("body"), column("id")],
        filter: None,
        key: vec!["id".to_owned()],
    }
}

fn bytes(n: usize, len: usize) -> Vec<u8> {
    let words = (0u64..).flat_map(|at| {
        let seed = [n as u64, at].map(u64::to_le_bytes).concat();
        *Digest::of(&seed).as_bytes()
    });
    words.take(len).collect()
}

/// A row whose bytes follow from a number: mostly short, now and then with a large value, one of them with chunk lists;
/// now and then an object of its own, which names a large value, too.
pub(super) fn row(tree: &mut Tree, n: usize) -> Vec<u8> {
    let mut writer = RowWriter::new();
    let len = match n % 100 {
        7 if n == 7 => 900_000,
        7 => 5000,
        _ => 40 + n % 70,
    };
    writer.push_value("body", &bytes(n, len), tree).unwrap();
    if n % 100 == 13 {
        for column in 0..6 {
            let name = format!("c{column}");
            writer
                .push_value(&name, &bytes(n + column, 2000), tree)
                .unwrap();
        }
        writer.push_value("d", &bytes(n + 77, 3000), tree).unwrap();
    }
    writer
        .push_value("id", format!("{n}").as_bytes(), tree)
        .unwrap();
    writer.value(tree).unwrap()
}

pub(super) fn key(n: usize) -> Vec<u8> {
    let mut key = KeyWriter::new();
    key.text(format!("row{n:06}").as_bytes(), true);
    key.as_bytes().to_vec()
}

/// A map of any entries.
pub(super) fn map_of(tree: &mut Tree, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Map {
    let mut builder = map::Builder::new(tree);
    for (key, value) in entries {
        builder.push(&key, &value).unwrap();
    }
    builder.finish().unwrap()
}

/// A table; a row whose number is mapped to another one is as if it had that number.
pub(super) fn table(tree: &mut Tree, rows: &BTreeMap<usize, usize>) -> TableEntry {
    let entries = rows.iter().map(|(at, n)| (key(*at), row(tree, *n)));
    let entries: Vec<_> = entries.collect();
    let rows = map_of(tree, entries);
    let (schema, bytes) = schema().encode();
    tree.put(schema, bytes).unwrap();
    TableEntry { schema, rows }
}

pub(super) fn numbered(count: usize) -> BTreeMap<usize, usize> {
    (0..count).map(|n| (n, n)).collect()
}

/// Names these tables as the rows of the tree.
pub(super) fn database(tree: &mut Tree, tables: &[(&str, TableEntry)]) {
    let entries = tables.iter();
    let entries = entries.map(|(name, table)| (name.as_bytes().to_vec(), table.encode()));
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    tree.rows = Some(map_of(tree, entries).root);
}

/// Some files and two tables.
fn example(rows: &BTreeMap<usize, usize>) -> Tree {
    let mut tree = Tree::new([("a", "file")]);
    let agents = table(&mut tree, rows);
    let few = table(&mut tree, &numbered(3));
    database(&mut tree, &[("agents", agents), ("crm.people", few)]);
    tree
}

/// Checks that everything that the tree names is in the repository, by reading all rows.
async fn assert_whole(repository: &Repository, tree: &Tree) {
    let (nodes, root) = (repository.nodes(), tree.rows.unwrap());
    let read = move || {
        let mut count = 0;
        for (_, table) in tables(&nodes, root).unwrap() {
            let schema = nodes.node(&table.schema).unwrap().unwrap();
            assert!(Schema::decode(&schema).is_some());
            map::verify(&nodes, table.rows.root).unwrap();
            for entry in map::iter(&nodes, table.rows.root) {
                let (_, value) = entry.unwrap();
                let row = RowValue::load(&value, &nodes).unwrap();
                for content in RowValue::Row(row).contents() {
                    load_content(&content, &nodes).unwrap();
                }
                count += 1;
            }
        }
        count
    };
    assert!(tokio::task::spawn_blocking(read).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_pushed_and_a_change_on_top_of_them() {
    let repository = tenant().await;
    let before = example(&numbered(2500));
    let (base, _) = push(&repository, &before, None).await.unwrap();
    assert_whole(&repository, &before).await;

    let mut rows = numbered(2500);
    rows.insert(1200, 107);
    rows.insert(2600, 113);
    rows.remove(&400);
    let after = example(&rows);
    // Only what is new, and what it names, is sent.
    let snapshot = after.snapshot(&[base]);
    let held = unpack(&pack(&before.objects(&before.snapshot(&[]))));
    let mut fresh = after.objects(&snapshot);
    fresh.retain(|(_, object)| !held.contains_key(&Digest::of(object)));
    assert!(fresh.len() < 20, "{}", fresh.len());
    let received = receive(&repository, &pack(&fresh)).await.unwrap();
    let (id, _) = snapshot.encode().unwrap();
    let advanced = repository.advance(received, advance(Some(base), id)).await;
    assert_eq!(advanced.unwrap(), Advanced::Moved);
    assert_whole(&repository, &after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_object_that_rows_name_is_missed() {
    let tree = example(&numbered(120));
    let snapshot = tree.snapshot(&[]);
    let (id, _) = snapshot.encode().unwrap();
    let objects = tree.objects(&snapshot);
    for left_out in 1..objects.len() {
        let mut sent = objects.clone();
        let lost = Digest::of(&sent.remove(left_out).1);
        let repository = tenant().await;
        let received = receive(&repository, &pack(&sent)).await.unwrap();
        let outcome = repository.advance(received, advance(None, id)).await;
        let Err(Error::Incomplete { missing, .. }) = outcome else {
            panic!("{outcome:?} without {lost}");
        };
        assert_eq!(missing, [lost]);
        // Only that one has to be sent then.
        let rest = receive(&repository, &pack(&[objects[left_out].clone()])).await;
        let advanced = repository.advance(rest.unwrap(), advance(None, id)).await;
        assert_eq!(advanced.unwrap(), Advanced::Moved);
    }
}

async fn fetched(repository: &Repository, asked: Fetch) -> Vec<u8> {
    collect(repository.export(asked).await.unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_fetched() {
    let repository = tenant().await;
    let before = example(&numbered(1500));
    let (have, _) = push(&repository, &before, None).await.unwrap();
    let mut rows = numbered(1500);
    rows.insert(800, 1507);
    rows.insert(1600, 213);
    let after = example(&rows);
    let (want, _) = push(&repository, &after, Some(have)).await.unwrap();

    let part = |part, have, contents| Fetch {
        part,
        ..fetch(want, have, contents)
    };
    let digests = |pack: &[u8]| unpack(pack).into_keys().collect::<Vec<_>>();
    let files = digests(&fetched(&repository, part(Part::Files, None, true)).await);
    let rows = digests(&fetched(&repository, part(Part::Rows, None, true)).await);
    let mut all = digests(&fetched(&repository, part(Part::All, None, true)).await);
    // The snapshot, a node and a chunk.
    assert_eq!(files.len(), 3);
    let mut both: Vec<_> = files.into_iter().chain(rows).collect();
    for list in [&mut both, &mut all] {
        list.sort_unstable();
        list.dedup();
    }
    assert_eq!(both, all);

    // Into another store, which has the one before.
    let other = tenant().await;
    push(&other, &before, None).await.unwrap();
    let update = Fetch {
        patches: true,
        ..part(Part::Rows, Some(have), true)
    };
    let update = fetched(&repository, update).await;
    let whole = fetched(&repository, part(Part::Rows, Some(have), true)).await;
    assert!(update.len() < whole.len());
    let received = receive(&other, &update).await.unwrap();
    let nodes = fetched(&repository, part(Part::Rows, Some(have), false)).await;
    assert!(nodes.len() < whole.len());
    other
        .keep_rows(received, before.rows, after.rows.unwrap())
        .await
        .unwrap();
    assert_whole(&other, &after).await;
    // What was received without contents is not whole.
    let third = tenant().await;
    let received = receive(
        &third,
        &fetched(&repository, part(Part::Rows, None, false)).await,
    )
    .await;
    let kept = third
        .keep_rows(received.unwrap(), None, after.rows.unwrap())
        .await;
    assert!(matches!(kept, Err(Error::Incomplete { .. })), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_private_store_are_sent() {
    let private = tenant().await.rolling_at(100_000);
    let before = example(&numbered(2500));
    let mut rows = numbered(2500);
    rows.insert(1200, 107);
    rows.insert(2600, 113);
    let after = example(&rows);
    for tree in [&before, &after] {
        let objects = tree.objects(&tree.snapshot(&[])).into_iter().skip(1);
        let _stored = private.put(objects.collect::<Vec<_>>()).await.unwrap();
    }
    let remote = tenant().await;
    let first = snapshot_of(&before, &[]);
    let push = RowsPush {
        before: None,
        after: before.rows.unwrap(),
        patches: true,
        inline: Vec::new(),
    };
    let stream = private.export_rows(first.1.into(), push);
    let sent = collect(stream).await.unwrap();
    assert!(unpack(&sent).values().all(|times| *times == 1));
    let received = receive(&remote, &sent).await.unwrap();
    let moved = remote.advance(received, advance(None, first.0)).await;
    assert_eq!(moved.unwrap(), Advanced::Moved);
    assert_whole(&remote, &before).await;

    let second = snapshot_of(&after, &[first.0]);
    let mut lengths = Vec::new();
    for patches in [true, false] {
        let push = RowsPush {
            before: before.rows,
            after: after.rows.unwrap(),
            patches,
            inline: Vec::new(),
        };
        let stream = private.export_rows(second.1.clone().into(), push);
        let sent = collect(stream).await.unwrap();
        lengths.push(sent.len());
        let received = receive(&remote, &sent).await.unwrap();
        let moved = remote
            .advance(received, advance(Some(first.0), second.0))
            .await;
        assert!(moved.is_ok(), "{moved:?}");
    }
    assert!(
        lengths[0] < lengths[1] && lengths[1] < 60_000,
        "{lengths:?}"
    );
    assert_whole(&remote, &after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_name_nothing_are_sent_by_their_nodes() {
    let private = tenant().await.rolling_at(100_000);
    let mut tree = Tree::default();
    let mut small = numbered(2500);
    small.retain(|n, _| !matches!(n % 100, 7 | 13));
    let (small, large) = (table(&mut tree, &small), table(&mut tree, &numbered(300)));
    database(&mut tree, &[("large", large), ("small", small)]);
    let objects = tree.objects(&tree.snapshot(&[])).into_iter().skip(1);
    let _stored = private.put(objects.collect::<Vec<_>>()).await.unwrap();
    let (id, snapshot) = snapshot_of(&tree, &[]);
    let sent = async |inline: &[Digest]| {
        let push = RowsPush {
            before: None,
            after: tree.rows.unwrap(),
            patches: false,
            inline: inline.to_vec(),
        };
        let stream = private.export_rows(snapshot.clone().into(), push);
        collect(stream).await.unwrap()
    };
    let pushed = async |sent: &[u8]| {
        let remote = tenant().await;
        let received = receive(&remote, sent).await.unwrap();
        (remote.advance(received, advance(None, id)).await, remote)
    };
    let whole = sent(&[]).await;
    let told = sent(&[small.rows.root]).await;
    assert_eq!(unpack(&whole), unpack(&told));
    let (moved, remote) = pushed(&told).await;
    assert_eq!(moved.unwrap(), Advanced::Moved);
    assert_whole(&remote, &tree).await;
    // Where it is not true, what is missing is missed before the head moves.
    let wrong = sent(&[small.rows.root, large.rows.root]).await;
    assert!(unpack(&wrong).len() < unpack(&whole).len());
    let (moved, _) = pushed(&wrong).await;
    assert!(matches!(moved, Err(Error::Incomplete { .. })), "{moved:?}");
}

/// A snapshot of the rows alone.
fn snapshot_of(tree: &Tree, parents: &[SnapshotId]) -> (SnapshotId, Vec<u8>) {
    let mut snapshot = tree.snapshot(parents);
    snapshot.roots.files = None;
    snapshot.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_waits_for_its_head() {
    let repository = tenant().await;
    let before = example(&numbered(300));
    let (base, _) = push(&repository, &before, None).await.unwrap();
    let mut rows = numbered(300);
    rows.insert(120, 107);
    let after = example(&rows);
    let snapshot = after.snapshot(&[base]);
    let (id, _) = snapshot.encode().unwrap();
    let objects = after.objects(&snapshot);

    // An earlier push was given up, and its objects are due to go.
    let _stored = repository.put(objects.clone()).await.unwrap();
    assert!(gc(&repository, 1000, 100).await.waiting > 0);
    let kept = repository.keep(Received::nothing(), id).await.unwrap();
    assert_eq!((kept.snapshot(), kept.roots()), (id, snapshot.roots));
    assert_eq!(repository.head("main").await.unwrap(), Some(base));
    assert_eq!(gc(&repository, 1200, 100).await.removed, 0);
    // A program of the tenant set a row aside: another snapshot, most of which was kept.
    let mut rows = numbered(300);
    rows.extend([(120, 107), (121, 120)]);
    let aside = example(&rows);
    let own = aside.snapshot(&[base]);
    let received = receive(&repository, &pack(&aside.objects(&own))).await;
    let own = own.encode().unwrap().0;
    let moved = advance(Some(base), own);
    let moved = repository.advance_kept(received.unwrap(), moved, kept.clone());
    assert_eq!(moved.await.unwrap(), Advanced::Moved);
    assert_whole(&repository, &aside).await;
    let moved = advance(Some(own), id);
    let moved = repository.advance_kept(Received::nothing(), moved, kept.clone());
    assert_eq!(moved.await.unwrap(), Advanced::Moved);
    assert_whole(&repository, &after).await;

    // Without anything of it here it is incomplete, and what is not a snapshot of here is no parent.
    let other = tenant().await;
    let refused = other.keep(Received::nothing(), id).await;
    assert!(matches!(refused, Err(Error::Incomplete { .. })));
    let received = receive(&other, &pack(&objects)).await.unwrap();
    let refused = other.keep(received, id).await;
    assert!(matches!(refused, Err(Error::UnknownSnapshot { .. })));
}

/// A collection that removed something since then makes a kept snapshot as one that was never looked at.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_since_it_was_kept_is_missed() {
    let repository = tenant().await;
    let tree = example(&numbered(150));
    let snapshot = tree.snapshot(&[]);
    let (id, _) = snapshot.encode().unwrap();
    let received = receive(&repository, &pack(&tree.objects(&snapshot))).await;
    let kept = repository.keep(received.unwrap(), id).await.unwrap();
    gc(&repository, 1000, 0).await;
    let nothing = Received::nothing();
    let moved = repository
        .advance_kept(nothing, advance(None, id), kept)
        .await;
    assert!(matches!(moved, Err(Error::Incomplete { .. })), "{moved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_survive_a_collection_and_damage_to_them_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store.create_tenant("acme").await.unwrap();
    let tree = example(&numbered(500));
    push(&repository, &tree, None).await.unwrap();
    gc(&repository, 1000, 0).await;
    let collected = gc(&repository, 2000, 0).await;
    assert_eq!(collected.removed, 0);
    assert_whole(&repository, &tree).await;
    let report = repository.verify(Keep::Heads).await.unwrap();
    assert!(report.is_sound(), "{report:?}");

    // As a private store keeps them: by their root alone.
    let private = tenant().await;
    let objects = tree.objects(&tree.snapshot(&[]));
    let count = objects.len() as u64;
    let _stored = private.put(objects).await.unwrap();
    let keep = |tables| Keep::Roots {
        snapshots: Vec::new(),
        maps: tree.root.into_iter().collect(),
        tables,
    };
    let kept = private
        .plan_gc(keep(tree.rows.into_iter().collect()), 10, 0)
        .await;
    // But the snapshot.
    assert_eq!(kept.unwrap().report.objects, count - 1);
    assert_eq!(
        private
            .plan_gc(keep(Vec::new()), 10, 0)
            .await
            .unwrap()
            .report
            .objects,
        2
    );

    let nodes = tree.nodes.clone();
    let tables = tables(&nodes, tree.rows.unwrap()).unwrap();
    let (name, agents) = &tables[0];
    assert_eq!(name.as_str(), "agents");
    let long = map::get(&nodes, agents.rows.root, &key(113))
        .unwrap()
        .unwrap();
    let row = &RowValue::decode(&long).unwrap().contents()[0];
    for (lost, kind) in [
        (agents.schema, DamageKind::Schema),
        (agents.rows.root, DamageKind::Node),
        (row.chunks[0].digest, DamageKind::Chunk),
    ] {
        let repository = tenant().await;
        push(&repository, &tree, None).await.unwrap();
        repository.forget(&[lost]).await.unwrap();
        let report = repository.verify(Keep::Heads).await.unwrap();
        assert_eq!(report.damaged_total, 1, "{report:?}");
        assert_eq!(
            (report.damaged[0].digest, report.damaged[0].kind),
            (lost, kind)
        );
        let path = report.damaged[0].path.as_deref().unwrap_or_default();
        assert!(path.starts_with("table agents, row "), "{path}");
        // A chunk need not be read to mark it, but one of a row does.
        assert!(repository.plan_gc(Keep::Heads, 10, 0).await.is_err());
    }
}

/// Lesson of bytes that are two things: what a file holds may be a node of a map as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_the_bytes_of_a_node_hides_nothing_from_a_collection() {
    let repository = tenant().await;
    let mut tree = Tree::default();
    let agents = table(&mut tree, &numbered(500));
    database(&mut tree, &[("agents", agents)]);
    let node = tree.nodes.node(&agents.rows.root).unwrap().unwrap();
    let file = tree.file(&node).encode();
    tree.map(vec![("copy", file)]);
    push(&repository, &tree, None).await.unwrap();
    gc(&repository, 1000, 0).await;
    assert_eq!(gc(&repository, 2000, 0).await.removed, 0);
    assert_whole(&repository, &tree).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_stored_while_they_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store
        .create_tenant("acme")
        .await
        .unwrap()
        .rolling_at(50_000);
    let write = async || {
        let (mut writer, writing) = repository.writer();
        let making = tokio::task::spawn_blocking(move || {
            let mut tree = Tree::default();
            let mut builder = map::Builder::new(&mut writer);
            for n in 0..5000 {
                builder.push(&key(n), &row(&mut tree, n)).unwrap();
            }
            builder.finish().unwrap()
        });
        let made = making.await.unwrap();
        writing.finish().await.unwrap();
        (made, store.blobs().list(None, 99).await.unwrap().len())
    };
    let (made, packs) = write().await;
    assert_eq!(packs, 8);
    let nodes = repository.nodes();
    let counted = move || map::len(&nodes, made.root).unwrap();
    assert_eq!(tokio::task::spawn_blocking(counted).await.unwrap(), 5000);
    // What is there already is not stored again.
    assert_eq!(write().await, (made, packs));
}

/// However much comes, what waits for the disk is a few packs: a maker is held back.
#[tokio::test(flavor = "multi_thread")]
async fn a_maker_of_objects_is_held_back() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).await.unwrap();
    let repository = store
        .create_tenant("acme")
        .await
        .unwrap()
        .rolling_at(1 << 20);
    let (made, ahead) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, most) = (Arc::clone(&made), Arc::clone(&ahead));
    let packs = dir.path().join("packs");
    let objects = (0..6000u32).map(move |n| {
        let bytes = bytes(n as usize, 4000);
        let total = count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if n.is_multiple_of(100) {
            most.fetch_max(total.saturating_sub(on_disk(&packs)), Ordering::Relaxed);
        }
        (Class::Nodes, bytes)
    });
    let _stored = repository.put(objects).await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 24_000_000);
    // One pack that fills, one on its way, and a batch that is looked up.
    let ahead = ahead.load(Ordering::Relaxed);
    assert!(ahead < 8 << 20, "{ahead} bytes were held");
}

fn on_disk(dir: &std::path::Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => sum += on_disk(&entry.path()),
            Ok(found) => sum += found.len(),
            Err(_) => {}
        }
    }
    sum
}

/// `MemoryNodes` has the rows of a tree, so that the same reading works on both.
#[test]
fn the_example_reads_back() {
    let tree = example(&numbered(200));
    let mut nodes: MemoryNodes = tree.nodes.clone();
    for (digest, bytes) in &tree.chunks {
        nodes.insert(*digest, bytes.clone().into());
    }
    for (_, table) in tables(&nodes, tree.rows.unwrap()).unwrap() {
        for entry in map::iter(&nodes, table.rows.root) {
            RowValue::load(&entry.unwrap().1, &nodes).unwrap();
        }
    }
}
