//! Whether everything that a snapshot names is here, asked before its head moves: a server applies the rows of a push to a
//! database in between.

use std::collections::HashMap;
use std::sync::Arc;

use sync_core::{Digest, Roots, SnapshotId};

use super::closure::{self, Found};
use super::lineage::{Link, MAX_LINEAGE};
use super::{Received, Repository, RepositoryNodes};
use crate::error::{Error, IncompleteSnafu};
use crate::protocol::prefix;
use crate::task;

/// A snapshot of which everything was found to be here: see [`Repository::keep`].
#[derive(Debug, Clone)]
pub struct Kept {
    pub(super) snapshot: SnapshotId,
    pub(super) roots: Roots,
    /// What it comes after and that was never accepted: everything of it is here, too.
    pub(super) history: Vec<SnapshotId>,
    /// Until something is removed again it holds.
    pub(super) generation: u64,
}

impl Kept {
    /// Which snapshot.
    pub const fn snapshot(&self) -> SnapshotId {
        self.snapshot
    }

    /// What it holds.
    pub const fn roots(&self) -> Roots {
        self.roots
    }
}

/// A snapshot of which everything is here.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) roots: Roots,
    /// What it comes after and that was never accepted, the oldest first: everything of it is here, too.
    pub(super) history: Vec<SnapshotId>,
}

/// How a snapshot is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// How often something had been removed before.
    pub(super) generation: u64,
    /// An accepted snapshot that is trusted where the new one has no parent.
    pub(super) base: Option<SnapshotId>,
    /// What is trusted instead.
    pub(super) trusted: Option<Roots>,
    /// Whether what is looked at is spared by collections for another grace time.
    pub(super) spare: bool,
    /// The most snapshots that may come with it.
    pub(super) most: usize,
}

/// What snapshots hold that were found to be here, and that nothing accepted names yet.
pub(super) type Seen = HashMap<SnapshotId, Roots>;

impl Repository {
    /// Checks everything that a snapshot names, as [`Repository::advance`] does, and records what was received, durably.
    /// No head moves: [`Repository::advance_kept`] then does that at little cost.
    ///
    /// What is kept survives collections for a grace time (ADR 0008), though nothing accepted names it.
    /// Once called this runs to its end, even if the future is dropped.
    ///
    /// # Errors
    ///
    /// As those of [`Repository::advance`], and what was received is recorded where it says so.
    pub async fn keep(&self, received: Received, snapshot: SnapshotId) -> Result<Kept, Error> {
        let this = self.clone();
        let keeping = async move {
            loop {
                let generation = this.generation().await?;
                this.catalogue
                    .spare(this.tenant.id, &[prefix(&snapshot.0)])
                    .await?;
                let look = Look {
                    generation,
                    base: None,
                    trusted: None,
                    spare: true,
                    most: MAX_LINEAGE,
                };
                let checked = if this.is_accepted(snapshot).await? {
                    Checked {
                        roots: this.snapshot(snapshot).await?.roots,
                        history: Vec::new(),
                    }
                } else {
                    this.check_closure(&received, snapshot, look, &mut Seen::new())
                        .await?
                };
                this.record(&received).await?;
                if this.generation().await? == generation {
                    return Ok(Kept {
                        snapshot,
                        roots: checked.roots,
                        history: checked.history,
                        generation,
                    });
                }
            }
        };
        tokio::spawn(keeping).await?
    }

    /// Checks everything that the map of tables under `after` names, trusting what the one under `before` has, and records
    /// what was received: for a workspace's own store, which takes in what a tenant sends.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`], [`Error::Malformed`], as for [`Repository::advance`].
    pub async fn keep_rows(
        &self,
        received: Received,
        before: Option<Digest>,
        after: Digest,
    ) -> Result<(), Error> {
        let this = self.clone();
        let rows = |rows| Roots {
            rows,
            ..Roots::default()
        };
        let keeping = async move {
            let reader = Arc::new(RepositoryNodes::new(this.clone(), &received));
            let (before, after) = (rows(before), rows(Some(after)));
            this.check_roots(&received, reader, before, after, true)
                .await?;
            this.record(&received).await.map(drop)
        };
        tokio::spawn(keeping).await?
    }

    async fn generation(&self) -> Result<u64, Error> {
        Ok(self.catalogue.marks(self.tenant.id).await?.generation)
    }

    /// Checks everything that a snapshot names, and what it comes after as far as that was never accepted and is not among those
    /// that were `checked`; now they are.
    pub(super) async fn check_closure(
        &self,
        received: &Received,
        id: SnapshotId,
        look: Look,
        checked: &mut Seen,
    ) -> Result<Checked, Error> {
        let mut reader = RepositoryNodes::new(self.clone(), received);
        if received.generation != Some(look.generation) {
            // A collection has removed something since: what was recorded then may be gone.
            reader.forget_rolled(received);
        }
        let reader = Arc::new(reader);
        let mut seen = checked.keys().copied().collect();
        let lineage = self.lineage(&reader, id, &mut seen, look.most).await?;
        if lineage.is_empty() {
            let missing = Found {
                missing: vec![id.0],
                total: 1,
            };
            return self.incomplete(received, missing).await;
        }
        let mut history = Vec::with_capacity(lineage.len() - 1);
        for Link {
            id: link,
            first_parent,
            roots,
            ..
        } in lineage
        {
            let is_target = link == id;
            let base = first_parent.or(look.base.filter(|_| is_target));
            let base = match (look.trusted.filter(|_| is_target), base) {
                (Some(trusted), _) => trusted,
                (None, Some(base)) => match checked.get(&base) {
                    Some(roots) => *roots,
                    // One that is known by name alone vouches for nothing.
                    None if self.is_expired(base).await? => Roots::default(),
                    None => self.snapshot(base).await?.roots,
                },
                (None, None) => Roots::default(),
            };
            let reader = Arc::clone(&reader);
            self.check_roots(received, reader, base, roots, look.spare)
                .await?;
            checked.insert(link, roots);
            if !is_target {
                history.push(link);
            }
        }
        let roots = checked.get(&id).copied().unwrap_or_default();
        Ok(Checked { roots, history })
    }

    async fn check_roots(
        &self,
        received: &Received,
        reader: Arc<RepositoryNodes>,
        base: Roots,
        roots: Roots,
        spare: bool,
    ) -> Result<(), Error> {
        let check = move || closure::check(&reader, &base, &roots, spare);
        let found = task::blocking(check).await?;
        if found.total > 0 {
            return self.incomplete(received, found).await;
        }
        Ok(())
    }

    /// Keeps what was received, so that only what is missing has to be sent.
    async fn incomplete<T>(&self, received: &Received, found: Found) -> Result<T, Error> {
        self.record(received).await?;
        let Found { missing, total } = found;
        IncompleteSnafu { missing, total }.fail()
    }
}
