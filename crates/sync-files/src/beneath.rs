//! Directories by path beneath an open one, with no component followed through a link.

use std::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, fstat, openat, statat};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

use crate::stat::FileStat;

/// Opens the directory `path` beneath `root`, component by component; an empty path is `root` itself.
///
/// # Errors
///
/// [`Errno::NOTDIR`] or [`Errno::LOOP`] where a component is a link or a file, [`Errno::NOENT`] where it is not there.
pub(crate) fn open_dir(root: impl AsFd, path: impl AsRef<[u8]>) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut components = path
        .as_ref()
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty());
    let Some(last) = components.next_back() else {
        return openat(root, ".", flags | OFlags::RDONLY, Mode::empty());
    };
    let mut above: Option<OwnedFd> = None;
    for name in components {
        let from = above.as_ref().map_or(root.as_fd(), OwnedFd::as_fd);
        above = Some(openat(from, name, flags | OFlags::PATH, Mode::empty())?);
    }
    let from = above.as_ref().map_or(root.as_fd(), OwnedFd::as_fd);
    openat(from, last, flags | OFlags::RDONLY, Mode::empty())
}

/// The directory and the name of a path; the directory is empty at the top.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Every directory above `path`, innermost first, without the root.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/').map(|(dir, _)| dir), |dir| {
        dir.rsplit_once('/').map(|(dir, _)| dir)
    })
}

/// What is at `name` in `dir`, links not followed; `None` where nothing is.
pub(crate) fn lstat(dir: impl AsFd, name: impl Arg) -> Result<Option<FileStat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileStat::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name that a directory lists, and what the listing says it is.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FileType,
}

/// Every name in a directory but `.` and `..`, in no order; [`Errno::NOENT`] where the directory was removed while it was open.
pub(crate) fn list(dir: impl AsFd) -> Result<Vec<Listed>> {
    // As much as the C library asks for at once, but on the stack.
    const BUFFER: usize = 16 * 1024;
    let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(Listed {
                name: name.to_vec(),
                kind: entry.file_type(),
            });
        }
    }
    // Some file systems show a directory that was removed as an empty one.
    if names.is_empty() && fstat(dir)?.st_nlink == 0 {
        return Err(Errno::NOENT);
    }
    Ok(names)
}

/// The few directories beneath one root that were used last, held open:
/// paths come in order, so that most are in the directory of the one before.
#[derive(Debug)]
pub(crate) struct Handles {
    root: OwnedFd,
    /// The most recently used is last.
    open: Vec<(Box<str>, OwnedFd)>,
}

impl Handles {
    const MOST: usize = 16;

    /// Nothing is open yet but `root`.
    pub(crate) fn new(root: impl AsFd) -> Result<Self> {
        Ok(Self {
            root: open_dir(root, "")?,
            open: Vec::new(),
        })
    }

    /// The directory `path`, empty for the root.
    pub(crate) fn dir(&mut self, path: &str) -> Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        let found = self.open.iter().rposition(|(held, _)| **held == *path);
        match found {
            Some(at) if at + 1 == self.open.len() => {}
            Some(at) => {
                let held = self.open.remove(at);
                self.open.push(held);
            }
            None => {
                let opened = open_dir(&self.root, path)?;
                if self.open.len() == Self::MOST {
                    self.open.remove(0);
                }
                self.open.push((path.into(), opened));
            }
        }
        let last = self.open.last();
        Ok(last.map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// The directory that holds `path`, and the name in it.
    pub(crate) fn parent<'p>(&mut self, path: &'p str) -> Result<(BorrowedFd<'_>, &'p str)> {
        let (dir, name) = split(path);
        Ok((self.dir(dir)?, name))
    }

    /// What is at `path`; `None` also where a directory above it is missing, is a file or is a link.
    pub(crate) fn lstat(&mut self, path: &str) -> Result<Option<FileStat>> {
        match self.parent(path) {
            Ok((dir, name)) => lstat(dir, name),
            Err(error) if is_absence(error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets go of everything, because directories were renamed or removed.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }
}

/// Whether an error on the way to a path says that no directory of ours leads there.
pub(crate) fn is_absence(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        symlink("a", dir.path().join("l")).unwrap();
        let root: OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
        assert!(open_dir(&root, "a/b").is_ok());
        assert!(is_absence(open_dir(&root, "l/b").unwrap_err()));
        assert!(is_absence(open_dir(&root, "l").unwrap_err()));
        assert!(is_absence(open_dir(&root, "a/x").unwrap_err()));
        let mut handles = Handles::new(&root).unwrap();
        assert!(handles.lstat("a/b").unwrap().is_some());
        assert!(handles.lstat("l/b").unwrap().is_none());
        assert!(handles.lstat("l").unwrap().is_some());
    }

    #[test]
    fn paths_split_at_their_last_slash() {
        assert_eq!(split("a"), ("", "a"));
        assert_eq!(split("a/b/c"), ("a/b", "c"));
        assert_eq!(above("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(above("a").count(), 0);
    }
}
