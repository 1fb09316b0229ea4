//! What differs between two maps of rows, as a stream for `COPY … (FORMAT binary)`.

use bytes::{BufMut, Bytes, BytesMut};
use snafu::OptionExt;
use sync_core::Digest;
use sync_core::map::{self, Change, NodeSource};
use sync_core::rows::{Cell, Kind, Row, RowValue, TableName, load_content};

use super::wire::{COPY_HEADER, COPY_TRAILER, is_sound, put_value};
use crate::Error;
use crate::error::MalformedSnafu;
use crate::relation::Relation;

/// So many bytes are handed on at once.
const BATCH: usize = 256 * 1024;

/// What happens to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Op {
    Insert = 1,
    Update = 2,
    Delete = 3,
}

impl Op {
    pub(super) fn of(change: &Change) -> Self {
        match (&change.before, &change.after) {
            (None, _) => Self::Insert,
            (Some(_), Some(_)) => Self::Update,
            (Some(_), None) => Self::Delete,
        }
    }
}

/// The columns of a table as a blocking thread needs them.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) table: TableName,
    pub(super) columns: Vec<LayoutColumn>,
}

/// A column that travels.
#[derive(Debug, Clone)]
pub(super) struct LayoutColumn {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_key: bool,
}

/// What was fed.
#[derive(Debug, Clone, Default)]
pub(super) struct Fed {
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
    /// By column: whether an update changes it.
    pub(super) changed: Vec<bool>,
}

impl Fed {
    pub(super) const fn total(&self) -> u64 {
        self.created + self.updated + self.deleted
    }

    pub(super) const fn count(&self, op: Op) -> u64 {
        match op {
            Op::Insert => self.created,
            Op::Update => self.updated,
            Op::Delete => self.deleted,
        }
    }

    /// One change of this kind is not made after all.
    pub(super) const fn uncount(&mut self, op: Op) {
        match op {
            Op::Insert => self.created -= 1,
            Op::Update => self.updated -= 1,
            Op::Delete => self.deleted -= 1,
        }
    }
}

/// The form of the rows that are fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The number of the change, its [`Op`], and the columns.
    Numbered,
    /// The columns alone.
    Plain,
}

/// Feeds every change from one map to the other, in key order, numbered from 0: of a row that goes the key alone.
///
/// Ends early, without an error, where `send` says that nobody listens.
pub(super) fn feed(
    source: &impl NodeSource,
    (before, after): (Digest, Digest),
    layout: &Layout,
    form: Form,
    mut send: impl FnMut(Bytes) -> bool,
) -> Result<Fed, Error> {
    let mut fed = Fed {
        changed: vec![false; layout.columns.len()],
        ..Fed::default()
    };
    let mut out = BytesMut::with_capacity(BATCH + BATCH / 4);
    out.put_slice(COPY_HEADER);
    for change in map::diff(source, before, source, after) {
        let change = change?;
        let op = Op::of(&change);
        let width = layout.columns.len() + if form == Form::Numbered { 2 } else { 0 };
        out.put_i16(i16::try_from(width).unwrap_or(i16::MAX));
        if form == Form::Numbered {
            put_value(&mut out, Some(&fed.total().to_be_bytes()));
            put_value(&mut out, Some(&(op as i16).to_be_bytes()));
        }
        let load = |value: &Bytes| layout.load(value, source);
        match (&change.before, &change.after) {
            (None, None) => {}
            (None, Some(after)) => {
                layout.put(&mut out, &load(after)?, false, source)?;
                fed.created += 1;
            }
            (Some(before), Some(after)) => {
                let after = load(after)?;
                layout.put(&mut out, &after, false, source)?;
                layout.note_differences(&load(before)?, &after, &mut fed.changed);
                fed.updated += 1;
            }
            (Some(before), None) => {
                layout.put(&mut out, &load(before)?, true, source)?;
                fed.deleted += 1;
            }
        }
        if out.len() >= BATCH && !send(out.split().freeze()) {
            return Ok(fed);
        }
    }
    out.put_slice(COPY_TRAILER);
    send(out.freeze());
    Ok(fed)
}

impl Layout {
    pub(super) fn of(relation: &Relation) -> Self {
        let columns = relation.columns.iter().map(|column| LayoutColumn {
            name: column.column.name.clone(),
            kind: column.column.kind,
            is_key: relation.key.contains(&column.column.name),
        });
        Self {
            table: relation.name.clone(),
            columns: columns.collect(),
        }
    }

    /// The row of a map's value.
    pub(super) fn load(&self, value: &Bytes, source: &impl NodeSource) -> Result<Row, Error> {
        RowValue::load(value, source).map_err(|error| self.malformed(&error.to_string()))
    }

    /// The cells of a row, one for each column of the table.
    pub(super) fn cells<'r>(
        &self,
        row: &'r Row,
    ) -> impl Iterator<Item = (&LayoutColumn, Option<Cell<'r>>)> {
        let mut cells = row.cells().peekable();
        self.columns.iter().map(move |column| {
            let cell = cells.next_if(|(name, _)| *name == column.name);
            (column, cell.map(|(_, cell)| cell))
        })
    }

    /// Appends the columns of a row.
    fn put(
        &self,
        out: &mut BytesMut,
        row: &Row,
        key_only: bool,
        source: &impl NodeSource,
    ) -> Result<(), Error> {
        let mut found = 0;
        for (column, cell) in self.cells(row) {
            found += usize::from(cell.is_some());
            let stored;
            let value = match &cell {
                Some(_) if key_only && !column.is_key => None,
                None => None,
                Some(Cell::Inline(bytes)) => Some(*bytes),
                Some(Cell::Stored(content)) => {
                    let loaded = load_content(content, source);
                    stored = loaded.map_err(|error| self.malformed(&error.to_string()))?;
                    Some(&stored[..])
                }
            };
            let sound = value.is_none_or(|value| is_sound(column.kind, value));
            sound.then_some(()).with_context(|| MalformedSnafu {
                table: self.table.clone(),
                reason: format!("the value of `{}` is none of its type", column.name),
            })?;
            put_value(out, value);
        }
        if row.cells().count() != found {
            return Err(self.malformed("it has a column that the table has not"));
        }
        Ok(())
    }

    fn note_differences(&self, before: &Row, after: &Row, changed: &mut [bool]) {
        let pairs = self.cells(before).zip(self.cells(after));
        for (((_, before), (_, after)), changed) in pairs.zip(changed) {
            *changed |= before != after;
        }
    }

    pub(super) fn malformed(&self, reason: &str) -> Error {
        MalformedSnafu {
            table: self.table.clone(),
            reason,
        }
        .build()
    }
}
