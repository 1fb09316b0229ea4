//! A tenant as a bundle: one signed, content-addressed archive that holds all of it, and that another tenant is made equal to,
//! bit for bit (ADR 0018; byte layout in `docs/formats.md`).
//!
//! - [`manifest`]: what is in a bundle, in canonical JSON that is signed; [`tar`]: the one form of its headers.
//! - [`Reader`]: bytes of a tar into what is in it, each member checked. Pure.
//! - [`Export`]: a repository into a tar, always the same one. [`AskExport`]: how much of it.
//! - [`Incoming`]: a tar into a repository, from which [`Taken`] then moves heads. [`Plan`]: what that would change.
//! - [`mod@file`]: what is around the tar in a file: zstd, and [`age`] where it is for chosen readers.
//!
//! - [`plain`]: a head as files and lines of JSON, for people.
//!
//! Nothing that is read is believed: only the very bytes that this crate would have written are taken, and no head moves before
//! the last one was checked. Memory does not follow the size of a tenant.
//!
//! It knows no network, no database and no workspace, decides about nobody's trust, and opens no file but those of [`plain`].
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod age;
mod error;
mod export;
pub mod file;
mod history;
mod import;
pub mod manifest;
pub mod plain;
mod reader;
pub mod tar;
mod walk;

pub use error::Error;
pub use export::{AskExport, Beside, Export, Only};
pub use import::{
    BranchMove, Holds, Imported, Incoming, Plan, Reason, Summary, Taken, import_into_nothing, plan,
};
pub use manifest::{Branches, HeadEntry, KeptBranch, Manifest, Member, Signer, Source, TokenEntry};
pub use reader::{Event, Opening, Reader};
