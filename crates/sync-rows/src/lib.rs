//! A database beside a store of its history: what a workspace and a tenant's server do alike.
//!
//! - [`WorkingCopy`]: a database, the rows of it that travel, and the repository that holds their maps: [`WorkingCopy::capture`],
//!   [`WorkingCopy::merge`], [`WorkingCopy::apply`], [`WorkingCopy::settle`].
//! - [`Memory`]: what is remembered of the database outside of it.
//! - [`changes`]: rows that differ, for people. [`conflicts`]: what a person has to choose.
//!
//! It knows no network and no workspace.
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod changes;
pub mod conflicts;
mod error;
mod memory;
mod working_copy;

pub use changes::{CellChange, RowChange, RowKind};
pub use conflicts::{OpenConflict, Resolution, Resolutions};
pub use error::Error;
pub use memory::{Memory, Remembered};
pub use working_copy::{Agreed, Merged, WorkingCopy, merge};
