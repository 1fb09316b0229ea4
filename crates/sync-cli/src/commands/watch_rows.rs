//! `watch database`: a sync whenever rows change, on either side.
//!
//! The database says when rows of tracked tables have changed, the tenant answers a waiting request when its branch has moved.
//! Both only say that something may have happened: a sync finds out what, and a lost word costs time, never a change.

use std::time::Duration;

use snafu::ResultExt;
use sync_core::SnapshotId;
use sync_core::retry::Backoff;
use sync_engine::rows::Database;
use sync_engine::{Direction, Remote, Session, event};
use sync_store::protocol::Part;
use tokio::signal::unix::{SignalKind, signal};

use super::rows::{Asked, Planned, database, print, report, transfer};
use super::transfer::{is_unavailable, limits};
use super::{Place, watch};
use crate::args::Watch;
use crate::connect::{Connection, Purpose};
use crate::env::Env;
use crate::error::SetupSnafu;
use crate::progress::Progress;
use crate::{Error, Outcome};

/// How long a request waits at the tenant.
const WAIT: Duration = Duration::from_secs(20);
/// How long the connection may take to end.
const GRACE: Duration = Duration::from_millis(700);
/// How soon rows are read again that transactions were writing meanwhile, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));
/// A database that cannot say when something changed is looked at so often.
const UNTRACKED: Duration = Duration::from_secs(5);

pub(super) async fn run(place: &Place<'_>, asked: &Watch) -> Result<Outcome, Error> {
    let database = database(place)?;
    let mut terminate = signal(SignalKind::terminate()).context(SetupSnafu)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(SetupSnafu)?;
    let workspace = place.workspace()?;
    let connection = Connection::open(&workspace, place.env, Purpose::Act).await?;
    let remote = connection.remote.clone();
    // What is under way is dropped: a transaction that has not committed is rolled back.
    let ended = tokio::select! {
        ended = watching(place, asked, &database, &remote) => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    drop(remote);
    // An embedded tenant has written everything then; nobody waits for a request that hangs.
    let _ = tokio::time::timeout(GRACE, connection.close()).await;
    if let Some(ended) = ended {
        return ended;
    }
    place.terminal.line("stopped");
    Ok(Outcome::Done)
}

async fn watching(
    place: &Place<'_>,
    asked: &Watch,
    database: &Database,
    remote: &Remote,
) -> Result<Outcome, Error> {
    place.terminal.line(&format!("watching {}", database.at()));
    watch::watching(place, vec![event::Target::Database]);
    let tracked = database.tracked().await?;
    if !tracked.iter().any(|table| table.is_intact) {
        place.terminal.line(
            "no table is tracked: rows are read whole every 5 s; `sync-cli db track` changes that",
        );
    }
    let mut failures = 0;
    loop {
        // Listening begins before the sync: what is committed during it is not missed.
        let followed = follow(place, asked, database, remote, &mut failures).await;
        let Err(error) = followed;
        failures += 1;
        place.terminal.failure(&error);
        if !is_unavailable(&error)
            && !matches!(&error, Error::Engine { source } if source.is_race())
        {
            // What a person has to mend is tried again now and then.
            tokio::time::sleep(Duration::from_secs(30)).await;
            continue;
        }
        let wait = Backoff::ENDLESS.delay(failures, Env::random(), None);
        tokio::time::sleep(wait.unwrap_or(Backoff::ENDLESS.cap)).await;
    }
}

/// Syncs whenever something may have changed, until something fails.
async fn follow(
    place: &Place<'_>,
    asked: &Watch,
    database: &Database,
    remote: &Remote,
    failures: &mut u32,
) -> Result<std::convert::Infallible, Error> {
    let mut listener = database.listen().await?;
    let is_tracked = database
        .tracked()
        .await?
        .iter()
        .any(|table| table.is_intact);
    let mut pause = AGAIN.0;
    loop {
        let (head, is_writing) = once(place, asked, database, remote).await?;
        *failures = 0;
        let soon = pause;
        let again = async {
            match (is_writing, is_tracked) {
                (true, _) => tokio::time::sleep(soon).await,
                (false, false) => tokio::time::sleep(UNTRACKED).await,
                (false, true) => std::future::pending().await,
            }
        };
        pause = if is_writing {
            (pause * 2).min(AGAIN.1)
        } else {
            AGAIN.0
        };
        tokio::select! {
            changed = listener.changed() => {
                changed?;
                pause = AGAIN.0;
            }
            moved = remote.moved(head, WAIT, Part::All) => {
                moved?;
            }
            () = again => {}
        }
    }
}

/// One sync, with its report where it did something; gives where the branch is then, and whether transactions were writing
/// meanwhile.
async fn once(
    place: &Place<'_>,
    asked: &Watch,
    database: &Database,
    remote: &Remote,
) -> Result<(Option<SnapshotId>, bool), Error> {
    let place = place.anew();
    let progress = Progress::new(&place.terminal);
    progress.begin("sync database".to_owned(), Some(Direction::Sync));
    let context = place.context(progress.listener());
    // The private store is let go of in between: other commands want it, too.
    let session = Session::new(place.workspace()?, remote.clone(), context)?;
    let wanted = Asked {
        dry_run: false,
        on_conflict: asked.on_conflict.for_tenant()?,
        message: None,
        limits: limits(asked.max_delete, false),
    };
    let before = remote.traffic();
    let done = Box::pin(transfer(
        &session,
        database.clone(),
        Direction::Sync,
        &wanted,
        None,
    ))
    .await;
    progress.finish();
    drop(session);
    let (planned, outcome): (Planned, _) = done?;
    let head = outcome
        .as_ref()
        .and_then(|outcome| outcome.snapshot)
        .or(planned.head);
    let is_writing = planned.is_writing;
    let traffic = remote.traffic().since(before);
    if planned.is_empty() {
        let told = report(
            &place,
            "sync database",
            false,
            planned,
            outcome,
            Some(traffic),
        );
        place.terminal.quiet_result(&told.0);
    } else {
        print(&place, "sync database", false, planned, outcome, traffic);
    }
    Ok((head, is_writing))
}
