//! The catalogue as one `redb` file.

mod file;
mod tables;
mod upkeep;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use sync_core::{Digest, SnapshotId, codec};

use super::{
    BranchRemoval, Catalogue, Committed, HeadChange, HeadMove, Location, PackRecord, Removed,
    TenantId, TenantRecord, TokenRecord,
};
use crate::error::{BoxError, CollectedSnafu, ExistsSnafu, UnknownTenantSnafu};
use crate::{Error, task};
use file::CatalogueFile;
use tables::{ACCEPTED, HEADS, MOVES, NOTES, OBJECTS, PACKS, TENANTS, TOKENS};

/// The catalogue as one `redb` file: a B-tree with atomic, durable transactions, one writer at a time.
///
/// It is opened for writing at the first change. After a crash the file is checked as a whole when it is opened next,
/// which takes time in proportion to its size (redb's quick repair would save that for a second sync on every push).
#[derive(Clone)]
pub struct RedbCatalogue {
    file: Arc<CatalogueFile>,
}

impl std::fmt::Debug for RedbCatalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbCatalogue").finish_non_exhaustive()
    }
}

impl RedbCatalogue {
    /// Opens the file, creating it where it is absent. Blocking.
    ///
    /// Several processes may read it at the same time, one that writes must be alone; a store takes a lock of its own,
    /// so that nobody finds out halfway.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] where it is open for writing already, here or in another process (a change says so where it is open
    /// for reading); [`Error::Layout`] where another version wrote it; [`Error::Catalogue`] where it cannot be read or
    /// created.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_locked(path, None)
    }

    /// The same, keeping `lock` until the last clone is dropped.
    pub(crate) fn open_locked(path: &Path, lock: Option<File>) -> Result<Self, Error> {
        Ok(Self {
            file: Arc::new(CatalogueFile::open(path, lock)?),
        })
    }

    async fn change<T: Send + 'static>(
        &self,
        action: &'static str,
        change: impl FnOnce(&WriteTransaction) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, Error> {
        let file = Arc::clone(&self.file);
        task::blocking(move || file.change(action, change)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        look: impl FnOnce(&ReadTransaction) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, Error> {
        let file = Arc::clone(&self.file);
        task::blocking(move || file.read(action, look)).await
    }
}

#[async_trait]
impl Catalogue for RedbCatalogue {
    async fn create_tenant(&self, name: &str) -> Result<TenantRecord, Error> {
        let name = name.to_owned();
        let created = self.change("create a tenant", |write| {
            let mut tenants = write.open_table(TENANTS)?;
            let taken = tenants.get(name.as_str())?.is_some();
            if taken {
                return Ok(Err(name));
            }
            let id = tables::next_tenant(write)?;
            tenants.insert(name.as_str(), id.0)?;
            Ok(Ok(TenantRecord { id, name }))
        });
        let kind = "tenant";
        created
            .await?
            .or_else(|name| ExistsSnafu { kind, name }.fail())
    }

    async fn tenant(&self, name: &str) -> Result<Option<TenantRecord>, Error> {
        let name = name.to_owned();
        self.read("read a tenant", |read| {
            let id = read.open_table(TENANTS)?.get(name.as_str())?;
            Ok(id.map(|id| TenantRecord {
                id: TenantId(id.value()),
                name,
            }))
        })
        .await
    }

    async fn tenants(&self) -> Result<Vec<TenantRecord>, Error> {
        self.read("read the tenants", |read| {
            let mut found = Vec::new();
            for row in read.open_table(TENANTS)?.iter()? {
                let (name, id) = row?;
                found.push(TenantRecord {
                    id: TenantId(id.value()),
                    name: name.value().to_owned(),
                });
            }
            Ok(found)
        })
        .await
    }

    async fn put_token(&self, token: TokenRecord) -> Result<(), Error> {
        self.change("record a token", |write| {
            let mut tokens = write.open_table(TOKENS)?;
            if write
                .open_table(TENANTS)?
                .get(token.tenant.as_str())?
                .is_none()
            {
                return Ok(UnknownTenantSnafu { name: token.tenant }.fail());
            }
            let (kind, name) = ("token", token.id.as_str());
            if tokens.get(name)?.is_some() {
                return Ok(ExistsSnafu { kind, name }.fail());
            }
            tokens.insert(name, codec::encode(&token)?.as_slice())?;
            Ok(Ok(()))
        })
        .await?
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, Error> {
        let id = id.to_owned();
        self.read("read a token", move |read| {
            let found = read.open_table(TOKENS)?.get(id.as_str())?;
            let record = found.map(|bytes| codec::decode(bytes.value()));
            Ok(record.transpose()?)
        })
        .await
    }

    async fn tokens(&self, tenant: &str) -> Result<Vec<TokenRecord>, Error> {
        let tenant = tenant.to_owned();
        self.read("read the tokens", move |read| {
            let mut found = Vec::new();
            for row in read.open_table(TOKENS)?.iter()? {
                let token: TokenRecord = codec::decode(row?.1.value())?;
                if token.tenant == tenant {
                    found.push(token);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn revoke_token(&self, id: &str, when: u64) -> Result<bool, Error> {
        let id = id.to_owned();
        self.change("revoke a token", move |write| {
            let mut tokens = write.open_table(TOKENS)?;
            let token = tokens.get(id.as_str())?;
            let token = token.map(|bytes| codec::decode::<TokenRecord>(bytes.value()));
            let Some(mut token) = token.transpose()? else {
                return Ok(false);
            };
            token.revoked.get_or_insert(when);
            tokens.insert(id.as_str(), codec::encode(&token)?.as_slice())?;
            Ok(true)
        })
        .await
    }

    async fn locate(
        &self,
        tenant: TenantId,
        objects: &[Digest],
    ) -> Result<Vec<Option<Location>>, Error> {
        let objects = objects.to_vec();
        self.read("look up objects", move |read| {
            tables::locate(read, tenant, &objects)
        })
        .await
    }

    async fn holds(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<Vec<bool>, Error> {
        let prefixes = prefixes.to_vec();
        self.read("look up prefixes", move |read| {
            let table = read.open_table(OBJECTS)?;
            let mut held = vec![false; prefixes.len()];
            // In the order of the table, as in `tables::locate`.
            let mut order: Vec<_> = prefixes.iter().enumerate().collect();
            order.sort_unstable_by_key(|(_, prefix)| *prefix);
            for (index, prefix) in order {
                let bound = |rest: u8| {
                    let mut digest = [rest; Digest::LEN];
                    digest[..8].copy_from_slice(prefix);
                    tables::key(tenant, &Digest::from_bytes(digest))
                };
                let (first, last) = (bound(0), bound(0xff));
                let mut rows = table.range::<&tables::Key>(&first..=&last)?;
                held[index] = rows.next().transpose()?.is_some();
            }
            Ok(held)
        })
        .await
    }

    async fn is_vacant(&self, tenant: TenantId) -> Result<bool, Error> {
        self.read("look for a pack", move |read| {
            let packs = read.open_table(PACKS)?;
            let first = packs.range((tenant.0, 0)..=(tenant.0, u32::MAX))?.next();
            Ok(first.transpose()?.is_none())
        })
        .await
    }

    async fn accepted(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error> {
        let ids = ids.to_vec();
        self.read("look up snapshots", move |read| {
            let table = read.open_table(ACCEPTED)?;
            let accepted = |id: &SnapshotId| -> Result<bool, BoxError> {
                Ok(table.get(&tables::key(tenant, &id.0))?.is_some())
            };
            ids.iter().map(accepted).collect()
        })
        .await
    }

    async fn snapshots(
        &self,
        tenant: TenantId,
        first: SnapshotId,
        last: SnapshotId,
        limit: usize,
    ) -> Result<Vec<SnapshotId>, Error> {
        if first > last {
            return Ok(Vec::new());
        }
        self.read("list snapshots", move |read| {
            let table = read.open_table(ACCEPTED)?;
            let (first, last) = (tables::key(tenant, &first.0), tables::key(tenant, &last.0));
            let id = |row: Result<(redb::AccessGuard<'_, &tables::Key>, _), redb::StorageError>| {
                Ok(SnapshotId(tables::digest(row?.0.value())))
            };
            let rows = table.range::<&tables::Key>(&first..=&last)?;
            rows.take(limit).map(id).collect()
        })
        .await
    }

    async fn head(&self, tenant: TenantId, branch: &str) -> Result<Option<SnapshotId>, Error> {
        let branch = branch.to_owned();
        self.read("read a head", move |read| {
            let head = read.open_table(HEADS)?.get((tenant.0, branch.as_str()))?;
            Ok(head.map(|head| SnapshotId(Digest::from_bytes(*head.value()))))
        })
        .await
    }

    async fn heads(&self, tenant: TenantId) -> Result<Vec<(String, SnapshotId)>, Error> {
        self.read("read the heads", move |read| {
            let table = read.open_table(HEADS)?;
            let mut found = Vec::new();
            for row in table.range((tenant.0, "")..)? {
                let (key, head) = row?;
                let (of, branch) = key.value();
                if of != tenant.0 {
                    break;
                }
                let head = SnapshotId(Digest::from_bytes(*head.value()));
                found.push((branch.to_owned(), head));
            }
            Ok(found)
        })
        .await
    }

    async fn remove_head(
        &self,
        tenant: TenantId,
        removal: &BranchRemoval,
    ) -> Result<Removed, Error> {
        let removal = removal.clone();
        self.change("remove a branch", move |write| {
            tables::remove_head(write, tenant, &removal)
        })
        .await
    }

    async fn head_moves(&self, tenant: TenantId, limit: usize) -> Result<Vec<HeadMove>, Error> {
        self.read("read the log of heads", move |read| {
            let table = read.open_table(MOVES)?;
            let rows = table.range((tenant.0, 0)..=(tenant.0, u64::MAX))?;
            let mut found = Vec::new();
            for row in rows.rev().take(limit) {
                found.push(codec::decode(row?.1.value())?);
            }
            Ok(found)
        })
        .await
    }

    async fn note(&self, tenant: TenantId, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let key = key.to_owned();
        self.read("read a note", move |read| {
            let note = read.open_table(NOTES)?.get((tenant.0, key.as_str()))?;
            Ok(note.map(|note| note.value().to_vec()))
        })
        .await
    }

    async fn set_note(
        &self,
        tenant: TenantId,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let key = key.to_owned();
        self.change("set a note", move |write| {
            let mut notes = write.open_table(NOTES)?;
            let key = (tenant.0, key.as_str());
            match &value {
                Some(value) => notes.insert(key, value.as_slice())?,
                None => notes.remove(key)?,
            };
            Ok(())
        })
        .await
    }

    async fn commit(
        &self,
        tenant: TenantId,
        packs: &[PackRecord],
        heads: &[HeadChange],
    ) -> Result<Committed, Error> {
        let (packs, heads) = (packs.to_vec(), heads.to_vec());
        self.change("record packs and heads", move |write| {
            let mut committed = Committed::default();
            for pack in &packs {
                committed.added += tables::record(write, tenant, pack)?;
            }
            let mut seen = heads.iter().filter_map(|change| change.generation);
            if let Some(first) = seen.next() {
                let generation = upkeep::generation(write, tenant)?;
                if first != generation || seen.any(|seen| seen != generation) {
                    return Ok(CollectedSnafu.fail());
                }
            }
            committed.heads = tables::advance(write, tenant, &heads)?;
            Ok(Ok(committed))
        })
        .await?
    }
}
