//! `push`: workspace to tenant.

use std::sync::Arc;

use snafu::ensure;

use super::Place;
use super::transfer::{Applied, Direction, Planned, conclude};
use crate::args::Push;
use crate::connect::Purpose;
use crate::error::EmptyTreeSnafu;
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, push: Push) -> Result<Outcome, Error> {
    let progress = Progress::new(place.terminal);
    let purpose = if push.dry_run {
        Purpose::Look
    } else {
        Purpose::Act
    };
    let (session, connection) = place.session(purpose, progress.listener()).await?;
    if !push.dry_run {
        session.recover().await?;
    }
    let mut plan = session.plan_push().await?;
    let refused = std::mem::take(&mut plan.refused);
    let planned = Planned {
        standing: plan.standing,
        changes: Arc::clone(&plan.changes),
        refused,
    };
    let applied = if push.dry_run {
        None
    } else {
        ensure!(push.yes || !plan.empties_the_tenant(), EmptyTreeSnafu);
        let outcome = session.apply_push(plan, push.message).await?;
        Some(Applied {
            snapshot: outcome.snapshot,
            message: outcome.message,
        })
    };
    progress.finish();
    conclude(
        place,
        (Direction::Push, push.target),
        session,
        connection,
        planned,
        applied,
    )
    .await?;
    Ok(Outcome::Done)
}
