//! Packs as files of a directory: `xx/<digest>`, where `xx` are the digest's first two digits.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use snafu::ResultExt;
use sync_core::Digest;

use super::{Blobs, beyond_the_end};
use crate::error::{BlobsSnafu, BoxError};
use crate::{Error, task};

/// Packs as files below a directory.
///
/// A pack is written under a temporary name, synced, renamed, and the directory synced: after a crash a name is
/// either absent or complete. What a crash left under temporary names is removed when the directory is opened.
#[derive(Debug, Clone)]
pub struct DirBlobs {
    root: PathBuf,
}

/// Unfinished files are here, on the same file system as what they become.
const TEMPORARY: &str = "tmp";

impl DirBlobs {
    /// Opens `root`, creating it where it is absent, and clears what an interrupted writer left.
    /// Two processes must not have one directory open: [`crate::Store::open_dir`] sees to that. Blocking.
    ///
    /// # Errors
    ///
    /// [`Error::Blobs`] where the directory cannot be made or cleared.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let open = || -> io::Result<()> {
            let temporary = root.join(TEMPORARY);
            if !temporary.try_exists()? {
                fs::create_dir_all(&temporary)?;
                return sync_dir(root);
            }
            for left in fs::read_dir(&temporary)? {
                fs::remove_file(left?.path())?;
            }
            Ok(())
        };
        open().map_err(BoxError::from).context(BlobsSnafu {
            action: format!("open {}", root.display()),
        })?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    fn path(&self, name: &Digest) -> PathBuf {
        let name = name.to_string();
        self.root.join(&name[..2]).join(name)
    }

    fn write(&self, name: &Digest, parts: &[Bytes]) -> io::Result<()> {
        let path = self.path(name);
        let size: usize = parts.iter().map(Bytes::len).sum();
        if fs::metadata(&path).is_ok_and(|found| found.len() == size as u64) {
            // It is there since a writer synced it; the directory's sync may have been cut off by a crash.
            return sync_dir(path.parent().unwrap_or(&self.root));
        }
        self.write_anew(name, parts)
    }

    fn write_anew(&self, name: &Digest, parts: &[Bytes]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = self.path(name);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(TEMPORARY).join(format!("{name}.{number}"));
        let written = || -> io::Result<()> {
            let mut file = File::create_new(&temporary)?;
            for part in parts {
                file.write_all(part)?;
            }
            file.sync_all()?;
            let dir = path.parent().unwrap_or(&self.root);
            match fs::create_dir(dir) {
                // A new directory is itself an entry that must be durable. Where that fails it must not stay,
                // or the next writer would take it for durable.
                Ok(()) => sync_dir(&self.root).inspect_err(|_| {
                    let _ = fs::remove_dir(dir);
                })?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            fs::rename(&temporary, &path)?;
            sync_dir(dir)
        };
        written().inspect_err(|_| {
            // Best effort: what stays is cleared by the next `open`.
            let _ = fs::remove_file(&temporary);
        })
    }

    fn read(&self, name: &Digest, range: Range<u64>) -> Result<Option<Bytes>, BoxError> {
        let mut file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let len = file.metadata()?.len();
        if range.end > len || range.start > range.end {
            return Err(beyond_the_end(name, len).into());
        }
        let wanted = usize::try_from(range.end - range.start)?;
        let mut bytes = vec![0; wanted];
        file.seek(SeekFrom::Start(range.start))?;
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes.into()))
    }

    fn names(&self, after: Option<&Digest>, limit: usize) -> io::Result<Vec<(Digest, u64)>> {
        let first = after.map_or_else(|| "00".to_owned(), |name| name.to_string()[..2].to_owned());
        let mut dirs = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != TEMPORARY && name >= first {
                dirs.push(name);
            }
        }
        dirs.sort_unstable();
        let mut found = Vec::new();
        for dir in dirs {
            if found.len() >= limit {
                break;
            }
            let before = found.len();
            for entry in fs::read_dir(self.root.join(dir))? {
                let entry = entry?;
                // Names that are not ours are none of our packs.
                let Ok(name) = entry.file_name().to_string_lossy().parse::<Digest>() else {
                    continue;
                };
                if after.is_none_or(|after| name > *after) {
                    found.push((name, entry.metadata()?.len()));
                }
            }
            found[before..].sort_unstable();
        }
        found.truncate(limit);
        Ok(found)
    }

    fn remove(&self, name: &Digest) -> io::Result<bool> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(path.parent().unwrap_or(&self.root)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[async_trait]
impl Blobs for DirBlobs {
    async fn put(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error> {
        let (this, name, parts) = (self.clone(), *name, parts.to_vec());
        task::blocking(move || {
            let written = this.write(&name, &parts).map_err(BoxError::from);
            written.with_context(|_| BlobsSnafu {
                action: format!("write pack {name}"),
            })
        })
        .await
    }

    async fn replace(&self, name: &Digest, parts: &[Bytes]) -> Result<(), Error> {
        let (this, name, parts) = (self.clone(), *name, parts.to_vec());
        task::blocking(move || {
            let written = this.write_anew(&name, &parts).map_err(BoxError::from);
            written.with_context(|_| BlobsSnafu {
                action: format!("write pack {name} anew"),
            })
        })
        .await
    }

    async fn get(&self, name: &Digest, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        let (this, name) = (self.clone(), *name);
        task::blocking(move || {
            this.read(&name, range).with_context(|_| BlobsSnafu {
                action: format!("read pack {name}"),
            })
        })
        .await
    }

    async fn list(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64)>, Error> {
        let (this, after) = (self.clone(), after.copied());
        task::blocking(move || {
            let names = this.names(after.as_ref(), limit).map_err(BoxError::from);
            names.context(BlobsSnafu {
                action: "list its packs",
            })
        })
        .await
    }

    async fn delete(&self, name: &Digest) -> Result<bool, Error> {
        let (this, name) = (self.clone(), *name);
        task::blocking(move || {
            let removed = this.remove(&name).map_err(BoxError::from);
            removed.with_context(|_| BlobsSnafu {
                action: format!("delete pack {name}"),
            })
        })
        .await
    }
}
