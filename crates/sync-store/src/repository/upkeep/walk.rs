//! Everything that a snapshot names, each object once.

use bytes::Bytes;
use sync_core::content::decode_list;
use sync_core::map::{Map, Node, check_node};
use sync_core::rows::{RowError, RowValue, Schema, TableEntry, TableName};
use sync_core::{Content, Digest, Entry, Release, Snapshot, SnapshotId};

use crate::Error;
use crate::protocol::DamageKind;
use crate::repository::{RepositoryNodes, store_error};

/// Who is told what a walk finds.
pub(super) trait Visitor {
    /// Whether this object comes for the first time as what it is now; only then what it names is followed.
    fn is_first(&mut self, digest: &Digest, role: Role) -> bool;

    /// What is wrong with the object as far as is known without reading it.
    fn fault(&self, digest: &Digest) -> Option<&'static str>;

    /// An object that cannot be followed; an error ends the walk.
    fn lost(&mut self, lost: Lost<'_>) -> Result<(), Error>;
}

/// As what an object is named: the same bytes can be a file's and a node's, and name something only as the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Snapshot,
    Release,
    Node(MapKind),
    Schema,
    /// A chunk list, and how deep it is.
    List(u8),
    Chunk,
}

/// What a map maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum MapKind {
    Files,
    Tables,
    Rows,
}

/// An object that cannot be followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost<'w> {
    pub(super) digest: Digest,
    pub(super) kind: DamageKind,
    pub(super) reason: &'static str,
    /// A path, or a table and the key of a row in it, that needs it; empty where it is all of them.
    pub(super) path: &'w [u8],
}

/// Who needs an object: a path, or a key of a table.
#[derive(Debug, Clone, Copy)]
struct Needed<'w> {
    table: Option<&'w TableName>,
    key: &'w [u8],
}

const NOBODY: Needed<'_> = Needed {
    table: None,
    key: &[],
};

/// Walks what snapshots and maps name. Blocking.
pub(super) struct Walk<'w, V> {
    pub(super) reader: &'w RepositoryNodes,
    pub(super) visitor: &'w mut V,
}

/// A chunk list that is to be followed, and how deep it is.
type Ahead = (Digest, u8);

