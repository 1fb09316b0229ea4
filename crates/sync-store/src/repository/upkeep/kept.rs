//! Which snapshots are kept: those that branches keep by their retention, and whatever was a head a short while ago.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use sync_core::{Digest, SnapshotId};

use super::PAGE;
use crate::Error;
use crate::catalogue::HeadMove;
use crate::protocol::Retention;
use crate::repository::Repository;

impl Repository {
    /// The snapshots that are kept at `now`; what was a head within `grace` is.
    pub(super) async fn kept(&self, now: u64, grace: u64) -> Result<HashSet<SnapshotId>, Error> {
        let heads = self.heads().await?;
        let mut policies = Vec::with_capacity(heads.len());
        let mut longest = grace;
        for (branch, head) in &heads {
            let retention = self.retention(branch).await?;
            if let Retention::For(time) = retention {
                longest = longest.max(time);
            }
            policies.push((*head, retention));
        }
        let moves = self.moves_since(now.saturating_sub(longest)).await?;
        let recent = now.saturating_sub(grace);
        // A branch that was removed a short while ago can be made again, with all of its history.
        for line in moves
            .iter()
            .filter(|line| line.is_removal() && line.when > recent)
        {
            if self.is_accepted(line.to).await? {
                policies.push((line.to, Retention::All));
            }
        }
        let mut left = HashMap::new();
        for line in &moves {
            if let Some(from) = line.from {
                let last = left.entry(from).or_insert(line.when);
                *last = line.when.max(*last);
            }
        }
        let mut kept = HashSet::new();
        for (head, retention) in policies {
            kept.insert(head);
            self.keep_by(head, retention, now, &left, &mut kept).await?;
        }
        for line in moves.iter().filter(|line| line.when > recent) {
            for id in line.from.into_iter().chain([line.to]) {
                if !kept.contains(&id) && self.is_accepted(id).await? {
                    kept.insert(id);
                }
            }
        }
        Ok(kept)
    }

    /// The accepted snapshots that are not among `kept`.
    pub(super) async fn not_kept(
        &self,
        kept: &HashSet<SnapshotId>,
    ) -> Result<Vec<SnapshotId>, Error> {
        let end = SnapshotId(Digest::from_bytes([0xff; Digest::LEN]));
        let mut first = SnapshotId(Digest::from_bytes([0; Digest::LEN]));
        let mut found = Vec::new();
        loop {
            let tenant = self.tenant.id;
            let page = self.catalogue.snapshots(tenant, first, end, PAGE).await?;
            found.extend(page.iter().filter(|id| !kept.contains(id)));
            match page.last() {
                // A page begins with the last one of the page before.
                Some(last) if page.len() == PAGE => first = *last,
                _ => break,
            }
        }
        found.dedup();
        Ok(found)
    }

    /// The moves of heads, newest first, from `since` on; perhaps some older ones.
    async fn moves_since(&self, since: u64) -> Result<Vec<HeadMove>, Error> {
        let mut limit = PAGE;
        loop {
            let moves = self.head_moves(limit).await?;
            if moves.len() < limit || moves.last().is_some_and(|oldest| oldest.when < since) {
                return Ok(moves);
            }
            limit *= 2;
        }
    }

    /// Adds what a branch with this head keeps; `left` says when a snapshot was a head last.
    async fn keep_by(
        &self,
        head: SnapshotId,
        retention: Retention,
        now: u64,
        left: &HashMap<SnapshotId, u64>,
        kept: &mut HashSet<SnapshotId>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::from([head]);
        // In the order of the log: newest first; of equally old ones, the one that was found first.
        let mut ahead = BinaryHeap::from([(self.snapshot(head).await?.time, Reverse(0), head)]);
        let mut listed = 0;
        while let Some((_, _, id)) = ahead.pop() {
            listed += 1;
            let keeps = match retention {
                Retention::All => true,
                Retention::Last(count) => {
                    if listed > count.max(1) {
                        break;
                    }
                    true
                }
                Retention::For(time) => {
                    let since = now.saturating_sub(time);
                    id == head || left.get(&id).is_some_and(|left| *left >= since)
                }
            };
            if keeps {
                kept.insert(id);
            }
            for parent in self.snapshot(id).await?.parents {
                if seen.insert(parent) && self.is_accepted(parent).await? {
                    let time = self.snapshot(parent).await?.time;
                    ahead.push((time, Reverse(seen.len()), parent));
                }
            }
        }
        Ok(())
    }
}
