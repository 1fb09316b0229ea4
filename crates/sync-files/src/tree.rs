//! An opened directory and the private directory beside it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::OwnedFd;
use rustix::fs::{
    Mode, OFlags, Timespec, Timestamps, UTIME_NOW, fstat, futimens, open, openat, stat,
};

use crate::error::{Doing, Error, NoTreeSnafu, Result};
use crate::faults::{Faults, NoFaults};
use crate::stat::{FileStat, Horizon, Stamp};

/// A directory that is a working copy, held open, with the private directory that keeps the stat cache and the journal.
#[derive(Debug)]
pub struct Tree {
    pub(crate) root: OwnedFd,
    pub(crate) root_path: PathBuf,
    pub(crate) private: OwnedFd,
    pub(crate) private_path: PathBuf,
    pub(crate) faults: Arc<dyn Faults>,
}

impl Tree {
    /// Opens the tree at `root`, with its private state in `private`, which is made where it does not exist.
    ///
    /// Both must be on one file system to apply plans; to capture they need not be.
    ///
    /// # Errors
    ///
    /// [`Error::NoTree`] where `root` does not exist or is no directory: a missing tree is never an empty one.
    pub fn open(root: &Path, private: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = match open(root, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return NoTreeSnafu { path: root }.fail();
            }
            Err(error) => return Err(error).doing("open", root.display()),
        };
        match fs::DirBuilder::new().mode(0o700).create(private) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).doing("create", private.display());
            }
            _ => {}
        }
        let held = open(private, flags, Mode::empty()).doing("open", private.display())?;
        Ok(Self {
            root: opened,
            root_path: root.to_owned(),
            private: held,
            private_path: private.to_owned(),
            faults: Arc::new(NoFaults),
        })
    }

    /// Like [`Tree::open`], but makes the root directory where it does not exist, for a first pull.
    pub fn open_or_create(root: &Path, private: &Path) -> Result<Self> {
        fs::create_dir_all(root).doing("create", root.display())?;
        Self::open(root, private)
    }

    /// Has `faults` asked before every step of an apply.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = faults;
        self
    }

    /// Where the tree is.
    pub fn path(&self) -> &Path {
        &self.root_path
    }

    /// Fails where the path of the tree no longer leads to the directory that is held open:
    /// what was removed and made again must not look like a tree from which everything was deleted.
    pub(crate) fn still_there(&self) -> Result<()> {
        let held = fstat(&self.root).doing("stat", self.root_path.display())?;
        match stat(&self.root_path) {
            Ok(now) if (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino) => Ok(()),
            _ => NoTreeSnafu {
                path: &self.root_path,
            }
            .fail(),
        }
    }

    /// The present by the clock that stamps files here, which on a network file system is not ours.
    pub(crate) fn horizon(&self) -> Horizon {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let touch = || -> rustix::io::Result<Stamp> {
            let probe = unnamed(&self.private)
                .or_else(|_| openat(&self.private, "clock", flags, Mode::from_raw_mode(0o600)))?;
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            };
            futimens(
                &probe,
                &Timestamps {
                    last_access: now,
                    last_modification: now,
                },
            )?;
            Ok(FileStat::of(&fstat(&probe)?).mtime)
        };
        // On a file system that is read-only, the machine's clock less a margin has to do.
        Horizon::at(touch().unwrap_or_else(|_| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            Stamp {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX) - 2,
                nanos: since.subsec_nanos(),
            }
        }))
    }

    /// Asks the fault port before the step `point` on `path`.
    pub(crate) fn step(&self, point: &'static str, path: impl ToString) -> Result<()> {
        self.faults.at(point).doing(point, path)
    }

    /// The tree is not usable: an earlier apply waits.
    pub(crate) fn pending(&self) -> Error {
        Error::Pending {
            path: self.root_path.clone(),
        }
    }
}

/// A file without a name, which leaves no trace: who only looks changes nothing. Not every file system has such files.
fn unnamed(dir: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(dir, ".", flags, Mode::from_raw_mode(0o600))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        Err(rustix::io::Errno::OPNOTSUPP)
    }
}
