//! The moves of a transaction, forward.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;
use sync_core::{Entry, TreePath};

use crate::beneath::{Handles, is_absence, lstat};
use crate::cache::{Left, StatCache};
use crate::check::check;
use crate::error::{Doing, Error, MovedSnafu, Result};
use crate::journal::{Journal, Move, Seen};
use crate::plan::Step;
use crate::read::{Found, read_entry};
use crate::staging::Staging;
use crate::stat::{FileStat, Horizon};
use crate::tree::Tree;
use crate::txn::{End, Txn};

/// What happens during a commit; the numbers are to be added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyEvent {
    /// The commit record is written; so many moves follow.
    Recorded {
        /// How many.
        moves: u64,
    },
    /// One of them was made.
    Moved,
}

/// What an apply did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Files, links and empty directories that were made or replaced.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files, links and empty directories that were removed.
    pub removed: u64,
    /// What was applied.
    pub steps: Vec<Step>,
    /// By step: the stat that vouches for what is there now.
    stats: Vec<Option<FileStat>>,
    gone: Vec<TreePath>,
}

impl Applied {
    /// Brings a cache up to date, so that the next capture reads nothing of what was written.
    /// Afterwards the caller sets the root that the entries now make.
    pub fn refresh(&self, cache: &mut StatCache) -> Result<()> {
        cache.set_root(None);
        let stats = self.stats.iter().map(Option::as_ref);
        let left = self.steps.iter().zip(stats).map(|(step, stat)| Left {
            path: &step.path,
            entry: step.wanted.as_ref(),
            stat,
        });
        cache.refresh(left, &self.gone)
    }
}

impl Staging<'_> {
    /// Applies the plan: compares everything with what it expects, writes the commit record, and moves everything in.
    ///
    /// # Errors
    ///
    /// After any error but [`Error::Stuck`] the tree is as it was.
    /// [`Error::Moved`] where something is not as the plan expects, be it before or in the middle: nobody's edit is overwritten.
    /// [`Error::Incomplete`] where a chunk was never given. [`Error::Stuck`] where a failed apply could not be taken back:
    /// [`Tree::recover`] goes on with that.
    pub fn commit(mut self, progress: &dyn Fn(ApplyEvent)) -> Result<Applied> {
        self.ensure_complete()?;
        self.end_writing();
        self.tree.still_there()?;
        let horizon = self.tree.horizon();
        let moves = check(&mut self, horizon)?;
        let journal = Journal {
            note: std::mem::take(&mut self.plan.note),
            moves,
        };
        self.staged = Vec::new();
        if let Some(txn) = &self.txn {
            self.tree.step("sync", "txn/new")?;
            txn.sync()?;
            txn.record(self.tree, &journal)?;
        }
        let Some(txn) = self.txn.take() else {
            return Ok(Applied::default());
        };
        progress(ApplyEvent::Recorded {
            moves: journal.moves.len() as u64,
        });
        let mut hand = Mover::new(self.tree, &txn)?;
        let outcome = journal.moves.iter().try_for_each(|one| {
            hand.forward(one)?;
            progress(ApplyEvent::Moved);
            Ok(())
        });
        let Err(first) = outcome.and_then(|()| txn.end(self.tree, End::Done)) else {
            return Ok(self.applied(journal, hand, horizon));
        };
        let undone = hand.take_back(&journal);
        Err(match undone.and_then(|_| txn.end(self.tree, End::Undone)) {
            Ok(()) => first,
            Err(second) => stuck(&first, second),
        })
    }

    /// Sums up what was done.
    fn applied(mut self, journal: Journal, hand: Mover<'_>, horizon: Horizon) -> Applied {
        // The stat that vouches for what moved in: a rename gives a single file a new ctime, but not those in a directory.
        let mut vouching: Vec<(TreePath, FileStat)> = Vec::new();
        for one in journal.moves {
            if let Move::In {
                staged,
                directory: true,
                ..
            } = one
            {
                let settled = staged.into_iter();
                let settled = settled.filter(|staged| horizon.settled(&staged.stat));
                vouching.extend(settled.map(|staged| (staged.path, staged.stat)));
            }
        }
        // An edit after the rename has a younger mtime than anything that was staged before the commit began.
        let arrived = hand.arrived.into_iter();
        vouching.extend(arrived.filter(|(_, stat)| !horizon.is_young(stat.mtime)));
        vouching.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut vouching = vouching.into_iter().peekable();
        // Steps are in the order of paths, too.
        let stat_of = |step: &Step| {
            while vouching.next_if(|(path, _)| *path < step.path).is_some() {}
            let found = vouching.next_if(|(path, _)| *path == step.path);
            found.map(|(_, stat)| stat)
        };
        let steps = std::mem::take(&mut self.plan.steps);
        let stats = steps.iter().map(stat_of).collect();
        let wanted = || steps.iter().filter_map(|step| step.wanted.as_ref());
        let written = wanted().count();
        Applied {
            written: written as u64,
            bytes: wanted().map(Entry::size).sum(),
            removed: (steps.len() - written) as u64,
            stats,
            steps,
            gone: hand.gone,
        }
    }
}

