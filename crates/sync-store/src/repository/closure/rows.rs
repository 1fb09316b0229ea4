//! The map of tables, and the map of rows of each.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use snafu::ensure;
use sync_core::rows::{Row, RowError, RowValue, Schema, TableEntry, TableName, load_content};
use sync_core::{Content, Digest};

use super::contents::Contents;
use super::entries::name;
use super::lookup::Lookup;
use super::{Size, Values, Walk, malformed_error, object};
use crate::Error;
use crate::error::MalformedSnafu;
use crate::repository::{RepositoryNodes, store_error};

/// More tables than this have no place in a snapshot: they are all read, and remembered.
const MAX_TABLES: u64 = 10_000;

/// What is wrong with a table whose entry says another number of rows than its map has.
const OTHER_COUNT: &str = "it has not as many entries as its table says";

/// Checks the map of tables under `root`, trusting what the accepted one under `base` has.
pub(super) fn check<'r>(
    reader: &'r RepositoryNodes,
    base: Option<Digest>,
    root: Digest,
    contents: &mut Contents<'r>,
) -> Result<(), Error> {
    let size = Size {
        entries: 0..=MAX_TABLES,
        reason: "it has more than 10,000 tables",
    };
    let mut walk = Walk::new(reader, base, Tables::default(), contents);
    walk.root(root, &size)?;
    let Tables { changed } = walk.values;
    let (mut roots, mut walked) = (HashMap::new(), HashSet::new());
    let shared = changed.len() > 1;
    for table in changed {
        let (before, after) = (table.before, table.after);
        if before.map(|before| before.schema) != Some(after.schema) {
            check_schema(reader, after.schema, contents)?;
        }
        let rows = after.rows;
        // One map may be that of several tables, and is walked once.
        let known = before.filter(|before| before.rows.root == rows.root);
        let known = known.map(|before| before.rows.len);
        if let Some(len) = known.or(roots.get(&rows.root).copied()) {
            let (place, reason) = (format!("node {}", rows.root), OTHER_COUNT);
            ensure!(len == rows.len, MalformedSnafu { place, reason });
            continue;
        }
        roots.insert(rows.root, rows.len);
        let base = before.map(|before| before.rows.root);
        let values = Rows {
            reader,
            table: table.name,
        };
        let size = Size {
            entries: rows.len..=rows.len,
            reason: OTHER_COUNT,
        };
        let mut walk = Walk::new(reader, base, values, contents);
        walk.walked = shared.then_some(walked);
        walk.root(rows.root, &size)?;
        walked = walk.walked.unwrap_or_default();
    }
    Ok(())
}

fn check_schema(
    reader: &RepositoryNodes,
    digest: Digest,
    contents: &mut Contents<'_>,
) -> Result<(), Error> {
    object(reader, digest, contents, |bytes| {
        let place = || format!("schema {digest}");
        let refused = || malformed_error(place(), "it is no schema of a table");
        Schema::decode(bytes).map(drop).ok_or_else(refused)
    })
}

/// A table that is new or has changed.
#[derive(Debug)]
struct Changed {
    name: TableName,
    before: Option<TableEntry>,
    after: TableEntry,
}

/// Collects the tables that the base has not as they are.
#[derive(Debug, Default)]
struct Tables {
    changed: Vec<Changed>,
}

impl Values for Tables {
    fn check(
        &mut self,
        base: Option<&mut Lookup<'_>>,
        key: &[u8],
        value: Bytes,
        _: &mut Contents<'_>,
    ) -> Result<(), Error> {
        let before = base.map_or(Ok(None), |base| base.value(key))?;
        if before.as_ref() == Some(&value) {
            return Ok(());
        }
        let refused = |reason| malformed_error(name(key), reason);
        let table =
            TableName::from_key(key).ok_or_else(|| refused("it is not the name of a table"))?;
        let after = TableEntry::decode(&value);
        let after = after.ok_or_else(|| refused("its entry is not that of a table"))?;
        self.changed.push(Changed {
            name: table,
            before: before.and_then(|before| TableEntry::decode(&before)),
            after,
        });
        Ok(())
    }
}

/// Checks the changed rows of a table.
#[derive(Debug)]
struct Rows<'r> {
    reader: &'r RepositoryNodes,
    table: TableName,
}

impl Values for Rows<'_> {
    fn check(
        &mut self,
        base: Option<&mut Lookup<'_>>,
        key: &[u8],
        value: Bytes,
        contents: &mut Contents<'_>,
    ) -> Result<(), Error> {
        let before = base.map_or(Ok(None), |base| base.value(key))?;
        if before.as_ref() == Some(&value) {
            return Ok(());
        }
        let place = || format!("row {} of table {}", name(key), self.table);
        let row = RowValue::decode(&value);
        let row = row.ok_or_else(|| malformed_error(place(), "it does not decode"))?;
        for content in row.contents() {
            contents.check(&place, &content)?;
        }
        let RowValue::Stored(content) = row else {
            return Ok(());
        };
        let Some(row) = self.load(&content, &place, contents)? else {
            return Ok(());
        };
        for content in RowValue::Row(row).contents() {
            contents.check(&place, &content)?;
        }
        Ok(())
    }
}

impl Rows<'_> {
    /// The row that is an object of its own, of which lists and lengths were checked; `None` where some of it is missing.
    fn load(
        &self,
        content: &Content,
        place: &dyn Fn() -> String,
        contents: &mut Contents<'_>,
    ) -> Result<Option<Row>, Error> {
        let bytes = match load_content(content, self.reader) {
            Ok(bytes) => Some(bytes),
            Err(RowError::Missing { digest }) => {
                contents.lacks(digest);
                return Ok(None);
            }
            Err(RowError::Malformed) => None,
            Err(RowError::Store { source }) => return Err(store_error(source, "read a row")),
        };
        let row = bytes.and_then(Row::decode);
        let row = row.ok_or_else(|| malformed_error(place(), "the object that it names is no row"));
        row.map(Some)
    }
}
