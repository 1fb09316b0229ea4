//! The entries of a files map: paths, links, contents.

use std::collections::HashMap;

use sync_core::content::decode_list;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};

use super::lookup::Lookup;
use super::{Missing, malformed_error};
use crate::Error;
use crate::repository::RepositoryNodes;

/// How many chunks are looked up at once.
const BATCH: usize = 4096;
/// How many chunk lists one push may bring: far more than any tree has, and few enough to remember.
const MAX_LISTS: usize = 1 << 20;

/// What a chunk list stands for.
#[derive(Debug, Clone, Copy)]
struct Listed {
    /// How many bytes of the file.
    len: u64,
    /// How many items it has itself.
    items: usize,
    /// How many data chunks are below it.
    chunks: u64,
    /// Whether it, and every list below it, has as many items as a list can have.
    is_full: bool,
}

/// Checks the changed entries of a map, which come in key order.
#[derive(Debug)]
pub(super) struct Entries<'r> {
    reader: &'r RepositoryNodes,
    /// The map that they are in.
    map: Lookup<'r>,
    /// The directory of the last path that was added, all of whose ancestors were found to be no entries.
    clear: Option<TreePath>,
    /// Whether the base has anything in that directory.
    in_base: bool,
    /// Chunks that are still to be looked up.
    chunks: Vec<Chunk>,
    /// What each list stands for, by digest and depth; `None` where it is missing.
    lists: HashMap<(Digest, u8), Option<Listed>>,
}

/// A key as it is shown in an error.
pub(super) fn name(key: &[u8]) -> String {
    let shown = key.get(..200).unwrap_or(key);
    shown.escape_ascii().to_string()
}

impl<'r> Entries<'r> {
    /// For the map under `root`; where there is no base, everything in it is new.
    pub(super) fn new(reader: &'r RepositoryNodes, root: Digest, has_base: bool) -> Self {
        Self {
            reader,
            map: Lookup::new(reader, root),
            clear: None,
            in_base: has_base,
            chunks: Vec::new(),
            lists: HashMap::new(),
        }
    }

    /// Checks one entry, unless the base has it.
    pub(super) fn check(
        &mut self,
        base: Option<&mut Lookup<'_>>,
        key: &[u8],
        value: &[u8],
        missing: &mut Missing,
    ) -> Result<(), Error> {
        let mut base = base;
        let before = match &mut base {
            Some(base) => base.value(key)?,
            None => None,
        };
        if before.as_deref() == Some(value) {
            return Ok(());
        }
        let path = TreePath::from_bytes(key).map_err(|error| malformed_error(name(key), error))?;
        let entry = Entry::decode(value)
            .ok_or_else(|| malformed_error(name(key), "its entry does not decode"))?;
        if before.is_none() {
            self.check_place(base, &path)?;
        }
        match entry {
            Entry::Directory => Ok(()),
            Entry::Link { target } if Entry::link_stays_inside(&path, &target) => Ok(()),
            Entry::Link { .. } => Err(malformed_error(name(key), "the link leads out of the tree")),
            Entry::File { content, .. } => self.check_content(key, &content, missing),
        }
    }

    /// Checks that nothing above or below an added path is an entry. Only added ones can bring such a pair about:
    /// in the base, which was checked when it was accepted, no path is below an entry.
    fn check_place(&mut self, base: Option<&mut Lookup<'_>>, path: &TreePath) -> Result<(), Error> {
        let parent = path.parent();
        if self.clear != parent {
            // All keys below a directory are neighbours, so no directory comes twice but by its own subdirectories.
            let known = self.clear.take();
            let checked = |dir: &TreePath| {
                known.as_ref().is_some_and(|known| {
                    known == dir || known.ancestors().any(|above| above == *dir)
                })
            };
            for dir in path.ancestors().take_while(|dir| !checked(dir)) {
                if self.map.value(dir.as_bytes())?.is_some() {
                    let reason = format!("it is below `{dir}`, which is no implied directory");
                    return Err(malformed_error(name(path.as_bytes()), reason));
                }
            }
            self.in_base = match (base, &parent) {
                (Some(base), Some(dir)) => base.has_prefix(&below(dir))?,
                (Some(_), None) => true,
                (None, _) => false,
            };
            self.clear = parent;
        }
        // What was added below it is looked at itself; what the base has below it only where the base has its directory.
        if self.in_base && self.map.has_prefix(&below(path))? {
            let reason = "there are paths below it";
            return Err(malformed_error(name(path.as_bytes()), reason));
        }
        Ok(())
    }

