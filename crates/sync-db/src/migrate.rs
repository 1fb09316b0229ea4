//! Our own tables in the database, and those that agent workspaces have by default.

use serde::Serialize;
use snafu::ensure;
use tokio_postgres::{GenericClient, Transaction};

use crate::error::BookkeepingSnafu;
use crate::sql::{LockOf, lock};
use crate::{Database, Error};

/// The versions of schema `sync`, first to last. One that was released is never changed: the next one changes what it made.
const VERSIONS: &[&str] = &[
    include_str!("migrate/bookkeeping_1.sql"),
    include_str!("migrate/bookkeeping_2.sql"),
];

/// The tables of `default_tables.sql`, in its order.
const DEFAULT_TABLES: &[&str] = &[
    "agents",
    "agent_skills",
    "users",
    "user_contexts",
    "markdown_content",
    "access_control_entities",
    "access_control_rules",
];

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// The version of the bookkeeping before; 0 where there was none.
    pub from: usize,
    /// The version of the bookkeeping now.
    pub to: usize,
    /// The default tables that were made.
    pub created: Vec<String>,
}

impl Database {
    /// Brings schema `sync` to the version of this program, and with `defaults` makes those of the default tables that are
    /// not there. Doing it again does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Bookkeeping`] where the schema is newer than this program. Versions that were reached stay reached, each
    /// whole; the default tables are made all or none.
    pub async fn migrate(&self, defaults: bool) -> Result<Migrated, Error> {
        let from = self.bring_up_to_date().await?;
        let created = if defaults {
            self.make_default_tables().await?
        } else {
            Vec::new()
        };
        Ok(Migrated {
            from,
            to: VERSIONS.len(),
            created,
        })
    }

    /// Makes sure that schema `sync` is there, in the version of this program; one question where it is.
    ///
    /// # Errors
    ///
    /// As [`Self::migrate`].
    pub async fn ensure_bookkeeping(&self) -> Result<(), Error> {
        let client = self.connection("looking for the bookkeeping").await?;
        if is_latest(self.version(&**client).await?) {
            return Ok(());
        }
        drop(client);
        self.bring_up_to_date().await.map(drop)
    }

    /// Returns the version before.
    async fn bring_up_to_date(&self) -> Result<usize, Error> {
        let mut client = self.connection("making the bookkeeping").await?;
        let said = self.while_("making the bookkeeping");
        let mut first = None;
        loop {
            let transaction = client.transaction().await.map_err(said)?;
            lock(&*transaction, LockOf::Migration).await.map_err(said)?;
            let found = self.version(&*transaction).await?;
            let from = *first.get_or_insert(found);
            let Some(step) = VERSIONS.get(found) else {
                return Ok(from);
            };
            let record = "CREATE TABLE IF NOT EXISTS sync.migration (version int PRIMARY KEY); \
                INSERT INTO sync.migration VALUES";
            let step = format!("{step} {record} ({})", found + 1);
            transaction.batch_execute(&step).await.map_err(said)?;
            transaction.commit().await.map_err(said)?;
        }
    }

    /// The version of schema `sync`; 0 where there is none.
    pub(crate) async fn version(&self, client: &impl GenericClient) -> Result<usize, Error> {
        let said = self.while_("looking for the bookkeeping");
        let there = "SELECT to_regclass('sync.migration') IS NOT NULL";
        let there: bool = client
            .query_typed_one(there, &[])
            .await
            .map_err(said)?
            .get(0);
        if !there {
            return Ok(0);
        }
        let version = "SELECT COALESCE(max(version), 0) FROM sync.migration";
        let version: i32 = client
            .query_typed_one(version, &[])
            .await
            .map_err(said)?
            .get(0);
        known_version(version)
    }

    async fn make_default_tables(&self) -> Result<Vec<String>, Error> {
        let mut client = self.connection("making the default tables").await?;
        let said = self.while_("making the default tables");
        let transaction = client.transaction().await.map_err(said)?;
        lock(&*transaction, LockOf::Migration).await.map_err(said)?;
        let missing = missing_tables(&transaction).await.map_err(said)?;
        if missing.is_empty() {
            return Ok(missing);
        }
        let mut script = include_str!("migrate/default_tables.sql").to_owned();
        if missing.iter().any(|name| name == "user_contexts") {
            script.push_str(include_str!("migrate/context_trigger.sql"));
        }
        transaction.batch_execute(&script).await.map_err(said)?;
        transaction.commit().await.map_err(said)?;
        Ok(missing)
    }
}

/// Whether nothing is left to migrate.
pub(crate) const fn is_latest(version: usize) -> bool {
    version == VERSIONS.len()
}

/// Refuses a version that is newer than this program.
pub(crate) fn known_version(version: i32) -> Result<usize, Error> {
    let version = usize::try_from(version).unwrap_or(0);
    ensure!(
        version <= VERSIONS.len(),
        BookkeepingSnafu {
            found: format!("of version {version}"),
            wanted: format!("version {}", VERSIONS.len()),
        }
    );
    Ok(version)
}

async fn missing_tables(
    transaction: &Transaction<'_>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let missing = "SELECT name FROM unnest($1::text[]) WITH ORDINALITY t(name, n) \
        WHERE to_regclass('public.' || name) IS NULL ORDER BY n";
    let rows = transaction.query(missing, &[&DEFAULT_TABLES]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
