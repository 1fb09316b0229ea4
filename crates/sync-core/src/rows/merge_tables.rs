//! What two sides made of a database: tables, and the rows in them.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use snafu::Snafu;

use super::merge::{MergedRow, Rules, merge_row};
use super::row::{Row, RowError, RowValue};
use super::table::{TableEntry, TableName, tables};
use crate::map::{self, Change, Editor, Map, MapError, Merged, NodeSink, NodeSource, StoreError};
use crate::{Digest, three_way};

/// A row that both sides changed, and no rule decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowConflict {
    /// The table.
    pub table: TableName,
    /// The key of the row, as the map has it.
    pub key: Bytes,
    /// The columns that both sides changed; where one removed the row, those that the other changed.
    pub columns: Vec<String>,
    /// The row before, as the map has it.
    pub base: Option<Bytes>,
    /// Our row; `None` where we removed it.
    pub ours: Option<Bytes>,
    /// Their row; `None` where they removed it.
    pub theirs: Option<Bytes>,
}

/// What was chosen about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nothing yet: our row stays, and the conflict is listed.
    Open,
    /// Our row stays.
    Ours,
    /// Their row comes.
    Theirs,
}

/// Rows of one table that both sides changed, and about which it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The table.
    pub table: TableName,
    /// How many rows.
    pub rows: u64,
    /// What decided.
    pub by: Decider,
}

/// What decides about a row that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// The rules of its table and columns. What [`ColumnRule::Later`](super::ColumnRule::Later) decides alone is not counted.
    Rules,
    /// A choice for our row.
    Ours,
    /// A choice for their row.
    Theirs,
}

impl Decider {
    /// The word that people and programs read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }
}

/// How many rows of one table differ between two sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableCounts {
    /// The table.
    pub table: TableName,
    /// How many rows are only on the newer side.
    pub created: u64,
    /// How many are on both, and different.
    pub updated: u64,
    /// How many are only on the older side.
    pub deleted: u64,
}

impl TableCounts {
    /// Of a table in which nothing differs yet.
    pub const fn new(table: TableName) -> Self {
        Self {
            table,
            created: 0,
            updated: 0,
            deleted: 0,
        }
    }

    /// Counts one more row.
    pub const fn count(&mut self, is_before: bool, is_after: bool) {
        match (is_before, is_after) {
            (false, true) => self.created += 1,
            (true, true) => self.updated += 1,
            (true, false) => self.deleted += 1,
            (false, false) => {}
        }
    }

    /// All rows that differ; none where only the definition of the table does.
    pub const fn total(&self) -> u64 {
        self.created + self.updated + self.deleted
    }
}

/// What came of merging two maps of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedTables {
    /// The map of tables after the merge; where there are open conflicts, with our rows in their places.
    pub root: Digest,
    /// What it changes on our side, by table; those in which nothing changes are left out.
    pub counts: Vec<TableCounts>,
    /// What is left for a person to choose.
    pub conflicts: Vec<RowConflict>,
    /// What was decided, by table.
    pub decided: Vec<Decided>,
}

/// Why maps of tables could not be merged.
#[derive(Debug, Snafu)]
pub enum MergeError {
    /// A map could not be read or written.
    #[snafu(context(false), display("a map of rows could not be read or written"))]
    Map {
        /// Why.
        source: MapError,
    },
    /// A row could not be read.
    #[snafu(display("a row of `{table}` could not be read"))]
    Row {
        /// The table.
        table: TableName,
        /// Why.
        source: RowError,
    },
    /// Both sides changed the schema of a table differently.
    #[snafu(display("both sides changed the schema of `{table}`"))]
    Schema {
        /// The table.
        table: TableName,
    },
    /// More conflicts than anybody can look through.
    #[snafu(display(
        "more than {most} rows of `{table}` and other tables were changed on both sides"
    ))]
    TooMany {
        /// The table where it became too many.
        table: TableName,
        /// How many are collected.
        most: usize,
    },
}

