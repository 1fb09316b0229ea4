//! Compares the test vectors of `docs/formats.md` with the code.

// `allow-unwrap-in-tests` sees test functions only, not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use sync_core::map::{self, Builder, Map, MemoryNodes, NodeSource};
use sync_core::patch::{self, Signature};
use sync_core::rows::{Cell, Column, KeyWriter, Kind, RowWriter, Schema, TableEntry};
use sync_core::{Chunk, Content, Digest, Entry, Release, Roots, Snapshot, content, wire};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digits = bytes.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn varint(value: u64) -> String {
    let mut bytes = Vec::new();
    wire::put_varint(&mut bytes, value);
    hex(bytes)
}

/// A file of one chunk, or of none.
fn file(executable: bool, bytes: &[u8]) -> Entry {
    let chunk = Chunk {
        digest: Digest::of(bytes),
        len: bytes.len() as u64,
    };
    let chunks = Some(chunk).filter(|chunk| chunk.len > 0);
    Entry::File {
        executable,
        content: Content::from_chunks(chunks.into_iter().collect(), |_, _| {}),
    }
}

/// The root node and its digest, of a map that reads back and verifies.
fn built(entries: &[(String, String)]) -> (String, String) {
    let mut nodes = MemoryNodes::new();
    let mut builder = Builder::new(&mut nodes);
    for (key, value) in entries {
        builder.push(key.as_bytes(), value.as_bytes()).unwrap();
    }
    let map = builder.finish().unwrap();
    assert_eq!(map::verify(&nodes, map.root).unwrap(), map);
    let node = nodes.node(&map.root).unwrap().unwrap();
    (hex(node), map.root.to_string())
}

/// A row, a key, and a schema.
fn table() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut row = RowWriter::new();
    row.push("id", &Cell::Inline(b"a1"));
    row.push("n", &Cell::Inline(&7i32.to_be_bytes()));
    let mut key = KeyWriter::new();
    key.text(b"a", false);
    key.signed(&(-1i32).to_be_bytes());
    let column = |kind, name: &str, type_name: &str| Column {
        kind,
        name: name.into(),
        type_name: type_name.into(),
    };
    let schema = Schema {
        columns: vec![
            column(Kind::Text, "id", "text"),
            column(Kind::Int4, "n", "integer"),
        ],
        filter: Some("n > 0".into()),
        key: vec!["id".into()],
    };
    let (_, schema) = schema.encode();
    assert!(Schema::decode(&schema).is_some());
    (row.as_bytes().to_vec(), key.as_bytes().to_vec(), schema)
}

fn vectors() -> BTreeMap<&'static str, String> {
    let chunk = |text: &&str| Chunk {
        digest: Digest::of(text.as_bytes()),
        len: 1,
    };
    let chunks: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(chunk).collect();
    let mut lists = Vec::new();
    let content = Content::from_chunks(chunks, |_, list| lists.push(list));
    assert_eq!(content::decode_list(&lists[0]).unwrap().len(), 5);
    let listed = Entry::File {
        executable: false,
        content,
    };
    let link = Entry::Link {
        target: "../b".into(),
    };
    let mut bytes = Vec::new();
    wire::put_bytes(&mut bytes, b"abc");

    let small = [("agents/triage.yaml", "1"), ("agents/write.yaml", "22")];
    let (small_node, small_root) = built(&small.map(|(key, value)| (key.into(), value.into())));
    let thousand: Vec<_> = (0..1000)
        .map(|n| (format!("key-{n:04}"), format!("value-{n}")))
        .collect();
    let (thousand_node, thousand_root) = built(&thousand);
    let snapshot = Snapshot {
        author: "ada".into(),
        message: "tune \"triage\" agent\n".into(),
        parents: vec![],
        roots: Roots {
            files: Some(Digest::of(b"root")),
            ..Roots::default()
        },
        time: 1_700_000_000_000,
    };
    let release = Release {
        commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        contents: Digest::of(b"contents"),
        dirty: false,
        image: format!("registry.example.com/agents@sha256:{}", "ab".repeat(32)),
        tag: "deploy-1700000000-0123456".into(),
    };
    let release = release.encode().unwrap().0;
    let deployed = Snapshot {
        roots: Roots {
            release: Some(release),
            ..snapshot.roots
        },
        ..snapshot.clone()
    };

    let base = b"0123456789".repeat(10);
    let target = [&base[..], b"!"].concat();

    let (row, key, schema) = table();
    let entry = TableEntry {
        schema: Digest::of(&schema),
        rows: Map::EMPTY,
    };

    BTreeMap::from([
        ("core/row", hex(row)),
        ("core/row-key", hex(key)),
        ("core/schema-digest", Digest::of(&schema).to_string()),
        ("core/table-entry", hex(entry.encode())),
        ("core/signature", hex(Signature::of(&base).encode())),
        ("core/patch", hex(patch::between(&base, &target))),
        ("core/digest-of-abc", Digest::of(b"abc").to_string()),
        ("core/varint-0", varint(0)),
        ("core/varint-127", varint(127)),
        ("core/varint-128", varint(128)),
        ("core/varint-300", varint(300)),
        ("core/varint-max", varint(u64::MAX)),
        ("core/bytes-abc", hex(bytes)),
        ("core/entry-file", hex(file(false, b"hello\n").encode())),
        ("core/entry-executable", hex(file(true, b"").encode())),
        ("core/entry-link", hex(link.encode())),
        ("core/entry-directory", hex(Entry::Directory.encode())),
        ("core/entry-listed", hex(listed.encode())),
        ("core/list", hex(&lists[0])),
        ("core/map-empty-node", hex([0xa1, 0, 0])),
        ("core/map-empty-root", Map::empty_root().to_string()),
        ("core/map-small-node", small_node),
        ("core/map-small-root", small_root),
        ("core/map-thousand-node", thousand_node),
        ("core/map-thousand-root", thousand_root),
        ("core/release-id", release.to_string()),
        (
            "core/snapshot-with-release-id",
            deployed.encode().unwrap().0.to_string(),
        ),
        ("core/snapshot-id", snapshot.encode().unwrap().0.to_string()),
    ])
}

/// The blocks of the document, by name.
fn documented(text: &str) -> BTreeMap<&str, String> {
    let blocks = text.split("```vector ").skip(1);
    blocks
        .filter_map(|block| {
            let (name, rest) = block.split_once('\n')?;
            let (vector, _) = rest.split_once("```")?;
            Some((name.trim(), vector.split_whitespace().collect()))
        })
        .collect()
}

#[test]
fn the_documented_vectors_are_what_the_code_gives() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let text = std::fs::read_to_string(path).expect("docs/formats.md is in the repository");
    let mut documented = documented(&text);
    documented.retain(|name, _| name.starts_with("core/"));
    let vectors = vectors();
    assert!(documented.keys().eq(vectors.keys()), "the same names");
    for (name, vector) in vectors {
        assert_eq!(documented[name], vector, "{name}");
    }
}

#[test]
fn the_empty_map_is_the_leaf_without_entries() {
    let mut nodes = MemoryNodes::new();
    assert_eq!(Builder::new(&mut nodes).finish().unwrap(), Map::EMPTY);
    assert_eq!(Digest::of(&[0xa1, 0, 0]), Map::empty_root());
    assert!(nodes.is_empty(), "nobody stores it");
    assert_eq!(map::verify(&nodes, Map::empty_root()).unwrap(), Map::EMPTY);
    assert_eq!(map::iter(&nodes, Map::empty_root()).count(), 0);
}
