//! One deploy of a workspace at a time, and what it keeps while it runs.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use snafu::ResultExt;

use crate::Error;
use crate::error::{BusySnafu, IoSnafu};

/// The turn to deploy, given back when it is dropped, however the process ends.
#[derive(Debug)]
pub struct Turn {
    dir: PathBuf,
    _lock: File,
}

impl Turn {
    /// Takes it, with `dir` (made where it is not there) for what belongs to it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] where another process has it, and where the directory cannot be written to.
    pub fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("lock");
        let written = IoSnafu {
            action: "write",
            path: &path,
        };
        std::fs::create_dir_all(dir).context(written)?;
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let lock = lock.context(written)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return BusySnafu.fail(),
            Err(TryLockError::Error(error)) => return Err(error).context(written),
        }
        Ok(Self {
            dir: dir.to_owned(),
            _lock: lock,
        })
    }

    /// Where credentials of this run are kept: see [`crate::Private`].
    pub fn private(&self) -> PathBuf {
        private_dir(&self.dir)
    }
}

/// The same below the directory of a turn that was not taken, to say what would be done.
pub fn private_dir(dir: &Path) -> PathBuf {
    dir.join("docker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("deploy");
        let turn = Turn::take(&dir).unwrap();
        assert!(matches!(Turn::take(&dir), Err(Error::Busy)));
        drop(turn);
        Turn::take(&dir).unwrap();
    }
}
