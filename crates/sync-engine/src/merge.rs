//! What two sides made of one tree, as edits of the workspace and conflicts: the map merges paths, a text its lines.

mod draft;

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use bytes::Bytes;
use serde::Serialize;
use snafu::ResultExt;
use sync_core::map::{self, Merged};
use sync_core::{Content, Digest, Entry, TreePath, three_way};
use sync_files::{Patterns, merge_text};

use self::draft::{Before, Draft, Edit};
use crate::Error;
use crate::error::MapSnafu;
use crate::event::{Event, Resolved, Undecided};
use crate::maps::Maps;
use crate::report::FileChange;
use crate::session::{Session, blocking};
use crate::tree_map::{check_shape, decode_entry, decode_path};

/// Larger files are not merged by line.
const MAX_TEXT: u64 = 1024 * 1024;
/// No more than this is fetched and merged in one run; further texts that both sides changed are conflicts.
const MAX_TEXTS: u64 = 64 * 1024 * 1024;

/// What is done where both sides changed the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Nothing is written, and a person chooses.
    #[default]
    Ask,
    /// The workspace's version stays.
    Ours,
    /// The tenant's version comes.
    Theirs,
    /// Both stay: one under its path, one beside it. Which is which does not depend on who runs first.
    KeepBoth,
}

impl FromStr for OnConflict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ask" => Ok(Self::Ask),
            "ours" => Ok(Self::Ours),
            "theirs" => Ok(Self::Theirs),
            "keep-both" => Ok(Self::KeepBoth),
            _ => Err("expected ask, ours, theirs or keep-both".into()),
        }
    }
}

impl OnConflict {
    /// The word that people write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Ours => "ours",
            Self::Theirs => "theirs",
            Self::KeepBoth => "keep-both",
        }
    }
}

/// How two sides are merged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules<'r> {
    /// Whether texts are merged by line.
    pub(crate) lines: bool,
    /// What is done where they cannot be.
    pub(crate) on_conflict: OnConflict,
    /// The paths that count; the rest stays as it is on both sides.
    pub(crate) filter: Option<&'r Patterns>,
    /// Where the contents of our side are.
    pub(crate) ours: Ours<'r>,
}

/// Where the contents of our side of a merge are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Ours<'r> {
    /// In the workspace's tree.
    #[default]
    Tree,
    /// With the tenant of this run.
    Tenant(&'r Session),
}

/// Why a person has to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Both sides changed the same lines, or what is no text.
    Edited,
    /// The path is one that is never merged (`files.restricted`).
    Restricted,
    /// One side removed what the other changed.
    Removed,
    /// Both added it, or made different kinds of things of it.
    Different,
    /// One side has a file where the other has a directory.
    InTheWay,
    /// The texts are too large, or too many, to be merged by line.
    TooLarge,
}

impl Reason {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "both sides changed it",
            Self::Restricted => "both sides changed it, and it is restricted: it is never merged",
            Self::Removed => "one side removed what the other changed",
            Self::Different => "both sides made something else of it",
            Self::InTheWay => "one side has a file where the other has a directory",
            Self::TooLarge => "both sides changed it, and it is too large to be merged by line",
        }
    }
}

/// What one side has at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// `file`, `link` or `directory`.
    pub kind: &'static str,
    /// In bytes.
    pub size: u64,
    /// The digest of the entry: equal versions have equal ones.
    pub digest: Digest,
}

impl Version {
    fn of(entry: &Entry) -> Self {
        Self {
            kind: match entry {
                Entry::File { .. } => "file",
                Entry::Link { .. } => "link",
                Entry::Directory => "directory",
            },
            size: entry.size(),
            digest: Digest::of(&entry.encode()),
        }
    }
}

/// A path that both sides changed in different ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Where.
    pub path: TreePath,
    /// Why it is for a person.
    pub reason: Reason,
    /// What both had.
    pub base: Option<Version>,
    /// What the workspace has.
    pub ours: Option<Version>,
    /// What the tenant has.
    pub theirs: Option<Version>,
}

