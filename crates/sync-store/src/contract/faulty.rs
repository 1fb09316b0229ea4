//! Adapters that fail on demand, so that "what stands after a failure" is a loop over the calls.

mod upkeep;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sync_core::{Digest, SnapshotId};

use crate::Error;
use crate::blobs::Blobs;
use crate::catalogue::{
    BranchRemoval, Catalogue, Committed, HeadChange, HeadMove, Location, PackRecord, Removed,
    TenantId, TenantRecord, TokenRecord,
};

/// How the chosen call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and says that it failed.
    Before,
    /// It does what it should and says that it failed, as a lost answer does.
    After,
}

/// Counts the calls of every wrapper that shares it, and fails one of them.
#[derive(Debug)]
pub struct Faults {
    calls: AtomicU64,
    /// Which call fails, counted from 1; 0 for none.
    nth: u64,
    fault: Fault,
}

impl Faults {
    /// Fails the `nth` call, counted from 1; none where `nth` is 0.
    pub fn at(nth: u64, fault: Fault) -> Arc<Self> {
        let calls = AtomicU64::new(0);
        Arc::new(Self { calls, nth, fault })
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether this call is the one that fails.
    fn due(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.nth
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
        error: fn(crate::error::BoxError) -> Error,
    ) -> Result<T, Error> {
        if !self.due() {
            return call.await;
        }
        if self.fault == Fault::After {
            call.await?;
        }
        Err(error("injected".into()))
    }
}

/// A blob store of which one call fails.
#[derive(Debug)]
pub struct FaultyBlobs {
    inner: Arc<dyn Blobs>,
    faults: Arc<Faults>,
}

impl FaultyBlobs {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Blobs>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let error = |source| Error::Blobs {
            action: "do the chosen call".to_owned(),
            source,
        };
        self.faults.call(call, error).await
    }
}

#[async_trait]
impl Blobs for FaultyBlobs {
    async fn put(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error> {
        self.call(self.inner.put(name, parts)).await
    }

    async fn replace(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error> {
        self.call(self.inner.replace(name, parts)).await
    }

    async fn get(&self, name: &Digest, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        self.call(self.inner.get(name, range)).await
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        self.call(self.inner.list(after, limit)).await
    }

    async fn delete(&self, name: &Digest) -> Result<bool, Error> {
        self.call(self.inner.delete(name)).await
    }
}

/// A catalogue of which one call fails.
#[derive(Debug)]
pub struct FaultyCatalogue {
    inner: Arc<dyn Catalogue>,
    faults: Arc<Faults>,
}

impl FaultyCatalogue {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Catalogue>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let error = |source| Error::Catalogue {
            action: "do the chosen call",
            source,
        };
        self.faults.call(call, error).await
    }
}

#[async_trait]
impl Catalogue for FaultyCatalogue {
    async fn create_tenant(&self, name: &str) -> Result<TenantRecord, Error> {
        self.call(self.inner.create_tenant(name)).await
    }

    async fn tenant(&self, name: &str) -> Result<Option<TenantRecord>, Error> {
        self.call(self.inner.tenant(name)).await
    }

    async fn tenants(&self) -> Result<Vec<TenantRecord>, Error> {
        self.call(self.inner.tenants()).await
    }

    async fn put_token(&self, token: TokenRecord) -> Result<(), Error> {
        self.call(self.inner.put_token(token)).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, Error> {
        self.call(self.inner.token(id)).await
    }

    async fn tokens(&self, tenant: &str) -> Result<Vec<TokenRecord>, Error> {
        self.call(self.inner.tokens(tenant)).await
    }

    async fn revoke_token(&self, id: &str, when: u64) -> Result<bool, Error> {
        self.call(self.inner.revoke_token(id, when)).await
    }

    async fn locate(
        &self,
        tenant: TenantId,
        objects: &[Digest],
    ) -> Result<Vec<Option<Location>>, Error> {
        self.call(self.inner.locate(tenant, objects)).await
    }

    async fn holds(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<Vec<bool>, Error> {
        self.call(self.inner.holds(tenant, prefixes)).await
    }

    async fn is_vacant(&self, tenant: TenantId) -> Result<bool, Error> {
        self.call(self.inner.is_vacant(tenant)).await
    }

    async fn accepted(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error> {
        self.call(self.inner.accepted(tenant, ids)).await
    }

    async fn snapshots(
        &self,
        tenant: TenantId,
        first: SnapshotId,
        last: SnapshotId,
        limit: usize,
    ) -> Result<Vec<SnapshotId>, Error> {
        self.call(self.inner.snapshots(tenant, first, last, limit))
            .await
    }

    async fn head(&self, tenant: TenantId, branch: &str) -> Result<Option<SnapshotId>, Error> {
        self.call(self.inner.head(tenant, branch)).await
    }

    async fn heads(&self, tenant: TenantId) -> Result<Vec<(String, SnapshotId)>, Error> {
        self.call(self.inner.heads(tenant)).await
    }

    async fn remove_head(
        &self,
        tenant: TenantId,
        removal: &BranchRemoval,
    ) -> Result<Removed, Error> {
        self.call(self.inner.remove_head(tenant, removal)).await
    }

    async fn head_moves(&self, tenant: TenantId, limit: usize) -> Result<Vec<HeadMove>, Error> {
        self.call(self.inner.head_moves(tenant, limit)).await
    }

    async fn note(&self, tenant: TenantId, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.call(self.inner.note(tenant, key)).await
    }

    async fn set_note(
        &self,
        tenant: TenantId,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        self.call(self.inner.set_note(tenant, key, value)).await
    }

    async fn commit(
        &self,
        tenant: TenantId,
        packs: &[PackRecord],
        heads: &[HeadChange],
    ) -> Result<Committed, Error> {
        self.call(self.inner.commit(tenant, packs, heads)).await
    }
}
