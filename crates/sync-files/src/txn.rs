//! The directory of one transaction, `txn` in the private directory.
//!
//! | name | what |
//! |---|---|
//! | `new/` | staged files at their own paths; after an exchange, the files that came out |
//! | `old/` | what was moved aside, by number |
//! | `undone/` | what moved in and was taken back |
//! | `journal` | the commit record: from its being here until it is renamed, the transaction is to be finished or undone |
//! | `forward`, `undo` | one empty file: `undo` means that only undoing is left |
//! | `done`, `undone-journal` | the journal once everything is finished, or undone: what is left may be deleted |

use std::fs::File;
use std::io::{Read, Write};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, flock, fsync, mkdirat, openat,
    renameat, renameat_with, syncfs, unlinkat,
};
use rustix::io::Errno;

use crate::beneath::{list, lstat, open_dir};
use crate::error::{BusySnafu, Doing, JournalSnafu, Result};
use crate::journal::Journal;
use crate::tree::Tree;

const NAME: &str = "txn";
const LOCK: &str = "txn.lock";
const JOURNAL: &str = "journal";
const DRAFT: &str = "journal.draft";
const DONE: &str = "done";
const UNDONE: &str = "undone-journal";
const FORWARD: &str = "forward";
const UNDO: &str = "undo";

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything moved.
    Done,
    /// Nothing moved, or everything was taken back.
    Undone,
}

/// What was found of an interrupted transaction.
#[derive(Debug)]
pub(crate) enum Resumed {
    /// Nothing.
    Nothing,
    /// One that had not begun to move anything, or had taken everything back.
    Discarded,
    /// One that had moved everything, with its note.
    Done { note: Vec<u8> },
    /// One that is to be finished or undone.
    Open(Txn),
}

/// A transaction's directory, and the lock that keeps it the only one.
#[derive(Debug)]
pub(crate) struct Txn {
    pub(crate) dir: OwnedFd,
    pub(crate) new: OwnedFd,
    pub(crate) old: OwnedFd,
    pub(crate) undone: OwnedFd,
    /// The lock is held as long as this is open.
    _lock: OwnedFd,
}

fn shown(name: &str) -> String {
    format!("{NAME}/{name}")
}

impl Txn {
    /// Begins a transaction. What an uncommitted one left behind is deleted.
    pub(crate) fn begin(tree: &Tree) -> Result<Self> {
        let lock = lock(tree)?;
        if is_pending(tree)? {
            return Err(tree.pending());
        }
        delete(tree)?;
        let mode = Mode::from_raw_mode(0o700);
        tree.step("create", NAME)?;
        mkdirat(&tree.private, NAME, mode).doing("create", NAME)?;
        let dir = open_dir(&tree.private, NAME).doing("open", NAME)?;
        for name in ["new", "old", "undone"] {
            mkdirat(&dir, name, mode).doing("create", shown(name))?;
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&dir, FORWARD, flags, mode).doing("create", shown(FORWARD))?;
        Self::with(dir, lock)
    }

