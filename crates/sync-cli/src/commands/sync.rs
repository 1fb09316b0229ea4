//! `sync`: both ways, merged.

use std::sync::Arc;

use sync_engine::{Limits, OnConflict, Session, SyncPlan};

use super::transfer::{Applied, Planned, Verb, begin, conclude, is_race, limits};
use super::{Place, all, rows};
use crate::args::{SyncBoth, SyncTarget, Target};
use crate::progress::Progress;
use crate::{Error, Outcome};

/// How often a sync begins anew because somebody else was quicker.
const ROUNDS: u32 = 8;

pub(super) async fn run(place: &Place<'_>, both: SyncBoth) -> Result<Outcome, Error> {
    let target = match both.target {
        SyncTarget::All => return all::sync(place, both).await,
        SyncTarget::One(Target::Database) => return rows::sync(place, both).await,
        SyncTarget::One(target) => target,
    };
    let progress = Progress::new(place.terminal);
    let (session, connection) = begin(place, &progress, both.dry_run).await?;
    if !both.dry_run {
        session.make_tree()?;
    }
    let limits = (!both.dry_run).then(|| limits(both.max_delete, both.yes));
    let synced = sync(&session, both.on_conflict, limits.as_ref(), both.message).await;
    progress.finish();
    let (mut planned, applied) = synced?;
    planned.target = target;
    let ends = (session, connection);
    Ok(conclude(place, Verb::Sync, ends, planned, both.dry_run, applied).await)
}

/// What a plan says, without the plan.
pub(super) fn describe(plan: &mut SyncPlan) -> Planned {
    let mut problems = std::mem::take(&mut plan.refused);
    problems.append(&mut plan.collisions);
    Planned {
        standing: Some(plan.standing),
        changes: Arc::new(plan.push.clone()),
        pulled: plan.pull.clone(),
        merged: std::mem::take(&mut plan.merged),
        conflicts: plan.conflicts.clone(),
        problems,
        ..Planned::default()
    }
}

/// Plans, and applies where there are `limits` and nothing to choose; anew where somebody else pushed in between.
pub(super) async fn sync(
    session: &Session,
    on_conflict: OnConflict,
    limits: Option<&Limits>,
    message: Option<String>,
) -> Result<(Planned, Option<Applied>), Error> {
    let mut round = 1;
    // What earlier rounds brought is in the tree, so the last plan no longer speaks of it.
    let mut earlier = Planned::default();
    loop {
        let mut plan = Box::pin(session.plan_sync(on_conflict)).await?;
        let mut planned = describe(&mut plan);
        planned
            .pulled
            .splice(0..0, std::mem::take(&mut earlier.pulled));
        planned
            .merged
            .splice(0..0, std::mem::take(&mut earlier.merged));
        let Some(limits) = limits.filter(|_| planned.conflicts.is_empty()) else {
            return Ok((planned, None));
        };
        match Box::pin(session.apply_sync(plan, message.clone(), limits)).await {
            Ok(outcome) => {
                let applied = Applied {
                    snapshot: outcome.snapshot,
                    message: outcome.message,
                };
                return Ok((planned, Some(applied)));
            }
            Err(error) if is_race(&error) && round < ROUNDS => earlier = planned,
            Err(error) => return Err(error.into()),
        }
        round += 1;
    }
}
