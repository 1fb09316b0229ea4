//! How items are shown to people, and what programs are told of them.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};
use sync_core::Fault;
use sync_engine::local::{
    Change, Direction, ItemDifference, LocalItem, LocalKind, LocalOutcome, Verdict, field_lines,
};
use sync_engine::{Counts, LocalStanding, LocalSummary, Problem, State};

use super::super::{Place, diff::coloured};
use crate::Outcome;
use crate::args::Format;
use crate::terminal::{Paint, Terminal, one_line, seconds};

pub(super) use sync_engine::LocalDone as Done;

/// A text that is shown beside the name of its field, in characters.
const SHORT: usize = 120;

/// What was, or would be, done with one kind of item.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct LocalReport {
    operation: String,
    success: bool,
    dry_run: bool,
    state: State,
    standing: LocalStanding,
    items_synced: u64,
    items_skipped: u64,
    errors: Vec<Problem>,
    #[serde(flatten)]
    outcome: LocalOutcome,
    in_sync: u64,
    /// What was, or would be, changed at the target.
    changes: Vec<LocalItem>,
    /// What a person has to choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<LocalItem>,
    /// What is gone at the source and stays, because nobody asked for its removal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orphans: Vec<LocalItem>,
    /// What the target alone has changed: it is left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<LocalItem>,
    #[serde(skip)]
    kind: LocalKind,
    #[serde(skip)]
    refusal: Option<sync_engine::Error>,
    /// How many of the errors are those of items that could not be synced.
    #[serde(skip)]
    unfit: u64,
}

impl LocalReport {
    pub(in crate::commands) fn new(
        verb: &str,
        kind: LocalKind,
        dry_run: bool,
        Done { summary, outcome }: Done,
    ) -> Self {
        let chosen = |verdict: Verdict| -> Vec<LocalItem> {
            let items = summary.items.iter();
            items
                .filter(|item| item.verdict == verdict)
                .cloned()
                .collect()
        };
        let (conflicts, orphans) = (chosen(Verdict::Conflict), chosen(Verdict::Orphan));
        let changes: Vec<LocalItem> = summary.changes().cloned().collect();
        let ahead = chosen(Verdict::Ahead);
        let unfit = (summary.problems.len() + conflicts.len()) as u64;
        let skipped = unfit + summary.left_out.len() as u64;
        let mut errors = summary.problems;
        errors.extend(summary.left_out);
        errors.extend(summary.refusal.as_ref().map(Problem::from_fault));
        let total = changes.len() as u64;
        Self {
            operation: format!("{verb} {}", kind.as_str()),
            success: summary.refusal.is_none() && unfit == 0,
            dry_run,
            state: match (&summary.refusal, &outcome) {
                (Some(_), _) => State::Failed,
                (None, None) => State::NOT_STARTED,
                (None, Some(_)) if unfit == 0 => State::Completed,
                (None, Some(_)) => State::Partial {
                    completed: total,
                    total: total + unfit,
                },
            },
            standing: summary.standing,
            items_synced: outcome.map_or(0, |outcome| outcome.total()),
            items_skipped: skipped,
            errors,
            outcome: outcome.unwrap_or_default(),
            in_sync: summary.in_sync,
            changes,
            conflicts,
            orphans,
            ahead,
            kind,
            refusal: summary.refusal,
            unfit,
        }
    }

    /// Whether there is nothing to tell: nothing changed, and nothing is wrong.
    pub(in crate::commands) fn is_quiet(&self) -> bool {
        self.changes.is_empty() && self.errors.is_empty() && self.conflicts.is_empty()
    }

    /// Why the plan was not followed, where it was not.
    pub(in crate::commands) fn problem(&self) -> Option<Problem> {
        self.refusal.as_ref().map(Problem::from_fault)
    }

    /// Tells a person, and gives what a program is told.
    pub(in crate::commands) fn tell(
        &self,
        place: &Place<'_>,
        direction: Direction,
    ) -> (Value, Outcome) {
        let terminal = &place.terminal;
        let told = self
            .errors
            .iter()
            .filter(|problem| problem.path.is_some() || self.refusal.is_none());
        told.for_each(|problem| terminal.problem(problem));
        items(terminal, &self.conflicts);
        if self.refusal.is_none() {
            // What else would change is not said where nothing does.
            items(terminal, &self.changes);
        }
        self.remarks(terminal, direction);
        terminal.line(&format!(
            "{:<14}  {}",
            self.kind.as_str(),
            self.sum(direction, place.elapsed_ms())
        ));
        if let Some(refusal) = self.refusal.as_ref()
            && terminal.format == Format::Text
        {
            terminal.error(refusal);
        }
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["duration_ms"] = place.elapsed_ms().into();
        let outcome = match &self.refusal {
            Some(refusal) => Outcome::Failed(refusal.class()),
            None if !self.conflicts.is_empty() => Outcome::Undecided,
            None if self.unfit > 0 => Outcome::Unsound,
            None => Outcome::Done,
        };
        (value, outcome)
    }

    fn remarks(&self, terminal: &Terminal, direction: Direction) {
        let (source, target, other) = sides(direction);
        if !self.orphans.is_empty() {
            terminal.line(&format!(
                "  {} gone {source} and stay {target}: `--delete` removes them",
                counted(self.orphans.len(), "is", "are")
            ));
        }
        if !self.ahead.is_empty() {
            terminal.line(&format!(
                "  {} newer {target}: `sync-cli {other} {}` brings them",
                counted(self.ahead.len(), "is", "are"),
                self.kind.as_str()
            ));
        }
    }

