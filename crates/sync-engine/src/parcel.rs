//! What a push sends: a pack that is written while it travels.

mod blocks;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use snafu::ResultExt;
use sync_core::map::{self, ReplacedNodes};
use sync_core::patch::Signature;
use sync_core::{Chunk, Digest};
use sync_files::Tree;
use sync_store::pack::{Class as ObjectClass, PackError, PackWriter, Patch};
use sync_store::protocol::MAX_SIGNED;
use sync_store::{Repository, RowsPush};
use tokio::sync::mpsc;

use crate::Error;
use crate::error::{HostileSnafu, MapSnafu, StoreSnafu};
use crate::event::{Event, Listener, Phase, Progress, Target};
use crate::maps::Maps;
use crate::parcel::blocks::Source;
use crate::report::FileChange;
use crate::tree_map::{flat_chunks, lists_of};

/// Everything that a push may send.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) maps: Maps,
    /// The tree and the private directory beside it.
    pub(crate) tree: (PathBuf, PathBuf),
    /// The root that the tenant has.
    pub(crate) before: Option<Digest>,
    pub(crate) root: Digest,
    pub(crate) changes: Arc<Vec<FileChange>>,
    pub(crate) snapshot: Bytes,
    /// The rows that go with the files.
    pub(crate) rows: Option<RowsPart>,
}

/// Rows, and the store that has them.
#[derive(Debug, Clone)]
pub(crate) struct RowsPart {
    pub(crate) repository: Repository,
    pub(crate) push: RowsPush,
}

/// What is known of the tenant when the parcel is sent.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The chunks that it lacks; `None` where it was not asked.
    pub(crate) lacking: Option<HashSet<Digest>>,
    /// Signatures of chunks of replaced versions that it has; `None` where it turned out to lack what patches need,
    /// and everything is sent whole.
    pub(crate) bases: Option<Arc<HashMap<Digest, Signature>>>,
}

/// Below so many bytes of edited files asking for signatures takes longer than it saves.
const MIN_EDITED: u64 = 64 << 10;
/// Files with fewer bytes than this are sent whole.
const MIN_FILE: u64 = 256;

/// A piece of a pack, or why there is none.
pub(crate) type Piece = Result<Bytes, std::io::Error>;

impl Parcel {
    /// The chunks that the change brings, each once, without those of the versions that it replaces.
    pub(crate) fn contents(&self) -> Result<Vec<Digest>, Error> {
        let mut seen = self.replaced();
        let mut found = Vec::new();
        for change in self.changes.iter() {
            for chunk in change
                .after
                .iter()
                .map(|entry| flat_chunks(&self.maps, entry))
                .collect::<Result<Vec<_>, _>>()?
                .concat()
            {
                if seen.insert(chunk.digest) {
                    found.push(chunk.digest);
                }
            }
        }
        Ok(found)
    }

