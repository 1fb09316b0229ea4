//! What would be done: every item that is not in sync, with what was decided about it and why.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use sync_core::{Entry, TreePath};
use sync_files::{Patterns, StatCache};

use crate::Error;
use crate::decide::{Direction, Seen, Side, Verdict};
use crate::kind::Unit;
use crate::record::Key;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// Whether what is gone at the source goes at the target.
    pub delete: bool,
    /// Who is right where both sides changed.
    pub on_conflict: Option<Side>,
    /// Whether what is fit is synced although something else is not.
    pub keep_going: bool,
    /// Only items whose files these patterns choose.
    pub filter: Option<Patterns>,
}

/// An item that is not in sync.
#[derive(Debug, Clone, Serialize)]
pub struct LocalItem {
    /// Which.
    pub key: Key,
    /// Its file, or where that would be; `None` where the item cannot be a file.
    pub path: Option<TreePath>,
    /// What is to be done.
    pub verdict: Verdict,
    /// What the disk did since both sides agreed.
    pub disk: Change,
    /// What the database did since then.
    pub database: Change,
    #[serde(skip)]
    pub(crate) seen: Seen,
    /// The version of the row that was seen.
    #[serde(skip)]
    pub(crate) mark: Option<String>,
    /// About how many bytes the row has.
    #[serde(skip)]
    pub(crate) size: usize,
}

/// What a side did to an item since both agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing.
    None,
    /// It made it.
    Added,
    /// It edited it.
    Edited,
    /// It removed it.
    Removed,
}

/// What one run would do, and what it was decided from. Making it changed nothing.
#[derive(Debug)]
pub struct LocalPlan {
    /// Which side is brought up to date.
    pub direction: Direction,
    /// Every item that is not in sync, in the order of keys.
    pub items: Vec<LocalItem>,
    /// How many items are in sync.
    pub in_sync: u64,
    /// How many items the target has.
    pub of: u64,
    /// What cannot be synced as it is; the run stops at it unless it is to keep going.
    pub problems: Vec<Error>,
    /// What is left out and may be items; nothing is removed because of that.
    pub left_out: Vec<Error>,
    pub(crate) keep_going: bool,
    /// Items that are in sync and not written down so: with their file and the version of the row.
    pub(crate) adopt: Vec<Adopt>,
    /// Units by home.
    pub(crate) units: HashMap<TreePath, Unit>,
    /// The items of each unit that has to be written down as it is.
    pub(crate) unrecorded: BTreeMap<TreePath, Vec<Key>>,
    /// Homes of units that are not as they were when all of them was agreed on: their files speak for themselves.
    pub(crate) edited: HashSet<TreePath>,
    /// Homes that may have lost their last item.
    pub(crate) left: BTreeSet<String>,
    pub(crate) entries: HashMap<TreePath, Entry>,
    pub(crate) cache: StatCache,
}

/// An item that both sides have alike.
#[derive(Debug, Clone)]
pub(crate) struct Adopt {
    pub(crate) key: Key,
    pub(crate) seen: Seen,
    pub(crate) home: TreePath,
    pub(crate) mark: Option<String>,
    /// Whether its file is another one than was written down.
    pub(crate) is_moved: bool,
}

impl LocalPlan {
    /// The items that change the target.
    pub fn changes(&self) -> impl Iterator<Item = &LocalItem> {
        self.items.iter().filter(|item| item.verdict.is_change())
    }

    /// The items about which a person has to decide.
    pub fn conflicts(&self) -> impl Iterator<Item = &LocalItem> {
        let conflicts = self.items.iter();
        conflicts.filter(|item| item.verdict == Verdict::Conflict)
    }

    /// How many items go from the target.
    pub fn removed(&self) -> u64 {
        self.count(Verdict::Delete)
    }

    /// How many items come to the target.
    pub fn added(&self) -> u64 {
        self.count(Verdict::Create)
    }

    /// How many items have this verdict.
    pub fn count(&self, verdict: Verdict) -> u64 {
        let items = self.items.iter();
        items.filter(|item| item.verdict == verdict).count() as u64
    }

    /// Whether applying it changes nothing, not even what is written down.
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none()
            && self.adopt.is_empty()
            && self.unrecorded.is_empty()
            && self.count(Verdict::Forget) == 0
    }

    /// Why it must not be applied; `None` where it may be. A plan that is to keep going may always be.
    pub fn refusal(&self) -> Option<Error> {
        if self.keep_going {
            return None;
        }
        if !self.problems.is_empty() {
            let count = self.problems.len();
            return Some(Error::Unfit { count });
        }
        let keys: Vec<String> = self.conflicts().map(|item| item.key.to_string()).collect();
        (!keys.is_empty()).then_some(Error::Conflict { keys })
    }
}
