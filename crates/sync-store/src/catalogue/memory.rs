//! A catalogue in memory, for tests and for stores that need not outlive the process.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sync_core::{Digest, SnapshotId};

use super::{
    Advanced, BranchRemoval, Catalogue, Committed, Expected, HeadChange, HeadMove, Location,
    PackRecord, Removed, StoredPack, TenantId, TenantRecord, TokenRecord,
};
use crate::Error;
use crate::error::{CollectedSnafu, ExistsSnafu, UnknownTenantSnafu};
use crate::protocol::Retention;

/// A catalogue in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalogue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<String, TenantId>,
    tokens: BTreeMap<String, TokenRecord>,
    views: BTreeMap<TenantId, View>,
}

/// What one tenant has.
#[derive(Debug, Default)]
struct View {
    /// The number of the pack, and the place in it.
    objects: BTreeMap<Digest, (u32, Location)>,
    packs: BTreeMap<u32, StoredPack>,
    next_pack: u32,
    condemned: BTreeMap<Digest, u64>,
    expired: BTreeSet<SnapshotId>,
    retention: BTreeMap<String, Retention>,
    generation: u64,
    accepted: BTreeSet<SnapshotId>,
    notes: BTreeMap<String, Vec<u8>>,
    heads: BTreeMap<String, SnapshotId>,
    moves: Vec<HeadMove>,
}

impl View {
    /// Gives a pack the next number.
    fn add_pack(&mut self, pack: &PackRecord) -> u32 {
        let number = self.next_pack;
        self.next_pack += 1;
        let stored = StoredPack {
            number,
            name: pack.name,
            len: pack.len,
            objects: crate::pack::narrow(pack.objects.len()),
        };
        self.packs.insert(number, stored);
        number
    }

    /// Says how many objects have a place now that had none.
    fn record(&mut self, pack: &PackRecord) -> u64 {
        let mut lacking = pack
            .objects
            .iter()
            .filter(|(digest, _)| !self.objects.contains_key(digest));
        let known = self.packs.values().any(|known| known.name == pack.name);
        if known && lacking.next().is_none() {
            return 0;
        }
        let number = self.add_pack(pack);
        let before = self.objects.len();
        for (digest, place) in &pack.objects {
            let location = Location {
                pack: pack.name,
                place: *place,
            };
            self.objects.entry(*digest).or_insert((number, location));
        }
        (self.objects.len() - before) as u64
    }

    /// What would become of a head.
    fn judge(&self, change: &HeadChange) -> Advanced {
        let head = self.heads.get(&change.branch).copied();
        match change.expected {
            _ if head == Some(change.target) => Advanced::Already,
            Expected::Is(expected) if expected != head => Advanced::Stale { head },
            _ => Advanced::Moved,
        }
    }

    fn advance(&mut self, change: &HeadChange) {
        let head = self.heads.get(&change.branch).copied();
        for id in change.history.iter().chain([&change.target]) {
            self.accepted.insert(*id);
            self.expired.remove(id);
        }
        self.heads.insert(change.branch.clone(), change.target);
        self.moves.push(HeadMove {
            branch: change.branch.clone(),
            from: head,
            to: change.target,
            when: change.when,
        });
    }

    fn remove_head(&mut self, removal: &BranchRemoval) -> Removed {
        let head = self.heads.get(&removal.branch).copied();
        if head != Some(removal.expected) {
            return Removed::Stale { head };
        }
        self.heads.remove(&removal.branch);
        self.retention.remove(&removal.branch);
        self.moves.push(HeadMove {
            branch: removal.branch.clone(),
            from: head,
            to: removal.expected,
            when: removal.when,
        });
        Removed::Gone
    }
}

impl MemoryCatalogue {
    fn state(&self) -> MutexGuard<'_, State> {
        // No change below is ever half done, so a panic elsewhere leaves nothing to fear.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view<T>(&self, tenant: TenantId, look: impl FnOnce(&mut View) -> T) -> T {
        look(self.state().views.entry(tenant).or_default())
    }
}

#[async_trait]
impl Catalogue for MemoryCatalogue {
    async fn create_tenant(&self, name: &str) -> Result<TenantRecord, Error> {
        let mut state = self.state();
        if state.tenants.contains_key(name) {
            let kind = "tenant";
            return ExistsSnafu { kind, name }.fail();
        }
        let id = TenantId(crate::pack::narrow(state.tenants.len()) + 1);
        state.tenants.insert(name.to_owned(), id);
        let name = name.to_owned();
        Ok(TenantRecord { id, name })
    }

    async fn tenant(&self, name: &str) -> Result<Option<TenantRecord>, Error> {
        let id = self.state().tenants.get(name).copied();
        let name = name.to_owned();
        Ok(id.map(|id| TenantRecord { id, name }))
    }

