//! A run that changes nothing, its own notes included: the private state that it works with is a copy elsewhere (ADR 19).

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use snafu::ResultExt;
use sync_store::Store;

use crate::error::WriteSnafu;
use crate::{Error, Workspace, local, patience};

/// What is copied where it is there: everything that a plan reads. Stores are copied when they are opened.
const NOTES: [&str; 8] = [
    "conflicts.json",
    "database-push.json",
    "database.json",
    "identities.json",
    "stat-cache",
    "state.json",
    // That an apply was cut short is known by it.
    "txn/journal",
    "local",
];

/// A copy of a private directory, which goes with the last run that works with it.
#[derive(Debug)]
pub(crate) struct Shadow {
    dir: PathBuf,
    stores: AtomicU32,
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // What stays is in a directory for what is temporary.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Shadow {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A place for a copy of a store.
    fn place(&self) -> PathBuf {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("store-{number}"))
    }
}

impl Workspace {
    /// The same workspace for a run that only plans: nothing of what it writes on the way is in the workspace or in a store of this
    /// machine afterwards, nor is a time changed there. It goes to a directory below `temporary` that is removed with the last
    /// clone of what is returned; `random` names it.
    ///
    /// What is applied there changes the tree all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] where the copy cannot be made.
    pub fn shadowed(self, temporary: &Path, random: u64) -> Result<Self, Error> {
        let dir = temporary.join(format!("sync-plan-{random:016x}"));
        let from = self.private();
        let made = DirBuilder::new().mode(0o700).create(&dir);
        made.context(WriteSnafu { path: &dir })?;
        let shadow = Shadow {
            dir: dir.clone(),
            stores: AtomicU32::new(0),
        };
        for note in NOTES {
            let copied = copy(&from.join(note), &dir.join(note));
            copied.context(WriteSnafu {
                path: dir.join(note),
            })?;
        }
        local::carry_name(&from, &dir)?;
        Ok(self.with_shadow(Arc::new(shadow)))
    }

    /// Opens a store that a run in this workspace works with; for one that only plans a copy. Waits a few seconds where somebody
    /// has it.
    ///
    /// # Errors
    ///
    /// As [`Store::open_dir`]; [`sync_store::Error::Held`] where it stays in use.
    pub async fn open_store(&self, dir: &Path) -> Result<Store, sync_store::Error> {
        patience::open_within(&self.opening(dir), patience::TRIES).await
    }

    /// How a store is opened by a run in this workspace.
    pub(crate) fn opening(&self, dir: &Path) -> Opening {
        Opening {
            dir: dir.to_owned(),
            shadow: self.shadow().cloned(),
        }
    }
}

/// A store that is to be opened, as itself or as a copy.
#[derive(Debug)]
pub(crate) struct Opening {
    dir: PathBuf,
    shadow: Option<Arc<Shadow>>,
}

impl Opening {
    /// Of a store as itself.
    pub(crate) fn itself(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            shadow: None,
        }
    }

    pub(crate) async fn open(&self) -> Result<Store, sync_store::Error> {
        match &self.shadow {
            Some(shadow) => Store::open_copy(&self.dir, shadow.place()).await,
            None => Store::open_dir(&self.dir).await,
        }
    }
}

/// Copies a file, or a directory with what is in it; nothing where it is not there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(from) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(above) = to.parent() {
        fs::create_dir_all(above)?;
    }
    if found.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
    } else if found.is_file() {
        match fs::copy(from, to) {
            // Another run has replaced it meanwhile, or removed it: then that is as good as never having seen it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied?),
        }
    }
    Ok(())
}