/// The errors of a failed apply and of the failed attempt to take it back.
pub(crate) fn stuck(first: &Error, second: Error) -> Error {
    let mut text = first.to_string();
    let mut cause = std::error::Error::source(first);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    Error::Stuck {
        first: text,
        source: Box::new(second),
    }
}

/// Makes moves and takes them back.
pub(crate) struct Mover<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) txn: &'t Txn,
    pub(crate) live: Handles,
    pub(crate) new: Handles,
    /// Files and links that moved in by themselves, with the stat that they have there.
    arrived: Vec<(TreePath, FileStat)>,
    /// Directories that are gone.
    gone: Vec<TreePath>,
}

impl<'t> Mover<'t> {
    pub(crate) fn new(tree: &'t Tree, txn: &'t Txn) -> Result<Self> {
        Ok(Self {
            tree,
            txn,
            live: Handles::new(&tree.root).doing("open", tree.path().display())?,
            new: Handles::new(&txn.new).doing("open", "txn/new")?,
            arrived: Vec::new(),
            gone: Vec::new(),
        })
    }

    /// Makes a move if it was not made, and checks what came out of the tree by it.
    ///
    /// # Errors
    ///
    /// [`Error::Moved`] where the tree is not as the plan saw it.
    pub(crate) fn forward(&mut self, one: &Move) -> Result<()> {
        match one {
            Move::Aside { path, seen, slot } => self.aside(path, seen, *slot),
            Move::Prune { path, .. } => self.prune(path),
            Move::Exchange { path, seen, staged } => self.exchange(path, seen, staged),
            Move::In {
                path,
                staged,
                directory,
            } => self.move_in(path, staged.first().map(|s| &s.stat), *directory),
        }
    }

    fn aside(&mut self, path: &TreePath, seen: &Seen, slot: u32) -> Result<()> {
        let slot = slot.to_string();
        if lstat(&self.txn.old, &*slot).doing("stat", &slot)?.is_none() {
            self.ensure_seen(path, seen)?;
            self.tree.step("move aside", path)?;
            let (dir, name) = live_parent(&mut self.live, path)?;
            on_live(
                renameat(dir, name, &self.txn.old, &*slot),
                "move aside",
                path,
            )?;
        }
        ensure_same(self.txn.old.as_fd(), &slot, seen, path, true)
    }

