//! Collection of what a workspace no longer needs in its private store: when somebody asks, and by itself now and then.

use snafu::ResultExt;
use sync_files::StatCache;
use sync_store::Keep;
use sync_store::protocol::GcReport;

use crate::Error;
use crate::error::StoreSnafu;
use crate::session::{Session, blocking};
use crate::state::State;

/// A store that weighs less is left alone: a collection would cost more than it gives.
const FLOOR: u64 = 16 << 20;
/// What a pack weighs at least, in bytes.
const PACK: u64 = 64 << 10;

impl Session {
    /// What this workspace no longer needs in its private store; this only says what that is.
    pub async fn plan_private_gc(&self) -> Result<sync_store::GcPlan, Error> {
        let private = self.private().await?;
        let keep = self.private_keep().await?;
        let plan = private.plan_gc(keep, self.context.now, 0).await;
        plan.context(StoreSnafu)
    }

    /// Does what the plan says. The workspace must not have been synced since it was made.
    pub async fn apply_private_gc(&self) -> Result<GcReport, Error> {
        let _lock = self.lock()?;
        let plan = self.plan_private_gc().await?;
        let done = self.private().await?.apply_gc(plan).await;
        done.context(StoreSnafu)
    }

    /// What the workspace's own store is for: the maps of all bases, of pushes that were begun, and of the last capture,
    /// and what `undo` brings back.
    pub(crate) async fn private_keep(&self) -> Result<Keep, Error> {
        let directory = self.workspace.private();
        let (mut maps, mut snapshots) = (Vec::new(), Vec::new());
        for known in State::load(&directory)?.everything() {
            let agreed = [
                Some(known.agreed),
                known.undo.as_ref().and_then(|undo| undo.agreed),
            ];
            for agreed in agreed.into_iter().flatten() {
                maps.push(agreed.files());
                snapshots.extend(agreed.base.map(|base| base.id));
            }
            snapshots.extend(known.pushing.map(|target| target.id));
            maps.extend(known.pushing.map(|target| target.files));
            maps.extend(known.undo.iter().flat_map(|undo| [undo.before, undo.after]));
        }
        maps.extend(blocking(move || Ok(StatCache::load(&directory).root())).await?);
        Ok(Keep::Roots {
            snapshots,
            maps,
            tables: crate::rows::kept(&self.workspace),
        })
    }

    /// Collects where the private store has grown to twice of what the last collection left; gives what that removed.
    ///
    /// A run that has not used the store does not look. Call this after what was applied: it takes the workspace's lock.
    ///
    /// # Errors
    ///
    /// Where the workspace is held, or the store cannot be read or changed. Whatever was collected by then stays so, and
    /// the next collection goes on.
    pub async fn collect_when_due(&self) -> Result<Option<GcReport>, Error> {
        let Some(private) = self.opened() else {
            return Ok(None);
        };
        let weigh =
            || async { Ok::<_, Error>(weight(&private.packs().await.context(StoreSnafu)?)) };
        let directory = self.workspace.private();
        if !is_due(weigh().await?, State::load(&directory)?.collected()) {
            return Ok(None);
        }
        let report = self.apply_private_gc().await?;
        let left = weigh().await?;
        let _lock = self.lock()?;
        State::load(&directory)?.set_collected(&directory, left)?;
        Ok(Some(report))
    }
}

/// What packs weigh, by their sizes: a small one costs a file all the same.
fn weight(packs: &[u64]) -> u64 {
    packs.iter().map(|bytes| (*bytes).max(PACK)).sum()
}

/// Whether a store of such a weight is to be collected, after the last collection left so much.
fn is_due(weight: u64, left: u64) -> bool {
    weight >= FLOOR && weight >= left.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_collected_when_it_has_doubled_and_is_not_small() {
        assert!(!is_due(FLOOR - 1, 0));
        assert!(is_due(FLOOR, 0));
        assert!(!is_due(3 * FLOOR, 2 * FLOOR));
        assert!(is_due(4 * FLOOR, 2 * FLOOR));
        assert!(!is_due(u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn many_small_packs_weigh_as_much_as_a_large_one() {
        assert_eq!(weight(&[]), 0);
        assert_eq!(weight(&[1, 2, 3 * PACK]), 5 * PACK);
        assert!(is_due(weight(&[100; 256]), 0));
    }
}
