//! Upkeep of the embedded catalogue: its own tables, and the transactions that remove things.

use std::collections::HashSet;

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use sync_core::{Digest, SnapshotId, codec};

use super::RedbCatalogue;
use super::tables::{
    self, ACCEPTED, Key, MOVES, OBJECTS, PACK_NUMBERS, PACKS, TENANTS, decode_place, encode_place,
    key,
};
use crate::Error;
use crate::catalogue::{
    Location, Marks, PackRecord, StoredObject, StoredPack, Sweep, TenantId, Upkeep,
};
use crate::error::BoxError;
use crate::protocol::Retention;

/// Tenant and digest to since when nobody names the object.
const CONDEMNED: TableDefinition<'_, &Key, u64> = TableDefinition::new("condemned");
/// Tenant and id of every snapshot that was accepted once.
pub(super) const EXPIRED: TableDefinition<'_, &Key, ()> = TableDefinition::new("expired");
/// Tenant and branch to its encoded retention.
pub(super) const RETENTION: TableDefinition<'_, (u32, &str), &[u8]> =
    TableDefinition::new("retention");
/// Tenant to the number of removals.
const GENERATIONS: TableDefinition<'_, u32, u64> = TableDefinition::new("generations");
/// Tenant to the number of its next pack.
pub(super) const NEXT_PACKS: TableDefinition<'_, u32, u32> = TableDefinition::new("next_packs");

/// Makes the tables of upkeep.
pub(super) fn create(write: &WriteTransaction) -> Result<(), BoxError> {
    write.open_table(CONDEMNED)?;
    write.open_table(EXPIRED)?;
    write.open_table(RETENTION)?;
    write.open_table(GENERATIONS)?;
    write.open_table(NEXT_PACKS)?;
    Ok(())
}

/// How often a head of the tenant moved: the number of the next line of the log.
pub(super) fn count_moves(
    moves: &impl ReadableTable<(u32, u64), &'static [u8]>,
    tenant: TenantId,
) -> Result<u64, BoxError> {
    let last = moves
        .range((tenant.0, 0)..=(tenant.0, u64::MAX))?
        .next_back();
    Ok(last.transpose()?.map_or(0, |(key, _)| key.value().1 + 1))
}

/// How often something of the tenant was removed.
pub(super) fn generation(write: &WriteTransaction, tenant: TenantId) -> Result<u64, BoxError> {
    let table = write.open_table(GENERATIONS)?;
    let found = table.get(tenant.0)?;
    Ok(found.map_or(0, |found| found.value()))
}

/// The keys of all that starts with `prefix`.
fn bounds(tenant: TenantId, prefix: &[u8]) -> (Key, Key) {
    let bound = |rest: u8| {
        let mut digest = [rest; Digest::LEN];
        digest[..prefix.len()].copy_from_slice(prefix);
        key(tenant, &Digest::from_bytes(digest))
    };
    (bound(0), bound(0xff))
}

fn list_objects(
    read: &ReadTransaction,
    tenant: TenantId,
    after: Option<Digest>,
    limit: usize,
) -> Result<Vec<StoredObject>, BoxError> {
    let (objects, packs) = (read.open_table(OBJECTS)?, read.open_table(PACKS)?);
    let condemned = read.open_table(CONDEMNED)?;
    let (first, last) = bounds(tenant, &[]);
    let first = after.map_or(first, |after| key(tenant, &after));
    let mut names = std::collections::HashMap::new();
    let mut found = Vec::new();
    for row in objects.range::<&Key>(&first..=&last)? {
        let (object, place) = row?;
        let digest = tables::digest(object.value());
        if Some(digest) == after {
            continue;
        }
        if found.len() == limit {
            break;
        }
        let (number, place) = decode_place(place.value());
        let pack = if let Some(name) = names.get(&number) {
            *name
        } else {
            let row = packs.get((tenant.0, number))?;
            let row = row.ok_or("an object names a pack that is not recorded")?;
            let name = Digest::from_bytes(*row.value().0);
            names.insert(number, name);
            name
        };
        found.push(StoredObject {
            digest,
            number,
            location: Location { pack, place },
            condemned: condemned.get(object.value())?.map(|since| since.value()),
        });
    }
    Ok(found)
}

