//! Where the objects are that came in last: whoever checks what was received asks here before the catalogue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use sync_core::Digest;

use super::Received;
use crate::catalogue::{Location, PackRecord, Place};

/// The packs that came in last.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    packs: Vec<Pack>,
    /// The pack that had what was asked for last: neighbours lie together.
    last: AtomicUsize,
}

#[derive(Debug)]
struct Pack {
    record: Arc<PackRecord>,
    /// The objects by where they are: places in the record, made when it is first asked for.
    by_place: OnceLock<Vec<u32>>,
}

impl Pack {
    fn new(record: &Arc<PackRecord>) -> Self {
        Self {
            record: Arc::clone(record),
            by_place: OnceLock::new(),
        }
    }
}

impl Arrived {
    /// All packs of what was received.
    pub(super) fn new(received: &Received) -> Self {
        let pending = received.pending.iter().map(|pending| &pending.record);
        let records = pending.chain(&received.rolled);
        Self {
            packs: records.map(Pack::new).collect(),
            last: AtomicUsize::new(0),
        }
    }

    /// Only the pack that is not recorded yet.
    pub(super) fn pending(received: &Received) -> Self {
        Self::new(&Received {
            pending: received.pending.clone(),
            ..Received::default()
        })
    }

    pub(super) fn locate(&self, digest: &Digest) -> Option<Location> {
        let first = self.last.load(Ordering::Relaxed);
        let order = (first..self.packs.len()).chain(0..first.min(self.packs.len()));
        for index in order {
            let record = &self.packs[index].record;
            if let Some(place) = record.place(digest) {
                self.last.store(index, Ordering::Relaxed);
                let pack = record.name;
                return Some(Location { pack, place });
            }
        }
        None
    }

    /// The objects of the block that `location` is in, by where they are; `None` where its pack is none of these. They
    /// were hashed when they came.
    pub(super) fn block(
        &self,
        location: &Location,
    ) -> Option<impl Iterator<Item = (Digest, Place)> + '_> {
        let mut packs = self.packs.iter();
        let pack = packs.find(|pack| pack.record.name == location.pack)?;
        let objects = &pack.record.objects;
        let order = |index: &u32| {
            let place = &objects[*index as usize].1;
            (place.block, place.start)
        };
        let by_place = pack.by_place.get_or_init(|| {
            let mut indexes: Vec<u32> = (0..).take(objects.len()).collect();
            indexes.sort_unstable_by_key(order);
            indexes
        });
        let block = location.place.block;
        let first = by_place.partition_point(|index| order(index).0 < block);
        let inside = by_place[first..]
            .iter()
            .map(|index| objects[*index as usize]);
        Some(inside.take_while(move |(_, place)| place.block == block))
    }
}