/// What a merge comes to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What changes in the workspace, in path order.
    pub(crate) changes: Vec<FileChange>,
    /// Which of them are texts that were merged by line.
    pub(crate) merged: Vec<TreePath>,
    pub(crate) conflicts: Vec<Conflict>,
    /// The contents that only the merge has made.
    pub(crate) texts: HashMap<Digest, Bytes>,
    /// What the other side changed and the filter keeps out.
    pub(crate) filtered: HashSet<TreePath>,
}

/// One path that both changed in different ways.
#[derive(Debug)]
struct Clash {
    path: TreePath,
    base: Option<Entry>,
    ours: Option<Entry>,
    theirs: Option<Entry>,
}

impl Clash {
    fn conflict(&self, reason: Reason) -> Conflict {
        let version = |entry: &Option<Entry>| entry.as_ref().map(Version::of);
        Conflict {
            path: self.path.clone(),
            reason,
            base: version(&self.base),
            ours: version(&self.ours),
            theirs: version(&self.theirs),
        }
    }

    fn reason(&self) -> Reason {
        match (&self.base, &self.ours, &self.theirs) {
            (_, None, _) | (_, _, None) => Reason::Removed,
            (Some(Entry::File { .. }), Some(Entry::File { .. }), Some(Entry::File { .. })) => {
                Reason::Edited
            }
            _ => Reason::Different,
        }
    }

    /// The three versions, where each is a file.
    fn files(&self) -> Option<[(bool, &Content); 3]> {
        let of = |entry| match entry {
            &Some(Entry::File {
                executable,
                ref content,
            }) => Some((executable, content)),
            _ => None,
        };
        Some([of(&self.base)?, of(&self.ours)?, of(&self.theirs)?])
    }
}

impl Session {
    /// Merges what `local` and `head` made of `base`, all of which `maps` has.
    pub(crate) async fn merge(
        &self,
        maps: &Maps,
        [base, local, head]: [Digest; 3],
        rules: Rules<'_>,
    ) -> Result<Outcome, Error> {
        let (mut draft, clashes) = {
            let (maps, filter) = (maps.clone(), rules.filter.cloned());
            blocking(move || compare(&maps, [base, local, head], filter.as_ref())).await?
        };
        let restricted = Patterns::new(
            "files.restricted",
            &self.workspace.config().files.restricted,
        )?;
        let mut open = Vec::new();
        let mut texts = Vec::new();
        let mut budget = MAX_TEXTS;
        for clash in clashes {
            let reason = clash.reason();
            if restricted.matches(&clash.path) {
                open.push((clash, Reason::Restricted));
                continue;
            }
            let Some([base, ours, theirs]) = clash.files() else {
                open.push((clash, reason));
                continue;
            };
            if !rules.lines {
                open.push((clash, reason));
            } else if let Some(content) = three_way(base.1, ours.1, theirs.1) {
                // One side changed the bytes, the other the executable bit.
                let entry = Entry::File {
                    executable: three_way(base.0, ours.0, theirs.0).unwrap_or(ours.0),
                    content: content.clone(),
                };
                draft.edit(clash.path, entry);
            } else {
                let sizes = [&clash.base, &clash.ours, &clash.theirs]
                    .map(|entry| entry.as_ref().map_or(0, Entry::size));
                let sum: u64 = sizes.iter().sum();
                if sizes.iter().any(|size| *size > MAX_TEXT) || sum > budget {
                    open.push((clash, Reason::TooLarge));
                } else {
                    budget -= sum;
                    texts.push(clash);
                }
            }
        }
        let ours = rules.ours;
        self.merge_texts(maps, texts, ours, &mut draft, &mut open)
            .await?;
        let mut decided = Vec::new();
        for (clash, reason) in open {
            decided.push(clash.path.clone());
            draft.choose(rules.on_conflict, clash, reason);
        }
        let (maps, on_conflict) = (maps.clone(), rules.on_conflict);
        let outcome = blocking(move || {
            draft.fit(&maps, local, on_conflict)?;
            draft.finish(&maps, local)
        })
        .await?;
        let open: HashSet<&TreePath> = outcome.conflicts.iter().map(|one| &one.path).collect();
        let by_policy = decided.iter().filter(|path| !open.contains(path));
        let by_policy = by_policy.map(|path| (path, on_conflict.as_str()));
        let by_line = outcome.merged.iter().map(|path| (path, "lines"));
        for (path, by) in by_line.chain(by_policy) {
            let path = path.clone();
            self.tell(Event::MergeResolved(Resolved::Files { path, by }));
        }
        for conflict in &outcome.conflicts {
            self.tell(Event::MergeConflict(Undecided::Files(conflict.clone())));
        }
        Ok(outcome)
    }

