//! `doctor`: looks for what is wrong, and says what to do about it.

mod deploy;

use serde::Serialize;
use sync_core::Fault;
use sync_engine::{Problem, Session, Standing};

pub(super) use self::deploy::run as deploy;
use super::Place;
use crate::connect::Purpose;
use crate::env::Env;
use crate::progress::Progress;
use crate::terminal::Paint;
use crate::{Error, Outcome};

/// Clocks that differ by less are taken for equal: the answer has seconds, and takes its time.
const CLOCK_TOLERANCE_S: u64 = 60;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

pub(super) async fn run(place: &Place<'_>) -> Result<Outcome, Error> {
    let mut checks = Vec::new();
    let opened = place.workspace();
    let workspace = match opened {
        Ok(workspace) => {
            checks.push(good(
                "workspace",
                format!(
                    "`{}` in {}",
                    workspace.config().workspace.name,
                    workspace.root().display()
                ),
            ));
            Some(workspace)
        }
        Err(error) => {
            checks.push(bad("workspace", &error));
            None
        }
    };
    if workspace.is_some() {
        match place
            .session(Purpose::Look, Progress::new(&place.terminal).listener())
            .await
        {
            Ok((session, connection)) => {
                examine(&session, &mut checks).await;
                examine_clock(&session, &mut checks).await;
                drop(session);
                connection.close().await;
            }
            Err(error) => checks.push(bad("tenant", &error)),
        }
    }
    Ok(report(place, "doctor", &checks))
}

/// Prints what was looked at.
fn report(place: &Place<'_>, operation: &str, checks: &[Check]) -> Outcome {
    let failed = checks.iter().filter(|check| !check.ok).count();
    for check in checks {
        let (mark, paint) = if check.ok {
            ("ok  ", Paint::Green)
        } else {
            ("FAIL", Paint::Red)
        };
        place.terminal.line(&format!(
            "{} {:<10} {}",
            place.terminal.paint(paint, mark),
            check.name,
            check.found
        ));
        if let Some(hint) = check
            .problem
            .as_ref()
            .and_then(|problem| problem.hint.as_ref())
        {
            place
                .terminal
                .line(&format!("     {:<10} hint: {hint}", ""));
        }
    }
    place.terminal.value(
        &serde_json::json!({"operation": operation, "success": failed == 0, "checks": checks}),
    );
    if failed > 0 {
        Outcome::Unsound
    } else {
        Outcome::Done
    }
}

async fn examine(session: &Session, checks: &mut Vec<Check>) {
    match session.examine_tree().await {
        Ok(tree) => {
            let found = format!("{} files can be synced", tree.files);
            checks.push(good("tree", found));
            if let Some(first) = tree.refused.first() {
                let path = first.path.clone().unwrap_or_default();
                let found = format!(
                    "{} left out, the first is `{path}`: {}",
                    tree.refused.len(),
                    first.message
                );
                checks.push(Check {
                    name: "names",
                    ok: true,
                    found,
                    problem: Some(first.clone()),
                });
            }
        }
        Err(error) => checks.push(bad("tree", &error)),
    }
    match session.examine_private().await {
        Ok(found) => checks.push(good("private", found)),
        Err(error) => checks.push(bad("private", &error)),
    }
    match session.status(None).await {
        Ok(status) => {
            let standing = status.standing;
            checks.push(good(
                "tenant",
                format!("reached, token accepted, files {}", standing.as_str()),
            ));
            if standing == Standing::Diverged {
                checks.push(good(
                    "history",
                    "both sides changed: `sync-cli sync` merges them".to_owned(),
                ));
            }
        }
        Err(error) => checks.push(bad("tenant", &error)),
    }
}

/// Compares this machine's clock with that of the tenant's server, which says the time to the second.
async fn examine_clock(session: &Session, checks: &mut Vec<Check>) {
    let before = Env::now();
    // Whoever cannot be reached is told of above; an embedded tenant has this clock.
    let Ok(Some(date)) = session.remote().date().await else {
        return;
    };
    let Ok(there) = jiff::fmt::rfc2822::parse(&date) else {
        return;
    };
    let there = there.timestamp().as_millisecond();
    let here = i64::try_from(before).unwrap_or(i64::MAX);
    let off = here.saturating_sub(there) / 1000;
    if off.unsigned_abs() <= CLOCK_TOLERANCE_S {
        checks.push(good("clock", "agrees with the tenant's".to_owned()));
        return;
    }
    let side = if off > 0 { "ahead of" } else { "behind" };
    let found = format!("{} s {side} the tenant's", off.unsigned_abs());
    let problem = Problem {
        code: "cli/clock".to_owned(),
        message: found.clone(),
        hint: Some("set this machine's clock: the times in the history come from here".to_owned()),
        path: None,
    };
    checks.push(Check {
        name: "clock",
        ok: false,
        found,
        problem: Some(problem),
    });
}

fn good(name: &'static str, found: String) -> Check {
    Check {
        name,
        ok: true,
        found,
        problem: None,
    }
}

fn bad(name: &'static str, error: &impl Fault) -> Check {
    let problem = Problem::from_fault(error);
    Check {
        name,
        ok: false,
        found: problem.message.clone(),
        problem: Some(problem),
    }
}
