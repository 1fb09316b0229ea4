//! `push`, `pull`, `sync`, `status`, `diff`, `rollback` and `undo` of a database.

mod back;
mod show;

use serde_json::json;
use sync_engine::rows::{Database, Rows, RowsOutcome, RowsReport};
use sync_engine::{Direction, Limits, OnConflict, RowsStatus, Session, Side, Standing, Traffic};

pub(super) use self::show::sum_line;
use super::Place;
use super::ask::Asking;
use super::transfer::{ROUNDS, Verb, begin, limits, snapshot_line};
use crate::args::{Diff, Pull, Push, Status, SyncBoth, Target};
use crate::connect::{Connection, Purpose};
use crate::error::{NoDatabaseSnafu, NoFilterSnafu};
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{Error, Outcome};

pub(super) use self::back::{rollback, undo};
pub(super) use self::show::{conflict_line, conflict_lines, difference, show};
pub(super) use sync_engine::rows::RowsPlanned as Planned;

/// How many rows `diff` lists.
pub(super) const LISTED: usize = 100_000;

/// What was asked for.
pub(super) struct Asked {
    pub(super) dry_run: bool,
    pub(super) on_conflict: OnConflict,
    pub(super) message: Option<String>,
    pub(super) limits: Limits,
}

pub(super) async fn push(place: &Place<'_>, push: Push) -> Result<Outcome, Error> {
    snafu::ensure!(push.filter.is_empty(), NoFilterSnafu);
    let asked = Asked {
        dry_run: push.dry_run,
        on_conflict: OnConflict::Ask,
        message: push.message,
        limits: limits(push.max_delete, push.yes),
    };
    run(place, Direction::Push, asked).await
}

pub(super) async fn pull(place: &Place<'_>, pull: &Pull) -> Result<Outcome, Error> {
    snafu::ensure!(pull.filter.is_empty(), NoFilterSnafu);
    let asked = Asked {
        dry_run: pull.dry_run,
        on_conflict: OnConflict::Ask,
        message: None,
        limits: limits(pull.max_delete, pull.yes),
    };
    run(place, Direction::Pull, asked).await
}

pub(super) async fn sync(place: &Place<'_>, both: SyncBoth) -> Result<Outcome, Error> {
    let asked = Asked {
        dry_run: both.dry_run,
        on_conflict: both.on_conflict,
        message: both.message,
        limits: limits(both.max_delete, both.yes),
    };
    run(place, Direction::Sync, asked).await
}

/// The database that `sync.toml` says where to find.
pub(super) fn database(place: &Place<'_>) -> Result<Database, Error> {
    let workspace = place.workspace()?;
    let config = &workspace.config().database;
    let file = config
        .url_file
        .as_ref()
        .map(|file| workspace.root().join(file));
    open(place, file.as_deref(), Some(&config.url_env))
}

/// The database whose address is in a file, else in an environment variable.
pub(super) fn open(
    place: &Place<'_>,
    file: Option<&std::path::Path>,
    variable: Option<&str>,
) -> Result<Database, Error> {
    let found = match (file, variable) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file);
            Some(text.map_err(|source| Error::ReadUrl {
                path: file.to_owned(),
                source,
            })?)
        }
        (None, Some(variable)) => place.env.var(variable),
        (None, None) => None,
    };
    let Some(url) = found.filter(|url| !url.trim().is_empty()) else {
        return NoDatabaseSnafu {
            variable: variable.unwrap_or_default(),
        }
        .fail();
    };
    Ok(sync_engine::rows::open_database(url.trim())?)
}

async fn run(place: &Place<'_>, direction: Direction, asked: Asked) -> Result<Outcome, Error> {
    let database = database(place)?;
    let progress = Progress::new(&place.terminal);
    let verb = match direction {
        Direction::Push => Verb::Push,
        Direction::Pull => Verb::Pull,
        Direction::Sync => Verb::Sync,
    };
    let operation = verb.operation(Target::Database.as_str());
    let start = verb.start(Target::Database.as_str());
    let (session, connection) = begin(place, &progress, start, asked.dry_run).await?;
    let asking = Asking::new(place, &progress, verb, asked.on_conflict);
    let done = Box::pin(transfer(
        &session,
        database,
        direction,
        &asked,
        Some(&asking),
    ))
    .await;
    progress.finish();
    conclude(
        place,
        &operation,
        (session, connection),
        asked.dry_run,
        done,
    )
    .await
}

/// What was planned, and what came of it.
pub(super) type Done = (Planned, Option<RowsOutcome>);

