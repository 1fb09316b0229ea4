//! Rows that differ between two maps of tables: how many, and which, with the columns.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt};
use sync_core::Digest;
use sync_core::map::{self, Map, NodeSource};
use sync_core::rows::{
    Cell, Row, RowValue, Schema, TableCounts, TableEntry, TableName, load_content, tables, text,
};
use sync_store::RepositoryNodes;

use crate::Error;
use crate::error::{MapSnafu, RowSnafu, SchemaSnafu};

/// Longer values are shown in part.
const MAX_SHOWN: usize = 200;

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// It is only on the newer side.
    Added,
    /// It is on both, and different.
    Modified,
    /// It is only on the older side.
    Removed,
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowChange {
    /// The table.
    pub table: TableName,
    /// The primary key: columns and values, in the order of the key.
    pub key: Vec<(String, String)>,
    /// How it differs.
    pub kind: RowKind,
    /// The columns that differ.
    pub columns: Vec<CellChange>,
}

/// One column that differs; long values are cut, and `…` says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellChange {
    /// Its name.
    pub column: String,
    /// The value on the older side; `None` where it is null or there is no row.
    pub before: Option<String>,
    /// The value on the newer side, likewise.
    pub after: Option<String>,
}

/// How many rows differ, by table; the first of them in order; and how many more there are.
pub type Listed = (Vec<TableCounts>, Vec<RowChange>, u64);

/// One table on two sides.
struct Pair {
    name: TableName,
    before: Option<TableEntry>,
    after: Option<TableEntry>,
}

/// The tables that differ between two maps.
fn pairs(source: &RepositoryNodes, before: Digest, after: Digest) -> Result<Vec<Pair>, Error> {
    if before == after {
        return Ok(Vec::new());
    }
    let [before, after] = [before, after].map(|root| tables(source, root).context(MapSnafu));
    let (before, after) = (before?, after?);
    let mut names: Vec<&TableName> = before.iter().chain(&after).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let entry = |tables: &[(TableName, TableEntry)], name| {
        let found = tables.iter().find(|(at, _)| at == name);
        found.map(|(_, entry)| *entry)
    };
    let pairs = names.into_iter().map(|name| Pair {
        name: name.clone(),
        before: entry(&before, name),
        after: entry(&after, name),
    });
    Ok(pairs.filter(|pair| pair.before != pair.after).collect())
}

impl Pair {
    /// The sum of a table in which one side has no rows: those of the other need not be read.
    fn known_sum(&self) -> Option<TableCounts> {
        let rows = |entry: Option<TableEntry>| entry.map_or(0, |entry| entry.rows.len);
        let (before, after) = (rows(self.before), rows(self.after));
        (before == 0 || after == 0).then(|| TableCounts {
            created: after,
            deleted: before,
            ..TableCounts::new(self.name.clone())
        })
    }

    fn changes(
        &self,
        source: &Arc<RepositoryNodes>,
    ) -> map::Diff<Arc<RepositoryNodes>, Arc<RepositoryNodes>> {
        let root = |entry: Option<TableEntry>| entry.map_or(Map::empty_root(), |e| e.rows.root);
        let (before, after) = (root(self.before), root(self.after));
        map::diff(Arc::clone(source), before, Arc::clone(source), after)
    }
}

/// How much differs between two maps of tables, by table. Only rows of tables that both have are read.
pub fn sums(
    source: &Arc<RepositoryNodes>,
    before: Digest,
    after: Digest,
) -> Result<Vec<TableCounts>, Error> {
    list(source, before, after, 0).map(|(sums, ..)| sums)
}

/// All rows of all tables of a map.
pub fn row_count(source: &RepositoryNodes, root: Digest) -> Result<u64, Error> {
    let all = tables(source, root).context(MapSnafu)?;
    Ok(all.iter().map(|(_, entry)| entry.rows.len).sum())
}

