//! Snapshots: the log, one of them, and what differs between two.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;
use similar::TextDiff;
use snafu::ensure;
use sync_core::{Digest, Entry, SnapshotId, TreePath};
use sync_files::Tree;
use sync_store::protocol::Logged;

use crate::Error;
use crate::decide::Point;
use crate::error::{AnswerSnafu, NoSnapshotSnafu};
use crate::maps::Maps;
use crate::report::{Counts, FileChange};
use crate::session::{Session, blocking, point};
use crate::tree_map::{changes, empty_root, flat_chunks};

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
        match head {
            Some(head) => self.remote.log(head, limit).await,
            None => Ok(Vec::new()),
        }
    }

    /// The snapshot whose id starts with `prefix`, the branch's head where there is none; and what it changed.
    pub async fn show(
        &self,
        prefix: Option<&str>,
        lines: bool,
    ) -> Result<(Logged, Difference), Error> {
        let logged = if let Some(prefix) = prefix {
            self.remote.resolve(prefix).await?
        } else {
            let head = self.remote.head(None).await?;
            let newest = head.and_then(|head| {
                Some(Logged {
                    id: head.head?,
                    snapshot: head.snapshot?,
                })
            });
            match newest {
                Some(logged) => logged,
                None => {
                    return NoSnapshotSnafu {
                        given: "head",
                        reason: "the branch has no snapshot",
                    }
                    .fail();
                }
            }
        };
        let parent = match logged.snapshot.parents.first() {
            Some(parent) => {
                let found = self.remote.resolve(&parent.to_string()).await?;
                Some(point(found.id, &found.snapshot))
            }
            None => None,
        };
        let newer = point(logged.id, &logged.snapshot);
        let maps = self.maps().await?;
        let from = self.ensure_map_for(&maps, parent, self.base()?).await?;
        let to = self.ensure_map_for(&maps, Some(newer), parent).await?;
        let mut difference = self.compare_roots(&maps, from, to, lines, false).await?;
        (difference.from, difference.to) = (parent.map(|parent| parent.id), Some(newer.id));
        Ok((logged, difference))
    }

    /// What differs from `a` to `b`; the lines of texts too where `lines` says so.
    pub async fn diff(&self, a: &Side, b: &Side, lines: bool) -> Result<Difference, Error> {
        let base = self.base()?;
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
                Side::Base => base,
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
        let mut difference = self
            .compare_roots(&maps, roots[0], roots[1], lines, *b == Side::Workspace)
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
        from: Digest,
        to: Digest,
        lines: bool,
        to_workspace: bool,
    ) -> Result<Difference, Error> {
        let found = {
            let maps = maps.clone();
            blocking(move || changes(&maps, from, to)).await?
        };
        let counts = Counts::of(&found);
        let mut texts = if lines {
            self.texts(maps, &found, to_workspace).await?
        } else {
            Texts::default()
        };
        let changes = found
            .into_iter()
            .map(|change| FileDifference {
                lines: texts.lines(&change),
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

    /// The contents of small files on both sides, as far as the limits go: from the tree where it has them,
    /// the rest in one request.
    async fn texts(
        &self,
        maps: &Maps,
        found: &[FileChange],
        to_workspace: bool,
    ) -> Result<Texts, Error> {
        let mut texts = Texts::default();
        let mut wanted: Vec<Digest> = Vec::new();
        let mut local: Vec<(TreePath, Entry)> = Vec::new();
        let mut budget = MAX_FETCHED;
        for change in found {
            let entries = [&change.before, &change.after];
            let sizes: u64 = entries.into_iter().flatten().map(Entry::size).sum();
            if entries
                .into_iter()
                .flatten()
                .any(|entry| entry.size() > MAX_TEXT)
                || sizes > budget
            {
                continue;
            }
            budget -= sizes;
            for (newer, entry) in entries
                .into_iter()
                .enumerate()
                .filter_map(|(side, entry)| Some((side == 1, entry.as_ref()?)))
            {
                let chunks = {
                    let (maps, entry) = (maps.clone(), entry.clone());
                    blocking(move || flat_chunks(&maps, &entry)).await?
                };
                let digests: Vec<Digest> = chunks.iter().map(|chunk| chunk.digest).collect();
                if newer && to_workspace {
                    local.push((change.path.clone(), entry.clone()));
                } else {
                    wanted.extend(&digests);
                }
                texts.chunks.insert(entry.clone(), digests);
            }
        }
        self.read_tree(maps, local, &mut texts).await?;
        wanted.retain(|digest| !texts.bytes.contains_key(digest));
        wanted.sort_unstable();
        wanted.dedup();
        if !wanted.is_empty() {
            let mut blocks = self.remote.objects(&wanted).await?;
            while let Some(block) = blocks.next().await? {
                for bytes in block.objects() {
                    let digest = Digest::of(&bytes);
                    let asked = wanted.binary_search(&digest).is_ok();
                    ensure!(
                        asked,
                        AnswerSnafu {
                            reason: "an object that was not asked for"
                        }
                    );
                    texts.bytes.insert(digest, bytes);
                }
            }
        }
        Ok(texts)
    }

    async fn read_tree(
        &self,
        maps: &Maps,
        local: Vec<(TreePath, Entry)>,
        texts: &mut Texts,
    ) -> Result<(), Error> {
        let (tree, private, maps) = (
            self.workspace.tree(),
            self.workspace.private(),
            maps.clone(),
        );
        let read = blocking(move || {
            let mut read = Vec::new();
            let tree = Tree::open(&tree, &private)?;
            let mut contents = tree.contents()?;
            for (path, entry) in local {
                let chunks = flat_chunks(&maps, &entry)?;
                contents.read(&path, sync_files::placed(&chunks), |digest, bytes| {
                    read.push((digest, Bytes::copy_from_slice(bytes)));
                    Ok::<_, Error>(())
                })?;
            }
            Ok(read)
        });
        texts.bytes.extend(read.await?);
        Ok(())
    }
}

/// Contents of files, by what names them.
#[derive(Debug, Default)]
struct Texts {
    chunks: HashMap<Entry, Vec<Digest>>,
    bytes: HashMap<Digest, Bytes>,
}

impl Texts {
    /// The lines that differ, where both sides are text that is here.
    fn lines(&mut self, change: &FileChange) -> Option<Lines> {
        let (before, after) = (
            self.text(change.before.as_ref())?,
            self.text(change.after.as_ref())?,
        );
        Some(line_diff(&before, &after))
    }

    /// The text of one side; that of an absent file is empty.
    fn text(&self, entry: Option<&Entry>) -> Option<String> {
        let Some(entry) = entry else {
            return Some(String::new());
        };
        let mut whole = Vec::new();
        for digest in self.chunks.get(entry)? {
            whole.extend_from_slice(self.bytes.get(digest)?);
        }
        let text = String::from_utf8(whole).ok()?;
        (!text.contains('\0')).then_some(text)
    }
}

fn line_diff(before: &str, after: &str) -> Lines {
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
