//! The map of tables.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use snafu::{Snafu, ensure};

use crate::Digest;
use crate::map::{self, Map, MapError, NodeSource};
use crate::wire::{Reader, put_varint};

/// The name of a table: `table` in the schema `public`, `schema.table` in any other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

/// Why a text is no name of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Snafu)]
#[snafu(display(
    "a table is named `table` or `schema.table`, each part 1 to 63 bytes without a dot or a control character"
))]
pub struct NameError;

impl TableName {
    /// From the two names that the database has.
    pub fn new(schema: &str, table: &str) -> Result<Self, NameError> {
        let part = |part: &str| {
            let plain = |c: char| c != '.' && !c.is_control();
            (1..=63).contains(&part.len()) && part.chars().all(plain)
        };
        ensure!(part(schema) && part(table), NameSnafu);
        Ok(Self(match schema {
            "public" => table.to_owned(),
            _ => format!("{schema}.{table}"),
        }))
    }

    /// From a key of the map of tables; `None` where it is no name, or not in its one form.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        let name: Self = text.parse().ok()?;
        (name.as_str() == text).then_some(name)
    }

    /// The schema that it is in.
    pub fn schema(&self) -> &str {
        self.0
            .split_once('.')
            .map_or("public", |(schema, _)| schema)
    }

    /// Its name in that schema.
    pub fn table(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, table)| table)
    }

    /// As people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TableName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (schema, table) = text.split_once('.').unwrap_or(("public", text));
        Self::new(schema, table)
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

/// What the map of tables has under a table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableEntry {
    /// Names the [`super::Schema`], an object.
    pub schema: Digest,
    /// The map of its rows.
    pub rows: Map,
}

impl TableEntry {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 * Digest::LEN + 4);
        out.extend_from_slice(self.schema.as_bytes());
        put_varint(&mut out, self.rows.len);
        out.extend_from_slice(self.rows.root.as_bytes());
        out
    }

    /// Reads a canonical encoding; anything else is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let schema = reader.digest()?;
        let len = reader.varint()?;
        let root = reader.digest()?;
        let rows = Map { root, len };
        let sound = (len == 0) == (root == Map::empty_root());
        (reader.is_empty() && sound).then_some(Self { schema, rows })
    }
}

/// The tables of the map under `root`, in the order of their names. There are few: they are all read.
///
/// # Errors
///
/// [`MapError`] where the map cannot be read, or has what is no table.
pub fn tables(
    source: &(impl NodeSource + ?Sized),
    root: Digest,
) -> Result<Vec<(TableName, TableEntry)>, MapError> {
    map::iter(source, root)
        .map(|entry| {
            let (key, value) = entry?;
            read(root, &key, &value)
        })
        .collect()
}

/// One table of the map under `root`; `None` where it is not there.
///
/// # Errors
///
/// As [`tables`].
pub fn table(
    source: &(impl NodeSource + ?Sized),
    root: Digest,
    name: &TableName,
) -> Result<Option<TableEntry>, MapError> {
    let key = name.as_str().as_bytes();
    let value = map::get(source, root, key)?;
    value
        .map(|value| read(root, key, &value).map(|(_, entry)| entry))
        .transpose()
}

fn read(root: Digest, key: &[u8], value: &[u8]) -> Result<(TableName, TableEntry), MapError> {
    TableName::from_key(key)
        .zip(TableEntry::decode(value))
        .ok_or(MapError::Malformed {
            digest: root,
            reason: "an entry is no table",
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MemoryNodes;

    #[test]
    fn names_have_one_form() {
        let name: TableName = "agents".parse().unwrap();
        assert_eq!((name.schema(), name.table()), ("public", "agents"));
        let name: TableName = "public.agents".parse().unwrap();
        assert_eq!(name.as_str(), "agents");
        let name: TableName = "crm.people".parse().unwrap();
        assert_eq!((name.schema(), name.table()), ("crm", "people"));
        for wrong in ["", ".", "a.", ".a", "a.b.c", "a\n", &"x".repeat(64)] {
            assert_eq!(wrong.parse::<TableName>(), Err(NameError), "{wrong}");
        }
    }

    #[test]
    fn tables_come_back_and_others_are_refused() {
        let mut nodes = MemoryNodes::new();
        let entry = TableEntry {
            schema: Digest::of(b"schema"),
            rows: Map {
                root: Digest::of(b"rows"),
                len: 3,
            },
        };
        let made = map::edit(
            &nodes.clone(),
            Map::empty_root(),
            [("agents", Some(entry.encode()))],
            &mut nodes,
        )
        .unwrap();
        let name: TableName = "agents".parse().unwrap();
        assert_eq!(tables(&nodes, made.root).unwrap(), [(name.clone(), entry)]);
        assert_eq!(table(&nodes, made.root, &name).unwrap(), Some(entry));
        let wrong = map::edit(
            &nodes.clone(),
            made.root,
            [("public.agents", Some(entry.encode()))],
            &mut nodes,
        )
        .unwrap();
        assert!(tables(&nodes, wrong.root).is_err());
        let empty_but_counted = TableEntry {
            rows: Map {
                root: Map::empty_root(),
                len: 1,
            },
            ..entry
        };
        assert_eq!(TableEntry::decode(&empty_but_counted.encode()), None);
    }
}
