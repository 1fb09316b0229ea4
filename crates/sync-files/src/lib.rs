//! A directory as a working copy: capture it into entries by path, apply entries to it, and lose nothing on the way.
//!
//! - [`Tree`] is an opened directory with the private directory beside it.
//! - [`Tree::capture`] walks it and tells what differs from a [`StatCache`], reading only what its stat does not vouch for;
//!   [`Tree::contents`] reads files again, chunk by chunk, for sending; a small one can be had as a [`Whole`].
//! - A [`Plan`] is a list of paths, each with the entry that is expected there and the one that is wanted.
//!   [`Tree::stage`] writes the wanted files aside, from chunks in any order; [`Staging::commit`] checks every expectation
//!   and moves them in under a journal; [`Tree::recover`] finishes or undoes what a crash interrupted.
//! - [`merge_text`] merges what two sides made of one text; [`Patterns`] choose paths.
//!
//! Links are never followed, neither by the walk nor by an apply. Nothing here prints, waits for a network or needs a runtime;
//! the walk and the hashing use the cores through rayon. The decisions are in `docs/adr/0005-capture-and-apply.md`.

mod error;
mod faults;

mod stat;

mod beneath;
mod tree;

mod cache;
mod capture;
mod contents;
mod ignored;
mod merge;
mod patterns;
mod read;
mod secret;
mod whole;

mod check;
mod commit;
mod journal;
mod plan;
mod recover;
mod staging;
mod txn;
mod undo;

pub use cache::{Doubt, StatCache};
pub use capture::{Capture, CaptureEvent, CaptureOptions, IsKnown, Refusal, Refused};
pub use commit::{Applied, ApplyEvent};
pub use contents::{Contents, placed};
pub use error::{Error, Result};
pub use faults::{Faults, NoFaults};
pub use merge::merge_text;
pub use patterns::Patterns;
pub use plan::{Plan, Step};
pub use recover::{Kept, Recovered};
pub use staging::Staging;
pub use stat::{FileStat, Stamp};
pub use tree::Tree;
pub use whole::Whole;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
