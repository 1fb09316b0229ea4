//! Collection: objects that no kept snapshot names go, once that was so for a grace time.
//!
//! **Invariant:** every step leaves a sound store. Condemning, sparing and moving objects change nothing that anybody
//! reads; objects are removed only where no head has moved since it was found that nobody needs them; and a push that
//! saw an object before it was removed looks again before its head moves.

use sync_core::{Digest, SnapshotId};

use super::Objects;
use super::walk::{Lost, Role, Visitor, Walk};
use crate::catalogue::{StoredObject, Sweep};
use crate::error::CorruptSnafu;
use crate::protocol::{GcReport, prefix};
use crate::repository::Repository;
use crate::{Error, task};

/// What a collection keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// What branches keep, by their retention. Everything that it names must be here.
    Heads,
    /// These, and all heads, as far as they are here: for a workspace's own store, which holds maps without contents.
    Roots {
        /// Snapshots.
        snapshots: Vec<SnapshotId>,
        /// Roots of maps of files.
        maps: Vec<Digest>,
        /// Roots of maps of tables.
        tables: Vec<Digest>,
    },
}

/// What a collection would do.
#[derive(Debug)]
pub struct GcPlan {
    /// What would be removed, as things were when the plan was made.
    pub report: GcReport,
    keep: Keep,
    now: u64,
    grace: u64,
    /// How often heads had moved when what is kept was looked up.
    moves: u64,
    live: Objects,
    expire: Vec<SnapshotId>,
    /// How many snapshots were expired.
    expired: u64,
}

impl GcPlan {
    /// What was condemned then, or before, is due.
    fn until(&self) -> u64 {
        self.now.saturating_sub(self.grace)
    }

    fn is_due(&self, object: &StoredObject) -> bool {
        object.condemned.unwrap_or(self.now) <= self.until()
    }
}

/// Marks what is kept.
struct Mark {
    live: Objects,
    /// Whether something that is kept may be missing.
    lenient: bool,
}

impl Visitor for Mark {
    fn is_first(&mut self, digest: &Digest, role: Role) -> bool {
        self.live.insert_as(digest, role)
    }

    fn fault(&self, _: &Digest) -> Option<&'static str> {
        None
    }

    fn lost(&mut self, lost: Lost<'_>) -> Result<(), Error> {
        if self.lenient {
            return Ok(());
        }
        // What it names is not known, and must not be taken for what nobody needs.
        CorruptSnafu {
            digest: lost.digest,
            reason: lost.reason,
        }
        .fail()
    }
}

