//! The words of workspace sync as types, and the algorithms that decide: no I/O, no clock, no async runtime.
//!
//! Everything here is a pure function of its arguments, so the same input gives the same bytes on every machine.
//! Reading order:
//!
//! - [`digest`]: what names an object; [`size`]: byte counts as people read them.
//! - [`path`]: a validated path inside a tree; [`entry`]: what a tree holds at a path; [`content`]: a file as chunks,
//!   which [`cut`] makes.
//! - [`map`]: the ordered map as a Merkle search tree: build, get, edit, diff, merge, verify over a node source.
//!   A tree of files is a map from paths to encoded entries.
//! - [`rows`]: a table as a map from primary keys to rows, and a database as a map of tables.
//! - [`patch`]: bytes as a difference from other bytes.
//! - [`three_way`]: what becomes of a thing that two sides may have changed.
//! - [`name`]: what tenants and branches are called.
//! - [`snapshot`]: an immutable commit, named by the digest of its canonical JSON.
//! - [`release`]: what a tenant runs, an object as snapshots are.
//! - [`retry`]: when to try again, as arithmetic; [`fault`]: the face that every error of ours shows.
//! - [`wire`]: primitive encodings; [`codec`]: the one place that names `bincode`.

/// The example of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod codec;
pub mod content;
pub mod cut;
pub mod digest;
pub mod entry;
pub mod fault;
pub mod map;
pub mod name;
pub mod patch;
pub mod path;
pub mod release;
pub mod retry;
pub mod rows;
pub mod size;
pub mod snapshot;
mod three_way;
pub mod wire;

pub use content::{Chunk, Content};
pub use digest::Digest;
pub use entry::Entry;
pub use fault::{Class, Fault};
pub use name::Name;
pub use path::TreePath;
pub use release::Release;
pub use size::ByteCount;
pub use snapshot::{Roots, Snapshot, SnapshotId};
pub use three_way::three_way;
