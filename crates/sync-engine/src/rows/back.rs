//! Back to how rows were: of the tenant by a new snapshot, of the database by undoing its last change.

use snafu::OptionExt;
use sync_core::rows::TableCounts;
use sync_core::{Digest, SnapshotId};

use super::apply::{agreed_on, ensure_chosen};
use super::changes::{counts, list, row_count};
use super::look::{Look, holds};
use super::plan::removal;
use super::{Agreed, OpenConflict, ReplacedRows, RowChange, Rows, RowsOutcome};
use crate::decide::Point;
use crate::error::{NoHeadSnafu, NothingToUndoSnafu};
use crate::guard::{Limits, Place, Removal};
use crate::session::{blocking, point};
use crate::{Error, OnConflict};

/// How many rows a plan lists with their columns.
const LISTED: usize = 1000;

/// What a rollback or undo of rows would do.
#[derive(Debug)]
pub struct BackPlan {
    /// The snapshot whose rows come back; `None` for an undo.
    pub target: Option<SnapshotId>,
    /// What would be undone.
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
        let near = look.agreed.snapshot;
        self.ensure_rows(&look.private, head, near).await?;
        let wanted = self.ensure_rows(&look.private, target, near).await?;
        let roots = [look.agreed.root, look.local, wanted];
        let mut plan = self.plan_back(look, roots, on_conflict).await?;
        let (nodes, before) = (plan.look.nodes(), plan.look.head_rows());
        let (push, held) = blocking(move || {
            Ok((counts(&nodes, before, wanted)?, row_count(&nodes, before)?))
        })
        .await?;
        plan.removals.push(removal(Place::Tenant, &push, held));
        plan.push = push;
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
            if !holds(&look.private, root).await? {
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
        let merge = self.merge(&look, roots, on_conflict).await?;
        let (nodes, local, merged) = (look.nodes(), look.local, merge.root);
        let (rows, omitted, held) = blocking(move || {
            let (_, rows, omitted) = list(&nodes, local, merged, LISTED)?;
            Ok((rows, omitted, row_count(&nodes, local)?))
        })
        .await?;
        Ok(BackPlan {
            target: None,
            undone: None,
            removals: vec![removal(Place::Workspace, &merge.pull, held)],
            pull: merge.pull,
            push: Vec::new(),
            rows,
            omitted,
            conflicts: merge.conflicts,
            look,
            merged,
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
            push,
            undone,
            ..
        } = plan;
        let before = look.agreed.clone();
        let mut outcome = RowsOutcome::default();
        let (operation, agreed, undoes_agreement) = match (wanted, undone) {
            (Some(target), _) => {
                let mut onto = look.head;
                if !push.is_empty() {
                    let rows = target.rows.unwrap_or(sync_core::map::Map::empty_root());
                    let said = format!("roll back to {}", target.id.short());
                    let message = message.unwrap_or(said);
                    let pushed = self.rewind(&look, onto, rows, &message).await?;
                    onto = Some(pushed);
                    outcome.message = Some(message);
                }
                look.head = onto;
                ("rollback", agreed_on(onto, before.note.clone()), false)
            }
            (None, Some(undone)) => {
                let agreed = match undone.agreed {
                    Some((snapshot, root)) => Agreed {
                        snapshot,
                        root,
                        note: before.note.clone(),
                    },
                    None => before.clone(),
                };
                ("undo", agreed, undone.agreed.is_some())
            }
            (None, None) => return NothingToUndoSnafu.fail(),
        };
        outcome.snapshot = agreed.snapshot;
        let applied = self
            .change(&mut look, merged, operation, agreed, undoes_agreement)
            .await?;
        outcome.set_aside = applied.set_aside;
        outcome.rewritten = applied.rewritten;
        Ok(outcome)
    }
}
