//! `status` and `diff` of everything that is configured.

use std::sync::Arc;

use serde_json::{Value, json};
use sync_engine::all::Operation;
use sync_engine::{FilesStatus, RowsDifference, RowsStatus, Side, Standing};

use super::super::{Place, diff as files_diff, rows, status as files_status};
use super::report::{named, show_without_end};
use super::with_database;
use crate::args::{Diff, Status, Target};
use crate::connect::Purpose;
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{Error, Outcome};

pub(in crate::commands) async fn status(
    place: &Place<'_>,
    status: &Status,
) -> Result<Outcome, Error> {
    let database = with_database(place, &status.filter)?;
    let progress = Progress::new(&place.terminal);
    let filter = Place::filter(&status.filter)?;
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = async {
        let (with, instead) = match database.rows(&session).await {
            Ok(rows) => (Some(rows), None),
            Err(instead) => (None, Some(instead)),
        };
        let found = Box::pin(session.status_all(with.as_ref(), filter.as_ref())).await;
        found.map(|found| (found, instead))
    };
    let found = Box::pin(found).await;
    progress.finish();
    let traffic = session.remote().traffic();
    drop(session);
    connection.close().await;
    let (found, instead) = found?;
    let files: Operation<FilesStatus, ()> = looked(found.files);
    let rows: Operation<RowsStatus, ()> = instead.unwrap_or_else(|| looked(found.rows));
    let terminal = &place.terminal;
    match &files {
        Operation::Ended(found, _) => files_status::show(terminal, found),
        other => without_end(terminal, "files", other, rows.is_silent()),
    }
    match &rows {
        Operation::Ended(found, _) => rows::show_status(terminal, found),
        other => without_end(terminal, "database", other, false),
    }
    let is_different = |standing| status.exit_code && standing != Standing::InSync;
    let (files_part, files_outcome) = part("status files", Target::Files, &files, |found| {
        is_different(found.standing)
    });
    let (rows_part, rows_outcome) = part("status database", Target::Database, &rows, |found| {
        is_different(found.standing)
    });
    let outcome = files_outcome.worse(rows_outcome);
    let mut errors = Vec::new();
    for part in [&files_part, &rows_part] {
        for key in ["errors", "refused"] {
            errors.extend(part[key].as_array().into_iter().flatten().cloned());
        }
    }
    let of = |part: &Value, is_there: bool| is_there.then(|| part.clone());
    terminal.value(&json!({
        "operation": "status all",
        "success": is_success(outcome),
        "files": of(&files_part, matches!(files, Operation::Ended(..))),
        "database": of(&rows_part, matches!(rows, Operation::Ended(..))),
        "operations": [files_part, rows_part],
        "errors": errors,
        "bytes_sent": traffic.bytes_sent,
        "bytes_received": traffic.bytes_received,
        "requests": traffic.requests,
        "duration_ms": place.elapsed_ms(),
    }));
    Ok(outcome)
}

pub(in crate::commands) async fn diff(
    place: &Place<'_>,
    diff: &Diff,
    sides: [Side; 2],
) -> Result<Outcome, Error> {
    let database = with_database(place, &diff.filter)?;
    let filter = Place::filter(&diff.filter)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let [a, b] = &sides;
    let found = session.diff(a, b, !diff.stat, filter.as_ref()).await;
    let compared = async {
        match database.rows(&session).await {
            Err(instead) => instead,
            Ok(rows) => match rows.diff(a, b, rows::LISTED).await {
                Ok(found) => Operation::Ended(found, None),
                Err(error) => Operation::Failed(Arc::new(error)),
            },
        }
    };
    let rows: Operation<RowsDifference, ()> = Box::pin(compared).await;
    progress.finish();
    drop(session);
    connection.close().await;
    let files: Operation<_, ()> = match found {
        Ok(found) => Operation::Ended(found, None),
        // Neither can be compared with what is not there, or not to be had.
        Err(error) => match rows {
            Operation::Ended(..) => Operation::Failed(Arc::new(error)),
            _ => return Err(error.into()),
        },
    };
    let terminal = &place.terminal;
    match &files {
        Operation::Ended(found, _) => files_diff::print(terminal, found, diff.stat),
        other => without_end(terminal, "files", other, rows.is_silent()),
    }
    match &rows {
        Operation::Ended(found, _) => rows::difference(terminal, found, diff.stat),
        other => without_end(terminal, "database", other, false),
    }
    let (files_part, files_outcome) = part("diff files", Target::Files, &files, |found| {
        diff.exit_code && found.counts.total() > 0
    });
    let (rows_part, rows_outcome) = part("diff database", Target::Database, &rows, |found| {
        diff.exit_code && !found.tables.is_empty()
    });
    let outcome = files_outcome.worse(rows_outcome);
    terminal.value(&json!({
        "operation": "diff all",
        "success": is_success(outcome),
        "operations": [files_part, rows_part],
        "duration_ms": place.elapsed_ms(),
    }));
    Ok(outcome)
}

/// Differences are what was asked for.
fn is_success(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Done | Outcome::Different)
}

fn looked<T>(found: Option<sync_engine::all::Each<T>>) -> Operation<T, ()> {
    match found {
        None => Operation::not_asked_for(),
        Some(Ok(found)) => Operation::Ended(found, None),
        Some(Err(error)) => Operation::Failed(error),
    }
}

/// Shows people a look that did not come to an end.
fn without_end<P, A>(terminal: &Terminal, target: &str, found: &Operation<P, A>, is_alone: bool) {
    if let Some(without) = found.without_end(target) {
        show_without_end(terminal, target, &without, is_alone, None);
    }
}

/// What programs are told of one operation.
fn part<T: serde::Serialize>(
    operation: &str,
    target: Target,
    found: &Operation<T, ()>,
    is_different: impl FnOnce(&T) -> bool,
) -> (Value, Outcome) {
    if let Some(without) = found.without_end(operation) {
        let class = without.failure.as_ref().map(|failure| failure.class());
        let outcome = class.map_or(Outcome::Done, Outcome::Failed);
        return (named(serde_json::to_value(without), target), outcome);
    }
    let Operation::Ended(found, _) = found else {
        return (Value::Null, Outcome::Done);
    };
    let mut value = named(serde_json::to_value(found), target);
    value["operation"] = operation.into();
    value["success"] = true.into();
    value["state"] = json!(sync_engine::State::Completed);
    let outcome = if is_different(found) {
        Outcome::Different
    } else {
        Outcome::Done
    };
    (value, outcome)
}
