//! Everything that a snapshot names, each object once.

use bytes::Bytes;
use sync_core::content::decode_list;
use sync_core::map::{Map, check_node};
use sync_core::{Digest, Entry, Snapshot, SnapshotId};

use crate::Error;
use crate::protocol::DamageKind;
use crate::repository::RepositoryNodes;

/// Who is told what a walk finds.
pub(super) trait Visitor {
    /// Whether this object comes for the first time; only then what it names is followed.
    fn is_first(&mut self, digest: &Digest) -> bool;

    /// What is wrong with the object as far as is known without reading it.
    fn fault(&self, digest: &Digest) -> Option<&'static str>;

    /// An object that cannot be followed; an error ends the walk.
    fn lost(&mut self, lost: Lost<'_>) -> Result<(), Error>;
}

/// An object that cannot be followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost<'w> {
    pub(super) digest: Digest,
    pub(super) kind: DamageKind,
    pub(super) reason: &'static str,
    /// A path that needs it, empty where it is all of them.
    pub(super) path: &'w [u8],
}

/// Walks what snapshots and maps name. Blocking.
pub(super) struct Walk<'w, V> {
    pub(super) reader: &'w RepositoryNodes,
    pub(super) visitor: &'w mut V,
}

/// A chunk list that is to be followed, and how deep it is.
type Ahead = (Digest, u8);

impl<V: Visitor> Walk<'_, V> {
    pub(super) fn snapshot(&mut self, id: SnapshotId) -> Result<(), Error> {
        let Some(bytes) = self.read(id.0, DamageKind::Snapshot, &[])? else {
            return Ok(());
        };
        match Snapshot::decode(&bytes) {
            Ok(snapshot) => snapshot.roots.files.map_or(Ok(()), |root| self.map(root)),
            Err(_) => self.visitor.lost(Lost {
                digest: id.0,
                kind: DamageKind::Snapshot,
                reason: "it is no snapshot",
                path: &[],
            }),
        }
    }

    pub(super) fn map(&mut self, root: Digest) -> Result<(), Error> {
        // What is still to be read, the next last; of a node the last path below it.
        let mut ahead = vec![(root, Bytes::new())];
        while let Some((digest, last)) = ahead.pop() {
            if digest == Map::empty_root() {
                continue;
            }
            let Some(bytes) = self.read(digest, DamageKind::Node, &last)? else {
                continue;
            };
            let Ok(node) = check_node(bytes) else {
                self.visitor.lost(Lost {
                    digest,
                    kind: DamageKind::Node,
                    reason: "it is no node of a map",
                    path: &last,
                })?;
                continue;
            };
            let children = node.children();
            let children =
                children.map(|child| (child.digest, Bytes::copy_from_slice(child.last_key)));
            let children: Vec<_> = children.collect();
            ahead.extend(children.into_iter().rev());
            for (path, value) in node.entries() {
                self.entry(path, value)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], value: &[u8]) -> Result<(), Error> {
        let Some(Entry::File { content, .. }) = Entry::decode(value) else {
            return Ok(());
        };
        let items = content.chunks.iter().rev();
        let mut ahead: Vec<Ahead> = items.map(|chunk| (chunk.digest, content.depth)).collect();
        while let Some((digest, depth)) = ahead.pop() {
            let Some(below) = depth.checked_sub(1) else {
                self.chunk(digest, path)?;
                continue;
            };
            let Some(bytes) = self.read(digest, DamageKind::List, path)? else {
                continue;
            };
            match decode_list(&bytes) {
                Some(items) => ahead.extend(items.iter().rev().map(|item| (item.digest, below))),
                None => self.visitor.lost(Lost {
                    digest,
                    kind: DamageKind::List,
                    reason: "it is no chunk list",
                    path,
                })?,
            }
        }
        Ok(())
    }

    fn chunk(&mut self, digest: Digest, path: &[u8]) -> Result<(), Error> {
        if !self.visitor.is_first(&digest) {
            return Ok(());
        }
        match self.visitor.fault(&digest) {
            None => Ok(()),
            Some(reason) => self.visitor.lost(Lost {
                digest,
                kind: DamageKind::Chunk,
                reason,
                path,
            }),
        }
    }

    /// An object that comes for the first time and can be read.
    fn read(
        &mut self,
        digest: Digest,
        kind: DamageKind,
        path: &[u8],
    ) -> Result<Option<Bytes>, Error> {
        if !self.visitor.is_first(&digest) {
            return Ok(None);
        }
        let reason = match self.visitor.fault(&digest) {
            Some(reason) => reason,
            None => match self.reader.object(&digest) {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => "it is not stored",
                Err(Error::Corrupt { reason, .. }) => reason,
                Err(error) => return Err(error),
            },
        };
        self.visitor.lost(Lost {
            digest,
            kind,
            reason,
            path,
        })?;
        Ok(None)
    }
}
