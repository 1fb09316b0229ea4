//! `push`, `pull` and `sync` of everything that is configured: files, and the rows of the workspace's database.
//!
//! Both are planned first, shown and asked about once where a person is there, and applied in order; what goes to the tenant
//! goes as one snapshot. Where one of the two fails, the other is done and told of all the same.

mod look;
mod report;

use std::sync::Arc;

use sync_engine::all::{AllDone, ROUNDS};
use sync_engine::{AllRequest, Direction, OnConflict, Session, WithDatabase};

use super::ask::Asking;
use super::transfer::{Verb, begin, collect, limits};
use super::{Place, rows};
use crate::args::{Pull, Push, SyncBoth};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) use self::look::{diff, status};
pub(super) use self::report::{preview, show_both};

/// What was asked for.
struct Asked {
    verb: Verb,
    direction: Direction,
    dry_run: bool,
    filter: Vec<String>,
    on_conflict: OnConflict,
    message: Option<String>,
    limits: sync_engine::Limits,
}

pub(super) async fn push(place: &Place<'_>, push: Push) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: Verb::Push,
        direction: Direction::Push,
        dry_run: push.dry_run,
        filter: push.filter,
        on_conflict: OnConflict::Ask,
        message: push.message,
        limits: limits(push.max_delete, push.yes),
    };
    run(place, asked).await
}

pub(super) async fn pull(place: &Place<'_>, pull: Pull) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: Verb::Pull,
        direction: Direction::Pull,
        dry_run: pull.dry_run,
        filter: pull.filter,
        on_conflict: OnConflict::Ask,
        message: None,
        limits: limits(pull.max_delete, pull.yes),
    };
    run(place, asked).await
}

pub(super) async fn sync(place: &Place<'_>, both: SyncBoth) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: Verb::Sync,
        direction: Direction::Sync,
        dry_run: both.dry_run,
        filter: Vec::new(),
        on_conflict: both.on_conflict,
        message: both.message,
        limits: limits(both.max_delete, both.yes),
    };
    run(place, asked).await
}

/// The database of the workspace, as far as it is part of a command.
pub(super) fn with_database(place: &Place<'_>, filter: &[String]) -> Result<WithDatabase, Error> {
    let absent = |reason: String, is_told| WithDatabase::Absent { reason, is_told };
    if !place.workspace()?.config().database.is_named {
        let reason = "no database is configured: sync.toml has no [database]";
        return Ok(absent(reason.to_owned(), false));
    }
    if !filter.is_empty() {
        return Ok(absent("--filter chooses paths".to_owned(), true));
    }
    Ok(match rows::database(place) {
        Ok(database) => WithDatabase::There(Box::new(database)),
        Err(Error::NoDatabase { variable }) => {
            let reason = format!("no database is configured: `{variable}` is not set");
            absent(reason, true)
        }
        Err(error) => WithDatabase::Failed(Arc::new(error)),
    })
}

async fn run(place: &Place<'_>, mut asked: Asked) -> Result<Outcome, Error> {
    let database = with_database(place, &asked.filter)?;
    let request = AllRequest {
        direction: asked.direction,
        files: true,
        filter: Place::filter(&asked.filter)?,
        on_conflict: asked.on_conflict,
        message: asked.message.clone(),
    };
    let progress = Progress::new(&place.terminal);
    let (session, connection) =
        begin(place, &progress, asked.verb.start("all"), asked.dry_run).await?;
    if !asked.dry_run && asked.direction != Direction::Push {
        session.make_tree()?;
    }
    let done = operate(place, &session, &database, &request, &mut asked, &progress);
    let done = Box::pin(done).await;
    progress.finish();
    let traffic = session.remote().traffic();
    if done.is_ok() && !asked.dry_run {
        collect(&session).await;
    }
    drop(session);
    connection.close().await;
    let report = done?.report(asked.direction, traffic, place.elapsed_ms());
    let report = if asked.dry_run {
        report.of_plan()
    } else {
        report
    };
    Ok(report::tell(&place.terminal, asked.verb, &report))
}

/// Plans, asks a person who is there, and applies unless it is a dry run.
async fn operate(
    place: &Place<'_>,
    session: &Session,
    database: &WithDatabase,
    request: &AllRequest,
    asked: &mut Asked,
    progress: &Arc<Progress>,
) -> Result<AllDone, Error> {
    let planned = Box::pin(session.plan_run(database, request)).await?;
    if asked.dry_run {
        return Ok(planned.outline());
    }
    let asking = Asking::new(place, progress, asked.verb, asked.on_conflict);
    asking.about(planned.files(), planned.rows(), &mut asked.limits)?;
    let applied = session.apply_run(database, planned, request, &asked.limits, ROUNDS);
    Ok(Box::pin(applied).await?)
}
