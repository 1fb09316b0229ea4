//! Names that are one where case does not count: such a tree cannot live on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use snafu::ResultExt;
use sync_core::Digest;
use sync_core::map;

use crate::Error;
use crate::error::MapSnafu;
use crate::maps::Maps;
use crate::report::{FileChange, Problem};

/// Names that `changes`, which lead from the map `before` to the map `after`, bring, and that differ from another name in
/// the same directory by case alone.
///
/// Only directories in which a name is new are looked at, so the cost follows the change.
pub(crate) fn collisions(
    maps: &Maps,
    [before, after]: [Digest; 2],
    changes: &[FileChange],
) -> Result<Vec<Problem>, Error> {
    let fresh = fresh_names(maps, before, changes)?;
    let mut found = Vec::new();
    for (dir, names) in fresh {
        let mut by_fold: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for name in names.fresh {
            by_fold
                .entry(fold(name))
                .or_default()
                .insert(name.to_owned());
        }
        if names.among_others {
            each_name(maps, after, dir, |name| {
                if let Some(names) = by_fold.get_mut(&fold(name)) {
                    names.insert(name.to_owned());
                }
            })?;
        }
        let clashes = by_fold.into_values().filter(|names| names.len() > 1);
        found.extend(clashes.filter_map(|names| problem(dir, &names)));
    }
    Ok(found)
}

fn problem(dir: &str, names: &BTreeSet<String>) -> Option<Problem> {
    let last = names.last()?;
    let place = if dir.is_empty() { "." } else { dir };
    let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Some(Problem {
        code: "engine/case".to_owned(),
        message: format!(
            "{} in `{place}` are one name where case does not count",
            shown.join(" and ")
        ),
        hint: Some("rename all but one of them".to_owned()),
        path: Some(inside(dir) + last),
    })
}

/// The names that are new in a directory.
#[derive(Debug, Default)]
struct Names<'c> {
    fresh: BTreeSet<&'c str>,
    /// Whether there were others before.
    among_others: bool,
}

fn fresh_names<'c>(
    maps: &Maps,
    before: Digest,
    changes: &'c [FileChange],
) -> Result<BTreeMap<&'c str, Names<'c>>, Error> {
    let mut fresh: BTreeMap<&str, Names<'_>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.before.is_none()) {
        // The directory may be new itself: then its name is new in the one above.
        let mut path = change.path.as_str();
        loop {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            if let Some(names) = fresh.get_mut(dir) {
                names.fresh.insert(name);
                break;
            }
            let among_others = holds_any(maps, before, dir)?;
            fresh.insert(
                dir,
                Names {
                    fresh: BTreeSet::from([name]),
                    among_others,
                },
            );
            if dir.is_empty() || among_others {
                break;
            }
            path = dir;
        }
    }
    Ok(fresh)
}

fn inside(dir: &str) -> String {
    if dir.is_empty() {
        String::new()
    } else {
        format!("{dir}/")
    }
}

fn holds_any(maps: &Maps, root: Digest, dir: &str) -> Result<bool, Error> {
    let mut any = false;
    let prefix = inside(dir);
    let from = (Bound::Included(prefix.as_bytes()), Bound::Unbounded);
    if let Some(first) = map::range(maps, root, from).next() {
        any = first.context(MapSnafu)?.0.starts_with(prefix.as_bytes());
    }
    Ok(any)
}

/// Each name in a directory of the map, once; what lies below a subdirectory is skipped.
fn each_name(
    maps: &Maps,
    root: Digest,
    dir: &str,
    mut each: impl FnMut(&str),
) -> Result<(), Error> {
    let prefix = inside(dir).into_bytes();
    let mut from = prefix.clone();
    'seek: loop {
        let start = (Bound::Included(from.as_slice()), Bound::Unbounded);
        for item in map::range(maps, root, start) {
            let (key, _) = item.context(MapSnafu)?;
            let Some(rest) = key.strip_prefix(prefix.as_slice()) else {
                return Ok(());
            };
            let name = rest.split(|byte| *byte == b'/').next().unwrap_or(rest);
            each(&String::from_utf8_lossy(name));
            if name.len() < rest.len() {
                // Behind everything in this subdirectory.
                let mut next = prefix.clone();
                next.extend_from_slice(name);
                next.push(b'/' + 1);
                from = next;
                continue 'seek;
            }
        }
        return Ok(());
    }
}

/// How a file system that ignores case sees a name; close enough for every such system to warn by.
fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree_map::{edit, empty_root};
    use sync_core::Entry;

    fn added(path: &str) -> FileChange {
        let link = Entry::Link {
            target: "x".to_owned(),
        };
        FileChange::new(path.parse().unwrap(), None, Some(link)).unwrap()
    }

    /// `there` is in the tree already, `new` comes.
    #[track_caller]
    fn check(there: &[&str], new: &[&str], expected: &[&str]) {
        let maps = Maps::new();
        let changes: Vec<_> = new.iter().map(|path| added(path)).collect();
        let mut all: Vec<_> = there.iter().map(|path| added(path)).collect();
        all.extend(changes.clone());
        all.sort_by(|a, b| a.path.cmp(&b.path));
        let mut old: Vec<_> = there.iter().map(|path| added(path)).collect();
        old.sort_by(|a, b| a.path.cmp(&b.path));
        let before = edit(&maps, empty_root(), &old).unwrap();
        let after = edit(&maps, empty_root(), &all).unwrap();
        let found = collisions(&maps, [before, after], &changes).unwrap();
        let paths: Vec<_> = found
            .into_iter()
            .filter_map(|problem| problem.path)
            .collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn names_that_differ_by_case_alone() {
        check(&["a/b", "a/c"], &["a/d"], &[]);
        check(&["a/readme.md"], &["a/README.md"], &["a/readme.md"]);
        check(&["Agents/x"], &["agents/y"], &["agents"]);
        check(&["README"], &["readme"], &["readme"]);
        check(&[], &["\u{c4}.md", "\u{e4}.md"], &["\u{e4}.md"]);
        // In other directories they do not meet, and what was there before is not told again.
        check(&["a/x"], &["b/X"], &[]);
        check(&["a/x", "a/X"], &["b"], &[]);
        check(&["a-b/x", "a/x", "a.b"], &["A"], &["a"]);
    }
}
