//! What a push, pull or sync of rows would do.

use serde::Serialize;
use sync_core::rows::{Choice, Decided, TableCounts};
use sync_core::{Digest, SnapshotId};
use sync_rows::{Merged, OpenConflict, RowChange};

use super::look::Look;
use super::{Rows, conflicts, rows_of};
use crate::decide::Standing;
use crate::error::DivergedSnafu;
use crate::event::{Event, Resolved, Undecided};
use crate::guard::{Place, Removal, What};
use crate::{Error, OnConflict};

/// How many rows a plan lists with their columns.
pub(super) const LISTED: usize = 1000;

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the database to the tenant.
    Push,
    /// From the tenant to the database.
    Pull,
    /// Both ways, merged.
    Sync,
}

impl Direction {
    /// The word that people and programs read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Sync => "sync",
        }
    }
}

/// What a push, pull or sync of rows would do.
#[derive(Debug)]
pub struct RowsPlan {
    /// Where the database stands to the tenant.
    pub standing: Standing,
    /// What would change in the database, by table.
    pub pull: Vec<TableCounts>,
    /// What would change on the tenant, by table.
    pub push: Vec<TableCounts>,
    /// The first rows that would change in the database.
    pub pulled: Vec<RowChange>,
    /// The first rows that would change on the tenant.
    pub pushed: Vec<RowChange>,
    /// How many more there are.
    pub omitted: u64,
    /// What a person has to choose; nothing is applied while there are any.
    pub conflicts: Vec<OpenConflict>,
    /// Rows that both sides changed, and what decided about them, by table.
    pub decided: Vec<Decided>,
    pub(super) direction: Direction,
    pub(super) look: Look,
    /// The map of tables that the workspace stands for afterwards.
    pub(super) merged: Digest,
    pub(super) removals: [Removal; 2],
}

impl RowsPlan {
    /// Where the tenant's branch was when the plan was made.
    pub fn head(&self) -> Option<SnapshotId> {
        self.look.head.map(|head| head.id)
    }

    /// Whether transactions were running that may have changed rows, whose changes the next plan finds.
    pub fn is_writing(&self) -> bool {
        self.look.capture.is_writing
    }
}

impl Rows<'_> {
    /// Plans a push, pull or sync of rows. Neither side changes.
    ///
    /// A pull brings what merges by itself, row by row and column by column; a push goes only where the tenant has not moved.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] for a push where both sides have changed since they last agreed.
    pub async fn plan(
        &self,
        direction: Direction,
        on_conflict: OnConflict,
    ) -> Result<RowsPlan, Error> {
        let look = self.look().await?;
        self.plan_of(look, direction, on_conflict).await
    }

    /// Likewise, of what was looked at.
    pub(crate) async fn plan_of(
        &self,
        look: Look,
        direction: Direction,
        on_conflict: OnConflict,
    ) -> Result<RowsPlan, Error> {
        look.ensure_branch()?;
        if direction == Direction::Pull {
            self.session.ensure_begun()?;
        }
        let standing = look.standing();
        if direction == Direction::Push && standing == Standing::Diverged {
            let head = look.head.map(|head| head.id);
            return DivergedSnafu { head }.fail();
        }
        let (local, head_rows) = (look.local, rows_of(look.head));
        let behind = matches!(standing, Standing::CloudAhead | Standing::Diverged);
        let merged = if behind && direction != Direction::Push {
            self.ensure_rows(look.head, Some(&look.agreed)).await?;
            let roots = [look.agreed.root, local, head_rows];
            self.merge(roots, on_conflict).await?
        } else {
            Merged {
                root: local,
                counts: Vec::new(),
                conflicts: Vec::new(),
                decided: Vec::new(),
            }
        };
        let goes = match direction {
            Direction::Push => standing == Standing::LocalAhead,
            Direction::Pull => false,
            Direction::Sync => merged.root != head_rows,
        };
        let (_, pulled, mut omitted) = self.copy.list(local, merged.root, LISTED).await?;
        let (mut push, mut pushed) = (Vec::new(), Vec::new());
        let mut held = 0;
        if goes {
            self.ensure_rows(look.head, Some(&look.agreed)).await?;
            let left = LISTED - pulled.len();
            let (sums, listed, beyond) = self.copy.list(head_rows, merged.root, left).await?;
            (push, pushed) = (sums, listed);
            omitted += beyond;
            held = self.copy.row_count(head_rows).await?;
        }
        let removals = [
            removal(
                Place::Workspace,
                &merged.counts,
                self.copy.row_count(local).await?,
            ),
            removal(Place::Tenant, &push, held),
        ];
        Ok(RowsPlan {
            standing,
            pull: merged.counts,
            push,
            pulled,
            pushed,
            omitted,
            conflicts: merged.conflicts,
            decided: merged.decided,
            direction,
            look,
            merged: merged.root,
            removals,
        })
    }

    /// Merges base, ours and theirs; what was resolved before, and `on_conflict`, decide what the rules leave open.
    pub(super) async fn merge(
        &self,
        roots: [Digest; 3],
        on_conflict: OnConflict,
    ) -> Result<Merged, Error> {
        let otherwise = match on_conflict {
            OnConflict::Ours => Choice::Ours,
            OnConflict::Theirs => Choice::Theirs,
            // Two rows cannot have one key: a person chooses.
            OnConflict::Ask | OnConflict::KeepBoth => Choice::Open,
        };
        let resolutions = conflicts::resolutions(&self.session.workspace)?;
        let merged = self.copy.merge(roots, resolutions, otherwise).await?;
        for decided in &merged.decided {
            let resolved = Resolved::Database(decided.clone());
            self.session.tell(Event::MergeResolved(resolved));
        }
        for conflict in &merged.conflicts {
            let undecided = Undecided::Database {
                id: conflict.id.clone(),
                table: conflict.table.clone(),
                key: conflict.key.clone(),
                columns: conflict.columns.clone(),
            };
            self.session.tell(Event::MergeConflict(undecided));
        }
        Ok(merged)
    }
}

/// What a plan removes from a side that holds so many rows.
pub(crate) fn removal(place: Place, counts: &[TableCounts], of: u64) -> Removal {
    Removal {
        place,
        what: What::Rows,
        removed: counts.iter().map(|table| table.deleted).sum(),
        added: counts.iter().map(|table| table.created).sum(),
        of,
    }
}
