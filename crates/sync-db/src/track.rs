//! Tables that have a change log: triggers write down which keys a transaction touched, and nothing else.
//!
//! A log says where to look again, as a cache of stats does for files; what is there is read from the table.
//! **Invariant:** a transaction that changed a row of a tracked table, other than by an apply of ours, has its keys, before
//! and after, in the log, or the table's mark ([`Track::mark`]) is another one than before it.

use std::sync::LazyLock;

use deadpool_postgres::Transaction;
use serde::Serialize;
use sync_core::rows::{Kind, TableName};

use crate::error::UnfitSnafu;
use crate::relation::{Relation, RelationColumn};
use crate::spec::TableSpec;
use crate::sql::{LockOf, ask, lock, quote};
use crate::{Database, Error};

/// The channel on which triggers wake listeners.
pub(crate) const CHANNEL: &str = "sync";

/// What the key of a table is. The search path has to be `pg_catalog` alone, so that the types of others come qualified.
fn key_of(relation: &str) -> String {
    include_str!("track/key.sql").replace("{relation}", relation)
}

/// Which tables are tracked as they were made to be.
static INTACT: LazyLock<String> =
    LazyLock::new(|| include_str!("track/intact.sql").replace("{key}", &key_of("t.relation")));

/// A table that is tracked, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tracked {
    /// Its name.
    pub name: String,
    /// Whether its log can be trusted: if not, it is read whole until it is tracked anew.
    pub is_intact: bool,
    /// How many keys its log has.
    pub keys: u64,
}

/// What keeps the log of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    /// The number of its log.
    pub(crate) number: i32,
    /// The number of the table in the database.
    pub(crate) relation: u32,
    /// Whether everything is as we made it.
    is_intact: bool,
    fingerprint: String,
}

impl Track {
    /// What changes whenever something was done that the log cannot know: a trigger that was off for a while, a table that
    /// was rewritten, a partition that came or went.
    pub(crate) fn mark(&self) -> String {
        format!("{}:{}", self.number, self.fingerprint)
    }

    /// The log in SQL.
    pub(crate) fn log(&self) -> String {
        format!("sync.log_{}", self.number)
    }
}

/// What keeps the logs of some tables.
#[derive(Debug, Default)]
pub(crate) struct Tracks(Vec<Track>);

impl Tracks {
    /// Those of `relations`. Schema `sync` must be there.
    pub(crate) async fn read(
        database: &Database,
        transaction: &Transaction<'_>,
        relations: &[Relation],
    ) -> Result<Self, Error> {
        let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
        Self::of(database, transaction, &oids).await
    }

    async fn of(
        database: &Database,
        transaction: &Transaction<'_>,
        oids: &[u32],
    ) -> Result<Self, Error> {
        let said = database.while_("reading what is tracked");
        let rows = ask(transaction, &INTACT, &[&oids]).await.map_err(said)?;
        let track = |row: &tokio_postgres::Row| Track {
            number: row.get(0),
            relation: row.get(1),
            is_intact: row.get::<_, Option<bool>>(2).unwrap_or(false),
            fingerprint: row.get(3),
        };
        Ok(Self(rows.iter().map(track).collect()))
    }

    /// Those whose logs can be trusted, if they could be all the time.
    pub(crate) fn intact(&self) -> impl Iterator<Item = &Track> {
        self.0.iter().filter(|track| track.is_intact)
    }

    /// The marks of those.
    pub(crate) fn marks(&self) -> Vec<String> {
        self.intact().map(Track::mark).collect()
    }
}

