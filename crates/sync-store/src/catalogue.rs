//! The port to what is known about objects: tenants, tokens, where objects are, snapshots, heads and their log.

mod embedded;
mod memory;
mod upkeep;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sync_core::{Digest, SnapshotId};

use crate::Error;
use crate::protocol::Scope;

pub use embedded::RedbCatalogue;
pub use memory::MemoryCatalogue;
pub use upkeep::{Marks, StoredObject, StoredPack, Sweep, Upkeep};

/// A tenant, as its catalogue numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub u32);

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: String,
}

/// What is kept of a token. The store does not judge it: scopes and times are for whoever checks requests.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its public name.
    pub id: String,
    /// The tenant that it is for.
    pub tenant: String,
    /// What it allows.
    pub scope: Scope,
    /// The digest of the secret; the secret itself is nowhere.
    pub secret_hash: Digest,
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it was made, in milliseconds since 1970-01-01T00:00:00Z.
    pub created: u64,
    /// When it ends, in milliseconds since 1970-01-01T00:00:00Z; absent where it does not.
    pub expires: Option<u64>,
    /// When it was revoked, in milliseconds since 1970-01-01T00:00:00Z.
    pub revoked: Option<u64>,
}

impl std::fmt::Debug for TokenRecord {
    // Without the hash: logs are read by more people than may try to guess at it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRecord")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("scope", &self.scope)
            .field("label", &self.label)
            .field("created", &self.created)
            .field("expires", &self.expires)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// Where an object is inside a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where its block starts in the pack.
    pub block: u32,
    /// How many bytes of the pack the block has, header included.
    pub block_len: u32,
    /// Where the object starts in the inflated block.
    pub start: u32,
    /// How many bytes the object has.
    pub len: u32,
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// The pack.
    pub pack: Digest,
    /// The place in it.
    pub place: Place,
}

/// A pack that the blob store has and the catalogue is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRecord {
    /// Its name in the blob store.
    pub name: Digest,
    /// How many bytes it has.
    pub len: u64,
    /// Every object in it once, by rising digest.
    pub objects: Vec<(Digest, Place)>,
}

impl HeadMove {
    /// Whether the branch was removed then.
    pub(crate) fn is_removal(&self) -> bool {
        self.from == Some(self.to)
    }
}

impl PackRecord {
    /// Where an object is in the pack.
    pub(crate) fn place(&self, digest: &Digest) -> Option<Place> {
        let found = self
            .objects
            .binary_search_by_key(digest, |(digest, _)| *digest);
        Some(self.objects[found.ok()?].1)
    }
}

/// What the head of a branch has to be for it to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Exactly this: a snapshot, or no head at all.
    Is(Option<SnapshotId>),
    /// Whatever it is: for a head that one process alone moves.
    Any,
}

/// A head that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadChange {
    /// Which branch.
    pub branch: String,
    /// What its head has to be.
    pub expected: Expected,
    /// What its head becomes. It is recorded as accepted too.
    pub target: SnapshotId,
    /// Snapshots that it comes after and that come with it: they are recorded as accepted as well.
    pub history: Vec<SnapshotId>,
    /// When, in milliseconds since 1970-01-01T00:00:00Z, for the log.
    pub when: u64,
    /// The tenant's [`Marks::generation`] at which everything that the target names was seen to be here;
    /// `None` where nobody looked.
    pub generation: Option<u64>,
}

/// What became of a [`HeadChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// The head is the target now, and was not before.
    Moved,
    /// The head was the target already; the log has no new line.
    Already,
    /// The head is another than expected, and is as it was.
    Stale {
        /// What it is.
        head: Option<SnapshotId>,
    },
}

impl Advanced {
    /// Whether the head is another than expected.
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}

/// What came of a [`Catalogue::commit`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// How many objects of the packs have a place now and had none before.
    pub added: u64,
    /// What became of each head, in the order given. Where one is [`Advanced::Stale`] none has moved, whatever is said of the
    /// others.
    pub heads: Vec<Advanced>,
}

/// A branch that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRemoval {
    /// Which branch.
    pub branch: String,
    /// What its head has to be.
    pub expected: SnapshotId,
    /// When, in milliseconds since 1970-01-01T00:00:00Z, for the log.
    pub when: u64,
}

/// What became of a [`BranchRemoval`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The branch is gone, and was there before.
    Gone,
    /// Its head is another than expected; it is as it was.
    Stale {
        /// What it is; `None` where there is no such branch.
        head: Option<SnapshotId>,
    },
}

