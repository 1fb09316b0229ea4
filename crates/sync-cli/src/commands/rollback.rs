//! `rollback`: a new snapshot with the files of an old one, here and on the tenant.

use std::sync::Arc;

use snafu::OptionExt;

use super::ask::Asking;
use super::transfer::{Applied, Planned, Verb, begin, conclude, limits};
use super::{Place, deploy, rows};
use crate::args::{Returning, Rollback, Target};
use crate::connect::{Connection, Purpose};
use crate::error::NoReleaseSnafu;
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, rollback: Rollback) -> Result<Outcome, Error> {
    match rollback.target {
        Returning::Tenant(Target::Files) => {}
        Returning::Tenant(Target::Database) => return rows::rollback(place, rollback).await,
        Returning::Release => return release(place, rollback).await,
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

/// Has the tenant run what an old snapshot says that it ran.
async fn release(place: &Place<'_>, rollback: Rollback) -> Result<Outcome, Error> {
    let purpose = if rollback.dry_run {
        Purpose::Look
    } else {
        Purpose::Act
    };
    let connection = Connection::open(&place.workspace()?, place.env, purpose).await?;
    let remote = &connection.remote;
    let done = async {
        let found = remote.resolve(&rollback.snapshot).await?;
        let (release, named) =
            found
                .snapshot
                .roots
                .release
                .zip(found.release)
                .context(NoReleaseSnafu {
                    given: rollback.snapshot,
                    reason: "the snapshot has none",
                })?;
        let wanted = deploy::Wanted {
            release,
            tag: named.tag,
            message: rollback.message,
        };
        let going = deploy::Going {
            dry_run: rollback.dry_run,
            yes: rollback.yes,
        };
        deploy::bring_back(place, remote, wanted, going).await
    };
    let done = Box::pin(done).await;
    connection.close().await;
    done
}
