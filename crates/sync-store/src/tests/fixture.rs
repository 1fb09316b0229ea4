//! Trees as maps and packs, as a client makes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sync_core::map::{self, Map, MemoryNodes};
use sync_core::{Chunk, Content, Digest, Entry, Roots, Snapshot, SnapshotId};

use crate::pack::{Event, PackDecoder, PackWriter};
use crate::protocol::Fetch;
use crate::{Advance, Advanced, Class, Error, Repository, Store};

/// Bytes of chunks in these trees, the fewest that there may be: large files are several.
const CHUNK: usize = 16 << 10;

/// A tree and everything that it is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) nodes: MemoryNodes,
    pub(super) lists: BTreeMap<Digest, Vec<u8>>,
    pub(super) chunks: BTreeMap<Digest, Vec<u8>>,
    pub(super) root: Option<Digest>,
    /// The root of the map of tables.
    pub(super) rows: Option<Digest>,
}

impl Tree {
    pub(super) fn new<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let owned = |(path, text): (&str, &str)| (path.to_owned(), text.as_bytes().to_vec());
        Self::of(files.into_iter().map(owned).collect())
    }

    /// `count` files whose paths and bytes follow from their numbers.
    pub(super) fn numbered(count: usize) -> Self {
        let file = |n: usize| (format!("dir{:02}/file{n:05}", n % 17), numbered_bytes(n));
        Self::of((0..count).map(file).collect())
    }

    pub(super) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut tree = Self {
            files,
            ..Self::default()
        };
        let entries: Vec<_> = tree
            .files
            .clone()
            .into_iter()
            .map(|(path, bytes)| (path, tree.file(&bytes).encode()))
            .collect();
        tree.map(entries);
        tree
    }

    /// The same tree with some files changed, added or (`None`) removed.
    pub(super) fn with<'f>(
        &self,
        changes: impl IntoIterator<Item = (&'f str, Option<&'f str>)>,
    ) -> Self {
        let mut files = self.files.clone();
        for (path, text) in changes {
            match text {
                Some(text) => files.insert(path.to_owned(), text.as_bytes().to_vec()),
                None => files.remove(path),
            };
        }
        Self::of(files)
    }

    /// A tree of any entries, well formed or not.
    pub(super) fn raw(entries: &[(&[u8], Vec<u8>)]) -> Self {
        let mut tree = Self::default();
        tree.map(entries.to_vec());
        tree
    }

    pub(super) fn map<K: AsRef<[u8]>>(&mut self, entries: Vec<(K, Vec<u8>)>) {
        let mut builder = map::Builder::new(&mut self.nodes);
        for (key, value) in entries {
            builder.push(key.as_ref(), &value).unwrap();
        }
        let Map { root, .. } = builder.finish().unwrap();
        self.root = Some(root);
    }

    pub(super) fn file(&mut self, bytes: &[u8]) -> Entry {
        let mut chunks = Vec::new();
        for piece in bytes.chunks(CHUNK) {
            let digest = Digest::of(piece);
            self.chunks.insert(digest, piece.to_vec());
            chunks.push(Chunk {
                digest,
                len: piece.len() as u64,
            });
        }
        Entry::File {
            executable: false,
            content: Content::from_chunks(chunks, |digest, bytes| {
                self.lists.insert(digest, bytes);
            }),
        }
    }

    pub(super) fn snapshot(&self, parents: &[SnapshotId]) -> Snapshot {
        Snapshot {
            author: "ada".into(),
            message: format!("{} files", self.files.len()),
            parents: parents.to_vec(),
            roots: Roots {
                files: self.root,
                rows: self.rows,
                ..Roots::default()
            },
            time: 1000 + parents.len() as u64,
        }
    }

    /// Everything, and a snapshot of it.
    pub(super) fn objects(&self, snapshot: &Snapshot) -> Vec<(Class, Vec<u8>)> {
        let nodes = self.nodes.iter().map(|(_, node)| node.to_vec());
        let lists = self.lists.values().cloned();
        let mut nodes: Vec<_> = nodes.chain(lists).collect();
        // `MemoryNodes` has no order.
        nodes.sort_unstable();
        nodes.insert(0, snapshot.encode().unwrap().1);
        let nodes = nodes.into_iter().map(|bytes| (Class::Nodes, bytes));
        let chunks = self.chunks.values().cloned();
        nodes
            .chain(chunks.map(|bytes| (Class::Contents, bytes)))
            .collect()
    }
}

