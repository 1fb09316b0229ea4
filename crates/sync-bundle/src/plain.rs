//! A head as anybody can read it: files as files, rows as lines of JSON, and sums of all of it. Blocking.
//!
//! `files/` has the tree, `rows/` a file for each table with a row a line in the order of their keys, `manifest.json` what the
//! snapshot says and which tables there are, `SHA256SUMS` what `sha256sum -c` reads. It has no history and no signature.

mod read;
mod value;
mod write;

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::rows::{Schema, TableName};
use sync_core::{Name, SnapshotId};

use crate::Error;
use crate::error::DiskSnafu;

pub use read::read;
pub use write::write;

/// The version of everything here.
const VERSION: u64 = 1;
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
const FILES: &str = "files";
const ROWS: &str = "rows";

/// What the snapshot says, and which tables there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainManifest {
    /// Who made the snapshot.
    pub author: String,
    /// Whether there is a tree; an empty one is no directory.
    pub has_files: bool,
    /// Why.
    pub message: String,
    /// 1.
    pub plain_version: u64,
    /// Which snapshot it was.
    pub snapshot: SnapshotId,
    /// The tables, in the order of their names; absent where the snapshot has no rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<PlainTable>>,
    /// Whose it was.
    pub tenant: Name,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub time: u64,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainTable {
    /// Its name.
    pub name: TableName,
    /// How many rows it has.
    pub rows: u64,
    /// Its columns and its key.
    pub schema: Schema,
}

/// How much was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PlainExtent {
    /// Files, links and empty directories.
    pub files: u64,
    /// Rows.
    pub rows: u64,
}

/// Where the rows of a table are: a name may have any letter but a dot or a control character.
fn rows_path(name: &TableName) -> String {
    let mut path = format!("{ROWS}/");
    for byte in name.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02x}");
        }
    }
    path + ".ndjson"
}

fn at<T>(path: &Path, result: std::io::Result<T>) -> Result<T, Error> {
    result.context(DiskSnafu { path })
}
