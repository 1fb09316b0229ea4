//! The wanted files, written aside chunk by chunk before anything in the tree is touched.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use snafu::{OptionExt, ensure};
use sync_core::{Digest, Entry};

use crate::beneath::{Handles, above, is_absence, lstat};
use crate::cache::{Lookup, StatCache};
use crate::error::{CorruptSnafu, Doing, Error, PlanSnafu, Result, SplitSnafu};
use crate::plan::{Plan, Step};
use crate::read::{each_chunk, open_file};
use crate::stat::FileStat;
use crate::tree::Tree;
use crate::txn::Txn;

/// A plan whose wanted files are being written below the private directory.
///
/// Chunks come through [`Staging::put`] in any order; [`Staging::commit`](crate::Staging::commit) does the rest.
/// Dropping it deletes what was staged; the tree is as it was.
#[derive(Debug)]
pub struct Staging<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) plan: Plan,
    /// Taken out when the commit record is written.
    pub(crate) txn: Option<Txn>,
    /// By step: the stat that vouches for what is expected, where the cache has one.
    pub(crate) vouched: HashMap<usize, FileStat>,
    /// By step: the stat of the staged file or link, once it is complete.
    pub(crate) staged: Vec<Option<FileStat>>,
    /// By step: how many chunks are missing.
    missing: Vec<u32>,
    /// Each missing chunk, and the first place where it goes.
    first: HashMap<Digest, u32>,
    spots: Vec<Spot>,
    pub(crate) new: Handles,
    /// The directories of the threads that write.
    hands: Vec<Handles>,
}

/// A place where a chunk goes.
#[derive(Debug, Clone, Copy)]
struct Spot {
    step: u32,
    offset: u64,
    len: u64,
    /// The next place of the same chunk, or [`NONE`].
    next: u32,
}

const NONE: u32 = u32::MAX;
/// Fewer files than this are not worth a thread of their own.
const FEW: usize = 8;

impl Tree {
    /// Begins to apply a plan: makes the directories, links and empty files of it aside, and waits for chunks.
    ///
    /// `cache` vouches for files that need not be read to be compared with what the plan expects.
    ///
    /// # Errors
    ///
    /// [`Error::Plan`] where the plan contradicts itself or names what no tree may hold, [`Error::Pending`] where an earlier
    /// apply waits for [`Tree::recover`], [`Error::Busy`] where another process applies a plan,
    /// [`Error::Split`] where the tree and the private directory are on two file systems. The tree is untouched.
    pub fn stage(&self, plan: Plan, cache: &StatCache) -> Result<Staging<'_>> {
        self.still_there()?;
        let plan = plan.checked()?;
        let device = |fd| fstat(fd).map(|stat| stat.st_dev).doing("stat", ".");
        ensure!(
            device(&self.root)? == device(&self.private)?,
            SplitSnafu {
                path: self.path().display().to_string()
            }
        );
        let mut lookup = Lookup::new(cache)?;
        let mut vouched = HashMap::new();
        for (at, step) in plan.steps.iter().enumerate() {
            if let Some(entry) = &step.expected
                && let Some(stat) = lookup.vouched(step.path.as_str(), entry)?
            {
                vouched.insert(at, stat);
            }
        }
        let txn = Txn::begin(self)?;
        let mut staging = Staging {
            tree: self,
            new: Handles::new(&txn.new).doing("open", "txn/new")?,
            txn: Some(txn),
            vouched,
            staged: vec![None; plan.steps.len()],
            missing: vec![0; plan.steps.len()],
            first: HashMap::new(),
            spots: Vec::new(),
            plan,
            hands: Vec::new(),
        };
        staging.index()?;
        staging.scaffold()?;
        Ok(staging)
    }
}