/// More conflicts than this are not collected.
const MAX_CONFLICTS: usize = 100_000;

/// Merges what two sides made of a map of tables: row by row where both changed a table, column by column inside a row.
///
/// `rules` says for a table who wins; `choose` is asked about what they leave open. New nodes go to `sink`. The cost follows
/// what changed since `base`. Memory is bounded by a few nodes and the conflicts.
///
/// # Errors
///
/// [`MergeError`]; nothing names what the sink was given then.
pub fn merge_tables<N: NodeSource + Clone>(
    source: &N,
    [base, ours, theirs]: [Digest; 3],
    rules: impl Fn(&TableName) -> Rules,
    mut choose: impl FnMut(&RowConflict) -> Choice,
    sink: &mut impl NodeSink,
) -> Result<MergedTables, MergeError> {
    let sides = [base, ours, theirs].map(|root| tables(source, root));
    let [base, our_tables, their_tables] = sides;
    let (base, our_tables, their_tables) = (base?, our_tables?, their_tables?);
    let names: BTreeSet<&TableName> = [&base, &our_tables, &their_tables]
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    let mut merged = MergedTables {
        root: ours,
        counts: Vec::new(),
        conflicts: Vec::new(),
        decided: Vec::new(),
    };
    let mut edits = Vec::new();
    for name in names {
        let entry = |tables: &[(TableName, TableEntry)]| {
            let found = tables.binary_search_by(|(at, _)| at.cmp(name)).ok();
            found.and_then(|index| Some(tables.get(index)?.1))
        };
        let sides = [&base, &our_tables, &their_tables].map(|tables| entry(tables));
        let mut table = OneTable {
            source,
            name,
            rules: rules(name),
            counts: TableCounts::new(name.clone()),
            conflicts: &mut merged.conflicts,
            decided: &mut merged.decided,
        };
        let after = table.merge(sides, &mut choose, sink)?;
        if table.counts.total() > 0 {
            merged.counts.push(table.counts);
        }
        if after != sides[1] {
            edits.push((name.as_str(), after.map(|entry| entry.encode())));
        }
    }
    merged.root = map::edit(source, ours, edits, sink)?.root;
    Ok(merged)
}

/// Objects of merged rows that are too long to be in a node.
#[derive(Default)]
struct LongRows(Vec<(Digest, Vec<u8>)>);

impl NodeSink for LongRows {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.0.push((digest, bytes));
        Ok(())
    }
}

struct OneTable<'m, N> {
    source: &'m N,
    name: &'m TableName,
    rules: Rules,
    counts: TableCounts,
    conflicts: &'m mut Vec<RowConflict>,
    decided: &'m mut Vec<Decided>,
}

