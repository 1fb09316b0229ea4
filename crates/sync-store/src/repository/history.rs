//! Snapshots and their history.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use snafu::{OptionExt, ensure};
use sync_core::{Digest, Release, Snapshot, SnapshotId};

use super::Repository;
use crate::Error;
use crate::catalogue::HeadMove;
use crate::error::{CorruptSnafu, ExpiredSnafu, UnknownSnapshotSnafu};
use crate::protocol::Retention;
use crate::store::check_branch;

/// The most snapshots that a prefix is resolved to.
const MAX_RESOLVED: usize = 16;
/// How many snapshots are counted at once.
const PAGE: usize = 4096;

impl Repository {
    /// An accepted snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSnapshot`] where the tenant has accepted none of this name, [`Error::Expired`] where it has and no
    /// branch keeps it.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Snapshot, Error> {
        if !self.is_accepted(id).await? {
            ensure!(!self.is_expired(id).await?, ExpiredSnafu { id });
            return UnknownSnapshotSnafu { id }.fail();
        }
        let corrupt = CorruptSnafu {
            digest: id.0,
            reason: "an accepted snapshot is not there, or is none",
        };
        let bytes = self.object(&id.0).await?.context(corrupt)?;
        Snapshot::decode(&bytes).ok().context(corrupt)
    }

    /// A release that a snapshot names, or that was sent; `None` where it is not here, or is none.
    pub async fn release(&self, digest: Digest) -> Result<Option<Release>, Error> {
        let bytes = self.object(&digest).await?;
        Ok(bytes.and_then(|bytes| Release::decode(&bytes).ok()))
    }

    /// The accepted snapshots whose ids start with `prefix`, hexadecimal digits, at most sixteen.
    /// What is not a prefix of an id resolves to none.
    pub async fn resolve(&self, prefix: &str) -> Result<Vec<SnapshotId>, Error> {
        let digits = 2 * Digest::LEN;
        if prefix.is_empty() || prefix.len() > digits {
            return Ok(Vec::new());
        }
        let bound = |rest: char| -> Option<SnapshotId> {
            let rest = std::iter::repeat_n(rest, digits - prefix.len());
            prefix.chars().chain(rest).collect::<String>().parse().ok()
        };
        let (Some(first), Some(last)) = (bound('0'), bound('f')) else {
            return Ok(Vec::new());
        };
        self.catalogue
            .snapshots(self.tenant.id, first, last, MAX_RESOLVED)
            .await
    }

    /// How many snapshots the tenant has accepted and keeps.
    pub async fn count_snapshots(&self) -> Result<u64, Error> {
        let bound = |byte| SnapshotId(Digest::from_bytes([byte; Digest::LEN]));
        let (mut first, mut count) = (bound(0), 0);
        loop {
            let page = self
                .catalogue
                .snapshots(self.tenant.id, first, bound(0xff), PAGE);
            let page = page.await?;
            // The first of a page is the last of the one before.
            let known = u64::from(count > 0);
            count += page.len() as u64 - known;
            match page.last() {
                Some(last) if page.len() == PAGE => first = *last,
                _ => return Ok(count),
            }
        }
    }

    /// The history of `from`, itself first: at most `limit` snapshots, each before its parents, newest first where
    /// their makers' clocks are right, back to where the branch no longer keeps them. Memory follows `limit`.
    pub async fn log(
        &self,
        from: SnapshotId,
        limit: usize,
    ) -> Result<Vec<(SnapshotId, Snapshot)>, Error> {
        let mut listed = Vec::new();
        if limit == 0 {
            return Ok(listed);
        }
        let first = self.snapshot(from).await?;
        let mut seen = HashSet::from([from]);
        // Newest first; of equally old ones, the one that was found first.
        let mut ahead = BinaryHeap::from([(first.time, Reverse(0), from)]);
        let mut snapshots = std::collections::HashMap::from([(from, first)]);
        while let Some((_, _, id)) = ahead.pop() {
            let Some(snapshot) = snapshots.remove(&id) else {
                continue;
            };
            let parents = snapshot.parents.clone();
            listed.push((id, snapshot));
            if listed.len() == limit {
                break;
            }
            for parent in parents {
                if seen.insert(parent) {
                    let found = match self.snapshot(parent).await {
                        // Known by name alone: history ends there.
                        Err(Error::Expired { .. }) => continue,
                        found => found?,
                    };
                    ahead.push((found.time, Reverse(seen.len()), parent));
                    snapshots.insert(parent, found);
                }
            }
        }
        Ok(listed)
    }

    /// The latest moves of the tenant's heads, newest first, at most `limit`.
    pub async fn head_moves(&self, limit: usize) -> Result<Vec<HeadMove>, Error> {
        self.catalogue.head_moves(self.tenant.id, limit).await
    }

    /// Whether the tenant had accepted this snapshot and no branch keeps it any more: it is known by name alone.
    pub async fn is_expired(&self, id: SnapshotId) -> Result<bool, Error> {
        let expired = self.catalogue.expired(self.tenant.id, &[id]).await?;
        Ok(expired.first() == Some(&true))
    }

    /// Notes names of snapshots that another tenant had accepted and no longer keeps: what comes after them can be accepted
    /// here, where they count as expired, too. Those that are accepted here stay so.
    pub async fn note_expired(&self, ids: &[SnapshotId]) -> Result<(), Error> {
        self.catalogue.note_expired(self.tenant.id, ids).await
    }

    /// What a branch keeps.
    pub async fn retention(&self, branch: &str) -> Result<Retention, Error> {
        self.catalogue.retention(self.tenant.id, branch).await
    }

    /// Sets what a branch keeps. The next collection acts by it.
    pub async fn set_retention(&self, branch: &str, retention: Retention) -> Result<(), Error> {
        check_branch(branch)?;
        let set = self
            .catalogue
            .set_retention(self.tenant.id, branch, retention);
        set.await
    }

    /// Whether the tenant has accepted this snapshot: everything that it names is here.
    pub async fn is_accepted(&self, id: SnapshotId) -> Result<bool, Error> {
        let accepted = self.catalogue.accepted(self.tenant.id, &[id]).await?;
        Ok(accepted.first() == Some(&true))
    }
}
