//! The bytes of captured files once more, for sending.

use std::fs::File;
use std::os::unix::fs::FileExt;

use sync_core::{Chunk, Digest, TreePath};

use crate::beneath::{Handles, is_absence};
use crate::error::{Doing, Error, MovedSnafu, Result};
use crate::plan::MAX_CHUNK;
use crate::read::open_file;
use crate::tree::Tree;

/// Reads chunks of files of a tree, each verified. Paths in order are fastest; one reader serves one thread.
#[derive(Debug)]
pub struct Contents {
    pub(crate) handles: Handles,
    buffer: Vec<u8>,
}

impl Tree {
    /// A reader of the files of this tree.
    pub fn contents(&self) -> Result<Contents> {
        Ok(Contents {
            handles: Handles::new(&self.root).doing("open", self.path().display())?,
            buffer: Vec::new(),
        })
    }
}

/// Where each of the data chunks of a file begins.
pub fn placed(chunks: &[Chunk]) -> impl Iterator<Item = (u64, Chunk)> {
    chunks.iter().scan(0u64, |end, chunk| {
        let start = *end;
        *end = start.saturating_add(chunk.len);
        Some((start, *chunk))
    })
}

impl Contents {
    /// Hands chunks of the file at `path`, each given with the offset where it begins ([`placed`]), to `each`, in the order given.
    /// At most 1 MiB is in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Moved`] where the file is gone or a chunk is no longer in its place: capture again.
    /// Chunks before that were handed out, and are right.
    pub fn read<E: From<Error>>(
        &mut self,
        path: &TreePath,
        chunks: impl IntoIterator<Item = (u64, Chunk)>,
        mut each: impl FnMut(Digest, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let moved = || MovedSnafu {
            paths: [path.to_string()],
        };
        let opened = self.handles.parent(path.as_str());
        let file = match opened.and_then(|(dir, name)| open_file(dir, name)) {
            Ok(file) => File::from(file),
            Err(error) if is_absence(error) => return Ok(moved().fail()?),
            Err(error) => return Ok(Err(error).doing("read", path)?),
        };
        for (offset, chunk) in chunks {
            let len = usize::try_from(chunk.len).unwrap_or(usize::MAX);
            if len > MAX_CHUNK {
                return Ok(Err(Error::Plan {
                    path: path.to_string(),
                    reason: "a chunk is larger than any object",
                })?);
            }
            self.buffer.resize(len.max(self.buffer.len()), 0);
            let bytes = &mut self.buffer[..len];
            match file.read_exact_at(bytes, offset) {
                Ok(()) if Digest::of(bytes) == chunk.digest => each(chunk.digest, bytes)?,
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                    return Ok(Err(error).doing("read", path)?);
                }
                _ => return Ok(moved().fail()?),
            }
        }
        Ok(())
    }
}
