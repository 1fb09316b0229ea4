//! What upkeep asks of a catalogue (ADR 0008): lists of everything, and removals that cannot hurt a running push.

use async_trait::async_trait;
use sync_core::{Digest, SnapshotId};

use super::{Location, PackRecord, TenantId};
use crate::Error;
use crate::protocol::Retention;

/// How often a tenant's state changed in the two ways that a collection and a push have to know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// How many times a head moved.
    pub moves: u64,
    /// How many times objects or snapshots were removed.
    pub generation: u64,
}

/// A recorded pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPack {
    /// The tenant's number for it; none is ever given twice.
    pub number: u32,
    /// Its name in the blob store.
    pub name: Digest,
    /// How many bytes it has.
    pub len: u64,
    /// How many objects it had when it was recorded.
    pub objects: u32,
}

/// A recorded object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name.
    pub digest: Digest,
    /// The number of its pack.
    pub number: u32,
    /// Where it is.
    pub location: Location,
    /// Since when it is condemned, where it is.
    pub condemned: Option<u64>,
}

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sweep {
    /// The tenant's [`Marks::moves`] when it was found that nobody needs it.
    pub moves: u64,
    /// Snapshots that are no longer accepted; they are remembered as expired.
    pub expire: Vec<SnapshotId>,
    /// Objects, of which those go that are still condemned, and not since later than `until`.
    pub remove: Vec<Digest>,
    /// See `remove`.
    pub until: u64,
}

/// What upkeep asks of a catalogue. `contract::catalogue` (feature `contract`) is what all adapters must pass.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// How often things changed so far.
    async fn marks(&self, tenant: TenantId) -> Result<Marks, Error>;

    /// Packs whose number is at least `from`, by number, at most `limit`.
    async fn packs(
        &self,
        tenant: TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredPack>, Error>;

    /// Objects after `after`, by digest, at most `limit`.
    async fn objects(
        &self,
        tenant: TenantId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, Error>;

    /// Condemns objects since `since`, but for those that are condemned already.
    async fn condemn(&self, tenant: TenantId, objects: &[Digest], since: u64) -> Result<(), Error>;

    /// Takes back the condemnation of every object that starts with one of these.
    async fn spare(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<(), Error>;

    /// Removes what `sweep` says, unless a head moved since: then nothing changes and the answer is `false`.
    async fn sweep(&self, tenant: TenantId, sweep: &Sweep) -> Result<bool, Error>;

    /// Records a pack of copies: each of its objects that is in one of the packs `from` is in this one then.
    async fn repack(&self, tenant: TenantId, from: &[u32], pack: &PackRecord) -> Result<(), Error>;

    /// Records a pack of which every object is intact: whatever place they had, they are in this one then.
    async fn replace(&self, tenant: TenantId, pack: &PackRecord) -> Result<(), Error>;

    /// Forgets packs in which no object is any more.
    async fn retire(&self, tenant: TenantId, packs: &[u32]) -> Result<(), Error>;

    /// Whether some tenant has a pack of this name, in the order asked.
    async fn recorded(&self, names: &[Digest]) -> Result<Vec<bool>, Error>;

    /// Whether each of these was accepted once and is no longer kept, in the order asked.
    async fn expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error>;

    /// Notes names of snapshots that were accepted elsewhere and are no longer kept there: they count as expired here, but for
    /// those that are accepted.
    async fn note_expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<(), Error>;

    /// What a branch keeps.
    async fn retention(&self, tenant: TenantId, branch: &str) -> Result<Retention, Error>;

    /// Sets what a branch keeps.
    async fn set_retention(
        &self,
        tenant: TenantId,
        branch: &str,
        retention: Retention,
    ) -> Result<(), Error>;
}
