//! An item as the fields that files and rows share.

use std::fmt;

use serde_json::{Map, Value as Json};
use sync_core::Digest;

use crate::instant::canonical;

/// The identity of an item: the id of a skill; the slug of a page, with `@locale` unless it is `en`;
/// `type/id` of an entity under access control.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Key(pub(crate) Box<str>);

impl Key {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A field of an item: under this name in files, in what is exchanged with the database, and in what people are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
}

impl Field {
    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape }
    }
}

/// What a field can hold. What programs cannot tell apart is one value: an empty list is none, and so is an empty
/// optional text; blanks around a body belong to its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A text that may be empty.
    Text,
    /// A text, or none.
    Optional,
    /// Yes or no.
    Flag,
    /// Texts in order.
    List,
    /// A value with structure.
    Json,
    /// A day, or a moment.
    Instant,
    /// The text of a file below its front matter.
    Body,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Absent,
    Text(String),
    Flag(bool),
    List(Vec<String>),
    Json(Json),
}

/// The fields of an item, in the order of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) Vec<Value>);

impl Value {
    /// The one value for all that means the same.
    pub(crate) fn normal(self, shape: Shape) -> Self {
        match (self, shape) {
            (Self::Absent, Shape::Text | Shape::Body) => Self::Text(String::new()),
            (Self::Absent, Shape::Flag) => Self::Flag(false),
            (Self::Text(text), Shape::Optional) if text.is_empty() => Self::Absent,
            (Self::List(items), Shape::List) if items.is_empty() => Self::Absent,
            (Self::Json(Json::Null), _) => Self::Absent,
            (Self::Json(Json::Array(items)), _) if items.is_empty() => Self::Absent,
            (Self::Text(text), Shape::Body) => Self::Text(text.trim().to_owned()),
            (Self::Text(text), Shape::Instant) => Self::Text(canonical(&text).unwrap_or(text)),
            (value, _) => value,
        }
    }

    /// A column as the database gives it.
    fn of_column(json: Json, shape: Shape) -> Self {
        let value = match (json, shape) {
            (Json::Null, _) => Self::Absent,
            (Json::Bool(flag), _) => Self::Flag(flag),
            (Json::Array(items), Shape::List) => {
                let text = |item: Json| match item {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                Self::List(items.into_iter().map(text).collect())
            }
            (json, Shape::Json) => Self::Json(json),
            (Json::String(text), _) => Self::Text(text),
            (other, _) => Self::Text(other.to_string()),
        };
        value.normal(shape)
    }

    /// As the database takes it.
    fn to_column(&self) -> Json {
        match self {
            Self::Absent => Json::Null,
            Self::Text(text) => Json::from(text.as_str()),
            Self::Flag(flag) => Json::from(*flag),
            Self::List(items) => Json::from(items.clone()),
            Self::Json(json) => json.clone(),
        }
    }

    /// For people.
    pub(crate) fn show(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Text(text) => Some(text.clone()),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::List(items) => Some(items.join(", ")),
            Self::Json(json) => Some(json.to_string()),
        }
    }
}

impl Record {
    /// From what the database gives.
    pub(crate) fn of_row(fields: &[Field], mut row: Map<String, Json>) -> Self {
        let value = |field: &Field| {
            let column = row.remove(field.name).unwrap_or(Json::Null);
            Value::of_column(column, field.shape)
        };
        Self(fields.iter().map(value).collect())
    }

    /// As the database takes it.
    pub(crate) fn to_row(&self, fields: &[Field]) -> Map<String, Json> {
        let values = fields.iter().zip(&self.0);
        values
            .map(|(field, value)| (field.name.to_owned(), value.to_column()))
            .collect()
    }

