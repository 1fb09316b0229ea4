//! What differs between two sides.

use serde::Serialize;
use sync_core::SnapshotId;
use sync_rows::{RowChange, TableSum};
use sync_store::protocol::Logged;

use super::Rows;
use crate::Error;
use crate::history::Side;
use crate::session::point;

/// What differs between two sides.
#[derive(Debug, Clone, Serialize)]
pub struct RowsDifference {
    /// The older side, where it is a snapshot.
    pub from: Option<SnapshotId>,
    /// The newer side, where it is a snapshot.
    pub to: Option<SnapshotId>,
    /// How many rows differ, by table.
    pub tables: Vec<TableSum>,
    /// The first of the rows that differ, in order.
    pub rows: Vec<RowChange>,
    /// How many more there are.
    pub omitted: u64,
}

impl Rows<'_> {
    /// What differs from `a` to `b`, with at most `limit` rows listed.
    pub async fn diff(&self, a: &Side, b: &Side, limit: usize) -> Result<RowsDifference, Error> {
        let look = self.look().await?;
        let (mut ids, mut roots) = ([None; 2], [look.agreed.root; 2]);
        for (index, side) in [a, b].into_iter().enumerate() {
            match side {
                Side::Base => ids[index] = look.agreed.snapshot,
                Side::Workspace => roots[index] = look.local,
                Side::Snapshot(prefix) => {
                    let found = self.session.remote.resolve(prefix).await?;
                    let found = point(found.id, &found.snapshot);
                    ids[index] = Some(found.id);
                    roots[index] = self.ensure_rows(Some(found), Some(&look.agreed)).await?;
                }
            }
        }
        let (tables, rows, omitted) = self.copy.list(roots[0], roots[1], limit).await?;
        let [from, to] = ids;
        Ok(RowsDifference {
            from,
            to,
            tables,
            rows,
            omitted,
        })
    }

    /// What a snapshot changed in rows, against its first parent.
    pub async fn show(&self, logged: &Logged, limit: usize) -> Result<RowsDifference, Error> {
        let newer = point(logged.id, &logged.snapshot);
        let parent = match logged.snapshot.parents.first() {
            Some(parent) => {
                let found = self.session.remote.resolve(&parent.to_string()).await?;
                Some(point(found.id, &found.snapshot))
            }
            None => None,
        };
        let agreed: super::Agreed = self.copy.agreed().await?;
        let near = Some(&agreed).filter(|agreed| agreed.note.rows == Some(agreed.root));
        let before = self.ensure_rows(parent, near).await?;
        let after = self.ensure_rows(Some(newer), near).await?;
        let (tables, rows, omitted) = self.copy.list(before, after, limit).await?;
        Ok(RowsDifference {
            from: parent.map(|parent| parent.id),
            to: Some(newer.id),
            tables,
            rows,
            omitted,
        })
    }
}
