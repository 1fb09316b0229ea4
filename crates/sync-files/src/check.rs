//! Every expectation of a plan against the tree, before the first change, and the moves that follow from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rustix::fs::{AtFlags, FileType, Mode, chmodat};
use snafu::ensure;
use sync_core::{Entry, TreePath};

use crate::beneath::{Handles, above, is_absence, list, lstat, split};
use crate::error::{Doing, MovedSnafu, Result, SplitSnafu};
use crate::journal::{Move, Seen, Staged};
use crate::plan::Step;
use crate::read::{Found, read_entry};
use crate::staging::Staging;
use crate::stat::{FileStat, Horizon};

/// Compares everything, and returns the moves in the order in which they are to be made:
/// what goes is moved aside, directories that it leaves empty go, then what is wanted moves in.
///
/// # Errors
///
/// [`Error::Moved`](crate::Error::Moved) with every path that is not as expected.
pub(crate) fn check(staging: &mut Staging<'_>, horizon: Horizon) -> Result<Vec<Move>> {
    let root = rustix::fs::fstat(&staging.tree.root).doing("stat", ".")?;
    let mut check = Check {
        steps: &staging.plan.steps,
        vouched: &staging.vouched,
        by_path: HashMap::new(),
        needed: HashSet::new(),
        ways: HashMap::new(),
        live: Handles::new(&staging.tree.root).doing("open", ".")?,
        horizon,
        device: FileStat::of(&root).device,
        found: Verdict::default(),
    };
    check.index();
    for step in 0..check.steps.len() {
        check.step(step)?;
    }
    check.prunes()?;
    let found = check.end();
    ensure!(
        found.moved.is_empty(),
        MovedSnafu {
            paths: Vec::from_iter(found.moved)
        }
    );
    found.moves(staging)
}

struct Check<'s> {
    steps: &'s [Step],
    vouched: &'s HashMap<usize, FileStat>,
    by_path: HashMap<&'s str, usize>,
    /// Directories that are wanted, or have something wanted in them.
    needed: HashSet<&'s str>,
    ways: HashMap<Box<str>, Way>,
    live: Handles,
    horizon: Horizon,
    device: u64,
    found: Verdict,
}

/// What a directory above a step is.
#[derive(Clone)]
enum Way {
    /// A directory of the tree.
    There,
    /// Missing, from this directory down: it moves in with all that is below it.
    Missing(Box<str>),
}

/// What the tree was found to be; steps by their number.
#[derive(Default)]
struct Verdict {
    /// What is not as expected.
    moved: BTreeSet<String>,
    asides: Vec<(usize, Seen)>,
    /// With the mode of each.
    prunes: Vec<(TreePath, u32)>,
    exchanges: Vec<(usize, Seen)>,
    /// What moves in where nothing is, with the steps in it.
    ins: BTreeMap<Box<str>, Vec<usize>>,
}