    fn sum(&self, direction: Direction, duration_ms: u64) -> String {
        let counts = counts(&self.changes);
        let (push, pushed) = match direction {
            Direction::ToDatabase => ("push", "pushed"),
            Direction::ToDisk => ("pull", "pulled"),
        };
        let time = seconds(duration_ms);
        if self.refusal.is_some() {
            format!("nothing was done    {time}")
        } else if counts.total() == 0 {
            format!("nothing changed    {} in sync    {time}", self.in_sync)
        } else if self.dry_run {
            format!("would {push} {counts}")
        } else {
            format!("{pushed} {counts}    {time}")
        }
    }
}

/// Where items come from and go to, and the command for the other way.
const fn sides(direction: Direction) -> (&'static str, &'static str, &'static str) {
    match direction {
        Direction::ToDatabase => ("on disk", "in the database", "pull"),
        Direction::ToDisk => ("in the database", "on disk", "push"),
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    match count {
        1 => format!("1 item {one}"),
        count => format!("{count} items {several}"),
    }
}

fn counts(changes: &[LocalItem]) -> Counts {
    let count = |verdict: Verdict| {
        let items = changes.iter();
        items.filter(|item| item.verdict == verdict).count() as u64
    };
    Counts {
        added: count(Verdict::Create),
        changed: count(Verdict::Update),
        removed: count(Verdict::Delete),
    }
}

/// Prints items, one a line: what becomes of each, its file, its name.
fn items(terminal: &Terminal, items: &[LocalItem]) {
    for item in items {
        let (mark, paint) = match item.verdict {
            Verdict::Create => ("+", Paint::Green),
            Verdict::Delete | Verdict::Orphan => ("-", Paint::Red),
            Verdict::Conflict => ("!", Paint::Red),
            _ => ("~", Paint::Yellow),
        };
        let why = match item.verdict {
            Verdict::Conflict => format!("  {}", what_happened(item)),
            _ => String::new(),
        };
        terminal.line(&format!(
            "  {} {}{why}",
            terminal.paint(paint, mark),
            name(item)
        ));
    }
}

/// The file of an item, and its key where the file does not say it.
fn name(item: &LocalItem) -> String {
    let key = one_line(item.key.as_str());
    match &item.path {
        Some(path) => format!("{path}  {key}"),
        None => key,
    }
}

fn what_happened(item: &LocalItem) -> String {
    let did = |change: Change| match change {
        Change::None => "as it was",
        Change::Added => "added",
        Change::Edited => "edited",
        Change::Removed => "removed",
    };
    format!(
        "on disk: {}, in the database: {}",
        did(item.disk),
        did(item.database)
    )
}

/// Shows where tree and database stand.
pub(super) fn status(place: &Place<'_>, kind: LocalKind, summary: &LocalSummary) -> Value {
    let terminal = &place.terminal;
    let wrong = summary.problems.iter().chain(&summary.left_out);
    wrong.for_each(|problem| terminal.problem(problem));
    let mut line = format!("{:<14}  {:<14}", kind.as_str(), summary.standing.as_str());
    for (side, counts) in [("disk", summary.disk), ("database", summary.database)] {
        if counts.total() > 0 {
            let _ = write!(line, "  {side}: {counts}");
        }
    }
    let conflicts = summary.conflicts().count();
    if conflicts > 0 {
        let _ = write!(line, "  {conflicts} in conflict");
    }
    terminal.line(&format!("{line}  {} in sync", summary.in_sync));
    let errors: Vec<&Problem> = summary.problems.iter().chain(&summary.left_out).collect();
    let mut value = json!({
        "operation": format!("status {}", kind.as_str()),
        "success": true,
        "errors": errors,
        "conflicts": conflicts,
        "duration_ms": place.elapsed_ms(),
    });
    value[kind.as_str()] = serde_json::to_value(summary).unwrap_or_default();
    value
}

/// Shows what differs, field by field where that was read: what the database has as the older version.
pub(super) fn diff(
    terminal: &Terminal,
    kind: LocalKind,
    summary: &LocalSummary,
    described: &[ItemDifference],
) -> Value {
    let wrong = summary.problems.iter().chain(&summary.left_out);
    wrong.for_each(|problem| terminal.problem(problem));
    let mut parts = Vec::new();
    for (at, item) in summary.items.iter().enumerate() {
        terminal.line(&format!(
            "{}  {}",
            terminal.paint(Paint::Bold, &name(item)),
            what_happened(item)
        ));
        let mut part = serde_json::to_value(item).unwrap_or_default();
        if let Some(described) = described.get(at) {
            fields(terminal, described);
            part["fields"] = serde_json::to_value(&described.fields).unwrap_or_default();
        }
        parts.push(part);
    }
    terminal.line(&format!(
        "{:<14}  {}  {} in sync",
        kind.as_str(),
        counted(summary.items.len(), "differs", "differ"),
        summary.in_sync
    ));
    json!({
        "operation": format!("diff {}", kind.as_str()),
        "success": true,
        "standing": summary.standing,
        "in_sync": summary.in_sync,
        "errors": summary.problems.iter().chain(&summary.left_out).collect::<Vec<_>>(),
        "items": parts,
    })
}

fn fields(terminal: &Terminal, item: &ItemDifference) {
    for change in &item.fields {
        let texts = [&change.database, &change.disk];
        let is_short = |text: &&Option<String>| {
            text.as_ref()
                .is_none_or(|text| !text.contains('\n') && text.chars().count() <= SHORT)
        };
        if texts.iter().all(is_short) {
            for (mark, text) in ["-", "+"].into_iter().zip(texts) {
                if let Some(text) = text {
                    terminal.line(&coloured(
                        terminal,
                        &format!("{mark} {}: {text}", change.field),
                    ));
                }
            }
        } else {
            terminal.line(&format!("  {}:", change.field));
            for line in field_lines(change).unified.lines() {
                terminal.line(&coloured(terminal, line));
            }
        }
    }
}
