//! What a person who is there is asked before a plan is applied.

use std::sync::Arc;

use snafu::ensure;
use sync_engine::rows::{Decided, Decider, TableCounts};
use sync_engine::{Counts, Limits, OnConflict, Standing};

use super::transfer::{Planned, Verb};
use super::{Place, all, rows};
use crate::Error;
use crate::args::Format;
use crate::error::DeclinedSnafu;
use crate::progress::Progress;
use crate::terminal::Terminal;

/// Who asks, and about what.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    place: &'a Place<'a>,
    progress: &'a Arc<Progress>,
    verb: Verb,
    on_conflict: OnConflict,
}

impl<'a> Asking<'a> {
    /// About what `verb` does, where `on_conflict` decides.
    pub(super) const fn new(
        place: &'a Place<'a>,
        progress: &'a Arc<Progress>,
        verb: Verb,
        on_conflict: OnConflict,
    ) -> Self {
        Self {
            place,
            progress,
            verb,
            on_conflict,
        }
    }

    /// Shows what is planned and asks, where there is something to ask; a yes lifts `limits`, so that nobody is asked twice.
    ///
    /// # Errors
    ///
    /// [`Error::Declined`] where the answer is no.
    pub(super) fn about(
        &self,
        files: Option<&Planned>,
        rows: Option<&rows::Planned>,
        limits: &mut Limits,
    ) -> Result<(), Error> {
        let question = question_of(self.on_conflict, files, rows);
        confirm(self.place, question, limits, || {
            self.progress.finish();
            all::preview(self.place, self.verb, files, rows);
        })
    }
}

/// What a person is to be asked about what is planned; `None` where it just runs.
fn question_of(
    on_conflict: OnConflict,
    files: Option<&Planned>,
    rows: Option<&rows::Planned>,
) -> Option<String> {
    let files_gone = files.map_or(0, |files| {
        Counts::of(files.changes.iter()).removed + Counts::of(&files.pulled).removed
    });
    let gone = |tables: &[TableCounts]| tables.iter().map(|table| table.deleted).sum::<u64>();
    let rows_gone = rows.map_or(0, |rows| gone(&rows.pulled) + gone(&rows.pushed));
    let by_rules = rows.map_or(0, |rows| by_rules(&rows.decided));
    // What takes something back merges with what came after it, wherever both sides stand.
    let diverged = |standing: Option<Standing>| standing.is_none_or(|at| at == Standing::Diverged);
    let is_decided = files.is_some_and(|files| diverged(files.standing))
        || rows.is_some_and(|rows| diverged(rows.standing));
    let policy = is_decided.then_some(on_conflict);
    question(files_gone, rows_gone, by_rules, policy)
}

/// What a person is to be asked about so many files and rows that go, about rows that rules of `sync.toml` decided on, and about
/// the policy that decides conflicts, where there are any; `None` where the plan just runs.
pub(super) fn question(
    files: u64,
    rows: u64,
    by_rules: u64,
    policy: Option<OnConflict>,
) -> Option<String> {
    let mut parts = Vec::new();
    for (count, what) in [(files, "file"), (rows, "row")] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {what} is removed")),
            many => parts.push(format!("{many} {what}s are removed")),
        }
    }
    match by_rules {
        0 => {}
        1 => parts.push("rules decide about 1 row that both sides changed".to_owned()),
        many => parts.push(format!(
            "rules decide about {many} rows that both sides changed"
        )),
    }
    if let Some(policy) = policy.filter(|policy| *policy != OnConflict::Ask) {
        parts.push(format!("conflicts are decided: {}", policy.as_str()));
    }
    (!parts.is_empty()).then(|| format!("{}: go on?", parts.join(", ")))
}

/// How many rows that both sides changed the rules of `sync.toml` decided about.
pub(super) fn by_rules(decided: &[Decided]) -> u64 {
    let by_rules = decided.iter().filter(|one| one.by == Decider::Rules);
    by_rules.map(|one| one.rows).sum()
}

/// Asks a person who is there, once the plan was shown.
///
/// # Errors
///
/// [`Error::Declined`] where the answer is no.
pub(super) fn confirm(
    place: &Place<'_>,
    question: Option<String>,
    limits: &mut Limits,
    show: impl FnOnce(),
) -> Result<(), Error> {
    let is_there = place.env.stdin_terminal && place.env.stdout_terminal;
    if limits.yes || !is_there || place.terminal.format != Format::Text {
        return Ok(());
    }
    if let Some(question) = question {
        show();
        ensure!(Terminal::ask(&question), DeclinedSnafu);
        // A person has seen how much goes, and said yes.
        limits.yes = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_engine::rows::{Decided, Decider};

    #[test]
    fn a_person_is_asked_about_removals_and_policies_alone() {
        let rows = |deleted, standing| rows::Planned {
            standing: Some(standing),
            pushed: vec![TableCounts {
                deleted,
                created: 3,
                ..TableCounts::new("agents".parse().unwrap())
            }],
            ..rows::Planned::default()
        };
        let ask = |policy, rows: &rows::Planned| question_of(policy, None, Some(rows));
        let ahead = Standing::LocalAhead;
        assert_eq!(ask(OnConflict::Ask, &rows(0, ahead)), None);
        assert_eq!(
            ask(OnConflict::Ask, &rows(2, ahead)).as_deref(),
            Some("2 rows are removed: go on?")
        );
        assert_eq!(ask(OnConflict::Ours, &rows(0, ahead)), None);
        assert_eq!(
            ask(OnConflict::Ours, &rows(1, Standing::Diverged)).as_deref(),
            Some("1 row is removed, conflicts are decided: ours: go on?")
        );
        let decided = rows::Planned {
            decided: vec![Decided {
                table: "agents".parse().unwrap(),
                rows: 2,
                by: Decider::Rules,
            }],
            ..rows(0, Standing::Diverged)
        };
        assert_eq!(
            ask(OnConflict::Ask, &decided).as_deref(),
            Some("rules decide about 2 rows that both sides changed: go on?")
        );
    }
}
