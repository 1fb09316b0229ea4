//! A head moves, after everything that the new snapshot names was found to be there and well formed.

use std::slice::from_ref;

use snafu::ensure;
use sync_core::{Snapshot, SnapshotId};

use super::keep::{Kept, Look, Seen};
use super::lineage::MAX_LINEAGE;
use super::{Received, Repository};
use crate::catalogue::{Advanced, BranchRemoval, Expected, HeadChange, Removed};
use crate::error::Error;
use crate::pack::Class;
use crate::store::check_branch;

/// A head that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Which branch; it comes into being with its first head.
    pub branch: String,
    /// What its head has to be: a snapshot, or none.
    pub expected: Option<SnapshotId>,
    /// What its head becomes.
    pub target: SnapshotId,
    /// When, in milliseconds since 1970-01-01T00:00:00Z, for the log of heads.
    pub when: u64,
}

impl Repository {
    /// Moves a head by compare-and-swap to a snapshot of which everything is here, and records what was received with it.
    ///
    /// The snapshot's parents must be accepted snapshots of the tenant, now or once, or be here likewise: a parent that was
    /// never accepted is checked as the snapshot itself is, and so are its own, the oldest first; all of them are accepted
    /// then. Nodes of its maps that the first parent's
    /// have (the expected head's, where it has no parent) are trusted; every other node, entry, schema, row and chunk list is
    /// read and checked, and every chunk of a changed entry looked up with its length. A snapshot that was accepted before is not
    /// checked again. Once called this runs to its end, even if the future is dropped.
    ///
    /// # Errors
    ///
    /// The head has not moved. [`Error::Incomplete`]: objects are missing; what was received is recorded, so that only they
    /// have to be sent. [`Error::Malformed`], [`Error::UnknownSnapshot`] (a parent), [`Error::Name`]: what was received is
    /// not recorded. Other errors: the store failed, doing it again is safe.
    pub async fn advance(&self, received: Received, advance: Advance) -> Result<Advanced, Error> {
        self.advance_from(received, advance, None).await
    }

    /// Likewise, after [`Repository::keep`]: a target that was kept is not checked again, and of another one what the kept
    /// snapshot has is trusted. Where a collection has removed something since, this is as if nothing had been kept.
    ///
    /// # Errors
    ///
    /// As [`Repository::advance`].
    pub async fn advance_kept(
        &self,
        received: Received,
        advance: Advance,
        kept: Kept,
    ) -> Result<Advanced, Error> {
        self.advance_from(received, advance, Some(kept)).await
    }

