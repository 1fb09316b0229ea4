//! Back to how things were: of the tenant by a new snapshot, of the tree by undoing its last change.

use std::sync::Arc;

use snafu::OptionExt;
use sync_core::{Digest, SnapshotId};

use crate::Error;
use crate::error::{NoHeadSnafu, NothingToUndoSnafu};
use crate::guard::{Limits, Place};
use crate::look::Look;
use crate::merge::{Conflict, OnConflict, Rules};
use crate::pull::{Apply, ensure_chosen};
use crate::push::Step;
use crate::report::{FileChange, Problem};
use crate::session::{Session, blocking, point};
use crate::state::{Agreed, Replaced};
use crate::tree_map::{changes, removal};

/// What a rollback would do.
#[derive(Debug)]
pub struct RollbackPlan {
    /// The snapshot whose files come back.
    pub target: SnapshotId,
    /// What the new snapshot would change on the tenant, in path order.
    pub push: Vec<FileChange>,
    /// What would change in the tree, in path order.
    pub pull: Vec<FileChange>,
    /// What a person has to choose: edits of files that would change. Nothing is applied while there are any.
    pub conflicts: Vec<Conflict>,
    /// What the capture left out.
    pub refused: Vec<Problem>,
    step: Step,
    apply: Apply,
}

/// What an undo would do.
#[derive(Debug)]
pub struct UndoPlan {
    /// What would be undone.
    pub undone: Replaced,
    /// What would change in the tree, in path order.
    pub changes: Vec<FileChange>,
    /// What a person has to choose: edits since then of what would change. Nothing is applied while there are any.
    pub conflicts: Vec<Conflict>,
    /// What the capture left out.
    pub refused: Vec<Problem>,
    apply: Apply,
}

impl Session {
    /// Plans a new snapshot with the files of the one whose id starts with `prefix`, and brings them into the tree.
    /// Edits of other files stay, as they are with a pull.
    pub async fn plan_rollback(
        &self,
        prefix: &str,
        on_conflict: OnConflict,
    ) -> Result<RollbackPlan, Error> {
        let target = self.remote.resolve(prefix).await?;
        let target = point(target.id, &target.snapshot);
        let look = self.look().await?;
        look.ensure_branch()?;
        self.ensure_begun()?;
        let Look {
            agreed,
            seen,
            head,
            local,
            ..
        } = look;
        let head = head.context(NoHeadSnafu)?;
        let maps = local.maps.clone();
        self.attach(&maps).await?;
        let base = self.ensure_agreed(&maps, agreed).await?;
        let near = agreed.base.filter(|_| agreed.partial.is_none());
        for wanted in [head, target] {
            if !self.holds(&maps, wanted.files).await? {
                self.fetch_maps(&maps, wanted.id, near.map(|near| near.id))
                    .await?;
            }
        }
        let rules = Rules {
            on_conflict,
            ..Rules::default()
        };
        let merge = self
            .merge(&maps, [base, local.root, target.files], rules)
            .await?;
        let root = self.edited(&local, &merge.changes).await?;
        let before = local.root;
        let (pull, push, removals) = blocking(move || {
            let push = changes(&maps, head.files, target.files)?;
            let here = removal(Place::Workspace, &maps, before, &merge.changes)?;
            let there = removal(Place::Tenant, &maps, head.files, &push)?;
            Ok((merge.changes, push, (here, there)))
        })
        .await?;
        Ok(RollbackPlan {
            target: target.id,
            push: push.clone(),
            pull,
            conflicts: merge.conflicts,
            refused: local.refused.clone(),
            step: Step {
                onto: Some(head),
                root: target.files,
                changes: Arc::new(push),
                removal: removals.1,
                held: true,
            },
            apply: Apply {
                seen,
                agreed: Agreed::on(head),
                root,
                local,
                incoming: None,
                texts: merge.texts,
                removal: removals.0,
            },
        })
    }

    /// Does what `plan` says: the new snapshot first, then the tree. A run that ends in between is completed by a pull.
    ///
    /// # Errors
    ///
    /// As a sync.
    pub async fn apply_rollback(
        &self,
        plan: RollbackPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<Option<SnapshotId>, Error> {
        let RollbackPlan {
            target,
            pull,
            conflicts,
            step,
            mut apply,
            ..
        } = plan;
        ensure_chosen(&conflicts)?;
        limits.check(apply.removal)?;
        limits.check(step.removal)?;
        let _lock = self.lock_for(apply.seen)?;
        if !step.changes.is_empty() {
            // Not yet agreed on: a run that ends here leaves a tree that a pull brings up to date.
            let message = message.unwrap_or_else(|| format!("roll back to {}", target.short()));
            let pushed = self
                .advance(&apply.local, step, Some(message), false, None)
                .await?;
            apply.agreed = Agreed::on(pushed.target);
        }
        // The base stays when this is undone: what then is in the tree is a change against the tenant, and can be pushed.
        let snapshot = apply.agreed.base.map(|base| base.id);
        Box::pin(self.change_tree("rollback", pull, apply, None)).await?;
        Ok(snapshot)
    }

    /// Plans to bring back what the last pull, sync, rollback or undo replaced in the tree.
    /// What was edited since is kept where it can be, and is a conflict where it cannot.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToUndo`] where nothing was replaced yet, or the private store has lost it.
    pub async fn plan_undo(&self, on_conflict: OnConflict) -> Result<UndoPlan, Error> {
        let remembered = self.remembered()?;
        let undone = remembered.undo.context(NothingToUndoSnafu)?;
        let seen = remembered.agreed;
        let local = self.capture().await?;
        self.attach(&local.maps).await?;
        let roots: [Digest; 3] = [undone.after, local.root, undone.before];
        for root in roots {
            if !self.holds(&local.maps, root).await? {
                return NothingToUndoSnafu.fail();
            }
        }
        let rules = Rules {
            on_conflict,
            ..Rules::default()
        };
        let merge = self.merge(&local.maps, roots, rules).await?;
        let root = self.edited(&local, &merge.changes).await?;
        let removal = {
            let (maps, before, changes) = (local.maps.clone(), local.root, merge.changes.clone());
            blocking(move || removal(Place::Workspace, &maps, before, &changes)).await?
        };
        Ok(UndoPlan {
            changes: merge.changes,
            conflicts: merge.conflicts,
            refused: local.refused.clone(),
            apply: Apply {
                seen,
                agreed: undone.agreed.unwrap_or(seen),
                root,
                local,
                incoming: None,
                texts: merge.texts,
                removal,
            },
            undone,
        })
    }

    /// Does what `plan` says; undoing that again brings back what there is now.
    ///
    /// # Errors
    ///
    /// As a pull.
    pub async fn apply_undo(&self, plan: UndoPlan, limits: &Limits) -> Result<(), Error> {
        let UndoPlan {
            undone,
            changes,
            conflicts,
            apply,
            ..
        } = plan;
        ensure_chosen(&conflicts)?;
        limits.check(apply.removal)?;
        let seen = apply.seen;
        let _lock = self.lock_for(seen)?;
        let again = undone.agreed.is_some().then_some(seen);
        Box::pin(self.change_tree("undo", changes, apply, again)).await?;
        Ok(())
    }
}