impl Staging<'_> {
    /// The chunks that are still missing, in no order.
    pub fn wanted(&self) -> impl Iterator<Item = Digest> + '_ {
        self.first.keys().copied()
    }

    /// Whether a chunk is still missing.
    pub fn wants(&self, digest: &Digest) -> bool {
        self.first.contains_key(digest)
    }

    /// Writes a chunk to every place that needs it. One that no place needs, or needs any more, is ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the bytes are not what the digest names: nothing was written, and the chunk is still missing.
    /// [`Error::Io`] where it could not be written: drop the staging.
    pub fn put(&mut self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if !self.wants(digest) {
            return Ok(());
        }
        ensure!(
            Digest::of(bytes) == *digest,
            CorruptSnafu { digest: *digest }
        );
        self.place(&[(*digest, bytes)])
    }

    /// Writes every one of these chunks to every place that needs it, on several threads, and returns how many there were
    /// that a place needed. Each is known by its digest, so nothing can be claimed of it; others are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the plan says another length of a chunk, [`Error::Io`] where one could not be written:
    /// drop the staging.
    pub fn put_all(&mut self, chunks: &[&[u8]]) -> Result<usize> {
        let digests: Vec<Digest> = chunks.par_iter().map(|bytes| Digest::of(bytes)).collect();
        let known = digests.into_iter().zip(chunks.iter().copied());
        let wanted: Vec<_> = known.filter(|(digest, _)| self.wants(digest)).collect();
        self.place(&wanted)?;
        Ok(wanted.len())
    }

    /// Takes chunks that are still missing from the files that the plan replaces or removes, each verified.
    /// What these files do not have, or no longer have, stays missing.
    pub fn fill_from_tree(&mut self) -> Result<()> {
        let mut live = Handles::new(&self.tree.root).doing("open", self.tree.path().display())?;
        for at in 0..self.plan.steps.len() {
            if self.first.is_empty() {
                break;
            }
            let Some(Entry::File { content, .. }) = &self.plan.steps[at].expected else {
                continue;
            };
            let named = |digest| self.first.contains_key(digest);
            if content.depth == 0 && !content.chunks.iter().any(|c| named(&c.digest)) {
                continue;
            }
            let size = self.plan.steps[at].expected.as_ref().map_or(0, Entry::size);
            let path = self.plan.steps[at].path.clone();
            let opened = live.parent(path.as_str());
            let file = match opened.and_then(|(dir, name)| open_file(dir, name)) {
                Ok(file) => file,
                Err(error) if is_absence(error) => continue,
                Err(error) => return Err(error).doing("read", &path),
            };
            // Cutting the file again gives the chunks that its lists name, without the lists.
            let mut outcome = Ok(());
            each_chunk(&file, size, |bytes| {
                let digest = Digest::of(bytes);
                if outcome.is_ok() && self.wants(&digest) {
                    outcome = self.place(&[(digest, bytes)]);
                }
            })
            .doing("read", &path)?;
            outcome?;
        }
        Ok(())
    }

    /// Notes where each chunk goes.
    fn index(&mut self) -> Result<()> {
        for (at, step) in self.plan.steps.iter().enumerate() {
            let number = u32::try_from(at).ok().filter(|number| *number != NONE);
            let number = number.context(PlanSnafu {
                path: step.path.as_str(),
                reason: "the plan has too many steps",
            })?;
            let mut offset = 0;
            for chunk in step.data() {
                let here = u32::try_from(self.spots.len()).unwrap_or(NONE);
                ensure!(
                    here != NONE,
                    PlanSnafu {
                        path: step.path.as_str(),
                        reason: "the plan has too many chunks",
                    }
                );
                let next = self.first.insert(chunk.digest, here).unwrap_or(NONE);
                ensure!(
                    next == NONE || self.spots[next as usize].len == chunk.len,
                    PlanSnafu {
                        path: step.path.as_str(),
                        reason: "one chunk has two lengths",
                    }
                );
                self.spots.push(Spot {
                    step: number,
                    offset,
                    len: chunk.len,
                    next,
                });
                offset += chunk.len;
            }
            self.missing[at] = u32::try_from(step.data().len()).unwrap_or(NONE);
        }
        Ok(())
    }

    /// Makes everything that needs no chunk.
    fn scaffold(&mut self) -> Result<()> {
        let mut made: HashSet<Box<str>> = HashSet::new();
        for at in 0..self.plan.steps.len() {
            let Step { path, wanted, .. } = &self.plan.steps[at];
            let Some(wanted) = wanted else { continue };
            let path = path.clone();
            let mut dirs: Vec<&str> = above(path.as_str())
                .take_while(|dir| !made.contains(*dir))
                .collect();
            if matches!(wanted, Entry::Directory) {
                dirs.insert(0, path.as_str());
            }
            for dir in dirs.into_iter().rev() {
                self.tree.step("stage", dir)?;
                let (parent, name) = self.new.parent(dir).doing("open", dir)?;
                mkdirat(parent, name, Mode::from_raw_mode(0o777)).doing("stage", dir)?;
                made.insert(dir.into());
            }
            match wanted {
                Entry::Link { target } => {
                    let target = target.clone();
                    self.tree.step("stage", &path)?;
                    let (dir, name) = self.new.parent(path.as_str()).doing("open", &path)?;
                    symlinkat(target.as_str(), dir, name).doing("stage", &path)?;
                    self.staged[at] = lstat(dir, name).doing("stat", &path)?;
                }
                Entry::File { .. } if self.missing[at] == 0 => {
                    let file = create(self.tree, &mut self.new, &self.plan.steps[at])?;
                    self.staged[at] = Some(stat_of(&file, &path)?);
                }
                Entry::File { .. } | Entry::Directory => {}
            }
        }
        Ok(())
    }

    /// Writes chunks whose bytes are what their digests name.
    fn place(&mut self, chunks: &[(Digest, &[u8])]) -> Result<()> {
        let mut parts = Vec::with_capacity(chunks.len());
        for (digest, bytes) in chunks {
            // A chunk that comes twice is needed once.
            let Some(first) = self.first.remove(digest) else {
                continue;
            };
            let right = self.spots[first as usize].len == bytes.len() as u64;
            ensure!(right, CorruptSnafu { digest: *digest });
            let mut at = first;
            while at != NONE {
                let Spot {
                    step, offset, next, ..
                } = self.spots[at as usize];
                parts.push(Part {
                    step: step as usize,
                    offset,
                    bytes,
                });
                at = next;
            }
        }
        parts.sort_unstable_by_key(|part| (part.step, part.offset));
        let files: Vec<&[Part<'_>]> = parts.chunk_by(|a, b| a.step == b.step).collect();
        // Neighbours are in one directory, which two threads would only make each other wait for.
        let share = files.len().div_ceil(rayon::current_num_threads()).max(FEW);
        let Some(txn) = &self.txn else { return Ok(()) };
        while self.hands.len() < files.len().div_ceil(share) {
            self.hands
                .push(Handles::new(&txn.new).doing("open", "txn/new")?);
        }
        let (tree, steps) = (self.tree, &self.plan.steps);
        let written: Vec<Vec<FileStat>> = files
            .par_chunks(share)
            .zip(self.hands.par_iter_mut())
            .map(|(files, hand)| {
                let write = |file: &&[Part<'_>]| write(tree, hand, &steps[file[0].step], file);
                files.iter().map(write).collect()
            })
            .collect::<Result<_>>()?;
        for (file, stat) in files.iter().zip(written.into_iter().flatten()) {
            let (step, count) = (file[0].step, u32::try_from(file.len()).unwrap_or(NONE));
            self.missing[step] = self.missing[step].saturating_sub(count);
            // Every write before was over when this one began, so this is the stat of the complete file.
            if self.missing[step] == 0 {
                self.staged[step] = Some(stat);
            }
        }
        Ok(())
    }

    /// Lets go of what only the writing needed.
    pub(crate) fn end_writing(&mut self) {
        self.first = HashMap::new();
        self.spots = Vec::new();
        self.hands = Vec::new();
    }

    /// Fails where a chunk is missing.
    pub(crate) fn ensure_complete(&self) -> Result<()> {
        match self.first.keys().min() {
            None => Ok(()),
            Some(first) => Err(Error::Incomplete {
                missing: self.first.len(),
                first: *first,
            }),
        }
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if let Some(txn) = self.txn.take()
            && let Err(error) = txn.discard(self.tree)
        {
            tracing::warn!(%error, "what was staged is deleted by the next apply");
        }
    }
}

/// A chunk at one of its places.
struct Part<'b> {
    step: usize,
    offset: u64,
    bytes: &'b [u8],
}

