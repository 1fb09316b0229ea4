//! What a person has to choose about rows.
//!
//! A resolution is an input of the next merge. It holds for exactly the two versions that it was made about.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::Digest;
use sync_core::rows::{Choice, RowConflict, TableName, table};
use sync_store::RepositoryNodes;

use crate::Error;
use crate::changes::{CellChange, RowChange, describe, schema};
use crate::error::MapSnafu;

/// Which version of a row stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The one of this database.
    Ours,
    /// The one of the tenant.
    Theirs,
}

impl Resolution {
    /// The word that people and programs read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }
}

impl std::str::FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ours" => Ok(Self::Ours),
            "theirs" => Ok(Self::Theirs),
            _ => Err("expected ours or theirs".to_owned()),
        }
    }
}

/// A conflict as it is kept: both versions, in words, with what was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenConflict {
    /// What names it: it depends on the row and both versions.
    pub id: String,
    /// The table.
    pub table: TableName,
    /// The primary key: columns and values.
    pub key: Vec<(String, String)>,
    /// The columns that both sides changed.
    pub columns: Vec<String>,
    /// From the base to what this database has.
    pub ours: Vec<CellChange>,
    /// From the base to what the tenant has.
    pub theirs: Vec<CellChange>,
    /// Which version stays; `None` while nobody has chosen.
    pub resolution: Option<Resolution>,
}

/// Names a conflict: the row, and the versions that it is about.
pub(crate) fn name(conflict: &RowConflict) -> String {
    let mut bytes = Vec::new();
    let parts = [
        Some(conflict.table.as_str().as_bytes()),
        Some(&conflict.key),
        conflict.ours.as_deref(),
        conflict.theirs.as_deref(),
    ];
    for part in parts {
        bytes.push(u8::from(part.is_some()));
        sync_core::wire::put_bytes(&mut bytes, part.unwrap_or_default());
    }
    Digest::of(&bytes).short()
}

/// What was resolved, by name.
pub type Resolutions = BTreeMap<String, Resolution>;

/// What was chosen about a conflict: by its resolution, else by `otherwise`.
pub(crate) fn choice(
    resolutions: &Resolutions,
    otherwise: Choice,
    conflict: &RowConflict,
) -> Choice {
    match resolutions.get(&name(conflict)) {
        Some(Resolution::Ours) => Choice::Ours,
        Some(Resolution::Theirs) => Choice::Theirs,
        None => otherwise,
    }
}

/// Conflicts in words. Blocking.
pub(crate) fn describe_all(
    source: &Arc<RepositoryNodes>,
    roots: [Digest; 3],
    conflicts: &[RowConflict],
) -> Result<Vec<OpenConflict>, Error> {
    let mut schemas = BTreeMap::new();
    let mut described = Vec::with_capacity(conflicts.len());
    for conflict in conflicts {
        if !schemas.contains_key(&conflict.table) {
            let mut found = Vec::new();
            for root in roots {
                let entry = table(source, root, &conflict.table).context(MapSnafu)?;
                found.push(schema(source, entry)?);
            }
            schemas.insert(conflict.table.clone(), found);
        }
        let schemas = &schemas[&conflict.table];
        let side = |index: usize, value: Option<&bytes::Bytes>| -> Result<RowChange, Error> {
            let pair = [schemas[0].clone(), schemas[index].clone()];
            describe(
                source,
                &conflict.table,
                &pair,
                [conflict.base.as_ref(), value],
            )
        };
        let (ours, theirs) = (
            side(1, conflict.ours.as_ref())?,
            side(2, conflict.theirs.as_ref())?,
        );
        described.push(OpenConflict {
            id: name(conflict),
            table: conflict.table.clone(),
            key: if ours.key.is_empty() {
                theirs.key.clone()
            } else {
                ours.key.clone()
            },
            columns: conflict.columns.clone(),
            ours: ours.columns,
            theirs: theirs.columns,
            resolution: None,
        });
    }
    Ok(described)
}
