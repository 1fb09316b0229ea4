//! A merge while it is being decided: edits of the workspace that have to fit together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::ops::Bound;

use bytes::Bytes;
use snafu::ResultExt;
use sync_core::map;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};

use super::{Clash, Conflict, OnConflict, Outcome, Reason};
use crate::Error;
use crate::error::MapSnafu;
use crate::maps::Maps;
use crate::report::FileChange;
use crate::tree_map::{decode_entry, decode_path, empty_root};

/// What becomes of one path.
#[derive(Debug)]
pub(super) struct Edit {
    /// What the workspace has there.
    pub(super) before: Before,
    /// What it is to have.
    pub(super) after: Option<Entry>,
}

/// What the workspace has at a path.
#[derive(Debug)]
pub(super) enum Before {
    /// This.
    Is(Option<Entry>),
    /// Nobody has looked yet.
    Unknown,
}

impl Edit {
    /// Whether there may be nothing yet.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.before, Before::Is(None) | Before::Unknown)
    }

    fn to(after: Option<Entry>) -> Self {
        Self {
            before: Before::Unknown,
            after,
        }
    }
}

/// Edits of the workspace, while they are being decided.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) edits: BTreeMap<TreePath, Edit>,
    pub(super) merged: Vec<TreePath>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) texts: HashMap<Digest, Bytes>,
    pub(super) filtered: HashSet<TreePath>,
    /// Paths that the merge itself has named.
    copies: HashSet<TreePath>,
}

impl Draft {
    pub(super) fn edit(&mut self, path: TreePath, entry: Entry) {
        self.edits.insert(path, Edit::to(Some(entry)));
    }

    /// The content of a text that was merged; its chunks are kept.
    pub(super) fn content(&mut self, maps: &Maps, text: &[u8]) -> Content {
        let mut rest = text;
        let mut chunks = Vec::new();
        let read = |buffer: &mut [u8]| {
            let len = rest.len().min(buffer.len());
            let (next, after) = rest.split_at(len);
            buffer[..len].copy_from_slice(next);
            rest = after;
            Ok::<_, Infallible>(len)
        };
        let Ok(()) = sync_core::cut::cut(text.len() as u64, read, |chunk| {
            let digest = Digest::of(chunk);
            self.texts.insert(digest, Bytes::copy_from_slice(chunk));
            chunks.push(Chunk {
                digest,
                len: chunk.len() as u64,
            });
            Ok(())
        });
        Content::from_chunks(chunks, |digest, list| {
            maps.insert(digest, list.into());
        })
    }

    /// Puts a version of `path` beside it; an empty directory has nothing that could be kept.
    /// `false` where there is no place for it.
    fn copy(&mut self, path: &TreePath, entry: Entry) -> bool {
        if entry == Entry::Directory {
            return true;
        }
        let Some(copy) = beside_path(path, &entry) else {
            return false;
        };
        self.copies.insert(copy.clone());
        self.edit(copy, entry);
        true
    }

    /// Does with a clash what the policy says.
    pub(super) fn choose(&mut self, policy: OnConflict, clash: Clash, reason: Reason) {
        match policy {
            OnConflict::Ask => self.conflicts.push(clash.conflict(reason)),
            OnConflict::Ours => {}
            OnConflict::Theirs => {
                let edit = Edit {
                    before: Before::Is(clash.ours),
                    after: clash.theirs,
                };
                self.edits.insert(clash.path, edit);
            }
            OnConflict::KeepBoth => match (clash.ours.clone(), clash.theirs.clone()) {
                (Some(ours), Some(theirs)) => {
                    // Of the two, the one whose digest is smaller keeps the path: both workspaces come to the same tree.
                    let (kept, beside) = if version(&ours) < version(&theirs) {
                        (ours, theirs)
                    } else {
                        (theirs, ours)
                    };
                    if self.copy(&clash.path, beside) {
                        self.edit(clash.path, kept);
                    } else {
                        self.conflicts.push(clash.conflict(reason));
                    }
                }
                (None, Some(theirs)) => self.edit(clash.path, theirs),
                (_, None) => {}
            },
        }
    }