impl Check<'_> {
    /// What was found; the rest, which only the looking needed, is let go of before the moves are made.
    fn end(self) -> Verdict {
        self.found
    }

    fn index(&mut self) {
        for (at, step) in self.steps.iter().enumerate() {
            let path = step.path.as_str();
            self.by_path.insert(path, at);
            if step.wanted.is_some() {
                self.needed.extend(above(path));
            }
            if matches!(step.wanted, Some(Entry::Directory)) {
                self.needed.insert(path);
            }
        }
    }

    fn step(&mut self, at: usize) -> Result<()> {
        let step = &self.steps[at];
        let path = step.path.as_str();
        let seen = match &step.expected {
            Some(Entry::Directory) => {
                if self.names(path)?.is_none_or(|names| names > 0) {
                    self.moved(path);
                }
                None
            }
            Some(entry) => {
                let seen = self.see(at, entry)?;
                if seen.is_none() {
                    self.moved(path);
                    return Ok(());
                }
                seen
            }
            None => {
                self.ensure_free(step)?;
                None
            }
        };
        let Some(wanted) = &step.wanted else {
            self.found.asides.extend(seen.map(|seen| (at, seen)));
            return Ok(());
        };
        let way = self.way(split(path).0)?;
        let top = match (way, wanted, seen) {
            (Way::Missing(top), _, _) => top,
            (Way::There, Entry::Directory, Some(seen)) => {
                self.found.asides.push((at, seen));
                path.into()
            }
            (Way::There, Entry::Directory, None) => {
                if self.names(path)?.is_some() {
                    // What is in it goes, and it stays.
                    return Ok(());
                }
                path.into()
            }
            (Way::There, _, Some(seen)) => {
                self.found.exchanges.push((at, seen));
                return Ok(());
            }
            (Way::There, _, None) => path.into(),
        };
        self.found.ins.entry(top).or_default().push(at);
        Ok(())
    }

    fn moved(&mut self, path: &str) {
        self.found.moved.insert(path.to_owned());
    }

    /// The file or link of a step in the state in which it is what the step expects, or `None`.
    fn see(&mut self, at: usize, expected: &Entry) -> Result<Option<Seen>> {
        let path = &self.steps[at].path;
        if let Way::Missing(_) = self.way(split(path.as_str()).0)? {
            return Ok(None);
        }
        let (dir, name) = self.live.parent(path.as_str()).doing("open", path)?;
        let Some(mut stat) = lstat(dir, name).doing("stat", path)? else {
            return Ok(None);
        };
        if self.vouched.get(&at) != Some(&stat) {
            match read_entry(dir, name, path, stat).doing("read", path)? {
                Found::Entry {
                    entry, stat: now, ..
                } if entry == *expected => stat = now,
                _ => return Ok(None),
            }
        }
        Ok(Some(Seen {
            stat,
            young: self.horizon.is_young(stat.mtime),
            entry: expected.encode(),
        }))
    }

    /// How many names are in the directory at `path`; `None` where there is no directory.
    fn names(&mut self, path: &str) -> Result<Option<usize>> {
        let listed =
            crate::beneath::open_dir(self.live.dir("").doing("open", ".")?, path).and_then(list);
        match listed {
            Ok(names) => Ok(Some(names.len())),
            Err(error) if is_absence(error) => Ok(None),
            Err(error) => Err(error).doing("list", path),
        }
    }

    /// Nothing may be where a step expects nothing, but for a directory that the plan empties.
    fn ensure_free(&mut self, step: &Step) -> Result<()> {
        let path = step.path.as_str();
        if let Way::Missing(_) = self.way(split(path).0)? {
            return Ok(());
        }
        let Some(stat) = self.live.lstat(path).doing("stat", path)? else {
            return Ok(());
        };
        if stat.kind() != FileType::Directory {
            self.moved(path);
        } else if step.wanted != Some(Entry::Directory) {
            self.ensure_emptied(path)?;
        }
        Ok(())
    }

    /// The plan must remove everything in a directory that makes way for something else.
    fn ensure_emptied(&mut self, top: &str) -> Result<()> {
        let mut dirs = vec![top.to_owned()];
        while let Some(dir) = dirs.pop() {
            let root = self.live.dir("").doing("open", ".")?;
            let opened = crate::beneath::open_dir(root, &dir);
            let listed = match opened.and_then(|fd| list(&fd).map(|names| (fd, names))) {
                Ok(listed) => listed,
                Err(error) if is_absence(error) => continue,
                Err(error) => return Err(error).doing("list", &dir),
            };
            let (fd, names) = listed;
            if names.is_empty() && !self.goes(&dir) {
                self.moved(&dir);
            }
            for listed in names {
                let Ok(name) = str::from_utf8(&listed.name) else {
                    self.moved(&dir);
                    continue;
                };
                let path = format!("{dir}/{name}");
                let is_dir = match listed.kind {
                    FileType::Unknown => lstat(&fd, name)
                        .doing("stat", &path)?
                        .is_some_and(|stat| stat.kind() == FileType::Directory),
                    kind => kind == FileType::Directory,
                };
                if is_dir {
                    dirs.push(path);
                } else if !self.goes(&path) {
                    self.moved(&path);
                }
            }
        }
        Ok(())
    }

    /// Whether the plan removes what is at `path`.
    fn goes(&self, path: &str) -> bool {
        self.by_path
            .get(path)
            .is_some_and(|at| self.steps[*at].wanted.is_none())
    }

    /// What is at the directory `dir`, in which something is expected or wanted.
    ///
    /// Directories tell on which file system they are; files do not on all (overlayfs gives them the device of a layer).
    fn way(&mut self, dir: &str) -> Result<Way> {
        if dir.is_empty() {
            return Ok(Way::There);
        }
        if let Some(way) = self.ways.get(dir) {
            return Ok(way.clone());
        }
        let way = match self.way(split(dir).0)? {
            Way::Missing(top) => Way::Missing(top),
            Way::There => match self.live.lstat(dir).doing("stat", dir)? {
                Some(stat) if stat.kind() == FileType::Directory => {
                    ensure!(stat.device == self.device, SplitSnafu { path: dir });
                    Way::There
                }
                Some(_) if !self.goes(dir) => {
                    self.moved(dir);
                    Way::Missing(dir.into())
                }
                _ => Way::Missing(dir.into()),
            },
        };
        self.ways.insert(dir.into(), way.clone());
        Ok(way)
    }

    /// Directories that what goes may leave empty, innermost first.
    fn prunes(&mut self) -> Result<()> {
        let mut dirs: BTreeSet<&str> = BTreeSet::new();
        for step in self.steps {
            let path = step.path.as_str();
            if step.wanted.is_none() {
                dirs.extend(above(path));
            }
            if matches!(step.expected, Some(Entry::Directory)) {
                dirs.insert(path);
            }
        }
        for dir in dirs.into_iter().rev() {
            if self.needed.contains(dir) {
                continue;
            }
            let stat = self.live.lstat(dir).doing("stat", dir)?;
            let Some(stat) = stat.filter(|stat| stat.kind() == FileType::Directory) else {
                continue;
            };
            if let Ok(path) = TreePath::new(dir) {
                self.found.prunes.push((path, stat.mode & 0o7777));
            }
        }
        Ok(())
    }
}

