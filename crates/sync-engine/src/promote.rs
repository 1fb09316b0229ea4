//! The same snapshot on another tenant: fast-forward where that has nothing of its own, else merged (ADR 0016).
//!
//! A [`Promotion`] stands between two tenants. Neither the tree nor a base of the workspace has anything to do with it: what
//! travels is in a store of its own meanwhile (`carry`).

mod carry;
mod plan;

use serde::Serialize;
use snafu::{ResultExt, ensure};
use sync_core::rows::Decided;
use sync_core::rows::TableCounts;
use sync_core::{Digest, Roots, Snapshot, SnapshotId, TreePath};
use sync_rows::OpenConflict;
use sync_store::pack::Class;
use sync_store::protocol::SetAsideRow;

use self::carry::Carrier;
use crate::decide::Point;
use crate::error::{ConflictSnafu, SnapshotSnafu, StoreSnafu};
use crate::guard::{Limits, Removal};
use crate::maps::Maps;
use crate::report::{FileChange, Traffic};
use crate::session::{Context, Session};
use crate::{Conflict, Error, Remote, Workspace};

/// Two tenants, of which the second is to get what the first has.
#[derive(Debug)]
pub struct Promotion {
    from: Session,
    to: Session,
    carrier: Carrier,
    /// What people call the first.
    name: String,
}

/// Where the target stands to what is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promoting {
    /// The target has it already.
    UpToDate,
    /// The target has nothing of its own: its head becomes the snapshot itself.
    FastForward,
    /// Both have something of their own: the target gets a snapshot that is new.
    Merge,
}

/// What a promotion would do.
#[derive(Debug)]
pub struct PromotePlan {
    /// Where the target stands.
    pub standing: Promoting,
    /// What is promoted.
    pub snapshot: SnapshotId,
    /// Where the target is.
    pub head: Option<SnapshotId>,
    /// Where the histories of both meet.
    pub ancestor: Option<SnapshotId>,
    /// The files that change on the target, in path order.
    pub changes: Vec<FileChange>,
    /// The texts among them that are merged by line.
    pub merged: Vec<TreePath>,
    /// The files that a person has to choose; nothing is applied while there are any. *Ours* is the target's version.
    pub conflicts: Vec<Conflict>,
    /// The rows that change on the target, by table.
    pub rows: Vec<TableCounts>,
    /// The rows that a person has to choose, likewise.
    pub row_conflicts: Vec<OpenConflict>,
    /// Rows that both sides changed, and what decided about them, by table.
    pub decided: Vec<Decided>,
    /// What the target runs and what the source does, where both deployed since and a person has to choose, likewise.
    pub release_conflict: Option<[Option<Digest>; 2]>,
    /// The snapshots that the target does not have, each after its parents, with one that it has by then.
    history: Vec<(SnapshotId, Option<SnapshotId>)>,
    /// What that comes after and nobody keeps: the target is told the names.
    expired: Vec<SnapshotId>,
    source: Snapshot,
    onto: Option<Point>,
    roots: Roots,
    maps: Maps,
    texts: Vec<Vec<u8>>,
    removals: Vec<Removal>,
}

impl PromotePlan {
    /// Whether a person has to choose first.
    pub fn has_conflicts(&self) -> bool {
        !self.conflicts.is_empty()
            || !self.row_conflicts.is_empty()
            || self.release_conflict.is_some()
    }

    /// Refuses to go on where a person has to choose.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] with the paths and rows.
    pub fn ensure_chosen(&self) -> Result<(), Error> {
        let files = self
            .conflicts
            .iter()
            .map(|conflict| conflict.path.to_string());
        let rows = self.row_conflicts.iter().map(crate::rows::conflicts::named);
        let release = self.release_conflict.map(|_| "the release".to_owned());
        let paths: Vec<String> = files.chain(rows).chain(release).collect();
        ensure!(paths.is_empty(), ConflictSnafu { paths });
        Ok(())
    }
}

