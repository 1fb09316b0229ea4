//! Tenants with files and rows, and bundles of them as bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sync_bundle::manifest::{self, bundle_digest};
use sync_bundle::{
    AskExport, Beside, Error, Event, Export, Incoming, Manifest, Member, Reader, Signer, Summary,
    TokenEntry, import_into_nothing, plan, tar,
};
use sync_core::map::{Builder, NodeSink, StoreError};
use sync_core::rows::{Column, KeyWriter, Kind, RowWriter, Schema, TableEntry};
use sync_core::{Chunk, Content, Digest, Entry, Fault, Roots, Snapshot, SnapshotId};
use sync_store::protocol::Scope;
use sync_store::{Advance, Class, Identity, Received, Repository, Store};

/// Bytes of chunks in these trees.
const CHUNK: usize = 16 << 10;

/// The objects of a snapshot in the making.
#[derive(Default)]
pub(crate) struct Made {
    objects: Vec<(Class, Vec<u8>)>,
    pub(crate) roots: Roots,
}

impl NodeSink for Made {
    fn put(&mut self, _: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.objects.push((Class::Nodes, bytes));
        Ok(())
    }

    fn put_chunk(&mut self, _: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.objects.push((Class::Contents, bytes));
        Ok(())
    }
}

impl Made {
    pub(crate) fn files(mut self, files: &[(&str, Vec<u8>)]) -> Self {
        let files: BTreeMap<_, _> = files.iter().cloned().collect();
        let mut entries = Vec::new();
        for (path, bytes) in &files {
            let mut chunks = Vec::new();
            for piece in bytes.chunks(CHUNK) {
                self.objects.push((Class::Contents, piece.to_vec()));
                let (digest, len) = (Digest::of(piece), piece.len() as u64);
                chunks.push(Chunk { digest, len });
            }
            let content = Content::from_chunks(chunks, |_, list| {
                self.objects.push((Class::Nodes, list));
            });
            let executable = false;
            entries.push((
                path.as_bytes(),
                Entry::File {
                    executable,
                    content,
                }
                .encode(),
            ));
        }
        self.roots.files = Some(self.map(entries).0);
        self
    }

    /// A table whose rows have these texts, a long one in objects of its own.
    pub(crate) fn rows(mut self, rows: &[(&str, Vec<u8>)]) -> Self {
        let column = |name: &str| Column {
            kind: Kind::Text,
            name: name.to_owned(),
            type_name: "text".to_owned(),
        };
        let schema = Schema {
            columns: vec![column("body"), column("id")],
            filter: None,
            key: vec!["id".to_owned()],
        };
        let (schema, bytes) = schema.encode();
        self.objects.push((Class::Nodes, bytes));
        let mut entries = Vec::new();
        for (id, body) in rows {
            let mut key = KeyWriter::new();
            key.text(id.as_bytes(), false);
            let mut row = RowWriter::new();
            row.push_value("body", body, &mut self).unwrap();
            row.push_value("id", id.as_bytes(), &mut self).unwrap();
            let value = row.value(&mut self).unwrap();
            entries.push((key.as_bytes().to_vec(), value));
        }
        entries.sort();
        let (root, len) = self.map(entries);
        let table = TableEntry {
            schema,
            rows: sync_core::map::Map { root, len },
        };
        self.roots.rows = Some(self.map(vec![(b"notes".to_vec(), table.encode())]).0);
        self
    }

    fn map<K: AsRef<[u8]>>(&mut self, entries: Vec<(K, Vec<u8>)>) -> (Digest, u64) {
        let mut builder = Builder::new(self);
        for (key, value) in entries {
            builder.push(key.as_ref(), &value).unwrap();
        }
        let map = builder.finish().unwrap();
        (map.root, map.len)
    }