    /// Makes the edits fit the rest of the tree: nothing stands below what is no directory, and a directory with something
    /// in it has no entry of its own.
    pub(super) fn fit(
        &mut self,
        maps: &Maps,
        local: Digest,
        policy: OnConflict,
    ) -> Result<(), Error> {
        let at = |path: &TreePath| -> Result<Option<Entry>, Error> {
            let found = map::get(maps, local, path.as_bytes()).context(MapSnafu)?;
            found.map(|value| decode_entry(path, &value)).transpose()
        };
        if local == empty_root() {
            return Ok(());
        }
        let added: Vec<(TreePath, Entry)> = self
            .edits
            .iter()
            .filter(|(_, edit)| edit.is_fresh())
            .filter_map(|(path, edit)| Some((path.clone(), edit.after.clone()?)))
            .collect();
        // Directories that are known to hold nothing but what comes, or to be in nobody's way.
        let mut free: HashSet<TreePath> = HashSet::new();
        for (path, entry) in added {
            for above in path.ancestors() {
                if self.edits.contains_key(&above) {
                    continue;
                }
                if free.contains(&above) {
                    break;
                }
                let Some(ours) = at(&above)? else {
                    free.insert(above);
                    continue;
                };
                if ours == Entry::Directory {
                    self.edits.insert(above, Edit::to(None));
                    continue;
                }
                let clash = Clash {
                    path: above,
                    base: None,
                    ours: Some(ours),
                    theirs: None,
                };
                match policy {
                    OnConflict::Ask => {
                        if !self.conflicts.iter().any(|known| known.path == clash.path) {
                            self.conflicts.push(clash.conflict(Reason::InTheWay));
                        }
                    }
                    OnConflict::Ours => {
                        self.edits.remove(&path);
                    }
                    OnConflict::Theirs | OnConflict::KeepBoth => {
                        let ours = clash
                            .ours
                            .clone()
                            .filter(|_| policy == OnConflict::KeepBoth);
                        if ours.is_none_or(|ours| self.copy(&clash.path, ours)) {
                            self.edits.insert(clash.path, Edit::to(None));
                        } else {
                            self.conflicts.push(clash.conflict(Reason::InTheWay));
                        }
                    }
                }
            }
            let below = self.remaining_below(maps, local, &path)?;
            if below.is_empty() {
                continue;
            }
            match policy {
                // A directory that has something in it here need not be marked as empty.
                _ if entry == Entry::Directory => {
                    self.edits.remove(&path);
                }
                OnConflict::Ask => self.conflicts.push(in_the_way(path, entry)),
                OnConflict::Ours => {
                    self.edits.remove(&path);
                }
                OnConflict::Theirs => {
                    let gone = below.into_iter().map(|path| (path, Edit::to(None)));
                    self.edits.extend(gone);
                }
                OnConflict::KeepBoth => {
                    self.edits.remove(&path);
                    if !self.copy(&path, entry.clone()) {
                        self.conflicts.push(in_the_way(path, entry));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the local map holds below `path` and the edits do not remove.
    fn remaining_below(
        &self,
        maps: &Maps,
        local: Digest,
        path: &TreePath,
    ) -> Result<Vec<TreePath>, Error> {
        let below = format!("{path}/");
        let from = (Bound::Included(below.as_bytes()), Bound::Unbounded);
        let mut found = Vec::new();
        for item in map::range(maps, local, from) {
            let (key, _) = item.context(MapSnafu)?;
            if !key.starts_with(below.as_bytes()) {
                break;
            }
            let path = decode_path(&key)?;
            if self
                .edits
                .get(&path)
                .is_none_or(|edit| edit.after.is_some())
            {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// The edits against what the workspace has now.
    pub(super) fn finish(self, maps: &Maps, local: Digest) -> Result<Outcome, Error> {
        let (mut changes, mut conflicts) = (Vec::new(), self.conflicts);
        for (path, Edit { before, after }) in self.edits {
            let before = match before {
                Before::Is(before) => before,
                Before::Unknown => {
                    let before = map::get(maps, local, path.as_bytes()).context(MapSnafu)?;
                    let decode = |value: Bytes| decode_entry(&path, &value);
                    before.map(decode).transpose()?
                }
            };
            // Somebody works on an earlier copy: that, too, is theirs.
            if self.copies.contains(&path) && before.is_some() && before != after {
                let clash = Clash {
                    path,
                    base: None,
                    ours: before,
                    theirs: after,
                };
                conflicts.push(clash.conflict(Reason::Different));
                continue;
            }
            changes.extend(FileChange::new(path, before, after));
        }
        conflicts.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Outcome {
            changes,
            merged: self.merged,
            conflicts,
            texts: self.texts,
            filtered: self.filtered,
        })
    }
}

/// What comes is a file where the workspace has a directory.
fn in_the_way(path: TreePath, entry: Entry) -> Conflict {
    let clash = Clash {
        path,
        base: None,
        ours: None,
        theirs: Some(entry),
    };
    clash.conflict(Reason::InTheWay)
}

/// What follows the last dot of a longer name is no extension.
const MAX_EXTENSION: usize = 16;

fn version(entry: &Entry) -> Digest {
    Digest::of(&entry.encode())
}

/// The path beside `path` for another version of it: named by that version, so that it is the same everywhere.
///
/// `None` where no such path is short enough.
fn beside_path(path: &TreePath, entry: &Entry) -> Option<TreePath> {
    let digest = version(entry).to_string();
    let mark = format!(".conflict-{}", digest.get(..8)?);
    let (stem, end) = match path.name().rsplit_once('.') {
        Some((stem, end)) if !stem.is_empty() && end.len() <= MAX_EXTENSION => {
            (stem, format!("{mark}.{end}"))
        }
        _ => (path.name(), mark),
    };
    // A name that would become too long loses its end.
    let mut shorter = (1..=stem.len()).rev().filter_map(|len| stem.get(..len));
    shorter.find_map(|stem| {
        let name = format!("{stem}{end}");
        match path.parent() {
            Some(parent) => parent.join(&name).ok(),
            None => name.parse().ok(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_has_a_name_of_its_own() {
        let link = |target: &str| Entry::Link {
            target: target.to_owned(),
        };
        let path = |text: &str| text.parse::<TreePath>().unwrap();
        let beside = |text: &str| beside_path(&path(text), &link("x")).unwrap().to_string();
        let mark = version(&link("x")).to_string()[..8].to_owned();
        assert_eq!(beside("a/b.tar.gz"), format!("a/b.tar.conflict-{mark}.gz"));
        assert_eq!(beside(".env"), format!(".env.conflict-{mark}"));
        assert_eq!(beside("README"), format!("README.conflict-{mark}"));
        let long = "n".repeat(252);
        let named = beside(&format!("{long}.md"));
        assert!(named.len() <= TreePath::MAX_NAME && named.ends_with(&format!("{mark}.md")));
        assert_ne!(
            beside_path(&path("a"), &link("x")),
            beside_path(&path("a"), &link("y"))
        );
    }
}
