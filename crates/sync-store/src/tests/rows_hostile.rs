//! Tables and rows that no client of ours makes.

use proptest::prelude::*;
use sync_core::map::{self, Map, NodeSink as _, NodeSource as _};
use sync_core::rows::{RowWriter, Schema, TableEntry};
use sync_core::wire::{put_bytes, put_varint};
use sync_core::{Chunk, Content, Digest, SnapshotId, content::encode_list};

use super::fixture::{Tree, push, tenant};
use super::hostile::{RawNode, Tamper, tamper, tampers, total};
use super::rows::{database, key, map_of, numbered, row, schema, table};
use crate::{Error, Repository};

/// Pushes a tree onto another one; says why it is refused.
async fn onto(base: Option<&Tree>, tree: &Tree) -> Result<(), String> {
    let repository: Repository = tenant().await;
    let mut head: Option<SnapshotId> = None;
    if let Some(base) = base {
        head = Some(push(&repository, base, None).await.unwrap().0);
    }
    let outcome = push(&repository, tree, head).await;
    match outcome {
        Ok(_) => Ok(()),
        Err(Error::Malformed { place, reason }) => {
            assert_eq!(repository.head("main").await.unwrap(), head);
            Err(format!("{place}: {reason}"))
        }
        Err(Error::Incomplete { missing, .. }) => Err(format!("missing {missing:?}")),
        Err(error) => panic!("{error:?}"),
    }
}

#[track_caller]
fn refused(outcome: &Result<(), String>, because: &str) {
    match outcome {
        Err(why) => assert!(why.contains(because), "{why} instead of {because}"),
        Ok(()) => panic!("{because} was accepted"),
    }
}

/// A tree with one table of any bytes as its rows.
fn of_values(values: Vec<Vec<u8>>) -> Tree {
    let mut tree = Tree::default();
    with_values(&mut tree, values);
    tree
}

fn with_values(tree: &mut Tree, values: Vec<Vec<u8>>) {
    let entry = table(tree, &numbered(0));
    let entries = values.into_iter().enumerate();
    let rows = map_of(tree, entries.map(|(n, value)| (key(n), value)).collect());
    database(tree, &[("agents", TableEntry { rows, ..entry })]);
}

/// The value of a row that is an object of its own.
fn stored(content: &Content) -> Vec<u8> {
    let mut value = vec![1, content.depth];
    put_varint(&mut value, content.chunks.len() as u64);
    for chunk in &content.chunks {
        put_varint(&mut value, chunk.len);
        value.extend_from_slice(chunk.digest.as_bytes());
    }
    value
}

/// A row with one large value.
fn large(content: &Content) -> Vec<u8> {
    let mut value = vec![0];
    put_bytes(&mut value, b"body");
    put_varint(&mut value, 1);
    value.extend_from_slice(&stored(content)[1..]);
    value
}

