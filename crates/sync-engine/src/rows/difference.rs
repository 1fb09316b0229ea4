//! What differs between two sides.

use std::sync::Arc;

use serde::Serialize;
use sync_core::SnapshotId;
use sync_core::map::Map;
use sync_core::rows::TableCounts;
use sync_rows::RowChange;
use sync_store::protocol::Logged;

use super::{Rows, rows_of};
use crate::history::Side;
use crate::session::{blocking, point};
use crate::{Error, Session};

/// What differs between two sides.
#[derive(Debug, Clone, Serialize)]
pub struct RowsDifference {
    /// The older side, where it is a snapshot.
    pub from: Option<SnapshotId>,
    /// The newer side, where it is a snapshot.
    pub to: Option<SnapshotId>,
    /// How many rows differ, by table.
    pub tables: Vec<TableCounts>,
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
}

impl Session {
    /// What a snapshot changed in rows, against its first parent, with at most `limit` rows listed; no database is needed.
    /// `None` where it changed none.
    pub async fn show_rows(
        &self,
        logged: &Logged,
        limit: usize,
    ) -> Result<Option<RowsDifference>, Error> {
        let newer = point(logged.id, &logged.snapshot);
        let parent = match logged.snapshot.parents.first() {
            Some(parent) => match self.remote.resolve(&parent.to_string()).await {
                Ok(found) => Some(point(found.id, &found.snapshot)),
                // The branch keeps no more.
                Err(error) if error.is_expired() => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let (before, after) = (rows_of(parent), rows_of(Some(newer)));
        if before == after {
            return Ok(None);
        }
        let private = self.private().await?;
        for wanted in [parent, Some(newer)].into_iter().flatten() {
            let root = rows_of(Some(wanted));
            if root != Map::empty_root() && !super::kept(&self.workspace).contains(&root) {
                self.fetch_rows(&private, wanted, None).await?;
            }
        }
        let nodes = Arc::new(private.nodes());
        let (tables, rows, omitted) =
            blocking(move || Ok(sync_rows::changes::list(&nodes, before, after, limit)?)).await?;
        Ok(Some(RowsDifference {
            from: parent.map(|parent| parent.id),
            to: Some(newer.id),
            tables,
            rows,
            omitted,
        }))
    }
}
