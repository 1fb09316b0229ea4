//! A PostgreSQL database as a working copy: capture its rows into maps, apply maps to it, and lose nothing on the way.
//!
//! - [`Database`] is where it is; [`TableSpec`] says which rows of a table travel.
//! - [`Relation`] is what the database says of such a table: columns, key, foreign keys, what applies to its rows.
//!
//! Row values never appear in errors or logs.
#![doc = ""]
#![doc = include_str!("../README.md")]

mod connect;
mod error;
mod relation;
mod spec;
mod sql;
mod tls;
mod working_copy;

pub use connect::{ConnectOptions, Database};
pub use error::Error;
pub use relation::{ForeignKey, Relation, RelationColumn, UniqueKey};
pub use spec::{OnConflict, TableSpec, default_tables};
pub use working_copy::{Base, Capture, Doubt, Epoch, Known, Reading, Settlement, TableCapture};
