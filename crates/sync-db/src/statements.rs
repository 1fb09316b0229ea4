//! A transaction in which a crate above runs statements of its own.
//!
//! Values go in as text and come out as text: JSON carries whatever has a structure, so that the driver's types stay here.

use deadpool_postgres::Object;
use futures_util::{StreamExt, pin_mut};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use crate::sql::{LockOf, lock};
use crate::{Database, Error};

/// How a transaction sees what others commit meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Not at all, and it changes nothing itself: everything is read as it was at one moment.
    Snapshot,
    /// Statement by statement, as `READ COMMITTED` does; rows that matter are to be locked.
    Latest,
}

/// An open transaction. Dropping it ends its connection, and with that undoes what it did.
#[derive(Debug)]
pub struct Statements {
    database: Database,
    /// Taken out when the connection is given back.
    client: Option<Object>,
}

/// The columns of a row as text; `None` is null.
pub type Texts = Vec<Option<String>>;

impl Database {
    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn begin(&self, doing: &str, isolation: Isolation) -> Result<Statements, Error> {
        let client = self.connection(doing).await?;
        let statements = Statements {
            database: self.clone(),
            client: Some(client),
        };
        let begin = match isolation {
            Isolation::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Isolation::Latest => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        statements.run(doing, begin).await?;
        Ok(statements)
    }
}

impl Statements {
    /// Whether schema `sync` is there, in the version of this program; where it is not, nothing was ever written down.
    ///
    /// # Errors
    ///
    /// [`Error::Bookkeeping`] where it is newer than this program.
    pub async fn has_bookkeeping(&self) -> Result<bool, Error> {
        let version = self.database.version(&***self.client()?).await?;
        Ok(crate::migrate::is_latest(version))
    }

    /// Takes the lock of those who bring items of a directory into rows, until the end of the transaction.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where somebody has it for longer than 30 s.
    pub async fn lock_local(&self, doing: &str) -> Result<(), Error> {
        let taken = lock(&***self.client()?, LockOf::Local).await;
        taken.map_err(self.database.while_(doing))
    }

    /// Runs statements that give nothing and take no values.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn run(&self, doing: &str, script: &str) -> Result<(), Error> {
        let ran = self.client()?.batch_execute(script).await;
        ran.map_err(self.database.while_(doing))
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn execute(&self, doing: &str, sql: &str, values: &[&str]) -> Result<u64, Error> {
        let client = self.client()?;
        let prepared = self.prepare(doing, sql, values.len()).await?;
        let done = client.execute(&prepared, &texts(values)).await;
        done.map_err(self.database.while_(doing))
    }

    /// The rows that a query gives. All of its columns must be `text`.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn query(
        &self,
        doing: &str,
        sql: &str,
        values: &[&str],
    ) -> Result<Vec<Texts>, Error> {
        let mut rows = Vec::new();
        self.each(doing, sql, values, |row| {
            rows.push(row);
            Ok::<(), Error>(())
        })
        .await?;
        Ok(rows)
    }

    /// Hands the rows that a query gives to `each`, one by one as they arrive. All of its columns must be `text`.
    ///
    /// # Errors
    ///
    /// What the database or `each` says first.
    pub async fn each<E: From<Error>>(
        &self,
        doing: &str,
        sql: &str,
        values: &[&str],
        mut each: impl FnMut(Texts) -> Result<(), E>,
    ) -> Result<(), E> {
        let said = self.database.while_(doing);
        let client = self.client()?;
        let prepared = self.prepare(doing, sql, values.len()).await?;
        let values = texts(values);
        let rows = client.query_raw(&prepared, values).await.map_err(said)?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            let row = row.map_err(said)?;
            each(columns(&row).map_err(said)?)?;
        }
        Ok(())
    }

    /// Makes everything permanent.
    ///
    /// # Errors
    ///
    /// [`Error::Uncertain`] where the connection was lost meanwhile: all of it is done, or nothing.
    pub async fn commit(mut self, doing: &str) -> Result<(), Error> {
        match self.client()?.batch_execute("COMMIT").await {
            Ok(()) => {
                // Only now is the connection one that others may have.
                self.client = None;
                Ok(())
            }
            Err(error) if error.as_db_error().is_some() => Err(self.database.error(doing, &error)),
            Err(error) => Err(Error::Uncertain {
                at: self.database.at().to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// A statement whose values are texts, made once for each connection.
    async fn prepare(&self, doing: &str, sql: &str, values: usize) -> Result<Statement, Error> {
        let types = vec![Type::TEXT; values];
        let prepared = self.client()?.prepare_typed_cached(sql, &types).await;
        prepared.map_err(self.database.while_(doing))
    }

    fn client(&self) -> Result<&Object, Error> {
        self.client.as_ref().ok_or(Error::Task)
    }
}

impl Drop for Statements {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // The transaction is open: the next one to have this connection would be in it.
            drop(Object::take(client));
        }
    }
}

fn texts<'v>(values: &'v [&'v str]) -> Vec<&'v (dyn ToSql + Sync)> {
    let values = values.iter();
    values.map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn columns(row: &Row) -> Result<Texts, tokio_postgres::Error> {
    (0..row.len()).map(|at| row.try_get(at)).collect()
}