    /// Moves `branch` to a snapshot of it.
    pub(crate) async fn push(
        self,
        to: &Repository,
        branch: &str,
        parents: &[SnapshotId],
        time: u64,
    ) -> SnapshotId {
        let (id, bytes) = Snapshot {
            author: "ada".into(),
            message: format!("at {time}"),
            parents: parents.to_vec(),
            roots: self.roots,
            time,
        }
        .encode()
        .unwrap();
        let mut objects = self.objects;
        objects.push((Class::Nodes, bytes));
        let received = to.prepare(objects).await.unwrap();
        let advance = Advance {
            branch: branch.into(),
            expected: to.head(branch).await.unwrap(),
            target: id,
            when: time,
        };
        to.advance(received, advance).await.unwrap();
        id
    }
}

/// Bytes that do not compress, and follow from `seed`.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) async fn tenant(name: &str) -> Repository {
    Store::in_memory().create_tenant(name).await.unwrap()
}

/// A tenant with two branches, a merge, files that change and come back, and rows.
pub(crate) async fn example() -> Repository {
    let source = tenant("acme").await;
    let one = || vec![("a/one.md", noise(1, 100)), ("a/two.md", noise(2, 200_000))];
    let rows = |seed| {
        vec![
            ("k1", noise(seed, 40)),
            ("k2", noise(7, 90_000)),
            ("k3", b"plain".to_vec()),
        ]
    };
    let first = Made::default()
        .files(&one())
        .push(&source, "main", &[], 1_000)
        .await;
    let mut changed = one();
    changed[0].1 = noise(3, 300);
    let second = Made::default()
        .files(&changed)
        .rows(&rows(4))
        .push(&source, "main", &[first], 2_000)
        .await;
    let trial = Made::default()
        .files(&[("only.md", noise(5, 70))])
        .push(&source, "trial", &[first], 3_000)
        .await;
    let merged = Made::default()
        .files(&one())
        .rows(&rows(6))
        .push(&source, "main", &[second, trial], 1_700_000_000_500)
        .await;
    assert_eq!(source.head("main").await.unwrap(), Some(merged));
    source
}

pub(crate) fn beside() -> Beside {
    let token = TokenEntry {
        created: 5,
        expires: None,
        id: "abcdef".into(),
        label: Some("ci".into()),
        revoked: None,
        scope: Scope::Write,
    };
    Beside {
        settings: serde_json::json!({}),
        tokens: vec![token],
    }
}

pub(crate) async fn exported(source: &Repository, ask: AskExport) -> Result<Vec<u8>, Error> {
    let export = Export::plan(source, ask, beside()).await?;
    let pieces: Vec<Bytes> = export.stream().try_collect().await?;
    Ok(pieces.concat())
}

pub(crate) async fn incoming(tar: &[u8]) -> Result<Incoming<'static>, Error> {
    // Small pieces, so that nothing depends on where they are cut.
    let pieces: Vec<_> = tar.chunks(1000).map(Bytes::copy_from_slice).collect();
    Incoming::open(stream::iter(pieces).map(Ok::<_, std::io::Error>)).await
}

/// Imports as a server does.
pub(crate) async fn imported(tar: &[u8], into: &Repository) -> Result<Summary, Error> {
    let incoming = incoming(tar).await?;
    let planned = plan(into, &incoming.opening().manifest).await?;
    planned.check(false)?;
    let mut taken = incoming.take_into(into).await?;
    let moves = taken.moves(&planned, 9);
    taken.advance(into, moves).await?;
    taken.keep(into, &planned).await?;
    let beside = taken.records() - taken.summary.records_inspected;
    taken.summary.count(beside, 0);
    Ok(taken.summary)
}

pub(crate) async fn refused(tar: &[u8], code: &str) {
    let into = tenant("target").await;
    let outcome = imported(tar, &into).await;
    assert_eq!(outcome.map_err(|error| error.code()), Err(code));
    assert_eq!(into.heads().await.unwrap(), []);
    assert_eq!(into.count_snapshots().await.unwrap(), 0);
    // Looking alone finds the same, but for what only a store can tell.
    let verified = match incoming(tar).await {
        Ok(incoming) => import_into_nothing(incoming, &tenant("nothing").await).await,
        Err(error) => Err(error),
    };
    assert_eq!(verified.map_err(|error| error.code()), Err(code));
}

