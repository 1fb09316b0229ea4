//! What the database says of a table that is to be synced.

use std::collections::BTreeMap;

use serde::Serialize;
use snafu::{OptionExt, ensure};
use sync_core::rows::{Column, Kind, Schema, TableName};
use tokio_postgres::GenericClient;

use crate::error::{CycleSnafu, NoTableSnafu, UnfitSnafu};
use crate::spec::TableSpec;
use crate::sql::quote;
use crate::{Database, Error};

/// A column that travels.
// Each is one fact of the database's catalogue.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Name, type and kind, as the other side sees them.
    pub column: Column,
    /// The type below all domains, in SQL; what a temporary column for its values is declared as.
    pub base_type: String,
    /// Whether its values are text in the database already, so that they need no cast.
    pub is_text: bool,
    /// How its values are made to sort as UTF-8, if they are text.
    pub(crate) text_order: TextOrder,
    /// Whether it may be null.
    pub nullable: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: it can be inserted with an override, and never updated.
    pub always_identity: bool,
    /// The sequence behind it, qualified and quoted.
    pub sequence: Option<String>,
}

/// How text is made to sort bytewise as UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextOrder {
    /// It does so anyway, so that an index on the column has our order.
    Index,
    /// By `COLLATE "C"`, which sorts by the bytes of the database's encoding.
    Collate,
    /// That encoding sorts in another way.
    Convert,
}

/// A foreign key to another table, or to the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that it points to.
    pub target: TableName,
    /// Whether checking it can wait for the end of the transaction.
    pub deferrable: bool,
}

/// A unique constraint or index beside the primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    /// The name of the index.
    pub name: String,
    /// Its columns, and those that its expressions use.
    pub columns: Vec<String>,
    /// Whether checking it can wait for the end of the transaction.
    pub deferrable: bool,
}

/// A table as a row set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub name: TableName,
    /// Its number in this database.
    pub oid: u32,
    /// The columns that travel, in the order of their names.
    pub columns: Vec<RelationColumn>,
    /// The columns of the primary key, in its order.
    pub key: Vec<String>,
    /// The condition that chooses the rows.
    pub filter: Option<String>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its unique keys beside the primary one.
    pub unique: Vec<UniqueKey>,
    /// Whether triggers of the application may change what is written.
    pub has_triggers: bool,
}

const COLUMNS: &str = r#"
WITH RECURSIVE base(attnum, typ, typmod, step) AS (
    SELECT attnum, atttypid, atttypmod, 0 FROM pg_attribute
    WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT b.attnum, t.typbasetype, t.typtypmod, b.step + 1
    FROM base b JOIN pg_type t ON t.oid = b.typ AND t.typtype = 'd'
)
SELECT DISTINCT ON (a.attnum) a.attname::text, format_type(a.atttypid, a.atttypmod), b.typ AS base_oid,
    format_type(b.typ, NULL) AS base_type, NOT a.attnotnull AS nullable, a.attidentity = 'a' AS always_identity,
    a.attgenerated <> '' AS generated,
    pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname) AS sequence,
    CASE
        WHEN d.encoding NOT IN (pg_char_to_encoding('UTF8'), pg_char_to_encoding('LATIN1'), pg_char_to_encoding('SQL_ASCII'))
            THEN 'convert'
        WHEN a.attcollation IN ('pg_catalog."C"'::regcollation, 'pg_catalog."POSIX"'::regcollation) THEN 'index'
        WHEN a.attcollation = 'pg_catalog."default"'::regcollation AND d.datcollate IN ('C', 'POSIX')
            AND COALESCE(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' THEN 'index'
        ELSE 'collate' END AS text_order
FROM base b JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attnum = b.attnum
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_database d ON d.datname = current_database()
ORDER BY a.attnum, b.step DESC"#;

const TABLE: &str = "
SELECT c.oid, c.relkind::text,
    (SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND k.n <= i.indnkeyatts),
    EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
        AND t.tgname NOT LIKE 'sync\\_%') OR c.relhasrules
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

const FOREIGN_KEYS: &str = "
SELECT k.conname::text, n.nspname::text, c.relname::text, k.condeferrable
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.conrelid = $1::oid AND k.contype = 'f' AND k.conparentid = 0 ORDER BY k.conname";