    fn prune(&mut self, path: &TreePath) -> Result<()> {
        self.tree.step("remove the directory", path)?;
        let removed = match self.live.parent(path.as_str()) {
            Ok((dir, name)) => unlinkat(dir, name, AtFlags::REMOVEDIR),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => {
                self.gone.push(path.clone());
                self.live.forget();
                Ok(())
            }
            // It holds something that is not part of the tree, or that somebody just put there, or is a mount: it stays.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY | Errno::NOTDIR | Errno::LOOP) => {
                Ok(())
            }
            Err(error) => Err(error).doing("remove the directory", path),
        }
    }

    fn exchange(&mut self, path: &TreePath, seen: &Seen, staged: &FileStat) -> Result<()> {
        if self
            .staged_at(path)?
            .is_some_and(|stat| stat.inode == staged.inode)
        {
            self.ensure_seen(path, seen)?;
            self.tree.step("exchange", path)?;
            self.swap(path)?;
        }
        let (dir, name) = self.new.parent(path.as_str()).doing("open", path)?;
        ensure_same(dir, name, seen, path, true)?;
        self.arrive(path, staged)
    }

    /// Exchanges the live and the staged file.
    pub(crate) fn swap(&mut self, path: &TreePath) -> Result<()> {
        let (from, name) = self.new.parent(path.as_str()).doing("open", path)?;
        let (to, _) = live_parent(&mut self.live, path)?;
        on_live(
            renameat_with(from, name, to, name, RenameFlags::EXCHANGE),
            "exchange",
            path,
        )
    }

    fn move_in(
        &mut self,
        path: &TreePath,
        staged: Option<&FileStat>,
        directory: bool,
    ) -> Result<()> {
        if self.staged_at(path)?.is_some() {
            self.tree.step("move in", path)?;
            let (from, name) = self.new.parent(path.as_str()).doing("open", path)?;
            let (to, _) = live_parent(&mut self.live, path)?;
            let moved = rename_new(self.tree, from, name, to, name, directory);
            on_live(moved, "move in", path)?;
        }
        match staged {
            Some(staged) if !directory => self.arrive(path, staged),
            _ => Ok(()),
        }
    }

    /// Notes the stat of what moved in, unless somebody has touched it already.
    fn arrive(&mut self, path: &TreePath, staged: &FileStat) -> Result<()> {
        let now = self.live.lstat(path.as_str()).doing("stat", path)?;
        let ours = now.filter(|now| now.same_but_renamed(staged));
        self.arrived.extend(ours.map(|stat| (path.clone(), stat)));
        Ok(())
    }

    /// What is at `new/<path>`.
    pub(crate) fn staged_at(&mut self, path: &TreePath) -> Result<Option<FileStat>> {
        self.new.lstat(path.as_str()).doing("stat", path)
    }

    /// A first look, so that an edit is not even moved about.
    fn ensure_seen(&mut self, path: &TreePath, seen: &Seen) -> Result<()> {
        let (dir, name) = live_parent(&mut self.live, path)?;
        ensure_same(dir, name, seen, path, false)
    }
}

/// The directory that holds `path` in the tree; gone, or no longer a directory, is an edit.
pub(crate) fn live_parent<'h, 'p>(
    live: &'h mut Handles,
    path: &'p TreePath,
) -> Result<(BorrowedFd<'h>, &'p str)> {
    match live.parent(path.as_str()) {
        Ok(parent) => Ok(parent),
        Err(error) if is_absence(error) => moved(path),
        Err(error) => Err(error).doing("open", path),
    }
}

/// Somebody's edit, by what a rename in the tree answers.
fn on_live(outcome: Result<(), Errno>, doing: &'static str, path: &TreePath) -> Result<()> {
    match outcome {
        Err(error) if is_absence(error) => moved(path),
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR) => moved(path),
        outcome => outcome.doing(doing, path),
    }
}

fn moved<T>(path: &TreePath) -> Result<T> {
    MovedSnafu {
        paths: [path.to_string()],
    }
    .fail()
}

/// Compares what is at `name` with what the plan saw. Where the stat does not vouch for it, it is read and compared:
/// a file that was only touched is no edit, and some file systems give a file another inode when it is first renamed.
/// One that was `young` is read in any case if it can no longer be edited at its path, which is when the answer counts.
fn ensure_same(
    dir: BorrowedFd<'_>,
    name: &str,
    seen: &Seen,
    path: &TreePath,
    is_out: bool,
) -> Result<()> {
    let Some(stat) = lstat(dir, name).doing("stat", path)? else {
        return moved(path);
    };
    if stat.same_but_renamed(&seen.stat) && !(seen.young && is_out) {
        return Ok(());
    }
    match read_entry(dir, name, path, stat).doing("read", path)? {
        Found::Entry { entry, .. } if entry.encode() == seen.entry => Ok(()),
        _ => moved(path),
    }
}

/// Renames to a name that must be free.
pub(crate) fn rename_new(
    tree: &Tree,
    from: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    new_name: &str,
    directory: bool,
) -> Result<(), Errno> {
    let asked = tree.faults.at("rename without replacing");
    let renamed = match asked {
        Ok(()) => renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    };
    match renamed {
        // Not every file system can. A directory never replaces anything but an empty one; a file is linked, then unlinked.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if directory => {
            renameat(from, name, to, new_name)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(from, name, to, new_name, AtFlags::empty())
                .or_else(|error| already_linked(error, from, name, to, new_name))?;
            unlinkat(from, name, AtFlags::empty())
        }
        outcome => outcome,
    }
}

/// A crash between link and unlink leaves both names of one file.
fn already_linked(
    error: Errno,
    from: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    new_name: &str,
) -> Result<(), Errno> {
    let same = match (lstat(from, name)?, lstat(to, new_name)?) {
        (Some(a), Some(b)) => (a.device, a.inode) == (b.device, b.inode),
        _ => false,
    };
    if error == Errno::EXIST && same {
        Ok(())
    } else {
        Err(error)
    }
}
