//! Skills, content and access-control rules: files that people edit and rows that programs read, kept equal in either
//! direction without losing what only one of them can hold.
//!
//! - [`SkillsLocalSync`], [`ContentLocalSync`], [`AccessControlLocalSync`]: one kind of item each, in a tree beside a
//!   database. Their `plan` reads both sides and decides, and changes nothing; their `apply` does exactly that, or says what moved.
//! - [`decide()`]: the decision, from three digests.
//! - [`LocalPlan`], [`LocalOutcome`], [`ItemDifference`]: what would be done, what was done, what differs.
//!
//! What is in no column stays in the files, and once more in schema `sync` of the database, so that files that are lost come
//! back byte for byte. It never prints, reads no clock and no randomness, and knows no network.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod decide;
mod error;
mod record;

mod frame;
mod instant;
mod yaml;

mod fields;
mod kind;

mod access;
mod content;
mod skills;

mod disk;
mod rows;
mod said;

mod judge;
mod plan;

mod pull;
mod push;
mod spool;

mod local;

pub use decide::{Direction, Rules, Seen, Side, Verdict, decide};
pub use error::Error;
pub use local::{
    AccessControlLocalSync, ContentLocalSync, ItemDifference, LocalKind, LocalOutcome, LocalPlace,
    LocalSync, NOTE, Ports, SkillsLocalSync,
};
pub use plan::{Change, LocalItem, LocalOptions, LocalPlan};
pub use record::{FieldChange, Key};
