//! `watch`: a sync whenever something is saved.

use std::time::Duration;

use snafu::ResultExt;
use sync_core::retry::Backoff;
use sync_engine::{Event, OnConflict, Watcher, event};
use tokio::signal::unix::{SignalKind, signal};

use super::sync::sync;
use super::transfer::{Verb, begin, collect, is_unavailable, limits, print, report};
use super::{Place, local, watch_local, watch_rows};
use crate::args::{Chosen, Target, Watch};
use crate::env::Env;
use crate::error::{SetupSnafu, WatchAllSnafu};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, watch: &Watch) -> Result<Outcome, Error> {
    match Chosen::of(&watch.targets)? {
        Chosen::Local(kinds) => return Box::pin(watch_local::run(place, watch, &kinds)).await,
        Chosen::All if !watch.targets.is_empty() => return WatchAllSnafu.fail(),
        tenant => {
            local::ensure_no_flags(watch.delete, false, watch.keep_going)?;
            if tenant == Chosen::Tenant(Target::Database) {
                return Box::pin(watch_rows::run(place, watch)).await;
            }
        }
    }
    let on_conflict = watch.on_conflict.for_tenant()?;
    let workspace = place.workspace()?;
    let mut terminate = signal(SignalKind::terminate()).context(SetupSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(SetupSnafu)?;
    std::fs::create_dir_all(workspace.tree()).context(crate::error::WriteSnafu {
        path: workspace.tree(),
    })?;
    // Watching begins before the first sync: what is saved during it is not missed.
    let mut watcher = Watcher::new(&workspace)?;
    place
        .terminal
        .line(&format!("watching {}", workspace.tree().display()));
    watching(place, vec![event::Target::Files]);
    let mut failures = 0;
    loop {
        let wait = match once(place, watch, on_conflict).await {
            Ok(()) => {
                failures = 0;
                None
            }
            Err(error) => {
                failures += 1;
                place.terminal.failure(&error);
                // What a person has to mend is tried again when something was saved.
                patience(&error, failures)
            }
        };
        tokio::select! {
            () = watcher.saved() => {}
            () = pause(wait) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    place.terminal.line("stopped");
    Ok(Outcome::Done)
}

/// Tells programs what is watched.
pub(super) fn watching(place: &Place<'_>, targets: Vec<event::Target>) {
    let event: Event = Event::WatchStart { targets };
    place.terminal.event(&event);
}

/// Waits for so long; for ever where nothing is to be tried again.
pub(super) async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// How long to wait before what failed so often is tried again; `None` where waiting does not mend it.
pub(super) fn patience(error: &Error, failures: u32) -> Option<Duration> {
    is_unavailable(error).then(|| {
        let delay = Backoff::ENDLESS.delay(failures, Env::random(), None);
        delay.unwrap_or(Backoff::ENDLESS.cap)
    })
}

/// One sync, with its report where it did something.
async fn once(place: &Place<'_>, watch: &Watch, on_conflict: OnConflict) -> Result<(), Error> {
    let place = place.anew();
    let progress = Progress::new(&place.terminal);
    let (session, connection) = begin(
        &place,
        &progress,
        Verb::Sync.start(Target::Files.as_str()),
        false,
    )
    .await?;
    let limits = limits(watch.max_delete, false);
    let synced = Box::pin(sync(&session, on_conflict, Some(limits), None, None)).await;
    progress.finish();
    let traffic = session.remote().traffic();
    if synced.is_ok() {
        collect(&session).await;
    }
    drop(session);
    connection.close().await;
    let (planned, applied) = synced?;
    if planned.is_quiet() {
        let (report, _) = report(&place, Verb::Sync, planned, false, applied, traffic);
        place.terminal.quiet_result(&report);
    } else {
        print(&place, Verb::Sync, planned, false, applied, traffic);
    }
    Ok(())
}
