//! What happens while an operation runs: typed, for a progress bar, a dashboard and a log alike.
//!
//! Events come in order: `sync:start`, then for each side that changes its start, items and end, then `sync:complete` or
//! `sync:error`. Progress and merges come in between.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sync_core::rows::{Decided, TableCounts, TableName};
use sync_core::{SnapshotId, TreePath};
use sync_local::{Change, LocalKind};
use tokio::time::Instant;

use crate::all::SyncReport;
use crate::merge::Conflict;
use crate::report::{ChangeKind, FileChange, Problem};
use crate::rows::Direction;

/// One step forward. `R` is the report that the last event carries.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event")]
pub enum Event<R = Box<SyncReport>> {
    /// An operation begins.
    #[serde(rename = "sync:start")]
    SyncStart {
        /// Such as `push all`.
        operation: String,
        /// Which way, where it is one of three.
        #[serde(skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
        /// When, in milliseconds since 1970-01-01T00:00:00Z.
        time: u64,
    },
    /// It came to its end; the report says what of it was done.
    #[serde(rename = "sync:complete")]
    SyncComplete {
        /// What was done.
        report: R,
    },
    /// It ended in an error, or waits for a person's choice.
    #[serde(rename = "sync:error")]
    SyncError {
        /// The error.
        #[serde(flatten)]
        problem: Problem,
        /// The exit code of its class.
        exit_code: u8,
        /// What was done before, where there is a report.
        #[serde(skip_serializing_if = "Option::is_none")]
        report: Option<R>,
    },
    /// A run that was cut short while it changed files was completed or taken back.
    #[serde(rename = "sync:recovered")]
    SyncRecovered {
        /// Whether it was completed; else it was taken back.
        finished: bool,
        /// Edits that were found on the way, each with the place where it is now.
        kept: Vec<String>,
    },
    /// The connection was lost: what is lacking is sent, or asked for, again.
    #[serde(rename = "sync:resuming")]
    SyncResuming {
        /// Which attempt this is, from 2.
        attempt: u32,
    },
    /// The workspace is about to change.
    #[serde(rename = "pull:start")]
    PullStart(Extent),
    /// One of the things that change there.
    #[serde(rename = "pull:item")]
    PullItem(Item),
    /// It has changed.
    #[serde(rename = "pull:complete")]
    PullComplete(Arrival),
    /// The tenant is about to change; the database, where items are pushed.
    #[serde(rename = "push:start")]
    PushStart(Extent),
    /// One of the things that change there.
    #[serde(rename = "push:item")]
    PushItem(Item),
    /// It has changed.
    #[serde(rename = "push:complete")]
    PushComplete(Arrival),
    /// Both sides changed the same, and a person has to choose.
    #[serde(rename = "merge:conflict")]
    MergeConflict(Undecided),
    /// Both sides changed the same, and it was decided.
    #[serde(rename = "merge:resolved")]
    MergeResolved(Resolved),
    /// How far something has come.
    #[serde(rename = "progress")]
    Progress(Progress),
    /// Changes are waited for.
    #[serde(rename = "watch:start")]
    WatchStart {
        /// Of what.
        targets: Vec<Target>,
    },
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The tree.
    Files,
    /// The rows of the database.
    Database,
    /// Skills, tree beside database.
    Skills,
    /// Content, likewise.
    Content,
    /// Access rules, likewise.
    AccessControl,
    /// All of a tenant in one archive; nobody configures it.
    #[serde(skip_deserializing)]
    Bundle,
}

impl Target {
    /// The word that people and programs read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Database => "database",
            Self::Skills => "skills",
            Self::Content => "content",
            Self::AccessControl => "access-control",
            Self::Bundle => "bundle",
        }
    }
}

impl Target {
    /// The kind of items, of those that are kept in tree and database.
    pub const fn kind(self) -> Option<LocalKind> {
        match self {
            Self::Files | Self::Database | Self::Bundle => None,
            Self::Skills => Some(LocalKind::Skills),
            Self::Content => Some(LocalKind::Content),
            Self::AccessControl => Some(LocalKind::AccessControl),
        }
    }
}

