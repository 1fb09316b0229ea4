//! A file of the tree as an entry, and how a read that a writer disturbed is noticed.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::{Errno, read};
use sync_core::cut::cut;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};

use crate::beneath::lstat;
use crate::capture::Refusal;
use crate::secret;
use crate::stat::FileStat;

/// How often a file that changes under the reader is read.
const TRIES: usize = 3;

/// What was found at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// An entry, the stat it had throughout, and the list objects that its content needs.
    Entry {
        entry: Entry,
        stat: FileStat,
        lists: Vec<(Digest, Vec<u8>)>,
        /// Whether a private key or a token is in it.
        shows_secret: bool,
    },
    /// Nothing, or something that is being replaced at this moment.
    Gone,
    /// Something that cannot be an entry.
    Refused(Refusal),
}

/// Opens a regular file for reading; never waits for the other end of something that is not one.
pub(crate) fn open_file(dir: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Reads the file or link at `name` in `dir`, whose path in the tree is `path` and whose stat was `stat` a moment ago.
pub(crate) fn read_entry(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &TreePath,
    stat: FileStat,
) -> rustix::io::Result<Found> {
    until_stable(
        stat,
        |before| match before.kind() {
            FileType::RegularFile => read_file(dir, name, before),
            FileType::Symlink => read_link(dir, name, path, before),
            FileType::Directory => Ok(Some(Found::Gone)),
            kind => Ok(Some(Found::Refused(Refusal::special(kind)))),
        },
        || lstat(dir, name),
    )
}

/// Reads until `read` finds the file undisturbed since the stat that it is given; `look` gives the stat for the next try.
fn until_stable(
    mut before: FileStat,
    mut read: impl FnMut(FileStat) -> rustix::io::Result<Option<Found>>,
    mut look: impl FnMut() -> rustix::io::Result<Option<FileStat>>,
) -> rustix::io::Result<Found> {
    for _ in 0..TRIES {
        if let Some(found) = read(before)? {
            return Ok(found);
        }
        match look()? {
            Some(now) => before = now,
            None => return Ok(Found::Gone),
        }
    }
    Ok(Found::Refused(Refusal::Unstable))
}

/// `None` where the file is not in the state that `before` says, or left it while it was read.
fn read_file(
    dir: BorrowedFd<'_>,
    name: &str,
    before: FileStat,
) -> rustix::io::Result<Option<Found>> {
    let file = match open_file(dir, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Some(Found::Gone)),
        // A link or something special took its place.
        Err(Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Nothing is read from what is not the file that was seen: it might be a device.
    if FileStat::of(&fstat(&file)?) != before {
        return Ok(None);
    }
    let mut chunks = Vec::with_capacity(1);
    let mut shows_secret = false;
    each_chunk(&file, before.size, |bytes| {
        shows_secret = shows_secret || secret::shows_secret(bytes);
        chunks.push(Chunk {
            digest: Digest::of(bytes),
            len: bytes.len() as u64,
        });
    })?;
    let stat = FileStat::of(&fstat(&file)?);
    let read: u64 = chunks.iter().map(|chunk| chunk.len).sum();
    if stat != before || read != stat.size {
        return Ok(None);
    }
    let mut lists = Vec::new();
    let content = Content::from_chunks(chunks, |digest, bytes| lists.push((digest, bytes)));
    let entry = Entry::File {
        executable: stat.is_executable(),
        content,
    };
    Ok(Some(Found::Entry {
        entry,
        stat,
        lists,
        shows_secret,
    }))
}

/// Hands the chunks of `file`, which should have `size` bytes, to `each`, in order.
pub(crate) fn each_chunk(
    file: impl AsFd,
    size: u64,
    mut each: impl FnMut(&[u8]),
) -> rustix::io::Result<()> {
    // A regular file gives less than was asked for only where it ends. Should it have grown since, its stat tells.
    let mut ended = false;
    let read = |buffer: &mut [u8]| {
        if ended {
            return Ok(0);
        }
        let count = rustix::io::retry_on_intr(|| read(&file, &mut *buffer))?;
        ended = count < buffer.len();
        Ok(count)
    };
    cut(size, read, |chunk| {
        each(chunk);
        Ok(())
    })
}

fn read_link(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &TreePath,
    before: FileStat,
) -> rustix::io::Result<Option<Found>> {
    let target = match readlinkat(dir, name, Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(Some(Found::Gone)),
        Err(Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error),
    };
    if lstat(dir, name)? != Some(before) {
        return Ok(None);
    }
    let entry = match target.into_string() {
        Ok(target) if link_is_contained(path, &target) => Entry::Link { target },
        Ok(_) => return Ok(Some(Found::Refused(Refusal::LinkOutside))),
        Err(_) => return Ok(Some(Found::Refused(Refusal::LinkNotUtf8))),
    };
    Ok(Some(Found::Entry {
        entry,
        stat: before,
        lists: Vec::new(),
        shows_secret: false,
    }))
}

/// Whether a link stays in the tree whatever the directories on its way are.
///
/// Its text must stay inside, and every `..` must come first: those climb from the directory that holds the link,
/// which is a real one. After a name, `..` may climb from wherever a link of that name leads.
/// If every link of a tree is like this, none leads out of it.
pub(crate) fn link_is_contained(path: &TreePath, target: &str) -> bool {
    let climbs_after_a_name = target
        .split('/')
        .skip_while(|part| matches!(*part, "" | "." | ".."))
        .any(|part| part == "..");
    !climbs_after_a_name && Entry::link_stays_inside(path, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is disturbed so often comes to this, after so many reads.
    #[track_caller]
    fn check_tries(disturbed: usize, reads: usize, stable: bool) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let look = || lstat(rustix::fs::CWD, file.path());
        let mut tries = 0;
        let read = |before| {
            tries += 1;
            Ok((tries > disturbed).then(|| Found::Entry {
                entry: Entry::Directory,
                stat: before,
                lists: Vec::new(),
                shows_secret: false,
            }))
        };
        let found = until_stable(look().unwrap().unwrap(), read, look).unwrap();
        assert_eq!(matches!(found, Found::Entry { .. }), stable);
        assert_eq!(tries, reads);
    }

    #[test]
    fn a_disturbed_read_is_tried_again_and_then_reported() {
        check_tries(0, 1, true);
        check_tries(2, 3, true);
        check_tries(3, 3, false);
    }

    #[track_caller]
    fn check(path: &str, target: &str, contained: bool) {
        let path = TreePath::new(path).unwrap();
        assert_eq!(link_is_contained(&path, target), contained, "{target}");
    }

    #[test]
    fn links_climb_first_and_then_descend() {
        check("a/b", "../c/d", true);
        check("a/b", "./../c", true);
        check("a/b", "../..", false);
        check("a", "/etc", false);
        // `d` may be a link to `.`, and then `d/..` is outside.
        check("e", "d/..", false);
        check("x/e", "../d/./..", false);
    }
}
