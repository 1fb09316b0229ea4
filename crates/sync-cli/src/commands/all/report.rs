//! What came of files and rows, told together.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sync_core::{Fault, SnapshotId};
use sync_engine::{Problem, State, Traffic};

use super::super::transfer::{Planned, Verb, report, show, snapshot_line};
use super::super::{Place, rows};
use super::{FilesOperation, Operation, RowsOperation};
use crate::args::{Format, Target};
use crate::terminal::{Terminal, failed};
use crate::{Error, Outcome};

/// What both operations have in common.
pub(super) struct Told<'p> {
    pub(super) place: &'p Place<'p>,
    pub(super) verb: Verb,
    pub(super) dry_run: bool,
    pub(super) traffic: Traffic,
}

/// What is told of one operation.
struct Part {
    value: Value,
    outcome: Outcome,
    /// A snapshot that both sides agree on, and why it was made, where this run made it.
    snapshot: Option<SnapshotId>,
    message: Option<String>,
    /// Why it ended otherwise than it was to.
    problem: Option<Problem>,
}

/// What is told of one operation that did not come to an end of its own.
pub(super) fn without_end<P, A>(
    operation: &str,
    target: &str,
    ended: &Operation<P, A>,
) -> Option<(Value, Outcome)> {
    match ended {
        Operation::NotStarted { reason, .. } => {
            let state = State::NotStarted {
                reason: Some(reason.clone()),
            };
            let value = json!({
                "operation": operation, "target": target, "success": true, "state": state,
                "items_synced": 0, "items_skipped": 0, "errors": [], "snapshot": null,
            });
            Some((value, Outcome::Done))
        }
        Operation::Failed(error) => {
            let mut value = failed(operation, error);
            value["target"] = target.into();
            Some((value, Outcome::Failed(error.class())))
        }
        Operation::Ended(..) => None,
    }
}

/// Shows people an operation that did not come to an end of its own, which is named unless it `is_alone`; `before` is an error
/// that they have read.
pub(super) fn show_without_end<P, A>(
    terminal: Terminal,
    target: &str,
    ended: &Operation<P, A>,
    is_alone: bool,
    before: Option<&Arc<sync_engine::Error>>,
) {
    match ended {
        Operation::NotStarted { reason, is_told } if *is_told => {
            terminal.line(&format!("{target:<9} not started: {reason}"));
        }
        Operation::Failed(error) if terminal.format == Format::Text => {
            if !is_alone {
                terminal.line(&format!("{target:<9} failed"));
            }
            let is_read = match error {
                Error::Shared { source } => {
                    before.is_some_and(|before| Arc::ptr_eq(before, source))
                }
                _ => false,
            };
            if !is_read {
                terminal.error(error);
            }
        }
        _ => {}
    }
}

