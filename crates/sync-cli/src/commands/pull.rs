//! `pull`: tenant to workspace.

use std::sync::Arc;

use sync_engine::OnConflict;

use super::ask::Asking;
use super::transfer::{Applied, Planned, Verb, begin, conclude, limits};
use super::{Place, all, local, rows};
use crate::args::{Chosen, Pull, Target};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, pull: Pull) -> Result<Outcome, Error> {
    let target = match Chosen::of(&pull.targets)? {
        Chosen::Local(kinds) => return local::pull(place, &kinds, pull).await,
        Chosen::Tenant(target) => Some(target),
        Chosen::All => None,
    };
    local::ensure_no_flags(pull.delete, pull.on_conflict.is_some(), pull.keep_going)?;
    let Some(target) = target else {
        return all::pull(place, pull).await;
    };
    if target == Target::Database {
        return rows::pull(place, &pull).await;
    }
    let progress = Progress::new(&place.terminal);
    let filter = Place::filter(&pull.filter)?;
    let (session, connection) = begin(
        place,
        &progress,
        Verb::Pull.start(Target::Files.as_str()),
        pull.dry_run,
    )
    .await?;
    if !pull.dry_run {
        session.make_tree()?;
    }
    let mut plan = session.plan_pull(filter.as_ref()).await?;
    let mut planned = Planned::of_pull(&mut plan);
    let applied = if pull.dry_run || !planned.conflicts.is_empty() {
        // It may hold the stream of the contents, which nobody will read.
        drop(plan);
        None
    } else {
        let mut limits = limits(pull.max_delete, pull.yes);
        let asking = Asking::new(place, &progress, Verb::Pull, OnConflict::Ask);
        asking.about(Some(&planned), None, &mut limits)?;
        let outcome = Box::pin(session.apply_pull(plan, &limits)).await?;
        planned.changes = Arc::new(outcome.changes);
        Some(Applied {
            snapshot: outcome.snapshot,
            message: None,
        })
    };
    progress.finish();
    let ends = (session, connection);
    Ok(conclude(place, Verb::Pull, ends, planned, pull.dry_run, applied).await)
}
