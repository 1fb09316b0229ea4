//! Brings a cache up to date with what an apply wrote, so that the next capture reads none of it.

use sync_core::{Entry, TreePath};

use super::{Listing, Raw, Record, StatCache};
use crate::beneath::{above, split};
use crate::error::Result;
use crate::stat::FileStat;

/// What an apply left at a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'e> {
    pub(crate) path: &'e TreePath,
    /// `None` for nothing.
    pub(crate) entry: Option<&'e Entry>,
    /// The stat that vouches for it.
    pub(crate) stat: Option<&'e FileStat>,
}

/// A name in a directory, and what was left there.
struct Edit<'e> {
    dir: &'e str,
    name: &'e str,
    /// `None` takes the record out: nothing is there, or a directory.
    entry: Option<&'e Entry>,
    stat: Option<&'e FileStat>,
}

impl StatCache {
    /// Takes over what was left at each path, and which directories are gone.
    pub(crate) fn refresh<'e>(
        &mut self,
        left: impl IntoIterator<Item = Left<'e>>,
        gone: &[TreePath],
    ) -> Result<()> {
        self.origin = None;
        for dir in gone {
            self.dirs.remove(dir.as_str());
        }
        let mut edits = Vec::new();
        for Left { path, entry, stat } in left {
            let (dir, name) = split(path.as_str());
            match entry {
                None => {
                    if let Some(listing) = self.dirs.get_mut(path.as_str()) {
                        listing.empty = false;
                    }
                }
                Some(Entry::Directory) => {
                    self.dirs
                        .insert(path.as_str().into(), Listing::new(true, &[])?);
                    self.occupy(path.as_str())?;
                }
                Some(_) => {
                    self.dirs.remove(path.as_str());
                    self.occupy(path.as_str())?;
                }
            }
            let entry = entry.filter(|entry| **entry != Entry::Directory);
            edits.push(Edit {
                dir,
                name,
                entry,
                stat,
            });
        }
        edits.sort_unstable_by_key(|edit| (edit.dir, edit.name));
        for edits in edits.chunk_by(|a, b| a.dir == b.dir) {
            let dir = edits[0].dir;
            if let Some(listing) = self.dirs.get(dir) {
                let edited = merge(dir, listing, edits)?;
                self.dirs.insert(dir.into(), edited);
            }
        }
        Ok(())
    }

    /// The directories above `path` exist and are not empty.
    fn occupy(&mut self, path: &str) -> Result<()> {
        for dir in above(path).chain([""]) {
            match self.dirs.get_mut(dir) {
                Some(listing) => listing.empty = false,
                None => drop(self.dirs.insert(dir.into(), Listing::new(false, &[])?)),
            }
        }
        Ok(())
    }
}

/// A listing after edits of its directory, which are in the order of their names.
fn merge(dir: &str, listing: &Listing, edits: &[Edit<'_>]) -> Result<Listing> {
    let edited = |record: &Record<'_>| {
        let found = edits.binary_search_by_key(&record.name, |edit| edit.name);
        found.is_ok()
    };
    let kept = listing.records(dir)?.into_iter();
    let kept = kept.filter(|record| !edited(record));
    let new: Vec<_> = edits
        .iter()
        .filter_map(|edit| Some((edit, edit.entry?.encode())))
        .collect();
    let new = new.iter().map(|(edit, entry)| Record {
        name: edit.name,
        stat: edit.stat.copied(),
        entry: Raw(entry),
    });
    let mut records: Vec<_> = kept.chain(new).collect();
    records.sort_unstable_by_key(|record| record.name);
    Listing::new(listing.empty, &records)
}
