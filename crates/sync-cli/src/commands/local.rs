//! `push`, `pull`, `status` and `diff` of skills, content and access control: the tree beside the workspace's database.
//!
//! Kinds that are named together are done one after the other, each whole or not at all: where one fails, the others are
//! done all the same, and the exit code is that of the first.

mod show;

use serde_json::{Value, json};
use sync_core::Fault;
use sync_engine::local::{Direction, ItemDifference, LocalKind, LocalOptions, LocalPlan, Side};
use sync_engine::rows::Database;
use sync_engine::{Limits, Local, LocalRun, LocalSummary, Problem, Workspace};

use self::show::Done;
pub(super) use self::show::LocalReport;
use super::Place;
use super::rows::database;
use super::transfer::limits;
use crate::args::{Diff, ITEMS, Pull, Push, Status, TENANT};
use crate::connect::Purpose;
use crate::error::WrongFlagSnafu;
use crate::progress::Progress;
use crate::terminal::failed;
use crate::{Error, Outcome};

/// How many items `diff` shows with their fields.
const DESCRIBED: usize = 1000;

/// What was asked for.
struct Asked {
    verb: &'static str,
    direction: Direction,
    dry_run: bool,
    options: LocalOptions,
    limits: Limits,
}

/// Refuses flags of these commands beside files or the database.
pub(super) fn ensure_no_flags(
    delete: bool,
    has_choice: bool,
    keep_going: bool,
) -> Result<(), Error> {
    let flags = [
        (delete, "--delete"),
        (has_choice, "--on-conflict"),
        (keep_going, "--keep-going"),
    ];
    match flags.into_iter().find(|(is_given, _)| *is_given) {
        None => Ok(()),
        Some((_, flag)) => WrongFlagSnafu {
            flag,
            targets: ITEMS,
        }
        .fail(),
    }
}

pub(super) async fn push(
    place: &Place<'_>,
    kinds: &[LocalKind],
    push: Push,
) -> Result<Outcome, Error> {
    snafu::ensure!(
        push.message.is_none(),
        WrongFlagSnafu {
            flag: "--message",
            targets: TENANT
        }
    );
    let asked = Asked {
        verb: "push",
        direction: Direction::ToDatabase,
        dry_run: push.dry_run,
        options: options(push.delete, push.on_conflict, push.keep_going, &push.filter)?,
        limits: limits(push.max_delete, push.yes),
    };
    transfer(place, kinds, &asked).await
}

pub(super) async fn pull(
    place: &Place<'_>,
    kinds: &[LocalKind],
    pull: Pull,
) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: "pull",
        direction: Direction::ToDisk,
        dry_run: pull.dry_run,
        options: options(pull.delete, pull.on_conflict, pull.keep_going, &pull.filter)?,
        limits: limits(pull.max_delete, pull.yes),
    };
    transfer(place, kinds, &asked).await
}

fn options(
    delete: bool,
    on_conflict: Option<Side>,
    keep_going: bool,
    filter: &[String],
) -> Result<LocalOptions, Error> {
    Ok(LocalOptions {
        delete,
        on_conflict,
        keep_going,
        filter: Place::filter(filter)?,
    })
}

/// A run that begins now.
pub(super) fn open(
    place: &Place<'_>,
    workspace: Workspace,
    database: Database,
    progress: &std::sync::Arc<Progress>,
) -> Local {
    Local::new(workspace, database, place.context(progress.listener()))
}

/// Plans each kind, and applies unless it is a dry run.
async fn transfer(place: &Place<'_>, kinds: &[LocalKind], asked: &Asked) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let workspace = place.workspace_for(Purpose::of(asked.dry_run))?;
    let local = open(place, workspace, database(place)?, &progress);
    if !asked.dry_run {
        local.recover().await?;
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let direction = match asked.direction {
        Direction::ToDatabase => sync_engine::Direction::Push,
        Direction::ToDisk => sync_engine::Direction::Pull,
    };
    progress.begin(
        format!("{} {}", asked.verb, names.join(" ")),
        Some(direction),
    );
    let mut results = Results::new(place, asked.verb, kinds);
    for &kind in kinds {
        let begun = place.anew();
        let done = Box::pin(one(&local, kind, asked)).await;
        progress.finish();
        match done {
            Ok(done) => {
                let report = LocalReport::new(asked.verb, kind, asked.dry_run, done);
                let problem = report.problem();
                results.problem = results.problem.or(problem);
                results.add(report.tell(&begun, asked.direction));
            }
            Err(error) => results.failed(kind, &error),
        }
    }
    Ok(results.end())
}

async fn one(local: &Local, kind: LocalKind, asked: &Asked) -> Result<Done, Error> {
    if asked.dry_run {
        let plan = local.plan(kind, asked.direction, &asked.options).await?;
        return Ok(Done {
            summary: LocalSummary::of(&plan),
            outcome: None,
        });
    }
    let run = LocalRun {
        kind,
        direction: asked.direction,
        options: asked.options.clone(),
        limits: asked.limits,
    };
    Ok(local.run(&run).await?)
}

/// What came of each kind: one object for programs, whose parts are those of the kinds where there are several.
struct Results<'p> {
    place: &'p Place<'p>,
    verb: &'static str,
    is_alone: bool,
    parts: Vec<Value>,
    outcome: Outcome,
    /// The first error.
    problem: Option<Problem>,
}

