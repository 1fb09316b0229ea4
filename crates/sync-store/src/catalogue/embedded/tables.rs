//! The tables of the embedded catalogue, and the changes that touch several of them.

use std::collections::HashMap;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use sync_core::{Digest, SnapshotId, codec};

use super::upkeep;
use crate::catalogue::{
    Advanced, BranchRemoval, Expected, HeadChange, HeadMove, Location, PackRecord, Place, Removed,
    TenantId,
};
use crate::error::BoxError;

/// The version of everything below.
pub(super) const LAYOUT: u64 = 3;
/// Layouts before it, from this one on, only lack tables, which are added.
pub(super) const OLDEST_LAYOUT: u64 = 1;

/// A digest behind the number of its tenant, both so that their bytes sort as they do.
pub(super) type Key = [u8; 36];

/// `layout` and `last_tenant`.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Name to number.
pub(super) const TENANTS: TableDefinition<'_, &str, u32> = TableDefinition::new("tenants");
/// Id to encoded record.
pub(super) const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");
/// Tenant and number of a pack to its name, its size in bytes and its number of objects.
pub(super) const PACKS: TableDefinition<'_, (u32, u32), (&[u8; 32], u64, u32)> =
    TableDefinition::new("packs");
/// Tenant and name of a pack to its number.
pub(super) const PACK_NUMBERS: TableDefinition<'_, &Key, u32> =
    TableDefinition::new("pack_numbers");
/// Tenant and digest to the number of the pack and the place in it, five numbers of four bytes, little endian.
pub(super) const OBJECTS: TableDefinition<'_, &Key, &[u8; 20]> = TableDefinition::new("objects");
/// Tenant and id of every accepted snapshot.
pub(super) const ACCEPTED: TableDefinition<'_, &Key, ()> = TableDefinition::new("accepted");
/// Tenant and branch to its head.
pub(super) const HEADS: TableDefinition<'_, (u32, &str), &[u8; 32]> = TableDefinition::new("heads");
/// Tenant and rising number to an encoded line of the log.
pub(super) const MOVES: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("moves");
/// Tenant and key to a small value.
pub(super) const NOTES: TableDefinition<'_, (u32, &str), &[u8]> = TableDefinition::new("notes");

/// Makes every table that is not there, so that none is absent to a reader.
pub(super) fn create(write: &WriteTransaction) -> Result<(), BoxError> {
    write.open_table(META)?.insert("layout", LAYOUT)?;
    write.open_table(TENANTS)?;
    write.open_table(TOKENS)?;
    write.open_table(PACKS)?;
    write.open_table(PACK_NUMBERS)?;
    write.open_table(OBJECTS)?;
    write.open_table(ACCEPTED)?;
    write.open_table(HEADS)?;
    write.open_table(MOVES)?;
    write.open_table(NOTES)?;
    upkeep::create(write)
}

pub(super) fn key(tenant: TenantId, digest: &Digest) -> Key {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&tenant.0.to_be_bytes());
    key[4..].copy_from_slice(digest.as_bytes());
    key
}

/// The digest in a key.
pub(super) fn digest(key: &Key) -> Digest {
    let mut bytes = [0; Digest::LEN];
    bytes.copy_from_slice(&key[4..]);
    Digest::from_bytes(bytes)
}

pub(super) fn encode_place(pack: u32, place: Place) -> [u8; 20] {
    let numbers = [pack, place.block, place.block_len, place.start, place.len];
    let mut row = [0; 20];
    for (bytes, number) in row.chunks_exact_mut(4).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    row
}

pub(super) fn decode_place(row: &[u8; 20]) -> (u32, Place) {
    let number = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    let place = Place {
        block: number(4),
        block_len: number(8),
        start: number(12),
        len: number(16),
    };
    (number(0), place)
}

pub(super) fn next_tenant(write: &WriteTransaction) -> Result<TenantId, BoxError> {
    let mut meta = write.open_table(META)?;
    let last = meta.get("last_tenant")?.map_or(0, |last| last.value());
    let next = u32::try_from(last + 1)?;
    meta.insert("last_tenant", u64::from(next))?;
    Ok(TenantId(next))
}

pub(super) fn locate(
    read: &ReadTransaction,
    tenant: TenantId,
    objects: &[Digest],
) -> Result<Vec<Option<Location>>, BoxError> {
    let table = read.open_table(OBJECTS)?;
    let packs = read.open_table(PACKS)?;
    let mut names = HashMap::new();
    let mut found = vec![None; objects.len()];
    // In the order of the table, so that neighbours are looked up while their page is at hand.
    let mut order: Vec<_> = objects.iter().enumerate().collect();
    order.sort_unstable_by_key(|(_, object)| *object);
    for (index, object) in order {
        let Some(row) = table.get(&key(tenant, object))? else {
            continue;
        };
        let (number, place) = decode_place(row.value());
        let pack = if let Some(name) = names.get(&number) {
            *name
        } else {
            let row = packs.get((tenant.0, number))?;
            let row = row.ok_or("an object names a pack that is not recorded")?;
            let name = Digest::from_bytes(*row.value().0);
            names.insert(number, name);
            name
        };
        found[index] = Some(Location { pack, place });
    }
    Ok(found)
}