impl Verdict {
    /// The moves, after staged files got the permissions of those that they replace.
    fn moves(self, staging: &mut Staging<'_>) -> Result<Vec<Move>> {
        for (at, seen) in &self.exchanges {
            staging.keep_mode(*at, seen.stat.mode)?;
        }
        let in_place = match &staging.txn {
            Some(txn) if !self.exchanges.is_empty() => txn.can_exchange(staging.tree),
            _ => true,
        };
        let path_of = |at: usize| staging.plan.steps[at].path.clone();
        let staged_of = |at: usize| {
            staging.staged[at].map(|stat| Staged {
                path: path_of(at),
                stat,
            })
        };
        let (mut asides, mut ins) = (self.asides, self.ins);
        let mut exchanges = Vec::new();
        for (at, seen) in self.exchanges {
            if !in_place {
                asides.push((at, seen));
                ins.entry(path_of(at).as_str().into()).or_default().push(at);
            } else if let Some(Staged { path, stat }) = staged_of(at) {
                exchanges.push(Move::Exchange {
                    path,
                    seen,
                    staged: stat,
                });
            }
        }
        let asides = asides
            .into_iter()
            .zip(0..)
            .map(|((at, seen), slot)| Move::Aside {
                path: path_of(at),
                seen,
                slot,
            });
        let prunes = self
            .prunes
            .into_iter()
            .map(|(path, mode)| Move::Prune { path, mode });
        let ins = ins.into_iter().filter_map(|(top, steps)| {
            let is_step = steps.len() == 1 && *path_of(steps[0]).as_str() == *top;
            let wanted = &staging.plan.steps[steps[0]].wanted;
            // Of a first pull this is every file: its memory is asked for once.
            let mut staged = Vec::with_capacity(steps.len());
            staged.extend(steps.iter().filter_map(|at| staged_of(*at)));
            Some(Move::In {
                path: TreePath::new(top).ok()?,
                staged,
                directory: !is_step || matches!(wanted, Some(Entry::Directory)),
            })
        });
        Ok(asides.chain(prunes).chain(exchanges).chain(ins).collect())
    }
}

impl Staging<'_> {
    /// Gives a staged file the permissions of the one that it replaces, but for those that the plan changes.
    fn keep_mode(&mut self, at: usize, live: u32) -> Result<()> {
        let step = &self.plan.steps[at];
        let (Some(Entry::File { executable, .. }), Some(Entry::File { .. }), Some(staged)) =
            (&step.wanted, &step.expected, self.staged[at])
        else {
            return Ok(());
        };
        let kept = live & 0o777;
        let was_executable = kept & 0o100 != 0;
        let mode = match (was_executable, *executable) {
            (true, false) => kept & !0o111,
            // Whoever may read it may run it.
            (false, true) => kept | 0o100 | ((kept & 0o444) >> 2),
            _ => kept,
        };
        if staged.mode & 0o777 == mode {
            return Ok(());
        }
        let path = step.path.clone();
        self.tree.step("set the permissions of", &path)?;
        let (dir, name) = self.new.parent(path.as_str()).doing("open", &path)?;
        chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())
            .doing("set the permissions of", &path)?;
        self.staged[at] = lstat(dir, name).doing("stat", &path)?;
        Ok(())
    }
}
