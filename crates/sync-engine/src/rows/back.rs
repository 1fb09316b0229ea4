//! Back to how rows were: of the tenant by a new snapshot, of the database by undoing its last change.

use snafu::OptionExt;
use sync_core::rows::TableCounts;
use sync_core::{Digest, SnapshotId};
use sync_rows::{OpenConflict, RowChange};

use super::apply::{Change, ensure_chosen};
use super::look::Look;
use super::plan::{LISTED, removal};
use super::{ReplacedRows, Rows, RowsOutcome, agreed_on, rows_of};
use crate::decide::Point;
use crate::error::{NoHeadSnafu, NothingToUndoSnafu};
use crate::event::{Telling, Way};
use crate::guard::{Limits, Place, Removal};
use crate::session::point;
use crate::{Error, OnConflict};

/// What a rollback or undo of rows would do.
#[derive(Debug)]
pub struct BackPlan {
    /// The snapshot whose rows come back; `None` for an undo.
    pub target: Option<SnapshotId>,
    /// What would be undone; `None` for a rollback.
    pub undone: Option<ReplacedRows>,
    /// What would change in the database, by table.
    pub pull: Vec<TableCounts>,
    /// What would change on the tenant, by table.
    pub push: Vec<TableCounts>,
    /// The first rows that would change in the database.
    pub rows: Vec<RowChange>,
    /// How many more there are.
    pub omitted: u64,
    /// What a person has to choose: edits since then of what would change.
    pub conflicts: Vec<OpenConflict>,
    look: Look,
    merged: Digest,
    wanted: Option<Point>,
    removals: Vec<Removal>,
}

impl Rows<'_> {
    /// Plans a new snapshot with the rows of the one whose id starts with `prefix`, and brings them into the database.
    /// Other edits stay, as they do with a pull.
    pub async fn plan_rollback(
        &self,
        prefix: &str,
        on_conflict: OnConflict,
    ) -> Result<BackPlan, Error> {
        let target = self.session.remote.resolve(prefix).await?;
        let target = point(target.id, &target.snapshot);
        let look = self.look().await?;
        look.ensure_branch()?;
        let head = look.head.context(NoHeadSnafu)?;
        let before = self.ensure_rows(Some(head), Some(&look.agreed)).await?;
        let wanted = self.ensure_rows(Some(target), Some(&look.agreed)).await?;
        let roots = [look.agreed.root, look.local, wanted];
        let mut plan = self.plan_back(look, roots, on_conflict).await?;
        plan.push = self.copy.sums(before, wanted).await?;
        let count = self.copy.row_count(before).await?;
        plan.removals
            .push(removal(Place::Tenant, &plan.push, count));
        plan.target = Some(target.id);
        plan.wanted = Some(target);
        Ok(plan)
    }

    /// Plans to bring back what the last pull, sync, rollback or undo replaced in the database.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToUndo`] where nothing was replaced yet, or the private store has lost it.
    pub async fn plan_undo(&self, on_conflict: OnConflict) -> Result<BackPlan, Error> {
        let look = self.look().await?;
        let undone = look.agreed.note.undo.clone().context(NothingToUndoSnafu)?;
        for root in [undone.after, undone.before] {
            if !self.copy.is_whole(root).await? {
                return NothingToUndoSnafu.fail();
            }
        }
        let roots = [undone.after, look.local, undone.before];
        let mut plan = self.plan_back(look, roots, on_conflict).await?;
        plan.undone = Some(undone);
        Ok(plan)
    }

    async fn plan_back(
        &self,
        look: Look,
        roots: [Digest; 3],
        on_conflict: OnConflict,
    ) -> Result<BackPlan, Error> {
        let merged = self.merge(roots, on_conflict).await?;
        let (_, rows, omitted) = self.copy.list(look.local, merged.root, LISTED).await?;
        let held = self.copy.row_count(look.local).await?;
        Ok(BackPlan {
            target: None,
            undone: None,
            removals: vec![removal(Place::Workspace, &merged.counts, held)],
            pull: merged.counts,
            push: Vec::new(),
            rows,
            omitted,
            conflicts: merged.conflicts,
            look,
            merged: merged.root,
            wanted: None,
        })
    }

    /// Does what `plan` says: of a rollback the new snapshot first, then the database; a run that ends in between is
    /// completed by a pull. An undo changes the database alone, and can be undone itself.
    ///
    /// # Errors
    ///
    /// As [`Rows::apply`].
    pub async fn apply_back(
        &self,
        plan: BackPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<RowsOutcome, Error> {
        let _lock = self.session.lock()?;
        ensure_chosen(&plan.conflicts)?;
        for removal in &plan.removals {
            limits.check(*removal)?;
        }
        let BackPlan {
            mut look,
            merged,
            wanted,
            pull,
            push,
            undone,
            ..
        } = plan;
        let note = look.agreed.note.clone();
        let mut outcome = RowsOutcome::default();
        let change = if let Some(target) = wanted {
            if !push.is_empty() {
                // Not yet agreed on: a run that ends here leaves a database that a pull brings up to date.
                let said = format!("roll back to {}", target.id.short());
                let message = message.unwrap_or(said);
                let telling = Telling::rows(&self.session.context.listener, Way::Push, &push);
                let sent = self
                    .send(&look, rows_of(Some(target)), true, &message)
                    .await?;
                telling.complete(Some(sent.0.id));
                look.head = Some(sent.0);
                outcome.set_aside_there = sent.1;
                outcome.message = Some(message);
            }
            Change {
                operation: "rollback",
                merged,
                agreed: agreed_on(look.head, note),
                undoes_agreement: false,
                tables: &pull,
            }
        } else {
            let undone = undone.context(NothingToUndoSnafu)?;
            let undoes_agreement = undone.agreed.is_some();
            let earlier = undone.agreed.map(|earlier| earlier.again(note));
            Change {
                operation: "undo",
                merged,
                agreed: earlier.unwrap_or_else(|| look.agreed.clone()),
                undoes_agreement,
                tables: &pull,
            }
        };
        outcome.snapshot = change.agreed.snapshot;
        self.change(&mut look, change, &mut outcome).await?;
        Ok(outcome)
    }
}