impl From<LocalKind> for Target {
    fn from(kind: LocalKind) -> Self {
        match kind {
            LocalKind::Skills => Self::Skills,
            LocalKind::Content => Self::Content,
            LocalKind::AccessControl => Self::AccessControl,
        }
    }
}

/// How much is about to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// What of.
    pub target: Target,
    /// How many paths, rows or items.
    pub items: u64,
    /// How many bytes of contents, of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Item {
    /// A path of the tree.
    File {
        /// [`Target::Files`].
        target: Target,
        /// Which.
        path: TreePath,
        /// How it changes.
        kind: ChangeKind,
        /// The bytes of its newer version, of the older where it goes.
        size: u64,
    },
    /// The rows of a table together.
    Table {
        /// [`Target::Database`].
        target: Target,
        /// Which table, and how many of its rows change.
        #[serde(flatten)]
        counts: TableCounts,
    },
    /// A skill, a page or a rule.
    Local {
        /// Of which kind.
        target: Target,
        /// What names it.
        key: String,
        /// Its file, or where that would be.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<TreePath>,
        /// What its source did to it.
        change: Change,
    },
}

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// What of.
    pub target: Target,
    /// How many paths, rows or items.
    pub items: u64,
    /// The snapshot that both sides agree on now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// How long it took since its start, in milliseconds.
    pub duration_ms: u64,
}

/// What a person has to choose about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "target", rename_all = "snake_case")]
pub enum Undecided {
    /// A path.
    Files(Conflict),
    /// A row.
    Database {
        /// What `sync-cli conflicts` knows it by.
        id: String,
        /// Its table.
        table: TableName,
        /// Its primary key: columns and values.
        key: Vec<(String, String)>,
        /// The columns that both sides changed.
        columns: Vec<String>,
    },
}

/// What was decided, though both sides had changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "target", rename_all = "snake_case")]
pub enum Resolved {
    /// A path.
    Files {
        /// Which.
        path: TreePath,
        /// How: `lines`, `ours`, `theirs` or `keep-both`.
        by: &'static str,
    },
    /// Rows of a table.
    Database(Decided),
}

/// How far something has come. It is told for every file, from several threads: it allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What of.
    pub target: Target,
    /// What is being done.
    pub phase: Phase,
    /// Files so far; chunks of files while they arrive; zero of rows.
    pub items: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// How many items there are, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_items: Option<u64>,
    /// How many bytes there are, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// A tree is hashed, or a database read.
    Reading,
    /// Contents go to the tenant.
    Sending,
    /// Contents come from it.
    Receiving,
    /// What came is put into its place.
    Applying,
}

impl Progress {
    /// Without totals.
    pub const fn new(target: Target, phase: Phase, items: u64, bytes: u64) -> Self {
        Self {
            target,
            phase,
            items,
            bytes,
            total_items: None,
            total_bytes: None,
        }
    }
}

/// Takes events; must not block.
pub type Listener = Arc<dyn Fn(Event) + Send + Sync>;

/// Which side changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Push,
    Pull,
}

/// A change that is told of from its start to its end; one that fails has no end of its own.
pub(crate) struct Telling {
    listener: Listener,
    way: Way,
    target: Target,
    items: u64,
    began: Instant,
}

impl Telling {
    /// Tells of paths that are about to change.
    pub(crate) fn files(listener: &Listener, way: Way, changes: &[FileChange]) -> Self {
        let entries = changes.iter().filter_map(|change| change.after.as_ref());
        let extent = Extent {
            target: Target::Files,
            items: changes.len() as u64,
            bytes: Some(entries.map(sync_core::Entry::size).sum()),
        };
        let items = changes.iter().map(|change| Item::File {
            target: Target::Files,
            path: change.path.clone(),
            kind: change.kind,
            size: change.size,
        });
        Self::begin(listener, way, extent, items)
    }

    /// Tells of rows that are about to change.
    pub(crate) fn rows(listener: &Listener, way: Way, tables: &[TableCounts]) -> Self {
        let extent = Extent {
            target: Target::Database,
            items: tables.iter().map(TableCounts::total).sum(),
            bytes: None,
        };
        let items = tables.iter().map(|counts| Item::Table {
            target: Target::Database,
            counts: counts.clone(),
        });
        Self::begin(listener, way, extent, items)
    }

