//! The messages of the protocol (ADR 0004): routes, headers, and the JSON of bodies.
//!
//! Both ends see this crate, so both speak with these types. Packs are in [`crate::pack`].
//! Fields that a reader does not know are ignored, so that a newer server can say more.

mod binary;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use snafu::Snafu;
use sync_core::{Digest, Name, Release, Roots, Snapshot, SnapshotId};

use crate::identity::Moved;

pub mod deploy;
mod upkeep;

pub use upkeep::{
    Answer, AskGc, AskVerify, BranchRetention, Damage, DamageKind, GcReport, Repaired, Retention,
    Upkept, VerifyReport,
};

pub use binary::{
    decode_bits, decode_digests, decode_prefixes, decode_signatures, encode_bits, encode_digests,
    encode_prefixes, encode_signatures, prefix,
};

/// The request header with the id of the snapshot that a push is about.
pub const SNAPSHOT_HEADER: &str = "sync-snapshot";
/// The request header with the ids, separated by commas, of snapshots that what is pushed comes after and that nobody keeps.
pub const EXPIRED_HEADER: &str = "sync-expired";
/// The most ids in that header.
pub const MAX_EXPIRED: usize = 64;
/// The header of answers about heads with the public key of the tenant.
pub const IDENTITY_HEADER: &str = "sync-identity";
/// The header with the id of a request, on requests and answers.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// The media type of a pack.
pub const PACK_MEDIA_TYPE: &str = "application/vnd.sync.pack";
/// The media type of a bundle.
pub const BUNDLE_MEDIA_TYPE: &str = "application/x-tar";
/// The media type of digests and prefixes one after the other, and of the answer to `missing`.
pub const BINARY_MEDIA_TYPE: &str = "application/octet-stream";

/// The most digests in one `missing` or `objects` request.
pub const MAX_DIGESTS: usize = 1 << 20;
/// The most digests in one `signatures` request.
pub const MAX_SIGNED: usize = 1 << 15;
/// The most bytes of the signatures in one answer.
pub const MAX_SIGNATURES: usize = 4 << 20;
/// The most snapshots in one page of the log.
pub const MAX_LOG: usize = 1000;

/// The paths that requests go to. Names of tenants and branches are safe in a path as they are.
pub mod routes {
    /// What the paths of a tenant start with; `{tenant}/...` follows.
    pub const TENANTS: &str = "/v1/tenants/";
    /// What the operator's paths start with.
    pub const ADMIN: &str = "/v1/admin/";
    /// Tenants: GET lists, POST makes one.
    pub const ADMIN_TENANTS: &str = "/v1/admin/tenants";
    /// Tokens: GET (`?tenant=`) lists, POST makes one.
    pub const ADMIN_TOKENS: &str = "/v1/admin/tokens";
    /// Collection: POST [`super::AskGc`].
    pub const ADMIN_GC: &str = "/v1/admin/gc";
    /// Verification: POST [`super::AskVerify`].
    pub const ADMIN_VERIFY: &str = "/v1/admin/verify";
    /// Retention: GET (`?tenant=&branch=`) reads, PUT [`super::BranchRetention`] sets.
    pub const ADMIN_RETENTION: &str = "/v1/admin/retention";
    /// A tenant's database: GET (`?tenant=`) shows, PUT sets.
    pub const ADMIN_DATABASE: &str = "/v1/admin/database";
    /// Where a tenant's program runs: GET (`?tenant=`) shows, PUT [`super::deploy::SetDeploy`] sets.
    pub const ADMIN_DEPLOY: &str = "/v1/admin/deploy";
    /// Whether the process lives.
    pub const HEALTH: &str = "/healthz";
    /// Whether it can serve.
    pub const READY: &str = "/readyz";

    /// The branches: GET lists them.
    pub fn heads(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/heads")
    }

