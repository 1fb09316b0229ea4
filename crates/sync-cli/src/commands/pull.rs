//! `pull`: tenant to workspace.

use super::Place;
use super::transfer::{Applied, Direction, Planned, conclude};
use crate::args::Pull;
use crate::connect::Purpose;
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, pull: &Pull) -> Result<Outcome, Error> {
    let progress = Progress::new(place.terminal);
    let purpose = if pull.dry_run {
        Purpose::Look
    } else {
        Purpose::Act
    };
    let (session, connection) = place.session(purpose, progress.listener()).await?;
    if !pull.dry_run {
        session.make_tree()?;
        session.recover().await?;
    }
    let mut plan = session.plan_pull().await?;
    let refused = std::mem::take(&mut plan.refused);
    let planned = Planned {
        standing: plan.standing,
        changes: plan.changes.clone(),
        refused,
    };
    let applied = if pull.dry_run {
        // It may hold the stream of the contents, which nobody will read.
        drop(plan);
        None
    } else {
        let outcome = Box::pin(session.apply_pull(plan)).await?;
        Some(Applied {
            snapshot: outcome.snapshot,
            message: None,
        })
    };
    progress.finish();
    conclude(
        place,
        (Direction::Pull, pull.target),
        session,
        connection,
        planned,
        applied,
    )
    .await?;
    Ok(Outcome::Done)
}