    fn check_content(
        &mut self,
        key: &[u8],
        content: &Content,
        missing: &mut Missing,
    ) -> Result<(), Error> {
        let mut listed = Vec::with_capacity(content.chunks.len());
        for chunk in &content.chunks {
            listed.extend(self.check_chunk(key, chunk, content.depth, missing)?);
        }
        let refused = |reason: &str| Err(malformed_error(name(key), reason));
        // Where a list is missing the push is incomplete, and this is looked at again when it came.
        if content.depth == 0 || listed.len() < content.chunks.len() {
            return Ok(());
        }
        let inlined = listed.len() == 1 && listed[0].items <= Content::MAX_INLINE;
        if inlined || !are_packed(&listed) {
            return refused("its chunk lists are not in the one form that they have");
        }
        // Lists may name the same list again and again: a few of them would fill a reader's memory.
        let chunks = listed
            .iter()
            .fold(0u64, |sum, listed| sum.saturating_add(listed.chunks));
        if chunks > Content::most_chunks(content.len().unwrap_or(0)) {
            return refused("it claims more chunks than its size allows");
        }
        Ok(())
    }

    fn check_chunk(
        &mut self,
        key: &[u8],
        chunk: &Chunk,
        depth: u8,
        missing: &mut Missing,
    ) -> Result<Option<Listed>, Error> {
        if depth == 0 {
            self.chunks.push(*chunk);
            if self.chunks.len() >= BATCH {
                self.look_up(missing)?;
            }
            return Ok(None);
        }
        let listed = self.list(key, chunk.digest, depth, missing)?;
        if listed.is_some_and(|listed| listed.len != chunk.len) {
            let reason = format!("chunk list {} has another length", chunk.digest);
            return Err(malformed_error(name(key), reason));
        }
        Ok(listed)
    }

    /// What a list names; `None` where the list is missing. Each list is followed once.
    fn list(
        &mut self,
        key: &[u8],
        digest: Digest,
        depth: u8,
        missing: &mut Missing,
    ) -> Result<Option<Listed>, Error> {
        if let Some(known) = self.lists.get(&(digest, depth)) {
            return Ok(*known);
        }
        if self.lists.len() >= MAX_LISTS {
            return Err(malformed_error(name(key), "there are too many chunk lists"));
        }
        let mut listed = None;
        if let Some(bytes) = self.reader.object(&digest)? {
            let wrong = |reason| malformed_error(format!("chunk list {digest}"), reason);
            let items = decode_list(&bytes).ok_or_else(|| wrong("it does not decode"))?;
            let sum = items.iter().try_fold(0u64, |sum, i| sum.checked_add(i.len));
            let len = sum.ok_or_else(|| wrong("its lengths overflow"))?;
            let mut below = Vec::new();
            for item in &items {
                below.extend(self.check_chunk(key, item, depth - 1, missing)?);
            }
            if depth == 1 {
                listed = Some(Listed {
                    len,
                    items: items.len(),
                    chunks: items.len() as u64,
                    is_full: items.len() == Content::MAX_LIST,
                });
            } else if below.len() == items.len() {
                if !are_packed(&below) {
                    return Err(wrong("a list before its last one is not full"));
                }
                let chunks = below.iter().map(|below| below.chunks);
                listed = Some(Listed {
                    len,
                    items: items.len(),
                    chunks: chunks.fold(0, u64::saturating_add),
                    is_full: items.len() == Content::MAX_LIST
                        && below.iter().all(|below| below.is_full),
                });
            }
        } else {
            missing.add(digest);
        }
        self.lists.insert((digest, depth), listed);
        Ok(listed)
    }

    /// Looks up the chunks that are left. Call this at the end.
    pub(super) fn finish(&mut self, missing: &mut Missing) -> Result<(), Error> {
        self.look_up(missing)
    }

    fn look_up(&mut self, missing: &mut Missing) -> Result<(), Error> {
        let digests: Vec<_> = self.chunks.iter().map(|chunk| chunk.digest).collect();
        let found = self.reader.locations(&digests)?;
        for (chunk, found) in self.chunks.drain(..).zip(found) {
            match found {
                None => missing.add(chunk.digest),
                Some(found) if u64::from(found.place.len) == chunk.len => {}
                Some(_) => {
                    let place = format!("chunk {}", chunk.digest);
                    return Err(malformed_error(place, "an entry says another length"));
                }
            }
        }
        Ok(())
    }
}

/// Whether all but the last of a level's lists are full, as they are where a file's chunks were listed in order.
fn are_packed(level: &[Listed]) -> bool {
    let before_last = level.split_last().map_or(level, |(_, before)| before);
    before_last.iter().all(|listed| listed.is_full)
}

/// What every key below `path` starts with.
fn below(path: &TreePath) -> Vec<u8> {
    [path.as_bytes(), b"/"].concat()
}
