//! What two sides made of one row, column by column.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::row::{Cell, Row, RowWriter};

/// Who wins where both sides changed one column of a row to different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnRule {
    /// What the rule of the table says.
    #[default]
    Table,
    /// A person.
    Manual,
    /// We.
    Ours,
    /// They.
    Theirs,
    /// The later time or larger number. A change of such a column alone is none that would hold up a removal.
    Later,
}

/// Who wins where both sides changed a row and no rule of a column says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum TableRule {
    /// A person.
    #[default]
    Manual,
    /// We.
    Ours,
    /// They.
    Theirs,
    /// The side where this column has the later time; a person where a side has none, as after a removal.
    Newest(String),
}

/// How rows of a table are merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Where no column says otherwise.
    pub table: TableRule,
    /// By the names of columns.
    pub columns: BTreeMap<String, ColumnRule>,
}

/// What both sides changed differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// The columns that both changed; where a side removed the row, those that the other changed.
    pub columns: Vec<String>,
}

/// What a row is after a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergedRow {
    /// This row.
    Row(Row),
    /// There is no row.
    Gone,
    /// A person has to choose.
    Collision(Collision),
}

impl Rules {
    fn column(&self, name: &str) -> ColumnRule {
        self.columns.get(name).copied().unwrap_or_default()
    }

    fn is_later(&self, name: &str) -> bool {
        self.column(name) == ColumnRule::Later
    }

    /// Of these rules those alone that hold for columns in which there is nothing to lose: where they are enough, nobody's change
    /// gave way.
    #[must_use]
    pub fn only_later(&self) -> Self {
        let later = self.columns.iter();
        let later = later.filter(|(_, rule)| **rule == ColumnRule::Later);
        Self {
            table: TableRule::Manual,
            columns: later.map(|(name, rule)| (name.clone(), *rule)).collect(),
        }
    }

    /// The same rules, as the other side has them.
    #[must_use]
    pub fn exchanged(&self) -> Self {
        let column = |rule: &ColumnRule| match rule {
            ColumnRule::Ours => ColumnRule::Theirs,
            ColumnRule::Theirs => ColumnRule::Ours,
            other => *other,
        };
        let columns = self.columns.iter();
        Self {
            table: match &self.table {
                TableRule::Ours => TableRule::Theirs,
                TableRule::Theirs => TableRule::Ours,
                other => other.clone(),
            },
            columns: columns
                .map(|(name, rule)| (name.clone(), column(rule)))
                .collect(),
        }
    }
}

/// Merges what two sides made of `base`, the row before; `None` where there is no row.
///
/// Columns that one side changed are taken from it, columns that both changed to one value are that value, and for the rest
/// the rules decide. Symmetric: with the sides and [`Rules::exchanged`] the outcome is the same.
pub fn merge_row(
    base: Option<&Row>,
    ours: Option<&Row>,
    theirs: Option<&Row>,
    rules: &Rules,
) -> MergedRow {
    let whole = |row: Option<&Row>| row.map_or(MergedRow::Gone, |row| MergedRow::Row(row.clone()));
    if ours == theirs || theirs == base {
        return whole(ours);
    }
    if ours == base {
        return whole(theirs);
    }
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => merge_cells(base, ours, theirs, rules),
        (edited, removed) => {
            let kept = edited.or(removed);
            let columns = changed_columns(base, kept);
            // Who only wrote down when does not hold up a removal.
            if columns.iter().all(|name| rules.is_later(name)) {
                return MergedRow::Gone;
            }
            match rules.table {
                TableRule::Ours => whole(ours),
                TableRule::Theirs => whole(theirs),
                TableRule::Manual | TableRule::Newest(_) => {
                    MergedRow::Collision(Collision { columns })
                }
            }
        }
    }
}

/// The columns in which two rows differ; a row that is not there has none.
fn changed_columns(before: Option<&Row>, after: Option<&Row>) -> Vec<String> {
    let mut columns = Vec::new();
    aligned([before, after, None], |name, [before, after, _]| {
        if before != after {
            columns.push(name.to_owned());
        }
    });
    columns
}

