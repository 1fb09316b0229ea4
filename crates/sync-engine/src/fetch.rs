//! Maps from the tenant: only objects that were asked for are taken, each checked before it is believed.

use std::collections::HashMap;

use bytes::Bytes;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::content::decode_list;
use sync_core::map::{MapError, check_node};
use sync_core::{Chunk, Content, Digest, Entry, Snapshot, SnapshotId};
use sync_store::pack::{Class, Patches};
use sync_store::protocol::{Fetch, Part};

use crate::Error;
use crate::error::{AnswerSnafu, HostileSnafu, MapSnafu};
use crate::maps::Maps;
use crate::receive::{Arrived, Blocks, patched};
use crate::session::{Session, blocking};
use crate::texts::PAGE;
use crate::tree_map::{decode_entry, decode_path, empty_root};

/// How many bytes of objects may wait for somebody to want them.
const MAX_EARLY: usize = 64 << 20;

/// The contents that follow the maps in one answer; none where the connection was lost before they came.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    blocks: Option<Blocks>,
    first: Option<Arrived>,
}

impl From<Blocks> for Incoming {
    fn from(blocks: Blocks) -> Self {
        Self {
            blocks: Some(blocks),
            first: None,
        }
    }
}

impl Incoming {
    /// The next block of the contents.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived>, Error> {
        match (self.first.take(), &mut self.blocks) {
            (Some(block), _) => Ok(Some(block)),
            (None, Some(blocks)) => blocks.next().await,
            (None, None) => Ok(None),
        }
    }
}

impl Session {
    /// Completes `maps` with the snapshot `want` and its maps; `have` names one whose maps are here.
    pub(crate) async fn fetch_maps(
        &self,
        maps: &Maps,
        want: SnapshotId,
        have: Option<SnapshotId>,
    ) -> Result<(), Error> {
        self.fetch(
            maps,
            Fetch {
                want,
                have,
                contents: false,
                patches: true,
                part: Part::Files,
            },
        )
        .await
        .map(drop)
    }

    /// Likewise, and leaves the contents to come where `fetch` asks for them.
    ///
    /// Where the connection is lost, what came stays and the rest is asked for by name.
    pub(crate) async fn fetch(&self, maps: &Maps, fetch: Fetch) -> Result<Incoming, Error> {
        let expected = Expected::new(maps.clone(), fetch.want);
        let mut blocks = self.remote.fetch(fetch).await?;
        let (expected, came) = take_nodes(expected, &mut blocks).await?;
        let (expected, incoming) = match came {
            Ok(first) => {
                let blocks = Some(blocks);
                (expected, Incoming { blocks, first })
            }
            Err(lost) => (self.resume(expected, lost).await?, Incoming::default()),
        };
        let missing = expected.wanted.len();
        ensure!(
            missing == 0,
            AnswerSnafu {
                reason: format!("{missing} objects of the snapshot were not sent")
            }
        );
        Ok(incoming)
    }

    /// Asks by name for what is still awaited, level by level, until nothing is or the tenant has none of it.
    async fn resume(&self, mut expected: Expected, lost: Error) -> Result<Expected, Error> {
        let mut lost = Some(lost);
        let mut attempt = 1;
        loop {
            if let Some(error) = lost.take() {
                attempt += 1;
                self.pause(error, attempt).await?;
            }
            let wanted: Vec<Digest> = expected.wanted.keys().copied().collect();
            if wanted.is_empty() {
                return Ok(expected);
            }
            for page in wanted.chunks(PAGE) {
                let mut blocks = match self.remote.objects(page).await {
                    Ok(blocks) => blocks,
                    Err(error) => {
                        lost = Some(error);
                        break;
                    }
                };
                let came;
                (expected, came) = take_nodes(expected, &mut blocks).await?;
                if let Err(error) = came {
                    lost = Some(error);
                    break;
                }
            }
            let is_stuck = wanted.iter().all(|digest| expected.awaits(digest));
            if lost.is_none() && is_stuck {
                return Ok(expected);
            }
        }
    }
}

/// Takes in the nodes that come first. The inner result is the first block of something else, or why nothing more came.
async fn take_nodes(
    mut expected: Expected,
    blocks: &mut Blocks,
) -> Result<(Expected, Result<Option<Arrived>, Error>), Error> {
    loop {
        match blocks.next().await {
            Ok(Some(arrived)) if arrived.class() == Class::Nodes => {
                expected = blocking(move || {
                    expected.take_in(arrived)?;
                    Ok(expected)
                })
                .await?;
            }
            came => return Ok((expected, came)),
        }
    }
}

/// What an awaited object must be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Snapshot,
    Node,
    /// A chunk list that covers `len` bytes, `depth` levels above the file's bytes.
    List {
        depth: u8,
        len: u64,
    },
}

