//! What is in a bundle, as canonical JSON (RFC 8785: sorted keys, no white space), in the one form that is signed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ensure};
use sync_core::wire::{put_bytes, put_varint};
use sync_core::{Digest, Name, SnapshotId};
use sync_store::identity::Succession;
use sync_store::protocol::{Retention, Scope};
use sync_store::{Identity, PublicKey, Signature, TokenRecord};

use crate::Error;
use crate::error::{PathSnafu, SignatureSnafu, VersionSnafu};

/// The version of everything in this crate.
pub const VERSION: u64 = 1;
/// The domain of a bundle's signature.
pub(crate) const DOMAIN: &str = "bundle";

/// The manifest, the first member.
pub const MANIFEST: &str = "manifest.json";
/// The signature of the manifest's bytes, the second member; absent where nobody signed.
pub const SIGNATURE: &str = "manifest.sig";
/// Who signed, the third member; absent where nobody did.
pub const KEY: &str = "identity/public_key.json";
/// Branches and what they keep.
pub const BRANCHES: &str = "branches.json";
/// Settings of the tenant.
pub const TENANT: &str = "config/tenant.json";
/// Tokens of the tenant, without what would let anybody in.
pub const TOKENS: &str = "config/tokens.json";

/// The most bytes of a manifest: some 60,000 members.
pub const MAX_MANIFEST: u64 = 8 << 20;
/// The most bytes of the list of keys.
pub const MAX_KEY: u64 = 1 << 20;
/// The most bytes of another member that is JSON.
pub const MAX_JSON: u64 = 8 << 20;
/// The most bytes of a pack in a bundle.
pub const MAX_PACK: u64 = 16 << 20;
/// The most snapshots of one member.
pub const MAX_LINES: usize = 10_000;

/// A member: where it stands in the archive, and which bytes it has.
// Fields are in alphabetical order: that is the canonical order of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The BLAKE3 digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub length: u64,
    /// Its path in the tar.
    pub path: String,
}

/// What a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Branches,
    Tenant,
    Tokens,
    Pack,
    Snapshots,
}

impl Member {
    /// What it holds; `None` where no member has this path or length.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let (kind, most) = match self.path.as_str() {
            BRANCHES => (Kind::Branches, MAX_JSON),
            TENANT => (Kind::Tenant, MAX_JSON),
            TOKENS => (Kind::Tokens, MAX_JSON),
            path if is_numbered(path, "packs/", ".pack") => (Kind::Pack, MAX_PACK),
            path if is_numbered(path, "snapshots/", ".jsonl") => (Kind::Snapshots, MAX_JSON),
            _ => return None,
        };
        (1..=most).contains(&self.length).then_some(kind)
    }
}

/// The path of the `number`th pack, counted from 1.
pub(crate) fn pack_path(number: usize) -> String {
    format!("packs/{number:06}.pack")
}

/// The path of the `number`th list of snapshots, counted from 1.
pub(crate) fn snapshots_path(number: usize) -> String {
    format!("snapshots/{number:06}.jsonl")
}

fn is_numbered(path: &str, prefix: &str, suffix: &str) -> bool {
    let number = path
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(suffix));
    number.is_some_and(|number| number.len() == 6 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The head of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadEntry {
    /// The branch.
    pub branch: Name,
    /// Its head.
    pub snapshot: SnapshotId,
}

/// The fingerprint of a table's schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaEntry {
    /// The digest of the schema, which is an object.
    pub digest: Digest,
    /// The table.
    pub table: String,
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The key of the tenant; absent where it has none, and nobody signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
    /// What it is called there.
    pub tenant: Name,
}

/// What is in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// BLAKE3 over path, length and digest of each member in the order of their paths.
    pub bundle_digest: Digest,
    /// [`VERSION`].
    pub bundle_version: u64,
    /// The latest time of a head, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_at: u64,
    /// The branches with their heads, by name.
    pub heads: Vec<HeadEntry>,
    /// All members after the first three, in the order of their paths, which is the order in which they come.
    pub members: Vec<Member>,
    /// Snapshots that a tenant has to have for it to take the bundle, in rising order.
    pub prerequisites: Vec<SnapshotId>,
    /// How many objects, snapshots, branches, settings and tokens there are.
    pub record_count: u64,
    /// The tables of the heads, in rising order.
    pub schemas: Vec<SchemaEntry>,
    /// Where it comes from.
    pub source: Source,
}

