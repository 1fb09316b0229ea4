//! `push`, `pull`, `sync`, `status`, `diff`, `rollback` and `undo` of a database.

mod back;

use serde::Serialize;
use serde_json::json;
use sync_core::rows::TableCounts;
use sync_core::{ByteCount, SnapshotId};
use sync_engine::rows::{
    Database, OpenConflict, RowChange, RowKind, Rows, RowsOutcome, RowsPlan, TableSum,
};
use sync_engine::{
    Direction, Limits, OnConflict, Problem, RowsDifference, Session, Side, Standing, State, Traffic,
};

use sync_store::protocol::Logged;

use super::Place;
use super::transfer::{begin, limits};
use crate::args::{Diff, Format, Pull, Push, Status, SyncBoth};
use crate::connect::{Connection, Purpose};
use crate::error::{NoDatabaseSnafu, NoFilterSnafu};
use crate::progress::Progress;
use crate::terminal::{Paint, Terminal, one_line, seconds};
use crate::{Error, Outcome};

pub(super) use back::{rollback, undo};

/// How often an operation begins anew because rows or the branch moved meanwhile.
const ROUNDS: u32 = 8;
/// How many rows `diff` lists.
const LISTED: usize = 100_000;

/// What was asked for.
pub(super) struct Asked {
    pub(super) dry_run: bool,
    pub(super) on_conflict: OnConflict,
    pub(super) message: Option<String>,
    pub(super) limits: Limits,
}

/// What was, or would be, done.
#[derive(Debug, Default, Serialize)]
struct RowsReport {
    operation: String,
    success: bool,
    dry_run: bool,
    state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
    items_synced: u64,
    items_skipped: u64,
    errors: Vec<Problem>,
    snapshot: Option<SnapshotId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What changed in the database.
    pulled: Vec<TableSum>,
    /// What changed on the tenant.
    pushed: Vec<TableSum>,
    /// The first rows, those of the database first.
    rows: Vec<RowChange>,
    omitted: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<OpenConflict>,
    #[serde(flatten)]
    traffic: Traffic,
    duration_ms: u64,
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
    let progress = Progress::new(place.terminal);
    let (session, connection) = begin(place, &progress, asked.dry_run).await?;
    let done = Box::pin(transfer(&session, database, direction, &asked)).await;
    progress.finish();
    let verb = match direction {
        Direction::Push => "push database",
        Direction::Pull => "pull database",
        Direction::Sync => "sync database",
    };
    conclude(place, verb, (session, connection), asked.dry_run, done).await
}

/// What was planned, and what came of it.
pub(super) type Done = (Planned, Option<RowsOutcome>);

/// What a plan says, without the plan.
#[derive(Debug, Default)]
pub(super) struct Planned {
    standing: Option<Standing>,
    pulled: Vec<TableCounts>,
    pushed: Vec<TableCounts>,
    rows: Vec<RowChange>,
    omitted: u64,
    conflicts: Vec<OpenConflict>,
}

impl Planned {
    fn of(plan: &RowsPlan) -> Self {
        let rows = plan.pulled.iter().chain(&plan.pushed);
        Self {
            standing: Some(plan.standing),
            pulled: plan.pull.clone(),
            pushed: plan.push.clone(),
            rows: rows.cloned().collect(),
            omitted: plan.omitted,
            conflicts: plan.conflicts.clone(),
        }
    }
}