impl Database {
    /// Tracks the changes of a table from now on; where it is tracked as it should be, nothing is done. The next capture
    /// reads it whole. Waits for transactions that are writing to it, up to the lock timeout.
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`] where it is no row set, or has a foreign table as a partition.
    pub async fn track(&self, spec: &TableSpec) -> Result<(), Error> {
        self.ensure_bookkeeping().await?;
        let doing = format!("tracking `{}`", spec.name);
        let said = self.while_(&doing);
        let mut client = self.connection(&doing).await?;
        let transaction = client.transaction().await.map_err(said)?;
        let search = "SET LOCAL search_path = pg_catalog";
        transaction.batch_execute(search).await.map_err(said)?;
        lock(&*transaction, LockOf::Migration).await.map_err(said)?;
        let relation = Relation::inspect(self, &*transaction, spec).await?;
        let tracks = Tracks::of(self, &transaction, &[relation.oid]).await?;
        if tracks.intact().next().is_some() {
            return Ok(());
        }
        self.forget(&transaction, &spec.name, Some(relation.oid))
            .await?;
        let family = self.family(&transaction, &relation).await?;
        let insert = format!(
            "INSERT INTO sync.tracked (relation, name, key, definition) VALUES ($1, $2, {}, '') RETURNING number",
            key_of("$1")
        );
        let name = spec.name.as_str();
        let made = transaction
            .query_one(&insert, &[&relation.oid, &name])
            .await;
        let number: i32 = made.map_err(said)?.get(0);
        let body = body(number, &relation);
        let script = script(number, &relation, &body, &family);
        transaction.batch_execute(&script).await.map_err(said)?;
        let define = "UPDATE sync.tracked SET definition = md5($2) WHERE number = $1";
        let defined = transaction.execute(define, &[&number, &body]).await;
        defined.map_err(said)?;
        transaction.commit().await.map_err(said)
    }

    /// Tracks a table no longer, and drops its log; says whether it was tracked. Rows are not touched.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn untrack(&self, name: &TableName) -> Result<bool, Error> {
        let doing = format!("tracking `{name}` no longer");
        let said = self.while_(&doing);
        let mut client = self.connection(&doing).await?;
        let transaction = client.transaction().await.map_err(said)?;
        if self.version(&*transaction).await? == 0 {
            return Ok(false);
        }
        lock(&*transaction, LockOf::Migration).await.map_err(said)?;
        let forgotten = self.forget(&transaction, name, None).await?;
        transaction.commit().await.map_err(said)?;
        Ok(forgotten)
    }

    /// The tables that are tracked, in the order of their names.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn tracked(&self) -> Result<Vec<Tracked>, Error> {
        let said = self.while_("reading what is tracked");
        let mut client = self.connection("reading what is tracked").await?;
        let transaction = client.transaction().await.map_err(said)?;
        if self.version(&*transaction).await? == 0 {
            return Ok(Vec::new());
        }
        let search = "SET LOCAL search_path = pg_catalog";
        transaction.batch_execute(search).await.map_err(said)?;
        let all = "SELECT relation, name FROM sync.tracked ORDER BY name";
        let all = transaction.query(all, &[]).await.map_err(said)?;
        let oids: Vec<u32> = all.iter().map(|row| row.get(0)).collect();
        let tracks = Tracks::of(self, &transaction, &oids).await?;
        let mut found = Vec::with_capacity(all.len());
        for row in all {
            let (oid, name): (u32, String) = (row.get(0), row.get(1));
            let track = tracks.intact().find(|track| track.relation == oid);
            let keys: i64 = match track {
                Some(track) => {
                    let count = format!("SELECT count(*) FROM {}", track.log());
                    let row = transaction.query_one(&count, &[]).await;
                    row.map_err(said)?.get(0)
                }
                None => 0,
            };
            found.push(Tracked {
                name,
                is_intact: track.is_some(),
                keys: u64::try_from(keys).unwrap_or(0),
            });
        }
        Ok(found)
    }

    /// Takes away everything that tracks a table of this name or number.
    async fn forget(
        &self,
        transaction: &Transaction<'_>,
        name: &TableName,
        oid: Option<u32>,
    ) -> Result<bool, Error> {
        let said = self.while_("taking away a change log");
        let gone =
            "DELETE FROM sync.tracked WHERE name = $1 OR relation = $2::oid RETURNING number";
        let rows = transaction.query(gone, &[&name.as_str(), &oid]).await;
        let rows = rows.map_err(said)?;
        for row in &rows {
            let number: i32 = row.get(0);
            // The function takes its triggers along.
            let script = format!(
                "DROP FUNCTION IF EXISTS sync.log_{number} CASCADE; DROP TABLE IF EXISTS sync.log_{number}; \
                DELETE FROM sync.truncated WHERE number = {number}"
            );
            transaction.batch_execute(&script).await.map_err(said)?;
        }
        Ok(!rows.is_empty())
    }

    /// The table and all that inherits from it, partitions above all, in SQL.
    async fn family(
        &self,
        transaction: &Transaction<'_>,
        relation: &Relation,
    ) -> Result<Vec<String>, Error> {
        let family = "WITH RECURSIVE family(member) AS (SELECT $1::oid UNION \
            SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.member) \
            SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'f' FROM family f \
            JOIN pg_class c ON c.oid = f.member JOIN pg_namespace n ON n.oid = c.relnamespace";
        let rows = transaction.query(family, &[&relation.oid]).await;
        let rows = rows.map_err(self.while_("reading the partitions of a table"))?;
        if rows.iter().any(|row| row.get(1)) {
            return UnfitSnafu {
                table: relation.name.clone(),
                reason: "a foreign table is part of it, whose changes cannot be tracked",
            }
            .fail();
        }
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// A column of the key as the log has it: in a type that takes whatever the column's may become without breaking a write.
fn logged(column: &RelationColumn) -> String {
    let name = quote(&column.column.name);
    match column.column.kind {
        Kind::Int2 | Kind::Int4 | Kind::Int8 => format!("{name}::int8"),
        Kind::Float4 | Kind::Float8 => format!("{name}::float8"),
        Kind::Text if column.is_text => format!("{name}::text"),
        Kind::Text => name,
        _ => format!("{name}::{}", column.base_type),
    }
}

/// Likewise, so that equal texts are those that are spelled alike.
fn spelled(column: &RelationColumn) -> String {
    if column.is_text {
        format!("{} COLLATE \"C\"", logged(column))
    } else {
        logged(column)
    }
}

/// Whether equal values of a column are spelled alike.
fn is_one_spelling(column: &RelationColumn) -> bool {
    match column.column.kind {
        Kind::Text => column.is_text,
        Kind::Numeric | Kind::Float4 | Kind::Float8 | Kind::Jsonb => false,
        _ => true,
    }
}

/// The body of the function that the triggers call.
fn body(number: i32, relation: &Relation) -> String {
    let all = |key: fn(&RelationColumn) -> String| {
        let keys: Vec<_> = relation.key_columns().map(key).collect();
        keys.join(", ")
    };
    let (keys, spelled) = (all(logged), all(spelled));
    let distinct = relation.key_columns().all(is_one_spelling);
    let union = if distinct { "UNION" } else { "UNION ALL" };
    let wake = LockOf::Wake.sql();
    format!(
        "
BEGIN
    IF current_setting('sync.applying', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO sync.log_{number} SELECT pg_current_xact_id(), k.*
            FROM (SELECT {spelled} FROM new_rows {union} SELECT {spelled} FROM old_rows) k;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO sync.log_{number} SELECT pg_current_xact_id(), {keys} FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO sync.log_{number} SELECT pg_current_xact_id(), {keys} FROM old_rows;
    ELSE
        INSERT INTO sync.truncated VALUES ({number}, pg_current_xact_id());
    END IF;
    -- Notifying commits wait for each other: only one transaction at a time does it. Whoever is refused here has logged
    -- before, and so is seen as running, or as committed, by whoever is woken.
    IF FOUND AND EXISTS (SELECT FROM sync.watch) AND pg_try_advisory_xact_lock({wake}) THEN
        PERFORM pg_notify('{CHANNEL}', '');
    END IF;
    RETURN NULL;
END
"
    )
}

/// Makes log, function and triggers.
fn script(number: i32, relation: &Relation, body: &str, family: &[String]) -> String {
    let keys = relation.key_columns().map(|column| {
        let name = quote(&column.column.name);
        format!("{} AS {name}", logged(column))
    });
    let keys: Vec<_> = keys.collect();
    let mut script = format!(
        "CREATE TABLE sync.log_{number} AS SELECT pg_current_xact_id() AS \"sync.xid\", {keys} FROM {table} WITH NO DATA;
CREATE INDEX ON sync.log_{number} (\"sync.xid\");
CREATE FUNCTION sync.log_{number}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $sync${body}$sync$;
REVOKE ALL ON FUNCTION sync.log_{number}() FROM PUBLIC;
",
        keys = keys.join(", "),
        table = relation.sql(),
    );
    for member in family {
        for (event, rows) in [
            ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
            (
                "UPDATE",
                "REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows",
            ),
            ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
            ("TRUNCATE", ""),
        ] {
            let name = format!("sync_{}", event.to_lowercase());
            // Left by a log that was restored with its table.
            let trigger = format!(
                "DROP TRIGGER IF EXISTS {name} ON {member};
CREATE TRIGGER {name} AFTER {event} ON {member} {rows} FOR EACH STATEMENT EXECUTE FUNCTION sync.log_{number}();
ALTER TABLE {member} ENABLE ALWAYS TRIGGER {name};
"
            );
            script.push_str(&trigger);
        }
    }
    script
}
