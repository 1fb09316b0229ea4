//! Who has a store's directory open.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use snafu::ResultExt;

use crate::Error;
use crate::error::{BlobsSnafu, BoxError, HeldSnafu};

/// Who has a store's directory open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// When it opened the store, in milliseconds since 1970-01-01T00:00:00Z.
    pub since: u64,
}

/// The file in the store's directory that is locked, and says by whom.
const FILE: &str = "holder";

/// Locks the directory until the file is closed, or the process ends in whatever way.
///
/// # Errors
///
/// [`Error::Held`] where it is locked already, [`Error::Blobs`] where it cannot be.
pub(super) fn take(dir: &Path) -> Result<File, Error> {
    let lock = || -> Result<Option<File>, BoxError> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(dir.join(FILE))?;
        match file.try_lock() {
            Ok(()) => Holder::this().write(&mut file)?,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Some(file))
    };
    let locked = lock().with_context(|_| BlobsSnafu {
        action: format!("lock {}", dir.display()),
    })?;
    locked.ok_or_else(|| {
        let holder = Holder::read(dir);
        HeldSnafu { dir, holder }.build()
    })
}

/// Locks the directory as [`take`] does, and changes nothing in it, so that who has it is not said; `None` where it was never
/// locked.
///
/// # Errors
///
/// As [`take`].
pub(super) fn take_quietly(dir: &Path) -> Result<Option<File>, Error> {
    let action = || BlobsSnafu {
        action: format!("lock {}", dir.display()),
    };
    let file = match File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BoxError::from(error)).with_context(|_| action()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let holder = Holder::read(dir);
            HeldSnafu { dir, holder }.fail()
        }
        Err(TryLockError::Error(error)) => Err(BoxError::from(error)).with_context(|_| action()),
    }
}

impl Holder {
    /// This process, now.
    fn this() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            pid: std::process::id(),
            since: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Who wrote the file; `None` where that cannot be read, as in the moment when he writes it.
    fn read(dir: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = File::open(dir.join(FILE)).ok()?;
        file.take(1000).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        Some(Self {
            pid: lines.next()?.strip_prefix("pid ")?.parse().ok()?,
            since: lines.next()?.strip_prefix("since ")?.parse().ok()?,
        })
    }

    /// Only he who has the lock writes.
    fn write(self, file: &mut File) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "pid {}\nsince {}", self.pid, self.since)
    }
}