impl<'p> Results<'p> {
    fn new(place: &'p Place<'p>, verb: &'static str, kinds: &[LocalKind]) -> Self {
        Self {
            place,
            verb,
            is_alone: kinds.len() == 1,
            parts: Vec::new(),
            outcome: Outcome::Done,
            problem: None,
        }
    }

    fn add(&mut self, (part, outcome): (Value, Outcome)) {
        self.parts.push(part);
        if self.outcome == Outcome::Done {
            self.outcome = outcome;
        }
    }

    fn failed(&mut self, kind: LocalKind, error: &Error) {
        let terminal = &self.place.terminal;
        let operation = format!("{} {}", self.verb, kind.as_str());
        let part = failed(&operation, error);
        let problem = || Problem::from_fault(error);
        self.problem.get_or_insert_with(problem);
        if terminal.format == crate::args::Format::Text {
            terminal.error(error);
        }
        self.add((part, Outcome::Failed(error.class())));
    }

    fn end(mut self) -> Outcome {
        let success = self.outcome == Outcome::Done || self.outcome == Outcome::Different;
        let whole = match (self.is_alone, self.parts.pop()) {
            (true, Some(part)) => part,
            (_, last) => {
                self.parts.extend(last);
                json!({
                    "operation": self.verb,
                    "success": success,
                    "targets": self.parts,
                    "duration_ms": self.place.elapsed_ms(),
                })
            }
        };
        let terminal = &self.place.terminal;
        terminal.result(&whole, self.outcome, self.problem.as_ref());
        self.outcome
    }
}

/// What a plan that nobody applies says: the one of a push, as the files are what people look at.
async fn look(local: &Local, kind: LocalKind, options: &LocalOptions) -> Result<LocalPlan, Error> {
    Ok(local.plan(kind, Direction::ToDatabase, options).await?)
}

pub(super) async fn status(
    place: &Place<'_>,
    kinds: &[LocalKind],
    status: &Status,
) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let local = open(place, place.workspace()?, database(place)?, &progress);
    let options = options(false, None, false, &status.filter)?;
    let mut results = Results::new(place, "status", kinds);
    for &kind in kinds {
        let begun = place.anew();
        match look(&local, kind, &options).await {
            Ok(plan) => {
                let summary = LocalSummary::of(&plan);
                let part = show::status(&begun, kind, &summary);
                results.add((part, difference(status.exit_code, &summary)));
            }
            Err(error) => results.failed(kind, &error),
        }
    }
    progress.finish();
    Ok(results.end())
}

pub(super) async fn diff(
    place: &Place<'_>,
    kinds: &[LocalKind],
    diff: &Diff,
) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let local = open(place, place.workspace()?, database(place)?, &progress);
    let options = options(false, None, false, &diff.filter)?;
    let mut results = Results::new(place, "diff", kinds);
    for &kind in kinds {
        match Box::pin(described(&local, kind, &options, diff.stat)).await {
            Ok((summary, described)) => {
                let part = show::diff(&place.terminal, kind, &summary, &described);
                results.add((part, difference(diff.exit_code, &summary)));
            }
            Err(error) => results.failed(kind, &error),
        }
    }
    progress.finish();
    Ok(results.end())
}

async fn described(
    local: &Local,
    kind: LocalKind,
    options: &LocalOptions,
    stat: bool,
) -> Result<(LocalSummary, Vec<ItemDifference>), Error> {
    let plan = look(local, kind, options).await?;
    let described = if stat {
        Vec::new()
    } else {
        local.describe(kind, &plan, DESCRIBED).await?
    };
    Ok((LocalSummary::of(&plan), described))
}

fn difference(exit_code: bool, summary: &LocalSummary) -> Outcome {
    if exit_code && !summary.is_in_sync() {
        Outcome::Different
    } else {
        Outcome::Done
    }
}
