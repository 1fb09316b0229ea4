//! The names of a batch of directories against the cache: what is as it was, and what has to be read.

use std::ops::Range;

use rayon::prelude::*;
use rustix::fd::AsFd;
use rustix::fs::FileType;
use snafu::OptionExt;
use sync_core::{Digest, Entry, TreePath};

use super::list::{Dir, join};
use super::{CaptureEvent, Refusal, Refused, Walk};
use crate::beneath::lstat;
use crate::cache::{Listing, Raw, Record};
use crate::error::{CacheSnafu, Doing, Result};
use crate::read::{Found, read_entry};
use crate::secret::looks_secret;
use crate::stat::FileStat;

/// How many names one task compares: enough to pay for the task, few enough to share one huge directory.
const NAMES: usize = 256;

/// What a directory came to.
pub(super) struct Scanned {
    pub(super) path: Box<str>,
    pub(super) listing: Listing,
    pub(super) changes: Vec<(TreePath, Option<Entry>)>,
    pub(super) lists: Vec<(Digest, Vec<u8>)>,
    pub(super) refused: Vec<Refused>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) read_files: u64,
    pub(super) read_bytes: u64,
    /// Whether the listing is another than the cache had.
    pub(super) relisted: bool,
}

/// What a name came to.
enum State {
    /// As in the record of this index.
    Same(u32),
    /// To be read; it had this stat.
    Changed(FileStat),
    /// Nothing, or nothing that a tree holds.
    Gone,
}

/// A directory with what the cache says about it.
struct Known<'a> {
    dir: &'a Dir,
    old: Option<&'a Listing>,
    records: Vec<Record<'a>>,
}

/// A file to read: its directory and its name by number.
struct Job {
    dir: usize,
    name: usize,
    stat: FileStat,
}

