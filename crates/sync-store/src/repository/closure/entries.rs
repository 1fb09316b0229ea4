//! The entries of a files map: paths and links.

use bytes::Bytes;
use sync_core::{Digest, Entry, TreePath};

use super::contents::Contents;
use super::lookup::Lookup;
use super::{Values, malformed_error};
use crate::Error;
use crate::repository::RepositoryNodes;

/// Checks the changed entries of a map, which come in key order.
#[derive(Debug)]
pub(super) struct Entries<'r> {
    /// The map that they are in.
    map: Lookup<'r>,
    /// The directory of the last path that was added, all of whose ancestors were found to be no entries.
    clear: Option<TreePath>,
    /// Whether the base has anything in that directory.
    in_base: bool,
}

/// A key as it is shown in an error.
pub(super) fn name(key: &[u8]) -> String {
    let shown = key.get(..200).unwrap_or(key);
    shown.escape_ascii().to_string()
}

impl Values for Entries<'_> {
    fn check(
        &mut self,
        base: Option<&mut Lookup<'_>>,
        key: &[u8],
        value: Bytes,
        contents: &mut Contents<'_>,
    ) -> Result<(), Error> {
        let mut base = base;
        let before = match &mut base {
            Some(base) => base.value(key)?,
            None => None,
        };
        if before.as_ref() == Some(&value) {
            return Ok(());
        }
        let path = TreePath::from_bytes(key).map_err(|error| malformed_error(name(key), error))?;
        let entry = Entry::decode(&value)
            .ok_or_else(|| malformed_error(name(key), "its entry does not decode"))?;
        if before.is_none() {
            self.check_place(base, &path)?;
        }
        match entry {
            Entry::Directory => Ok(()),
            Entry::Link { target } if Entry::link_stays_inside(&path, &target) => Ok(()),
            Entry::Link { .. } => Err(malformed_error(name(key), "the link leads out of the tree")),
            Entry::File { content, .. } => contents.check(&|| name(key), &content),
        }
    }
}

impl<'r> Entries<'r> {
    /// For the map under `root`; where there is no base, everything in it is new.
    pub(super) fn new(reader: &'r RepositoryNodes, root: Digest, has_base: bool) -> Self {
        Self {
            map: Lookup::new(reader, root),
            clear: None,
            in_base: has_base,
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
}

/// What every key below `path` starts with.
fn below(path: &TreePath) -> Vec<u8> {
    [path.as_bytes(), b"/"].concat()
}