impl<N: NodeSource + Clone> OneTable<'_, N> {
    fn merge(
        &mut self,
        [base, ours, theirs]: [Option<TableEntry>; 3],
        choose: &mut impl FnMut(&RowConflict) -> Choice,
        sink: &mut impl NodeSink,
    ) -> Result<Option<TableEntry>, MergeError> {
        if ours == theirs || theirs == base {
            return Ok(ours);
        }
        let schema = |side: Option<TableEntry>| side.map(|entry| entry.schema);
        let schema = three_way(schema(base), schema(ours), schema(theirs));
        let Some(schema) = schema else {
            let table = self.name.clone();
            return SchemaSnafu { table }.fail();
        };
        let roots = [base, ours, theirs].map(|side| side.map_or(Map::EMPTY, |entry| entry.rows));
        let rows = self.merge_rows(roots, choose, sink)?;
        // A table that one side no longer has stays for as long as there are rows in it.
        let kept = ours.or(theirs).map(|entry| entry.schema);
        let schema = schema.or(kept.filter(|_| !rows.is_empty()));
        Ok(schema.map(|schema| TableEntry { schema, rows }))
    }

    fn merge_rows(
        &mut self,
        [base, ours, theirs]: [Map; 3],
        choose: &mut impl FnMut(&RowConflict) -> Choice,
        sink: &mut impl NodeSink,
    ) -> Result<Map, MergeError> {
        // The editor has the sink until it is done.
        let mut long = LongRows::default();
        let mut editor = Editor::new(self.source, ours.root, sink);
        for merged in map::merge(self.source.clone(), base.root, ours.root, theirs.root) {
            let (key, before, after) = match merged? {
                Merged::Ours(_) | Merged::Both(_) => continue,
                Merged::Theirs(Change { key, before, after }) => (key, before, after),
                Merged::Conflict {
                    key,
                    base,
                    ours,
                    theirs,
                } => {
                    let after = self.meet(&key, [base, ours.clone(), theirs], choose, &mut long)?;
                    (key, ours, after)
                }
            };
            if before == after {
                continue;
            }
            self.counts.count(before.is_some(), after.is_some());
            match after {
                Some(value) => editor.set(&key, &value)?,
                None => editor.remove(&key)?,
            }
        }
        let rows = editor.finish()?;
        for (digest, bytes) in long.0 {
            let put = sink.put(digest, bytes);
            put.map_err(|source| MapError::Store { digest, source })?;
        }
        Ok(rows)
    }

    /// A row that both sides changed: what it is afterwards on our side.
    fn meet(
        &mut self,
        key: &Bytes,
        [base, ours, theirs]: [Option<Bytes>; 3],
        choose: &mut impl FnMut(&RowConflict) -> Choice,
        long: &mut LongRows,
    ) -> Result<Option<Bytes>, MergeError> {
        let load = |value: &Option<Bytes>| -> Result<Option<Row>, MergeError> {
            let row = value
                .as_ref()
                .map(|value| RowValue::load(value, self.source));
            row.transpose().map_err(|source| MergeError::Row {
                table: self.name.clone(),
                source,
            })
        };
        let rows = [load(&base)?, load(&ours)?, load(&theirs)?];
        let [before, here, there] = rows.each_ref().map(Option::as_ref);
        let merged = merge_row(before, here, there, &self.rules);
        if !matches!(merged, MergedRow::Collision(_)) {
            let only_later = self.rules.only_later();
            let by_itself = merge_row(before, here, there, &only_later);
            if matches!(by_itself, MergedRow::Collision(_)) {
                self.decide(Decider::Rules);
            }
        }
        match merged {
            MergedRow::Gone => Ok(None),
            MergedRow::Row(row) => {
                // Collecting them cannot fail.
                let value = row.value(long).unwrap_or_default();
                Ok(Some(value.into()))
            }
            MergedRow::Collision(collision) => {
                let conflict = RowConflict {
                    table: self.name.clone(),
                    key: key.clone(),
                    columns: collision.columns,
                    base,
                    ours,
                    theirs,
                };
                match choose(&conflict) {
                    Choice::Ours => {
                        self.decide(Decider::Ours);
                        Ok(conflict.ours)
                    }
                    Choice::Theirs => {
                        self.decide(Decider::Theirs);
                        Ok(conflict.theirs)
                    }
                    Choice::Open => {
                        if self.conflicts.len() >= MAX_CONFLICTS {
                            let table = self.name.clone();
                            let most = MAX_CONFLICTS;
                            return TooManySnafu { table, most }.fail();
                        }
                        let ours = conflict.ours.clone();
                        self.conflicts.push(conflict);
                        Ok(ours)
                    }
                }
            }
        }
    }

    /// Counts one more row that was decided about.
    fn decide(&mut self, by: Decider) {
        let of_table = |one: &&mut Decided| one.table == *self.name && one.by == by;
        match self.decided.iter_mut().find(of_table) {
            Some(decided) => decided.rows += 1,
            None => self.decided.push(Decided {
                table: self.name.clone(),
                rows: 1,
                by,
            }),
        }
    }
}