impl Walk<'_> {
    /// Compares the directories with the cache, and reads what changed.
    pub(super) fn scan(&self, dirs: &[Dir]) -> Result<Vec<Scanned>> {
        let known: Vec<Known<'_>> = dirs
            .par_iter()
            .map(|dir| {
                let old = self.old.dirs.get(&dir.path);
                let records = old.map_or(Ok(Vec::new()), |old| old.records(&dir.path))?;
                Ok(Known { dir, old, records })
            })
            .collect::<Result<_>>()?;
        let tasks: Vec<(usize, Range<usize>)> = dirs
            .iter()
            .enumerate()
            .flat_map(|(at, dir)| {
                (0..dir.names.len())
                    .step_by(NAMES)
                    .map(move |from| (at, from..(from + NAMES).min(dir.names.len())))
            })
            .collect();
        let compared: Vec<Vec<State>> = tasks
            .par_iter()
            .map(|(at, range)| self.compare(&known[*at], range.clone()))
            .collect::<Result<_>>()?;
        let mut states: Vec<Vec<State>> = known.iter().map(|_| Vec::new()).collect();
        for ((at, _), compared) in tasks.iter().zip(compared) {
            if states[*at].is_empty() {
                states[*at] = compared;
            } else {
                states[*at].extend(compared);
            }
        }
        let read = self.read(&known, &states)?;
        // The results come in the order of directories and names, so that each directory takes its part.
        let mut read = read.into_iter();
        let parts: Vec<_> = known
            .into_iter()
            .zip(states)
            .map(|(known, states)| {
                let jobs = states
                    .iter()
                    .filter(|s| matches!(s, State::Changed(_)))
                    .count();
                (known, states, read.by_ref().take(jobs).collect::<Vec<_>>())
            })
            .collect();
        parts
            .into_par_iter()
            .map(|(known, states, read)| self.assemble(&known, &states, read))
            .collect()
    }

    /// Stats some names of a directory.
    fn compare(&self, known: &Known<'_>, range: Range<usize>) -> Result<Vec<State>> {
        let dir = known.dir;
        let mut states = Vec::with_capacity(range.len());
        let mut files = 0;
        let first = dir.names.get(range.start);
        let mut at = known.records.partition_point(|record| record.name < first);
        for name in range.map(|index| dir.names.get(index)) {
            let stat = lstat(dir.fd.as_fd(), name).doing("stat", join(&dir.path, name))?;
            let Some(stat) = stat else {
                states.push(State::Gone);
                continue;
            };
            while at < known.records.len() && known.records[at].name < name {
                at += 1;
            }
            let record = known.records.get(at).filter(|record| record.name == name);
            let trusted = record.is_some_and(|record| record.stat == Some(stat)) && !self.read_all;
            files += 1;
            states.push(match u32::try_from(at) {
                Ok(at) if trusted => State::Same(at),
                _ => State::Changed(stat),
            });
        }
        (self.progress)(CaptureEvent::Found { files });
        Ok(states)
    }

    /// Reads every changed file and link, in the order of directories and names.
    fn read(&self, known: &[Known<'_>], states: &[Vec<State>]) -> Result<Vec<Found>> {
        let mut jobs = Vec::new();
        let mut bytes = 0;
        for (dir, states) in states.iter().enumerate() {
            for (name, state) in states.iter().enumerate() {
                if let State::Changed(stat) = state {
                    bytes += stat.size;
                    jobs.push(Job {
                        dir,
                        name,
                        stat: *stat,
                    });
                }
            }
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let files = jobs.len() as u64;
        (self.progress)(CaptureEvent::Changed { files, bytes });
        jobs.par_iter()
            .map(|job| {
                let dir = known[job.dir].dir;
                let name = dir.names.get(job.name);
                let path = path_of(&dir.path, name)?;
                if self.is_secret(&known[job.dir], name, &path) {
                    return Ok(Found::Refused(Refusal::Secret));
                }
                let found =
                    read_entry(dir.fd.as_fd(), name, &path, job.stat).doing("read", &path)?;
                (self.progress)(CaptureEvent::Read {
                    bytes: job.stat.size,
                });
                Ok(found)
            })
            .collect()
    }

    /// Whether a file must stay for what it shows; what both sides have already is no secret any more.
    fn hides(&self, found: &Found, before: Option<&Record<'_>>, path: &TreePath) -> bool {
        let Found::Entry {
            entry,
            shows_secret: true,
            ..
        } = found
        else {
            return false;
        };
        let known = match before {
            Some(before) => before.entry.0 == entry.encode(),
            None => self
                .is_known
                .as_ref()
                .is_some_and(|is_known| is_known(path)),
        };
        !known && !self.allowed_secrets.leave_out(path.as_bytes(), false)
    }

    /// Whether a file that the cache does not know must stay for its name.
    fn is_secret(&self, known: &Known<'_>, name: &str, path: &TreePath) -> bool {
        let tracked = || {
            let found = known
                .records
                .binary_search_by(|record| record.name.cmp(name));
            found.is_ok()
                || self
                    .is_known
                    .as_ref()
                    .is_some_and(|is_known| is_known(path))
        };
        looks_secret(name) && !self.allowed_secrets.leave_out(path.as_bytes(), false) && !tracked()
    }

    /// The new listing of a directory and how it differs from the old one.
    fn assemble(&self, known: &Known<'_>, states: &[State], read: Vec<Found>) -> Result<Scanned> {
        let dir = known.dir;
        let mut scanned = Scanned {
            path: dir.path.clone(),
            listing: Listing::none(),
            changes: Vec::new(),
            lists: Vec::new(),
            refused: Vec::new(),
            files: 0,
            bytes: 0,
            read_files: 0,
            read_bytes: 0,
            relisted: false,
        };
        if let Some(old) = known.old
            && old.empty == dir.empty
            && states.len() == known.records.len()
            && states.iter().all(|state| matches!(state, State::Same(_)))
        {
            scanned.listing = old.clone();
            scanned.files = known.records.len() as u64;
            scanned.bytes = known.records.iter().filter_map(size_of).sum();
            return Ok(scanned);
        }
        scanned.relisted = true;
        let was_empty = known.old.is_some_and(|old| old.empty);
        // The root is no entry, not even when it is empty.
        if was_empty != dir.empty && !dir.path.is_empty() {
            let path = path_of("", &dir.path)?;
            let entry = dir.empty.then_some(Entry::Directory);
            scanned.changes.push((path, entry));
        }
        let encoded = self.rows(known, states, read, &mut scanned)?;
        let records: Vec<_> = encoded
            .iter()
            .map(|row| match row {
                Row::Old(record) => *record,
                Row::New { name, stat, entry } => Record {
                    name,
                    stat: *stat,
                    entry: Raw(entry),
                },
            })
            .collect();
        scanned.files = records.len() as u64;
        scanned.listing = Listing::new(dir.empty, &records)?;
        Ok(scanned)
    }

    /// The rows of the new listing, and the changes that lead to them.
    fn rows<'k>(
        &self,
        known: &'k Known<'_>,
        states: &[State],
        read: Vec<Found>,
        scanned: &mut Scanned,
    ) -> Result<Vec<Row<'k>>> {
        let dir = known.dir;
        let mut read = read.into_iter();
        let mut rows = Vec::with_capacity(states.len());
        let mut old = known.records.iter().peekable();
        for (index, state) in states.iter().enumerate() {
            let name = dir.names.get(index);
            while let Some(lost) = old.next_if(|record| record.name < name) {
                scanned.changes.push((path_of(&dir.path, lost.name)?, None));
            }
            let before = old.next_if(|record| record.name == name);
            let found = match state {
                State::Same(at) => {
                    let record = known.records[*at as usize];
                    scanned.bytes += size_of(&record).unwrap_or(0);
                    rows.push(Row::Old(record));
                    continue;
                }
                State::Gone => Found::Gone,
                State::Changed(_) => read.next().unwrap_or(Found::Gone),
            };
            let found = if matches!(
                found,
                Found::Entry {
                    shows_secret: true,
                    ..
                }
            ) && self.hides(&found, before, &path_of(&dir.path, name)?)
            {
                Found::Refused(Refusal::ShowsSecret)
            } else {
                found
            };
            match found {
                Found::Entry {
                    entry, stat, lists, ..
                } => {
                    let bytes = entry.encode();
                    let size = entry.size();
                    scanned.bytes += size;
                    scanned.read_files += 1;
                    scanned.read_bytes += size;
                    if before.is_none_or(|before| before.entry.0 != bytes) {
                        scanned
                            .changes
                            .push((path_of(&dir.path, name)?, Some(entry)));
                        scanned.lists.extend(lists);
                    }
                    rows.push(Row::New {
                        name,
                        stat: self.horizon.settled(&stat).then_some(stat),
                        entry: bytes,
                    });
                }
                Found::Gone => {
                    if before.is_some() {
                        scanned.changes.push((path_of(&dir.path, name)?, None));
                    }
                }
                Found::Refused(reason) => {
                    scanned.refused.push(Refused {
                        path: join(&dir.path, name),
                        reason,
                    });
                    match before {
                        // It is still there, and only what it holds is in doubt.
                        Some(before)
                            if matches!(reason, Refusal::Unstable | Refusal::ShowsSecret) =>
                        {
                            rows.push(Row::Old(Record {
                                stat: None,
                                ..*before
                            }));
                        }
                        Some(_) => scanned.changes.push((path_of(&dir.path, name)?, None)),
                        None => {}
                    }
                }
            }
        }
        for lost in old {
            scanned.changes.push((path_of(&dir.path, lost.name)?, None));
        }
        Ok(rows)
    }
}

/// A record that moves over, or one that is made.
enum Row<'k> {
    Old(Record<'k>),
    New {
        name: &'k str,
        stat: Option<FileStat>,
        entry: Vec<u8>,
    },
}

/// The bytes of a file whose stat is trusted.
fn size_of(record: &Record<'_>) -> Option<u64> {
    let stat = record.stat?;
    (stat.kind() == FileType::RegularFile).then_some(stat.size)
}

/// A path that was checked when it was listed, by this capture or by the one that made the cache.
pub(super) fn path_of(dir: &str, name: &str) -> Result<TreePath> {
    let path = join(dir, name);
    TreePath::new(&*path).ok().context(CacheSnafu { path })
}
