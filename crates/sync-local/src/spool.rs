//! What is about to be written to the disk, kept aside in one file until all of it is known: its digests are needed first.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// A private file that is gone when this is.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    len: u64,
}

/// Where something is in a spool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    offset: u64,
    pub(crate) len: usize,
}

impl Spool {
    /// Makes one in a private directory, which is made where it is not there.
    pub(crate) fn new(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(format!("spool.{}", std::process::id()));
        let open = || {
            std::fs::create_dir_all(dir)?;
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            let file = options.open(&path)?;
            // It has no name from here on, so that no crash leaves it behind.
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        let file = open().map_err(|source| failed(&path, source))?;
        Ok(Self { file, path, len: 0 })
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<Spot, Error> {
        let spot = Spot {
            offset: self.len,
            len: bytes.len(),
        };
        self.file
            .write_all(bytes)
            .map_err(|source| failed(&self.path, source))?;
        self.len += bytes.len() as u64;
        Ok(spot)
    }

    pub(crate) fn get(&self, spot: Spot) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; spot.len];
        let read = self.file.read_exact_at(&mut bytes, spot.offset);
        read.map_err(|source| failed(&self.path, source))?;
        Ok(bytes)
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Spool {
        path: path.display().to_string(),
        source,
    }
}