fn merge_cells(base: Option<&Row>, ours: &Row, theirs: &Row, rules: &Rules) -> MergedRow {
    let mut row = RowWriter::new();
    let mut columns = Vec::new();
    let newest = newest(ours, theirs, rules);
    aligned(
        [base, Some(ours), Some(theirs)],
        |name, [base, ours, theirs]| {
            let taken = if ours == theirs || theirs == base {
                ours
            } else if ours == base {
                theirs
            } else {
                let chosen = match (rules.column(name), &rules.table) {
                    (ColumnRule::Ours, _) | (ColumnRule::Table, TableRule::Ours) => Some(true),
                    (ColumnRule::Theirs, _) | (ColumnRule::Table, TableRule::Theirs) => Some(false),
                    (ColumnRule::Table, TableRule::Newest(_)) => newest.map(Ordering::is_gt),
                    _ => None,
                };
                match chosen {
                    Some(true) => ours,
                    Some(false) => theirs,
                    None if rules.is_later(name) => later(ours, theirs),
                    None => {
                        columns.push(name.to_owned());
                        None
                    }
                }
            };
            if let Some(cell) = taken {
                row.push(name, cell);
            }
        },
    );
    if !columns.is_empty() {
        return MergedRow::Collision(Collision { columns });
    }
    // The writer was given the columns of valid rows in their order.
    Row::decode(row.as_bytes().to_vec())
        .map_or(MergedRow::Collision(Collision { columns }), MergedRow::Row)
}

/// Which side is newer where the rule of the table asks for that; of equally new ones the one with the larger bytes,
/// which both sides can tell.
fn newest(ours: &Row, theirs: &Row, rules: &Rules) -> Option<Ordering> {
    let TableRule::Newest(column) = &rules.table else {
        return None;
    };
    let (Cell::Inline(here), Cell::Inline(there)) = (ours.get(column)?, theirs.get(column)?) else {
        return None;
    };
    let order = compare(here, there);
    Some(order.then_with(|| ours.bytes().cmp(theirs.bytes())))
}

/// The later of two values; a value is later than none.
fn later<'c, 'r>(ours: Option<&'c Cell<'r>>, theirs: Option<&'c Cell<'r>>) -> Option<&'c Cell<'r>> {
    match (ours, theirs) {
        (Some(Cell::Inline(a)), Some(Cell::Inline(b))) => {
            if compare(a, b) == Ordering::Less {
                theirs
            } else {
                ours
            }
        }
        // Long values have no times in them; any choice will do that both sides make.
        (Some(Cell::Stored(a)), Some(Cell::Stored(b))) => {
            let digests = |content: &crate::Content| -> Vec<crate::Digest> {
                content.chunks.iter().map(|chunk| chunk.digest).collect()
            };
            if digests(a) < digests(b) {
                theirs
            } else {
                ours
            }
        }
        (Some(Cell::Inline(_)), Some(Cell::Stored(_))) | (None, _) => theirs,
        (Some(Cell::Stored(_)), Some(Cell::Inline(_))) | (_, None) => ours,
    }
}

/// Compares numbers and times of equal width as such, everything else bytewise.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let number = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

/// Hands every column that any of the rows has to `each`, with its values in all of them.
fn aligned<'r>(rows: [Option<&'r Row>; 3], mut each: impl FnMut(&str, [Option<&Cell<'r>>; 3])) {
    let mut cells = rows.map(|row| row.into_iter().flat_map(Row::cells).peekable());
    loop {
        let names = cells.iter_mut().filter_map(|row| Some(row.peek()?.0));
        let Some(name) = names.min() else {
            return;
        };
        let found = cells
            .each_mut()
            .map(|row| row.next_if(|cell| cell.0 == name).map(|(_, cell)| cell));
        each(name, found.each_ref().map(Option::as_ref));
    }
}