impl<V: Visitor> Walk<'_, V> {
    pub(super) fn snapshot(&mut self, id: SnapshotId) -> Result<(), Error> {
        let Some(bytes) = self.read(id.0, Role::Snapshot, NOBODY)? else {
            return Ok(());
        };
        let Ok(snapshot) = Snapshot::decode(&bytes) else {
            return self.lost(id.0, Role::Snapshot, "it is no snapshot", NOBODY);
        };
        if let Some(root) = snapshot.roots.files {
            self.files(root)?;
        }
        if let Some(release) = snapshot.roots.release {
            self.release(release)?;
        }
        snapshot.roots.rows.map_or(Ok(()), |root| self.tables(root))
    }

    fn release(&mut self, digest: Digest) -> Result<(), Error> {
        if let Some(bytes) = self.read(digest, Role::Release, NOBODY)?
            && Release::decode(&bytes).is_err()
        {
            self.lost(digest, Role::Release, "it is no release", NOBODY)?;
        }
        Ok(())
    }

    /// A map of files.
    pub(super) fn files(&mut self, root: Digest) -> Result<(), Error> {
        self.map(root, MapKind::Files, None, |walk, path, value| {
            let needed = Needed {
                table: None,
                key: path,
            };
            match Entry::decode(&value) {
                Some(Entry::File { content, .. }) => walk.content(&content, needed),
                _ => Ok(()),
            }
        })
    }

    /// A map of tables, with their schemas and rows.
    pub(super) fn tables(&mut self, root: Digest) -> Result<(), Error> {
        self.map(
            root,
            MapKind::Tables,
            None,
            |walk, key, value| match TableName::from_key(key).zip(TableEntry::decode(&value)) {
                Some((name, table)) => walk.table(&name, &table),
                None => Ok(()),
            },
        )
    }

    fn table(&mut self, name: &TableName, table: &TableEntry) -> Result<(), Error> {
        let needed = Needed {
            table: Some(name),
            key: &[],
        };
        if let Some(bytes) = self.read(table.schema, Role::Schema, needed)?
            && Schema::decode(&bytes).is_none()
        {
            let reason = "it is no schema of a table";
            self.lost(table.schema, Role::Schema, reason, needed)?;
        }
        let root = table.rows.root;
        self.map(root, MapKind::Rows, Some(name), |walk, key, value| {
            let needed = Needed {
                table: Some(name),
                key,
            };
            walk.row(&value, needed)
        })
    }

    fn row(&mut self, value: &Bytes, needed: Needed<'_>) -> Result<(), Error> {
        let Some(row) = RowValue::decode(value) else {
            return Ok(());
        };
        for content in row.contents() {
            self.content(&content, needed)?;
        }
        let RowValue::Stored(content) = row else {
            return Ok(());
        };
        // Whoever came by its chunks before may not have known that they are a row.
        let (digest, reason) = match RowValue::load(value, self.reader) {
            Ok(row) => {
                let contents = RowValue::Row(row).contents();
                let mut contents = contents.iter();
                return contents.try_for_each(|content| self.content(content, needed));
            }
            Err(RowError::Missing { digest }) => (digest, "it is not stored"),
            Err(RowError::Malformed) => {
                let first = content.chunks.first();
                let digest = first.map_or_else(Digest::default, |chunk| chunk.digest);
                (digest, "it is no row")
            }
            Err(RowError::Store { source }) => match store_error(source, "read a row") {
                Error::Corrupt { digest, reason } => (digest, reason),
                error => return Err(error),
            },
        };
        // What was known to be wrong with its chunks was told above.
        match self.visitor.fault(&digest) {
            None => self.lost(digest, Role::Chunk, reason, needed),
            Some(_) => Ok(()),
        }
    }

    fn map(
        &mut self,
        root: Digest,
        kind: MapKind,
        table: Option<&TableName>,
        mut entry: impl FnMut(&mut Self, &[u8], Bytes) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // What is still to be read, the next last; of a node the last key below it.
        let mut ahead = vec![(root, Bytes::new())];
        while let Some((digest, last)) = ahead.pop() {
            if digest == Map::empty_root() {
                continue;
            }
            let needed = Needed { table, key: &last };
            let Some(node) = self.node(digest, kind, needed)? else {
                continue;
            };
            let children = node.children();
            let children =
                children.map(|child| (child.digest, Bytes::copy_from_slice(child.last_key)));
            let children: Vec<_> = children.collect();
            ahead.extend(children.into_iter().rev());
            for (key, value) in node.entries() {
                entry(self, key, node.bytes().slice_ref(value))?;
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        digest: Digest,
        kind: MapKind,
        needed: Needed<'_>,
    ) -> Result<Option<Node>, Error> {
        let role = Role::Node(kind);
        let Some(bytes) = self.read(digest, role, needed)? else {
            return Ok(None);
        };
        let node = check_node(bytes).ok();
        if node.is_none() {
            self.lost(digest, role, "it is no node of a map", needed)?;
        }
        Ok(node)
    }

    fn content(&mut self, content: &Content, needed: Needed<'_>) -> Result<(), Error> {
        let items = content.chunks.iter().rev();
        let mut ahead: Vec<Ahead> = items.map(|chunk| (chunk.digest, content.depth)).collect();
        while let Some((digest, depth)) = ahead.pop() {
            let Some(below) = depth.checked_sub(1) else {
                self.chunk(digest, needed)?;
                continue;
            };
            let role = Role::List(depth);
            let Some(bytes) = self.read(digest, role, needed)? else {
                continue;
            };
            match decode_list(&bytes) {
                Some(items) => ahead.extend(items.iter().rev().map(|item| (item.digest, below))),
                None => self.lost(digest, role, "it is no chunk list", needed)?,
            }
        }
        Ok(())
    }

    fn chunk(&mut self, digest: Digest, needed: Needed<'_>) -> Result<(), Error> {
        if !self.visitor.is_first(&digest, Role::Chunk) {
            return Ok(());
        }
        match self.visitor.fault(&digest) {
            None => Ok(()),
            Some(reason) => self.lost(digest, Role::Chunk, reason, needed),
        }
    }

    /// An object that comes for the first time and can be read.
    fn read(
        &mut self,
        digest: Digest,
        role: Role,
        needed: Needed<'_>,
    ) -> Result<Option<Bytes>, Error> {
        if !self.visitor.is_first(&digest, role) {
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
        self.lost(digest, role, reason, needed)?;
        Ok(None)
    }

    fn lost(
        &mut self,
        digest: Digest,
        role: Role,
        reason: &'static str,
        needed: Needed<'_>,
    ) -> Result<(), Error> {
        let kind = match role {
            Role::Snapshot => DamageKind::Snapshot,
            Role::Release => DamageKind::Release,
            Role::Node(_) => DamageKind::Node,
            Role::Schema => DamageKind::Schema,
            Role::List(_) => DamageKind::List,
            Role::Chunk => DamageKind::Chunk,
        };
        let of_table;
        let path = match needed.table {
            None => needed.key,
            Some(table) => {
                of_table = format!("table {table}, row {}", needed.key.escape_ascii());
                of_table.as_bytes()
            }
        };
        self.visitor.lost(Lost {
            digest,
            kind,
            reason,
            path,
        })
    }
}