/// The condemned objects that start with one of `prefixes`.
fn list_condemned(
    read: &ReadTransaction,
    tenant: TenantId,
    prefixes: &[[u8; 8]],
) -> Result<Vec<Key>, BoxError> {
    let table = read.open_table(CONDEMNED)?;
    let (first, last) = bounds(tenant, &[]);
    let mut found = Vec::new();
    // Mostly nothing is condemned at all.
    if table.range::<&Key>(&first..=&last)?.next().is_none() {
        return Ok(found);
    }
    for prefix in prefixes {
        let (first, last) = bounds(tenant, prefix);
        for row in table.range::<&Key>(&first..=&last)? {
            found.push(*row?.0.value());
        }
    }
    Ok(found)
}

fn sweep(write: &WriteTransaction, tenant: TenantId, sweep: &Sweep) -> Result<bool, BoxError> {
    if count_moves(&write.open_table(MOVES)?, tenant)? != sweep.moves {
        return Ok(false);
    }
    let mut removed = false;
    let mut accepted = write.open_table(ACCEPTED)?;
    let mut expired = write.open_table(EXPIRED)?;
    for id in &sweep.expire {
        let key = key(tenant, &id.0);
        if accepted.remove(&key)?.is_some() {
            expired.insert(&key, ())?;
            removed = true;
        }
    }
    let mut objects = write.open_table(OBJECTS)?;
    let mut condemned = write.open_table(CONDEMNED)?;
    for digest in &sweep.remove {
        let key = key(tenant, digest);
        let since = condemned.get(&key)?.map(|since| since.value());
        if since.is_some_and(|since| since <= sweep.until) {
            condemned.remove(&key)?;
            objects.remove(&key)?;
            removed = true;
        }
    }
    if removed {
        let next = generation(write, tenant)? + 1;
        write.open_table(GENERATIONS)?.insert(tenant.0, next)?;
    }
    Ok(true)
}

/// Records a pack under a number of its own; its objects move there from the packs `from`, from anywhere where that is
/// `None`.
fn take_places(
    write: &WriteTransaction,
    tenant: TenantId,
    from: Option<&HashSet<u32>>,
    pack: &PackRecord,
) -> Result<(), BoxError> {
    let mut numbers = write.open_table(PACK_NUMBERS)?;
    let number = tables::add_pack(write, &mut numbers, tenant, pack)?;
    let mut objects = write.open_table(OBJECTS)?;
    let mut condemned = write.open_table(CONDEMNED)?;
    for (digest, place) in &pack.objects {
        let key = key(tenant, digest);
        let at = objects.get(&key)?.map(|row| decode_place(row.value()).0);
        let moves = match from {
            Some(from) => at.is_some_and(|at| from.contains(&at)),
            None => true,
        };
        if moves {
            objects.insert(&key, &encode_place(number, *place))?;
            if from.is_none() {
                condemned.remove(&key)?;
            }
        }
    }
    Ok(())
}

#[async_trait]
impl Upkeep for RedbCatalogue {
    async fn marks(&self, tenant: TenantId) -> Result<Marks, Error> {
        self.read("read its marks", move |read| {
            let generations = read.open_table(GENERATIONS)?;
            let generation = generations.get(tenant.0)?;
            Ok(Marks {
                moves: count_moves(&read.open_table(MOVES)?, tenant)?,
                generation: generation.map_or(0, |found| found.value()),
            })
        })
        .await
    }

