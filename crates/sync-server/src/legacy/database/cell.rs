//! Values of members as values of columns, and back.

use std::borrow::Cow;

use sync_core::rows::{Column, Kind};

use super::layout::Type;
use super::record::{Value, derived_uuid, uuid, uuid_text};
use super::refusal::ImportRefusal;

/// The value that a column's bytes are for a member; `Null` where they are none.
pub(super) fn read(r#type: Type, column: &Column, bytes: &[u8]) -> Value<'static> {
    let text = || sync_core::rows::text(column.kind, bytes);
    let found = match (r#type, column.kind) {
        (Type::Uuid, Kind::Uuid) => bytes.try_into().ok().map(Value::Uuid),
        (Type::Uuid, Kind::Text) => Some(Value::Uuid(as_uuid(&text()))),
        (Type::Text, _) => Some(Value::Text(Cow::Owned(text()))),
        (Type::Bool, Kind::Bool) => Some(Value::Bool(bytes == [1])),
        (Type::Int, Kind::Int2 | Kind::Int4 | Kind::Int8) => text().parse().ok().map(Value::Int),
        (Type::Texts, Kind::Text) => texts(&text()).map(Value::Texts),
        (Type::Time, Kind::Timestamp | Kind::TimestampTz) => bytes
            .try_into()
            .ok()
            .map(|b| Value::Time(i64::from_be_bytes(b))),
        _ => None,
    };
    found.unwrap_or(Value::Null)
}

/// The bytes of a value in a column; `None` where it is null.
///
/// # Errors
///
/// Why the column cannot have it.
pub(super) fn write(value: &Value<'_>, column: &Column) -> Result<Option<Vec<u8>>, ImportRefusal> {
    Ok(Some(match (value, column.kind) {
        (Value::Absent | Value::Null, _) => return Ok(None),
        (Value::Uuid(uuid), Kind::Uuid) => uuid.to_vec(),
        (Value::Uuid(uuid), Kind::Text) => uuid_text(uuid).into(),
        (Value::Text(text), Kind::Text) => text.as_bytes().to_vec(),
        (Value::Text(text), Kind::Uuid) => uuid(text).ok_or(ImportRefusal::NotUuid)?.to_vec(),
        (Value::Bool(value), Kind::Bool) => vec![u8::from(*value)],
        (Value::Int(number), kind) => integer(*number, kind)?,
        (Value::Texts(texts), Kind::Text) if column.type_name.ends_with("[]") => {
            literal(texts).into()
        }
        (Value::Time(micros), Kind::Timestamp | Kind::TimestampTz) => micros.to_be_bytes().into(),
        _ => return Err(ImportRefusal::ColumnType),
    }))
}

fn integer(number: i64, kind: Kind) -> Result<Vec<u8>, ImportRefusal> {
    let range = |_| ImportRefusal::OutOfRange;
    Ok(match kind {
        Kind::Int2 => i16::try_from(number).map_err(range)?.to_be_bytes().into(),
        Kind::Int4 => i32::try_from(number).map_err(range)?.to_be_bytes().into(),
        Kind::Int8 => number.to_be_bytes().into(),
        _ => return Err(ImportRefusal::ColumnType),
    })
}

/// An id as these clients know it: itself where it is a UUID.
pub(super) fn as_uuid(text: &str) -> [u8; 16] {
    uuid(text).unwrap_or_else(|| derived_uuid(text))
}

/// Texts as PostgreSQL writes an array of them (`array_out`).
fn literal(texts: &[Cow<'_, str>]) -> String {
    let mut out = String::from("{");
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let special = |c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || is_space(c);
        if !(text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special)) {
            out.push_str(text);
            continue;
        }
        out.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    out
}

/// What `array_isspace` of PostgreSQL takes for space.
const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The texts of an array of one dimension as PostgreSQL writes it, nulls left out; anything else is `None`.
pub(super) fn texts(literal: &str) -> Option<Vec<Cow<'static, str>>> {
    let inner = literal.strip_prefix('{')?.strip_suffix('}')?;
    let mut found = Vec::new();
    if inner.is_empty() {
        return Some(found);
    }
    let mut chars = inner.chars();
    loop {
        let (mut text, mut quoted, mut is_open) = (String::new(), false, false);
        let ended = loop {
            match chars.next() {
                None => break true,
                Some('"') => (quoted, is_open) = (true, !is_open),
                Some('\\') => text.push(chars.next()?),
                Some(',') if !is_open => break false,
                Some('{' | '}') if !is_open => return None,
                Some(c) => text.push(c),
            }
        };
        if is_open || (text.is_empty() && !quoted) {
            return None;
        }
        if quoted || !text.eq_ignore_ascii_case("null") {
            found.push(text.into());
        }
        if ended {
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_postgresql_writes_them() {
        for (list, expected) in [
            (&[][..], "{}"),
            (&["a", "b c", "ü"], "{a,\"b c\",ü}"),
            (&["", "NULL", "null "], r#"{"","NULL","null "}"#),
            (&["a\"b\\c", "{d},e"], r#"{"a\"b\\c","{d},e"}"#),
        ] {
            let list: Vec<Cow<'_, str>> = list.iter().map(|text| Cow::Borrowed(*text)).collect();
            assert_eq!(literal(&list), expected);
            assert_eq!(texts(expected), Some(list));
        }
        assert_eq!(texts("{a,NULL}").unwrap(), ["a"]);
        for other in ["", "{", "a", "{{a}}", "{a,}", "{\"a}"] {
            assert_eq!(texts(other), None, "{other}");
        }
    }

    #[test]
    fn columns_take_what_fits() {
        let column = |kind, type_name: &str| Column {
            kind,
            name: "c".into(),
            type_name: type_name.into(),
        };
        let check = |value: &Value<'_>, kind, r#type: Type| {
            let column = column(kind, "text[]");
            let bytes = write(value, &column).unwrap().unwrap();
            assert_eq!(&read(r#type, &column, &bytes), value);
        };
        check(&Value::Uuid([7; 16]), Kind::Uuid, Type::Uuid);
        check(&Value::Uuid([7; 16]), Kind::Text, Type::Uuid);
        check(&Value::Text("a".into()), Kind::Text, Type::Text);
        check(
            &Value::Text(uuid_text(&[7; 16]).into()),
            Kind::Uuid,
            Type::Text,
        );
        check(&Value::Bool(false), Kind::Bool, Type::Bool);
        check(&Value::Int(-7), Kind::Int2, Type::Int);
        check(&Value::Time(-1), Kind::TimestampTz, Type::Time);
        check(&Value::Texts(vec!["a b".into()]), Kind::Text, Type::Texts);
        for (value, kind, refusal) in [
            (Value::Int(70_000), Kind::Int2, ImportRefusal::OutOfRange),
            (Value::Int(1), Kind::Text, ImportRefusal::ColumnType),
            (Value::Text("x".into()), Kind::Uuid, ImportRefusal::NotUuid),
            (Value::Texts(vec![]), Kind::Jsonb, ImportRefusal::ColumnType),
        ] {
            assert_eq!(write(&value, &column(kind, "x")), Err(refusal));
        }
        assert_eq!(write(&Value::Null, &column(Kind::Int4, "x")), Ok(None));
    }
}