impl Repository {
    /// Plans a collection; reads only. Times are in milliseconds, `now` since 1970-01-01T00:00:00Z.
    ///
    /// An object is removed where nobody named it in a collection at least `grace` ago, nor since. Memory follows the
    /// number of objects: some 40 bytes each, 80 for nodes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where a kept snapshot or map cannot be read: then nothing can be said to be unneeded.
    pub async fn plan_gc(&self, keep: Keep, now: u64, grace: u64) -> Result<GcPlan, Error> {
        let mut plan = GcPlan {
            report: GcReport::default(),
            keep,
            now,
            grace,
            moves: 0,
            live: Objects::default(),
            expire: Vec::new(),
            expired: 0,
        };
        self.mark(&mut plan).await?;
        let mut report = plan.report.clone();
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            for object in &page {
                if plan.live.contains(&object.digest) {
                    report.objects += 1;
                } else if plan.is_due(object) {
                    report.removed += 1;
                    report.removed_bytes += u64::from(object.location.place.len);
                } else {
                    report.waiting += 1;
                }
            }
        }
        plan.report = report;
        Ok(plan)
    }

    /// Does what `plan` says, but for what was named since: removes objects, moves what is left of packs that are mostly
    /// gone, or small, into others, and deletes packs that nobody needs.
    ///
    /// Pushes and pulls may run beside it. Where it fails or is cut short, the next one goes on.
    pub async fn apply_gc(&self, plan: GcPlan) -> Result<GcReport, Error> {
        let mut plan = plan;
        while !self.sweep(&mut plan, Vec::new()).await? {
            self.mark(&mut plan).await?;
        }
        let mut report = GcReport {
            snapshots: plan.report.snapshots,
            ..GcReport::default()
        };
        let mut pages = self.pages();
        while let Some(page) = pages.next().await? {
            self.collect(&mut plan, &page, &mut report).await?;
        }
        report.expired = plan.expired;
        self.repack(&mut report).await?;
        self.delete_orphans().await?;
        Ok(report)
    }

    /// Looks up what is kept, and marks all of it; what was marked before stays so.
    async fn mark(&self, plan: &mut GcPlan) -> Result<(), Error> {
        // In this order: a head that moves in between is noticed.
        plan.moves = self.catalogue.marks(self.tenant.id).await?.moves;
        let (snapshots, maps, tables): (Vec<_>, Vec<_>, Vec<_>) = match &plan.keep {
            Keep::Heads => {
                let kept = self.kept(plan.now, plan.grace).await?;
                plan.expire = self.not_kept(&kept).await?;
                (kept.into_iter().collect(), Vec::new(), Vec::new())
            }
            Keep::Roots {
                snapshots,
                maps,
                tables,
            } => {
                let heads = self.heads().await?.into_iter().map(|(_, head)| head);
                (
                    heads.chain(snapshots.iter().copied()).collect(),
                    maps.clone(),
                    tables.clone(),
                )
            }
        };
        plan.report.snapshots = snapshots.len() as u64;
        plan.report.expired = plan.expire.len() as u64;
        let reader = self.nodes_as_stored();
        let mut mark = Mark {
            live: std::mem::take(&mut plan.live),
            lenient: plan.keep != Keep::Heads,
        };
        let marked = move || {
            let mut walk = Walk {
                reader: &reader,
                visitor: &mut mark,
            };
            snapshots.into_iter().try_for_each(|id| walk.snapshot(id))?;
            maps.into_iter().try_for_each(|root| walk.files(root))?;
            tables.into_iter().try_for_each(|root| walk.tables(root))?;
            Ok(mark.live)
        };
        plan.live = task::blocking(marked).await?;
        Ok(())
    }

    /// Condemns, spares and removes the objects of one page.
    async fn collect(
        &self,
        plan: &mut GcPlan,
        page: &[StoredObject],
        report: &mut GcReport,
    ) -> Result<(), Error> {
        let tenant = self.tenant.id;
        let (live, dead): (Vec<&StoredObject>, Vec<_>) = page
            .iter()
            .partition(|object| plan.live.contains(&object.digest));
        let spared = live.iter().filter(|object| object.condemned.is_some());
        let spared: Vec<_> = spared.map(|object| prefix(&object.digest)).collect();
        if !spared.is_empty() {
            self.catalogue.spare(tenant, &spared).await?;
        }
        let fresh = dead.iter().filter(|object| object.condemned.is_none());
        let fresh: Vec<_> = fresh.map(|object| object.digest).collect();
        if !fresh.is_empty() {
            self.catalogue.condemn(tenant, &fresh, plan.now).await?;
        }
        let mut due: Vec<_> = dead.iter().filter(|object| plan.is_due(object)).collect();
        let waiting = dead.len() - due.len();
        while !due.is_empty() {
            let remove = due.iter().map(|object| object.digest).collect();
            if self.sweep(plan, remove).await? {
                break;
            }
            self.mark(plan).await?;
            due.retain(|object| !plan.live.contains(&object.digest));
        }
        report.objects += (page.len() - due.len() - waiting) as u64;
        report.waiting += waiting as u64;
        report.removed += due.len() as u64;
        let bytes = due
            .iter()
            .map(|object| u64::from(object.location.place.len));
        report.removed_bytes += bytes.sum::<u64>();
        Ok(())
    }

    /// Removes objects, and with them, in one transaction, every snapshot that is not kept: an accepted snapshot never
    /// lacks what it names. `false` where a head has moved since.
    async fn sweep(&self, plan: &mut GcPlan, remove: Vec<Digest>) -> Result<bool, Error> {
        let sweep = Sweep {
            moves: plan.moves,
            expire: plan.expire.clone(),
            remove,
            until: plan.until(),
        };
        if sweep.expire.is_empty() && sweep.remove.is_empty() {
            return Ok(true);
        }
        let swept = self.catalogue.sweep(self.tenant.id, &sweep).await?;
        self.cached.clear();
        if swept {
            plan.expired += sweep.expire.len() as u64;
            plan.expire.clear();
        }
        Ok(swept)
    }

    /// Removes objects whatever names them, so that they count as missing and are taken in again.
    ///
    /// For a workspace's own store, where whatever is lost is fetched or made again.
    pub async fn forget(&self, digests: &[Digest]) -> Result<(), Error> {
        self.catalogue.condemn(self.tenant.id, digests, 0).await?;
        loop {
            let marks = self.catalogue.marks(self.tenant.id).await?;
            let sweep = Sweep {
                moves: marks.moves,
                expire: Vec::new(),
                remove: digests.to_vec(),
                until: u64::MAX,
            };
            if self.catalogue.sweep(self.tenant.id, &sweep).await? {
                self.cached.clear();
                return Ok(());
            }
        }
    }
}
