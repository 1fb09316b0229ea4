//! Why an import is refused.

use std::fmt;

use crate::Error;
use crate::error::ImportSnafu;

/// Why an import is refused: whole, whatever else is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportRefusal {
    /// It is JSON of another shape.
    Shape,
    /// It is more than an import may be.
    TooLarge,
    /// Two items are about one row.
    Duplicate,
    /// An id has to be a UUID, because the tenant's table has UUIDs.
    NotUuid,
    /// A number does not fit its column.
    OutOfRange,
    /// An id is longer than a key may be, or a row longer than a row.
    TooLong,
    /// The tenant's column has a type that these clients do not know.
    ColumnType,
    /// The primary key of the tenant's table is not one text or UUID.
    TableKey,
    /// The tenant's database has no table for these items.
    NoTable,
    /// A replacement by nothing.
    EmptyList,
}

impl ImportRefusal {
    /// The reason as a word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::TooLarge => "too_large",
            Self::Duplicate => "duplicate",
            Self::NotUuid => "not_uuid",
            Self::OutOfRange => "out_of_range",
            Self::TooLong => "too_long",
            Self::ColumnType => "column_type",
            Self::TableKey => "table_key",
            Self::NoTable => "no_table",
            Self::EmptyList => "empty_list",
        }
    }

    /// The error that says so of `place`, such as `skills[3].id`.
    pub(super) fn at(self, place: impl Into<String>) -> Error {
        ImportSnafu {
            refusal: self,
            place,
        }
        .build()
    }
}

impl fmt::Display for ImportRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "the JSON has another shape",
            Self::TooLarge => "it is larger than 64 MiB",
            Self::Duplicate => "another item is about the same row",
            Self::NotUuid => "the tenant's table needs a UUID",
            Self::OutOfRange => "the number does not fit the tenant's column",
            Self::TooLong => "it is longer than a row can be",
            Self::ColumnType => "the tenant's column is of another type",
            Self::TableKey => "the primary key of the tenant's table is not one text or UUID",
            Self::NoTable => "the tenant's database has no table for it",
            Self::EmptyList => "nothing would replace all rows of a table",
        })
    }
}
