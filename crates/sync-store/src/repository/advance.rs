//! A head moves, after everything that the new snapshot names was found to be there and well formed.

use std::sync::Arc;

use snafu::ensure;
use sync_core::{Snapshot, SnapshotId};

use super::closure::{self, Found};
use super::{Received, Repository, RepositoryNodes};
use crate::catalogue::{Advanced, Expected, HeadChange};
use crate::error::{Error, IncompleteSnafu, UnknownSnapshotSnafu};
use crate::pack::Class;
use crate::store::check_branch;
use crate::task;

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
    /// The snapshot's parents must be accepted snapshots of the tenant, now or once. Nodes of its map that the first parent's map has
    /// (the expected head's, where it has no parent) are trusted; every other node, entry and chunk list is read and
    /// checked, and every chunk of a changed entry looked up with its length. A snapshot that was accepted before is not
    /// checked again. Once called this runs to its end, even if the future is dropped.
    ///
    /// # Errors
    ///
    /// The head has not moved. [`Error::Incomplete`]: objects are missing; what was received is recorded, so that only they
    /// have to be sent. [`Error::Malformed`], [`Error::UnknownSnapshot`] (a parent), [`Error::Name`]: what was received is
    /// not recorded. Other errors: the store failed, doing it again is safe.
    pub async fn advance(&self, received: Received, advance: Advance) -> Result<Advanced, Error> {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                match this.advance_now(&received, &advance).await {
                    // A collection removed something since it was seen: whatever is missing now is named.
                    Err(Error::Collected) => {}
                    outcome => return outcome,
                }
            }
        })
        .await?
    }

    async fn advance_now(&self, received: &Received, advance: &Advance) -> Result<Advanced, Error> {
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
        if !self.is_accepted(advance.target).await? {
            self.check_closure(received, advance, generation).await?;
        }
        let change = HeadChange {
            branch: advance.branch.clone(),
            expected: Expected::Is(advance.expected),
            target: advance.target,
            when: advance.when,
            generation: Some(generation),
        };
        let advanced = self.store(received, Some(&change)).await?;
        // A commit that was given a head answers for it.
        Ok(advanced.unwrap_or(Advanced::Moved))
    }

    async fn check_closure(
        &self,
        received: &Received,
        advance: &Advance,
        generation: u64,
    ) -> Result<(), Error> {
        let mut reader = RepositoryNodes::new(self.clone(), received);
        if received.generation != Some(generation) {
            // A collection has removed something since: what was recorded then may be gone.
            reader.forget_rolled();
        }
        let reader = Arc::new(reader);
        let id = advance.target;
        let read = Arc::clone(&reader);
        let read = move || read.object(&id.0);
        let Some(bytes) = task::blocking(read).await? else {
            self.record(received).await?;
            let missing = vec![id.0];
            return IncompleteSnafu {
                missing,
                total: 1u64,
            }
            .fail();
        };
        let snapshot = closure::snapshot(id, &bytes)?;
        for parent in &snapshot.parents {
            let known = self.is_accepted(*parent).await? || self.is_expired(*parent).await?;
            ensure!(known, UnknownSnapshotSnafu { id: *parent });
        }
        let base = snapshot.parents.first().copied().or(advance.expected);
        let base = match base {
            // One that is known by name alone vouches for nothing.
            Some(base) if self.is_expired(base).await? => None,
            Some(base) => self.snapshot(base).await?.roots.files,
            None => None,
        };
        let Some(root) = snapshot.roots.files else {
            return Ok(());
        };
        let check = move || closure::check(&reader, base, root);
        let Found { missing, total } = task::blocking(check).await?;
        if total > 0 {
            self.record(received).await?;
            return IncompleteSnafu { missing, total }.fail();
        }
        Ok(())
    }

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
            when,
            generation: None,
        };
        let adopted = self.store(&received, Some(&change)).await?;
        Ok(adopted.unwrap_or(Advanced::Moved))
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
