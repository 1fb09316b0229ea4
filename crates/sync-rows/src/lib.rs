//! A database beside a store of its history: what a workspace and a tenant's server do alike.
//!
//! - [`Copy`]: a database, the rows of it that travel, and the repository that holds their maps: [`Copy::capture`],
//!   [`Copy::merge`], [`Copy::apply`], [`Copy::settle`].
//! - [`Memory`]: what is remembered of the database outside of it.
//! - [`changes`]: rows that differ, for people. [`conflicts`]: what a person has to choose.
//!
//! It knows no network and no workspace.
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod changes;
pub mod conflicts;
mod copy;
mod error;
mod memory;

pub use changes::{CellChange, RowChange, RowKind, TableSum};
pub use conflicts::{OpenConflict, Resolution, Resolutions, Version};
pub use copy::{Agreed, Copy, Merged};
pub use error::Error;
pub use memory::{Memory, Remembered};
