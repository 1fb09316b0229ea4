//! A table of the tenant as one of the lists.

use std::borrow::Cow;

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{Map, MapError, NodeSource};
use sync_core::rows::{
    Cell, Column, Kind, Row, RowError, RowValue, Schema, TableEntry, TableName, load_content, table,
};
use sync_store::RepositoryNodes;

use super::cell;
use super::layout::{Collection, Type};
use super::record::{Record, Value, nothing};
use super::refusal::ImportRefusal;
use crate::Error;
use crate::legacy::land::map_error;

/// A table, and which of its columns the members of a list's items are.
///
/// **Invariant:** its primary key is one column, of text or UUIDs: the bytes of its value are the key of the row's map.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) collection: &'static Collection,
    pub(super) name: TableName,
    pub(super) entry: TableEntry,
    pub(super) schema: Schema,
    /// The places of the members in `schema.columns`.
    columns: Box<[Option<usize>]>,
    key: usize,
}

impl Table {
    /// The table that holds a list; `None` where the tenant has none.
    ///
    /// # Errors
    ///
    /// [`ImportRefusal::TableKey`] where a table of that name is another thing.
    pub(super) fn find(
        nodes: &RepositoryNodes,
        tables: Digest,
        collection: &'static Collection,
    ) -> Result<Option<Self>, Error> {
        for name in collection.tables {
            let name = table_name(name)?;
            let Some(entry) = table(nodes, tables, &name).map_err(map_error)? else {
                continue;
            };
            let bytes = nodes.node(&entry.schema).map_err(|source| {
                let digest = entry.schema;
                map_error(MapError::Store { digest, source })
            })?;
            let schema = bytes.and_then(|bytes| Schema::decode(&bytes));
            let schema = schema.ok_or(sync_rows::Error::Schema {
                digest: entry.schema,
            })?;
            return Self::bind(collection, name, entry, schema).map(Some);
        }
        Ok(None)
    }