fn chunk(bytes: &[u8]) -> Chunk {
    Chunk {
        digest: Digest::of(bytes),
        len: bytes.len() as u64,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_none_are_refused() {
    let mut tree = Tree::default();
    let good = table(&mut tree, &numbered(40));
    let named = |name: &str, entry: TableEntry| {
        let mut tree = tree.clone();
        database(&mut tree, &[(name, entry)]);
        tree
    };
    let first = async |tree: Tree| onto(None, &tree).await;
    assert_eq!(first(named("agents", good)).await, Ok(()));
    for name in ["public.agents", "a.b.c", "", "a\n"] {
        refused(&first(named(name, good)).await, "not the name of a table");
    }
    let raw = |key: &[u8], value: Vec<u8>| {
        let mut tree = tree.clone();
        tree.rows = Some(map_of(&mut tree, vec![(key.to_vec(), value)]).root);
        tree
    };
    refused(
        &first(raw(b"\xff", good.encode())).await,
        "not the name of a table",
    );
    refused(
        &first(raw(b"agents", b"junk".to_vec())).await,
        "not that of a table",
    );
    refused(
        &first(raw(b"agents", row(&mut tree.clone(), 1))).await,
        "not that of a table",
    );

    // Schemas: one that is not there, and ones that are none.
    let absent = TableEntry {
        schema: Digest::of(b"absent"),
        ..good
    };
    refused(&first(named("agents", absent)).await, "missing");
    let unordered = Schema {
        columns: schema().columns.into_iter().rev().collect(),
        ..schema()
    };
    let keyless = Schema {
        key: Vec::new(),
        ..schema()
    };
    let wide = Schema {
        filter: Some("x".repeat(Schema::MAX_LEN)),
        ..schema()
    };
    for bytes in [
        b"{}".to_vec(),
        [schema().encode().1, b" ".to_vec()].concat(),
        unordered.encode().1,
        keyless.encode().1,
        wide.encode().1,
    ] {
        let mut tree = tree.clone();
        let schema = Digest::of(&bytes);
        tree.put(schema, bytes).unwrap();
        database(&mut tree, &[("agents", TableEntry { schema, ..good })]);
        refused(&onto(None, &tree).await, "no schema of a table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_lie_are_refused() {
    let mut tree = Tree::default();
    let good = table(&mut tree, &numbered(900));
    database(&mut tree, &[("agents", good)]);
    for len in [1, 899, 901, u64::MAX] {
        let rows = Map { len, ..good.rows };
        let lie = TableEntry { rows, ..good };
        let mut lying = tree.clone();
        database(&mut lying, &[("agents", lie)]);
        let why = "not as many entries as its table says";
        refused(&onto(None, &lying).await, why);
        // Also where the map itself is trusted, or was walked for another table.
        refused(&onto(Some(&tree), &lying).await, why);
        database(&mut lying, &[("agents", good), ("again", lie)]);
        refused(&onto(None, &lying).await, why);
        refused(&onto(Some(&tree), &lying).await, why);
    }
    let empty = TableEntry {
        rows: Map::EMPTY,
        ..good
    };
    database(
        &mut tree,
        &[("agents", good), ("empty", empty), ("same", good)],
    );
    assert_eq!(onto(None, &tree).await, Ok(()));
}

/// Each of many tables has nearly the same rows: what they share is walked once, or this would take for ever.
#[tokio::test(flavor = "multi_thread")]
async fn many_tables_that_share_their_rows_do_not_multiply_the_work() {
    let mut tree = Tree::default();
    let most = table(&mut tree, &numbered(6000));
    let tables: Vec<_> = (0..1000usize)
        .map(|n| {
            let edits = [
                (key(n), None::<Vec<u8>>),
                (key(9000), Some(row(&mut tree, n))),
            ];
            let source = tree.nodes.clone();
            let rows = map::edit(&source, most.rows.root, edits, &mut tree).unwrap();
            (format!("t{n:04}"), TableEntry { rows, ..most })
        })
        .collect();
    let tables: Vec<_> = tables
        .iter()
        .map(|(name, table)| (name.as_str(), *table))
        .collect();
    database(&mut tree, &tables);
    assert_eq!(onto(None, &tree).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tables_than_anybody_has_are_refused() {
    for (count, accepted) in [(10_000, true), (10_001, false)] {
        let mut tree = Tree::default();
        let empty = table(&mut tree, &numbered(0));
        let names: Vec<_> = (0..count).map(|n| format!("t{n:05}")).collect();
        let tables: Vec<_> = names.iter().map(|name| (name.as_str(), empty)).collect();
        database(&mut tree, &tables);
        assert_eq!(onto(None, &tree).await.is_ok(), accepted, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_one_kind_are_not_taken_for_another() {
    let mut tree = Tree::numbered(30);
    let files = Map {
        root: tree.root.unwrap(),
        len: 30,
    };
    let good = table(&mut tree, &numbered(30));
    let entry = |rows| TableEntry { rows, ..good };
    database(&mut tree, &[("agents", entry(files))]);
    refused(&onto(None, &tree).await, "does not decode");
    let agents = tree.rows;
    database(&mut tree, &[("agents", good)]);
    let tables = Map {
        root: tree.rows.unwrap(),
        len: 1,
    };
    database(&mut tree, &[("agents", entry(tables))]);
    refused(&onto(None, &tree).await, "does not decode");
    // Rows, or files, in place of tables, and the other way round.
    let mut wrong = tree.clone();
    wrong.rows = Some(good.rows.root);
    refused(&onto(None, &wrong).await, "not that of a table");
    wrong.rows = tree.root;
    refused(&onto(None, &wrong).await, "table");
    wrong.rows = None;
    wrong.root = agents;
    assert!(onto(None, &wrong).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_none_are_refused() {
    let mut tree = Tree::default();
    let good = row(&mut tree, 1);
    assert_eq!(onto(None, &of_values(vec![good.clone()])).await, Ok(()));
    let unordered = {
        let mut row = RowWriter::new();
        row.push("id", &sync_core::rows::Cell::Inline(b"1"));
        row.push("body", &sync_core::rows::Cell::Inline(b"2"));
        row.as_bytes().to_vec()
    };
    for wrong in [
        Vec::new(),
        b"junk".to_vec(),
        unordered,
        [good, vec![0]].concat(),
        stored(&Content::default()),
        // As long as one that stands in the map, and longer than any.
        stored(&Content {
            depth: 0,
            chunks: vec![Chunk {
                len: 8 * 1024,
                ..chunk(b"x")
            }],
        }),
        stored(&Content {
            depth: 1,
            chunks: vec![Chunk {
                len: 1 << 40,
                ..chunk(b"x")
            }],
        }),
    ] {
        let outcome = onto(None, &of_values(vec![wrong])).await;
        refused(
            &outcome,
            "row row000000 of table agents: it does not decode",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rows_name_is_checked_as_what_files_name() {
    let body = vec![7; 16 << 10];
    let list = encode_list(&[chunk(&body); 5]);
    let pushed = async |value: Vec<u8>| {
        let mut tree = Tree::default();
        for object in [&body, &list] {
            tree.chunks.insert(Digest::of(object), object.clone());
        }
        with_values(&mut tree, vec![value]);
        onto(None, &tree).await
    };
    let content = |depth, chunks| Content { depth, chunks };
    let listed = |len| Chunk {
        len,
        ..chunk(&list)
    };
    let whole = 5 * (16 << 10);
    assert_eq!(pushed(large(&content(0, vec![chunk(&body)]))).await, Ok(()));
    assert_eq!(
        pushed(large(&content(1, vec![listed(whole)]))).await,
        Ok(())
    );
    let longer = Chunk {
        len: 20_000,
        ..chunk(&body)
    };
    refused(
        &pushed(large(&content(0, vec![longer]))).await,
        "another length",
    );
    refused(
        &pushed(large(&content(1, vec![listed(whole + 1)]))).await,
        "another length",
    );
    refused(
        &pushed(large(&content(1, vec![chunk(&body)]))).await,
        "does not decode",
    );
    let absent = Chunk {
        len: 5000,
        ..chunk(b"absent")
    };
    refused(&pushed(large(&content(0, vec![absent]))).await, "missing");

    // A row that is an object of its own is read.
    let why = "no row";
    refused(&pushed(stored(&content(0, vec![chunk(&body)]))).await, why);
    refused(&pushed(stored(&content(1, vec![listed(whole)]))).await, why);
    refused(&pushed(stored(&content(0, vec![longer]))).await, why);
    refused(
        &pushed(stored(&content(0, vec![absent, absent]))).await,
        "missing",
    );
    let mut tree = Tree::default();
    let value = row(&mut tree, 13);
    with_values(&mut tree, vec![value]);
    assert_eq!(onto(None, &tree).await, Ok(()));
    // And what it names is looked for.
    let names: Vec<_> = tree.chunks.keys().copied().collect();
    assert_eq!(names.len(), 2);
    for lost in names {
        let mut tree = tree.clone();
        tree.chunks.remove(&lost);
        refused(&onto(None, &tree).await, &lost.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The law of files, for rows: a head moves exactly where reading all of a map of rows finds it canonical, however
    /// much of it is trusted.
    #[test]
    fn what_is_accepted_is_canonical(
        count in 1..1500usize,
        dropped in prop::collection::btree_set(0..1500usize, 0..6),
        how in prop::collection::vec(tampers(), 0..3),
    ) {
        let mut before = Tree::default();
        let old = table(&mut before, &numbered(count));
        database(&mut before, &[("agents", old)]);
        let mut after = before.clone();
        let mut rows = numbered(count);
        rows.retain(|n, _| !dropped.contains(n));
        let mut new = table(&mut after, &rows);
        let (sound, how): (_, Vec<Tamper>) = (new, how);
        if new.rows.root != Map::empty_root() {
            let base = after.nodes.node(&old.rows.root).unwrap().unwrap();
            new.rows.root = tamper(&mut after.nodes, new.rows.root, &RawNode::of(&base), &how);
            // What anyone can count: the entries that the root claims.
            let root = after.nodes.node(&new.rows.root).unwrap().unwrap();
            prop_assume!(map::check_node(root.clone()).is_ok());
            new.rows.len = total(&RawNode::of(&root));
        }
        // Another table has the rows as they should be, and is walked first.
        database(&mut after, &[("a", sound), ("agents", new)]);
        let canonical = map::verify(&after.nodes, new.rows.root);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (onto, alone) = runtime.block_on(async {
            (onto(Some(&before), &after).await, onto(None, &after).await)
        });
        prop_assert_eq!(canonical.is_ok(), onto.is_ok(), "onto the base {:?} but {:?}", &canonical, &onto);
        prop_assert_eq!(canonical.is_ok(), alone.is_ok(), "alone {:?} but {:?}", &canonical, &alone);
    }
}
