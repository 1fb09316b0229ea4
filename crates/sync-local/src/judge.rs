//! From what both sides have to what is to be done with each item.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use sync_core::{Digest, Entry, TreePath};
use sync_files::Patterns;

use crate::Error;
use crate::decide::{Direction, Rules, Seen, Side, Verdict, decide};
use crate::disk::{Captured, is_below};
use crate::kind::Kind;
use crate::plan::{Adopt, Change, LocalItem, LocalOptions, LocalPlan};
use crate::record::Key;
use crate::rows::{Base, Row, Rows};
use crate::said::Said;

/// Decides about every item.
pub(crate) fn judge<K: Kind>(
    mut captured: Captured<K>,
    mut said: Said,
    rows: &Rows,
    direction: Direction,
    options: &LocalOptions,
) -> Result<LocalPlan, Error> {
    let absent = absent_directories(&captured, rows, direction, options)?;
    said.refuse_foreign::<K>(rows);
    let units = std::mem::take(&mut captured.units).into_iter();
    let mut plan = LocalPlan {
        direction,
        items: Vec::new(),
        in_sync: 0,
        of: 0,
        problems: std::mem::take(&mut said.problems),
        left_out: std::mem::take(&mut captured.left_out),
        keep_going: options.keep_going,
        adopt: Vec::new(),
        units: units.map(|unit| (unit.home.clone(), unit)).collect(),
        unrecorded: BTreeMap::new(),
        edited: HashSet::new(),
        left: BTreeSet::new(),
        entries: std::mem::take(&mut captured.entries),
        cache: std::mem::take(&mut captured.cache),
    };
    plan.left_out.extend(absent);
    // A file that cannot be read may be the item that looks as if it were gone.
    let is_sure = plan.problems.is_empty() && plan.left_out.is_empty();
    plan.left_out.append(&mut said.hidden);
    if let Some(filter) = &options.filter {
        plan.problems.retain(|problem| problem.is_chosen(filter));
    }
    let mut judge = Judge {
        kind: &captured.kind,
        rules: Rules {
            direction,
            delete: options.delete,
            on_conflict: options.on_conflict,
            is_truth: false,
        },
        others: &rows.others,
        recorded: &rows.units,
        filter: options.filter.as_ref(),
        is_sure,
        plan,
        unsettled: HashSet::new(),
    };
    let keys = said.items.keys().chain(rows.bases.keys());
    let keys: BTreeSet<&Key> = keys.chain(rows.ours.keys()).collect();
    for key in keys {
        let on_disk = said.items.get(key);
        let known = Known {
            key,
            disk: on_disk.map(|(digest, _)| *digest),
            home: on_disk.map(|(_, home)| home),
            base: rows.bases.get(key),
            row: rows.ours.get(key),
        };
        if said.blocked.contains(key) || !judge.item(&known) {
            judge.unsettled.extend(known.home.cloned());
        }
    }
    let Judge {
        mut plan,
        unsettled,
        ..
    } = judge;
    if direction == Direction::ToDisk {
        plan.find_places(&captured.kind, &captured.tree, &said.failed);
    }
    let read = said.read.iter();
    let edited = read.filter(|home| rows.units.contains_key(home.as_str()));
    plan.edited = edited.cloned().collect();
    // A unit is written down once everything in it is agreed on.
    for (key, (_, home)) in &said.items {
        if said.read.contains(home) && !unsettled.contains(home) {
            let keys = plan.unrecorded.entry(home.clone()).or_default();
            keys.push(key.clone());
        }
    }
    Ok(plan)
}

/// What is known of one item.
struct Known<'k> {
    key: &'k Key,
    disk: Option<Digest>,
    home: Option<&'k TreePath>,
    base: Option<&'k Base>,
    row: Option<&'k Row>,
}

struct Judge<'j, K> {
    kind: &'j K,
    others: &'j HashMap<Key, Vec<Digest>>,
    /// By home: the stamp of what was agreed on.
    recorded: &'j HashMap<String, (String, usize)>,
    rules: Rules,
    filter: Option<&'j Patterns>,
    is_sure: bool,
    plan: LocalPlan,
    /// Homes of items that are not agreed on after the plan was applied.
    unsettled: HashSet<TreePath>,
}

