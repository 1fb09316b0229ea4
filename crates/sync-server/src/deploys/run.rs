//! Start, wait, switch, move the head; or take back.
//!
//! What stands after a crash: nothing, before the journal says that it was begun; then a release that may have been started,
//! which the next run ends where it does not serve; then one that serves, which the next run records.

use std::time::{Duration, Instant};

use snafu::ResultExt;
use sync_core::{Class, Fault, Roots, Snapshot, SnapshotId};
use sync_deploy::{Deployer, Health, Wanted};
use sync_store::protocol::deploy::{DeployEnd, DeployStep, Deployed, Step};
use sync_store::{Advance, Class as ObjectClass, Repository};

use super::journal::{Begun, Journal};
use crate::error::{NotDeployedSnafu, StaleSnafu, StoreSnafu};
use crate::{Error, Server, answer, rows};

/// Between two looks at the health of what was started.
const PAUSE: Duration = Duration::from_millis(250);
/// How often others may move the branch while a snapshot is put onto it.
const ROUNDS: u32 = 64;

/// Is told of every step.
pub(super) type Tell<'t> = dyn Fn(DeployStep) + Send + Sync + 't;

/// Does what was begun, to its end: the release serves and the head names it, or what served before goes on. The caller has
/// the tenant's turn.
///
/// # Errors
///
/// [`Error::NotDeployed`] where the release does not serve; it is in the history then. Where the head could not be moved to
/// what serves, the journal says that it runs, and the next run goes on.
pub(super) async fn run(
    server: &Server,
    repository: &Repository,
    place: &dyn Deployer,
    begun: Begun,
    tell: &Tell<'_>,
) -> Result<Deployed, Error> {
    Journal::begin(repository, &begun).await?;
    let wanted = wanted(repository, &begun);
    match bring_up(place, &wanted, tell).await {
        Ok(url) => finish(server, repository, begun, url, tell).await,
        Err((step, reason)) => {
            take_back(server, repository, place, begun, (step, reason), tell).await
        }
    }
}

/// Goes on with a deploy that was cut short, where there is one.
///
/// # Errors
///
/// Where the place does not say what serves, or the head cannot be moved: then it stays cut short.
pub(super) async fn resume(server: &Server, repository: &Repository) -> Result<(), Error> {
    let Some(begun) = Journal::read(repository).await?.running else {
        return Ok(());
    };
    // Whoever has the turn of it at this moment goes on himself.
    let Ok(_turn) = server.turns().take(repository.name(), begun.told()) else {
        return Ok(());
    };
    // It may have been over by the time that the turn was free.
    let Some(begun) = Journal::read(repository).await?.running else {
        return Ok(());
    };
    resume_begun(server, repository, begun).await
}

