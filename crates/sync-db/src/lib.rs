//! A PostgreSQL database as a working copy: capture its rows into maps, apply maps to it, and lose nothing on the way.
//!
//! - [`Database`] is where it is; [`TableSpec`] says which rows of a table travel.
//! - [`Relation`] is what the database says of such a table: columns, key, foreign keys, what applies to its rows.
//! - [`Database::capture`] makes maps of its tables, [`Database::settle`] writes down that it did, [`Database::track`] has
//!   the next one read only what changed, and a [`Listener`] says when that is.
//! - [`Database::apply`] brings the database to an [`ApplyPlan`]'s map in one transaction; [`table_differences`] tells
//!   beforehand whether rows can go from one side to the other.
//! - [`Statements`] is a transaction for crates above that keep rows of their own.
//!
//! Row values never appear in errors or logs.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod apply;
mod capture;
mod connect;
mod definitions;
mod error;
mod health;
mod listen;
mod migrate;
mod relation;
mod settle;
mod spec;
mod sql;
mod state;
mod statements;
mod tls;
mod track;
mod verify;
mod working_copy;

pub use apply::{
    Applied, ApplyEvent, ApplyPlan, MAX_SET_ASIDE, Rewritten, SetAside, TableApplied,
    TableDifference, table_differences,
};
#[cfg(fuzzing)]
pub use capture::fuzzing;
pub use capture::{CaptureEvent, Objects};
pub use connect::{ConnectOptions, Database};
pub use error::{Error, Refusal};
pub use health::{Agreement, Health, Hold, Holder};
pub use listen::Listener;
pub use migrate::Migrated;
pub use relation::{ForeignKey, Relation, RelationColumn, UniqueKey};
pub use spec::{OnConflict, TableSpec, default_tables};
pub use statements::{Isolation, Statements, Texts};
pub use track::Tracked;
pub use working_copy::{Base, Capture, Doubt, Epoch, Known, Reading, Settlement, TableCapture};
