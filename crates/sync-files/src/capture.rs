//! The walk: what is in the tree, and what of it differs from the cache.
//!
//! Directories are taken in batches. Those of a batch are listed in parallel, then the names of all of them are compared with
//! the cache in parallel, then the files that changed are read in parallel: a batch is enough for all cores,
//! and only one batch is in memory beside the result.

use std::collections::BTreeMap;
use std::fmt;

use rayon::prelude::*;
use rustix::fs::FileType;
use sync_core::path::PathError;
use sync_core::{Digest, Entry, TreePath};

use crate::cache::{Listing, StatCache};
use crate::error::Result;
use crate::ignored::Rules;
use crate::stat::Horizon;
use crate::tree::Tree;

mod list;
mod scan;

/// How many directories are open at once.
const BATCH: usize = 128;

/// What a capture leaves out, and what it believes.
#[derive(Clone, Default)]
pub struct CaptureOptions {
    /// Patterns in git's syntax that hold at the top of the tree, below those of any `.syncignore`.
    pub ignore: Vec<String>,
    /// Read every file, even where its stat vouches for it.
    pub read_all: bool,
    /// Patterns in git's syntax of files that may travel although their names or contents are those of secrets.
    pub allow_secrets: Vec<String>,
    /// Says which paths are part of the history already. A file there is no secret any more: that it is left out
    /// would look as if it had been deleted. Asked only about new files whose names are those of secrets.
    pub is_known: Option<IsKnown>,
}

/// Says whether a path is part of the history already.
pub type IsKnown = std::sync::Arc<dyn Fn(&TreePath) -> bool + Send + Sync>;

impl fmt::Debug for CaptureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureOptions")
            .field("ignore", &self.ignore)
            .field("read_all", &self.read_all)
            .field("allow_secrets", &self.allow_secrets)
            .finish_non_exhaustive()
    }
}

/// What happens during a capture; the numbers are to be added up. Events come from several threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureEvent {
    /// So many files and links were found.
    Found {
        /// How many.
        files: u64,
    },
    /// So many of them changed and are going to be read.
    Changed {
        /// How many.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A file was read.
    Read {
        /// Its bytes.
        bytes: u64,
    },
}

/// What a capture found.
#[derive(Debug)]
pub struct Capture {
    /// The new cache. Its root is not set: it is that of the old cache's map with the changes made.
    pub cache: StatCache,
    /// Every path whose entry differs from the old cache's, in the order of paths, each once; `None` where nothing is there now.
    pub changes: Vec<(TreePath, Option<Entry>)>,
    /// The list objects that contents of the changes need.
    pub lists: Vec<(Digest, Vec<u8>)>,
    /// What is in the directory and cannot be in a tree, in the order of paths.
    pub refused: Vec<Refused>,
    /// How many files and links there are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were read.
    pub read_files: u64,
    /// The bytes that were read.
    pub read_bytes: u64,
}

/// Something in the directory that cannot be in a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Its path as text that is safe to print: what is not UTF-8 or could forge output is replaced.
    pub path: String,
    /// Why.
    pub reason: Refusal,
}

/// Why something cannot be in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// A name that is not UTF-8.
    NameNotUtf8,
    /// A name or path that other systems cannot hold or that could forge output.
    Name(&'static str),
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// A link that leads out of the tree, or could.
    LinkOutside,
    /// A link whose target is not UTF-8.
    LinkNotUtf8,
    /// A file whose name is that of a secret, which nobody has allowed to travel.
    Secret,
    /// A file with a private key or a token in it, which nobody has allowed to travel. Its last known entry stands.
    ShowsSecret,
    /// A file that was being written as often as it was read. Its last known entry stands.
    Unstable,
}

impl Refusal {
    pub(crate) fn special(kind: FileType) -> Self {
        match kind {
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            _ => Self::Device,
        }
    }

    pub(crate) fn name(error: PathError) -> Self {
        match error {
            PathError::NotUtf8 => Self::NameNotUtf8,
            PathError::Empty | PathError::Dots => Self::Name("a name is empty or only dots"),
            PathError::TooLong => Self::Name("the path is too long"),
            PathError::NameTooLong => Self::Name("the name is too long"),
            PathError::Control => Self::Name("the name has a control character"),
            PathError::Backslash => Self::Name("the name has a backslash"),
            PathError::Drive => Self::Name("the name looks like a drive letter"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameNotUtf8 => "the name is not UTF-8",
            Self::Name(reason) => reason,
            Self::Pipe => "it is a named pipe",
            Self::Socket => "it is a socket",
            Self::Device => "it is a device",
            Self::LinkOutside => "the link leads out of the tree",
            Self::LinkNotUtf8 => "the target of the link is not UTF-8",
            Self::Secret => {
                "it looks like a secret (`files.allow_secrets` in sync.toml lets it travel)"
            }
            Self::ShowsSecret => {
                "it has a private key or a token in it (`files.allow_secrets` in sync.toml lets it travel)"
            }
            Self::Unstable => "it changed while it was read",
        })
    }
}

