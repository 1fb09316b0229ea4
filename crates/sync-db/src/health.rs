//! What a person asks of a database whose sync does not get on: who holds it, who listens, what was agreed on.

use std::sync::LazyLock;

use serde::Serialize;

use crate::sql::{LOCKS, LockOf};
use crate::{Database, Error};

static HOLDERS: LazyLock<String> = LazyLock::new(|| {
    let ours = [LockOf::Migration, LockOf::Settlement, LockOf::Local];
    let ours = ours.map(|of| (of as i32).to_string()).join(", ");
    include_str!("health/holders.sql")
        .replace("{locks}", &LOCKS.to_string())
        .replace("{ours}", &ours)
});

/// How a database stands with its syncs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The version of the bookkeeping; 0 where there is none.
    pub bookkeeping: usize,
    /// What was last agreed on with each remote, in the order of their names.
    pub agreed: Vec<Agreement>,
    /// How many processes wait for changes.
    pub listeners: u64,
    /// Sessions that a sync waits for, or whose changes it cannot see yet; the oldest first.
    pub holders: Vec<Holder>,
}

/// What was last agreed on with a remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// The remote, its tenant and its branch.
    pub remote: String,
    /// The snapshot, if there was one.
    pub snapshot: Option<String>,
}

/// A session of the database server that holds something which a sync needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its process on the database server.
    pub pid: i32,
    /// Whose it is; `None` where this role may not know.
    pub user: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// What PostgreSQL says it does, such as `active` or `idle in transaction`.
    pub state: Option<String>,
    /// For how many milliseconds its transaction has been running.
    pub running_ms: Option<u64>,
    /// What it holds.
    pub holds: Hold,
    /// The tracked tables in question.
    pub tables: Vec<String>,
}

/// What a session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// It has changed rows, which the next sync after its commit sees. Nobody waits for it.
    Changes,
    /// It has locked tables, or rows of them: a sync that changes those waits.
    Locks,
    /// It is another sync.
    Sync,
}

impl Database {
    /// How the database stands with its syncs. Nothing is waited for.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn health(&self) -> Result<Health, Error> {
        let said = self.while_("looking for who holds the database");
        let client = self
            .connection("looking for who holds the database")
            .await?;
        let bookkeeping = self.version(&**client).await?;
        if bookkeeping == 0 {
            return Ok(Health::default());
        }
        let agreed = "SELECT remote, snapshot FROM sync.base ORDER BY remote";
        let agreed = client.query_typed(agreed, &[]).await.map_err(said)?;
        let listeners = "SELECT count(*) FROM sync.watch w JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid \
            WHERE a.datname = current_database()";
        let listeners = client.query_typed_one(listeners, &[]).await.map_err(said)?;
        let holders = client.query_typed(&HOLDERS, &[]).await.map_err(said)?;
        let holder = |row: &tokio_postgres::Row| Holder {
            pid: row.get(0),
            user: row.get(1),
            application: row.get(2),
            state: row.get(3),
            running_ms: row
                .get::<_, Option<i64>>(4)
                .and_then(|ms| ms.try_into().ok()),
            holds: match row.get(5) {
                "changes" => Hold::Changes,
                "sync" => Hold::Sync,
                _ => Hold::Locks,
            },
            tables: row.get(6),
        };
        Ok(Health {
            bookkeeping,
            agreed: agreed
                .iter()
                .map(|row| Agreement {
                    remote: row.get(0),
                    snapshot: row.get(1),
                })
                .collect(),
            listeners: u64::try_from(listeners.get::<_, i64>(0)).unwrap_or(0),
            holders: holders.iter().map(holder).collect(),
        })
    }
}
