//! What came of files and rows, told together.

use serde_json::{Map, Value};
use sync_engine::all::{Failure, OperationReport, SyncReport, Told, WithoutEnd};
use sync_engine::{Report, Traffic};

use super::super::transfer::{Planned, Verb, report, show, snapshot_line};
use super::super::{Place, rows};
use crate::Outcome;
use crate::args::{Format, Target};
use crate::terminal::Terminal;

/// Prints what came of both, and gives the worse outcome.
pub(super) fn tell(terminal: &Terminal, verb: Verb, report: &SyncReport) -> Outcome {
    show_both(terminal, verb, report);
    let outcome = report.class.map_or(Outcome::Done, Outcome::Failed);
    terminal.result(report, outcome, report.problem());
    outcome
}

/// Shows people what came of both.
pub(in crate::commands) fn show_both(terminal: &Terminal, verb: Verb, report: &SyncReport) {
    let mut before: Option<&Failure> = None;
    for (index, operation) in report.operations.iter().enumerate() {
        // What travelled is told once: with the files, unless they failed.
        let is_first = index == 0 || before.is_some();
        match &operation.told {
            Told::Files(files) => show(terminal, verb, files, report.traffic),
            Told::Rows(rows) => {
                let traffic = is_first.then_some(report.traffic);
                rows::show(terminal, rows, traffic);
            }
            Told::Without(without) => {
                let is_alone = index == 0 && is_silent(&report.operations[1..]);
                show_without_end(
                    terminal,
                    operation.target.as_str(),
                    without,
                    is_alone,
                    before,
                );
                before = without.failure.as_ref();
            }
        }
    }
    snapshot_line(terminal, report.snapshot, report.message.as_deref());
}

/// Whether people are told nothing of these.
fn is_silent(operations: &[OperationReport]) -> bool {
    operations.iter().all(|operation| match &operation.told {
        Told::Without(without) => !without.is_told,
        _ => false,
    })
}

/// Shows people an operation that did not come to an end of its own, which is named unless it `is_alone`; `before` is an error
/// that they have read.
pub(super) fn show_without_end(
    terminal: &Terminal,
    target: &str,
    without: &WithoutEnd,
    is_alone: bool,
    before: Option<&Failure>,
) {
    let Some(failure) = &without.failure else {
        if without.is_told {
            let reason = without.state.reason().unwrap_or_default();
            terminal.line(&format!("{target:<9} not started: {reason}"));
        }
        return;
    };
    if terminal.format != Format::Text {
        return;
    }
    if !is_alone {
        terminal.line(&format!("{target:<9} failed"));
    }
    if !before.is_some_and(|before| std::ptr::addr_eq(before.as_ref(), failure.as_ref())) {
        terminal.error(failure.as_ref());
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
pub(in crate::commands) fn preview(
    place: &Place<'_>,
    verb: Verb,
    files: Option<&Planned>,
    rows: Option<&rows::Planned>,
) {
    let nothing = Traffic::default();
    if let Some(files) = files {
        let (told, _): (Report, _) = report(place, verb, files.clone(), true, None, nothing);
        show(&place.terminal, verb, &told, nothing);
    }
    if let Some(rows) = rows {
        let operation = verb.operation(Target::Database.as_str());
        let (told, _) = rows::report(place, &operation, true, rows.clone(), None, None);
        rows::show(&place.terminal, &told, None);
    }
}
