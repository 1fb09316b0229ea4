//! A row that the database sent, as key and value of the map of rows.

use sync_core::map::{MAX_KEY, NodeSink};
use sync_core::rows::{KeyWriter, Kind, MAX_ROW, RowWriter, TableName};

use super::copy::{NoRow, Sent};
use crate::Error;
use crate::error::{MalformedSnafu, UnfitSnafu};
use crate::relation::Relation;

/// How a column of the key is encoded.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// As a signed number of this many bytes.
    Signed(usize),
    /// As bytes of this length.
    Fixed(usize),
    /// As bytes of any length.
    Text,
}

/// Encodes the rows of one table, one after the other in the same memory.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    table: TableName,
    parts: Vec<Part>,
    names: Vec<String>,
    key: KeyWriter,
    row: RowWriter,
}

impl RowEncoder {
    pub(crate) fn new(relation: &Relation) -> Self {
        let parts = relation
            .key_columns()
            .map(|column| match column.column.kind {
                Kind::Int2 => Part::Signed(2),
                Kind::Int4 | Kind::Date => Part::Signed(4),
                Kind::Int8 | Kind::Timestamp | Kind::TimestampTz => Part::Signed(8),
                Kind::Bool => Part::Fixed(1),
                Kind::Uuid => Part::Fixed(16),
                _ => Part::Text,
            });
        let names = relation.columns.iter();
        Self {
            table: relation.name.clone(),
            parts: parts.collect(),
            names: names.map(|column| column.column.name.clone()).collect(),
            key: KeyWriter::new(),
            row: RowWriter::new(),
        }
    }

    /// How many columns the key has.
    pub(crate) fn key_len(&self) -> usize {
        self.parts.len()
    }

    /// The key, of the values from column `first` of what was sent on.
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`] where it is longer than a map takes; [`Error::Malformed`] where a value is none of its type.
    pub(super) fn key(&mut self, sent: Sent<'_>, first: usize) -> Result<&[u8], Error> {
        self.key.clear();
        for (index, part) in self.parts.iter().enumerate() {
            let value = sent.get(first + index);
            match (*part, value) {
                (Part::Signed(width), Some(value)) if value.len() == width => {
                    self.key.signed(value);
                }
                (Part::Fixed(width), Some(value)) if value.len() == width => self.key.fixed(value),
                (Part::Text, Some(value)) => self.key.text(value, index + 1 == self.parts.len()),
                _ => {
                    return Err(malformed(
                        &self.table,
                        "a value of its key has the wrong size",
                    ));
                }
            }
        }
        if self.key.as_bytes().len() > MAX_KEY {
            return UnfitSnafu {
                table: self.table.clone(),
                reason: "a primary key is longer than 8 KiB",
            }
            .fail();
        }
        Ok(self.key.as_bytes())
    }

    /// The key that was made last.
    pub(super) fn last_key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// Makes the row, of the values from column `first` of what was sent on; long values are stored in `contents`.
    pub(super) fn row(
        &mut self,
        sent: Sent<'_>,
        first: usize,
        contents: &mut (impl NodeSink + ?Sized),
    ) -> Result<(), Error> {
        if sent.len() != first + self.names.len() {
            return Err(malformed(&self.table, "it has another number of columns"));
        }
        self.row.clear();
        for (index, name) in self.names.iter().enumerate() {
            if let Some(value) = sent.get(first + index) {
                let pushed = self.row.push_value(name, value, contents);
                pushed.map_err(|source| Error::Object { source })?;
            }
        }
        Ok(())
    }

    /// Hands key and value of the row that was made last to `each`.
    pub(super) fn entry(
        &self,
        contents: &mut (impl NodeSink + ?Sized),
        each: impl FnOnce(&[u8], &[u8]) -> Result<(), sync_core::map::MapError>,
    ) -> Result<(), Error> {
        let done = if self.row.as_bytes().len() <= MAX_ROW {
            each(self.key.as_bytes(), self.row.as_bytes())
        } else {
            let value = self.row.value(contents);
            let value = value.map_err(|source| Error::Object { source })?;
            each(self.key.as_bytes(), &value)
        };
        done.map_err(|error| self.out_of_order(error))
    }

    /// An entry that the map does not take is out of order: its size was checked.
    pub(super) fn out_of_order(&self, error: sync_core::map::MapError) -> Error {
        match error {
            sync_core::map::MapError::Entry { .. } => Error::Order {
                table: self.table.clone(),
            },
            other => other.into(),
        }
    }

    /// What is wrong with a stream that could not be taken apart, or ended early.
    pub(super) fn no_row(&self, why: NoRow) -> Error {
        malformed(&self.table, &why.to_string())
    }
}

fn malformed(table: &TableName, reason: &str) -> Error {
    MalformedSnafu {
        table: table.clone(),
        reason,
    }
    .build()
}
