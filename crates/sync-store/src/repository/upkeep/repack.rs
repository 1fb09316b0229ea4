//! Packs that are mostly gone, or small, are written again as fewer and fuller ones.

use std::collections::{HashMap, HashSet};

use sync_core::Digest;
use tokio::runtime::Handle;

use super::PAGE;
use super::packing::Packing;
use crate::catalogue::{StoredObject, StoredPack};
use crate::pack::Span;
use crate::protocol::GcReport;
use crate::repository::{Repository, blocks};
use crate::{Error, task};

/// Packs below this share of a full one are small.
const SMALL_SHARE: u64 = 8;
/// So many small packs are worth to be merged.
const MANY_SMALL: usize = 16;
/// How many objects are moved in one go: their places are in memory.
const GROUP: u64 = 256 << 10;
/// How many blobs are listed at once.
const LISTED: usize = 1024;

/// What is left of a pack.
#[derive(Debug, Default)]
struct Left {
    objects: u64,
    /// The blocks that something is left in.
    blocks: HashSet<u32>,
    block_bytes: u64,
}

impl Repository {
    /// Moves what is left of sparse and small packs into others, and forgets the emptied ones.
    pub(super) async fn repack(&self, report: &mut GcReport) -> Result<(), Error> {
        // Listed before the objects are: objects are never added to a pack that is recorded already.
        let packs = self.all_packs().await?;
        let mut left: HashMap<u32, Left> = HashMap::new();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            for object in &page {
                let place = object.location.place;
                let left = left.entry(object.number).or_default();
                left.objects += 1;
                if left.blocks.insert(place.block) {
                    left.block_bytes += u64::from(place.block_len);
                }
            }
        }
        let nothing = Left::default();
        let of = |pack: &StoredPack| left.get(&pack.number).unwrap_or(&nothing);
        let small = |pack: &&StoredPack| pack.len < self.roll_bytes / SMALL_SHARE;
        let merges = packs.iter().filter(small).count() >= MANY_SMALL;
        let mut empty = Vec::new();
        let mut group = Vec::new();
        let mut moving = 0;
        for pack in &packs {
            let left = of(pack);
            let sparse =
                left.block_bytes * 2 < pack.len || left.objects * 2 < u64::from(pack.objects);
            if left.objects == 0 {
                empty.push(pack.number);
            } else if sparse || (merges && small(&pack)) {
                if moving + left.objects > GROUP && !group.is_empty() {
                    self.rewrite(std::mem::take(&mut group), report).await?;
                    moving = 0;
                }
                moving += left.objects;
                group.push(pack.number);
            }
        }
        if !group.is_empty() {
            self.rewrite(group, report).await?;
        }
        report.packs_removed += empty.len() as u64;
        self.catalogue.retire(self.tenant.id, &empty).await
    }

    pub(super) async fn all_packs(&self) -> Result<Vec<StoredPack>, Error> {
        let mut packs: Vec<StoredPack> = Vec::new();
        loop {
            let from = packs.last().map_or(0, |last| last.number.saturating_add(1));
            let page = self.catalogue.packs(self.tenant.id, from, PAGE).await?;
            let is_last = page.len() < PAGE;
            packs.extend(page);
            if is_last {
                return Ok(packs);
            }
        }
    }

    /// Copies what is left of these packs into new ones. A pack with a damaged block stays as it is.
    async fn rewrite(&self, group: Vec<u32>, report: &mut GcReport) -> Result<(), Error> {
        let wanted: HashSet<u32> = group.iter().copied().collect();
        let mut objects: Vec<StoredObject> = Vec::new();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            objects.extend(page.iter().filter(|object| wanted.contains(&object.number)));
        }
        objects.sort_unstable_by_key(|object| {
            let place = object.location.place;
            (object.number, place.block, place.start)
        });
        let (this, runtime) = (self.clone(), Handle::current());
        let from = group.clone();
        let copy = move || this.copy(&runtime, &from, &objects);
        let damaged = task::blocking(copy).await?;
        let emptied: Vec<u32> = group.into_iter().filter(|n| !damaged.contains(n)).collect();
        report.packs_rewritten += emptied.len() as u64;
        report.packs_removed += emptied.len() as u64;
        self.catalogue.retire(self.tenant.id, &emptied).await
    }

    /// Copies objects, which are in the order of their packs; says which packs have damage. Blocking.
    fn copy(
        &self,
        runtime: &Handle,
        from: &[u32],
        objects: &[StoredObject],
    ) -> Result<HashSet<u32>, Error> {
        let mut damaged = HashSet::new();
        let mut packing = Packing::new()?;
        let block = |object: &StoredObject| (object.number, object.location.place.block);
        for group in objects.chunk_by(|a, b| block(a) == block(b)) {
            match self.copy_block(runtime, group, &mut packing) {
                Ok(()) => {}
                Err(Error::Corrupt { .. }) => {
                    damaged.insert(group[0].number);
                }
                Err(error) => return Err(error),
            }
            if packing.len() >= self.roll_bytes {
                let full = std::mem::replace(&mut packing, Packing::new()?);
                task::block_on(runtime, self.record_copies(from, full))?;
            }
        }
        task::block_on(runtime, self.record_copies(from, packing))?;
        Ok(damaged)
    }

    /// A block that is wanted whole goes as it is.
    fn copy_block(
        &self,
        runtime: &Handle,
        group: &[StoredObject],
        packing: &mut Packing,
    ) -> Result<(), Error> {
        let location = group[0].location;
        let stored = task::block_on(runtime, self.stored_block(&location))?;
        let block = blocks::decode(stored.clone(), &location.pack)?;
        let mut spans = Vec::with_capacity(group.len());
        let mut contents = Vec::with_capacity(group.len());
        for object in group {
            let place = object.location.place;
            let span = Span {
                start: place.start,
                len: place.len,
            };
            contents.push(blocks::object(
                &block.raw,
                &object.location,
                &object.digest,
            )?);
            spans.push((object.digest, span));
        }
        if spans.len() == block.spans.len() {
            packing.add_block(stored, &spans);
            return Ok(());
        }
        let objects = spans.iter().zip(&contents);
        objects
            .into_iter()
            .try_for_each(|((digest, _), bytes)| packing.add(block.class, *digest, bytes))
    }

    async fn record_copies(&self, from: &[u32], packing: Packing) -> Result<(), Error> {
        let Some(pending) = packing.finish()? else {
            return Ok(());
        };
        let _storing = self.storing.read().await;
        let record = &pending.record;
        self.blobs.put(&record.name, &pending.parts).await?;
        self.catalogue.repack(self.tenant.id, from, record).await
    }

    /// Deletes the packs that no tenant of the store has: emptied ones, and what a crash left.
    pub(super) async fn delete_orphans(&self) -> Result<(), Error> {
        let mut after: Option<Digest> = None;
        loop {
            let listed = self.blobs.list(after.as_ref(), LISTED).await?;
            let Some((last, _)) = listed.last() else {
                return Ok(());
            };
            after = Some(*last);
            let names: Vec<Digest> = listed.into_iter().map(|(name, _)| name).collect();
            let orphans = self.unrecorded(&names).await?;
            if orphans.is_empty() {
                continue;
            }
            // Nobody is between putting a pack and recording it now: what is unknown now, nobody has.
            let _alone = self.storing.write().await;
            for name in self.unrecorded(&orphans).await? {
                self.blobs.delete(&name).await?;
            }
        }
    }

    async fn unrecorded(&self, names: &[Digest]) -> Result<Vec<Digest>, Error> {
        let recorded = self.catalogue.recorded(names).await?;
        let names = names.iter().zip(recorded);
        Ok(names
            .filter(|(_, recorded)| !recorded)
            .map(|(name, _)| *name)
            .collect())
    }
}
