//! The map of files in words of files: changes, chunks, and what is refused of a map that was received.

use std::collections::HashSet;
use std::ops::Bound;

use snafu::{OptionExt, ResultExt, ensure};
use sync_core::content::decode_list;
use sync_core::map::{self, Change, Map, MapError};
use sync_core::{Chunk, Content, Digest, Entry, TreePath};

use crate::Error;
use crate::error::{HostileSnafu, MapSnafu, UnobtainableSnafu};
use crate::guard::{Place, Removal};
use crate::maps::Maps;
use crate::report::FileChange;

/// What differs between two maps of files, in path order.
pub(crate) fn changes(
    maps: &Maps,
    before: Digest,
    after: Digest,
) -> Result<Vec<FileChange>, Error> {
    let decode = |change: Result<Change, MapError>| {
        let change = change.context(MapSnafu)?;
        let (path, before, after) = decode_change(&change)?;
        Ok(FileChange::new(path, before, after))
    };
    map::diff(maps.clone(), before, maps.clone(), after)
        .filter_map(|change| decode(change).transpose())
        .collect()
}

/// The root of a map of files after `changes`.
pub(crate) fn edit(maps: &Maps, root: Digest, changes: &[FileChange]) -> Result<Digest, Error> {
    let edits = changes.iter().map(|change| {
        (
            change.path.as_bytes(),
            change.after.as_ref().map(Entry::encode),
        )
    });
    let edited = map::edit(maps, root, edits, &mut maps.clone());
    Ok(edited.context(MapSnafu)?.root)
}

/// What `changes` remove from a side that holds the map `root`; its files are counted only where some go.
pub(crate) fn removal(
    place: Place,
    maps: &Maps,
    root: Digest,
    changes: &[FileChange],
) -> Result<Removal, Error> {
    let held = if changes.iter().all(|change| change.after.is_some()) {
        0
    } else {
        map::len(maps, root).context(MapSnafu)?
    };
    Ok(Removal::of(place, changes, held))
}

/// A change in words of files; keys and values that are not such words are refused.
pub(crate) fn decode_change(
    change: &Change,
) -> Result<(TreePath, Option<Entry>, Option<Entry>), Error> {
    let path = decode_path(&change.key)?;
    let before = change
        .before
        .as_deref()
        .map(|value| decode_entry(&path, value))
        .transpose()?;
    let after = change
        .after
        .as_deref()
        .map(|value| decode_entry(&path, value))
        .transpose()?;
    Ok((path, before, after))
}

pub(crate) fn decode_path(key: &[u8]) -> Result<TreePath, Error> {
    TreePath::from_bytes(key).map_err(|error| {
        let shown = String::from_utf8_lossy(key).escape_debug().to_string();
        HostileSnafu {
            reason: format!("path `{shown}`: {error}"),
        }
        .build()
    })
}

pub(crate) fn decode_entry(path: &TreePath, value: &[u8]) -> Result<Entry, Error> {
    let entry = Entry::decode(value);
    let entry = entry.with_context(|| HostileSnafu {
        reason: format!("the entry of `{path}` is malformed"),
    })?;
    if let Entry::Link { target } = &entry {
        let inside = Entry::link_stays_inside(path, target);
        ensure!(
            inside,
            HostileSnafu {
                reason: format!("the link `{path}` leaves the tree")
            }
        );
    }
    Ok(entry)
}