    /// A branch's head: GET reads it, POST moves it, DELETE removes the branch.
    pub fn head(tenant: &str, branch: &str) -> String {
        format!("{TENANTS}{tenant}/heads/{branch}")
    }

    /// Which objects are missing: POST prefixes.
    pub fn missing(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/missing")
    }

    /// What one snapshot has and another lacks: POST [`super::Fetch`].
    pub fn fetch(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/fetch")
    }

    /// Objects by name: POST digests.
    pub fn objects(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/objects")
    }

    /// Who the tenant is: GET (`?nonce=`) asks, POST makes it somebody.
    pub fn identity(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/identity")
    }

    /// A new key for the tenant, which the old one vouches for: POST.
    pub fn rotate_identity(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/identity/rotate")
    }

    /// Where the tenant lives now: PUT [`super::MoveTo`].
    pub fn moved(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/moved")
    }

    /// Whether everything of the tenant is intact: POST.
    pub fn verify(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/verify")
    }

    /// Good copies of what is damaged: POST a pack.
    pub fn repair(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/repair")
    }

    /// A tenant's program: GET says how it is ([`super::deploy::DeployStatus`]), POST [`super::deploy::AskDeploy`] has another
    /// release run.
    pub fn deploy(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/deploy")
    }

    /// What was deployed: GET [`super::deploy::Deploys`].
    pub fn deploys(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/deploys")
    }

    /// Who may push images, and where: GET [`super::deploy::RegistryToken`].
    pub fn registry_token(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/registry-token")
    }

    /// All of the tenant as a bundle: POST how much of it.
    pub fn export(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/export")
    }

    /// Makes the tenant what a bundle says: POST the bundle, with `trust` and `force` in the query.
    pub fn import(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/import")
    }

    /// What a bundle would change: POST how it begins, manifest and signature.
    pub fn import_plan(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/import/plan")
    }

    /// Signatures of objects: POST digests.
    pub fn signatures(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/signatures")
    }

    /// History: GET with `from` and `limit` in the query.
    pub fn snapshots(tenant: &str) -> String {
        format!("{TENANTS}{tenant}/snapshots")
    }

    /// One snapshot by the start of its id: GET.
    pub fn snapshot(tenant: &str, prefix: &str) -> String {
        format!("{TENANTS}{tenant}/snapshots/{prefix}")
    }

    /// One token: DELETE revokes it.
    pub fn admin_token(id: &str) -> String {
        format!("{ADMIN_TOKENS}/{id}")
    }
}

/// The answer to a question for a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The head; absent where the branch does not exist.
    pub head: Option<SnapshotId>,
    /// The snapshot itself.
    pub snapshot: Option<Snapshot>,
    /// Whether the tenant has no object at all, so that there is no use in asking what is missing.
    pub vacant: bool,
    /// The other branches, for who asked (`branches=true`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchRoots>,
}

/// What a branch holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchRoots {
    /// The branch.
    pub branch: Name,
    /// Its head.
    pub head: SnapshotId,
    /// What that holds.
    pub roots: Roots,
}

/// The branches of a tenant, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Branches {
    /// Each with its head.
    pub branches: Vec<Branch>,
}

/// A branch and the snapshot at its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// Its name.
    pub branch: Name,
    /// Its head.
    pub head: SnapshotId,
    /// The snapshot itself.
    pub snapshot: Snapshot,
}

/// The answer to a push that moved the head, or found it moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advanced {
    /// The head now.
    pub head: SnapshotId,
    /// How many objects came with the push.
    pub objects: u64,
    /// How many bytes of pack came with the push.
    pub bytes: u64,
    /// Rows that the tenant's database could not store: then the head is a snapshot of the tenant without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAsideRow>,
}

/// A row that a database could not store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideRow {
    /// The table.
    pub table: String,
    /// The primary key, in words.
    pub key: String,
    /// What the database said.
    pub reason: String,
}

