//! `watch` of skills, content and access control: what is saved goes to the database, a burst of saves as one transaction
//! for each kind.

use snafu::ResultExt;
use sync_engine::local::{Direction, LocalKind, LocalOptions};
use sync_engine::rows::Database;
use sync_engine::{LocalRun, Watcher, Workspace};
use tokio::signal::unix::{SignalKind, signal};

use super::local::{LocalReport, open};
use super::rows::database;
use super::transfer::limits;
use super::{Place, watch};
use crate::args::Watch;
use crate::error::SetupSnafu;
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) async fn run(
    place: &Place<'_>,
    asked: &Watch,
    kinds: &[LocalKind],
) -> Result<Outcome, Error> {
    let workspace = place.workspace()?;
    let database = database(place)?;
    let mut terminate = signal(SignalKind::terminate()).context(SetupSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(SetupSnafu)?;
    // What is under way is dropped: a transaction that has not committed is rolled back.
    tokio::select! {
        ended = watching(place, asked, kinds, &workspace, &database) => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    place.terminal.line("stopped");
    Ok(Outcome::Done)
}

async fn watching(
    place: &Place<'_>,
    asked: &Watch,
    kinds: &[LocalKind],
    workspace: &Workspace,
    database: &Database,
) -> Result<Outcome, Error> {
    let runs = runs(asked, kinds)?;
    std::fs::create_dir_all(workspace.tree()).context(crate::error::WriteSnafu {
        path: workspace.tree(),
    })?;
    // Watching begins before the first run: what is saved during it is not missed.
    let mut watcher = Watcher::new(workspace)?;
    place
        .terminal
        .line(&format!("watching {}", workspace.tree().display()));
    watch::watching(place, kinds.iter().copied().map(Into::into).collect());
    let mut failures = 0;
    loop {
        let mut wait = None;
        for run in &runs {
            match Box::pin(once(place, workspace, database, run)).await {
                Ok(()) => {}
                Err(error) => {
                    place.terminal.failure(&error);
                    // What a person has to mend is tried again when something was saved.
                    wait = watch::patience(&error, failures + 1).or(wait);
                }
            }
        }
        failures = if wait.is_some() { failures + 1 } else { 0 };
        tokio::select! {
            () = watcher.saved() => {}
            () = watch::pause(wait) => {}
        }
    }
}

fn runs(asked: &Watch, kinds: &[LocalKind]) -> Result<Vec<LocalRun>, Error> {
    let options = LocalOptions {
        delete: asked.delete,
        on_conflict: asked.on_conflict.for_local()?,
        keep_going: asked.keep_going,
        filter: None,
    };
    let run = |kind: &LocalKind| LocalRun {
        kind: *kind,
        direction: Direction::ToDatabase,
        options: options.clone(),
        limits: limits(asked.max_delete, false),
    };
    Ok(kinds.iter().map(run).collect())
}

/// One push, with its report where there is something to tell.
async fn once(
    place: &Place<'_>,
    workspace: &Workspace,
    database: &Database,
    run: &LocalRun,
) -> Result<(), Error> {
    let place = place.anew();
    let progress = Progress::new(&place.terminal);
    let operation = format!("push {}", run.kind.as_str());
    progress.begin(operation, Some(sync_engine::Direction::Push));
    let local = open(&place, workspace.clone(), database.clone(), &progress);
    local.recover().await?;
    let done = local.run(run).await;
    progress.finish();
    let report = LocalReport::new("push", run.kind, false, done?);
    if report.is_quiet() {
        place.terminal.quiet_result(&report);
    } else {
        let (value, outcome) = report.tell(&place, run.direction);
        let problem = report.problem();
        place.terminal.result(&value, outcome, problem.as_ref());
    }
    Ok(())
}
