//! The moves of a transaction, taken back.
//!
//! Every step looks at what is there and does what is left to do, so that it can be interrupted and begun again.
//! What somebody edited after it moved in is not taken back: it stays, and what was there before is set aside.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, chmodat, mkdirat, unlinkat};
use rustix::io::Errno;
use sync_core::TreePath;

use crate::beneath::{above, is_absence, list, lstat, open_dir};
use crate::commit::{Mover, live_parent, rename_new};
use crate::error::{Doing, Result};
use crate::journal::{Journal, Move, Staged};
use crate::recover::Kept;
use crate::stat::FileStat;

const RESCUED: &str = "rescued";

impl Mover<'_> {
    /// Decides that the transaction is undone, and takes every move back.
    pub(crate) fn take_back(&mut self, journal: &Journal) -> Result<Vec<Kept>> {
        self.txn.set_undoing(self.tree)?;
        self.live.forget();
        self.new.forget();
        let mut kept = Vec::new();
        for (number, one) in journal.moves.iter().enumerate().rev() {
            match one {
                Move::Aside { path, slot, .. } => self.put_back(path, *slot, &mut kept)?,
                Move::Prune { path, mode } => self.make_again(path, *mode)?,
                Move::Exchange { path, staged, .. } => {
                    self.exchange_back(path, staged, &mut kept)?;
                }
                Move::In {
                    path,
                    staged,
                    directory: false,
                } => {
                    if let Some(staged) = staged.first() {
                        self.take_out(path, &staged.stat, &mut kept)?;
                    }
                }
                Move::In { path, staged, .. } => {
                    self.take_out_directory(number, path, staged, &mut kept)?;
                }
            }
        }
        for kept in &kept {
            tracing::warn!(path = %kept.path, aside = ?kept.aside, "an edit was kept");
        }
        Ok(kept)
    }

    /// What was moved aside goes back to its place, if that is free.
    fn put_back(&mut self, path: &TreePath, slot: u32, kept: &mut Vec<Kept>) -> Result<()> {
        let slot = slot.to_string();
        let old = &self.txn.old;
        if lstat(old, &*slot).doing("stat", &slot)?.is_none() {
            return Ok(());
        }
        self.tree.step("put back", path)?;
        let back = match self.live.parent(path.as_str()) {
            Ok((dir, name)) => rename_new(self.tree, old.as_fd(), &slot, dir, name, false),
            Err(error) => Err(error),
        };
        match back {
            Ok(()) => Ok(()),
            Err(error) if is_absence(error) || error == Errno::EXIST => {
                let aside = self.rescue(self.txn.old.as_fd(), &slot, path)?;
                kept.push(Kept::aside(path, aside));
                Ok(())
            }
            Err(error) => Err(error).doing("put back", path),
        }
    }

    fn make_again(&mut self, path: &TreePath, mode: u32) -> Result<()> {
        self.tree.step("make again", path)?;
        let (dir, name) = match self.live.parent(path.as_str()) {
            Ok(parent) => parent,
            Err(error) if is_absence(error) => return Ok(()),
            Err(error) => return Err(error).doing("open", path),
        };
        match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                let mode = Mode::from_raw_mode(mode);
                chmodat(dir, name, mode, AtFlags::empty()).doing("make again", path)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error).doing("make again", path),
        }
    }

    fn exchange_back(
        &mut self,
        path: &TreePath,
        staged: &FileStat,
        kept: &mut Vec<Kept>,
    ) -> Result<()> {
        // Once back, once more if it was edited in the instant between look and exchange.
        for _ in 0..2 {
            let Some(aside) = self.staged_at(path)? else {
                return Ok(());
            };
            if aside.inode == staged.inode {
                if aside.same_but_renamed(staged) {
                    return Ok(());
                }
                // An edit came out with it.
                self.tree.step("exchange back", path)?;
                self.swap(path)?;
                break;
            }
            let live = self.live.lstat(path.as_str()).doing("stat", path)?;
            if !live.is_some_and(|live| live.same_but_renamed(staged)) {
                break;
            }
            self.tree.step("exchange back", path)?;
            self.swap(path)?;
        }
        let (dir, name) = self.new.parent(path.as_str()).doing("open", path)?;
        if lstat(dir, name).doing("stat", path)?.is_some() {
            let dir = open_dir(dir, "").doing("open", path)?;
            let aside = self.rescue(dir.as_fd(), name, path)?;
            kept.push(Kept::aside(path, aside));
        }
        Ok(())
    }

    fn take_out(&mut self, path: &TreePath, staged: &FileStat, kept: &mut Vec<Kept>) -> Result<()> {
        if self.staged_at(path)?.is_none() {
            let live = self.live.lstat(path.as_str()).doing("stat", path)?;
            if !live.is_some_and(|live| live.same_but_renamed(staged)) {
                kept.push(Kept::in_place(path));
                return Ok(());
            }
            self.tree.step("take out", path)?;
            let (to, name) = self.new.parent(path.as_str()).doing("open", path)?;
            let (from, _) = live_parent(&mut self.live, path)?;
            rename_new(self.tree, from, name, to, name, false).doing("take out", path)?;
        }
        let out = self.staged_at(path)?;
        if out.is_some_and(|out| !out.same_but_renamed(staged)) {
            let (from, name) = self.new.parent(path.as_str()).doing("open", path)?;
            let from = open_dir(from, "").doing("open", path)?;
            self.give_back(from.as_fd(), name, path, kept)?;
        }
        Ok(())
    }

    /// An edit that was taken out with the file goes back in, or aside where its place is taken.
    fn give_back(
        &mut self,
        from: BorrowedFd<'_>,
        name: &str,
        path: &TreePath,
        kept: &mut Vec<Kept>,
    ) -> Result<()> {
        self.tree.step("give back", path)?;
        let back = match self.live.parent(path.as_str()) {
            Ok((dir, live)) => rename_new(self.tree, from, name, dir, live, false),
            Err(error) => Err(error),
        };
        match back {
            Ok(()) => kept.push(Kept::in_place(path)),
            Err(error) if is_absence(error) || error == Errno::EXIST => {
                let aside = self.rescue(from, name, path)?;
                kept.push(Kept::aside(path, aside));
            }
            Err(error) => return Err(error).doing("give back", path),
        }
        Ok(())
    }

    /// A directory that moved in goes out as it came where nobody touched it; else file by file.
    fn take_out_directory(
        &mut self,
        number: usize,
        top: &TreePath,
        staged: &[Staged],
        kept: &mut Vec<Kept>,
    ) -> Result<()> {
        if self.staged_at(top)?.is_none() && self.is_ours(false, top, staged)? {
            self.tree.step("take out", top)?;
            let (to, name) = self.new.parent(top.as_str()).doing("open", top)?;
            let (from, _) = live_parent(&mut self.live, top)?;
            rename_new(self.tree, from, name, to, name, true).doing("take out", top)?;
            self.live.forget();
            self.new.forget();
        }
        if self.staged_at(top)?.is_some() {
            if self.is_ours(true, top, staged)? {
                return Ok(());
            }
            // Something was put there in the last instant: all of it goes back, and then out file by file.
            self.tree.step("give back", top)?;
            let (from, name) = self.new.parent(top.as_str()).doing("open", top)?;
            let (to, _) = live_parent(&mut self.live, top)?;
            rename_new(self.tree, from, name, to, name, true).doing("give back", top)?;
            self.live.forget();
            self.new.forget();
        }
        for (at, staged) in staged.iter().enumerate() {
            self.take_out_one(&format!("{number}-{at}"), staged, kept)?;
        }
        let mut dirs: BTreeSet<&str> = staged
            .iter()
            .flat_map(|staged| above(staged.path.as_str()))
            .filter(|dir| dir.len() >= top.as_str().len())
            .collect();
        dirs.insert(top.as_str());
        for dir in dirs.into_iter().rev() {
            self.tree.step("take out", dir)?;
            if let Ok((parent, name)) = self.live.parent(dir) {
                // Where somebody put something in, it stays.
                let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
            }
        }
        self.live.forget();
        Ok(())
    }

    fn take_out_one(&mut self, slot: &str, staged: &Staged, kept: &mut Vec<Kept>) -> Result<()> {
        let path = &staged.path;
        let out = lstat(&self.txn.undone, slot).doing("stat", slot)?;
        if out.is_none() {
            let live = self.live.lstat(path.as_str()).doing("stat", path)?;
            if !live.is_some_and(|live| live.same_but_renamed(&staged.stat)) {
                kept.push(Kept::in_place(path));
                return Ok(());
            }
            self.tree.step("take out", path)?;
            let (from, name) = live_parent(&mut self.live, path)?;
            let to = self.txn.undone.as_fd();
            rename_new(self.tree, from, name, to, slot, false).doing("take out", path)?;
        }
        let out = lstat(&self.txn.undone, slot).doing("stat", slot)?;
        if out.is_some_and(|out| !out.same_but_renamed(&staged.stat)) {
            return self.give_back(self.txn.undone.as_fd(), slot, path, kept);
        }
        Ok(())
    }

    /// Whether a directory, staged or live, holds exactly what was staged.
    fn is_ours(&mut self, in_new: bool, top: &TreePath, staged: &[Staged]) -> Result<bool> {
        let known: HashMap<&str, &FileStat> = staged
            .iter()
            .map(|staged| (staged.path.as_str(), &staged.stat))
            .collect();
        let handles = if in_new {
            &mut self.new
        } else {
            &mut self.live
        };
        let root = handles.dir("").doing("open", top)?;
        let mut found = 0;
        let mut dirs = vec![top.to_string()];
        while let Some(dir) = dirs.pop() {
            let opened = open_dir(root, &dir).and_then(|fd| list(&fd).map(|names| (fd, names)));
            let (fd, names) = match opened {
                Ok(listed) => listed,
                Err(error) if is_absence(error) => return Ok(false),
                Err(error) => return Err(error).doing("list", &dir),
            };
            for listed in names {
                let Ok(name) = str::from_utf8(&listed.name) else {
                    return Ok(false);
                };
                let path = format!("{dir}/{name}");
                let Some(stat) = lstat(&fd, name).doing("stat", &path)? else {
                    return Ok(false);
                };
                if stat.kind() == FileType::Directory {
                    dirs.push(path);
                } else if known.get(&*path).is_some_and(|s| s.same_but_renamed(&stat)) {
                    found += 1;
                } else {
                    return Ok(false);
                }
            }
        }
        Ok(found == known.len())
    }

    /// Moves what has no place any more to `rescued/`, where nothing is ever deleted.
    fn rescue(&self, from: BorrowedFd<'_>, name: &str, path: &TreePath) -> Result<PathBuf> {
        self.tree.step("rescue", path)?;
        match mkdirat(&self.tree.private, RESCUED, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing("create", RESCUED),
        }
        let to = open_dir(&self.tree.private, RESCUED).doing("open", RESCUED)?;
        let shown: String = path.name().chars().take(50).collect();
        for number in 0..u32::MAX {
            let new_name = format!("{number}-{shown}");
            match rename_new(self.tree, from, name, to.as_fd(), &new_name, false) {
                Ok(()) => return Ok(self.tree.private_path.join(RESCUED).join(new_name)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error).doing("rescue", path),
            }
        }
        Err(Errno::EXIST).doing("rescue", path)
    }
}

impl Kept {
    fn in_place(path: &TreePath) -> Self {
        Self {
            path: path.clone(),
            aside: None,
        }
    }

    fn aside(path: &TreePath, aside: PathBuf) -> Self {
        Self {
            path: path.clone(),
            aside: Some(aside),
        }
    }
}
