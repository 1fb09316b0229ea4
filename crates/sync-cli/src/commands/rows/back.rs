//! `rollback` and `undo` of a database.

use sync_engine::Limits;
use sync_engine::rows::Rows;

use super::super::Place;
use super::super::ask::Asking;
use super::super::transfer::{Verb, begin, limits};
use super::{Done, Planned, conclude, database};
use crate::args::{Rollback, Undo};
use crate::progress::Progress;
use crate::terminal::moment;
use crate::{Error, Outcome};

pub(in crate::commands) async fn rollback(
    place: &Place<'_>,
    rollback: Rollback,
) -> Result<Outcome, Error> {
    let database = database(place)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = begin(
        place,
        &progress,
        ("rollback database".to_owned(), None),
        rollback.dry_run,
    )
    .await?;
    let done = async {
        let rows = session.rows(database).await?;
        let plan = rows
            .plan_rollback(&rollback.snapshot, rollback.on_conflict)
            .await?;
        let asking = Asking::new(place, &progress, Verb::Rollback, rollback.on_conflict);
        let limits = (!rollback.dry_run).then(|| limits(rollback.max_delete, rollback.yes));
        back(&rows, plan, limits, rollback.message, &asking).await
    };
    let done = Box::pin(done).await;
    progress.finish();
    conclude(
        place,
        "rollback database",
        (session, connection),
        rollback.dry_run,
        done,
    )
    .await
}

pub(in crate::commands) async fn undo(place: &Place<'_>, undo: &Undo) -> Result<Outcome, Error> {
    let database = database(place)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = begin(
        place,
        &progress,
        ("undo database".to_owned(), None),
        undo.dry_run,
    )
    .await?;
    let done = async {
        let rows = session.rows(database).await?;
        let plan = rows.plan_undo(undo.on_conflict).await?;
        if let Some(undone) = &plan.undone {
            let what = format!("the {} of {}", undone.operation, moment(undone.time));
            place.terminal.line(&format!("undo      {what}"));
        }
        let asking = Asking::new(place, &progress, Verb::Undo, undo.on_conflict);
        let limits = (!undo.dry_run).then(|| limits(undo.max_delete, undo.yes));
        back(&rows, plan, limits, None, &asking).await
    };
    let done = Box::pin(done).await;
    progress.finish();
    conclude(
        place,
        "undo database",
        (session, connection),
        undo.dry_run,
        done,
    )
    .await
}

/// Applies where there are `limits` and nothing to choose, once somebody was asked where somebody is.
async fn back(
    rows: &Rows<'_>,
    plan: sync_engine::rows::BackPlan,
    limits: Option<Limits>,
    message: Option<String>,
    asking: &Asking<'_>,
) -> Result<Done, Error> {
    let planned = Planned::of_back(&plan);
    let Some(mut limits) = limits.filter(|_| planned.conflicts.is_empty()) else {
        return Ok((planned, None));
    };
    asking.about(None, Some(&planned), &mut limits)?;
    let outcome = rows.apply_back(plan, message, &limits).await?;
    Ok((planned, Some(outcome)))
}
