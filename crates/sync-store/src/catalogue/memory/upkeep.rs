//! Upkeep of the catalogue in memory.

use std::ops::Bound;

use async_trait::async_trait;
use sync_core::{Digest, SnapshotId};

use super::{MemoryCatalogue, View};
use crate::Error;
use crate::catalogue::{
    Location, Marks, PackRecord, StoredObject, StoredPack, Sweep, TenantId, Upkeep,
};
use crate::protocol::{Retention, prefix};

impl View {
    fn sweep(&mut self, sweep: &Sweep) -> bool {
        if self.moves.len() as u64 != sweep.moves {
            return false;
        }
        let mut removed = false;
        for id in &sweep.expire {
            if self.accepted.remove(id) {
                removed = true;
                self.expired.insert(*id);
            }
        }
        for digest in &sweep.remove {
            let since = self.condemned.get(digest);
            if since.is_some_and(|since| *since <= sweep.until) {
                removed = true;
                self.condemned.remove(digest);
                self.objects.remove(digest);
            }
        }
        self.generation += u64::from(removed);
        true
    }

    fn take_places(&mut self, from: Option<&[u32]>, pack: &PackRecord) {
        let number = self.add_pack(pack);
        for (digest, place) in &pack.objects {
            let at = self.objects.get(digest).map(|(number, _)| *number);
            let moves = from.is_none_or(|from| at.is_some_and(|at| from.contains(&at)));
            if moves {
                let location = Location {
                    pack: pack.name,
                    place: *place,
                };
                self.objects.insert(*digest, (number, location));
                if from.is_none() {
                    self.condemned.remove(digest);
                }
            }
        }
    }
}

#[async_trait]
impl Upkeep for MemoryCatalogue {
    async fn marks(&self, tenant: TenantId) -> Result<Marks, Error> {
        Ok(self.view(tenant, |view| Marks {
            moves: view.moves.len() as u64,
            generation: view.generation,
        }))
    }

    async fn packs(
        &self,
        tenant: TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredPack>, Error> {
        Ok(self.view(tenant, |view| {
            let packs = view.packs.range(from..).take(limit);
            packs.map(|(_, pack)| *pack).collect()
        }))
    }

    async fn objects(
        &self,
        tenant: TenantId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.view(tenant, |view| {
            let rows = view.objects.range((from, Bound::Unbounded)).take(limit);
            let object = |(digest, (number, location)): (&Digest, &(u32, Location))| StoredObject {
                digest: *digest,
                number: *number,
                location: *location,
                condemned: view.condemned.get(digest).copied(),
            };
            rows.map(object).collect()
        }))
    }

    async fn condemn(&self, tenant: TenantId, objects: &[Digest], since: u64) -> Result<(), Error> {
        self.view(tenant, |view| {
            for digest in objects {
                view.condemned.entry(*digest).or_insert(since);
            }
        });
        Ok(())
    }

    async fn spare(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<(), Error> {
        self.view(tenant, |view| {
            let spared = |digest: &Digest| prefixes.contains(&prefix(digest));
            view.condemned.retain(|digest, _| !spared(digest));
        });
        Ok(())
    }

    async fn sweep(&self, tenant: TenantId, sweep: &Sweep) -> Result<bool, Error> {
        Ok(self.view(tenant, |view| view.sweep(sweep)))
    }

    async fn repack(&self, tenant: TenantId, from: &[u32], pack: &PackRecord) -> Result<(), Error> {
        self.view(tenant, |view| view.take_places(Some(from), pack));
        Ok(())
    }

    async fn replace(&self, tenant: TenantId, pack: &PackRecord) -> Result<(), Error> {
        self.view(tenant, |view| view.take_places(None, pack));
        Ok(())
    }

    async fn retire(&self, tenant: TenantId, packs: &[u32]) -> Result<(), Error> {
        self.view(tenant, |view| {
            view.packs.retain(|number, _| !packs.contains(number));
        });
        Ok(())
    }

    async fn recorded(&self, names: &[Digest]) -> Result<Vec<bool>, Error> {
        let state = self.state();
        let recorded = |name: &Digest| {
            let mut packs = state.views.values().flat_map(|view| view.packs.values());
            packs.any(|pack| pack.name == *name)
        };
        Ok(names.iter().map(recorded).collect())
    }

    async fn expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error> {
        Ok(self.view(tenant, |view| {
            ids.iter().map(|id| view.expired.contains(id)).collect()
        }))
    }

    async fn note_expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<(), Error> {
        self.view(tenant, |view| {
            let unknown = ids.iter().filter(|id| !view.accepted.contains(id));
            view.expired.extend(unknown);
        });
        Ok(())
    }

    async fn retention(&self, tenant: TenantId, branch: &str) -> Result<Retention, Error> {
        Ok(self.view(tenant, |view| {
            view.retention.get(branch).copied().unwrap_or_default()
        }))
    }

    async fn set_retention(
        &self,
        tenant: TenantId,
        branch: &str,
        retention: Retention,
    ) -> Result<(), Error> {
        self.view(tenant, |view| {
            view.retention.insert(branch.to_owned(), retention);
        });
        Ok(())
    }
}
