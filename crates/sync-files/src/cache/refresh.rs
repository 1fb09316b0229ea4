//! Brings a cache up to date with what an apply wrote, so that the next capture reads none of it.

use std::collections::BTreeMap;

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
    pub(crate) stat: Option<FileStat>,
}

/// A record to be, in the order of names; `None` takes one out.
type Edits<'e> = BTreeMap<&'e str, Option<(&'e Entry, Option<FileStat>)>>;

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
        let mut edits: BTreeMap<&str, Edits<'e>> = BTreeMap::new();
        for Left { path, entry, stat } in left {
            let (dir, name) = split(path.as_str());
            let names = edits.entry(dir).or_default();
            match entry {
                None => {
                    names.insert(name, None);
                    if let Some(listing) = self.dirs.get_mut(path.as_str()) {
                        listing.empty = false;
                    }
                }
                Some(Entry::Directory) => {
                    names.insert(name, None);
                    self.dirs
                        .insert(path.as_str().into(), Listing::new(true, &[])?);
                    self.occupy(path.as_str())?;
                }
                Some(entry) => {
                    names.insert(name, Some((entry, stat)));
                    self.dirs.remove(path.as_str());
                    self.occupy(path.as_str())?;
                }
            }
        }
        for (dir, names) in edits {
            if let Some(listing) = self.dirs.get(dir) {
                let edited = merge(dir, listing, &names)?;
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

fn merge(dir: &str, listing: &Listing, edits: &Edits<'_>) -> Result<Listing> {
    let kept = listing
        .records(dir)?
        .into_iter()
        .filter(|record| !edits.contains_key(record.name));
    let new: Vec<_> = edits
        .iter()
        .filter_map(|(name, left)| {
            let (entry, stat) = left.as_ref()?;
            Some((*name, *stat, entry.encode()))
        })
        .collect();
    let new = new.iter().map(|(name, stat, entry)| Record {
        name,
        stat: *stat,
        entry: Raw(entry),
    });
    let mut records: Vec<_> = kept.chain(new).collect();
    records.sort_unstable_by_key(|record| record.name);
    Listing::new(listing.empty, &records)
}
