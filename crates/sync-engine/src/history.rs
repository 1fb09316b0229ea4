//! Snapshots: the log, one of them, and what differs between two.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use serde::Serialize;
use similar::TextDiff;
use snafu::OptionExt;
use sync_core::{Digest, Entry, SnapshotId};
use sync_files::Patterns;
use sync_store::protocol::{Logged, MAX_LOG};

use crate::Error;
use crate::decide::Point;
use crate::error::NoSnapshotSnafu;
use crate::maps::Maps;
use crate::report::{Counts, FileChange};
use crate::session::{Session, blocking, point};
use crate::texts::Texts;
use crate::tree_map::{changes, empty_root};

/// Larger files are compared by name only.
const MAX_TEXT: u64 = 256 * 1024;
/// No more bytes of contents than this are fetched for one comparison.
const MAX_FETCHED: u64 = 16 * 1024 * 1024;

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// What the workspace last agreed on with its tenant.
    Base,
    /// The tree as it is.
    Workspace,
    /// The snapshot whose id starts so.
    Snapshot(String),
}

/// What differs between two sides.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The older side, where it is a snapshot.
    pub from: Option<SnapshotId>,
    /// The newer side, where it is a snapshot.
    pub to: Option<SnapshotId>,
    /// How many paths differ.
    pub counts: Counts,
    /// The paths that differ, in order.
    pub changes: Vec<FileDifference>,
}

/// One path that differs, with its lines where it is text.
#[derive(Debug, Clone, Serialize)]
pub struct FileDifference {
    /// The path and how it differs.
    #[serde(flatten)]
    pub change: FileChange,
    /// How many lines came, and how many went; absent where lines were not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
}

/// The lines of a text that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Lines that only the newer side has.
    pub added: usize,
    /// Lines that only the older side has.
    pub removed: usize,
    /// A unified diff with three lines of context, without file headers.
    pub unified: String,
}

impl Session {
    /// The snapshots of the branch, newest first, at most `limit`.
    pub async fn log(&self, limit: usize) -> Result<Vec<Logged>, Error> {
        let head = self.remote.head(None).await?.and_then(|head| head.head);
        let Some(head) = head.filter(|_| limit > 0) else {
            return Ok(Vec::new());
        };
        // A page is as long as the server lets it be; a longer log is put together from several, in the same order:
        // newest first; of equally old ones, the one that was found first.
        let mut known = HashMap::new();
        self.log_page(head, limit, &mut known).await?;
        let is_whole = known.len() < limit.min(MAX_LOG);
        let mut seen = HashSet::from([head]);
        let mut ahead = BinaryHeap::from([(u64::MAX, Reverse(0), head)]);
        let mut listed: Vec<Logged> = Vec::new();
        while let Some((_, _, id)) = ahead.pop() {
            let Some(logged) = known.remove(&id) else {
                continue;
            };
            let parents = logged.snapshot.parents.clone();
            listed.push(logged);
            if listed.len() == limit {
                break;
            }
            for parent in parents {
                if !seen.insert(parent) {
                    continue;
                }
                if !known.contains_key(&parent) && !is_whole {
                    let left = limit - listed.len();
                    match self.log_page(parent, left, &mut known).await {
                        Ok(()) => {}
                        // The branch keeps no more: history ends there.
                        Err(error) if error.is_expired() => {}
                        Err(error) => return Err(error),
                    }
                }
                if let Some(found) = known.get(&parent) {
                    ahead.push((found.snapshot.time, Reverse(seen.len()), parent));
                }
            }
        }
        Ok(listed)
    }

    /// Adds a page of the log from `from` on.
    async fn log_page(
        &self,
        from: SnapshotId,
        limit: usize,
        known: &mut HashMap<SnapshotId, Logged>,
    ) -> Result<(), Error> {
        let page = self.remote.log(from, limit.min(MAX_LOG)).await?;
        known.extend(page.into_iter().map(|logged| (logged.id, logged)));
        Ok(())
    }

    /// The snapshot whose id starts with `prefix`, the branch's head where there is none; and what it changed.
    pub async fn show(
        &self,
        prefix: Option<&str>,
        lines: bool,
    ) -> Result<(Logged, Difference), Error> {
        let head;
        let prefix = if let Some(prefix) = prefix {
            prefix
        } else {
            let newest = self.remote.head(None).await?.and_then(|head| head.head);
            head = newest.map(|id| id.to_string());
            head.as_deref().context(NoSnapshotSnafu {
                given: "head",
                reason: "the branch has no snapshot",
            })?
        };
        let logged = self.remote.resolve(prefix).await?;
        let parent = match logged.snapshot.parents.first() {
            Some(parent) => {
                let found = self.remote.resolve(&parent.to_string()).await?;
                Some(point(found.id, &found.snapshot))
            }
            None => None,
        };
        let newer = point(logged.id, &logged.snapshot);
        let maps = self.maps().await?;
        let near = self.agreed()?.base;
        let from = self.ensure_map_for(&maps, parent, near).await?;
        let to = self.ensure_map_for(&maps, Some(newer), parent).await?;
        let mut difference = self
            .compare_roots(&maps, [from, to], lines, [false; 2], None)
            .await?;
        (difference.from, difference.to) = (parent.map(|parent| parent.id), Some(newer.id));
        Ok((logged, difference))
    }