    async fn advance_from(
        &self,
        received: Received,
        advance: Advance,
        kept: Option<Kept>,
    ) -> Result<Advanced, Error> {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                match this.advance_now(&received, &advance, kept.as_ref()).await {
                    // A collection removed something since it was seen: whatever is missing now is named.
                    Err(Error::Collected) => {}
                    outcome => return outcome,
                }
            }
        })
        .await?
    }

    async fn advance_now(
        &self,
        received: &Received,
        advance: &Advance,
        kept: Option<&Kept>,
    ) -> Result<Advanced, Error> {
        check_branch(&advance.branch)?;
        let head = self.head(&advance.branch).await?;
        if head == Some(advance.target) {
            self.record(received).await?;
            return Ok(Advanced::Already);
        }
        if head != advance.expected {
            self.record(received).await?;
            return Ok(Advanced::Stale { head });
        }
        // What is seen from here on and removed before the head moves is seen again.
        let generation = self.catalogue.marks(self.tenant.id).await?.generation;
        // What was seen before something was removed is worth nothing.
        let kept = kept.filter(|kept| kept.generation == generation);
        let checked = kept.filter(|kept| kept.snapshot == advance.target);
        let history = if let Some(checked) = checked {
            checked.history.clone()
        } else if self.is_accepted(advance.target).await? {
            Vec::new()
        } else {
            let look = Look {
                generation,
                base: advance.expected,
                trusted: kept.map(|kept| kept.roots),
                spare: false,
                most: MAX_LINEAGE,
            };
            let mut seen = Seen::new();
            let checked = self.check_closure(received, advance.target, look, &mut seen);
            checked.await?.history
        };
        let change = HeadChange {
            branch: advance.branch.clone(),
            expected: Expected::Is(advance.expected),
            target: advance.target,
            history,
            when: advance.when,
            generation: Some(generation),
        };
        let committed = self.store(received, from_ref(&change)).await?;
        // A commit that was given a head answers for it.
        Ok(committed.heads.first().copied().unwrap_or(Advanced::Moved))
    }

    /// Moves heads of different branches by compare-and-swap to snapshots that are stored, all of them or none, after
    /// everything that they name was checked as [`Repository::advance`] does; at most [`Repository::MOST_SNAPSHOTS`] come with
    /// them. Where one answer is [`Advanced::Stale`] no head has moved, whatever the others are.
    /// Once called this runs to its end, even if the future is dropped.
    ///
    /// # Errors
    ///
    /// As those of [`Repository::advance`]. No head has moved.
    pub async fn advance_together(&self, advances: Vec<Advance>) -> Result<Vec<Advanced>, Error> {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                match this.advance_all_now(&advances).await {
                    Err(Error::Collected) => {}
                    outcome => return outcome,
                }
            }
        })
        .await?
    }

    async fn advance_all_now(&self, advances: &[Advance]) -> Result<Vec<Advanced>, Error> {
        let generation = self.catalogue.marks(self.tenant.id).await?.generation;
        let nothing = Received::nothing();
        let mut checked = Seen::new();
        let mut changes = Vec::with_capacity(advances.len());
        for advance in advances {
            check_branch(&advance.branch)?;
            let target = advance.target;
            let history = if checked.contains_key(&target) || self.is_accepted(target).await? {
                Vec::new()
            } else {
                let look = Look {
                    generation,
                    base: None,
                    trusted: None,
                    spare: false,
                    most: Self::MOST_SNAPSHOTS,
                };
                let checking = self.check_closure(&nothing, target, look, &mut checked);
                checking.await?.history
            };
            changes.push(HeadChange {
                branch: advance.branch.clone(),
                expected: Expected::Is(advance.expected),
                target,
                history,
                when: advance.when,
                generation: Some(generation),
            });
        }
        Ok(self.store(&nothing, &changes).await?.heads)
    }

    /// The most snapshots that [`Repository::advance_together`] accepts at once: what is remembered of each has some 300 bytes.
    pub const MOST_SNAPSHOTS: usize = 1 << 17;

    /// Moves a head of a local store to a snapshot that is in it or in `received`, whatever the head was, and records both in
    /// one transaction. What the snapshot names is *not* looked for: a workspace's own store holds maps without contents.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownObject`] where the snapshot itself is neither stored nor received; nothing has changed then.
    pub async fn adopt(
        &self,
        received: Received,
        branch: &str,
        id: SnapshotId,
        when: u64,
    ) -> Result<Advanced, Error> {
        check_branch(branch)?;
        let pending = received.pending.as_deref();
        if pending
            .and_then(|pending| pending.record.place(&id.0))
            .is_none()
        {
            let stored = self.object(&id.0).await?;
            ensure!(
                stored.is_some(),
                crate::error::UnknownObjectSnafu { digest: id.0 }
            );
        }
        let change = HeadChange {
            branch: branch.to_owned(),
            expected: Expected::Any,
            target: id,
            history: Vec::new(),
            when,
            generation: None,
        };
        let committed = self.store(&received, from_ref(&change)).await?;
        Ok(committed.heads.first().copied().unwrap_or(Advanced::Moved))
    }

    /// Removes a branch whose head is `expected`, and what it keeps. Its snapshots are kept for the grace of a collection
    /// (ADR 0008), then as far as other branches do.
    pub async fn remove_branch(
        &self,
        branch: &str,
        expected: SnapshotId,
        when: u64,
    ) -> Result<Removed, Error> {
        let removal = BranchRemoval {
            branch: branch.to_owned(),
            expected,
            when,
        };
        self.catalogue.remove_head(self.tenant.id, &removal).await
    }

    /// Stores a snapshot, durable when this returns, and gives its name. No head moves.
    pub async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<SnapshotId, Error> {
        let (id, bytes) = snapshot.encode().map_err(|error| Error::Malformed {
            place: "the snapshot".to_owned(),
            reason: error.to_string(),
        })?;
        let _stored = self.put([(Class::Nodes, bytes)]).await?;
        Ok(id)
    }
}
