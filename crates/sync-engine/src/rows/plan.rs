//! What a push, pull or sync of rows would do.

use serde::Serialize;
use snafu::ResultExt;
use sync_core::Digest;
use sync_core::rows::{Choice, RowConflict, TableCounts, merge_tables};
use sync_store::pack::Class;

use super::changes::{counts, list, row_count};
use super::conflicts::{Resolutions, choice, describe_all};
use super::look::Look;
use super::{OpenConflict, RowChange, Rows, rules_of};
use crate::decide::Standing;
use crate::error::{DivergedSnafu, MergeSnafu, StoreSnafu};
use crate::guard::{Place, Removal, What};
use crate::session::blocking;
use crate::{Error, OnConflict};

/// How many rows a plan lists with their columns.
const LISTED: usize = 1000;

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

/// What a push, pull or sync of rows would do.
#[derive(Debug)]
pub struct RowsPlan {
    /// Where the database stands to the tenant.
    pub standing: Standing,
    /// What would change in the database, by table.
    pub pull: Vec<TableCounts>,
    /// What would change on the tenant, by table.
    pub push: Vec<TableCounts>,
    /// The first rows that would change, those of the database first.
    pub rows: Vec<RowChange>,
    /// How many more there are.
    pub omitted: u64,
    /// What a person has to choose; nothing is applied while there are any.
    pub conflicts: Vec<OpenConflict>,
    pub(crate) direction: Direction,
    pub(crate) look: Look,
    /// The map of tables that the workspace stands for afterwards.
    pub(crate) merged: Digest,
    pub(crate) removals: Vec<Removal>,
}

/// What two sides became.
pub(crate) struct Merge {
    pub(crate) root: Digest,
    pub(crate) pull: Vec<TableCounts>,
    pub(crate) conflicts: Vec<OpenConflict>,
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
        look.ensure_branch()?;
        let standing = look.standing();
        if direction == Direction::Push && standing == Standing::Diverged {
            let head = look.head.map(|head| head.id);
            return DivergedSnafu { head }.fail();
        }
        let head_rows = look.head_rows();
        let behind = matches!(standing, Standing::CloudAhead | Standing::Diverged);
        let mut merge = Merge {
            root: look.local,
            pull: Vec::new(),
            conflicts: Vec::new(),
        };
        if let (true, Some(head)) = (behind && direction != Direction::Push, look.head) {
            self.ensure_rows(&look.private, head, look.agreed.snapshot).await?;
            let roots = [look.agreed.root, look.local, head_rows];
            merge = self.merge(&look, roots, on_conflict).await?;
        }
        let goes = match direction {
            Direction::Push => standing == Standing::LocalAhead,
            Direction::Pull => false,
            Direction::Sync => merge.root != head_rows,
        };
        let (local, merged) = (look.local, merge.root);
        if goes && let Some(head) = look.head {
            self.ensure_rows(&look.private, head, look.agreed.snapshot).await?;
        }
        let (nodes, pull) = (look.nodes(), merge.pull.clone());
        let (push, rows, omitted, removals) = blocking(move || {
            let push = if goes { counts(&nodes, head_rows, merged)? } else { Vec::new() };
            let (_, mut rows, mut omitted) = list(&nodes, local, merged, LISTED)?;
            if goes {
                let left = LISTED - rows.len();
                let (_, more, beyond) = list(&nodes, head_rows, merged, left)?;
                rows.extend(more);
                omitted += beyond;
            }
            let here = removal(Place::Workspace, &pull, row_count(&nodes, local)?);
            let there = if goes { row_count(&nodes, head_rows)? } else { 0 };
            let there = removal(Place::Tenant, &push, there);
            Ok((push, rows, omitted, vec![here, there]))
        })
        .await?;
        Ok(RowsPlan {
            standing,
            pull: merge.pull,
            push,
            rows,
            omitted,
            conflicts: merge.conflicts,
            direction,
            look,
            merged,
            removals,
        })
    }

    /// Merges base, local and theirs, all of which are in the private store, as the merge's nodes are afterwards.
    pub(crate) async fn merge(
        &self,
        look: &Look,
        roots: [Digest; 3],
        on_conflict: OnConflict,
    ) -> Result<Merge, Error> {
        let otherwise = match on_conflict {
            OnConflict::Ours => Choice::Ours,
            OnConflict::Theirs => Choice::Theirs,
            // Two rows cannot have one key: a person chooses.
            OnConflict::Ask | OnConflict::KeepBoth => Choice::Open,
        };
        let resolutions: Resolutions = self.resolutions()?;
        let (nodes, specs) = (look.nodes(), self.specs.clone());
        let (writer, writing) = look.private.writer();
        let merged = blocking(move || {
            let mut writer = writer.of(Class::Nodes);
            let choose =
                |conflict: &RowConflict| choice(&resolutions, otherwise, conflict);
            let merged = merge_tables(&nodes, roots, |table| rules_of(&specs, table), choose, &mut writer);
            Ok(merged.context(MergeSnafu))
        })
        .await;
        writing.finish().await.context(StoreSnafu)?;
        let merged = merged??;
        let (nodes, conflicts) = (look.nodes(), merged.conflicts);
        let conflicts = blocking(move || describe_all(&nodes, roots, &conflicts)).await?;
        Ok(Merge {
            root: merged.root,
            pull: merged.counts,
            conflicts,
        })
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