    /// What differs from `a` to `b` at the paths that `filter` chooses; the lines of texts too where `lines` says so.
    pub async fn diff(
        &self,
        a: &Side,
        b: &Side,
        lines: bool,
        filter: Option<&Patterns>,
    ) -> Result<Difference, Error> {
        let agreed = self.agreed()?;
        let base = agreed.base;
        let workspace = *a == Side::Workspace || *b == Side::Workspace;
        let local = if workspace {
            Some(self.capture().await?)
        } else {
            None
        };
        let maps = local
            .as_ref()
            .map_or_else(Maps::new, |local| local.maps.clone());
        self.attach(&maps).await?;
        let mut ids = [None, None];
        let mut roots = [empty_root(); 2];
        for (index, side) in [a, b].into_iter().enumerate() {
            let found = match side {
                Side::Base => {
                    roots[index] = self.ensure_agreed(&maps, agreed).await?;
                    ids[index] = base.map(|point| point.id);
                    continue;
                }
                Side::Snapshot(prefix) => {
                    let found = self.remote.resolve(prefix).await?;
                    Some(point(found.id, &found.snapshot))
                }
                Side::Workspace => {
                    roots[index] = local.as_ref().map_or(empty_root(), |local| local.root);
                    continue;
                }
            };
            ids[index] = found.map(|point| point.id);
            roots[index] = self.ensure_map_for(&maps, found, base).await?;
        }
        let in_tree = [a, b].map(|side| *side == Side::Workspace);
        let mut difference = self
            .compare_roots(&maps, roots, lines, in_tree, filter)
            .await?;
        [difference.from, difference.to] = ids;
        Ok(difference)
    }

    /// Makes sure that `maps` has the map of `point`; `near` is a snapshot whose maps may be here.
    async fn ensure_map_for(
        &self,
        maps: &Maps,
        point: Option<Point>,
        near: Option<Point>,
    ) -> Result<Digest, Error> {
        let Some(wanted) = point else {
            return Ok(empty_root());
        };
        if !self.holds(maps, wanted.files).await? {
            let near = match near {
                Some(near) if self.holds(maps, near.files).await? => Some(near.id),
                _ => None,
            };
            self.fetch_maps(maps, wanted.id, near).await?;
        }
        Ok(wanted.files)
    }

    async fn compare_roots(
        &self,
        maps: &Maps,
        roots: [Digest; 2],
        lines: bool,
        in_tree: [bool; 2],
        filter: Option<&Patterns>,
    ) -> Result<Difference, Error> {
        let found = {
            let (maps, filter) = (maps.clone(), filter.cloned());
            blocking(move || {
                let mut found = changes(&maps, roots[0], roots[1])?;
                found.retain(|change| filter.as_ref().is_none_or(|f| f.matches(&change.path)));
                Ok(found)
            })
            .await?
        };
        let counts = Counts::of(&found);
        let texts = if lines {
            self.texts(maps, &found, in_tree).await?
        } else {
            Texts::default()
        };
        let changes = found
            .into_iter()
            .map(|change| FileDifference {
                lines: line_changes(&texts, &change),
                change,
            })
            .collect();
        Ok(Difference {
            from: None,
            to: None,
            counts,
            changes,
        })
    }

    /// The contents of small files on both sides, as far as the limits go.
    async fn texts(
        &self,
        maps: &Maps,
        found: &[FileChange],
        in_tree: [bool; 2],
    ) -> Result<Texts, Error> {
        let (mut local, mut others) = (Vec::new(), Vec::new());
        let mut budget = MAX_FETCHED;
        for change in found {
            let entries = [&change.before, &change.after];
            let sizes: Vec<u64> = entries.into_iter().flatten().map(Entry::size).collect();
            let sum: u64 = sizes.iter().sum();
            if sum > budget || sizes.iter().any(|size| *size > MAX_TEXT) {
                continue;
            }
            budget -= sum;
            for (entry, in_tree) in entries.into_iter().zip(in_tree) {
                match entry {
                    Some(entry) if in_tree => local.push((change.path.clone(), entry.clone())),
                    Some(entry) => others.push(entry.clone()),
                    None => {}
                }
            }
        }
        self.load(maps, local, others).await
    }
}

/// The lines that differ, where both sides are text that is here.
fn line_changes(texts: &Texts, change: &FileChange) -> Option<Lines> {
    let before = texts.text(change.before.as_ref())?;
    let after = texts.text(change.after.as_ref())?;
    Some(line_diff(&before, &after))
}

/// The lines in which two texts differ.
pub(crate) fn line_diff(before: &str, after: &str) -> Lines {
    let diff = TextDiff::from_lines(before, after);
    let count = |tag| {
        diff.iter_all_changes()
            .filter(|change| change.tag() == tag)
            .count()
    };
    Lines {
        added: count(similar::ChangeTag::Insert),
        removed: count(similar::ChangeTag::Delete),
        unified: diff.unified_diff().context_radius(3).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_shown() {
        let lines = line_diff("a\nb\nc\n", "a\nB\nc\nd\n");
        assert_eq!((lines.added, lines.removed), (2, 1));
        assert!(lines.unified.contains("-b\n+B\n"), "{}", lines.unified);
    }
}