/// What a promotion did.
#[derive(Debug)]
pub struct PromoteOutcome {
    /// Where the target is now.
    pub snapshot: SnapshotId,
    /// Why it was made, where this run made it.
    pub message: Option<String>,
    /// Rows that the target's database could not store: then the target is at a snapshot without them.
    pub set_aside: Vec<SetAsideRow>,
}

impl Promotion {
    /// Stands between two tenants in a workspace that has names for them; `name` is that of the first. What an earlier run left
    /// behind that was cut short is removed.
    ///
    /// # Errors
    ///
    /// Where the store for what travels cannot be made.
    pub async fn new(
        workspace: &Workspace,
        name: &str,
        [from, to]: [Remote; 2],
        context: &Context,
    ) -> Result<Self, Error> {
        let carrier = Carrier::new(workspace, context).await?;
        let session = |remote| Session::between(workspace.clone(), remote, context.clone());
        Ok(Self {
            from: session(from),
            to: session(to),
            carrier,
            name: name.to_owned(),
        })
    }

    /// What went over the wire so far, between here and each of the two.
    pub fn traffic(&self) -> [Traffic; 2] {
        [&self.from, &self.to].map(|session| session.remote().traffic())
    }

    /// Does what `plan` says: the target's head moves once, or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the plan has conflicts, [`Error::Removes`] and [`Error::Empties`] where it removes more than
    /// `limits` allow, [`Error::Overtaken`] where somebody else moved the target since. The target is as it was then; what
    /// arrived is kept there for a while, so that the next run sends less.
    pub async fn apply(
        &self,
        plan: PromotePlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<PromoteOutcome, Error> {
        plan.ensure_chosen()?;
        for removal in &plan.removals {
            limits.check(*removal)?;
        }
        if plan.standing == Promoting::UpToDate {
            return Ok(PromoteOutcome {
                snapshot: plan.head.unwrap_or(plan.snapshot),
                message: None,
                set_aside: Vec::new(),
            });
        }
        for (snapshot, have) in &plan.history {
            self.carrier.bring(&self.from, *snapshot, *have).await?;
        }
        let (target, message) = if plan.standing == Promoting::FastForward {
            (plan.snapshot, None)
        } else {
            let (target, message) = self.make(&plan, message).await?;
            (target, Some(message))
        };
        let expired = &plan.expired;
        let sent = self.carrier.send(&self.to, plan.head, target, expired);
        let (head, set_aside) = sent.await?;
        Ok(PromoteOutcome {
            snapshot: head,
            message,
            set_aside,
        })
    }

    /// Makes the snapshot of a merge, in the store of what travels.
    async fn make(
        &self,
        plan: &PromotePlan,
        message: Option<String>,
    ) -> Result<(SnapshotId, String), Error> {
        let message = message.unwrap_or_else(|| {
            let (id, name) = (plan.snapshot.short(), &self.name);
            format!("promote {id} of {name}: {}", plan.source.message)
        });
        let snapshot = Snapshot {
            author: self.to.context.author.clone(),
            message: message.clone(),
            parents: plan.head.into_iter().chain([plan.snapshot]).collect(),
            roots: plan.roots,
            time: self.to.context.now,
        };
        let (id, encoded) = snapshot.encode().context(SnapshotSnafu)?;
        let nodes = plan.maps.new_objects().into_iter();
        let nodes = nodes.map(|(_, bytes)| (Class::Nodes, bytes.to_vec()));
        let texts = plan
            .texts
            .iter()
            .map(|text| (Class::Contents, text.clone()));
        let made = [(Class::Nodes, encoded)].into_iter();
        let objects: Vec<_> = made.chain(nodes).chain(texts).collect();
        let stored = self.carrier.store().put(objects).await;
        let _stored = stored.context(StoreSnafu)?;
        Ok((id, message))
    }

    /// Removes what was kept of what travels.
    pub fn close(self) {
        self.carrier.close();
    }
}
