//! Which tables change, and whether both sides mean the same by them.

use std::collections::BTreeMap;

use snafu::ensure;
use sync_core::Digest;
use sync_core::map::{MapError, NodeSource};
use sync_core::rows::{Schema, SchemaDifference, Side, TableEntry, TableName, tables};

use super::stage::Work;
use crate::Error;
use crate::error::{MalformedSnafu, SchemasSnafu};
use crate::relation::{Relation, parents_first};
use crate::working_copy::Capture;

/// How a table differs between the sides.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableDifference {
    /// Only one side has it.
    Missing(Side),
    /// Both have it, and it is not the same.
    Schema(Vec<SchemaDifference>),
}

impl std::fmt::Display for TableDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(Side::Ours) => f.write_str("only there"),
            Self::Missing(Side::Theirs) => f.write_str("only here"),
            Self::Schema(differences) => {
                for (n, difference) in differences.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{difference}")?;
                }
                Ok(())
            }
        }
    }
}

/// How the tables of a database differ from those of a map of tables: nothing where rows can go from one to the other.
///
/// # Errors
///
/// [`Error::Map`] and [`Error::Malformed`] where the map cannot be read.
pub fn table_differences(
    relations: &[Relation],
    source: &impl NodeSource,
    root: Digest,
) -> Result<Vec<(TableName, TableDifference)>, Error> {
    let mut theirs: BTreeMap<_, _> = tables(source, root)?.into_iter().collect();
    let mut found = Vec::new();
    for relation in relations {
        let Some(entry) = theirs.remove(&relation.name) else {
            let missing = TableDifference::Missing(Side::Theirs);
            found.push((relation.name.clone(), missing));
            continue;
        };
        let ours = relation.schema();
        if ours.encode().0 == entry.schema {
            continue;
        }
        let theirs = load_schema(&relation.name, source, entry.schema)?;
        let differences = TableDifference::Schema(ours.differences(&theirs));
        found.push((relation.name.clone(), differences));
    }
    let rest = theirs.into_keys();
    found.extend(rest.map(|name| (name, TableDifference::Missing(Side::Ours))));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn load_schema(
    table: &TableName,
    source: &impl NodeSource,
    digest: Digest,
) -> Result<Schema, Error> {
    let read = source.node(&digest);
    let read = read.map_err(|source| MapError::Store { digest, source })?;
    let bytes = read.ok_or(MapError::Missing { digest })?;
    let schema = Schema::decode(&bytes).filter(|_| Digest::of(&bytes) == digest);
    schema.ok_or_else(|| {
        MalformedSnafu {
            table: table.clone(),
            reason: "its schema is not what its name promises",
        }
        .build()
    })
}

/// The tables that change, parents first.
pub(super) fn works(
    capture: &Capture,
    source: &impl NodeSource,
    after: Digest,
) -> Result<Vec<Work>, Error> {
    let differences = table_differences(&capture.relations, source, after)?;
    ensure!(differences.is_empty(), SchemasSnafu { differences });
    let before: BTreeMap<TableName, TableEntry> =
        tables(source, capture.root)?.into_iter().collect();
    let after: BTreeMap<TableName, TableEntry> = tables(source, after)?.into_iter().collect();
    let entries = |relation: &Relation| {
        let before = before.get(&relation.name)?;
        let after = after.get(&relation.name)?;
        (before.rows != after.rows).then_some((*before, *after))
    };
    let changed = capture.relations.iter();
    let changed = changed.filter(|relation| entries(relation).is_some());
    let ordered = parents_first(changed.cloned().collect())?;
    let works = ordered
        .into_iter()
        .enumerate()
        .filter_map(|(index, relation)| {
            let (before, after) = entries(&relation)?;
            Some(Work::new(index, relation, before, after))
        });
    Ok(works.collect())
}
