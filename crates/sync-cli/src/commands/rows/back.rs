//! `rollback` and `undo` of a database.

use sync_engine::Limits;
use sync_engine::rows::Rows;

use super::super::Place;
use super::super::transfer::{begin, limits};
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
        let limits = limits(rollback.max_delete, rollback.yes);
        back(&rows, plan, rollback.dry_run, rollback.message, &limits).await
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
        let limits = limits(undo.max_delete, undo.yes);
        back(&rows, plan, undo.dry_run, None, &limits).await
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

async fn back(
    rows: &Rows<'_>,
    plan: sync_engine::rows::BackPlan,
    dry_run: bool,
    message: Option<String>,
    limits: &Limits,
) -> Result<Done, Error> {
    let planned = Planned::of_back(&plan);
    if dry_run || !planned.conflicts.is_empty() {
        return Ok((planned, None));
    }
    let outcome = rows.apply_back(plan, message, limits).await?;
    Ok((planned, Some(outcome)))
}