    /// Tells of so much and each of its items.
    pub(crate) fn begin(
        listener: &Listener,
        way: Way,
        extent: Extent,
        items: impl Iterator<Item = Item>,
    ) -> Self {
        listener(match way {
            Way::Push => Event::PushStart(extent),
            Way::Pull => Event::PullStart(extent),
        });
        for item in items {
            listener(match way {
                Way::Push => Event::PushItem(item),
                Way::Pull => Event::PullItem(item),
            });
        }
        Self {
            listener: Arc::clone(listener),
            way,
            target: extent.target,
            items: extent.items,
            began: Instant::now(),
        }
    }

    /// Tells that it is done.
    pub(crate) fn complete(self, snapshot: Option<SnapshotId>) {
        let arrival = Arrival {
            target: self.target,
            items: self.items,
            snapshot,
            duration_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        (self.listener)(match self.way {
            Way::Push => Event::PushComplete(arrival),
            Way::Pull => Event::PullComplete(arrival),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(event: &Event, expected: &Value) {
        assert_eq!(&serde_json::to_value(event).unwrap(), expected);
    }

    #[test]
    fn events_are_flat_objects_with_a_tag() {
        let progress = Progress {
            total_bytes: Some(9),
            ..Progress::new(Target::Files, Phase::Sending, 1, 3)
        };
        check(
            &Event::Progress(progress),
            &json!({"event": "progress", "target": "files", "phase": "sending", "items": 1, "bytes": 3, "total_bytes": 9}),
        );
        let problem = Problem {
            code: "engine/conflict".to_owned(),
            message: "both".to_owned(),
            hint: None,
            path: None,
        };
        check(
            &Event::SyncError {
                problem,
                exit_code: 3,
                report: None,
            },
            &json!({"event": "sync:error", "code": "engine/conflict", "message": "both", "exit_code": 3}),
        );
        check(
            &Event::MergeConflict(Undecided::Database {
                id: "1".to_owned(),
                table: "agents".parse().unwrap(),
                key: vec![("id".to_owned(), "7".to_owned())],
                columns: Vec::new(),
            }),
            &json!({"event": "merge:conflict", "target": "database", "id": "1", "table": "agents",
                "key": [["id", "7"]], "columns": []}),
        );
    }

    #[test]
    fn what_was_decided_says_of_what_and_by_what() {
        let rows = Decided {
            table: "agents".parse().unwrap(),
            rows: 3,
            by: sync_core::rows::Decider::Rules,
        };
        check(
            &Event::MergeResolved(Resolved::Database(rows)),
            &json!({"event": "merge:resolved", "target": "database", "table": "agents", "rows": 3, "by": "rules"}),
        );
        let path = "a.md".parse().unwrap();
        check(
            &Event::MergeResolved(Resolved::Files { path, by: "lines" }),
            &json!({"event": "merge:resolved", "target": "files", "path": "a.md", "by": "lines"}),
        );
    }

    #[test]
    fn a_change_is_told_from_its_start_to_its_end() {
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let listener: Listener = {
            let told = Arc::clone(&told);
            Arc::new(move |event| {
                let event = serde_json::to_value(event).unwrap();
                told.lock().unwrap().push(event);
            })
        };
        let agents = TableCounts {
            created: 2,
            ..TableCounts::new("agents".parse().unwrap())
        };
        Telling::rows(&listener, Way::Pull, &[agents]).complete(None);
        let told = told.lock().unwrap();
        let item = json!({"event": "pull:item", "target": "database", "table": "agents",
            "created": 2, "updated": 0, "deleted": 0});
        assert_eq!(
            told[0],
            json!({"event": "pull:start", "target": "database", "items": 2})
        );
        assert_eq!(told[1], item);
        assert_eq!(told[2]["event"], "pull:complete");
        assert_eq!(told[2]["items"], 2);
        assert_eq!(told.len(), 3);
    }
}
