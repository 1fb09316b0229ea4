//! Which rows of which tables travel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sync_core::rows::{ColumnRule, Rules, TableName, TableRule};

/// One row set, as `[[database.tables]]` in `sync.toml` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// The table: `table` in the schema `public`, or `schema.table`.
    pub name: TableName,
    /// The only columns that travel; without them all do. Those of the primary key always travel.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// Columns that do not travel.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// A condition in SQL that chooses the rows. It may look at the row alone, not at other tables nor at the time: what
    /// changes its outcome without writing to the row is not in the change log. Functions of others have to be qualified.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// Columns that each database keeps for itself, such as what a trigger writes: neither sent nor compared.
    #[serde(default)]
    pub volatile: Vec<String>,
    /// Who wins where both sides changed a row.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// Who wins where both sides changed one row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnConflict {
    /// For the table: `manual` (the default), `ours`, `theirs` or `newest:COLUMN`.
    pub table: Option<String>,
    /// For single columns: `manual`, `ours`, `theirs` or `later`.
    pub columns: BTreeMap<String, ColumnRule>,
}

impl TableSpec {
    /// All rows and columns of a table.
    pub fn new(name: TableName) -> Self {
        Self {
            name,
            columns: None,
            exclude: Vec::new(),
            filter: None,
            volatile: Vec::new(),
            on_conflict: OnConflict::default(),
        }
    }

    /// Whether a column travels; one of the primary key does in any case.
    pub fn takes(&self, column: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == column);
        self.columns.as_deref().is_none_or(named) && !named(&self.exclude) && !named(&self.volatile)
    }

    /// How its rows are merged. A column `updated_at` takes the later value unless something else is said of it.
    ///
    /// # Errors
    ///
    /// What is wrong with `on_conflict.table`.
    pub fn rules(&self) -> Result<Rules, String> {
        let table = match self.on_conflict.table.as_deref() {
            None | Some("manual") => TableRule::Manual,
            Some("ours") => TableRule::Ours,
            Some("theirs") => TableRule::Theirs,
            Some(other) => match other.strip_prefix("newest:") {
                Some(column) if !column.is_empty() => TableRule::Newest(column.to_owned()),
                _ => {
                    return Err(format!(
                        "`on_conflict.table` of `{}` is `{other}`, expected `manual`, `ours`, `theirs` or `newest:COLUMN`",
                        self.name
                    ));
                }
            },
        };
        let mut columns = self.on_conflict.columns.clone();
        columns
            .entry("updated_at".to_owned())
            .or_insert(ColumnRule::Later);
        Ok(Rules { table, columns })
    }
}

/// The row sets of a workspace that configures none: agents, their skills, and the contexts of users.
/// Of users themselves everything travels but roles: they once made a cloud user an administrator.
pub fn default_tables() -> Vec<TableSpec> {
    let table = |name: &str| {
        // These are names by their spelling.
        let name = name.parse().unwrap_or_else(|_| unreachable!());
        TableSpec::new(name)
    };
    vec![
        table("agents"),
        table("agent_skills"),
        TableSpec {
            exclude: vec!["roles".to_owned()],
            ..table("users")
        },
        TableSpec {
            volatile: vec!["updated_at".to_owned()],
            ..table("user_contexts")
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_do_not_travel() {
        let users = default_tables()
            .into_iter()
            .find(|t| t.name.as_str() == "users");
        let users = users.unwrap();
        assert!(users.takes("email") && !users.takes("roles"));
    }

    #[test]
    fn rules_are_read() {
        let mut spec = TableSpec::new("agents".parse().unwrap());
        assert_eq!(
            spec.rules().unwrap().columns["updated_at"],
            ColumnRule::Later
        );
        spec.on_conflict.table = Some("newest:updated_at".into());
        assert_eq!(
            spec.rules().unwrap().table,
            TableRule::Newest("updated_at".into())
        );
        spec.on_conflict.table = Some("newest:".into());
        assert!(spec.rules().is_err());
    }
}