/// Writes parts of one file, and gives the stat that it has then.
fn write(tree: &Tree, new: &mut Handles, step: &Step, parts: &[Part<'_>]) -> Result<FileStat> {
    let path = &step.path;
    let file = create(tree, new, step)?;
    for part in parts {
        file.write_all_at(part.bytes, part.offset)
            .doing("stage", path)?;
    }
    stat_of(&file, path)
}

/// Opens the staged file of a step, making it where it does not exist.
/// A new file gets the permissions that any new file gets here.
fn create(tree: &Tree, new: &mut Handles, step: &Step) -> Result<File> {
    let executable = matches!(
        step.wanted,
        Some(Entry::File {
            executable: true,
            ..
        })
    );
    let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    tree.step("stage", &step.path)?;
    let (dir, name) = new.parent(step.path.as_str()).doing("open", &step.path)?;
    let file = openat(dir, name, flags, mode).doing("stage", &step.path)?;
    Ok(File::from(file))
}

fn stat_of(file: &File, path: impl ToString) -> Result<FileStat> {
    let stat = fstat(file).map(|stat| FileStat::of(&stat));
    let stat = stat.doing("stat", path.to_string())?;
    if stat.kind() == FileType::RegularFile {
        Ok(stat)
    } else {
        Err(Errno::INVAL).doing("stage", path)
    }
}
