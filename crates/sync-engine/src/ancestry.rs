//! What snapshots come from: the history of each, read page by page, and where two of them meet.

use std::collections::{HashMap, HashSet, VecDeque};

use sync_core::{Snapshot, SnapshotId};
use sync_store::protocol::MAX_LOG;

use crate::{Error, Remote};

/// How many snapshots are asked for at first: histories mostly meet a few snapshots back.
const FIRST_PAGE: usize = 50;

/// The history of a snapshot, as far as it was read, and as far as the tenant keeps it.
#[derive(Debug)]
pub(crate) struct Ancestry<'r> {
    remote: &'r Remote,
    start: SnapshotId,
    known: HashMap<SnapshotId, Snapshot>,
    /// Where the next pages begin.
    open: VecDeque<SnapshotId>,
    page: usize,
}

impl<'r> Ancestry<'r> {
    /// The history of `start`; nothing is read yet.
    pub(crate) fn new(remote: &'r Remote, start: SnapshotId) -> Self {
        Self {
            remote,
            start,
            known: HashMap::new(),
            open: VecDeque::from([start]),
            page: FIRST_PAGE,
        }
    }

    /// The history of nothing; `start` only completes it.
    pub(crate) fn none(remote: &'r Remote, start: SnapshotId) -> Self {
        Self {
            open: VecDeque::new(),
            ..Self::new(remote, start)
        }
    }

    /// A snapshot of it that was read.
    pub(crate) fn get(&self, id: SnapshotId) -> Option<&Snapshot> {
        self.known.get(&id)
    }

    /// Reads another page; says whether there was any.
    async fn more(&mut self) -> Result<bool, Error> {
        let Some(from) = self.open.pop_front() else {
            return Ok(false);
        };
        if self.known.contains_key(&from) {
            return Ok(true);
        }
        let page = match self.remote.log(from, self.page).await {
            Ok(page) => page,
            // The tenant keeps no more: history ends there.
            Err(error) if error.is_expired() || error.is_unknown_snapshot() => return Ok(true),
            Err(error) => return Err(error),
        };
        let is_last = page.len() < self.page;
        self.page = MAX_LOG;
        let parents: Vec<SnapshotId> = page
            .iter()
            .flat_map(|logged| logged.snapshot.parents.clone())
            .collect();
        self.known
            .extend(page.into_iter().map(|logged| (logged.id, logged.snapshot)));
        // What the last page does not have is not kept.
        let unread = parents
            .into_iter()
            .filter(|id| !is_last && !self.known.contains_key(id));
        self.open.extend(unread);
        Ok(true)
    }

    /// The nearest snapshot that both histories have; of several that are equally near, the newest.
    pub(crate) async fn meet(&mut self, other: &mut Self) -> Result<Option<SnapshotId>, Error> {
        loop {
            let (here, there) = tokio::join!(self.more(), other.more());
            let is_more = here? | there?;
            let found = nearest(self.start, &self.known, &other.known);
            if found.is_some() || !is_more {
                return Ok(found);
            }
        }
    }

    /// The snapshots of this history that neither `other` nor `known` has, each after its parents; and the parents of those
    /// that are nowhere, because the tenant no longer keeps them.
    pub(crate) async fn beyond(
        &mut self,
        other: &Ancestry<'_>,
        known: &HashSet<SnapshotId>,
    ) -> Result<(Vec<SnapshotId>, Vec<SnapshotId>), Error> {
        loop {
            let is_there = |id: SnapshotId| other.known.contains_key(&id) || known.contains(&id);
            let (found, lost) = beyond(self.start, &self.known, is_there);
            if lost.is_empty() || !self.more().await? {
                return Ok((found, lost));
            }
        }
    }
}

/// The snapshots that are only here, each after its parents, and the parents of those that are nowhere.
fn beyond(
    start: SnapshotId,
    here: &HashMap<SnapshotId, Snapshot>,
    is_there: impl Fn(SnapshotId) -> bool,
) -> (Vec<SnapshotId>, Vec<SnapshotId>) {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    let mut seen = HashSet::from([start]);
    let mut open = vec![(start, false)];
    while let Some((id, is_done)) = open.pop() {
        if is_done {
            found.push(id);
            continue;
        }
        if is_there(id) {
            continue;
        }
        let Some(snapshot) = here.get(&id) else {
            lost.push(id);
            continue;
        };
        open.push((id, true));
        let parents = snapshot
            .parents
            .iter()
            .filter(|parent| seen.insert(**parent));
        open.extend(parents.map(|parent| (*parent, false)));
    }
    (found, lost)
}

