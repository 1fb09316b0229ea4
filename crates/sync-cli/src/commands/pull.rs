//! `pull`: tenant to workspace.

use std::sync::Arc;

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
    let standing = plan.standing;
    let refused = std::mem::take(&mut plan.refused);
    let (changes, applied) = if pull.dry_run {
        // It may hold the stream of the contents, which nobody will read: it goes with the plan.
        (plan.changes, None)
    } else {
        let outcome = Box::pin(session.apply_pull(plan)).await?;
        let applied = Applied {
            snapshot: outcome.snapshot,
            message: None,
        };
        (outcome.changes, Some(applied))
    };
    let planned = Planned {
        standing,
        changes: Arc::new(changes),
        refused,
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
