//! The file of the embedded catalogue: opened for reading first, for writing when something changes.
//!
//! Opening a `redb` file for writing and closing it again costs five syncs even where nothing was written, and most
//! runs of a command-line program write nothing.

use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{
    Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, WriteTransaction,
};
use snafu::ensure;

use super::tables::{self, LAYOUT, META, OLDEST_LAYOUT};
use crate::Error;
use crate::error::{BoxError, HeldSnafu, LayoutSnafu};

/// Pages kept in memory: 8 MiB. The operating system's own cache is behind it.
const CACHE_BYTES: usize = 8 << 20;

/// The file, and how it is open now.
pub(super) struct CatalogueFile {
    path: PathBuf,
    /// A transaction holds this shared; who opens the file in another way holds it alone.
    state: RwLock<State>,
    /// Released after the database.
    _lock: Option<File>,
}

enum State {
    /// An attempt to open it for writing failed; the next call tries again.
    Closed,
    Reading(ReadOnlyDatabase),
    Writing(Database),
}

impl CatalogueFile {
    /// Opens the file, creating it where it is absent; `lock` is kept until the file is closed.
    pub(super) fn open(path: &Path, lock: Option<File>) -> Result<Self, Error> {
        let this = Self {
            path: path.to_owned(),
            state: RwLock::new(State::Closed),
            _lock: lock,
        };
        let reading = match builder().open_read_only(path) {
            Ok(database) => Some(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return this.held(),
            // It is absent, new, or was not closed: opening it for writing creates or repairs it, or says what is wrong.
            Err(_) => None,
        };
        let found = match &reading {
            Some(database) => read_layout(database).map_err(Error::catalogue("read its layout"))?,
            None => None,
        };
        match (found, reading) {
            (Some(found), Some(database)) if !is_older(found) => {
                check_layout(found)?;
                *this.write_lock() = State::Reading(database);
            }
            (_, reading) => {
                drop(reading);
                this.start_writing()?;
            }
        }
        Ok(this)
    }

    fn held<T>(&self) -> Result<T, Error> {
        let dir = self.path.parent().unwrap_or(&self.path);
        HeldSnafu { dir, holder: None }.fail()
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        // Whatever a panic left is a way of being open or closed, and each is fine.
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_lock(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file for writing, unless it is.
    fn start_writing(&self) -> Result<(), Error> {
        let mut state = self.write_lock();
        if matches!(*state, State::Writing(_)) {
            return Ok(());
        }
        // The reader's lock on the file would keep the writer out.
        *state = State::Closed;
        make_private(&self.path)
            .map_err(|error| Error::catalogue("open its file")(error.into()))?;
        let database = match builder().create(&self.path) {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return self.held(),
            Err(error) => return Err(Error::catalogue("open its file")(error.into())),
        };
        let found = read_layout(&database).map_err(Error::catalogue("read its layout"))?;
        match found {
            Some(found) if !is_older(found) => check_layout(found)?,
            _ => {
                change(&database, tables::create).map_err(Error::catalogue("create its tables"))?;
            }
        }
        *state = State::Writing(database);
        Ok(())
    }

    /// Runs `look` in a read transaction. Blocking.
    pub(super) fn read<T>(
        &self,
        action: &'static str,
        look: impl FnOnce(&ReadTransaction) -> Result<T, BoxError>,
    ) -> Result<T, Error> {
        if matches!(*self.read_lock(), State::Closed) {
            self.start_writing()?;
        }
        let state = self.read_lock();
        let begun = match &*state {
            State::Reading(database) => database.begin_read(),
            State::Writing(database) => database.begin_read(),
            State::Closed => return Err(Error::catalogue(action)("its file is closed".into())),
        };
        let looked = begun.map_err(BoxError::from).and_then(|read| look(&read));
        looked.map_err(Error::catalogue(action))
    }

    /// Runs `changes` in a write transaction and commits it; where it fails nothing has changed. Blocking.
    pub(super) fn change<T>(
        &self,
        action: &'static str,
        changes: impl FnOnce(&WriteTransaction) -> Result<T, BoxError>,
    ) -> Result<T, Error> {
        if !matches!(*self.read_lock(), State::Writing(_)) {
            self.start_writing()?;
        }
        let state = self.read_lock();
        let State::Writing(database) = &*state else {
            return Err(Error::catalogue(action)("its file is closed".into()));
        };
        change(database, changes).map_err(Error::catalogue(action))
    }
}

/// Makes the file, where it is missing, and lets nobody but its owner read it: tenants' keys are in it, and hashes of tokens.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn read_layout(database: &impl ReadableDatabase) -> Result<Option<u64>, BoxError> {
    let read = database.begin_read()?;
    match read.open_table(META) {
        Ok(meta) => Ok(meta.get("layout")?.map(|layout| layout.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the layout only lacks tables.
fn is_older(layout: u64) -> bool {
    (OLDEST_LAYOUT..LAYOUT).contains(&layout)
}

fn check_layout(found: u64) -> Result<(), Error> {
    let known = LAYOUT;
    ensure!(found == known, LayoutSnafu { found, known });
    Ok(())
}

fn change<T>(
    database: &Database,
    changes: impl FnOnce(&WriteTransaction) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    // Where this fails, dropping the transaction undoes what it did.
    let outcome = changes(&write)?;
    write.commit()?;
    Ok(outcome)
}