/// Mostly short, now and then with chunk lists; hardly compressible, so that packs have several blocks.
pub(super) fn numbered_bytes(n: usize) -> Vec<u8> {
    let len = if n.is_multiple_of(250) {
        82_500
    } else {
        100 + n % 300
    };
    let mut bytes = Vec::new();
    let mut block = 0u64;
    while bytes.len() < len {
        let seed = [n as u64, block].map(u64::to_le_bytes).concat();
        bytes.extend_from_slice(Digest::of(&seed).as_bytes());
        block += 1;
    }
    bytes.truncate(len);
    bytes
}

pub(super) fn pack(objects: &[(Class, Vec<u8>)]) -> Vec<u8> {
    let mut writer = PackWriter::new().unwrap();
    for (class, object) in objects {
        writer.add(*class, object).unwrap();
    }
    writer.finish().unwrap().concat()
}

/// The objects of a pack by digest, with how often each comes.
pub(super) fn unpack(pack: &[u8]) -> BTreeMap<Digest, usize> {
    let mut decoder = PackDecoder::new().unwrap();
    decoder.push(pack);
    let mut objects = BTreeMap::new();
    while let Some(event) = decoder.next_event().unwrap() {
        if let Event::Block(block) = event {
            for object in block.objects() {
                *objects.entry(Digest::of(&object)).or_default() += 1;
            }
        }
    }
    decoder.finish().unwrap();
    objects
}

pub(super) async fn receive(
    repository: &Repository,
    pack: &[u8],
) -> Result<crate::Received, Error> {
    let pieces: Vec<_> = pack.chunks(3000).map(Bytes::copy_from_slice).collect();
    repository
        .receive(stream::iter(
            pieces.into_iter().map(Ok::<_, std::io::Error>),
        ))
        .await
}

pub(super) async fn collect(
    stream: impl futures_util::Stream<Item = Result<Bytes, Error>>,
) -> Result<Vec<u8>, Error> {
    let pieces: Vec<_> = stream.collect().await;
    Ok(pieces.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

/// A request for whole objects.
pub(super) fn fetch(want: SnapshotId, have: Option<SnapshotId>, contents: bool) -> Fetch {
    Fetch {
        want,
        have,
        contents,
        patches: false,
        part: crate::protocol::Part::Files,
    }
}

pub(super) fn advance(expected: Option<SnapshotId>, target: SnapshotId) -> Advance {
    Advance {
        branch: "main".into(),
        expected,
        target,
        when: 5,
    }
}

/// Sends everything, and moves `main`.
pub(super) async fn push(
    repository: &Repository,
    tree: &Tree,
    parent: Option<SnapshotId>,
) -> Result<(SnapshotId, Advanced), Error> {
    let snapshot = tree.snapshot(parent.as_slice());
    let received = receive(repository, &pack(&tree.objects(&snapshot))).await?;
    let (id, _) = snapshot.encode().unwrap();
    let advanced = repository.advance(received, advance(parent, id)).await?;
    Ok((id, advanced))
}

pub(super) async fn tenant() -> Repository {
    Store::in_memory().create_tenant("acme").await.unwrap()
}

/// Whether everything that the head names is there: reads all of it.
#[track_caller]
pub(super) fn complete(
    repository: &Repository,
    id: SnapshotId,
    tree: &Tree,
) -> impl Future<Output = ()> {
    let wanted = tree.objects(&tree.snapshot(&[]));
    let (repository, root) = (repository.clone(), tree.root);
    async move {
        assert_eq!(repository.snapshot(id).await.unwrap().roots.files, root);
        let wanted = wanted
            .into_iter()
            .skip(1)
            .map(|(_, object)| Digest::of(&object));
        let wanted: Vec<_> = wanted.collect();
        // Each is checked against its digest on the way.
        let absent = repository.objects(&wanted, |_, _| {}).await.unwrap();
        assert_eq!(absent, []);
    }
}