/// Records a pack under the tenant's next number, and every object that has no place yet; says how many these are.
pub(super) fn record(
    write: &WriteTransaction,
    tenant: TenantId,
    pack: &PackRecord,
) -> Result<u64, BoxError> {
    let mut numbers = write.open_table(PACK_NUMBERS)?;
    let name = key(tenant, &pack.name);
    let mut table = write.open_table(OBJECTS)?;
    if numbers.get(&name)?.is_some() {
        // The same bytes again: its objects have places since then, unless some were collected.
        let mut lacking = false;
        for (digest, _) in &pack.objects {
            lacking |= table.get(&key(tenant, digest))?.is_none();
        }
        if !lacking {
            return Ok(0);
        }
    }
    let number = add_pack(write, &mut numbers, tenant, pack)?;
    // A tenant's first pack meets no object, which saves half of the look-ups of a large first push.
    let first = number == 0;
    let mut added = 0;
    for (digest, place) in &pack.objects {
        let key = key(tenant, digest);
        if first || table.get(&key)?.is_none() {
            table.insert(&key, &encode_place(number, *place))?;
            added += 1;
        }
    }
    Ok(added)
}

/// Gives a pack the tenant's next number. No number is ever given twice: upkeep names packs by theirs.
pub(super) fn add_pack(
    write: &WriteTransaction,
    numbers: &mut redb::Table<'_, &'static Key, u32>,
    tenant: TenantId,
    pack: &PackRecord,
) -> Result<u32, BoxError> {
    let mut packs = write.open_table(PACKS)?;
    let mut next = write.open_table(upkeep::NEXT_PACKS)?;
    let last = packs
        .range((tenant.0, 0)..=(tenant.0, u32::MAX))?
        .next_back();
    let after_last = match last.transpose()? {
        Some((key, _)) => key.value().1.checked_add(1),
        None => Some(0),
    };
    let promised = next.get(tenant.0)?.map_or(0, |next| next.value());
    let number = after_last.ok_or("no pack number is left")?.max(promised);
    let following = number.checked_add(1).ok_or("no pack number is left")?;
    next.insert(tenant.0, following)?;
    numbers.insert(&key(tenant, &pack.name), number)?;
    let objects = u32::try_from(pack.objects.len())?;
    packs.insert(
        (tenant.0, number),
        (pack.name.as_bytes(), pack.len, objects),
    )?;
    Ok(number)
}

/// Moves all heads, or none where one of them is stale.
pub(super) fn advance(
    write: &WriteTransaction,
    tenant: TenantId,
    changes: &[HeadChange],
) -> Result<Vec<Advanced>, BoxError> {
    let (mut judged, mut before) = (Vec::new(), Vec::new());
    {
        let heads = write.open_table(HEADS)?;
        for change in changes {
            let head = heads.get((tenant.0, change.branch.as_str()))?;
            let head = head.map(|head| SnapshotId(Digest::from_bytes(*head.value())));
            judged.push(match change.expected {
                _ if head == Some(change.target) => Advanced::Already,
                Expected::Is(expected) if expected != head => Advanced::Stale { head },
                _ => Advanced::Moved,
            });
            before.push(head);
        }
    }
    if !judged.iter().any(Advanced::is_stale) {
        for ((change, judged), head) in changes.iter().zip(&judged).zip(before) {
            if *judged == Advanced::Moved {
                move_head(write, tenant, change, head)?;
            }
        }
    }
    Ok(judged)
}

fn move_head(
    write: &WriteTransaction,
    tenant: TenantId,
    change: &HeadChange,
    head: Option<SnapshotId>,
) -> Result<(), BoxError> {
    let branch = (tenant.0, change.branch.as_str());
    let mut heads = write.open_table(HEADS)?;
    heads.insert(branch, change.target.0.as_bytes())?;
    let mut accepted = write.open_table(ACCEPTED)?;
    let mut expired = write.open_table(upkeep::EXPIRED)?;
    for id in change.history.iter().chain([&change.target]) {
        accepted.insert(&key(tenant, &id.0), ())?;
        expired.remove(&key(tenant, &id.0))?;
    }
    let line = HeadMove {
        branch: change.branch.clone(),
        from: head,
        to: change.target,
        when: change.when,
    };
    note_move(write, tenant, &line)
}

/// Adds a line to the log of heads.
fn note_move(write: &WriteTransaction, tenant: TenantId, line: &HeadMove) -> Result<(), BoxError> {
    let mut moves = write.open_table(MOVES)?;
    let next = upkeep::count_moves(&moves, tenant)?;
    moves.insert((tenant.0, next), codec::encode(line)?.as_slice())?;
    Ok(())
}

pub(super) fn remove_head(
    write: &WriteTransaction,
    tenant: TenantId,
    removal: &BranchRemoval,
) -> Result<Removed, BoxError> {
    let mut heads = write.open_table(HEADS)?;
    let branch = (tenant.0, removal.branch.as_str());
    let head = heads.get(branch)?;
    let head = head.map(|head| SnapshotId(Digest::from_bytes(*head.value())));
    if head != Some(removal.expected) {
        return Ok(Removed::Stale { head });
    }
    heads.remove(branch)?;
    write.open_table(upkeep::RETENTION)?.remove(branch)?;
    note_move(
        write,
        tenant,
        &HeadMove {
            branch: removal.branch.clone(),
            from: head,
            to: removal.expected,
            when: removal.when,
        },
    )?;
    Ok(Removed::Gone)
}