/// Which objects are awaited: those that an accepted one has named and that are not here yet.
///
/// A server sends stored blocks whole, so an object may come before the one that names it, or although it is here.
/// Such objects wait, unread, for somebody to want them; what nobody wanted by the end is dropped.
#[derive(Debug)]
struct Expected {
    maps: Maps,
    wanted: HashMap<Digest, Kind>,
    early: HashMap<Digest, Bytes>,
    early_bytes: usize,
}

impl Expected {
    fn new(maps: Maps, want: SnapshotId) -> Self {
        Self {
            maps,
            wanted: HashMap::from([(want.0, Kind::Snapshot)]),
            early: HashMap::new(),
            early_bytes: 0,
        }
    }

    fn awaits(&self, digest: &Digest) -> bool {
        self.wanted.contains_key(digest)
    }

    /// Accepts objects, or those that patches make; a patch of what is not here makes none, which then is missing.
    fn take_in(&mut self, arrived: Arrived) -> Result<(), Error> {
        match arrived {
            Arrived::Block(block) => block.objects().try_for_each(|object| self.accept(object)),
            Arrived::Patches(Patches { patches, .. }) => {
                patches
                    .iter()
                    .try_for_each(|patch| match self.here(&patch.base())? {
                        Some(base) => self.accept(patched(patch, &base)?),
                        None => Ok(()),
                    })
            }
        }
    }

    fn accept(&mut self, bytes: Bytes) -> Result<(), Error> {
        let digest = Digest::of(&bytes);
        let Some(kind) = self.wanted.remove(&digest) else {
            if self.early.contains_key(&digest) || self.is_here(&digest)? {
                return Ok(());
            }
            self.early_bytes += bytes.len();
            let reason = "it sends more than was asked for";
            ensure!(self.early_bytes <= MAX_EARLY, HostileSnafu { reason });
            self.early.insert(digest, bytes);
            return Ok(());
        };
        let mut ready = vec![(digest, bytes, kind)];
        while let Some((digest, bytes, kind)) = ready.pop() {
            for named in self.take(digest, bytes, kind)? {
                if let Some(bytes) = self.early.remove(&named.0) {
                    self.early_bytes -= bytes.len();
                    ready.push((named.0, bytes, named.1));
                } else {
                    self.wanted.insert(named.0, named.1);
                }
            }
        }
        Ok(())
    }

    fn is_here(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(*digest == empty_root() || self.here(digest)?.is_some())
    }

    fn here(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let here = self.maps.object(digest);
        let here = here.map_err(|source| MapError::Store {
            digest: *digest,
            source,
        });
        here.context(MapSnafu)
    }

    /// Takes an object that was wanted; returns what it names and is not here.
    fn take(&self, digest: Digest, bytes: Bytes, kind: Kind) -> Result<Vec<(Digest, Kind)>, Error> {
        let mut named = Vec::new();
        match kind {
            Kind::Snapshot => {
                let snapshot = Snapshot::decode(&bytes);
                let snapshot = snapshot.map_err(|error| {
                    HostileSnafu {
                        reason: error.to_string(),
                    }
                    .build()
                })?;
                if let Some(root) = snapshot.roots.files {
                    named.push((root, Kind::Node));
                }
            }
            Kind::Node => node_names(digest, &bytes, &mut named)?,
            Kind::List { depth, len } => {
                let items = decode_list(&bytes);
                let sum = |items: &[Chunk]| {
                    items
                        .iter()
                        .try_fold(0u64, |sum, item| sum.checked_add(item.len))
                };
                let items = items.filter(|items| sum(items) == Some(len));
                let items = items.with_context(|| HostileSnafu {
                    reason: format!("chunk list {digest} is malformed"),
                })?;
                lists(depth - 1, &items, &mut named);
            }
        }
        self.maps.insert(digest, bytes);
        let mut lacking = Vec::new();
        for (digest, kind) in named {
            if !self.is_here(&digest)? {
                lacking.push((digest, kind));
            }
        }
        Ok(lacking)
    }
}

/// What a node names: its children, or the chunk lists of its entries.
fn node_names(digest: Digest, bytes: &Bytes, named: &mut Vec<(Digest, Kind)>) -> Result<(), Error> {
    let refused = |error| {
        HostileSnafu {
            reason: format!("node {digest}: {error}"),
        }
        .build()
    };
    let node = check_node(bytes.clone()).map_err(refused)?;
    named.extend(node.children().map(|child| (child.digest, Kind::Node)));
    for (key, value) in node.entries() {
        let path = decode_path(key)?;
        if let Entry::File {
            content: Content { depth, chunks },
            ..
        } = decode_entry(&path, value)?
        {
            lists(depth, &chunks, named);
        }
    }
    Ok(())
}

/// The chunk lists among `chunks`, which are `depth` levels above a file's bytes.
fn lists(depth: u8, chunks: &[Chunk], named: &mut Vec<(Digest, Kind)>) {
    if depth > 0 {
        named.extend(chunks.iter().map(|chunk| {
            (
                chunk.digest,
                Kind::List {
                    depth,
                    len: chunk.len,
                },
            )
        }));
    }
}