/// Plans, and applies unless it is a dry run; anew where rows or the branch moved in between.
pub(super) async fn transfer(
    session: &Session,
    database: Database,
    direction: Direction,
    asked: &Asked,
) -> Result<Done, Error> {
    let rows = session.rows(database).await?;
    let mut round = 1;
    loop {
        let plan = rows.plan(direction, asked.on_conflict).await?;
        let planned = Planned::of(&plan);
        if asked.dry_run {
            return Ok((planned, None));
        }
        if !planned.conflicts.is_empty() {
            // They are kept, so that they can be looked at and resolved; the error says so again.
            let refused = rows.apply(plan, None, &asked.limits).await;
            return match refused {
                Err(sync_engine::Error::Conflict { .. }) | Ok(_) => Ok((planned, None)),
                Err(error) => Err(error.into()),
            };
        }
        match rows.apply(plan, asked.message.clone(), &asked.limits).await {
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
    let done = outcome.is_some();
    let outcome = outcome.unwrap_or_default();
    let mut errors = problems(&outcome);
    let skipped = errors
        .iter()
        .filter(|problem| problem.code == "db/set-aside")
        .count() as u64;
    let undecided = !planned.conflicts.is_empty();
    if undecided {
        errors.push(Problem {
            code: "engine/conflict".to_owned(),
            message: format!("{} rows changed here and on the tenant", planned.conflicts.len()),
            hint: Some("`sync-cli conflicts list` shows them; `sync-cli conflicts resolve ID ours|theirs` chooses".to_owned()),
            path: None,
        });
    }
    let total = |tables: &[TableCounts]| tables.iter().map(TableCounts::total).sum::<u64>();
    let all = total(&planned.pulled) + total(&planned.pushed);
    let state = match (undecided, done, skipped) {
        (true, ..) => State::Failed,
        (false, false, _) => State::NotStarted,
        (false, true, 0) => State::Completed,
        (false, true, skipped) => State::Partial {
            completed: all.saturating_sub(skipped),
            total: all,
        },
    };
    let report = RowsReport {
        operation: operation.to_owned(),
        success: !undecided && skipped == 0,
        dry_run,
        state: Some(state),
        standing: planned.standing,
        items_synced: if done { all.saturating_sub(skipped) } else { 0 },
        items_skipped: skipped,
        errors,
        snapshot: outcome.snapshot,
        message: outcome.message,
        pulled: planned.pulled.into_iter().map(Into::into).collect(),
        pushed: planned.pushed.into_iter().map(Into::into).collect(),
        rows: planned.rows,
        omitted: planned.omitted,
        conflicts: planned.conflicts,
        traffic,
        duration_ms: place.elapsed_ms(),
    };
    show(place.terminal, &report);
    if undecided {
        Outcome::Undecided
    } else if skipped > 0 {
        Outcome::Unsound
    } else {
        Outcome::Done
    }
}

/// What was set aside, and what a person should know of.
fn problems(outcome: &RowsOutcome) -> Vec<Problem> {
    let aside = |place: &str, table: &str, key: &str, reason: &str| Problem {
        code: "db/set-aside".to_owned(),
        message: format!("{place} could not store it: {}", one_line(reason)),
        hint: Some("mend what the reason names; the next run tries again".to_owned()),
        path: Some(format!("{table} {}", one_line(key))),
    };
    let here = outcome.set_aside.iter();
    let here = here.map(|row| aside("the database", row.table.as_str(), &row.key, &row.reason));
    let there = outcome.set_aside_there.iter();
    let there = there.map(|row| aside("the tenant", &row.table, &row.key, &row.reason));
    let rewritten = outcome.rewritten.iter().map(|rewritten| Problem {
        code: "db/rewritten".to_owned(),
        message: format!(
            "a trigger stored something else in {}",
            rewritten.columns.join(", ")
        ),
        hint: Some(
            "name these columns in `volatile` of the table, or the sides differ for ever"
                .to_owned(),
        ),
        path: Some(rewritten.table.to_string()),
    });
    here.chain(there).chain(rewritten).collect()
}

fn show(terminal: Terminal, report: &RowsReport) {
    terminal.value(report);
    for problem in report
        .errors
        .iter()
        .filter(|problem| problem.path.is_some())
    {
        terminal.problem(problem);
    }
    if !report.conflicts.is_empty() {
        for conflict in &report.conflicts {
            conflict_line(terminal, conflict);
        }
        if terminal.format == Format::Text {
            for problem in report
                .errors
                .iter()
                .filter(|problem| problem.path.is_none())
            {
                Terminal::note(&format!("{} [{}]", problem.message, problem.code));
                problem.hint.iter().for_each(|hint| Terminal::note(hint));
            }
        }
        return;
    }
    if report.dry_run {
        report.rows.iter().for_each(|row| row_lines(terminal, row));
        omitted(terminal, report.omitted);
    }
    for (way, tables) in [("pulled", &report.pulled), ("pushed", &report.pushed)] {
        for sum in tables {
            terminal.line(&format!("  {way:<8} {}", sum_line(sum)));
        }
    }
    let requests = match report.traffic.requests {
        1 => "1 request".to_owned(),
        several => format!("{several} requests"),
    };
    let time = seconds(report.duration_ms);
    let total = |tables: &[TableSum]| {
        tables
            .iter()
            .map(|t| t.created + t.updated + t.deleted)
            .sum::<u64>()
    };
    let (pulled, pushed) = (total(&report.pulled), total(&report.pushed));
    let summary = match (report.operation.as_str(), report.standing) {
        ("push database", Some(Standing::CloudAhead)) => {
            "nothing to push; the tenant is ahead: run `sync-cli pull database`".to_owned()
        }
        ("pull database", Some(Standing::LocalAhead)) => {
            "nothing to pull; the database is ahead: run `sync-cli push database`".to_owned()
        }
        _ if pulled + pushed == 0 => format!("nothing changed    {requests}    {time}"),
        _ if report.dry_run => format!("would pull {pulled} rows, push {pushed}"),
        _ => format!(
            "pulled {pulled} rows, pushed {pushed}    {} received, {} sent in {requests}    {time}",
            ByteCount(report.traffic.bytes_received),
            ByteCount(report.traffic.bytes_sent)
        ),
    };
    terminal.line(&format!("database  {summary}"));
    if let Some(id) = report.snapshot {
        let message = report.message.as_ref();
        let message = message.map(|message| format!("  \"{}\"", one_line(message)));
        terminal.line(&format!(
            "snapshot  {}{}",
            id.short(),
            message.unwrap_or_default()
        ));
    }
}

fn omitted(terminal: Terminal, omitted: u64) {
    if omitted > 0 {
        terminal.line(&format!("  … and {omitted} more rows"));
    }
}

/// `agents: 3 changed, 1 added`.
fn sum_line(sum: &TableSum) -> String {
    let parts = [
        (sum.updated, "changed"),
        (sum.created, "added"),
        (sum.deleted, "removed"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let said = if parts.is_empty() {
        "another definition".to_owned()
    } else {
        parts.join(", ")
    };
    format!("{}: {said}", sum.table)
}

fn key_text(key: &[(String, String)]) -> String {
    let parts: Vec<String> = key.iter().map(|(_, value)| one_line(value)).collect();
    parts.join(", ")
}

/// A row with its columns, a line each.
fn row_lines(terminal: Terminal, row: &RowChange) {
    let (mark, paint) = match row.kind {
        RowKind::Added => ("+", Paint::Green),
        RowKind::Removed => ("-", Paint::Red),
        RowKind::Modified => ("~", Paint::Yellow),
    };
    terminal.line(&format!(
        "{} {} {}",
        terminal.paint(paint, mark),
        row.table,
        terminal.paint(Paint::Bold, &key_text(&row.key))
    ));
    for cell in &row.columns {
        let value = |value: &Option<String>| value.as_deref().map_or("null".to_owned(), one_line);
        let change = match row.kind {
            RowKind::Added => value(&cell.after),
            RowKind::Removed => value(&cell.before),
            RowKind::Modified => format!("{} → {}", value(&cell.before), value(&cell.after)),
        };
        terminal.line(&format!("    {}: {change}", cell.column));
    }
}

/// A conflict on one line.
pub(super) fn conflict_line(terminal: Terminal, conflict: &OpenConflict) {
    let chosen = match conflict.resolution {
        None => "open".to_owned(),
        Some(resolution) => format!("resolved: {}", resolution.as_str()),
    };
    terminal.line(&format!(
        "  {} {}  {} {}  ({})  {chosen}",
        terminal.paint(Paint::Red, "!"),
        conflict.id,
        conflict.table,
        key_text(&conflict.key),
        conflict.columns.join(", ")
    ));
}

/// Both versions of a row, column by column.
pub(super) fn conflict_lines(terminal: Terminal, conflict: &OpenConflict) {
    conflict_line(terminal, conflict);
    for (side, versions) in [("here", &conflict.ours), ("tenant", &conflict.theirs)] {
        if versions.is_empty() {
            terminal.line(&format!("      {side:<7} as it was"));
        }
        for version in versions {
            let value =
                |value: &Option<String>| value.as_deref().map_or("null".to_owned(), one_line);
            terminal.line(&format!(
                "      {side:<7} {}: {} → {}",
                version.column,
                value(&version.before),
                value(&version.after)
            ));
        }
    }
}

pub(super) async fn status(place: &Place<'_>, status: &Status) -> Result<Outcome, Error> {
    snafu::ensure!(status.filter.is_empty(), NoFilterSnafu);
    let database = database(place)?;
    let progress = Progress::new(place.terminal);
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
    let terminal = place.terminal;
    terminal.value(&json!({
        "operation": "status database",
        "success": true,
        "database": &found,
        "bytes_sent": traffic.bytes_sent,
        "bytes_received": traffic.bytes_received,
        "requests": traffic.requests,
        "duration_ms": place.elapsed_ms(),
    }));
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
    let different = status.exit_code && found.standing != Standing::InSync;
    Ok(if different {
        Outcome::Different
    } else {
        Outcome::Done
    })
}

pub(super) async fn diff(
    place: &Place<'_>,
    diff: &Diff,
    sides: [Side; 2],
) -> Result<Outcome, Error> {
    snafu::ensure!(diff.filter.is_empty(), NoFilterSnafu);
    let database = database(place)?;
    let progress = Progress::new(place.terminal);
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
    difference(place.terminal, &found, diff.stat);
    let different = diff.exit_code && !found.tables.is_empty();
    Ok(if different {
        Outcome::Different
    } else {
        Outcome::Done
    })
}

/// What a snapshot changed in rows; `None` where it has none, or the workspace has no database to show them with.
pub(super) async fn shown(
    place: &Place<'_>,
    session: &Session,
    logged: &Logged,
) -> Result<Option<RowsDifference>, Error> {
    if logged.snapshot.roots.rows.is_none() {
        return Ok(None);
    }
    let Ok(database) = database(place) else {
        return Ok(None);
    };
    let rows = session.rows(database).await?;
    Ok(Some(rows.show(logged, LISTED).await?))
}

/// Prints the rows that differ, unless only sums are wanted.
pub(super) fn difference(terminal: Terminal, found: &RowsDifference, stat: bool) {
    if !stat {
        found.rows.iter().for_each(|row| row_lines(terminal, row));
        omitted(terminal, found.omitted);
    }
    for sum in &found.tables {
        terminal.line(&format!("database  {}", sum_line(sum)));
    }
    if found.tables.is_empty() {
        terminal.line("database  nothing changed");
    }
}