/// A request for what `want` has and `have` lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The snapshot that is wanted.
    pub want: SnapshotId,
    /// One that the sender holds whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<SnapshotId>,
    /// Whether chunks are wanted too, not only snapshot, nodes and lists.
    #[serde(default)]
    pub contents: bool,
    /// Whether objects may come as patches of what `have` names.
    #[serde(default)]
    pub patches: bool,
    /// Which roots of the snapshot are wanted.
    #[serde(default, skip_serializing_if = "Part::is_files")]
    pub part: Part,
}

/// Which roots of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The map of files: what a request means that does not say.
    #[default]
    Files,
    /// The map of tables, and the maps of their rows.
    Rows,
    /// Everything: the release, too.
    All,
}

impl Part {
    /// Whether files are a part of it.
    pub const fn has_files(self) -> bool {
        matches!(self, Self::Files | Self::All)
    }

    /// Whether rows are a part of it.
    pub const fn has_rows(self) -> bool {
        matches!(self, Self::Rows | Self::All)
    }

    /// Whether the release is a part of it: nobody needs it but who carries a whole snapshot elsewhere.
    pub const fn has_release(self) -> bool {
        matches!(self, Self::All)
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    const fn is_files(&self) -> bool {
        matches!(self, Self::Files)
    }
}

/// History, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Log {
    /// The snapshots.
    pub snapshots: Vec<Logged>,
}

/// One snapshot of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Its name.
    pub id: SnapshotId,
    /// Itself.
    pub snapshot: Snapshot,
    /// What it says that the tenant runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The stable code, for programs.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The request that it went wrong in.
    pub request_id: String,
    /// What a program needs to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What a program needs to go on after an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Details {
    /// The head is another than expected.
    Stale(Stale),
    /// Objects are missing.
    Incomplete(Incomplete),
    /// Another deploy runs.
    Deploying(deploy::Deploying),
    /// The tenant lives elsewhere.
    Moved(Box<Moved>),
}

/// The head is another than expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// What it is.
    pub head: Option<SnapshotId>,
}

/// Objects that a pushed snapshot names are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// The first thousand.
    pub missing: Vec<Digest>,
    /// How many there are.
    pub total: u64,
}

/// What a token allows; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read heads, snapshots and objects.
    Read,
    /// Push.
    Write,
    /// Deploy.
    Deploy,
    /// Manage the tenant's tokens.
    Admin,
}

/// A text is none of the scopes.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[snafu(display("a scope is one of read, write, deploy, admin"))]
pub struct ParseScopeError;

impl Scope {
    /// The scope as text, as in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ParseScopeError;

    fn from_str(text: &str) -> Result<Self, ParseScopeError> {
        [Self::Read, Self::Write, Self::Deploy, Self::Admin]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(ParseScopeError)
    }
}

/// A tenant to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
}

/// What is told of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantInfo {
    /// Its name.
    pub name: String,
}

/// Where a tenant is to say that it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveTo {
    /// The address of the server; absent where it lives here again.
    pub url: Option<String>,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// The tenant that it is for.
    pub tenant: String,
    /// What it allows.
    pub scope: Scope,
    /// For how many seconds it is good; without an end where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A token that was made: the only time that its secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// Its public name.
    pub id: String,
    /// The token itself.
    pub token: String,
}

impl std::fmt::Debug for IssuedToken {
    // The secret stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What is told of a token. Times are in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its public name.
    pub id: String,
    /// The tenant that it is for.
    pub tenant: String,
    /// What it allows.
    pub scope: Scope,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was made.
    pub created: u64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

impl From<crate::TokenRecord> for TokenInfo {
    fn from(record: crate::TokenRecord) -> Self {
        Self {
            id: record.id,
            tenant: record.tenant,
            scope: record.scope,
            label: record.label,
            created: record.created,
            expires: record.expires,
            revoked: record.revoked,
        }
    }
}

#[cfg(test)]
mod tests;
