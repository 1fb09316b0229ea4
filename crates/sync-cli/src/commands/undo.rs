//! `undo`: what was replaced in the workspace comes back.

use std::sync::Arc;

use super::ask::Asking;
use super::transfer::{Applied, Planned, Verb, begin, conclude, limits};
use super::{Place, rows};
use crate::args::{Target, Undo};
use crate::progress::Progress;
use crate::terminal::moment;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, undo: &Undo) -> Result<Outcome, Error> {
    if undo.target == Target::Database {
        return rows::undo(place, undo).await;
    }
    let progress = Progress::new(&place.terminal);
    let (session, connection) = begin(
        place,
        &progress,
        Verb::Undo.start(Target::Files.as_str()),
        undo.dry_run,
    )
    .await?;
    let mut plan = session.plan_undo(undo.on_conflict).await?;
    let planned = Planned {
        changes: Arc::new(plan.changes.clone()),
        conflicts: plan.conflicts.clone(),
        problems: std::mem::take(&mut plan.refused),
        ..Planned::default()
    };
    let what = format!(
        "the {} of {}",
        plan.undone.operation,
        moment(plan.undone.time)
    );
    let applied = if undo.dry_run || !plan.conflicts.is_empty() {
        None
    } else {
        let mut limits = limits(undo.max_delete, undo.yes);
        let asking = Asking::new(place, &progress, Verb::Undo, undo.on_conflict);
        asking.about(Some(&planned), None, &mut limits)?;
        session.apply_undo(plan, &limits).await?;
        Some(Applied::default())
    };
    progress.finish();
    place.terminal.line(&format!("undo      {what}"));
    let ends = (session, connection);
    Ok(conclude(place, Verb::Undo, ends, planned, undo.dry_run, applied).await)
}