impl Told<'_> {
    /// Prints both, and gives the worse outcome.
    pub(super) fn tell(self, files: FilesOperation, rows: RowsOperation) -> Outcome {
        let terminal = self.place.terminal;
        let failure = match &files {
            Operation::Failed(Error::Shared { source }) => Some(Arc::clone(source)),
            _ => None,
        };
        let is_failed = matches!(files, Operation::Failed(_));
        show_without_end(terminal, "files", &files, rows.is_silent(), None);
        let files = self.files(files);
        show_without_end(terminal, "database", &rows, false, failure.as_ref());
        let rows = self.rows(rows, is_failed);
        let outcome = files.outcome.worse(rows.outcome);
        let made = [&rows, &files]
            .into_iter()
            .find(|part| part.message.is_some());
        let (snapshot, message) = match made {
            Some(part) => (part.snapshot, part.message.clone()),
            None => (files.snapshot.or(rows.snapshot), None),
        };
        snapshot_line(terminal, snapshot, message.as_deref());
        let problem = [&files, &rows]
            .into_iter()
            .find_map(|part| part.problem.clone());
        let whole = self.whole([files, rows], snapshot, message.as_deref(), outcome);
        terminal.result(&whole, outcome, problem.as_ref());
        outcome
    }

    fn files(&self, files: FilesOperation) -> Part {
        let operation = self.verb.operation(Target::Files.as_str());
        let problem = files.problem();
        if let Some((value, outcome)) = without_end(&operation, Target::Files.as_str(), &files) {
            return Part::bare(value, outcome, problem);
        }
        let Operation::Ended(planned, applied) = files else {
            return Part::bare(Value::Null, Outcome::Done, None);
        };
        let (mut report, outcome) = report(
            self.place,
            self.verb,
            planned,
            self.dry_run,
            applied,
            self.traffic,
        );
        show(self.place.terminal, self.verb, &report);
        report.traffic = None;
        Part {
            outcome,
            snapshot: report.snapshot,
            message: report.message.clone(),
            problem: last_of(&report.errors, outcome),
            value: named(serde_json::to_value(&report), Target::Files),
        }
    }

    /// With `alone` the files failed, and what travelled is told with the rows.
    fn rows(&self, rows: RowsOperation, alone: bool) -> Part {
        let operation = self.verb.operation(Target::Database.as_str());
        let target = Target::Database.as_str();
        let problem = rows.problem();
        if let Some((value, outcome)) = without_end(&operation, target, &rows) {
            return Part::bare(value, outcome, problem);
        }
        let Operation::Ended(planned, done) = rows else {
            return Part::bare(Value::Null, Outcome::Done, None);
        };
        let traffic = alone.then_some(self.traffic);
        let (mut report, outcome) =
            rows::report(self.place, &operation, self.dry_run, planned, done, traffic);
        rows::show(self.place.terminal, &report);
        report.traffic = None;
        Part {
            outcome,
            snapshot: report.snapshot,
            message: report.message.clone(),
            problem: last_of(&report.errors, outcome),
            value: named(serde_json::to_value(&report), Target::Database),
        }
    }

    fn whole(
        &self,
        parts: [Part; 2],
        snapshot: Option<SnapshotId>,
        message: Option<&str>,
        outcome: Outcome,
    ) -> Value {
        let kind = |part: &Part| part.value["state"]["kind"].as_str().map(str::to_owned);
        let sum = |key: &str| -> u64 {
            let values = parts.iter().map(|part| part.value[key].as_u64());
            values.flatten().sum()
        };
        let errors: Vec<&Value> = parts
            .iter()
            .filter_map(|part| part.value["errors"].as_array())
            .flatten()
            .collect();
        let kinds: Vec<String> = parts.iter().filter_map(kind).collect();
        let started = kinds.iter().filter(|kind| *kind != "not_started").count() as u64;
        let completed = kinds.iter().filter(|kind| *kind == "completed").count() as u64;
        let failed = kinds.iter().filter(|kind| *kind == "failed").count() as u64;
        let state = if started == 0 {
            State::NOT_STARTED
        } else if completed == started {
            State::Completed
        } else if failed == started {
            State::Failed
        } else {
            State::Partial {
                completed,
                total: started,
            }
        };
        let mut whole = json!({
            "operation": self.verb.operation("all"),
            "success": outcome == Outcome::Done,
            "dry_run": self.dry_run,
            "state": state,
            "items_synced": sum("items_synced"),
            "items_skipped": sum("items_skipped"),
            "errors": errors,
            "snapshot": snapshot,
            "bytes_sent": self.traffic.bytes_sent,
            "bytes_received": self.traffic.bytes_received,
            "requests": self.traffic.requests,
            "duration_ms": self.place.elapsed_ms(),
        });
        if let Some(message) = message {
            whole["message"] = message.into();
        }
        if outcome != Outcome::Done {
            whole["exit_code"] = outcome.exit_code().into();
        }
        whole["operations"] = parts.map(|part| part.value).into_iter().collect();
        whole
    }
}

/// The problem for which an operation ended as `outcome`.
fn last_of(errors: &[Problem], outcome: Outcome) -> Option<Problem> {
    errors.last().filter(|_| outcome != Outcome::Done).cloned()
}

impl Part {
    const fn bare(value: Value, outcome: Outcome, problem: Option<Problem>) -> Self {
        Self {
            value,
            outcome,
            snapshot: None,
            message: None,
            problem,
        }
    }
}

/// A report with the name of what it is about first.
pub(super) fn named(report: serde_json::Result<Value>, target: Target) -> Value {
    let mut named = Map::new();
    named.insert("target".to_owned(), target.as_str().into());
    if let Ok(Value::Object(report)) = report {
        named.extend(report);
    }
    named.into()
}

/// Shows a person what is about to be done.
pub(super) fn preview(
    place: &Place<'_>,
    verb: Verb,
    files: Option<&Planned>,
    rows: Option<&rows::Planned>,
) {
    let nothing = Traffic::default();
    if let Some(files) = files {
        let (told, _) = report(place, verb, files.clone(), true, None, nothing);
        show(place.terminal, verb, &told);
    }
    if let Some(rows) = rows {
        let operation = verb.operation(Target::Database.as_str());
        let (told, _) = rows::report(place, &operation, true, rows.clone(), None, None);
        rows::show(place.terminal, &told);
    }
}
