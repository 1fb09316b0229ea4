//! `sync`: both ways, merged.

use sync_engine::{Limits, OnConflict, Session};

use super::ask::Asking;
use super::transfer::{Applied, Planned, ROUNDS, Verb, begin, conclude, limits};
use super::{Place, all, rows};
use crate::args::{SyncBoth, SyncTarget, Target};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, both: SyncBoth) -> Result<Outcome, Error> {
    match both.target {
        SyncTarget::All => return all::sync(place, both).await,
        SyncTarget::One(Target::Database) => return rows::sync(place, both).await,
        SyncTarget::One(Target::Files) => {}
    }
    let progress = Progress::new(&place.terminal);
    let (session, connection) = begin(
        place,
        &progress,
        Verb::Sync.start(Target::Files.as_str()),
        both.dry_run,
    )
    .await?;
    if !both.dry_run {
        session.make_tree()?;
    }
    let limits = (!both.dry_run).then(|| limits(both.max_delete, both.yes));
    let asking = Asking::new(place, &progress, Verb::Sync, both.on_conflict);
    let synced = sync(
        &session,
        both.on_conflict,
        limits,
        both.message,
        Some(&asking),
    )
    .await;
    progress.finish();
    let (planned, applied) = synced?;
    let ends = (session, connection);
    Ok(conclude(place, Verb::Sync, ends, planned, both.dry_run, applied).await)
}

/// Plans, and applies where there are `limits` and nothing to choose, once somebody was asked where somebody is; anew where
/// somebody else pushed in between.
pub(super) async fn sync(
    session: &Session,
    on_conflict: OnConflict,
    mut limits: Option<Limits>,
    message: Option<String>,
    asking: Option<&Asking<'_>>,
) -> Result<(Planned, Option<Applied>), Error> {
    let mut round = 1;
    // What earlier rounds brought is in the tree, so the last plan no longer speaks of it.
    let mut earlier = Planned::default();
    loop {
        let mut plan = Box::pin(session.plan_sync(on_conflict)).await?;
        let mut planned = Planned::of_sync(&mut plan);
        planned.put_first(std::mem::take(&mut earlier));
        let Some(limits) = limits.as_mut().filter(|_| planned.conflicts.is_empty()) else {
            return Ok((planned, None));
        };
        if let Some(asking) = asking {
            asking.about(Some(&planned), None, limits)?;
        }
        match Box::pin(session.apply_sync(plan, message.clone(), limits)).await {
            Ok(outcome) => {
                let applied = Applied {
                    snapshot: outcome.snapshot,
                    message: outcome.message,
                };
                return Ok((planned, Some(applied)));
            }
            Err(error) if error.is_race() && round < ROUNDS => earlier = planned,
            Err(error) => return Err(error.into()),
        }
        round += 1;
    }
}