impl Manifest {
    /// The canonical JSON.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads canonical JSON, and checks everything about it that can be checked without what it names.
    ///
    /// # Errors
    ///
    /// [`Error::Version`], [`Error::Path`], [`Error::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        /// What every version of a manifest has.
        #[derive(Deserialize)]
        struct Versioned {
            bundle_version: u64,
        }
        let versioned = serde_json::from_slice::<Versioned>(bytes);
        let found = versioned
            .map_err(|error| Error::malformed(MANIFEST, error))?
            .bundle_version;
        ensure!(found == VERSION, VersionSnafu { found });
        let manifest: Self = decode(MANIFEST, bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Error> {
        let refused = |reason: &str| Err(Error::malformed(MANIFEST, reason));
        let mut before = None;
        let (mut packs, mut lists) = (0, 0);
        for member in &self.members {
            let path = || member.path.chars().take(64).collect::<String>();
            let kind = member.kind().with_context(|| PathSnafu {
                path: path().escape_debug().to_string(),
            })?;
            if before >= Some(&member.path) {
                return refused("its members do not come in the order of their paths");
            }
            before = Some(&member.path);
            let expected = match kind {
                Kind::Pack => {
                    packs += 1;
                    pack_path(packs)
                }
                Kind::Snapshots => {
                    lists += 1;
                    snapshots_path(lists)
                }
                _ => continue,
            };
            if member.path != expected {
                return refused("the numbers of its members have gaps");
            }
        }
        let has = |path| self.members.iter().any(|member| member.path == path);
        if !(has(BRANCHES) && has(TENANT) && has(TOKENS) && lists > 0) {
            return refused("members are missing that every bundle has");
        }
        if bundle_digest(&self.members) != self.bundle_digest {
            return refused("its digest is not that of its members");
        }
        let heads = self.heads.windows(2);
        if self.heads.is_empty()
            || !heads
                .into_iter()
                .all(|pair| pair[0].branch < pair[1].branch)
        {
            return refused("its heads are none, or not in the order of their names");
        }
        if !(is_rising(&self.prerequisites) && is_rising(&self.schemas)) {
            return refused("a list of it is not in order");
        }
        Ok(())
    }

    /// How many bytes the members have.
    pub fn total_bytes(&self) -> u64 {
        let lengths = self.members.iter().map(|member| member.length);
        lengths.fold(0, u64::saturating_add)
    }
}

/// The digest of all members together.
pub fn bundle_digest(members: &[Member]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for member in members {
        let mut text = Vec::with_capacity(64 + member.path.len());
        put_bytes(&mut text, member.path.as_bytes());
        put_varint(&mut text, member.length);
        text.extend_from_slice(member.digest.as_bytes());
        hasher.update(&text);
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Who signed a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The key.
    pub public_key: PublicKey,
    /// How older keys led to it, the oldest first.
    pub successions: Vec<Succession>,
}

impl Signer {
    /// Whether whoever knew `known` may take this one for it.
    pub fn follows(&self, known: PublicKey) -> bool {
        Succession::leads(&self.successions, known, self.public_key)
    }
}

/// Signs the bytes of a manifest.
pub(crate) fn sign(key: &Identity, manifest: &[u8]) -> Signature {
    key.sign(DOMAIN, manifest)
}

/// Whether the signature is by the signer, over these bytes of a manifest that names him.
pub(crate) fn verify(
    manifest: &Manifest,
    bytes: &[u8],
    signature: &[u8],
    signer: &Signer,
) -> Result<(), Error> {
    let key = signer.public_key;
    let signature = std::str::from_utf8(signature).ok();
    let signature: Option<Signature> = signature.and_then(|text| text.parse().ok());
    let is_right = manifest.source.public_key == Some(key)
        && signature.is_some_and(|signature| key.verify(DOMAIN, bytes, &signature).is_ok());
    ensure!(is_right, SignatureSnafu { key });
    Ok(())
}

/// A branch, and what it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptBranch {
    /// The branch.
    pub branch: Name,
    /// Its head.
    pub head: SnapshotId,
    /// Which of its snapshots it keeps.
    pub retention: Retention,
}

/// The member with branches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branches {
    /// The branches, by name.
    pub branches: Vec<KeptBranch>,
    /// Snapshots that those in the bundle come after and that are known by name alone, in rising order.
    pub expired: Vec<SnapshotId>,
}

impl Branches {
    pub(crate) fn decode(bytes: &[u8], manifest: &Manifest) -> Result<Self, Error> {
        let branches: Self = decode(BRANCHES, bytes)?;
        let heads = branches
            .branches
            .iter()
            .map(|kept| (&kept.branch, kept.head));
        let named = manifest
            .heads
            .iter()
            .map(|head| (&head.branch, head.snapshot));
        if !heads.eq(named) || !is_rising(&branches.expired) {
            let reason =
                "its branches are others than those of the manifest, or a list is not in order";
            return Err(Error::malformed(BRANCHES, reason));
        }
        Ok(branches)
    }
}

/// What is told of a token: enough to issue another one like it, nothing that lets anybody in. Times are in milliseconds since
/// 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// When it was made.
    pub created: u64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Its public name.
    pub id: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
    /// What it allows.
    pub scope: Scope,
}

impl From<TokenRecord> for TokenEntry {
    fn from(record: TokenRecord) -> Self {
        Self {
            created: record.created,
            expires: record.expires,
            id: record.id,
            label: record.label,
            revoked: record.revoked,
            scope: record.scope,
        }
    }
}

/// JSON in its canonical form: fields of our types are in alphabetical order, and maps are sorted.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Texts, numbers and lists of them always have a JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Reads JSON in its canonical form.
pub(crate) fn decode<T: DeserializeOwned + Serialize>(
    member: &str,
    bytes: &[u8],
) -> Result<T, Error> {
    let malformed = |error: serde_json::Error| Error::malformed(member, error);
    let value: T = serde_json::from_slice(bytes).map_err(malformed)?;
    let canonical = encode(&value);
    if canonical != bytes {
        return Err(Error::malformed(member, "it is not in canonical form"));
    }
    Ok(value)
}

fn is_rising<T: PartialOrd>(list: &[T]) -> bool {
    list.windows(2).all(|pair| pair[0] < pair[1])
}
