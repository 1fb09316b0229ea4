//! A disk of one's own: ext4 with its journal, fresh, mounted from an image.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use snafu::ResultExt as _;

use crate::{
    cargo,
    error::{IoSnafu, Result},
};

/// How large the image may become; it is sparse.
const MAX_BYTES: u64 = 48 << 30;

/// A mounted volume; unmounted and removed when it is dropped.
#[derive(Debug)]
pub(super) struct Volume {
    /// Holds the image and the mount point.
    place: tempfile::TempDir,
    path: PathBuf,
    is_mounted: bool,
}

impl Volume {
    /// A fresh ext4 where we may mount, else a directory in memory.
    pub(super) fn new(disk: &Path) -> Result<Self> {
        let place = tempfile::tempdir_in(disk).context(IoSnafu {
            action: format!("create a directory in `{}`", disk.display()),
        })?;
        let path = place.path().join("volume");
        fs::create_dir(&path).context(IoSnafu {
            action: format!("create `{}`", path.display()),
        })?;
        if mount(place.path(), &path).is_ok() {
            return Ok(Self {
                place,
                path,
                is_mounted: true,
            });
        }
        println!("note: no right to mount a fresh ext4; measuring in memory instead");
        let place = tempfile::tempdir_in("/dev/shm").context(IoSnafu {
            action: "create a directory in memory",
        })?;
        let path = place.path().to_owned();
        Ok(Self {
            place,
            path,
            is_mounted: false,
        })
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is, for the report.
    pub(super) fn description(&self) -> &'static str {
        if self.is_mounted {
            "a fresh ext4 with journal, mounted from an image on the machine's disk"
        } else {
            "tmpfs, since the run had no right to mount: figures of durable writes mean nothing"
        }
    }

    /// Waits until nothing is left to write, so that one operation does not pay for another.
    pub(super) fn settle(&self) -> Result<()> {
        let directory = File::open(&self.path).context(IoSnafu {
            action: "open the volume",
        })?;
        rustix::fs::syncfs(&directory)
            .map_err(std::io::Error::from)
            .context(IoSnafu {
                action: "sync the volume",
            })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            let unmounted = cargo::run(Command::new("umount").arg(&self.path));
            if unmounted.is_err() {
                eprintln!("note: `{}` is still mounted", self.place.path().display());
            }
        }
    }
}

fn mount(place: &Path, path: &Path) -> Result<()> {
    let image = place.join("image");
    File::create(&image)
        .and_then(|file| file.set_len(MAX_BYTES))
        .context(IoSnafu {
            action: format!("create `{}`", image.display()),
        })?;
    // Tables are written now: later they would be written while something is measured.
    cargo::output(
        Command::new("mkfs.ext4")
            .args([
                "-q",
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0",
                "-i",
                "8192",
            ])
            .arg(&image),
    )?;
    cargo::output(
        Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(path),
    )?;
    // The mount holds what it needs of it: however this process ends, the image is gone.
    fs::remove_file(&image).context(IoSnafu {
        action: format!("remove `{}`", image.display()),
    })
}