    /// Opens the transaction that was interrupted; what is left of one that is not to go on is deleted.
    pub(crate) fn resume(tree: &Tree) -> Result<Resumed> {
        let lock = lock(tree)?;
        let dir = match open_dir(&tree.private, NAME) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(Resumed::Nothing),
            Err(error) => return Err(error).doing("open", NAME),
        };
        if is_pending(tree)? {
            return Self::with(dir, lock).map(Resumed::Open);
        }
        let done = match lstat(&dir, DONE).doing("stat", shown(DONE))? {
            Some(_) => Some(read_journal(tree, &dir, DONE)?),
            None => None,
        };
        delete(tree)?;
        Ok(done.map_or(Resumed::Discarded, |done| Resumed::Done { note: done.note }))
    }

    fn with(dir: OwnedFd, lock: OwnedFd) -> Result<Self> {
        let open = |name| open_dir(&dir, name).doing("open", shown(name));
        Ok(Self {
            new: open("new")?,
            old: open("old")?,
            undone: open("undone")?,
            dir,
            _lock: lock,
        })
    }

    /// Writes the commit record, durably: after this, staged files are moved.
    pub(crate) fn record(&self, tree: &Tree, journal: &Journal) -> Result<()> {
        let parts = journal
            .encode()
            .map_err(std::io::Error::other)
            .doing("encode", shown(JOURNAL))?;
        tree.step("write", shown(JOURNAL))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let draft = openat(&self.dir, DRAFT, flags, Mode::from_raw_mode(0o600));
        let mut draft = File::from(draft.doing("create", shown(DRAFT))?);
        for part in &parts {
            draft.write_all(part).doing("write", shown(DRAFT))?;
        }
        drop(parts);
        draft.sync_all().doing("sync", shown(DRAFT))?;
        tree.step("commit", shown(JOURNAL))?;
        renameat(&self.dir, DRAFT, &self.dir, JOURNAL).doing("commit", shown(JOURNAL))?;
        tree.step("sync", shown(JOURNAL))?;
        fsync(&self.dir).doing("sync", shown(JOURNAL))
    }

    /// Reads the commit record.
    pub(crate) fn journal(&self, tree: &Tree) -> Result<Journal> {
        read_journal(tree, &self.dir, JOURNAL)
    }

    /// Whether it was decided that everything is taken back.
    pub(crate) fn is_undoing(&self) -> Result<bool> {
        Ok(lstat(&self.dir, UNDO).doing("stat", shown(UNDO))?.is_some())
    }

    /// Decides that everything is taken back; from here on nothing moves forward.
    pub(crate) fn set_undoing(&self, tree: &Tree) -> Result<()> {
        tree.step("turn back", shown(UNDO))?;
        // A rename needs no space on a full disk.
        match renameat(&self.dir, FORWARD, &self.dir, UNDO) {
            Ok(()) => fsync(&self.dir).doing("sync", shown(UNDO)),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).doing("turn back", shown(UNDO)),
        }
    }

    /// Makes everything so far durable, ends the transaction and deletes its directory.
    /// What cannot be deleted is deleted by the next one. After an error the transaction has not ended.
    pub(crate) fn end(&self, tree: &Tree, end: End) -> Result<()> {
        tree.step("sync", tree.path().display())?;
        self.sync()?;
        tree.step("end", shown(JOURNAL))?;
        close_journal(&self.dir, end)?;
        // From here on it has ended. Unless that is durable nothing may be deleted: after a crash the journal might be back.
        let deleted = fsync(&self.dir)
            .doing("sync", shown(JOURNAL))
            .and_then(|()| delete(tree));
        if let Err(error) = deleted {
            tracing::warn!(%error, "what is left of an apply is deleted by the next one");
        }
        Ok(())
    }

    /// Whether two files can change places here. Asked by doing it, as file systems differ.
    pub(crate) fn can_exchange(&self, tree: &Tree) -> bool {
        let probe = || -> Result<()> {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            for name in ["probe-a", "probe-b"] {
                openat(&self.dir, name, flags, Mode::from_raw_mode(0o600)).doing("create", name)?;
            }
            tree.step("try to exchange", "probe-a")?;
            renameat_with(
                &self.dir,
                "probe-a",
                &self.dir,
                "probe-b",
                RenameFlags::EXCHANGE,
            )
            .doing("exchange", "probe-a")
        };
        probe().is_ok()
    }

    /// Makes everything on the file system durable.
    pub(crate) fn sync(&self) -> Result<()> {
        syncfs(&self.dir).doing("sync", NAME)
    }

    /// Gives the transaction up before anything moved.
    pub(crate) fn discard(&self, tree: &Tree) -> Result<()> {
        tree.step("discard", NAME)?;
        close_journal(&self.dir, End::Undone)?;
        delete(tree).map(drop)
    }
}

