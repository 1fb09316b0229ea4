//! `daemon`: keeps the workspace in sync and runs its jobs when they are due, in one process, until it is told to end.

mod control;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use snafu::{ResultExt, ensure};
use sync_engine::event::Target;
use sync_engine::jobs::{JobEvent, Jobs, jobs_of};
use sync_engine::local::{Direction, LocalOptions};
use sync_engine::{
    Event, Items, Listener, LocalRun, ManagerOptions, SyncConfig, SyncDirection, SyncManager,
    SyncReport, SyncService, WithDatabase, Workspace,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::transfer::{Verb, limits};
use super::{Place, all, jobs, rows};
use crate::args::{DaemonVerb, Format};
use crate::connect::{Connection, Purpose};
use crate::env::Env;
use crate::error::{NothingToRunSnafu, SetupSnafu};
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{Error, Outcome};
use control::{Control, Socket};

/// How long the connection may take to end.
const GRACE: Duration = Duration::from_millis(500);
/// How long one run may take: nobody waits for it, and a first one may have much to bring.
const LONGEST: Duration = Duration::from_hours(12);

pub(super) async fn run(place: &Place<'_>, verb: Option<DaemonVerb>) -> Result<Outcome, Error> {
    match verb {
        None => daemon(place).await,
        Some(verb) => control::ask(place, &verb).await,
    }
}

async fn daemon(place: &Place<'_>) -> Result<Outcome, Error> {
    let mut terminate = signal(SignalKind::terminate()).context(SetupSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(SetupSnafu)?;
    let workspace = place.workspace()?;
    let mut targets = workspace.config().daemon_targets();
    let left_out = leave_out(place, &mut targets)?;
    let scheduled = jobs_of(&workspace.config().jobs)?;
    let has_jobs = scheduled.iter().any(|job| job.schedule.is_some());
    ensure!(has_jobs || !targets.is_empty(), NothingToRunSnafu);
    // The lock says who is the daemon; a socket without it was left behind.
    let held = workspace.lock_for_daemon(Env::now())?;
    let progress = Progress::new(&place.terminal);
    let jobs = if has_jobs {
        Some(jobs::jobs(place, &progress)?)
    } else {
        None
    };
    let (manager, connection) = if targets.is_empty() {
        (None, None)
    } else {
        let connection = Connection::open(&workspace, place.env, Purpose::Act).await?;
        let manager = manager(place, &workspace, &targets, &connection, &progress).await?;
        (Some(manager), Some(connection))
    };
    let (stop, stopped) = watch::channel(false);
    let control = Arc::new(Control {
        manager,
        targets,
        left_out,
        jobs: scheduled,
        started: Env::now(),
        stop,
    });
    let socket = Socket::bind(&workspace).await?;
    let serving = tokio::spawn(control::serve(socket, Arc::clone(&control)));
    if let Some(manager) = &control.manager {
        manager.start()?;
        watching(place, &control);
    }
    let ended = tokio::select! {
        ended = work(&place.terminal, jobs, stopped.clone()) => ended,
        () = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = control.stop.send(true);
            // The work ends by that.
            std::future::pending::<()>().await;
        } => Ok(()),
    };
    let _ = control.stop.send(true);
    if let Some(manager) = &control.manager {
        manager.stop().await;
    }
    serving.abort();
    // The socket is gone with it, before the lock is.
    let _ = serving.await;
    drop(control);
    if let Some(connection) = connection {
        // An embedded tenant has written everything then; nobody waits for a request that hangs.
        let _ = tokio::time::timeout(GRACE, connection.close()).await;
    }
    drop(held);
    ended?;
    place.terminal.line("stopped");
    Ok(Outcome::Done)
}

/// Takes the database out of `targets` where its address is not to be had and others can be kept in sync meanwhile; gives the
/// reason.
fn leave_out(
    place: &Place<'_>,
    targets: &mut BTreeSet<Target>,
) -> Result<BTreeMap<Target, String>, Error> {
    if targets.len() > 1
        && targets.contains(&Target::Database)
        && let WithDatabase::Absent { reason, .. } = all::with_database(place, &[])?
    {
        targets.remove(&Target::Database);
        return Ok(BTreeMap::from([(Target::Database, reason)]));
    }
    Ok(BTreeMap::new())
}

/// Runs jobs until somebody says stop; waits for that where there are none.
async fn work(
    terminal: &Terminal,
    jobs: Option<Jobs>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Error> {
    let stop = async move {
        // Whoever could say stop lives as long as this.
        let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
    };
    let Some(jobs) = jobs else {
        stop.await;
        return Ok(());
    };
    let tell = move |event: JobEvent| {
        terminal.event(&event);
        jobs::say(terminal, &event);
    };
    Ok(Box::pin(jobs.serve(&tell, stop)).await?)
}

/// What keeps `targets` in sync.
async fn manager(
    place: &Place<'_>,
    workspace: &Workspace,
    targets: &BTreeSet<Target>,
    connection: &Connection,
    progress: &Arc<Progress>,
) -> Result<SyncManager, Error> {
    let remote = workspace.remote()?;
    let mut config = SyncConfig::builder(remote.tenant.as_str(), &remote.url, "", workspace.tree())
        .with_workspace(workspace.clone())
        .with_client(connection.remote.client().clone())
        .with_branch(remote.branch.as_str())
        .with_direction(SyncDirection::Sync)
        .with_deadline(LONGEST)
        .with_author(place.env.author())
        .with_clock(Arc::new(Env::now))
        .with_random(Arc::new(Env::random));
    if let Some(trust) = connection.remote.trust() {
        config = config.with_trust(Arc::clone(trust));
    }
    if targets.contains(&Target::Database) {
        config = config.with_database(rows::database(place)?);
    }
    let service = SyncService::new(config.build()?).await?;
    let kinds: Vec<_> = targets.iter().filter_map(|target| target.kind()).collect();
    let items = if kinds.is_empty() {
        None
    } else {
        let run = |kind| LocalRun {
            kind,
            direction: Direction::ToDatabase,
            options: LocalOptions::default(),
            limits: limits(sync_engine::MaxDelete::default(), false),
        };
        Some(Items {
            database: rows::database(place)?,
            runs: kinds.into_iter().map(run).collect(),
        })
    };
    let options = ManagerOptions {
        files: targets.contains(&Target::Files),
        items,
        listener: listener(&place.terminal, progress),
        ..ManagerOptions::default()
    };
    Ok(SyncManager::new(service, options))
}

fn watching(place: &Place<'_>, control: &Control) {
    let targets = control.targets.iter();
    let names: Vec<&str> = targets.map(|target| target.as_str()).collect();
    place
        .terminal
        .line(&format!("keeping in sync: {}", names.join(", ")));
    for (target, reason) in &control.left_out {
        Terminal::note(&format!("{} is left out: {reason}", target.as_str()));
    }
    let targets = control.targets.iter().copied().collect();
    let event: Event = Event::WatchStart { targets };
    place.terminal.event(&event);
}

/// Tells what happens: programs every event, or every report of a run that did something; people what was done, and once what
/// went wrong.
fn listener(terminal: &Terminal, progress: &Arc<Progress>) -> Listener {
    let (show, terminal) = (progress.listener(), terminal.clone());
    let bar = Arc::clone(progress);
    let last: Mutex<Option<String>> = Mutex::new(None);
    Arc::new(move |event: Event| {
        let code = match &event {
            Event::SyncComplete { report } => {
                bar.finish();
                done(&terminal, report);
                None
            }
            Event::SyncError {
                problem, report, ..
            } => {
                bar.finish();
                Some((problem.clone(), report.clone()))
            }
            _ => return show(event),
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((problem, report)) = &code
            && last.as_ref() != Some(&problem.code)
        {
            if let Some(report) = report {
                done(&terminal, report);
            } else {
                terminal.problem(problem);
            }
        }
        *last = code.map(|(problem, _)| problem.code);
        drop(last);
        show(event);
    })
}

/// Tells of a run that did something, or that did not do everything.
fn done(terminal: &Terminal, report: &SyncReport) {
    if report.items_synced == 0 && report.success {
        return;
    }
    match terminal.format {
        Format::Text => all::show_both(terminal, Verb::Sync, report),
        Format::Json => terminal.event(report),
        Format::Ndjson => {}
    }
}