/// A bundle taken apart, to be put together wrongly.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) manifest: Manifest,
    pub(crate) members: Vec<(String, Vec<u8>)>,
    pub(crate) key: std::sync::Arc<Identity>,
}

impl Parts {
    /// As a stranger would hold them: what he signs, he signs with a key of his own.
    pub(crate) fn of(tar: &[u8]) -> Self {
        let mut reader = Reader::default();
        reader.feed(tar);
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        let mut manifest = None;
        loop {
            match reader.next_event().unwrap().unwrap() {
                Event::Opening(opening) => manifest = Some(opening.manifest),
                Event::Begin(index) => {
                    let found: &Manifest = manifest.as_ref().unwrap();
                    members.push((found.members[index].path.clone(), Vec::new()));
                }
                Event::Piece(piece) => members.last_mut().unwrap().1.extend_from_slice(&piece),
                Event::End => {}
                Event::Done => break,
            }
        }
        reader.finish().unwrap();
        Self {
            manifest: manifest.unwrap(),
            members,
            key: std::sync::Arc::new(Identity::generate().unwrap()),
        }
    }

    /// Lets the manifest say what the members are now.
    pub(crate) fn settled(mut self) -> Self {
        let member = |(path, bytes): &(String, Vec<u8>)| Member {
            digest: Digest::of(bytes),
            length: bytes.len() as u64,
            path: path.clone(),
        };
        self.manifest.members = self.members.iter().map(member).collect();
        self.manifest.bundle_digest = bundle_digest(&self.manifest.members);
        self
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut manifest = self.manifest.clone();
        manifest.source.public_key = Some(self.key.public_key());
        self.tar_of(&manifest.encode())
    }

    /// With these bytes for a manifest, signed.
    pub(crate) fn tar_of(&self, manifest: &[u8]) -> Vec<u8> {
        let signer = Signer {
            public_key: self.key.public_key(),
            successions: vec![],
        };
        let signature = self.key.sign("bundle", manifest).to_string();
        let mut all = vec![
            (manifest::MANIFEST.to_owned(), manifest.to_vec()),
            (manifest::SIGNATURE.to_owned(), signature.into_bytes()),
            (
                manifest::KEY.to_owned(),
                serde_json::to_vec(&signer).unwrap(),
            ),
        ];
        all.extend(self.members.iter().cloned());
        let mut out = Vec::new();
        for (path, bytes) in all {
            let len = bytes.len() as u64;
            out.extend_from_slice(&tar::header(&path, len, self.manifest.created_at / 1000));
            out.extend_from_slice(&bytes);
            out.resize(out.len() + tar::padding(len), 0);
        }
        out.extend_from_slice(&tar::END);
        out
    }
}

/// Every head, every snapshot and every object of the one is in the other.
pub(crate) async fn assert_equal(a: &Repository, b: &Repository) {
    assert_eq!(a.heads().await.unwrap(), b.heads().await.unwrap());
    let count = a.count_snapshots().await.unwrap();
    assert_eq!(b.count_snapshots().await.unwrap(), count);
    for (_, head) in a.heads().await.unwrap() {
        let history = a.log(head, 1000).await.unwrap();
        assert_eq!(b.log(head, 1000).await.unwrap(), history);
    }
    // Everything of the copy reads back and is what its names promise.
    let report = b.verify(sync_store::Keep::Heads).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    let original = a.verify(sync_store::Keep::Heads).await.unwrap();
    assert_eq!(
        (report.objects, report.snapshots),
        (original.objects, original.snapshots)
    );
}

pub(crate) fn nothing() -> Received {
    Received::nothing()
}