fn read_journal(tree: &Tree, dir: &OwnedFd, name: &str) -> Result<Journal> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty());
    let mut bytes = Vec::new();
    File::from(file.doing("read", shown(name))?)
        .read_to_end(&mut bytes)
        .doing("read", shown(name))?;
    match Journal::decode(&bytes) {
        Some(journal) => Ok(journal),
        None => JournalSnafu {
            path: tree.private_path.join(NAME).join(name),
        }
        .fail(),
    }
}

/// Renames the journal where there is one, so that the rest may be deleted in any order.
fn close_journal(dir: &OwnedFd, end: End) -> Result<()> {
    let name = match end {
        End::Done => DONE,
        End::Undone => UNDONE,
    };
    match renameat(dir, JOURNAL, dir, name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).doing("end", shown(JOURNAL)),
    }
}

/// Fails where an apply was interrupted, or is running: what the tree holds then is between two states.
pub(crate) fn ensure_none(tree: &Tree) -> Result<()> {
    if is_pending(tree)? {
        let _held = lock(tree)?;
        // The lock was free, and the other process may have ended its transaction just before it let go.
        if is_pending(tree)? {
            return Err(tree.pending());
        }
    }
    Ok(())
}

fn is_pending(tree: &Tree) -> Result<bool> {
    let name = shown(JOURNAL);
    match lstat(&tree.private, name.as_str()) {
        Ok(found) => Ok(found.is_some()),
        Err(error) => Err(error).doing("stat", name),
    }
}

/// One transaction at a time: the lock goes with the process that holds it.
fn lock(tree: &Tree) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = openat(&tree.private, LOCK, flags, Mode::from_raw_mode(0o600));
    let lock = lock.doing("open", LOCK)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => BusySnafu { path: tree.path() }.fail(),
        Err(error) => Err(error).doing("lock", LOCK),
    }
}

/// Deletes the transaction's directory, which has no journal; `false` where there was none.
fn delete(tree: &Tree) -> Result<bool> {
    let top = match open_dir(&tree.private, NAME) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error).doing("open", NAME),
    };
    tree.step("clean up", NAME)?;
    // No recursion and one open directory at a time, however deep the tree is.
    let (mut found, mut is_done) = (vec![Vec::new()], false);
    let mut at = 0;
    while at < found.len() {
        let path = found[at].clone();
        at += 1;
        let name = String::from_utf8_lossy(&path).into_owned();
        let dir = open_dir(&top, &path).doing("open", shown(&name))?;
        for listed in list(dir.as_fd()).doing("list", shown(&name))? {
            let below = [&*path, b"/", &*listed.name].concat();
            if listed.kind == FileType::Directory {
                found.push(below);
                continue;
            }
            if path.is_empty() && listed.name == DONE.as_bytes() {
                // As long as anything is left, it says that this is not of a transaction that came to nothing.
                is_done = true;
                continue;
            }
            tree.step("clean up", shown(&name))?;
            match unlinkat(&dir, &*listed.name, AtFlags::empty()) {
                Err(Errno::ISDIR) => found.push(below),
                outcome => outcome.doing("delete", shown(&name))?,
            }
        }
    }
    for path in found.iter().skip(1).rev() {
        let name = String::from_utf8_lossy(path).into_owned();
        let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let above = open_dir(&top, &path[..cut]).doing("open", shown(&name))?;
        tree.step("clean up", shown(&name))?;
        unlinkat(&above, &path[cut + 1..], AtFlags::REMOVEDIR).doing("delete", shown(&name))?;
    }
    if is_done {
        tree.step("clean up", shown(DONE))?;
        unlinkat(&top, DONE, AtFlags::empty()).doing("delete", shown(DONE))?;
    }
    tree.step("clean up", NAME)?;
    unlinkat(&tree.private, NAME, AtFlags::REMOVEDIR).doing("delete", NAME)?;
    Ok(true)
}
