//! What a table is: the columns that travel, their types, and the primary key.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What the bytes of a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// UTF-8: text itself, or the text form of a value under pinned settings.
    Text,
    /// One byte, 0 or 1.
    Bool,
    /// A signed integer of 2 bytes, as all numbers here most significant byte first.
    Int2,
    /// A signed integer of 4 bytes.
    Int4,
    /// A signed integer of 8 bytes.
    Int8,
    /// An IEEE 754 number of 4 bytes.
    Float4,
    /// An IEEE 754 number of 8 bytes.
    Float8,
    /// Bytes as they are.
    Bytes,
    /// 16 bytes.
    Uuid,
    /// Days since 2000-01-01, signed, 4 bytes; the extremes are minus and plus infinity.
    Date,
    /// Microseconds since 2000-01-01T00:00:00 without a zone, signed, 8 bytes; the extremes are the infinities.
    Timestamp,
    /// Likewise, in UTC.
    TimestampTz,
    /// PostgreSQL's binary form of `numeric`: digits of base 10,000.
    Numeric,
    /// A byte 1, then the text of a `jsonb`.
    Jsonb,
}

/// A column that travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What its values are.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its type as PostgreSQL spells it, such as `character varying(20)`.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// What a table is; an object of its own, as canonical JSON.
// Fields are in alphabetical order: that is the canonical order of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The columns, in the order of their names.
    pub columns: Vec<Column>,
    /// Which rows travel, as the configured SQL condition; compared between the sides, never run by who received it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The columns of the primary key, in its order.
    pub key: Vec<String>,
}

/// Which of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Here.
    Ours,
    /// There.
    Theirs,
}

/// How two schemas of one table differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SchemaDifference {
    /// A column is on one side only.
    Column {
        /// Its name.
        name: String,
        /// Who has it.
        only: Side,
    },
    /// A column has two types.
    Type {
        /// Its name.
        name: String,
        /// Its type here.
        ours: String,
        /// Its type there.
        theirs: String,
    },
    /// The primary keys differ.
    Key {
        /// The columns of the key here.
        ours: Vec<String>,
        /// The columns of the key there.
        theirs: Vec<String>,
    },
    /// The conditions that choose the rows differ.
    Filter {
        /// The condition here.
        ours: Option<String>,
        /// The condition there.
        theirs: Option<String>,
    },
}

impl std::fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = |filter: &Option<String>| filter.clone().unwrap_or_else(|| "all rows".to_owned());
        match self {
            Self::Column { name, only } => {
                let only = match only {
                    Side::Ours => "here",
                    Side::Theirs => "there",
                };
                write!(f, "column `{name}` is only {only}")
            }
            Self::Type { name, ours, theirs } => {
                write!(f, "column `{name}` is {ours} here and {theirs} there")
            }
            Self::Key { ours, theirs } => write!(
                f,
                "the primary key is ({}) here and ({}) there",
                ours.join(", "),
                theirs.join(", ")
            ),
            Self::Filter { ours, theirs } => write!(
                f,
                "the rows that travel are `{}` here and `{}` there",
                all(ours),
                all(theirs)
            ),
        }
    }
}

impl Schema {
    /// The most bytes: far more than the 1,600 columns that PostgreSQL allows need.
    pub const MAX_LEN: usize = 512 * 1024;

    /// The canonical JSON and the digest that names it.
    pub fn encode(&self) -> (Digest, Vec<u8>) {
        // Strings and lists of them always serialise.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        (Digest::of(&bytes), bytes)
    }

    /// Reads canonical JSON whose digest the caller has checked; anything else is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::MAX_LEN {
            return None;
        }
        let schema: Self = serde_json::from_slice(bytes).ok()?;
        let ordered = schema.columns.is_sorted_by(|a, b| a.name < b.name);
        let keyed = !schema.key.is_empty()
            && schema.key.iter().all(|key| schema.column(key).is_some())
            && (1..schema.key.len()).all(|n| !schema.key[..n].contains(&schema.key[n]));
        (ordered && keyed && schema.encode().1 == bytes).then_some(schema)
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        let found = self.columns.binary_search_by(|c| c.name.as_str().cmp(name));
        found.ok().and_then(|index| self.columns.get(index))
    }

    /// How this schema differs from the one on the other side.
    pub fn differences(&self, theirs: &Self) -> Vec<SchemaDifference> {
        let mut found = Vec::new();
        let only = |name: &str, only| SchemaDifference::Column {
            name: name.to_owned(),
            only,
        };
        for column in &self.columns {
            match theirs.column(&column.name) {
                None => found.push(only(&column.name, Side::Ours)),
                Some(other) if other != column => found.push(SchemaDifference::Type {
                    name: column.name.clone(),
                    ours: column.type_name.clone(),
                    theirs: other.type_name.clone(),
                }),
                Some(_) => {}
            }
        }
        let lacking = theirs.columns.iter();
        let lacking = lacking.filter(|column| self.column(&column.name).is_none());
        found.extend(lacking.map(|column| only(&column.name, Side::Theirs)));
        if self.key != theirs.key {
            found.push(SchemaDifference::Key {
                ours: self.key.clone(),
                theirs: theirs.key.clone(),
            });
        }
        if self.filter != theirs.filter {
            found.push(SchemaDifference::Filter {
                ours: self.filter.clone(),
                theirs: theirs.filter.clone(),
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_name: &str) -> Column {
        Column {
            kind: Kind::Text,
            name: name.to_owned(),
            type_name: type_name.to_owned(),
        }
    }

    fn schema(columns: &[(&str, &str)], key: &[&str]) -> Schema {
        Schema {
            columns: columns.iter().map(|(n, t)| column(n, t)).collect(),
            filter: None,
            key: key.iter().map(|&k| k.to_owned()).collect(),
        }
    }

    /// The test vector of `docs/formats.md`.
    #[test]
    fn canonical_json_is_stable() {
        let schema = schema(
            &[("id", "text"), ("name", "character varying(20)")],
            &["id"],
        );
        let (digest, bytes) = schema.encode();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"columns":[{"kind":"text","name":"id","type":"text"},{"kind":"text","name":"name","type":"character varying(20)"}],"key":["id"]}"#
        );
        assert_eq!(Schema::decode(&bytes), Some(schema));
        assert_eq!(digest, Digest::of(&bytes));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for wrong in [
            schema(&[("b", "text"), ("a", "text")], &["a"]),
            schema(&[("a", "text"), ("a", "text")], &["a"]),
            schema(&[("a", "text")], &["b"]),
            schema(&[("a", "text")], &[]),
            schema(&[("a", "text")], &["a", "a"]),
        ] {
            assert_eq!(Schema::decode(&wrong.encode().1), None, "{wrong:?}");
        }
    }

    #[test]
    fn differences_are_named() {
        let ours = schema(&[("a", "text"), ("b", "text"), ("id", "text")], &["id"]);
        let theirs = schema(
            &[("b", "integer"), ("c", "text"), ("id", "text")],
            &["id", "b"],
        );
        let said: Vec<String> = ours
            .differences(&theirs)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "column `a` is only here",
                "column `b` is text here and integer there",
                "column `c` is only there",
                "the primary key is (id) here and (id, b) there",
            ]
        );
        assert!(ours.differences(&ours).is_empty());
    }
}
