//! The rows of a database as maps: what a table's row is as bytes, and what two sides made of a third.
//!
//! The map of *tables* has a [`TableEntry`] for each table: its [`Schema`], how many rows it has, and the root of the map
//! of its *rows*, from an encoded primary key ([`KeyWriter`]) to an encoded [`Row`].
//! A database is thus named by one root, exactly as a tree of files is, and both are compared, merged and sent by the
//! same code. The formats are in `docs/formats.md`, the decisions in `docs/adr/0011-rows.md`.
//!
//! - [`Row`], [`RowWriter`]: a row as columns by name. [`KeyWriter`]: a primary key whose bytes sort as the database sorts.
//! - [`Schema`], [`TableEntry`], [`TableName`]: what a table is. [`tables`], [`table`]: reading the map of tables.
//! - [`text`]: a value of a column as people read it.
//! - [`merge_row`]: what two sides made of one row, column by column, under [`Rules`]; [`merge_tables`]: of a whole database.

mod key;
mod merge;
mod merge_tables;
mod row;
mod schema;
mod table;
mod text;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod schedules;

pub use key::KeyWriter;
pub use merge::{Collision, ColumnRule, MergedRow, Rules, TableRule, merge_row};
pub use merge_tables::{
    Choice, Decided, Decider, MergeError, MergedTables, RowConflict, TableCounts, merge_tables,
};
pub use row::{
    Cell, MAX_CELL, MAX_ROW, MAX_STORED_ROW, Row, RowError, RowValue, RowWriter, load_content,
    store_content,
};
pub use schema::{Column, Kind, Schema, SchemaDifference, Side};
pub use table::{NameError, TableEntry, TableName, table, tables};
pub use text::text;