const UNIQUE: &str = "
SELECT c.relname::text,
    COALESCE(array_agg(a.attname::text ORDER BY k.n) FILTER (WHERE a.attname IS NOT NULL), '{}'), NOT i.indimmediate
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND (a.attnum = k.attnum AND k.attnum > 0
    OR k.attnum = 0 AND i.indpred IS NULL AND EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
        AND d.objid = i.indexrelid AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
WHERE i.indrelid = $1::oid AND i.indisunique AND NOT i.indisprimary AND i.indislive AND k.n <= i.indnkeyatts
GROUP BY c.relname, i.indimmediate ORDER BY c.relname";

impl Relation {
    /// Asks for the table of `spec`. The search path must be `pg_catalog` alone, so that the types of others come qualified.
    ///
    /// # Errors
    ///
    /// [`Error::NoTable`], and [`Error::Unfit`] where it has no primary key, is no table, or `spec` names columns wrongly.
    pub(crate) async fn inspect(
        database: &Database,
        client: &impl GenericClient,
        spec: &TableSpec,
    ) -> Result<Self, Error> {
        let said = database.while_("reading the definition of a table");
        let name = &spec.name;
        let unfit = |reason: &str| {
            UnfitSnafu {
                table: name.clone(),
                reason,
            }
            .build()
        };
        let row = client
            .query_opt(TABLE, &[&name.schema(), &name.table()])
            .await
            .map_err(said)?;
        let row = row.context(NoTableSnafu {
            table: name.clone(),
        })?;
        let oid: u32 = row.get(0);
        let kind: String = row.get(1);
        if kind != "r" && kind != "p" {
            return Err(unfit("it is no table, but a view or something else"));
        }
        let key: Option<Vec<String>> = row.get(2);
        let key = key.ok_or_else(|| unfit("it has no primary key"))?;
        let has_triggers: bool = row.get(3);
        let mut columns = Vec::new();
        let mut known = Vec::new();
        for row in client.query(COLUMNS, &[&oid]).await.map_err(said)? {
            let column: String = row.get(0);
            known.push(column.clone());
            let generated: bool = row.get(6);
            let in_key = key.contains(&column);
            if in_key && generated {
                return Err(unfit("its primary key is a generated column"));
            }
            if generated || !(in_key || spec.takes(&column)) {
                continue;
            }
            let base_oid: u32 = row.get(2);
            columns.push(RelationColumn {
                column: Column {
                    kind: kind_of(base_oid),
                    name: column,
                    type_name: row.get(1),
                },
                base_type: row.get(3),
                is_text: matches!(base_oid, 25 | 1043),
                text_order: match row.get(8) {
                    "index" => TextOrder::Index,
                    "convert" => TextOrder::Convert,
                    _ => TextOrder::Collate,
                },
                nullable: row.get(4),
                always_identity: row.get(5),
                sequence: row.get(7),
            });
        }
        let named = spec.columns.iter().flatten();
        let named = named.chain(&spec.exclude).chain(&spec.volatile);
        if let Some(unknown) = named.into_iter().find(|column| !known.contains(column)) {
            return Err(unfit(&format!(
                "it has no column `{unknown}`, which its configuration names"
            )));
        }
        columns.sort_by(|a, b| a.column.name.cmp(&b.column.name));
        let mut foreign_keys = Vec::new();
        for row in client.query(FOREIGN_KEYS, &[&oid]).await.map_err(said)? {
            let (schema, table): (String, String) = (row.get(1), row.get(2));
            let target = TableName::new(&schema, &table);
            foreign_keys.push(ForeignKey {
                name: row.get(0),
                target: target
                    .map_err(|_| unfit("it refers to a table whose name has a dot in it"))?,
                deferrable: row.get(3),
            });
        }
        let rows = client.query(UNIQUE, &[&oid]).await.map_err(said)?;
        let unique = rows.iter().map(|row| UniqueKey {
            name: row.get(0),
            columns: row.get(1),
            deferrable: row.get(2),
        });
        Ok(Self {
            name: name.clone(),
            oid,
            columns,
            key,
            filter: spec.filter.clone(),
            foreign_keys,
            unique: unique.collect(),
            has_triggers,
        })
    }

    /// What the other side has to agree on.
    pub fn schema(&self) -> Schema {
        Schema {
            columns: self.columns.iter().map(|c| c.column.clone()).collect(),
            filter: self.filter.clone(),
            key: self.key.clone(),
        }
    }

    /// The table in SQL, qualified.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", quote(self.name.schema()), quote(self.name.table()))
    }

    /// The column of this name, which travels.
    pub(crate) fn column(&self, name: &str) -> Option<&RelationColumn> {
        let found = self
            .columns
            .binary_search_by(|c| c.column.name.as_str().cmp(name));
        found.ok().and_then(|index| self.columns.get(index))
    }

    /// The columns of the primary key.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &RelationColumn> {
        self.key.iter().filter_map(|name| self.column(name))
    }

    /// The expressions of a capture, from the rows that `alias` names: first what the key is made of, a column each in the
    /// order of the key; then every column that travels, in the order of their names.
    pub(crate) fn expressions(&self, alias: &str) -> Vec<String> {
        let keys = self
            .key_columns()
            .map(|column| column.key_expression(alias));
        keys.chain(self.columns.iter().map(|column| column.expression(alias)))
            .collect()
    }

    /// The order in which keys rise bytewise, for `ORDER BY`.
    pub(crate) fn order(&self, alias: &str) -> String {
        let columns = self.key_columns().map(|column| {
            let expression = column.key_expression(alias);
            match column.text_order {
                _ if !column.sorts_as_text() => expression,
                TextOrder::Index if column.is_text => expression,
                TextOrder::Convert => format!("convert_to({expression}, 'UTF8')"),
                _ => format!("({expression}) COLLATE \"C\""),
            }
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The condition of the rows that travel, for `WHERE`.
    pub(crate) fn condition(&self) -> String {
        self.filter
            .as_ref()
            .map_or_else(|| "true".to_owned(), |filter| format!("({filter})"))
    }
}

impl RelationColumn {
    /// The value as a capture reads it.
    pub(crate) fn expression(&self, alias: &str) -> String {
        let column = format!("{alias}.{}", quote(&self.column.name));
        match self.column.kind {
            Kind::Text if self.is_text => column,
            Kind::Text => format!("{column}::text"),
            // A domain is its base type; for others the cast does nothing.
            _ => format!("{column}::{}", self.base_type),
        }
    }

    /// What of the value the key is made of: equal values of one key have one form.
    pub(crate) fn key_expression(&self, alias: &str) -> String {
        let column = format!("{alias}.{}", quote(&self.column.name));
        match self.column.kind {
            Kind::Numeric => format!("trim_scale({column}::numeric)::text"),
            // Zero has a sign, which does not make another key.
            Kind::Float4 | Kind::Float8 => format!("({column}::float8 + 0::float8)::text"),
            Kind::Jsonb => format!("{column}::text"),
            _ => self.expression(alias),
        }
    }

    /// Whether the key's expression is text, and has to be sorted bytewise.
    pub(crate) fn sorts_as_text(&self) -> bool {
        matches!(
            self.column.kind,
            Kind::Text | Kind::Numeric | Kind::Float4 | Kind::Float8 | Kind::Jsonb
        )
    }

    /// What a temporary column is declared as that takes the value as a capture reads it.
    pub(crate) fn wire_type(&self) -> &str {
        match self.column.kind {
            Kind::Text => "text",
            _ => &self.base_type,
        }
    }
}

/// Orders tables so that each comes after those that its foreign keys point to. Foreign keys to tables that are not
/// among them, and those of a table to itself, decide nothing.
///
/// # Errors
///
/// [`Error::Cycle`] where foreign keys that cannot be deferred go in a circle.
pub(crate) fn parents_first(relations: Vec<Relation>) -> Result<Vec<Relation>, Error> {
    let mut rest: BTreeMap<TableName, Relation> = relations
        .into_iter()
        .map(|relation| (relation.name.clone(), relation))
        .collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let waits = |relation: &Relation, strict: bool| {
            relation.foreign_keys.iter().any(|key| {
                key.target != relation.name
                    && rest.contains_key(&key.target)
                    && (strict || !key.deferrable)
            })
        };
        let free = rest.values().find(|relation| !waits(relation, true));
        // A circle is broken where checking it can wait.
        let free = free.or_else(|| rest.values().find(|relation| !waits(relation, false)));
        let Some(name) = free.map(|relation| relation.name.clone()) else {
            let constraints = rest.values().flat_map(|relation| {
                let within = relation.foreign_keys.iter();
                let within = within.filter(|key| rest.contains_key(&key.target) && !key.deferrable);
                within.map(|key| format!("{}.{}", relation.name, key.name))
            });
            let constraints: Vec<_> = constraints.collect();
            ensure!(constraints.is_empty(), CycleSnafu { constraints });
            return Ok(ordered);
        };
        ordered.extend(rest.remove(&name));
    }
    Ok(ordered)
}

/// The kind of a type below all domains, by its number, which is the same in every database.
fn kind_of(base_oid: u32) -> Kind {
    match base_oid {
        16 => Kind::Bool,
        17 => Kind::Bytes,
        20 => Kind::Int8,
        21 => Kind::Int2,
        23 => Kind::Int4,
        700 => Kind::Float4,
        701 => Kind::Float8,
        1082 => Kind::Date,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1700 => Kind::Numeric,
        2950 => Kind::Uuid,
        3802 => Kind::Jsonb,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(name: &str, keys: &[(&str, bool)]) -> Relation {
        let key = |&(target, deferrable): &(&str, bool)| ForeignKey {
            name: format!("{name}_{target}"),
            target: target.parse().unwrap(),
            deferrable,
        };
        Relation {
            name: name.parse().unwrap(),
            oid: 0,
            columns: Vec::new(),
            key: Vec::new(),
            filter: None,
            foreign_keys: keys.iter().map(key).collect(),
            unique: Vec::new(),
            has_triggers: false,
        }
    }

    #[track_caller]
    fn check(relations: Vec<Relation>, expected: Result<&[&str], &str>) {
        match (parents_first(relations), expected) {
            (Ok(ordered), Ok(expected)) => {
                let names: Vec<_> = ordered.iter().map(|r| r.name.as_str()).collect();
                assert_eq!(names, expected);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn foreign_keys_decide_the_order() {
        check(
            vec![
                relation("a", &[("b", false)]),
                relation("b", &[("c", false), ("b", false)]),
                relation("c", &[]),
            ],
            Ok(&["c", "b", "a"]),
        );
        check(
            vec![
                relation("a", &[("b", false)]),
                relation("b", &[("a", true)]),
            ],
            Ok(&["b", "a"]),
        );
        check(vec![relation("a", &[("elsewhere", false)])], Ok(&["a"]));
        check(
            vec![
                relation("a", &[("b", false)]),
                relation("b", &[("a", false)]),
            ],
            Err("a.a_b, b.b_a"),
        );
    }
}
