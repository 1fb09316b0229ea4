//! How rows are shown to people, and what programs are told of them.

use sync_core::ByteCount;
use sync_engine::rows::{Decided, OpenConflict, RowChange, RowKind, RowsReport, TableCounts};
use sync_engine::{RowsDifference, Standing, Traffic};

use crate::args::Format;
use crate::terminal::{Paint, Terminal, one_line, seconds};

/// Shows people what an operation did, but for its snapshot.
pub(in crate::commands) fn show(
    terminal: &Terminal,
    report: &RowsReport,
    traffic: Option<Traffic>,
) {
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
    for decided in &report.decided {
        let Decided { table, rows, by } = decided;
        let line = format!(
            "  decided  {table}: {rows} changed on both sides, by {}",
            by.as_str()
        );
        terminal.line(&line);
    }
    let (mut cost, mut moved) = (String::new(), String::new());
    if let Some(traffic) = traffic {
        let requests = match traffic.requests {
            1 => "1 request".to_owned(),
            several => format!("{several} requests"),
        };
        let (received, sent) = (
            ByteCount(traffic.bytes_received),
            ByteCount(traffic.bytes_sent),
        );
        cost = format!("    {requests}    {}", seconds(report.duration_ms));
        moved = format!("    {received} received, {sent} sent in{}", &cost[3..]);
    }
    let total = |tables: &[TableCounts]| tables.iter().map(TableCounts::total).sum::<u64>();
    let (pulled, pushed) = (total(&report.pulled), total(&report.pushed));
    let summary = match (report.operation.as_str(), report.standing) {
        ("push database", Some(Standing::CloudAhead)) => {
            "nothing to push; the tenant is ahead: run `sync-cli pull database`".to_owned()
        }
        ("pull database", Some(Standing::LocalAhead)) => {
            "nothing to pull; the database is ahead: run `sync-cli push database`".to_owned()
        }
        _ if pulled + pushed == 0 => format!("nothing changed{cost}"),
        _ if report.dry_run => format!("would pull {pulled} rows, push {pushed}"),
        _ => format!("pulled {pulled} rows, pushed {pushed}{moved}"),
    };
    terminal.line(&format!("database  {summary}"));
}

fn omitted(terminal: &Terminal, omitted: u64) {
    if omitted > 0 {
        terminal.line(&format!("  … and {omitted} more rows"));
    }
}

/// `agents: 3 changed, 1 added`.
pub(in crate::commands) fn sum_line(sum: &TableCounts) -> String {
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
fn row_lines(terminal: &Terminal, row: &RowChange) {
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
pub(in crate::commands) fn conflict_line(terminal: &Terminal, conflict: &OpenConflict) {
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
pub(in crate::commands) fn conflict_lines(terminal: &Terminal, conflict: &OpenConflict) {
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

/// Prints the rows that differ, unless only sums are wanted.
pub(in crate::commands) fn difference(terminal: &Terminal, found: &RowsDifference, stat: bool) {
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
