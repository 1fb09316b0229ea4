//! Upkeep of a catalogue of which one call fails.

use async_trait::async_trait;
use sync_core::{Digest, SnapshotId};

use super::FaultyCatalogue;
use crate::Error;
use crate::catalogue::{Marks, PackRecord, StoredObject, StoredPack, Sweep, TenantId, Upkeep};
use crate::protocol::Retention;

#[async_trait]
impl Upkeep for FaultyCatalogue {
    async fn marks(&self, tenant: TenantId) -> Result<Marks, Error> {
        self.call(self.inner.marks(tenant)).await
    }

    async fn packs(
        &self,
        tenant: TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredPack>, Error> {
        self.call(self.inner.packs(tenant, from, limit)).await
    }

    async fn objects(
        &self,
        tenant: TenantId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<StoredObject>, Error> {
        self.call(self.inner.objects(tenant, after, limit)).await
    }

    async fn condemn(&self, tenant: TenantId, objects: &[Digest], since: u64) -> Result<(), Error> {
        self.call(self.inner.condemn(tenant, objects, since)).await
    }

    async fn spare(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<(), Error> {
        self.call(self.inner.spare(tenant, prefixes)).await
    }

    async fn sweep(&self, tenant: TenantId, sweep: &Sweep) -> Result<bool, Error> {
        self.call(self.inner.sweep(tenant, sweep)).await
    }

    async fn repack(&self, tenant: TenantId, from: &[u32], pack: &PackRecord) -> Result<(), Error> {
        self.call(self.inner.repack(tenant, from, pack)).await
    }

    async fn replace(&self, tenant: TenantId, pack: &PackRecord) -> Result<(), Error> {
        self.call(self.inner.replace(tenant, pack)).await
    }

    async fn retire(&self, tenant: TenantId, packs: &[u32]) -> Result<(), Error> {
        self.call(self.inner.retire(tenant, packs)).await
    }

    async fn recorded(&self, names: &[Digest]) -> Result<Vec<bool>, Error> {
        self.call(self.inner.recorded(names)).await
    }

    async fn expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error> {
        self.call(self.inner.expired(tenant, ids)).await
    }

    async fn note_expired(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<(), Error> {
        self.call(self.inner.note_expired(tenant, ids)).await
    }

    async fn retention(&self, tenant: TenantId, branch: &str) -> Result<Retention, Error> {
        self.call(self.inner.retention(tenant, branch)).await
    }

    async fn set_retention(
        &self,
        tenant: TenantId,
        branch: &str,
        retention: Retention,
    ) -> Result<(), Error> {
        let set = self.inner.set_retention(tenant, branch, retention);
        self.call(set).await
    }
}
