//! Writing down what was captured, and what was agreed on with a remote.

use snafu::ensure;
use sync_core::Digest;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::error::{HeldSnafu, OvertakenSnafu};
use crate::migrate::known_version;
use crate::sql::{LockOf, is_absent, literal, try_lock};
use crate::state::read_digest;
use crate::working_copy::{Base, Capture, Settlement};
use crate::{Database, Error};

impl Database {
    /// Writes a capture down, so that the next one goes on from it, and with it what was agreed on with a remote: one
    /// transaction. The owner remembers [`Settlement::epoch`] and [`Capture::root`] before.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] where another state was written down since the capture, [`Error::Held`] while somebody else
    /// writes one. Nothing is written then.
    pub async fn settle(&self, capture: &Capture, settlement: Settlement) -> Result<(), Error> {
        let said = self.while_("writing down what was captured");
        if !capture.is_current {
            self.ensure_bookkeeping().await?;
        }
        let mut client = self.connection("writing down what was captured").await?;
        let transaction = client.transaction().await.map_err(said)?;
        self.settle_in(&transaction, capture, capture.root, &settlement)
            .await?;
        transaction.commit().await.map_err(said)
    }

    /// As [`Self::settle`], within the transaction that has brought the database from what was captured to `root`; its
    /// own changes are not in the logs. Schema `sync` must be there.
    pub(crate) async fn settle_in(
        &self,
        transaction: &Transaction<'_>,
        capture: &Capture,
        root: Digest,
        settlement: &Settlement,
    ) -> Result<(), Error> {
        let said = self.while_("writing down what was captured");
        if let Err(pid) = try_lock(transaction, LockOf::Settlement)
            .await
            .map_err(said)?
        {
            return HeldSnafu { pid }.fail();
        }
        let found = transaction
            .query_typed_opt("SELECT epoch FROM sync.state", &[])
            .await
            .map_err(said)?;
        let found: Option<String> = found.map(|row| row.get(0));
        ensure!(
            found == capture.seen.map(|epoch| epoch.to_string()),
            OvertakenSnafu
        );
        let (epoch, root) = (settlement.epoch.to_string(), root.to_string());
        let cursor = &capture.cursor;
        let write = "INSERT INTO sync.state (epoch, root, cursor, cluster, tracked) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (only_row) DO UPDATE SET epoch = excluded.epoch, root = excluded.root, cursor = excluded.cursor, \
            cluster = excluded.cluster, tracked = excluded.tracked";
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&epoch, Type::TEXT),
            (&root, Type::TEXT),
            (&cursor.snapshot, Type::TEXT),
            (&cursor.cluster, Type::TEXT),
            (&capture.tracks, Type::TEXT_ARRAY),
        ];
        let written = transaction.execute_typed(write, &values).await;
        written.map_err(said)?;
        self.shorten_logs(transaction, &cursor.snapshot).await?;
        if let Some((remote, base)) = &settlement.agreed {
            write_base(transaction, remote, base).await.map_err(said)?;
        }
        Ok(())
    }

    /// Deletes from all logs what the capture of this cursor has seen.
    async fn shorten_logs(&self, transaction: &Transaction<'_>, cursor: &str) -> Result<(), Error> {
        let said = self.while_("shortening the change logs");
        let logs = "SELECT c.relname::text FROM sync.tracked t JOIN pg_catalog.pg_class c \
            ON c.relname = 'log_' || t.number AND c.relnamespace = 'sync'::regnamespace";
        let rows = transaction.query_typed(logs, &[]).await.map_err(said)?;
        let logs = rows.iter().map(|row| row.get::<_, String>(0));
        let cursor = literal(cursor);
        let shorten = logs.chain(["truncated".to_owned()]).map(|log| {
            format!(
                "DELETE FROM sync.{log} WHERE \"sync.xid\" < pg_snapshot_xmax({cursor}::pg_snapshot) \
                AND pg_visible_in_snapshot(\"sync.xid\", {cursor}::pg_snapshot);"
            )
        });
        let shorten: String = shorten.collect();
        transaction.batch_execute(&shorten).await.map_err(said)
    }

    /// What was last agreed on with a remote.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn base(&self, remote: &str) -> Result<Option<Base>, Error> {
        let said = self.while_("reading what was agreed on");
        let client = self.connection("reading what was agreed on").await?;
        let base = "SELECT (SELECT max(version) FROM sync.migration), b.snapshot, b.root, b.note \
            FROM (VALUES (1)) v LEFT JOIN sync.base b ON b.remote = $1";
        let row = match client.query_typed_one(base, &[(&remote, Type::TEXT)]).await {
            Err(error) if is_absent(&error) => return Ok(None),
            row => row.map_err(said)?,
        };
        known_version(row.get::<_, Option<i32>>(0).unwrap_or(0))?;
        // What cannot be read is as good as none: everything is compared then.
        Ok(read_base(&row))
    }

    /// Writes down what was agreed on with a remote, where nothing in the database changes with it.
    ///
    /// # Errors
    ///
    /// What the database says; nothing is written then.
    pub async fn agree(&self, remote: &str, base: &Base) -> Result<(), Error> {
        self.ensure_bookkeeping().await?;
        let said = self.while_("writing down what was agreed on");
        let client = self.connection("writing down what was agreed on").await?;
        write_base(&**client, remote, base).await.map_err(said)
    }
}

fn read_base(row: &Row) -> Option<Base> {
    let (snapshot, root): (Option<String>, Option<String>) = (row.get(1), row.get(2));
    let snapshot = match snapshot {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    Some(Base {
        snapshot,
        root: read_digest(&root?)?,
        note: row.get(3),
    })
}

async fn write_base(
    client: &impl GenericClient,
    remote: &str,
    base: &Base,
) -> Result<(), tokio_postgres::Error> {
    let write = "INSERT INTO sync.base (remote, snapshot, root, note) VALUES ($1, $2, $3, $4) ON CONFLICT (remote) \
        DO UPDATE SET snapshot = excluded.snapshot, root = excluded.root, note = excluded.note";
    let snapshot = base.snapshot.map(|snapshot| snapshot.to_string());
    let root = base.root.to_string();
    let values: [&(dyn ToSql + Sync); 4] = [&remote, &snapshot, &root, &base.note];
    let values = values.map(|value| (value, Type::TEXT));
    client.execute_typed(write, &values).await.map(drop)
}
