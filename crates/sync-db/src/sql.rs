//! Names and locks in SQL.

use deadpool_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row};

/// The first half of all our advisory locks: `sync` in ASCII.
pub(crate) const LOCKS: i32 = 0x7379_6e63;

/// What one transaction at a time does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LockOf {
    /// Making and changing our own tables, and what tracks others.
    Migration = 1,
    /// Writing down a capture, and applying a plan.
    Settlement = 2,
    /// Waking listeners; taken by the triggers.
    Wake = 3,
    /// Bringing items of a directory into rows, or out of them.
    Local = 4,
}

impl LockOf {
    /// The two numbers of the lock, for SQL.
    pub(crate) fn sql(self) -> String {
        format!("{LOCKS}, {}", self as i32)
    }
}

/// Asks what is asked again and again: the statement is prepared once a connection.
pub(crate) async fn ask(
    transaction: &Transaction<'_>,
    question: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let prepared = transaction.prepare_cached(question).await?;
    transaction.query(&prepared, values).await
}

/// Takes a lock until the end of the transaction, waiting for it.
pub(crate) async fn lock(
    client: &impl GenericClient,
    of: LockOf,
) -> Result<(), tokio_postgres::Error> {
    let lock = format!("SELECT pg_advisory_xact_lock({})", of.sql());
    client.query_typed_one(&lock, &[]).await.map(drop)
}

/// Takes a lock until the end of the transaction if nobody has it; else the process of the database server that does.
pub(crate) async fn try_lock(
    client: &impl GenericClient,
    of: LockOf,
) -> Result<Result<(), i32>, tokio_postgres::Error> {
    let try_lock = format!("SELECT pg_try_advisory_xact_lock({})", of.sql());
    loop {
        if client.query_typed_one(&try_lock, &[]).await?.get(0) {
            return Ok(Ok(()));
        }
        let holder = format!(
            "SELECT COALESCE(pid, 0) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = {LOCKS} \
            AND objid = {} AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            of as i32
        );
        // Whoever held it may be gone by now: then it is to be had.
        if let Some(row) = client.query_typed_opt(&holder, &[]).await? {
            return Ok(Err(row.get(0)));
        }
    }
}

/// Whether an error says that a table or its schema is not there.
pub(crate) fn is_absent(error: &tokio_postgres::Error) -> bool {
    let absent = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
    error.code().is_some_and(|code| absent.contains(code))
}

/// An identifier, quoted.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal, quoted whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'"), "E'\\\\'''");
    }
}
