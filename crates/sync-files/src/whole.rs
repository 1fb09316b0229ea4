//! Small files as a whole: for those who read and write what is in them.

use std::convert::Infallible;

use rustix::fs::fstat;
use rustix::io::read;
use sync_core::cut::cut;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};

use crate::beneath::{Handles, is_absence};
use crate::contents::Contents;
use crate::error::{Doing, MovedSnafu, Result};
use crate::read::open_file;
use crate::stat::FileStat;
use crate::tree::Tree;

/// A file's bytes as what a plan wants them to be: its entry, and the data chunks of a [`Step`](crate::Step).
#[derive(Debug, Clone)]
pub struct Whole {
    /// What a tree holds at the path of the file.
    pub entry: Entry,
    /// Its data chunks in order.
    pub chunks: Vec<Chunk>,
}

impl Whole {
    /// Cuts `bytes` as a capture does.
    pub fn of(bytes: &[u8], executable: bool) -> Self {
        let mut chunks = Vec::with_capacity(1);
        let mut rest = bytes;
        let fill = |buffer: &mut [u8]| {
            let count = rest.len().min(buffer.len());
            let (head, tail) = rest.split_at(count);
            buffer[..count].copy_from_slice(head);
            rest = tail;
            Ok::<_, Infallible>(count)
        };
        let Ok(()) = cut(bytes.len() as u64, fill, |chunk| {
            chunks.push(Chunk {
                digest: Digest::of(chunk),
                len: chunk.len() as u64,
            });
            Ok(())
        });
        let content = Content::from_chunks(chunks.clone(), |_, _| ());
        Self {
            entry: Entry::File {
                executable,
                content,
            },
            chunks,
        }
    }
}

impl Tree {
    /// The bytes of a file, following no link on the way; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io), also where the file has more than `max` bytes or is no regular file.
    pub fn read_file(&self, path: &TreePath, max: usize) -> Result<Option<Vec<u8>>> {
        let mut handles = Handles::new(&self.root).doing("open", self.path().display())?;
        read_all(&mut handles, path, max)
    }
}

impl Contents {
    /// The bytes of the file at `path`, if they still are those of `expected`.
    ///
    /// # Errors
    ///
    /// [`Error::Moved`](crate::Error::Moved) where the file is gone or has changed: capture again;
    /// [`Error::Io`](crate::Error::Io), also where it has more than `max` bytes.
    pub fn whole(&mut self, path: &TreePath, expected: &Entry, max: usize) -> Result<Vec<u8>> {
        let moved = MovedSnafu {
            paths: [path.to_string()],
        };
        let Some(bytes) = read_all(&mut self.handles, path, max)? else {
            return moved.fail();
        };
        let Entry::File {
            executable,
            content,
        } = expected
        else {
            return moved.fail();
        };
        let is_same = match content.chunks.as_slice() {
            // The common case, without a copy.
            [only] if content.depth == 0 => {
                only.len == bytes.len() as u64 && Digest::of(&bytes) == only.digest
            }
            _ => Whole::of(&bytes, *executable).entry == *expected,
        };
        if is_same { Ok(bytes) } else { moved.fail() }
    }
}

fn read_all(handles: &mut Handles, path: &TreePath, max: usize) -> Result<Option<Vec<u8>>> {
    let opened = handles.parent(path.as_str());
    let file = match opened.and_then(|(dir, name)| open_file(dir, name)) {
        Ok(file) => file,
        Err(error) if is_absence(error) => return Ok(None),
        Err(error) => return Err(error).doing("read", path),
    };
    let stat = FileStat::of(&fstat(&file).doing("stat", path)?);
    let too_large = || std::io::Error::other(format!("it has more than {max} bytes"));
    if stat.kind() != rustix::fs::FileType::RegularFile {
        return Err(std::io::Error::other("it is no regular file")).doing("read", path);
    }
    let size = usize::try_from(stat.size).unwrap_or(usize::MAX);
    if size > max {
        return Err(too_large()).doing("read", path);
    }
    // One byte more than it has shows that it has grown.
    let mut bytes = vec![0; size + 1];
    let mut filled = 0;
    while filled < bytes.len() {
        let count = rustix::io::retry_on_intr(|| read(&file, &mut bytes[filled..]));
        match count.doing("read", path)? {
            0 => break,
            count => filled += count,
        }
        if filled == bytes.len() {
            if filled > max {
                return Err(too_large()).doing("read", path);
            }
            bytes.resize((filled * 2).min(max + 1), 0);
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CaptureOptions, Error, StatCache};

    #[test]
    fn what_is_written_as_a_whole_is_what_a_capture_finds() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(dir.path(), &dir.path().join("p")).unwrap();
        let path: TreePath = "a/b.md".parse().unwrap();
        for size in [0, 1, 5_000, 300_000, 3_000_000] {
            let bytes: Vec<u8> = (0..size)
                .map(|n: u32| n.wrapping_mul(n).to_le_bytes()[1])
                .collect();
            std::fs::create_dir_all(dir.path().join("a")).unwrap();
            std::fs::write(dir.path().join("a/b.md"), &bytes).unwrap();
            let options = CaptureOptions {
                ignore: vec!["/p".to_owned()],
                ..CaptureOptions::default()
            };
            let captured = tree.capture(&StatCache::new(), &options, &|_| ()).unwrap();
            let whole = Whole::of(&bytes, false);
            assert_eq!(
                captured.changes,
                [(path.clone(), Some(whole.entry.clone()))]
            );
            let mut contents = tree.contents().unwrap();
            let read = contents.whole(&path, &whole.entry, 4 << 20).unwrap();
            assert_eq!(read, bytes);
            let other = Whole::of(b"other", false).entry;
            let refused = contents.whole(&path, &other, 4 << 20);
            assert!(matches!(refused, Err(Error::Moved { .. })));
        }
        let refused = tree.read_file(&path, 1_000_000).unwrap_err();
        assert!(matches!(refused, Error::Io { .. }));
        let gone = tree.read_file(&"a/c.md".parse().unwrap(), 10).unwrap();
        assert_eq!(gone, None);
    }
}
