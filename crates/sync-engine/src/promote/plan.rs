//! What a promotion would do: where two histories meet, and what both made of it.

use std::collections::HashSet;
use std::error::Error as _;
use std::sync::Arc;

use snafu::OptionExt;
use sync_core::map::MapError;
use sync_core::rows::{Choice, RowError, TableCounts};
use sync_core::{Digest, Roots, Snapshot, SnapshotId};
use sync_rows::Resolutions;
use sync_store::protocol::Part;

use super::{PromotePlan, Promoting, Promotion};
use crate::Error;
use crate::ancestry::Ancestry;
use crate::decide::{Point, whole};
use crate::error::NoBranchSnafu;
use crate::guard::{Place, Removal};
use crate::maps::Maps;
use crate::merge::{OnConflict, Ours, Outcome, Rules};
use crate::report::FileChange;
use crate::rows::plan::removal as rows_removal;
use crate::session::{blocking, point};
use crate::tree_map::{changes, edit, empty_root, removal};

/// How often an object that turns out to be needed is brought; each time the merge begins anew.
const MAX_BROUGHT: usize = 4096;

/// Where the histories stand to each other.
struct Way {
    standing: Promoting,
    ancestor: Option<Meeting>,
    /// The snapshots that the target does not have, each after its parents, with one that it has by then.
    history: Vec<(SnapshotId, Option<SnapshotId>)>,
    /// What that comes after and nobody keeps.
    expired: Vec<SnapshotId>,
}

/// Where two histories meet.
#[derive(Debug, Clone, Copy)]
struct Meeting {
    point: Point,
    /// Which of the two still keeps it: source, target.
    kept: [bool; 2],
}

impl Meeting {
    /// What a holder of it can be sent less for, where the source or the target keeps it.
    fn of(self, side: usize) -> Option<Point> {
        self.kept[side].then_some(self.point)
    }
}

/// What files and rows come to on the target.
#[derive(Default)]
struct Merge {
    files: Outcome,
    files_root: Option<Digest>,
    rows: Option<sync_rows::Merged>,
    rows_root: Option<Digest>,
    release: Option<Digest>,
    /// What the target runs and what the source does, where a person has to choose.
    releases: Option<[Option<Digest>; 2]>,
}

impl Promotion {
    /// Plans to bring the snapshot whose id starts with `snapshot`, else the head of the first tenant's branch, to the second.
    /// Neither changes, and nothing remains of the plan but itself.
    ///
    /// # Errors
    ///
    /// [`Error::NoBranch`] where there is nothing to promote, [`Error::NoSnapshot`] where no snapshot, or several, start so.
    pub async fn plan(
        &self,
        snapshot: Option<&str>,
        on_conflict: OnConflict,
    ) -> Result<PromotePlan, Error> {
        // Tenants that have a database look at it first: what their programs changed is a snapshot by then.
        let target = self.to.remote.head_of(None, Part::All, false);
        let (source, target) = tokio::join!(self.source(snapshot), target);
        let (id, source) = source?;
        let target = target?.and_then(|head| head.head.zip(head.snapshot));
        let onto = target.as_ref().map(|(id, snapshot)| point(*id, snapshot));
        let way = self.way(id, onto.map(|onto| onto.id)).await?;
        let mut plan = PromotePlan {
            standing: way.standing,
            snapshot: id,
            head: onto.map(|onto| onto.id),
            ancestor: way.ancestor.map(|met| met.point.id),
            changes: Vec::new(),
            merged: Vec::new(),
            conflicts: Vec::new(),
            rows: Vec::new(),
            row_conflicts: Vec::new(),
            decided: Vec::new(),
            release_conflict: None,
            history: way.history,
            expired: way.expired,
            roots: source.roots,
            source,
            onto,
            maps: Maps::new(),
            texts: Vec::new(),
            removals: Vec::new(),
        };
        if plan.standing == Promoting::UpToDate {
            return Ok(plan);
        }
        let is_merge = plan.standing == Promoting::Merge;
        self.bring_sides(point(id, &plan.source), onto, way.ancestor, is_merge)
            .await?;
        plan.maps.attach(self.carrier.store().nodes());
        let base = way.ancestor.map(|met| met.point);
        self.decide(&mut plan, base, on_conflict).await?;
        Ok(plan)
    }

