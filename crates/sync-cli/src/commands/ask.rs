//! What a person who is there is asked before a plan is applied.

use snafu::ensure;
use sync_engine::rows::{Decided, Decider};
use sync_engine::{Limits, OnConflict};

use super::Place;
use crate::Error;
use crate::args::Format;
use crate::error::DeclinedSnafu;
use crate::terminal::Terminal;

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