/// Plans, and applies unless it is a dry run, once somebody was asked where somebody is; anew where rows or the branch moved in
/// between.
pub(super) async fn transfer(
    session: &Session,
    database: Database,
    direction: Direction,
    asked: &Asked,
    asking: Option<&Asking<'_>>,
) -> Result<Done, Error> {
    let rows = session.rows(database).await?;
    let mut limits = asked.limits;
    let mut round = 1;
    loop {
        let plan = rows.plan(direction, asked.on_conflict).await?;
        let planned = Planned::of(&plan);
        if asked.dry_run {
            return Ok((planned, None));
        }
        if !planned.conflicts.is_empty() {
            // They are kept, so that they can be looked at and resolved; the error says so again.
            let refused = rows.apply(plan, None, &limits).await;
            return match refused {
                Err(sync_engine::Error::Conflict { .. }) | Ok(_) => Ok((planned, None)),
                Err(error) => Err(error.into()),
            };
        }
        if let Some(asking) = asking {
            asking.about(None, Some(&planned), &mut limits)?;
        }
        match rows.apply(plan, asked.message.clone(), &limits).await {
            Ok(outcome) => return Ok((planned, Some(outcome))),
            Err(error) if error.is_race() && round < ROUNDS => round += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn conclude(
    place: &Place<'_>,
    operation: &str,
    (session, connection): (Session, Connection),
    dry_run: bool,
    done: Result<Done, Error>,
) -> Result<Outcome, Error> {
    let traffic = session.remote().traffic();
    drop(session);
    connection.close().await;
    let (planned, outcome) = done?;
    Ok(print(place, operation, dry_run, planned, outcome, traffic))
}

/// Prints the report of an operation.
pub(super) fn print(
    place: &Place<'_>,
    operation: &str,
    dry_run: bool,
    planned: Planned,
    outcome: Option<RowsOutcome>,
    traffic: Traffic,
) -> Outcome {
    let terminal = &place.terminal;
    let (report, outcome) = report(place, operation, dry_run, planned, outcome, Some(traffic));
    terminal.result(&report, outcome, report.errors.last());
    show(terminal, &report, report.traffic);
    snapshot_line(terminal, report.snapshot, report.message.as_deref());
    outcome
}

/// What programs are told of an operation, and how it ended; without `traffic` that is told of several together.
pub(super) fn report(
    place: &Place<'_>,
    operation: &str,
    dry_run: bool,
    planned: Planned,
    outcome: Option<RowsOutcome>,
    traffic: Option<Traffic>,
) -> (RowsReport, Outcome) {
    let report = planned.report(operation.to_owned(), outcome, traffic, place.elapsed_ms());
    let outcome = if !report.conflicts.is_empty() {
        Outcome::Undecided
    } else if report.success {
        Outcome::Done
    } else {
        Outcome::Unsound
    };
    (RowsReport { dry_run, ..report }, outcome)
}

pub(super) async fn status(place: &Place<'_>, status: &Status) -> Result<Outcome, Error> {
    snafu::ensure!(status.filter.is_empty(), NoFilterSnafu);
    let database = database(place)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = async {
        let rows: Rows<'_> = session.rows(database).await?;
        rows.status().await
    };
    let found = Box::pin(found).await;
    progress.finish();
    let traffic = session.remote().traffic();
    drop(session);
    connection.close().await;
    let found = found?;
    let terminal = &place.terminal;
    terminal.value(&json!({
        "operation": "status database",
        "success": true,
        "database": &found,
        "bytes_sent": traffic.bytes_sent,
        "bytes_received": traffic.bytes_received,
        "requests": traffic.requests,
        "duration_ms": place.elapsed_ms(),
    }));
    show_status(terminal, &found);
    let different = status.exit_code && found.standing != Standing::InSync;
    Ok(if different {
        Outcome::Different
    } else {
        Outcome::Done
    })
}

/// Shows people where the rows stand.
pub(super) fn show_status(terminal: &Terminal, found: &RowsStatus) {
    let base = found.base.map_or_else(
        || "never synced".to_owned(),
        |base| format!("base {}", base.short()),
    );
    terminal.line(&format!("database  {:<13} {base}", found.standing.as_str()));
    for (side, tables) in [("here", &found.local), ("tenant", &found.cloud)] {
        for sum in tables {
            terminal.line(&format!("  {side:<8} {}", sum_line(sum)));
        }
    }
}

pub(super) async fn diff(
    place: &Place<'_>,
    diff: &Diff,
    sides: [Side; 2],
) -> Result<Outcome, Error> {
    snafu::ensure!(diff.filter.is_empty(), NoFilterSnafu);
    let database = database(place)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = async {
        let rows = session.rows(database).await?;
        rows.diff(&sides[0], &sides[1], LISTED).await
    };
    let found = Box::pin(found).await;
    progress.finish();
    drop(session);
    connection.close().await;
    let found = found?;
    let mut report = serde_json::to_value(&found).unwrap_or_default();
    if let Some(report) = report.as_object_mut() {
        report.insert("operation".to_owned(), "diff database".into());
        report.insert("success".to_owned(), true.into());
    }
    place.terminal.value(&report);
    difference(&place.terminal, &found, diff.stat);
    let different = diff.exit_code && !found.tables.is_empty();
    Ok(if different {
        Outcome::Different
    } else {
        Outcome::Done
    })
}
