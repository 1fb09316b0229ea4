//! What an operation did, for people and programs.

use serde::Serialize;
use sync_core::{Entry, Fault, SnapshotId, TreePath};

/// How far an operation came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum State {
    /// Nothing was tried.
    NotStarted {
        /// Why not, where that is not plain from what was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Some of it was done.
    Partial {
        /// How many items were done.
        completed: u64,
        /// Of how many.
        total: u64,
    },
    /// All of it was done.
    Completed,
    /// It failed.
    Failed,
}

/// How one path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is only on the newer side.
    Added,
    /// Its bytes differ.
    Modified,
    /// Only its executable bit differs.
    Mode,
    /// It became another kind of thing: a file, a link, an empty directory.
    Type,
    /// It is only on the older side.
    Removed,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The path inside the tree.
    pub path: TreePath,
    /// How it differs.
    pub kind: ChangeKind,
    /// The size in bytes of the newer side, of the older where there is none.
    pub size: u64,
    /// What the older side has.
    #[serde(skip)]
    pub before: Option<Entry>,
    /// What the newer side has.
    #[serde(skip)]
    pub after: Option<Entry>,
}

impl State {
    /// Nothing was tried, because nothing was to be.
    pub const NOT_STARTED: Self = Self::NotStarted { reason: None };

    /// Why nothing was tried, where that is not plain from what was asked for.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotStarted { reason } => reason.as_deref(),
            _ => None,
        }
    }
}

impl FileChange {
    /// Describes a difference; `None` where both sides are absent or equal.
    pub fn new(path: TreePath, before: Option<Entry>, after: Option<Entry>) -> Option<Self> {
        let kind = match (&before, &after) {
            (None, None) => return None,
            (None, Some(_)) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
            (Some(old), Some(new)) if old == new => return None,
            (Some(Entry::File { content: old, .. }), Some(Entry::File { content: new, .. }))
                if old == new =>
            {
                ChangeKind::Mode
            }
            (Some(Entry::File { .. }), Some(Entry::File { .. }))
            | (Some(Entry::Link { .. }), Some(Entry::Link { .. })) => ChangeKind::Modified,
            (Some(_), Some(_)) => ChangeKind::Type,
        };
        let size = after.as_ref().or(before.as_ref()).map_or(0, Entry::size);
        Some(Self {
            path,
            kind,
            size,
            before,
            after,
        })
    }
}

/// How many paths differ in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Only on the newer side.
    pub added: u64,
    /// On both, and different.
    pub changed: u64,
    /// Only on the older side.
    pub removed: u64,
}

impl Counts {
    /// Counts changes.
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a FileChange>) -> Self {
        let mut counts = Self::default();
        for change in changes {
            match change.kind {
                ChangeKind::Added => counts.added += 1,
                ChangeKind::Removed => counts.removed += 1,
                ChangeKind::Modified | ChangeKind::Mode | ChangeKind::Type => counts.changed += 1,
            }
        }
        counts
    }

    /// All of them.
    pub const fn total(self) -> u64 {
        self.added + self.changed + self.removed
    }
}

impl std::fmt::Display for Counts {
    /// `3 changed, 1 added`; nothing that is zero is named, unless all are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = [
            (self.changed, "changed"),
            (self.added, "added"),
            (self.removed, "removed"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
        if parts.is_empty() {
            f.pad("nothing changed")
        } else {
            f.pad(&parts.join(", "))
        }
    }
}

/// Something that was left out, or that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable code, listed in `docs/errors.md`.
    pub code: String,
    /// What happened, with its causes.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The path it is about; bytes that are not UTF-8 or would reach the terminal as control are escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Problem {
    /// Describes an error with its whole chain of causes.
    pub fn from_fault(fault: &(impl Fault + ?Sized)) -> Self {
        let mut message = fault.to_string();
        let mut cause = fault.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self {
            code: fault.code().to_owned(),
            message,
            hint: fault.hint(),
            path: None,
        }
    }
}

/// What went over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    /// Bytes sent, as counted on the socket.
    pub bytes_sent: u64,
    /// Bytes received, likewise.
    pub bytes_received: u64,
    /// HTTP requests, repeated ones included.
    pub requests: u64,
}

impl Traffic {
    /// What went over the wire since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent - before.bytes_sent,
            bytes_received: self.bytes_received - before.bytes_received,
            requests: self.requests - before.requests,
        }
    }
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Such as `push files`.
    pub operation: String,
    /// Whether everything that was asked for was done.
    pub success: bool,
    /// Whether nothing was to be done but say what would be.
    pub dry_run: bool,
    /// How far it came.
    pub state: State,
    /// Where the workspace stood to its tenant when the plan was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<crate::Standing>,
    /// How many paths were synced.
    pub items_synced: u64,
    /// How many were left out, each with its reason in `errors`.
    pub items_skipped: u64,
    /// What was left out or went wrong.
    pub errors: Vec<Problem>,
    /// The snapshot that both sides now agree on.
    pub snapshot: Option<SnapshotId>,
    /// Why that snapshot was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What went over the wire; `None` where that is told of several operations together.
    #[serde(flatten)]
    pub traffic: Option<Traffic>,
    /// How long it took in milliseconds.
    pub duration_ms: u64,
    /// What was, or would be, changed: on the tenant, but for a pull and an undo, which change the workspace.
    pub changes: Vec<FileChange>,
    /// What was, or would be, changed in the workspace by an operation that changes both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pulled: Vec<FileChange>,
    /// The texts that were, or would be, merged by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<TreePath>,
    /// What a person has to choose before anything is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<crate::Conflict>,
}

/// Free text on one line and without control characters.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::Content;

    #[test]
    fn kinds_of_change() {
        let file = |executable, byte: u8| {
            let chunk = sync_core::Chunk {
                digest: sync_core::Digest::of(&[byte]),
                len: 1,
            };
            Some(Entry::File {
                executable,
                content: Content {
                    depth: 0,
                    chunks: vec![chunk],
                },
            })
        };
        let kind = |before, after| {
            FileChange::new("a".parse().unwrap(), before, after).map(|change| change.kind)
        };
        assert_eq!(kind(None, file(false, 1)), Some(ChangeKind::Added));
        assert_eq!(kind(file(false, 1), None), Some(ChangeKind::Removed));
        assert_eq!(
            kind(file(false, 1), file(false, 2)),
            Some(ChangeKind::Modified)
        );
        assert_eq!(kind(file(false, 1), file(true, 1)), Some(ChangeKind::Mode));
        assert_eq!(
            kind(file(false, 1), Some(Entry::Directory)),
            Some(ChangeKind::Type)
        );
        assert_eq!(kind(file(false, 1), file(false, 1)), None);
        assert_eq!(kind(None, None), None);
    }

    #[test]
    fn counts_read_as_people_say_them() {
        assert_eq!(
            Counts {
                added: 1,
                changed: 3,
                removed: 0
            }
            .to_string(),
            "3 changed, 1 added"
        );
        assert_eq!(Counts::default().to_string(), "nothing changed");
    }
}