    async fn source(&self, prefix: Option<&str>) -> Result<(SnapshotId, Snapshot), Error> {
        let remote = &self.from.remote;
        if let Some(prefix) = prefix {
            let found = remote.resolve(prefix).await?;
            return Ok((found.id, found.snapshot));
        }
        let head = remote.head_of(None, Part::All, false).await?;
        let named = head.and_then(|head| head.head.zip(head.snapshot));
        named.with_context(|| NoBranchSnafu {
            branch: remote.branch().as_str(),
        })
    }

    /// Finds out where both histories meet, and what of the one the other does not have.
    async fn way(&self, source: SnapshotId, target: Option<SnapshotId>) -> Result<Way, Error> {
        let mut ours = Ancestry::new(&self.from.remote, source);
        let mut theirs = match target {
            Some(target) => Ancestry::new(&self.to.remote, target),
            None => Ancestry::none(&self.to.remote, source),
        };
        let ancestor = ours.meet(&mut theirs).await?;
        let met = |ours: &Ancestry<'_>, theirs: &Ancestry<'_>| {
            let id = ancestor?;
            let found = [ours.get(id), theirs.get(id)];
            let snapshot = found.into_iter().flatten().next()?;
            Some(Meeting {
                point: point(id, snapshot),
                kept: found.map(|found| found.is_some()),
            })
        };
        if ancestor == Some(source) {
            return Ok(Way {
                standing: Promoting::UpToDate,
                ancestor: met(&ours, &theirs),
                history: Vec::new(),
                expired: Vec::new(),
            });
        }
        let (history, _) = ours.beyond(&theirs, &HashSet::new()).await?;
        let known = self.known_there(&ours, source, &history).await?;
        let (history, lost) = ours.beyond(&theirs, &known).await?;
        let mut expired = Vec::new();
        for id in lost {
            if !self.is_known_there(id).await? {
                expired.push(id);
            }
        }
        let is_ahead = target.is_none() || ancestor == target;
        let parent = |id: &SnapshotId| {
            let parents = &ours.get(*id)?.parents;
            parents
                .iter()
                .copied()
                .find(|parent| ours.get(*parent).is_some())
        };
        let history = history.iter().map(|id| (*id, parent(id))).collect();
        Ok(Way {
            standing: if is_ahead {
                Promoting::FastForward
            } else {
                Promoting::Merge
            },
            ancestor: met(&ours, &theirs),
            history,
            expired,
        })
    }

    /// Those of `history` that the target has on another branch, as far as nothing in between lacks: they need not travel.
    async fn known_there(
        &self,
        ours: &Ancestry<'_>,
        source: SnapshotId,
        history: &[SnapshotId],
    ) -> Result<HashSet<SnapshotId>, Error> {
        let names: Vec<Digest> = history.iter().map(|id| id.0).collect();
        let missing = self.to.remote.missing(&names).await?;
        let held = history.iter().zip(missing).filter(|(_, missing)| !missing);
        let held: HashSet<SnapshotId> = held.map(|(id, _)| *id).collect();
        let lacking = history.iter().filter(|id| !held.contains(*id));
        let parents = lacking.filter_map(|id| ours.get(*id));
        let edge = parents
            .flat_map(|snapshot| &snapshot.parents)
            .chain([&source]);
        let edge: HashSet<SnapshotId> = edge.copied().filter(|id| held.contains(id)).collect();
        let mut known = HashSet::new();
        for id in edge {
            // An object may be there that was never accepted: a push was cut short. What the branch is to move to has to be
            // there whole; of what that comes after the name is enough.
            let is_known = if id == source {
                match self.is_whole_there(id).await {
                    Err(error) if error.is_expired() => false,
                    found => found?,
                }
            } else {
                self.is_known_there(id).await?
            };
            if is_known {
                known.insert(id);
            }
        }
        Ok(known)
    }