    async fn tenants(&self) -> Result<Vec<TenantRecord>, Error> {
        let record = |(name, id): (&String, &TenantId)| TenantRecord {
            id: *id,
            name: name.clone(),
        };
        Ok(self.state().tenants.iter().map(record).collect())
    }

    async fn put_token(&self, token: TokenRecord) -> Result<(), Error> {
        let mut state = self.state();
        if !state.tenants.contains_key(&token.tenant) {
            return UnknownTenantSnafu { name: token.tenant }.fail();
        }
        if state.tokens.contains_key(&token.id) {
            let (kind, name) = ("token", token.id);
            return ExistsSnafu { kind, name }.fail();
        }
        state.tokens.insert(token.id.clone(), token);
        Ok(())
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, Error> {
        Ok(self.state().tokens.get(id).cloned())
    }

    async fn tokens(&self, tenant: &str) -> Result<Vec<TokenRecord>, Error> {
        let state = self.state();
        let of_tenant = state.tokens.values().filter(|token| token.tenant == tenant);
        Ok(of_tenant.cloned().collect())
    }

    async fn revoke_token(&self, id: &str, when: u64) -> Result<bool, Error> {
        let mut state = self.state();
        let token = state.tokens.get_mut(id);
        Ok(token.is_some_and(|token| {
            token.revoked.get_or_insert(when);
            true
        }))
    }

    async fn locate(
        &self,
        tenant: TenantId,
        objects: &[Digest],
    ) -> Result<Vec<Option<Location>>, Error> {
        Ok(self.view(tenant, |view| {
            let place = |digest| view.objects.get(digest).map(|(_, location)| *location);
            objects.iter().map(place).collect()
        }))
    }

    async fn holds(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<Vec<bool>, Error> {
        let bound = |prefix: &[u8; 8], rest: u8| {
            let mut digest = [rest; Digest::LEN];
            digest[..8].copy_from_slice(prefix);
            Digest::from_bytes(digest)
        };
        Ok(self.view(tenant, |view| {
            let holds = |prefix| {
                let range = bound(prefix, 0)..=bound(prefix, 0xff);
                view.objects.range(range).next().is_some()
            };
            prefixes.iter().map(holds).collect()
        }))
    }

    async fn is_vacant(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(self.view(tenant, |view| view.packs.is_empty()))
    }

    async fn accepted(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error> {
        Ok(self.view(tenant, |view| {
            ids.iter().map(|id| view.accepted.contains(id)).collect()
        }))
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
        Ok(self.view(tenant, |view| {
            view.accepted
                .range(first..=last)
                .take(limit)
                .copied()
                .collect()
        }))
    }

    async fn head(&self, tenant: TenantId, branch: &str) -> Result<Option<SnapshotId>, Error> {
        Ok(self.view(tenant, |view| view.heads.get(branch).copied()))
    }

    async fn heads(&self, tenant: TenantId) -> Result<Vec<(String, SnapshotId)>, Error> {
        Ok(self.view(tenant, |view| {
            let heads = view.heads.iter();
            heads
                .map(|(branch, head)| (branch.clone(), *head))
                .collect()
        }))
    }

    async fn remove_head(
        &self,
        tenant: TenantId,
        removal: &BranchRemoval,
    ) -> Result<Removed, Error> {
        Ok(self.view(tenant, |view| view.remove_head(removal)))
    }

    async fn head_moves(&self, tenant: TenantId, limit: usize) -> Result<Vec<HeadMove>, Error> {
        Ok(self.view(tenant, |view| {
            view.moves.iter().rev().take(limit).cloned().collect()
        }))
    }

    async fn note(&self, tenant: TenantId, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.view(tenant, |view| view.notes.get(key).cloned()))
    }

    async fn set_note(
        &self,
        tenant: TenantId,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        self.view(tenant, |view| match value {
            Some(value) => view.notes.insert(key.to_owned(), value),
            None => view.notes.remove(key),
        });
        Ok(())
    }

    async fn commit(
        &self,
        tenant: TenantId,
        packs: &[PackRecord],
        heads: &[HeadChange],
    ) -> Result<Committed, Error> {
        self.view(tenant, |view| {
            let added = packs.iter().map(|pack| view.record(pack)).sum();
            let mut seen = heads.iter().filter_map(|change| change.generation);
            if seen.any(|seen| seen != view.generation) {
                return CollectedSnafu.fail();
            }
            let judged: Vec<_> = heads.iter().map(|change| view.judge(change)).collect();
            if !judged.iter().any(Advanced::is_stale) {
                for (change, judged) in heads.iter().zip(&judged) {
                    if *judged == Advanced::Moved {
                        view.advance(change);
                    }
                }
            }
            let heads = judged;
            Ok(Committed { added, heads })
        })
    }
}
