//! Both ways: what the tenant has comes, what the workspace has goes, and what both changed is merged.

use std::sync::Arc;

use sync_core::{SnapshotId, TreePath};

use crate::Error;
use crate::decide::Standing;
use crate::guard::{Limits, Place};
use crate::look::Look;
use crate::merge::{Conflict, OnConflict, Rules};
use crate::pull::{PullPlan, ensure_chosen};
use crate::push::{Going, Rest, Step, ensure_none_left_out};
use crate::report::{FileChange, Problem};
use crate::session::{Session, blocking};
use crate::tree_map::{changes, removal};

/// What a sync would do, on both sides.
#[derive(Debug)]
pub struct SyncPlan {
    /// Where the workspace stands to its tenant.
    pub standing: Standing,
    /// What would change in the tree, in path order.
    pub pull: Vec<FileChange>,
    /// What the new snapshot would change on the tenant, in path order.
    pub push: Vec<FileChange>,
    /// The texts that would be merged by line.
    pub merged: Vec<TreePath>,
    /// What a person has to choose; nothing is applied while there are any.
    pub conflicts: Vec<Conflict>,
    /// What the capture left out.
    pub refused: Vec<Problem>,
    /// Names that would be one on a file system that ignores case.
    pub collisions: Vec<Problem>,
    incoming: PullPlan,
    outgoing: Step,
    vacant: bool,
}

/// What a sync did.
#[derive(Debug)]
pub struct SyncOutcome {
    /// The snapshot that both sides agree on now; `None` for an empty workspace at an empty branch.
    pub snapshot: Option<SnapshotId>,
    /// Why it was made, where this sync made it.
    pub message: Option<String>,
}

impl Session {
    /// Plans a sync: a merge of what both sides made of what they last agreed on.
    ///
    /// Disjoint changes merge by themselves, texts by line where the lines are apart; the rest is done as `on_conflict` says.
    /// Paths under `files.restricted` are never merged by line. The result does not depend on which side runs first.
    pub async fn plan_sync(&self, on_conflict: OnConflict) -> Result<SyncPlan, Error> {
        let look = self.look().await?;
        Box::pin(self.plan_sync_of(look, on_conflict)).await
    }

    /// Plans a sync of what was looked at.
    pub(crate) async fn plan_sync_of(
        &self,
        look: Look,
        on_conflict: OnConflict,
    ) -> Result<SyncPlan, Error> {
        let vacant = look.vacant;
        let head_files = look.head_files();
        let rules = Rules {
            lines: true,
            on_conflict,
            ..Rules::default()
        };
        let mut incoming = self.plan_merge(look, rules).await?;
        let root = incoming.apply.root;
        let maps = incoming.apply.local.maps.clone();
        self.attach(&maps).await?;
        let agreed = incoming.apply.agreed;
        let before = if head_files == root {
            root
        } else {
            self.ensure_agreed(&maps, agreed).await?
        };
        let (found, removal) = blocking(move || {
            let found = changes(&maps, before, root)?;
            let removal = removal(Place::Tenant, &maps, before, &found)?;
            Ok((found, removal))
        })
        .await?;
        ensure_none_left_out(&found, &incoming.refused)?;
        Ok(SyncPlan {
            standing: incoming.standing,
            pull: incoming.changes.clone(),
            push: found.clone(),
            merged: std::mem::take(&mut incoming.merged),
            conflicts: incoming.conflicts.clone(),
            refused: incoming.refused.clone(),
            collisions: std::mem::take(&mut incoming.collisions),
            outgoing: Step {
                onto: incoming.head,
                root,
                removal,
                changes: Arc::new(found),
                held: false,
            },
            incoming,
            vacant,
        })
    }

    /// Does what `plan` says: first the tree, then the tenant. Each is all or nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the plan has conflicts, [`Error::Removes`] and [`Error::Empties`] where it removes more than
    /// `limits` allow: nothing is changed then. [`Error::Stale`] where somebody else moved the branch: what came is in the
    /// tree by then, and a new plan goes on from there.
    pub async fn apply_sync(
        &self,
        plan: SyncPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<SyncOutcome, Error> {
        let _lock = self.lock()?;
        match self.begin_sync(plan, limits).await? {
            Rest::Nothing { snapshot } => Ok(SyncOutcome {
                snapshot,
                message: None,
            }),
            Rest::Goes(going) => {
                let pushed = self.send_files(*going, message).await?;
                Ok(SyncOutcome {
                    snapshot: Some(pushed.target.id),
                    message: Some(pushed.message),
                })
            }
        }
    }

    /// Brings what a sync brings into the tree, under the caller's lock.
    pub(crate) async fn begin_sync(&self, plan: SyncPlan, limits: &Limits) -> Result<Rest, Error> {
        let SyncPlan {
            incoming,
            outgoing,
            vacant,
            ..
        } = plan;
        ensure_chosen(&incoming.conflicts)?;
        limits.check(outgoing.removal)?;
        self.ensure_seen(incoming.apply.seen)?;
        self.begin_branch().await?;
        let snapshot = incoming.head.map(|head| head.id);
        let (local, _) = Box::pin(self.apply_merge("sync", incoming, limits)).await?;
        if outgoing.changes.is_empty() {
            return Ok(Rest::Nothing { snapshot });
        }
        Ok(Rest::Goes(Box::new(Going {
            local,
            step: outgoing,
            vacant,
        })))
    }
}