/// The same for who has the turn.
pub(super) async fn resume_begun(
    server: &Server,
    repository: &Repository,
    begun: Begun,
) -> Result<(), Error> {
    let settings = super::settings_of(repository).await?;
    let place = server.place(repository.name(), &settings)?;
    let wanted = wanted(repository, &begun);
    let found = place.serving(repository.name()).await?;
    let has_taken_over = found.is_some_and(|found| found.release == Some(begun.release));
    // To switch again ends what a switch that was cut short has left of what served before.
    let switched = if has_taken_over {
        place
            .switch(&wanted)
            .await
            .map_err(|error| (Step::Switch, answer::chain(&error)))
    } else {
        Err((Step::Start, "the server ended meanwhile".to_owned()))
    };
    let (tag, silent) = (begun.tag.clone(), |_: DeployStep| {});
    let outcome = match switched {
        Ok(serving) => finish(server, repository, begun, serving.url, &silent).await,
        Err(failed) => take_back(server, repository, &*place, begun, failed, &silent).await,
    };
    match outcome {
        Ok(_) => tracing::info!(tag, "a deploy that was cut short is recorded"),
        Err(Error::NotDeployed { reason, .. }) => {
            tracing::warn!(tag, reason, "a deploy that was cut short is taken back");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn wanted(repository: &Repository, begun: &Begun) -> Wanted {
    Wanted {
        tenant: repository.name().to_owned(),
        release: begun.release,
        image: begun.image.clone(),
    }
}

/// Starts the release, waits until it is healthy, and has it serve; gives where people reach it.
async fn bring_up(
    place: &dyn Deployer,
    wanted: &Wanted,
    tell: &Tell<'_>,
) -> Result<Option<String>, (Step, String)> {
    let failed = |step| move |error: sync_deploy::Error| (step, answer::chain(&error));
    timed(Step::Start, tell, place.start(wanted))
        .await
        .map_err(failed(Step::Start))?;
    timed(Step::Health, tell, healthy(place, wanted))
        .await
        .map_err(|reason| (Step::Health, reason))?;
    let serving = timed(Step::Switch, tell, place.switch(wanted)).await;
    Ok(serving.map_err(failed(Step::Switch))?.url)
}

/// Waits until the started release is healthy.
///
/// # Errors
///
/// Why it is not.
async fn healthy(place: &dyn Deployer, wanted: &Wanted) -> Result<(), String> {
    let (began, patience) = (Instant::now(), place.patience());
    loop {
        let mut last = "it has not said that it is well".to_owned();
        match place.health(wanted).await {
            Ok(Health::Healthy) => return Ok(()),
            Ok(Health::Unhealthy { reason }) => return Err(reason),
            Ok(Health::Starting) => {}
            // The place may answer again.
            Err(error) if error.class() == Class::Unavailable => last = answer::chain(&error),
            Err(error) => return Err(answer::chain(&error)),
        }
        if began.elapsed() >= patience {
            return Err(format!(
                "not healthy after {} s: {last}",
                patience.as_secs()
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Moves the head to what serves.
async fn finish(
    server: &Server,
    repository: &Repository,
    begun: Begun,
    url: Option<String>,
    tell: &Tell<'_>,
) -> Result<Deployed, Error> {
    let release = begun.release;
    let head = timed(Step::Record, tell, record(server, repository, &begun)).await?;
    Journal::end(repository, begun, server.now(), DeployEnd::Served(head)).await?;
    Ok(Deployed {
        head,
        release,
        url,
        already: false,
    })
}

/// Ends what was started, and writes down why.
async fn take_back(
    server: &Server,
    repository: &Repository,
    place: &dyn Deployer,
    begun: Begun,
    (step, mut reason): (Step, String),
    tell: &Tell<'_>,
) -> Result<Deployed, Error> {
    let wanted = wanted(repository, &begun);
    let taken = timed(Step::Abandon, tell, place.abandon(&wanted)).await;
    if let Err(error) = taken {
        let left = answer::chain(&error);
        reason = format!("{reason}; what was started is left: {left}");
    }
    let tag = begun.tag.clone();
    let end = DeployEnd::Failed {
        step,
        reason: reason.clone(),
    };
    Journal::end(repository, begun, server.now(), end).await?;
    NotDeployedSnafu { tag, step, reason }.fail()
}

/// Puts a snapshot with the release onto the branch, wherever that is by now: files and rows may have moved, the release has
/// not.
async fn record(
    server: &Server,
    repository: &Repository,
    begun: &Begun,
) -> Result<SnapshotId, Error> {
    let branch = begun.branch.as_str();
    for _ in 0..ROUNDS {
        let head = repository.head(branch).await.context(StoreSnafu)?;
        let roots = match head {
            Some(id) => repository.snapshot(id).await.context(StoreSnafu)?.roots,
            None => Roots::default(),
        };
        if let Some(head) = head.filter(|_| roots.release == Some(begun.release)) {
            return Ok(head);
        }
        let snapshot = Snapshot {
            author: begun.author.clone(),
            message: begun.message.clone(),
            parents: head.into_iter().collect(),
            roots: Roots {
                release: Some(begun.release),
                ..roots
            },
            time: server.now(),
        };
        let malformed = |error: sync_core::snapshot::SnapshotError| Error::Malformed {
            reason: error.to_string(),
        };
        let (target, bytes) = snapshot.encode().map_err(malformed)?;
        let made = repository.prepare([(ObjectClass::Nodes, bytes)]).await;
        let advance = Advance {
            branch: branch.to_owned(),
            expected: head,
            target,
            when: server.now(),
        };
        match rows::accept(server, repository, made.context(StoreSnafu)?, advance).await {
            Err(Error::Stale { .. }) => {}
            landed => return landed.map(|landed| landed.head),
        }
    }
    StaleSnafu { head: None }.fail()
}

/// Does a step, and tells when it begins and when it is over.
async fn timed<T>(step: Step, tell: &Tell<'_>, work: impl Future<Output = T>) -> T {
    tell(DeployStep { step, took: None });
    let began = Instant::now();
    let done = work.await;
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tell(DeployStep {
        step,
        took: Some(took),
    });
    done
}
