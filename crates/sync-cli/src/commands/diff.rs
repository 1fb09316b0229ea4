//! `diff`: what differs between two sides.

use snafu::ensure;
use sync_engine::{ChangeKind, Difference, FileDifference, Side};

use super::{Place, all, local, rows};
use crate::args::{Aim, Chosen, Diff, Target};
use crate::connect::Purpose;
use crate::error::{NoSnapshotsSnafu, TooManySidesSnafu};
use crate::progress::Progress;
use crate::terminal::{Paint, Terminal};
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, diff: Diff) -> Result<Outcome, Error> {
    let mut named = diff.snapshots.clone();
    let mut aims = Vec::new();
    while let Some(aim) = named.last().and_then(|last| last.parse::<Aim>().ok()) {
        aims.insert(0, aim);
        named.pop();
    }
    let target = match Chosen::of(&aims)? {
        Chosen::Local(kinds) => {
            ensure!(named.is_empty(), NoSnapshotsSnafu);
            return local::diff(place, &kinds, &diff).await;
        }
        Chosen::Tenant(target) => Some(target),
        Chosen::All => None,
    };
    let mut sides = named.into_iter().map(Side::Snapshot);
    let (a, b) = (
        sides.next().unwrap_or(Side::Base),
        sides.next().unwrap_or(Side::Workspace),
    );
    ensure!(sides.next().is_none(), TooManySidesSnafu);
    let Some(target) = target else {
        return all::diff(place, &diff, [a, b]).await;
    };
    if target == Target::Database {
        return rows::diff(place, &diff, [a, b]).await;
    }
    let filter = Place::filter(&diff.filter)?;
    let progress = Progress::new(&place.terminal);
    let (session, connection) = place.session(Purpose::Look, progress.listener()).await?;
    let found = session.diff(&a, &b, !diff.stat, filter.as_ref()).await;
    progress.finish();
    drop(session);
    connection.close().await;
    let found = found?;
    let mut report = serde_json::to_value(&found).unwrap_or_default();
    if let Some(report) = report.as_object_mut() {
        report.insert("operation".to_owned(), "diff".into());
        report.insert("success".to_owned(), true.into());
    }
    place.terminal.value(&report);
    print(&place.terminal, &found, diff.stat);
    let different = diff.exit_code && found.counts.total() > 0;
    Ok(if different {
        Outcome::Different
    } else {
        Outcome::Done
    })
}

/// Prints each path, with its lines unless only the paths are wanted, and the sum.
pub(super) fn print(terminal: &Terminal, found: &Difference, stat: bool) {
    for file in &found.changes {
        terminal.line(&heading(terminal, file));
        if let Some(lines) = file.lines.as_ref().filter(|_| !stat) {
            for line in lines.unified.lines() {
                terminal.line(&coloured(terminal, line));
            }
        }
    }
    terminal.line(&format!("files     {}", found.counts));
}

fn heading(terminal: &Terminal, file: &FileDifference) -> String {
    let (mark, paint) = match file.change.kind {
        ChangeKind::Added => ("+", Paint::Green),
        ChangeKind::Removed => ("-", Paint::Red),
        ChangeKind::Modified | ChangeKind::Mode | ChangeKind::Type => ("~", Paint::Yellow),
    };
    let note = match (&file.lines, file.change.kind) {
        (_, ChangeKind::Mode) => "mode".to_owned(),
        (Some(lines), _) => format!("+{} -{}", lines.added, lines.removed),
        (None, _) => sync_core::ByteCount(file.change.size).to_string(),
    };
    format!(
        "{} {}  {note}",
        terminal.paint(paint, mark),
        terminal.paint(Paint::Bold, file.change.path.as_str())
    )
}

/// A line of a unified diff, with control characters made visible: a file must not write to the terminal.
pub(super) fn coloured(terminal: &Terminal, line: &str) -> String {
    let visible: String = line
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    match visible.chars().next() {
        Some('+') => terminal.paint(Paint::Green, &visible),
        Some('-') => terminal.paint(Paint::Red, &visible),
        Some('@') => terminal.paint(Paint::Dim, &visible),
        _ => visible,
    }
}