/// The rows that differ, at most `limit` of them with their columns; how many differ is counted in any case. Blocking.
pub fn list(
    source: &Arc<RepositoryNodes>,
    before: Digest,
    after: Digest,
    limit: usize,
) -> Result<Listed, Error> {
    let (mut sums, mut rows, mut omitted) = (Vec::new(), Vec::new(), 0);
    for pair in pairs(source, before, after)? {
        let known = pair.known_sum();
        let mut sum = TableCounts::new(pair.name.clone());
        let schemas = if rows.len() < limit {
            [schema(source, pair.before)?, schema(source, pair.after)?]
        } else {
            [None, None]
        };
        for change in pair.changes(source) {
            if known.is_some() && rows.len() == limit {
                break;
            }
            let change = change.context(MapSnafu)?;
            sum.count(change.before.is_some(), change.after.is_some());
            if rows.len() < limit {
                let values = [change.before.as_ref(), change.after.as_ref()];
                rows.push(describe(source, &pair.name, &schemas, values)?);
            }
        }
        let sum = known.unwrap_or(sum);
        omitted += sum.total();
        sums.push(sum);
    }
    omitted -= rows.len() as u64;
    Ok((sums, rows, omitted))
}

/// The schema of a table, an object of its own.
pub(crate) fn schema(
    source: &RepositoryNodes,
    entry: Option<TableEntry>,
) -> Result<Option<Schema>, Error> {
    let Some(TableEntry { schema: digest, .. }) = entry else {
        return Ok(None);
    };
    let bytes = source.node(&digest).map_err(|source| Error::Map {
        source: map::MapError::Store { digest, source },
    })?;
    let schema = bytes.and_then(|bytes| Schema::decode(&bytes));
    Ok(Some(schema.context(SchemaSnafu { digest })?))
}

/// A row on two sides, in words.
pub(crate) fn describe(
    source: &RepositoryNodes,
    table: &TableName,
    schemas: &[Option<Schema>; 2],
    values: [Option<&Bytes>; 2],
) -> Result<RowChange, Error> {
    let load = |value: Option<&Bytes>| {
        let row = value.map(|value| RowValue::load(value, source));
        row.transpose().context(RowSnafu {
            table: table.clone(),
        })
    };
    let rows = [load(values[0])?, load(values[1])?];
    let kind = match &rows {
        [None, _] => RowKind::Added,
        [_, None] => RowKind::Removed,
        _ => RowKind::Modified,
    };
    let show = |side: usize, name: &str| -> Result<Option<String>, Error> {
        let cell = rows[side].as_ref().and_then(|row| row.get(name));
        let Some(cell) = cell else {
            return Ok(None);
        };
        let kind = schemas[side]
            .as_ref()
            .and_then(|schema| schema.column(name));
        let kind = kind.map_or(sync_core::rows::Kind::Text, |column| column.kind);
        shown(source, table, kind, &cell).map(Some)
    };
    let mut names: Vec<&str> = rows
        .iter()
        .flatten()
        .flat_map(Row::cells)
        .map(|c| c.0)
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut columns = Vec::new();
    for name in names {
        let cells = rows
            .each_ref()
            .map(|row| row.as_ref().and_then(|row| row.get(name)));
        if cells[0] != cells[1] {
            columns.push(CellChange {
                column: name.to_owned(),
                before: show(0, name)?,
                after: show(1, name)?,
            });
        }
    }
    let side = usize::from(rows[0].is_none());
    let key = schemas[side].iter().flat_map(|schema| &schema.key);
    let key = key.map(|name| Ok((name.clone(), show(side, name)?.unwrap_or_default())));
    Ok(RowChange {
        table: table.clone(),
        key: key.collect::<Result<_, Error>>()?,
        kind,
        columns,
    })
}

/// The text of a value, cut where it is long.
fn shown(
    source: &RepositoryNodes,
    table: &TableName,
    kind: sync_core::rows::Kind,
    cell: &Cell<'_>,
) -> Result<String, Error> {
    let whole = match cell {
        Cell::Inline(bytes) => text(kind, bytes),
        Cell::Stored(content) if cell.len() > 1 << 20 => {
            let digest = content.chunks.first().map(|chunk| chunk.digest.short());
            return Ok(format!(
                "{} bytes ({})",
                cell.len(),
                digest.unwrap_or_default()
            ));
        }
        Cell::Stored(content) => {
            let bytes = load_content(content, source);
            text(
                kind,
                &bytes.context(RowSnafu {
                    table: table.clone(),
                })?,
            )
        }
    };
    match whole.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Ok(format!("{}…", &whole[..end])),
        None => Ok(whole),
    }
}