/// Refuses a map in which something stands below what is no directory.
///
/// Only `added` paths are looked at: the rest stood in a map that was accepted before. What they may clash with was added
/// too, and then its own ancestors tell, or is in one of `held`, the maps that were accepted.
pub(crate) fn check_shape<'a>(
    maps: &Maps,
    root: Digest,
    held: [Digest; 2],
    added: impl IntoIterator<Item = (&'a TreePath, &'a Entry)>,
) -> Result<(), Error> {
    let mut sound: HashSet<TreePath> = HashSet::new();
    // Whether anything was in the directory of the path before.
    let mut known: Option<(Option<TreePath>, bool)> = None;
    for (path, entry) in added {
        for above in path.ancestors() {
            if sound.contains(&above) {
                break;
            }
            let taken = map::get(maps, root, above.as_bytes())
                .context(MapSnafu)?
                .is_some();
            ensure!(
                !taken,
                HostileSnafu {
                    reason: format!("`{path}` stands below `{above}`, which has an entry itself")
                }
            );
            sound.insert(above);
        }
        let parent = path.parent();
        let populated = match &known {
            Some((dir, populated)) if *dir == parent => *populated,
            _ => {
                let prefix = parent.as_ref().map(below).unwrap_or_default();
                let mut populated = false;
                for held in held {
                    populated = populated || has_prefix(maps, held, &prefix)?;
                }
                known = Some((parent, populated));
                populated
            }
        };
        ensure!(
            !(populated && has_prefix(maps, root, &below(path))?),
            HostileSnafu {
                reason: format!("something stands below `{path}`, which is {}", kind(entry))
            }
        );
    }
    Ok(())
}

/// What every key below `path` starts with.
fn below(path: &TreePath) -> String {
    format!("{path}/")
}

/// Whether a key of the map starts with `prefix`.
fn has_prefix(maps: &Maps, root: Digest, prefix: &str) -> Result<bool, Error> {
    let from = Bound::Included(prefix.as_bytes());
    let first = map::range(maps, root, (from, Bound::Unbounded)).next();
    let first = first.transpose().context(MapSnafu)?;
    Ok(first.is_some_and(|(key, _)| key.starts_with(prefix.as_bytes())))
}

const fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::File { .. } => "a file",
        Entry::Link { .. } => "a link",
        Entry::Directory => "an empty directory",
    }
}

/// The data chunks of an entry in file order, through its chunk lists.
///
/// # Errors
///
/// Where a list is missing, or is not what the entry says of it.
pub(crate) fn flat_chunks(maps: &Maps, entry: &Entry) -> Result<Vec<Chunk>, Error> {
    unfold(maps, entry, &mut Vec::new())
}

/// The list objects of an entry, outermost first, without the data chunks.
pub(crate) fn lists_of(maps: &Maps, entry: &Entry) -> Result<Vec<Digest>, Error> {
    let mut found = Vec::new();
    unfold(maps, entry, &mut found)?;
    Ok(found)
}

/// Follows the lists of an entry down to its data chunks, noting each list.
fn unfold(maps: &Maps, entry: &Entry, lists: &mut Vec<Digest>) -> Result<Vec<Chunk>, Error> {
    let Entry::File {
        content: Content { depth, chunks },
        ..
    } = entry
    else {
        return Ok(Vec::new());
    };
    // Lists may name the same list again and again: without a bound a few of them would fill all memory.
    let most = usize::try_from(Content::most_chunks(entry.size())).unwrap_or(usize::MAX);
    let mut level = chunks.clone();
    for _ in 0..*depth {
        let mut below = Vec::new();
        for chunk in &level {
            below.extend(list(maps, chunk)?);
            lists.push(chunk.digest);
            ensure!(
                below.len() <= most,
                HostileSnafu {
                    reason: "a file claims more chunks than its size allows"
                }
            );
        }
        level = below;
    }
    Ok(level)
}

fn list(maps: &Maps, chunk: &Chunk) -> Result<Vec<Chunk>, Error> {
    let digest = chunk.digest;
    let store = |source| Error::Map {
        source: MapError::Store { digest, source },
    };
    let bytes = maps
        .object(&digest)
        .map_err(store)?
        .context(UnobtainableSnafu { digest })?;
    let items = decode_list(&bytes);
    let items = items.filter(|items| {
        let sum = items
            .iter()
            .try_fold(0u64, |sum, item| sum.checked_add(item.len));
        sum == Some(chunk.len)
    });
    items.with_context(|| HostileSnafu {
        reason: format!("chunk list {digest} is not what names it"),
    })
}

/// The root that an absent snapshot stands for.
pub(crate) fn empty_root() -> Digest {
    Map::empty_root()
}