/// A line of the log of head moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadMove {
    /// Which branch.
    pub branch: String,
    /// What its head was.
    pub from: Option<SnapshotId>,
    /// What it became; the same as `from` where the branch was removed, which nothing else leaves behind.
    pub to: SnapshotId,
    /// When, in milliseconds since 1970-01-01T00:00:00Z by the clock of whoever moved it.
    pub when: u64,
}

/// What is known about objects. Object-safe; `contract::catalogue` (feature `contract`) is what all adapters must pass.
///
/// Every change is one transaction, durable when the call returns, and seen by every later call.
/// On an error nothing has changed; where it cannot be known whether it has ([`Error::Catalogue`] while committing),
/// asking again and doing it again both are safe.
#[async_trait]
pub trait Catalogue: Upkeep + Send + Sync + std::fmt::Debug + 'static {
    /// Makes a tenant.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] where one has this name.
    async fn create_tenant(&self, name: &str) -> Result<TenantRecord, Error>;

    /// The tenant of this name.
    async fn tenant(&self, name: &str) -> Result<Option<TenantRecord>, Error>;

    /// All tenants, by name.
    async fn tenants(&self) -> Result<Vec<TenantRecord>, Error>;

    /// Records a new token.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] where one has its id, [`Error::UnknownTenant`] where its tenant does not exist.
    async fn put_token(&self, token: TokenRecord) -> Result<(), Error>;

    /// The token of this id.
    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, Error>;

    /// The tokens of a tenant, revoked ones too, by id.
    async fn tokens(&self, tenant: &str) -> Result<Vec<TokenRecord>, Error>;

    /// Marks a token as revoked at `when`, unless it is already; says whether there is such a token.
    async fn revoke_token(&self, id: &str, when: u64) -> Result<bool, Error>;

    /// Where each object is, in the order asked.
    async fn locate(
        &self,
        tenant: TenantId,
        objects: &[Digest],
    ) -> Result<Vec<Option<Location>>, Error>;

    /// For each prefix, in the order asked, whether some object's digest starts with it.
    async fn holds(&self, tenant: TenantId, prefixes: &[[u8; 8]]) -> Result<Vec<bool>, Error>;

    /// Whether the tenant has no object at all.
    async fn is_vacant(&self, tenant: TenantId) -> Result<bool, Error>;

    /// Whether each of these is an accepted snapshot, in the order asked.
    async fn accepted(&self, tenant: TenantId, ids: &[SnapshotId]) -> Result<Vec<bool>, Error>;

    /// The accepted snapshots from `first` to `last`, both included, in rising order, at most `limit`.
    async fn snapshots(
        &self,
        tenant: TenantId,
        first: SnapshotId,
        last: SnapshotId,
        limit: usize,
    ) -> Result<Vec<SnapshotId>, Error>;

    /// The head of a branch.
    async fn head(&self, tenant: TenantId, branch: &str) -> Result<Option<SnapshotId>, Error>;

    /// All branches with their heads, by name.
    async fn heads(&self, tenant: TenantId) -> Result<Vec<(String, SnapshotId)>, Error>;

    /// Removes a branch and what it keeps, by compare-and-swap, and leaves a line in the log of heads.
    async fn remove_head(
        &self,
        tenant: TenantId,
        removal: &BranchRemoval,
    ) -> Result<Removed, Error>;

    /// The latest moves of heads, newest first, at most `limit`.
    async fn head_moves(&self, tenant: TenantId, limit: usize) -> Result<Vec<HeadMove>, Error>;

    /// A small value that the tenant keeps under `key`: at most some KiB, read whole.
    async fn note(&self, tenant: TenantId, key: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Sets what is kept under `key`; `None` removes it.
    async fn set_note(
        &self,
        tenant: TenantId,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<(), Error>;

    /// Records packs with their objects, and moves heads of different branches, all of them or none, in one transaction.
    ///
    /// An object that is known already keeps its place.
    /// The packs are recorded even where a head turns out to be stale.
    ///
    /// # Errors
    ///
    /// [`Error::Collected`] where the generation of a head is over: objects were removed since they were seen. The heads are
    /// as they were, the packs are recorded.
    async fn commit(
        &self,
        tenant: TenantId,
        packs: &[PackRecord],
        heads: &[HeadChange],
    ) -> Result<Committed, Error>;
}
