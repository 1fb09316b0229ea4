//! From a tenant's record to its database.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use snafu::OptionExt;
use sync_db::{ConnectOptions, Database};
use sync_rows::{Memory, WorkingCopy};
use sync_store::Repository;

use super::{DatabaseRecord, REMOTE, TenantDatabase, Variables, read_record};
use crate::Error;
use crate::error::NoDatabaseUrlSnafu;

/// The note of the tenant with what is remembered of its database.
const MEMORY: &str = "database-memory";

/// The databases of tenants, opened when they are first asked for.
#[derive(Debug, Default)]
pub(crate) struct Databases {
    open: tokio::sync::Mutex<HashMap<String, (DatabaseRecord, Arc<TenantDatabase>)>>,
}

impl Databases {
    /// The tenant's database; `None` where it has none.
    ///
    /// # Errors
    ///
    /// [`Error::NoDatabaseUrl`] where its record names a variable or file that is not there.
    pub(crate) async fn of(
        &self,
        repository: &Repository,
        variables: &Variables,
    ) -> Result<Option<Arc<TenantDatabase>>, Error> {
        let record = read_record(repository).await?;
        let mut open = self.open.lock().await;
        let name = repository.name();
        let named = |record: &DatabaseRecord| record.url_env.is_some() || record.url_file.is_some();
        let Some(record) = record.filter(named) else {
            open.remove(name);
            return Ok(None);
        };
        if let Some((known, database)) = open.get(name)
            && *known == record
        {
            return Ok(Some(Arc::clone(database)));
        }
        let url = url(&record, variables, name)?;
        let database = Database::new(&url, ConnectOptions::default());
        let database = database.map_err(sync_rows::Error::from)?;
        let memory = NoteMemory {
            repository: repository.clone(),
        };
        let copy = WorkingCopy::new(
            database,
            record.tables.clone(),
            repository.clone(),
            Arc::new(memory),
            REMOTE.to_owned(),
        );
        let opened = Arc::new(TenantDatabase {
            copy,
            branch: record.branch.to_string(),
            turn: tokio::sync::Mutex::default(),
            seen: std::sync::Mutex::default(),
        });
        open.insert(name.to_owned(), (record, Arc::clone(&opened)));
        Ok(Some(opened))
    }
}

/// The address of a database, which goes into no log and no error.
fn url(record: &DatabaseRecord, variables: &Variables, tenant: &str) -> Result<String, Error> {
    let found = match (&record.url_file, &record.url_env) {
        (Some(file), _) => std::fs::read_to_string(file).ok(),
        (None, Some(variable)) => variables(variable),
        (None, None) => None,
    };
    let found = found.map(|url| url.trim().to_owned());
    found
        .filter(|url| !url.is_empty())
        .context(NoDatabaseUrlSnafu { tenant })
}

/// A note of the tenant.
#[derive(Debug)]
struct NoteMemory {
    repository: Repository,
}

#[async_trait]
impl Memory for NoteMemory {
    async fn load(&self) -> Result<Option<Vec<u8>>, String> {
        self.repository
            .note(MEMORY)
            .await
            .map_err(|error| error.to_string())
    }

    async fn store(&self, bytes: Vec<u8>) -> Result<(), String> {
        let stored = self.repository.set_note(MEMORY, Some(bytes)).await;
        stored.map_err(|error| error.to_string())
    }
}
