//! `rollback`: a new snapshot with the files of an old one, here and on the tenant.

use std::sync::Arc;

use super::ask::Asking;
use super::transfer::{Applied, Planned, Verb, begin, conclude, limits};
use super::{Place, rows};
use crate::args::{Rollback, Target};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, rollback: Rollback) -> Result<Outcome, Error> {
    if rollback.target == Target::Database {
        return rows::rollback(place, rollback).await;
    }
    let progress = Progress::new(&place.terminal);
    let (session, connection) = begin(
        place,
        &progress,
        Verb::Rollback.start(Target::Files.as_str()),
        rollback.dry_run,
    )
    .await?;
    let mut plan = session
        .plan_rollback(&rollback.snapshot, rollback.on_conflict)
        .await?;
    let planned = Planned {
        changes: Arc::new(plan.push.clone()),
        pulled: plan.pull.clone(),
        conflicts: plan.conflicts.clone(),
        problems: std::mem::take(&mut plan.refused),
        ..Planned::default()
    };
    let applied = if rollback.dry_run || !plan.conflicts.is_empty() {
        None
    } else {
        let mut limits = limits(rollback.max_delete, rollback.yes);
        let asking = Asking::new(place, &progress, Verb::Rollback, rollback.on_conflict);
        asking.about(Some(&planned), None, &mut limits)?;
        let snapshot = session
            .apply_rollback(plan, rollback.message, &limits)
            .await?;
        Some(Applied {
            snapshot,
            message: None,
        })
    };
    progress.finish();
    let ends = (session, connection);
    Ok(conclude(
        place,
        Verb::Rollback,
        ends,
        planned,
        rollback.dry_run,
        applied,
    )
    .await)
}
