//! What a push sends: a pack that is written while it travels.

mod blocks;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use snafu::ResultExt;
use sync_core::Digest;
use sync_core::map;
use sync_files::Tree;
use sync_store::pack::{Class as ObjectClass, PackError, PackWriter};
use tokio::sync::mpsc;

use crate::Error;
use crate::error::{HostileSnafu, MapSnafu};
use crate::event::{Event, Listener};
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
}

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

    /// Writes the pack: the snapshot, new nodes, lists, then contents in path order; `lacking` limits the contents.
    pub(crate) fn produce(
        &self,
        lacking: Option<&HashSet<Digest>>,
        sender: &mpsc::Sender<Piece>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let outcome = self.write(lacking, sender, listener);
        if outcome.is_err() {
            // Ends the body as broken, so that the server does not take it for a whole pack.
            let _ = sender.blocking_send(Err(std::io::Error::other("the push was given up")));
        }
        outcome
    }

    fn write(
        &self,
        lacking: Option<&HashSet<Digest>>,
        sender: &mpsc::Sender<Piece>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let mut writer = PackWriter::new().map_err(packed)?;
        writer
            .add(ObjectClass::Nodes, &self.snapshot)
            .map_err(packed)?;
        for node in map::new_nodes(self.maps.clone(), self.before, self.maps.clone(), self.root) {
            writer
                .add(ObjectClass::Nodes, node.context(MapSnafu)?.node.bytes())
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
        listener(Event::Started {
            files: self.changes.len() as u64,
            bytes: total,
        });
        if !pass_on(writer.take(), sender) {
            return Ok(());
        }
        let source = Source::new(self, lacking, sent);
        if !blocks::send(source, &tree, &mut writer, sender, listener)? {
            return Ok(());
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

/// Whether anybody still takes the pieces: the server may have answered early.
fn pass_on(pieces: impl IntoIterator<Item = Bytes>, sender: &mpsc::Sender<Piece>) -> bool {
    pieces
        .into_iter()
        .all(|piece| sender.blocking_send(Ok(piece)).is_ok())
}