impl<K: Kind> Judge<'_, K> {
    /// Decides about an item; whether both sides agree on it once that is done.
    fn item(&mut self, known: &Known<'_>) -> bool {
        let path = self.path(known);
        let is_chosen = |filter: &Patterns| path.as_ref().is_some_and(|path| filter.matches(path));
        if !self.filter.is_none_or(is_chosen) {
            return false;
        }
        let seen = self.seen(known);
        let target = match self.rules.direction.source() {
            Side::Disk => seen.database,
            Side::Database => seen.disk,
        };
        self.plan.of += u64::from(target.is_some());
        let to_database = self.rules.direction == Direction::ToDatabase;
        let others = self.others.get(known.key).map_or(&[][..], Vec::as_slice);
        let is_truth = K::FILES_ARE_TRUTH && to_database;
        let rules = Rules {
            // What another working copy has pushed is no edit of the database, and what it has taken away looks like one.
            is_truth: is_truth
                && match seen.database {
                    _ if self.rules.on_conflict == Some(Side::Disk) => true,
                    Some(database) => !others.contains(&database),
                    None => self.others.is_empty(),
                },
            // What only another working copy has agreed on goes with its file there.
            delete: self.rules.delete || is_truth && (known.base.is_some() || others.is_empty()),
            ..self.rules
        };
        // What is in no source that is configured is out of sight, and not gone.
        if path.is_none() && known.disk.is_none() && known.row.is_none() {
            return true;
        }
        let mut verdict = decide(seen, rules);
        if verdict == Verdict::Delete && to_database && !self.is_sure {
            verdict = Verdict::Orphan;
        }
        if let (Verdict::InSync, Some(home)) = (verdict, known.home) {
            self.plan.in_sync += 1;
            self.adopt(known, seen, home);
            return true;
        }
        // What is in no column is nobody's but the file's: one that is not byte for byte as it was agreed on does not go.
        let goes = verdict == Verdict::Delete && !to_database && !K::SHARES_FILES;
        let is_edited = goes && known.home.is_some_and(|home| !self.is_as_agreed(home));
        if is_edited {
            verdict = match self.rules.on_conflict {
                None => Verdict::Conflict,
                Some(Side::Disk) => Verdict::Ahead,
                Some(Side::Database) => verdict,
            };
        }
        let settles = verdict.is_change() || verdict == Verdict::Forget;
        if settles {
            let before = known.base.map(|base| base.path.clone());
            self.plan.left.extend(before);
        }
        self.plan.items.push(LocalItem {
            key: known.key.clone(),
            path,
            verdict,
            disk: if is_edited {
                Change::Edited
            } else {
                change(seen.base, seen.disk)
            },
            database: change(seen.base, seen.database),
            seen,
            mark: known.row.map(|row| row.mark.clone()),
            size: known.row.map_or(0, |row| row.size),
        });
        settles
    }

    /// Whether the files of a unit are as they were when all of it was agreed on.
    fn is_as_agreed(&self, home: &TreePath) -> bool {
        let unit = self.plan.units.get(home);
        let recorded = self.recorded.get(home.as_str());
        let stamps = unit.zip(recorded);
        stamps.is_some_and(|(unit, (stamp, _))| *stamp == unit.stamp.to_string())
    }

    /// Where the item is, or belongs. Whatever is written down: nothing outside of the directories of the kind is read,
    /// written or removed.
    fn path(&self, known: &Known<'_>) -> Option<TreePath> {
        let path = known.home.cloned().or_else(|| match known.base {
            Some(base) => TreePath::new(base.path.as_str()).ok(),
            None => known.row.and_then(|row| row.home.clone()),
        });
        path.filter(|path| self.kind.holds(path))
    }

    fn seen(&self, known: &Known<'_>) -> Seen {
        let mut seen = Seen {
            base: known.base.map(|base| base.digest),
            disk: known.disk,
            database: known.row.map(|row| row.digest),
        };
        // What only we can have made was agreed on, wherever that is written down.
        let is_managed = K::FILES_ARE_TRUTH && self.rules.direction == Direction::ToDatabase;
        let is_made = known.row.is_some_and(|row| row.is_made);
        if is_managed && is_made && seen.base.is_none() && seen.disk.is_none() {
            seen.base = seen.database;
        }
        seen
    }

    /// Notes an item that both sides have alike, unless that is written down already.
    fn adopt(&mut self, known: &Known<'_>, seen: Seen, home: &TreePath) {
        let mark = known.row.map(|row| row.mark.clone());
        let is_elsewhere = |base: &Base| base.path != home.as_str();
        let is_recorded = |base: &Base| {
            Some(base.digest) == seen.disk && base.mark == mark && !is_elsewhere(base)
        };
        if known.base.is_some_and(is_recorded) {
            return;
        }
        let before = known.base.filter(|base| is_elsewhere(base));
        let is_moved = before.is_some() && K::ROWS_HAVE_PATHS;
        self.plan.left.extend(before.map(|base| base.path.clone()));
        self.plan.adopt.push(Adopt {
            key: known.key.clone(),
            seen,
            home: home.clone(),
            mark,
            is_moved,
        });
    }
}