/// What all parts of one capture share.
struct Walk<'a> {
    tree: &'a Tree,
    old: &'a StatCache,
    horizon: Horizon,
    read_all: bool,
    allowed_secrets: Rules,
    is_known: Option<IsKnown>,
    progress: &'a (dyn Fn(CaptureEvent) + Sync),
}

/// A directory that was found and not looked into yet.
struct Pending {
    path: Box<str>,
    rules: Rules,
}

/// Adds up what the batches find.
#[derive(Default)]
struct Tally {
    dirs: BTreeMap<Box<str>, Listing>,
    changes: Vec<(TreePath, Option<Entry>)>,
    lists: Vec<(Digest, Vec<u8>)>,
    refused: Vec<Refused>,
    files: u64,
    bytes: u64,
    read_files: u64,
    read_bytes: u64,
    /// Directories whose listing is no longer that of the old cache.
    relisted: u64,
}

impl Tree {
    /// Captures the tree: every path whose entry is not that of `cache`, and a new cache.
    ///
    /// A directory that is empty is an entry; one that holds only what is left out or refused is none.
    /// A path that `.syncignore` now leaves out counts as gone. What was refused is listed and stops nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoTree`](crate::Error::NoTree) where the root is gone;
    /// [`Error::Io`](crate::Error::Io) where a directory cannot be listed or a file cannot be read, with its path:
    /// what could not be seen never counts as gone;
    /// [`Error::Pending`](crate::Error::Pending) where an interrupted apply waits for [`Tree::recover`]. Nothing was written, and the cache on disk is as it was.
    pub fn capture(
        &self,
        cache: &StatCache,
        options: &CaptureOptions,
        progress: &(dyn Fn(CaptureEvent) + Sync),
    ) -> Result<Capture> {
        self.still_there()?;
        self.ensure_settled()?;
        let rules =
            Rules::default().with("", "the configured patterns", &options.ignore.join("\n"))?;
        let walk = Walk {
            tree: self,
            old: cache,
            horizon: self.horizon(),
            read_all: options.read_all,
            allowed_secrets: Rules::default().with(
                "",
                "files.allow_secrets",
                &options.allow_secrets.join("\n"),
            )?,
            is_known: options.is_known.clone(),
            progress,
        };
        let mut tally = Tally::default();
        let mut pending = vec![Pending {
            path: "".into(),
            rules,
        }];
        while !pending.is_empty() {
            let batch = pending.split_off(pending.len().saturating_sub(BATCH));
            walk.batch(&batch, &mut pending, &mut tally)?;
        }
        walk.gone(&mut tally)?;
        self.still_there()?;
        Ok(tally.finish(cache))
    }
}

impl Walk<'_> {
    /// Lists, compares and reads one batch of directories; those below them are added to `pending`.
    fn batch(
        &self,
        batch: &[Pending],
        pending: &mut Vec<Pending>,
        tally: &mut Tally,
    ) -> Result<()> {
        let listed: Vec<_> = batch
            .par_iter()
            .map(|dir| self.list(dir))
            .collect::<Result<_>>()?;
        let mut dirs: Vec<_> = listed.into_iter().flatten().collect();
        for dir in &mut dirs {
            pending.append(&mut dir.below);
            tally.refused.append(&mut dir.refused);
        }
        let scanned = self.scan(&dirs)?;
        for scanned in scanned {
            tally.dirs.insert(scanned.path, scanned.listing);
            tally.changes.extend(scanned.changes);
            tally.lists.extend(scanned.lists);
            tally.refused.extend(scanned.refused);
            tally.files += scanned.files;
            tally.bytes += scanned.bytes;
            tally.read_files += scanned.read_files;
            tally.read_bytes += scanned.read_bytes;
            tally.relisted += u64::from(scanned.relisted);
        }
        Ok(())
    }

    /// Adds what was in directories that the walk no longer found.
    fn gone(&self, tally: &mut Tally) -> Result<()> {
        for (path, listing) in &self.old.dirs {
            if tally.dirs.contains_key(path) {
                continue;
            }
            if listing.empty {
                tally.changes.push((scan::path_of("", path)?, None));
            }
            for record in listing.records(path)? {
                tally
                    .changes
                    .push((scan::path_of(path, record.name)?, None));
            }
        }
        Ok(())
    }
}

impl Tally {
    fn finish(mut self, old: &StatCache) -> Capture {
        // Where a file took the place of an empty directory, or the other way round, both ends speak of one path:
        // what is there now comes first and stays.
        self.changes
            .par_sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then(x.is_none().cmp(&y.is_none())));
        self.changes
            .dedup_by(|(later, _), (first, _)| later == first);
        self.refused.sort_unstable();
        self.lists.sort_unstable_by_key(|(digest, _)| *digest);
        self.lists.dedup_by_key(|(digest, _)| *digest);
        Capture {
            cache: StatCache::succeeding(old, self.dirs, self.relisted == 0),
            changes: self.changes,
            lists: self.lists,
            refused: self.refused,
            files: self.files,
            bytes: self.bytes,
            read_files: self.read_files,
            read_bytes: self.read_bytes,
        }
    }
}