    async fn packs(
        &self,
        tenant: TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredPack>, Error> {
        self.read("list packs", move |read| {
            let table = read.open_table(PACKS)?;
            let rows = table.range((tenant.0, from)..=(tenant.0, u32::MAX))?;
            let pack =
                |row: Result<(redb::AccessGuard<'_, (u32, u32)>, redb::AccessGuard<'_, _>), _>| {
                    let (key, row): (_, redb::AccessGuard<'_, (&[u8; 32], u64, u32)>) = row?;
                    let (name, len, objects) = row.value();
                    let name = Digest::from_bytes(*name);
                    let number = key.value().1;
                    Ok::<_, redb::StorageError>(StoredPack {
                        number,
                        name,
                        len,
                        objects,
                    })
                };
            Ok(rows.take(limit).map(pack).collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn objects(
        &self,
        tenant: TenantId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, Error> {
        self.read("list objects", move |read| {
            list_objects(read, tenant, after, limit)
        })
        .await
    }

    async fn condemn(&self, tenant: TenantId, objects: &[Digest], since: u64) -> Result<(), Error> {
        let objects = objects.to_vec();
        self.change("condemn objects", move |write| {
            let mut condemned = write.open_table(CONDEMNED)?;
            for digest in &objects {
                let key = key(tenant, digest);
                if condemned.get(&key)?.is_none() {
                    condemned.insert(&key, since)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn spare(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<(), Error> {
        let prefixes = prefixes.to_vec();
        let found = self.read("look up condemned objects", move |read| {
            list_condemned(read, tenant, &prefixes)
        });
        let found = found.await?;
        if found.is_empty() {
            return Ok(());
        }
        self.change("spare objects", move |write| {
            let mut condemned = write.open_table(CONDEMNED)?;
            for key in &found {
                condemned.remove(key)?;
            }
            Ok(())
        })
        .await
    }

    async fn sweep(&self, tenant: TenantId, what: &Sweep) -> Result<bool, Error> {
        let what = what.clone();
        self.change("remove objects", move |write| sweep(write, tenant, &what))
            .await
    }

    async fn repack(&self, tenant: TenantId, from: &[u32], pack: &PackRecord) -> Result<(), Error> {
        let (from, pack) = (from.iter().copied().collect(), pack.clone());
        self.change("record a rewritten pack", move |write| {
            take_places(write, tenant, Some(&from), &pack)
        })
        .await
    }

    async fn replace(&self, tenant: TenantId, pack: &PackRecord) -> Result<(), Error> {
        let pack = pack.clone();
        self.change("record repaired objects", move |write| {
            take_places(write, tenant, None, &pack)
        })
        .await
    }

    async fn retire(&self, tenant: TenantId, packs: &[u32]) -> Result<(), Error> {
        let retired = packs.to_vec();
        self.change("forget packs", move |write| {
            let mut packs = write.open_table(PACKS)?;
            let mut numbers = write.open_table(PACK_NUMBERS)?;
            for number in retired {
                let Some(row) = packs.remove((tenant.0, number))? else {
                    continue;
                };
                let name = key(tenant, &Digest::from_bytes(*row.value().0));
                let current = numbers.get(&name)?.map(|current| current.value());
                if current == Some(number) {
                    numbers.remove(&name)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn recorded(&self, names: &[Digest]) -> Result<Vec<bool>, Error> {
        let names = names.to_vec();
        self.read("look up packs", move |read| {
            let numbers = read.open_table(PACK_NUMBERS)?;
            let mut recorded = vec![false; names.len()];
            for row in read.open_table(TENANTS)?.iter()? {
                let tenant = TenantId(row?.1.value());
                for (name, recorded) in names.iter().zip(&mut recorded) {
                    *recorded |= numbers.get(&key(tenant, name))?.is_some();
                }
            }
            Ok(recorded)
        })
        .await
    }

    async fn expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error> {
        let ids = ids.to_vec();
        self.read("look up expired snapshots", move |read| {
            let table = read.open_table(EXPIRED)?;
            let expired = |id: &SnapshotId| -> Result<bool, BoxError> {
                Ok(table.get(&key(tenant, &id.0))?.is_some())
            };
            ids.iter().map(expired).collect()
        })
        .await
    }

    async fn note_expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<(), Error> {
        let ids = ids.to_vec();
        self.change("note expired snapshots", move |write| {
            let accepted = write.open_table(ACCEPTED)?;
            let mut expired = write.open_table(EXPIRED)?;
            for id in &ids {
                let key = key(tenant, &id.0);
                if accepted.get(&key)?.is_none() {
                    expired.insert(&key, ())?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn retention(&self, tenant: TenantId, branch: &str) -> Result<Retention, Error> {
        let branch = branch.to_owned();
        self.read("read what a branch keeps", move |read| {
            let table = read.open_table(RETENTION)?;
            let found = table.get((tenant.0, branch.as_str()))?;
            let found = found
                .map(|bytes| codec::decode(bytes.value()))
                .transpose()?;
            Ok(found.unwrap_or_default())
        })
        .await
    }

    async fn set_retention(
        &self,
        tenant: TenantId,
        branch: &str,
        retention: Retention,
    ) -> Result<(), Error> {
        let branch = branch.to_owned();
        self.change("set what a branch keeps", move |write| {
            let bytes = codec::encode(&retention)?;
            write
                .open_table(RETENTION)?
                .insert((tenant.0, branch.as_str()), bytes.as_slice())?;
            Ok(())
        })
        .await
    }
}
