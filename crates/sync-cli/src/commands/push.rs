//! `push`: workspace to tenant.

use sync_engine::OnConflict;

use super::ask::Asking;
use super::transfer::{Applied, Planned, Verb, begin, conclude, limits};
use super::{Place, all, local, rows};
use crate::args::{Chosen, Push, Target};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, push: Push) -> Result<Outcome, Error> {
    let target = match Chosen::of(&push.targets)? {
        Chosen::Local(kinds) => return local::push(place, &kinds, push).await,
        Chosen::Tenant(target) => Some(target),
        Chosen::All => None,
    };
    local::ensure_no_flags(push.delete, push.on_conflict.is_some(), push.keep_going)?;
    let Some(target) = target else {
        return all::push(place, push).await;
    };
    if target == Target::Database {
        return rows::push(place, push).await;
    }
    let progress = Progress::new(&place.terminal);
    let filter = Place::filter(&push.filter)?;
    let (session, connection) = begin(
        place,
        &progress,
        Verb::Push.start(Target::Files.as_str()),
        push.dry_run,
    )
    .await?;
    let mut plan = session.plan_push(filter.as_ref()).await?;
    let planned = Planned::of_push(&mut plan);
    let applied = if push.dry_run {
        None
    } else {
        let mut limits = limits(push.max_delete, push.yes);
        let asking = Asking::new(place, &progress, Verb::Push, OnConflict::Ask);
        asking.about(Some(&planned), None, &mut limits)?;
        let outcome = session.apply_push(plan, push.message, &limits).await?;
        Some(Applied {
            snapshot: outcome.snapshot,
            message: outcome.message,
        })
    };
    progress.finish();
    let ends = (session, connection);
    Ok(conclude(place, Verb::Push, ends, planned, push.dry_run, applied).await)
}