    /// Merges texts by line; those that cannot be merged are left `open`.
    async fn merge_texts(
        &self,
        maps: &Maps,
        texts: Vec<Clash>,
        side: Ours<'_>,
        draft: &mut Draft,
        open: &mut Vec<(Clash, Reason)>,
    ) -> Result<(), Error> {
        if texts.is_empty() {
            return Ok(());
        }
        let ours = texts
            .iter()
            .filter_map(|clash| Some((clash.path.clone(), clash.ours.clone()?)));
        let others = texts
            .iter()
            .flat_map(|clash| [&clash.base, &clash.theirs])
            .flatten();
        let (ours, others) = (ours.collect::<Vec<_>>(), others.cloned().collect());
        let loaded = match side {
            Ours::Tree => self.load(maps, ours, others).await?,
            Ours::Tenant(there) => {
                let ours = ours.into_iter().map(|(_, entry)| entry).collect();
                let ours = there.load(maps, Vec::new(), ours).await?;
                ours.and(self.load(maps, Vec::new(), others).await?)
            }
        };
        for clash in texts {
            let whole = |entry: &Option<Entry>| loaded.whole(entry.as_ref()?);
            let versions = (whole(&clash.base), whole(&clash.ours), whole(&clash.theirs));
            let merged = match (&versions, clash.files()) {
                ((Some(base), Some(ours), Some(theirs)), Some(files)) => {
                    merge_text(base, ours, theirs).map(|text| (text, files))
                }
                _ => None,
            };
            let Some((text, [base, ours, theirs])) = merged else {
                let reason = clash.reason();
                open.push((clash, reason));
                continue;
            };
            let executable = three_way(base.0, ours.0, theirs.0).unwrap_or(ours.0);
            let content = draft.content(maps, &text);
            draft.merged.push(clash.path.clone());
            draft.edit(
                clash.path,
                Entry::File {
                    executable,
                    content,
                },
            );
        }
        Ok(())
    }
}

/// Every path that the sides changed: what only they changed as a draft, and what both changed differently.
fn compare(
    maps: &Maps,
    [base, local, head]: [Digest; 3],
    filter: Option<&Patterns>,
) -> Result<(Draft, Vec<Clash>), Error> {
    let mut draft = Draft::default();
    let mut clashes = Vec::new();
    let mut clashing = Vec::new();
    for merged in map::merge(maps.clone(), base, local, head) {
        let (key, base, ours, theirs) = match merged.context(MapSnafu)? {
            Merged::Ours(_) | Merged::Both(_) => continue,
            Merged::Theirs(change) => (
                change.key,
                change.before.clone(),
                change.before,
                change.after,
            ),
            Merged::Conflict {
                key,
                base,
                ours,
                theirs,
            } => (key, base, ours, theirs),
        };
        let path = decode_path(&key)?;
        let decode = |value: Option<Bytes>| {
            value
                .as_deref()
                .map(|value| decode_entry(&path, value))
                .transpose()
        };
        let (base, ours, theirs) = (decode(base)?, decode(ours)?, decode(theirs)?);
        if filter.is_some_and(|filter| !filter.matches(&path)) {
            draft.filtered.insert(path);
            continue;
        }
        if let (None, Some(entry), false) = (&base, &theirs, ours == base) {
            clashing.push((path.clone(), entry.clone()));
        }
        if ours == base {
            let edit = Edit {
                before: Before::Is(ours),
                after: theirs,
            };
            draft.edits.insert(path, edit);
        } else {
            clashes.push(Clash {
                path,
                base,
                ours,
                theirs,
            });
        }
    }
    // What is refused of their map is refused before anything is made of it.
    let added = draft.edits.iter().filter(|(_, edit)| edit.is_fresh());
    let added = added.filter_map(|(path, edit)| Some((path, edit.after.as_ref()?)));
    check_shape(maps, head, [base, local], added)?;
    let clashing = clashing.iter().map(|(path, entry)| (path, entry));
    check_shape(maps, head, [base, local], clashing)?;
    Ok((draft, clashes))
}