/// Of what both have, the nearest to `start`: what is reached without passing another one, and comes before none of them.
/// One of the two may know it by name alone, as what a snapshot comes after, because it no longer keeps it.
fn nearest(
    start: SnapshotId,
    here: &HashMap<SnapshotId, Snapshot>,
    there: &HashMap<SnapshotId, Snapshot>,
) -> Option<SnapshotId> {
    let named = there.values().flat_map(|snapshot| &snapshot.parents);
    let named: HashSet<&SnapshotId> = there.keys().chain(named).collect();
    let mut reached = Vec::new();
    let mut seen = HashSet::from([start]);
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        let snapshot = here.get(&id);
        if named.contains(&id) {
            let is_kept = snapshot.is_some() || there.contains_key(&id);
            reached.extend(is_kept.then_some(id));
        } else if let Some(snapshot) = snapshot {
            open.extend(snapshot.parents.iter().filter(|id| seen.insert(**id)));
        }
    }
    let is_outdone = |id: SnapshotId| {
        let mut others = reached.iter().filter(|other| **other != id);
        others.any(|other| comes_from(*other, id, here))
    };
    let best = reached.iter().filter(|id| !is_outdone(**id));
    best.copied()
        .max_by_key(|id| (here.get(id).map(|found| found.time), *id))
}

/// Whether `early` is in the history of `late`.
fn comes_from(late: SnapshotId, early: SnapshotId, known: &HashMap<SnapshotId, Snapshot>) -> bool {
    let mut seen = HashSet::from([late]);
    let mut open = vec![late];
    while let Some(id) = open.pop() {
        if id == early {
            return true;
        }
        let parents = known.get(&id).into_iter().flat_map(|found| &found.parents);
        open.extend(parents.filter(|id| seen.insert(**id)));
    }
    false
}

#[cfg(test)]
mod tests {
    use sync_core::{Digest, Roots};

    use super::*;

    fn id(name: &str) -> SnapshotId {
        SnapshotId(Digest::of(name.as_bytes()))
    }

    /// Each word is a snapshot and its parents, `c:a,b`; the later a word, the newer.
    fn history(words: &str) -> HashMap<SnapshotId, Snapshot> {
        let snapshot = |(time, word): (usize, &str)| {
            let (name, parents) = word.split_once(':').unwrap_or((word, ""));
            let parents = parents.split(',').filter(|parent| !parent.is_empty());
            let snapshot = Snapshot {
                author: String::new(),
                message: String::new(),
                parents: parents.map(id).collect(),
                roots: Roots::default(),
                time: time as u64,
            };
            (id(name), snapshot)
        };
        words.split(' ').enumerate().map(snapshot).collect()
    }

    #[track_caller]
    fn check(start: &str, here: &str, there: &str, meet: Option<&str>, alone: &[&str]) {
        let (here, there) = (history(here), history(there));
        assert_eq!(nearest(id(start), &here, &there), meet.map(id));
        let (found, lost) = beyond(id(start), &here, |id| there.contains_key(&id));
        assert_eq!(found, alone.iter().copied().map(id).collect::<Vec<_>>());
        assert_eq!(lost, []);
    }

    #[test]
    fn where_two_histories_meet() {
        check("a", "a", "a", Some("a"), &[]);
        check("a", "a", "x", None, &["a"]);
        check("c", "a b:a c:b", "a", Some("a"), &["b", "c"]);
        check("a", "a", "a b:a", Some("a"), &[]);
        check("c", "a b:a c:b", "a x:a y:x", Some("a"), &["b", "c"]);
        // A merge that took in the other side is nearer than where both began.
        check(
            "m",
            "a x:a b:a m:b,x n:m",
            "a x:a y:x",
            Some("x"),
            &["b", "m"],
        );
        // Both merged the other: the newer of the two is taken.
        check("p", "a b:a x:a p:b,x", "a b:a x:a q:x,b", Some("x"), &["p"]);
        // One of the two no longer keeps where they meet; where neither does, there is nothing to compare with.
        check("c", "b:a c:b", "a", Some("a"), &["b", "c"]);
        assert_eq!(
            nearest(id("b"), &history("a b:a"), &history("y:a")),
            Some(id("a"))
        );
        assert_eq!(nearest(id("b"), &history("b:a"), &history("y:a")), None);
        let (found, lost) = beyond(id("c"), &history("b:a c:b"), |known| known == id("x"));
        assert_eq!((found, lost), (vec![id("b"), id("c")], vec![id("a")]));
    }
}