    /// A table that has the members as columns, and no rows; and its schema, which is to be stored.
    pub(super) fn make(collection: &'static Collection) -> Result<(Self, Vec<u8>), Error> {
        let members = collection.members.iter();
        let mut columns: Vec<Column> = members.map(|m| column(m.name, m.r#type)).collect();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        let key = collection.members.iter().take(1);
        let schema = Schema {
            columns,
            filter: None,
            key: key.map(|member| member.name.to_owned()).collect(),
        };
        let (digest, bytes) = schema.encode();
        let entry = TableEntry {
            schema: digest,
            rows: Map {
                root: Map::empty_root(),
                len: 0,
            },
        };
        let name = table_name(collection.tables[0])?;
        Ok((Self::bind(collection, name, entry, schema)?, bytes))
    }

    fn bind(
        collection: &'static Collection,
        name: TableName,
        entry: TableEntry,
        schema: Schema,
    ) -> Result<Self, Error> {
        let place = |name: &str| schema.columns.iter().position(|column| column.name == name);
        let key = match schema.key.as_slice() {
            [key] => place(key),
            _ => None,
        };
        let fits = |key: &usize| matches!(schema.columns[*key].kind, Kind::Text | Kind::Uuid);
        let unfit = || ImportRefusal::TableKey.at(name.as_str());
        let key = key.filter(fits).ok_or_else(unfit)?;
        let members = collection.members.iter().enumerate();
        let columns: Box<[_]> = members
            .map(|(index, member)| match index {
                0 if collection.by_key => Some(key),
                _ => place(member.name),
            })
            .collect();
        if columns[0].is_none() {
            return Err(unfit());
        }
        Ok(Self {
            collection,
            name,
            entry,
            schema,
            columns,
            key,
        })
    }

    /// The column of the primary key.
    pub(super) fn key(&self) -> &Column {
        &self.schema.columns[self.key]
    }

    /// Whether items are told apart by the primary key.
    pub(super) fn is_by_key(&self) -> bool {
        self.columns[0] == Some(self.key)
    }

    /// The column of a member.
    pub(super) fn column(&self, member: usize) -> Option<&Column> {
        self.columns[member].map(|place| &self.schema.columns[place])
    }

    /// The member of a column, by its place in the schema.
    pub(super) fn member(&self, column: usize) -> Option<usize> {
        self.columns.iter().position(|place| *place == Some(column))
    }

    /// The row of a value of the map.
    pub(super) fn row(&self, value: &Bytes, nodes: &RepositoryNodes) -> Result<Row, Error> {
        RowValue::load(value, nodes).map_err(|source| self.unreadable(source))
    }

    /// The value of one member as the row has it.
    pub(super) fn value(
        &self,
        member: usize,
        row: &Row,
        nodes: &RepositoryNodes,
    ) -> Result<Value<'static>, Error> {
        let Some(column) = self.column(member) else {
            return Ok(Value::Null);
        };
        let r#type = self.collection.members[member].r#type;
        Ok(match row.get(&column.name) {
            None => Value::Null,
            Some(cell) => cell::read(r#type, column, &self.bytes(&cell, nodes)?),
        })
    }

    /// The item that a row is, with nulls where it has nothing.
    pub(super) fn bare(
        &self,
        row: &Row,
        nodes: &RepositoryNodes,
    ) -> Result<Record<'static>, Error> {
        let members = 0..self.columns.len();
        members
            .map(|member| self.value(member, row, nodes))
            .collect()
    }

    /// The item that a row is exported as: what is never null has something.
    pub(super) fn item(&self, row: &Row, bare: Record<'static>) -> Record<'static> {
        let mut item = bare;
        let of = |item: &Record<'static>, name: &str| {
            let member = self.collection.member(name)?;
            Some(item[member].clone()).filter(|value| *value != Value::Null)
        };
        for (index, member) in self.collection.members.iter().enumerate() {
            if item[index] != Value::Null || member.is_nullable {
                continue;
            }
            let stand_in = match member.name {
                "created_at" => of(&item, "updated_at"),
                "updated_at" => of(&item, "created_at"),
                "module_name" => of(&item, "name"),
                "status" => enabled(row),
                _ => None,
            };
            item[index] = stand_in.unwrap_or_else(|| nothing(member.r#type));
        }
        item
    }

    fn bytes<'c>(&self, cell: &Cell<'c>, nodes: &RepositoryNodes) -> Result<Cow<'c, [u8]>, Error> {
        match cell {
            Cell::Inline(bytes) => Ok(Cow::Borrowed(bytes)),
            Cell::Stored(content) => load_content(content, nodes)
                .map(Cow::Owned)
                .map_err(|source| self.unreadable(source)),
        }
    }

    pub(super) fn unreadable(&self, source: RowError) -> Error {
        let table = self.name.clone();
        sync_rows::Error::Row { table, source }.into()
    }
}

/// What the status of a service is where only that is known of it.
fn enabled(row: &Row) -> Option<Value<'static>> {
    let text = match row.get("enabled")? {
        Cell::Inline([0]) => "disabled",
        _ => "enabled",
    };
    Some(Value::Text(text.into()))
}

/// A column for a member, of a table that is made.
fn column(name: &str, r#type: Type) -> Column {
    let (kind, type_name) = match r#type {
        Type::Uuid => (Kind::Uuid, "uuid"),
        Type::Text => (Kind::Text, "text"),
        Type::Bool => (Kind::Bool, "boolean"),
        Type::Int => (Kind::Int4, "integer"),
        Type::Texts => (Kind::Text, "text[]"),
        Type::Time => (Kind::TimestampTz, "timestamp with time zone"),
    };
    Column {
        kind,
        name: name.to_owned(),
        type_name: type_name.to_owned(),
    }
}

fn table_name(name: &str) -> Result<TableName, Error> {
    let parsed = name.parse();
    parsed.map_err(|_| ImportRefusal::TableKey.at(name))
}