    /// The chunks, with their lengths, that differ from what the tenant needs to be sent by edits: those of replaced versions
    /// of files of one chunk. None where asking for their signatures would not pay.
    pub(crate) fn edited(&self, lacking: Option<&HashSet<Digest>>) -> Vec<Chunk> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for (before, after) in self.changes.iter().filter_map(only_chunks) {
            let lacks = lacking.is_none_or(|lacking| lacking.contains(&after.digest));
            if lacks && found.len() < MAX_SIGNED {
                bytes += after.len;
                found.push(before);
            }
        }
        if bytes < MIN_EDITED {
            found.clear();
        }
        found
    }

    /// The chunks of the replaced and removed versions: the tenant has them, under this path or the one a file moved from.
    fn replaced(&self) -> HashSet<Digest> {
        let mut replaced = HashSet::new();
        for entry in self
            .changes
            .iter()
            .filter_map(|change| change.before.as_ref())
        {
            // A list that is not here (the base came from elsewhere) only means that more is sent.
            if let Ok(chunks) = flat_chunks(&self.maps, entry) {
                replaced.extend(chunks.into_iter().map(|chunk| chunk.digest));
            }
        }
        replaced
    }

    /// Writes the pack: the snapshot, new nodes, lists, contents in path order, then rows; `held` limits the contents.
    pub(crate) fn produce(
        &self,
        held: &Held,
        sender: &mpsc::Sender<Piece>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let outcome = self.write(held, sender, listener);
        if outcome.is_err() {
            // Ends the body as broken, so that the server does not take it for a whole pack.
            let _ = sender.blocking_send(Err(std::io::Error::other("the push was given up")));
        }
        outcome
    }

    fn write(
        &self,
        held: &Held,
        sender: &mpsc::Sender<Piece>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let mut writer = PackWriter::new().map_err(packed)?;
        writer
            .add(ObjectClass::Nodes, &self.snapshot)
            .map_err(packed)?;
        let replaced = match self.before.filter(|_| held.bases.is_some()) {
            Some(before) => {
                map::replaced_nodes(self.maps.clone(), before, self.maps.clone(), self.root)
                    .context(MapSnafu)?
            }
            None => ReplacedNodes::default(),
        };
        for node in map::new_nodes(self.maps.clone(), self.before, self.maps.clone(), self.root) {
            let node = node.context(MapSnafu)?.node;
            let base = replaced.base_of(&node);
            let patch = base.and_then(|base| {
                let bytes = self.maps.object(&base).ok().flatten()?;
                Patch::between(base, &bytes, node.bytes())
            });
            match patch {
                Some(patch) => writer.add_patch(ObjectClass::Nodes, &patch),
                None => writer.add(ObjectClass::Nodes, node.bytes()),
            }
            .map_err(packed)?;
        }
        let mut sent = self.replaced();
        for entry in self
            .changes
            .iter()
            .filter_map(|change| change.after.as_ref())
        {
            for digest in lists_of(&self.maps, entry)? {
                let list = self.maps.object(&digest).ok().flatten();
                if let Some(list) = list.filter(|_| sent.insert(digest)) {
                    writer.add(ObjectClass::Nodes, &list).map_err(packed)?;
                }
            }
        }
        writer.flush().map_err(packed)?;
        let tree = Tree::open(&self.tree.0, &self.tree.1)?;
        let total = self
            .changes
            .iter()
            .filter_map(|change| change.after.as_ref())
            .map(sync_core::Entry::size)
            .sum();
        let progress = Progress {
            total_items: Some(self.changes.len() as u64),
            total_bytes: Some(total),
            ..Progress::new(Target::Files, Phase::Sending, 0, 0)
        };
        listener(Event::Progress(progress));
        if !pass_on(writer.take(), sender) {
            return Ok(());
        }
        let source = Source::new(self, held, sent, progress);
        if !blocks::send(source, &tree, &mut writer, sender, listener)? {
            return Ok(());
        }
        if let Some(part) = &self.rows {
            let push = RowsPush {
                patches: part.push.patches && held.bases.is_some(),
                ..part.push.clone()
            };
            let sender = sender.clone();
            let taker = move |piece| sender.blocking_send(Ok(piece)).is_ok();
            match part.repository.write_rows(&push, writer, taker) {
                Err(sync_store::Error::Cut { .. }) => return Ok(()),
                written => writer = written.context(StoreSnafu)?,
            }
        }
        pass_on(writer.finish().map_err(packed)?, sender);
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "given to map_err")]
fn packed(error: PackError) -> Error {
    HostileSnafu {
        reason: error.to_string(),
    }
    .build()
}

impl Held {
    /// What the file of a change can be sent as a patch of.
    fn base(&self, change: &FileChange) -> Option<(Digest, &Signature)> {
        let (before, _) = only_chunks(change)?;
        let signature = self.bases.as_ref()?.get(&before.digest)?;
        Some((before.digest, signature))
    }
}

/// The chunks of both versions of an edited file, where each has one that is long enough to gain anything.
fn only_chunks(change: &FileChange) -> Option<(Chunk, Chunk)> {
    let chunks = (
        change.before.as_ref()?.only_chunk()?,
        change.after.as_ref()?.only_chunk()?,
    );
    let (before, after) = chunks;
    let worth = before.digest != after.digest && before.len.min(after.len) >= MIN_FILE;
    worth.then_some(chunks)
}

/// Whether anybody still takes the pieces: the server may have answered early.
fn pass_on(pieces: impl IntoIterator<Item = Bytes>, sender: &mpsc::Sender<Piece>) -> bool {
    pieces
        .into_iter()
        .all(|piece| sender.blocking_send(Ok(piece)).is_ok())
}