    /// The digest of every field: the only equality that decides anything.
    pub(crate) fn digest(&self, fields: &[Field]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (field, value) in fields.iter().zip(&self.0) {
            put(&mut hasher, field.name.as_bytes());
            match value {
                Value::Absent => put(&mut hasher, b"-"),
                Value::Text(text) => {
                    put(&mut hasher, b"t");
                    put(&mut hasher, text.as_bytes());
                }
                Value::Flag(flag) => put(&mut hasher, if *flag { b"f1" } else { b"f0" }),
                Value::List(items) => {
                    put(&mut hasher, b"l");
                    hasher.update(&(items.len() as u64).to_le_bytes());
                    for item in items {
                        put(&mut hasher, item.as_bytes());
                    }
                }
                // Its keys are sorted, so one value has one text.
                Value::Json(json) => {
                    put(&mut hasher, b"j");
                    put(&mut hasher, json.to_string().as_bytes());
                }
            }
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The value of a field.
    pub(crate) fn value(&self, fields: &[Field], name: &str) -> &Value {
        let at = fields.iter().position(|field| field.name == name);
        at.and_then(|at| self.0.get(at)).unwrap_or(&Value::Absent)
    }

    /// A field that is a text; empty where it is none.
    pub(crate) fn text(&self, fields: &[Field], name: &str) -> &str {
        match self.value(fields, name) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The text below the front matter; empty where the kind has none.
    pub(crate) fn body(&self, fields: &[Field]) -> &str {
        let field = fields.iter().find(|field| field.shape == Shape::Body);
        field.map_or("", |field| self.text(fields, field.name))
    }
}

/// A field of an item that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldChange {
    /// The field.
    pub field: &'static str,
    /// What the disk has; `None` for nothing.
    pub disk: Option<String>,
    /// What the database has.
    pub database: Option<String>,
}

/// The fields in which two versions differ; a side that has no such item has nothing in any.
pub(crate) fn differing(
    fields: &[Field],
    disk: Option<&Record>,
    database: Option<&Record>,
) -> Vec<FieldChange> {
    let nothing = Value::Absent;
    let at = |record: Option<&Record>, index: usize| {
        record
            .and_then(|record| record.0.get(index))
            .unwrap_or(&nothing)
            .clone()
    };
    let changes = fields.iter().enumerate().filter_map(|(index, field)| {
        let (disk, database) = (at(disk, index), at(database, index));
        (disk != database).then(|| FieldChange {
            field: field.name,
            disk: disk.show(),
            database: database.show(),
        })
    });
    changes.collect()
}

/// Bytes with their length before them, so that no two sequences of fields look alike.
fn put(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field::new("a", Shape::Text),
        Field::new("b", Shape::Optional),
        Field::new("c", Shape::List),
        Field::new("d", Shape::Body),
    ];

    fn row(json: &str) -> Record {
        let Ok(Json::Object(map)) = serde_json::from_str(json) else {
            panic!("{json}")
        };
        Record::of_row(FIELDS, map)
    }

    #[track_caller]
    fn check(one: &str, other: &str, same: bool) {
        let digests = [one, other].map(|json| row(json).digest(FIELDS));
        assert_eq!(digests[0] == digests[1], same, "{one} {other}");
    }

    #[test]
    fn what_means_the_same_has_one_digest() {
        check(r#"{"b": ""}"#, r#"{"b": null}"#, true);
        check(r#"{"c": []}"#, "{}", true);
        check(r#"{"d": "x\n"}"#, r#"{"d": "\n x"}"#, true);
        check(r#"{"a": "x "}"#, r#"{"a": "x"}"#, false);
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        check(r#"{"a": "xy"}"#, r#"{"a": "x", "b": "y"}"#, false);
        check(r#"{"c": ["a", "b"]}"#, r#"{"c": ["ab"]}"#, false);
        check(r#"{"c": ["a"], "d": "b"}"#, r#"{"c": ["a", "b"]}"#, false);
        check(r#"{"a": "x"}"#, r#"{"b": "x"}"#, false);
    }

    #[test]
    fn a_row_goes_out_as_it_came_in() {
        let record = row(r#"{"a": "x", "b": "y", "c": ["1", "2"], "d": "z"}"#);
        let again = Record::of_row(FIELDS, record.to_row(FIELDS));
        assert_eq!(again, record);
        assert_eq!(record.body(FIELDS), "z");
    }
}