/// What a side made of what both agreed on.
fn change(base: Option<Digest>, now: Option<Digest>) -> Change {
    match (base, now) {
        (base, now) if base == now => Change::None,
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::Edited,
    }
}

/// A directory that is not there must not look like one from which everything was removed. Where nothing was ever in it,
/// it is told of, unless it may be missing.
fn absent_directories<K: Kind>(
    captured: &Captured<K>,
    rows: &Rows,
    direction: Direction,
    options: &LocalOptions,
) -> Result<Vec<Error>, Error> {
    if let Some(path) = captured.kind.missing().filter(|_| !rows.bases.is_empty()) {
        return Err(Error::NoDirectory {
            what: format!("the configuration of {}", K::NAME),
            path: path.to_owned(),
        });
    }
    let mut absent = Vec::new();
    for dir in captured
        .missing
        .iter()
        .filter(|_| direction == Direction::ToDatabase)
    {
        let error = Error::NoDirectory {
            what: dir.what.clone(),
            path: dir.path.to_string(),
        };
        let was_in = |base: &Base| is_below(&base.path, dir.path.as_str());
        let is_gone = |(key, row): (&Key, &Row)| {
            row.is_made && (options.delete || !rows.others.contains_key(key))
        };
        let is_made = K::FILES_ARE_TRUTH && rows.ours.iter().any(is_gone);
        if is_made || rows.bases.values().any(was_in) {
            return Err(error);
        }
        absent.extend((!dir.is_optional).then_some(error));
    }
    Ok(absent)
}

impl LocalPlan {
    /// Finds a place for what comes to the disk, and refuses what has none.
    fn find_places<K: Kind>(&mut self, kind: &K, tree: &Path, failed: &HashSet<TreePath>) {
        let mut refused = Vec::new();
        let mut taken: HashSet<String> = HashSet::new();
        let there: HashSet<&str> = self
            .entries
            .iter()
            .filter(|(_, entry)| !matches!(entry, Entry::Directory))
            .map(|(path, _)| kind.claim(path.as_str()))
            .collect();
        self.items.retain(|item| {
            if item.verdict != Verdict::Create {
                return true;
            }
            let Some(path) = &item.path else {
                refused.push(Error::Unnamable {
                    kind: K::NAME,
                    key: item.key.to_string(),
                    reason: "no file can be named for it where it belongs".to_owned(),
                });
                return false;
            };
            // A file of rules takes any number of items; anything else is one.
            let shares = K::SHARES_FILES && self.units.contains_key(path);
            let claim = kind.claim(path.as_str());
            let is_free = !there.contains(claim)
                && is_vacant(tree, path)
                && (K::SHARES_FILES || taken.insert(claim.to_owned()));
            if (shares || is_free) && !failed.contains(path) {
                return true;
            }
            refused.push(Error::InTheWay {
                kind: K::NAME,
                key: item.key.to_string(),
                path: path.to_string(),
            });
            false
        });
        self.problems.extend(refused);
    }
}

/// Whether nothing is where a file is to be, whatever of it is taken for part of the tree, and only directories lead there.
fn is_vacant(tree: &Path, path: &TreePath) -> bool {
    let stat = |path: &str| std::fs::symlink_metadata(tree.join(path));
    let leads = |dir: &TreePath| stat(dir.as_str()).is_ok_and(|found| !found.is_dir());
    !path.ancestors().any(|dir| leads(&dir)) && stat(path.as_str()).is_err()
}
