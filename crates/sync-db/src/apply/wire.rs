//! Values on their way into the database and out of it, as the bytes that they are.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use sync_core::rows::Kind;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// What every stream of `COPY … (FORMAT binary)` starts with: the signature, no flags, no extension.
pub(super) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Appends a value to a row of `COPY … (FORMAT binary)`.
///
/// A value is shorter than 1 GiB, as no longer one fits into PostgreSQL: what is longer is refused by it.
pub(super) fn put_value(out: &mut BytesMut, value: Option<&[u8]>) {
    let Some(value) = value else {
        out.put_i32(-1);
        return;
    };
    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
    out.put_slice(value);
}

/// The values of the first row of `rest`, which is left behind it; `None` at the end. The bytes are our own.
pub(super) fn take_row<'r>(rest: &mut &'r [u8]) -> Option<Vec<Option<&'r [u8]>>> {
    let (count, mut bytes) = rest.split_first_chunk()?;
    let count = usize::try_from(i16::from_be_bytes(*count)).ok()?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, tail) = bytes.split_first_chunk()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            values.push(None);
            bytes = tail;
            continue;
        };
        let (value, tail) = tail.split_at_checked(length)?;
        values.push(Some(value));
        bytes = tail;
    }
    *rest = bytes;
    Some(values)
}

/// The bytes of a value, whatever its type.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// An array as a parameter, built of the bytes of its elements.
pub(super) struct Array {
    type_: Type,
    bytes: Bytes,
}

impl Array {
    /// From its elements; `type_` is that of the array, `element` that of an element.
    pub(super) fn new<'v>(
        (element, type_): (Type, Type),
        values: impl ExactSizeIterator<Item = Option<&'v [u8]>>,
    ) -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_i32(1);
        bytes.put_i32(1);
        bytes.put_u32(element.oid());
        bytes.put_i32(i32::try_from(values.len()).unwrap_or(i32::MAX));
        bytes.put_i32(1);
        values.for_each(|value| put_value(&mut bytes, value));
        Self {
            type_,
            bytes: bytes.freeze(),
        }
    }

    /// As a parameter of a statement.
    pub(super) fn parameter(&self) -> (&(dyn ToSql + Sync), Type) {
        (self, self.type_.clone())
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values do not get into logs.
        f.debug_struct("Array").finish_non_exhaustive()
    }
}

impl ToSql for Array {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The type of a value on the wire and of an array of such values.
pub(super) fn types_of(kind: Kind) -> (Type, Type) {
    match kind {
        Kind::Text => (Type::TEXT, Type::TEXT_ARRAY),
        Kind::Bool => (Type::BOOL, Type::BOOL_ARRAY),
        Kind::Int2 => (Type::INT2, Type::INT2_ARRAY),
        Kind::Int4 => (Type::INT4, Type::INT4_ARRAY),
        Kind::Int8 => (Type::INT8, Type::INT8_ARRAY),
        Kind::Float4 => (Type::FLOAT4, Type::FLOAT4_ARRAY),
        Kind::Float8 => (Type::FLOAT8, Type::FLOAT8_ARRAY),
        Kind::Bytes => (Type::BYTEA, Type::BYTEA_ARRAY),
        Kind::Uuid => (Type::UUID, Type::UUID_ARRAY),
        Kind::Date => (Type::DATE, Type::DATE_ARRAY),
        Kind::Timestamp => (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
        Kind::TimestampTz => (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
        Kind::Numeric => (Type::NUMERIC, Type::NUMERIC_ARRAY),
        Kind::Jsonb => (Type::JSONB, Type::JSONB_ARRAY),
    }
}

/// Whether the bytes can be a value of this kind at all. What only the database can judge is left to it.
pub(super) fn is_sound(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Text => !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok(),
        Kind::Bool => bytes.len() == 1,
        Kind::Int2 => bytes.len() == 2,
        Kind::Int4 | Kind::Float4 | Kind::Date => bytes.len() == 4,
        Kind::Int8 | Kind::Float8 | Kind::Timestamp | Kind::TimestampTz => bytes.len() == 8,
        Kind::Uuid => bytes.len() == 16,
        Kind::Numeric => bytes.len() >= 8,
        Kind::Jsonb => bytes.first() == Some(&1),
        Kind::Bytes => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_put() {
        let mut out = BytesMut::new();
        for values in [
            &[Some(b"a".as_slice()), None, Some(b"")],
            &[None, None, Some(b"bc")],
        ] {
            out.put_i16(3);
            for value in values {
                put_value(&mut out, *value);
            }
        }
        let mut rest = &out[..];
        let first = take_row(&mut rest);
        assert_eq!(first, Some(vec![Some(b"a".as_slice()), None, Some(b"")]));
        assert_eq!(
            take_row(&mut rest),
            Some(vec![None, None, Some(b"bc".as_slice())])
        );
        assert_eq!(take_row(&mut rest), None);
    }
}
