//! The messages about upkeep: what is damaged, what was removed, what a branch keeps.

use serde::{Deserialize, Serialize};
use sync_core::{Digest, SnapshotId};

use super::ErrorDetail;

/// Which snapshots of a branch are kept. Its head always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retention {
    /// Every one.
    #[default]
    All,
    /// The newest so many of its log.
    Last(u64),
    /// Those that were its head within so many milliseconds.
    For(u64),
}

/// What a branch of a tenant keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchRetention {
    /// The tenant.
    pub tenant: String,
    /// The branch.
    pub branch: String,
    /// What it keeps.
    pub retention: Retention,
}

/// What kind of object is damaged or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// A snapshot.
    Snapshot,
    /// A release.
    Release,
    /// A node of a map.
    Node,
    /// A list of chunks.
    List,
    /// A chunk of a file, of a row or of a large value of one.
    Chunk,
    /// A schema of a table.
    Schema,
}

/// An object that somebody needs and that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Its name.
    pub digest: Digest,
    /// What it is.
    pub kind: DamageKind,
    /// What is wrong with it.
    pub reason: String,
    /// A path that needs it, of a node the last path below it; or a table, and the key of a row likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A snapshot that needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}

/// What a look at every object found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Snapshots that were followed.
    pub snapshots: u64,
    /// Packs that were read.
    pub packs: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Objects that were found intact.
    pub objects: u64,
    /// Packs that are not what their names promise, at most a thousand. Where no object is damaged, nobody needs
    /// what is wrong with them.
    pub damaged_packs: Vec<Digest>,
    /// What is damaged or missing, at most a thousand.
    pub damaged: Vec<Damage>,
    /// How many there are; what a damaged node would itself name is not counted.
    pub damaged_total: u64,
    /// Damaged objects that no snapshot needs.
    pub unneeded: u64,
}

impl VerifyReport {
    /// Whether everything that is needed is intact.
    pub fn is_sound(&self) -> bool {
        self.damaged_total == 0
    }
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GcReport {
    /// Snapshots that are kept.
    pub snapshots: u64,
    /// Snapshots that are no longer kept.
    pub expired: u64,
    /// Objects that are kept because a snapshot names them.
    pub objects: u64,
    /// Objects that were removed.
    pub removed: u64,
    /// Their bytes, uncompressed.
    pub removed_bytes: u64,
    /// Objects that nobody names and whose grace is not over.
    pub waiting: u64,
    /// Packs whose objects moved into others.
    pub packs_rewritten: u64,
    /// Packs that are gone.
    pub packs_removed: u64,
}

/// A collection to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AskGc {
    /// Of which tenant; of all where absent.
    #[serde(default)]
    pub tenant: Option<String>,
    /// For how many seconds an object survives after it was first found that nobody names it.
    pub grace_seconds: u64,
    /// Whether only to say what would be done.
    #[serde(default)]
    pub plan: bool,
}

/// A look at every object to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AskVerify {
    /// Of which tenant; of all where absent.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// What upkeep did for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkept<T> {
    /// The tenant.
    pub tenant: String,
    /// What was done.
    #[serde(flatten)]
    pub report: T,
}

/// What became of objects that were sent to replace damaged ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Repaired {
    /// How many took the place of damaged or missing ones; the others were not needed.
    pub objects: u64,
}

/// The body of an answer that takes long: white space while the work goes on, then this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// It was done.
    Done(T),
    /// It failed.
    Error(ErrorDetail),
}