    /// Whether the target has accepted a snapshot once, on any branch: then it takes it for a parent.
    async fn is_known_there(&self, id: SnapshotId) -> Result<bool, Error> {
        match self.is_whole_there(id).await {
            Err(error) if error.is_expired() => Ok(true),
            found => found,
        }
    }

    /// Whether the target has accepted a snapshot and keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::is_expired`] where it no longer keeps it.
    async fn is_whole_there(&self, id: SnapshotId) -> Result<bool, Error> {
        match self.to.remote.resolve(&id.to_string()).await {
            Ok(_) => Ok(true),
            Err(Error::NoSnapshot { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Brings what the three differ in: nodes of files, and rows.
    async fn bring_sides(
        &self,
        source: Point,
        target: Option<Point>,
        base: Option<Meeting>,
        is_merge: bool,
    ) -> Result<(), Error> {
        let kept = |side| base.and_then(|base| base.of(side));
        let (carrier, from, to) = (&self.carrier, &self.from, &self.to);
        carrier.look(from, source, kept(0), is_merge).await?;
        if let Some(base) = kept(0) {
            carrier.look(from, base, Some(source), is_merge).await?;
        } else if let Some(base) = kept(1) {
            carrier.look(to, base, None, is_merge).await?;
        }
        // Of a fast-forward the target is the base.
        let Some(target) = target.filter(|_| is_merge) else {
            return Ok(());
        };
        carrier.look(to, target, kept(1), is_merge).await?;
        if let Some(base) = kept(1) {
            carrier.look(to, base, Some(target), is_merge).await?;
        }
        Ok(())
    }

    /// Merges, and says what changes on the target.
    async fn decide(
        &self,
        plan: &mut PromotePlan,
        base: Option<Point>,
        on_conflict: OnConflict,
    ) -> Result<(), Error> {
        let source = point(plan.snapshot, &plan.source);
        let is_merge = plan.standing == Promoting::Merge;
        let mut brought = 0;
        let (merge, before) = loop {
            let tried = async {
                let merge = if is_merge {
                    self.merge(&plan.maps, source, plan.onto, base, on_conflict)
                        .await?
                } else {
                    Merge {
                        files_root: plan.source.roots.files,
                        rows_root: plan.source.roots.rows,
                        release: plan.source.roots.release,
                        ..Merge::default()
                    }
                };
                let told = self.compare(plan, &merge).await?;
                Ok::<_, Error>((merge, told))
            };
            match Box::pin(tried).await {
                Ok(done) => break done,
                // What both sides have alike is only brought where it turns out to be needed.
                Err(error) => match lacking(&error) {
                    Some(digest) if brought < MAX_BROUGHT => {
                        brought += 1;
                        let sessions = [&self.from, &self.to];
                        self.carrier.bring_object(sessions, digest).await?;
                    }
                    _ => return Err(error),
                },
            }
        };
        plan.roots = Roots {
            files: merge.files_root,
            release: merge.release,
            rows: merge.rows_root,
        };
        plan.release_conflict = merge.releases;
        plan.merged = merge.files.merged;
        plan.conflicts = merge.files.conflicts;
        plan.texts = merge.files.texts.into_values().map(Into::into).collect();
        if let Some(rows) = merge.rows {
            plan.row_conflicts = rows.conflicts;
            plan.decided = rows.decided;
        }
        let Told {
            changes,
            rows,
            removals,
        } = before;
        plan.changes = changes;
        plan.rows = rows;
        plan.removals = removals;
        Ok(())
    }

    async fn merge(
        &self,
        maps: &Maps,
        source: Point,
        onto: Option<Point>,
        base: Option<Point>,
        on_conflict: OnConflict,
    ) -> Result<Merge, Error> {
        let files = |point: Option<Point>| point.map_or_else(empty_root, |point| point.files);
        let roots = [files(base), files(onto), source.files];
        let rules = Rules {
            lines: true,
            on_conflict,
            filter: None,
            ours: Ours::Tenant(&self.to),
        };
        let merged = self.from.merge(maps, roots, rules).await?;
        let files_root = {
            let (maps, changes) = (maps.clone(), merged.changes.clone());
            blocking(move || edit(&maps, roots[1], &changes)).await?
        };
        let target_rows = onto.and_then(|onto| onto.rows);
        let (rows, rows_root) = match (source.rows, target_rows) {
            (Some(theirs), Some(ours)) => {
                let base = base.and_then(|base| base.rows).unwrap_or_else(empty_root);
                let otherwise = match on_conflict {
                    OnConflict::Ours => Choice::Ours,
                    OnConflict::Theirs => Choice::Theirs,
                    // Two rows cannot have one key: a person chooses.
                    OnConflict::Ask | OnConflict::KeepBoth => Choice::Open,
                };
                let specs = self.to.workspace.config().database.tables();
                let merged = sync_rows::merge(
                    self.carrier.store(),
                    &specs,
                    [base, ours, theirs],
                    Resolutions::default(),
                    otherwise,
                );
                let merged = merged.await?;
                let root = merged.root;
                (Some(merged), Some(root))
            }
            (_, stays) => (None, stays),
        };
        let releases = [base, onto].map(|point| point.and_then(|point| point.release));
        let [before, ours] = releases;
        let release = match (whole(before, ours, source.release), on_conflict) {
            (Some(release), _) => Some(release),
            (None, OnConflict::Ours) => Some(ours),
            (None, OnConflict::Theirs) => Some(source.release),
            // Only one runs.
            (None, OnConflict::Ask | OnConflict::KeepBoth) => None,
        };
        Ok(Merge {
            release: release.unwrap_or(ours),
            releases: release.is_none().then_some([ours, source.release]),
            files: merged,
            files_root: Some(files_root),
            rows,
            rows_root,
        })
    }

    /// What `merge` changes on the target.
    async fn compare(&self, plan: &PromotePlan, merge: &Merge) -> Result<Told, Error> {
        let before = plan.onto.map_or_else(empty_root, |onto| onto.files);
        let after = merge.files_root.unwrap_or_else(empty_root);
        let rows = |rows: Option<Digest>| rows.unwrap_or_else(empty_root);
        let rows_before = rows(plan.onto.and_then(|onto| onto.rows));
        let rows_after = rows(merge.rows_root);
        let (maps, nodes) = (plan.maps.clone(), Arc::new(self.carrier.store().nodes()));
        blocking(move || {
            let changes = changes(&maps, before, after)?;
            let files = removal(Place::Tenant, &maps, before, &changes)?;
            let rows = sync_rows::changes::sums(&nodes, rows_before, rows_after)?;
            // How many there are is asked where some of them go.
            let held = if rows.iter().any(|table| table.deleted > 0) {
                sync_rows::changes::row_count(&nodes, rows_before)?
            } else {
                0
            };
            Ok(Told {
                changes,
                removals: vec![files, rows_removal(Place::Tenant, &rows, held)],
                rows,
            })
        })
        .await
    }
}

/// What changes on the target.
struct Told {
    changes: Vec<FileChange>,
    rows: Vec<TableCounts>,
    removals: Vec<Removal>,
}

/// The object that a merge did not find.
fn lacking(error: &Error) -> Option<Digest> {
    if let Error::Rows {
        source: sync_rows::Error::Schema { digest },
    } = error
    {
        return Some(*digest);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    if let Error::Rows { source } = error {
        cause = source.source();
    }
    while let Some(error) = cause {
        if let Some(MapError::Missing { digest }) = error.downcast_ref() {
            return Some(*digest);
        }
        if let Some(RowError::Missing { digest }) = error.downcast_ref() {
            return Some(*digest);
        }
        cause = error.source();
    }
    None
}
