//! A file of the tree as an entry: how files are cut into chunks, and how a read that a writer disturbed is noticed.

use std::cell::RefCell;

use fastcdc::v2020::FastCDC;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::{Errno, read};
use sync_core::{Chunk, Content, Digest, Entry, TreePath};

use crate::beneath::lstat;
use crate::capture::Refusal;
use crate::stat::FileStat;

/// The shortest chunk of a file that is cut, but for its last.
pub const CHUNK_MIN: usize = 16 * 1024;
/// The size that chunks are near to.
pub const CHUNK_AVERAGE: usize = 64 * 1024;
/// The longest chunk; a file that is no longer is a single chunk.
pub const CHUNK_MAX: usize = 256 * 1024;

/// How many bytes a thread reads ahead.
const BUFFER: usize = 1024 * 1024;
/// How often a file that changes under the reader is read.
const TRIES: usize = 3;

thread_local! {
    /// One buffer for all files that a thread reads.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What was found at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// An entry, the stat it had throughout, and the list objects that its content needs.
    Entry {
        entry: Entry,
        stat: FileStat,
        lists: Vec<(Digest, Vec<u8>)>,
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
    each_chunk(&file, before.size, |bytes| {
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
    Ok(Some(Found::Entry { entry, stat, lists }))
}

/// Hands the chunks of `file`, which should have `size` bytes, to `each`, in order.
pub(crate) fn each_chunk(
    file: impl AsFd,
    size: u64,
    mut each: impl FnMut(&[u8]),
) -> rustix::io::Result<()> {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            buffer.resize(BUFFER, 0);
        }
        // One byte more than expected shows that a small file has grown, without a second read to find the end.
        let expected = usize::try_from(size).map_or(BUFFER, |size| (size + 1).min(BUFFER));
        let mut filled = fill_once(&file, &mut buffer[..expected])?;
        if filled == expected {
            filled += fill(&file, &mut buffer[filled..])?;
        }
        if filled <= CHUNK_MAX {
            if filled > 0 {
                each(&buffer[..filled]);
            }
            return Ok(());
        }
        loop {
            let at_end = filled < buffer.len();
            let used = cut(&buffer[..filled], at_end, &mut each);
            if at_end {
                return Ok(());
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
            filled += fill(&file, &mut buffer[filled..])?;
        }
    })
}

/// Cuts what can be cut without knowing what follows, and returns how much that was.
fn cut(bytes: &[u8], at_end: bool, each: &mut impl FnMut(&[u8])) -> usize {
    let chunker = FastCDC::new(bytes, CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX);
    let mut start = 0;
    while start < bytes.len() && (at_end || bytes.len() - start >= CHUNK_MAX) {
        let (_, end) = chunker.cut(start, bytes.len() - start);
        each(&bytes[start..end]);
        start = end;
    }
    start
}

/// Reads once: of a regular file that gives less than was asked for only where it ends.
/// Should it have grown since, its stat tells.
fn fill_once(file: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    loop {
        match read(&file, &mut *buffer) {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
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
    use proptest::prelude::*;
    use std::io::Write;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[4]
            })
            .collect()
    }

    /// The lengths of the chunks when the file is read in pieces; the bytes must be all there.
    fn lengths(bytes: &[u8], size: u64) -> Vec<usize> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
        let (mut lengths, mut all) = (Vec::new(), Vec::new());
        each_chunk(&file, size, |chunk| {
            lengths.push(chunk.len());
            all.extend_from_slice(chunk);
        })
        .unwrap();
        assert!(all == bytes);
        lengths
    }

    /// What cutting the whole file in memory gives.
    fn at_once(bytes: &[u8]) -> Vec<usize> {
        if bytes.len() <= CHUNK_MAX {
            return Vec::from_iter((!bytes.is_empty()).then_some(bytes.len()));
        }
        FastCDC::new(bytes, CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX)
            .map(|chunk| chunk.length)
            .collect()
    }

    #[test]
    fn boundaries_do_not_depend_on_the_buffer() {
        for len in [
            0,
            1,
            CHUNK_MAX,
            CHUNK_MAX + 1,
            BUFFER - 1,
            BUFFER,
            BUFFER + 1,
            5 * BUFFER + 12345,
        ] {
            let bytes = noise(len);
            assert_eq!(lengths(&bytes, len as u64), at_once(&bytes), "{len}");
        }
        let zeros = vec![0; 3 * BUFFER];
        assert_eq!(lengths(&zeros, zeros.len() as u64), at_once(&zeros));
    }

    /// The cuts are part of the format: other boundaries would name other chunks.
    #[test]
    fn boundaries_are_stable() {
        let lengths = at_once(&noise(1 << 20));
        assert_eq!(lengths.iter().sum::<usize>(), 1 << 20);
        assert_eq!(lengths, BOUNDARIES);
    }

    const BOUNDARIES: &[usize] = &[
        71088, 66480, 100_652, 128_639, 102_442, 92174, 121_669, 113_315, 77339, 74154, 100_624,
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// The file may have grown or shrunk since its size was asked.
        #[test]
        fn a_wrong_size_changes_nothing(len in 0usize..700_000, claimed in 0u64..3_000_000) {
            let bytes = noise(len);
            prop_assert_eq!(lengths(&bytes, claimed), at_once(&bytes));
        }
    }

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
