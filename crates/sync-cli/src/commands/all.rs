//! `push`, `pull` and `sync` of everything that is configured: files, and the rows of the workspace's database.
//!
//! Both are planned first, shown and asked about once where a person is there, and applied in order; what goes to the tenant
//! goes as one snapshot. Where one of the two fails, the other is done and told of all the same.

mod look;
mod report;

use std::sync::Arc;

use snafu::ensure;
use sync_engine::rows::{Database, Rows, TableCounts};
use sync_engine::{
    AllOptions, AllPlan, Counts, Direction, FilesOutcome, FilesPlan, OnConflict, Patterns, Problem,
    RowsOutcome, Session, Standing,
};

use self::report::Told;
use super::transfer::{Applied, Planned, ROUNDS, Verb, begin, collect, limits};
use super::{Place, rows};
use crate::args::{Format, Pull, Push, SyncBoth};
use crate::error::DeclinedSnafu;
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{Error, Outcome};

pub(super) use self::look::{diff, status};

/// What was asked for.
struct Asked {
    verb: Verb,
    direction: Direction,
    dry_run: bool,
    filter: Vec<String>,
    on_conflict: OnConflict,
    message: Option<String>,
    limits: sync_engine::Limits,
}

pub(super) async fn push(place: &Place<'_>, push: Push) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: Verb::Push,
        direction: Direction::Push,
        dry_run: push.dry_run,
        filter: push.filter,
        on_conflict: OnConflict::Ask,
        message: push.message,
        limits: limits(push.max_delete, push.yes),
    };
    run(place, asked).await
}

pub(super) async fn pull(place: &Place<'_>, pull: Pull) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: Verb::Pull,
        direction: Direction::Pull,
        dry_run: pull.dry_run,
        filter: pull.filter,
        on_conflict: OnConflict::Ask,
        message: None,
        limits: limits(pull.max_delete, pull.yes),
    };
    run(place, asked).await
}

pub(super) async fn sync(place: &Place<'_>, both: SyncBoth) -> Result<Outcome, Error> {
    let asked = Asked {
        verb: Verb::Sync,
        direction: Direction::Sync,
        dry_run: both.dry_run,
        filter: Vec::new(),
        on_conflict: both.on_conflict,
        message: both.message,
        limits: limits(both.max_delete, both.yes),
    };
    run(place, asked).await
}

/// The database of the workspace, as far as it is part of a command.
enum Base {
    /// It is not, and why.
    Absent {
        reason: String,
        /// Whether people are told.
        is_told: bool,
    },
    /// It should be, and cannot.
    Failed(Error),
    There(Box<Database>),
}

impl Base {
    fn of(place: &Place<'_>, filter: &[String]) -> Result<Self, Error> {
        let absent = |reason: String, is_told| Self::Absent { reason, is_told };
        if !place.workspace()?.config().database.is_named {
            let reason = "no database is configured: sync.toml has no [database]";
            return Ok(absent(reason.to_owned(), false));
        }
        if !filter.is_empty() {
            return Ok(absent("--filter chooses paths".to_owned(), true));
        }
        Ok(match rows::database(place) {
            Ok(database) => Self::There(Box::new(database)),
            Err(Error::NoDatabase { variable }) => {
                let reason = format!("no database is configured: `{variable}` is not set");
                absent(reason, true)
            }
            Err(error) => Self::Failed(error),
        })
    }

    /// A run with it; else what is to be told instead.
    async fn rows<P, A>(self, session: &Session) -> (Option<Rows<'_>>, Option<Operation<P, A>>) {
        match self {
            Self::Absent { reason, is_told } => {
                (None, Some(Operation::NotStarted { reason, is_told }))
            }
            Self::Failed(error) => (None, Some(Operation::Failed(error))),
            Self::There(database) => match session.rows(*database).await {
                Ok(rows) => (Some(rows), None),
                Err(error) => (None, Some(Operation::Failed(error.into()))),
            },
        }
    }
}

/// What came of one of the operations.
enum Operation<P, A> {
    NotStarted {
        reason: String,
        is_told: bool,
    },
    Failed(Error),
    /// What was planned, and what was done; without the latter it was a dry run, or a person has to choose.
    Ended(P, Option<A>),
}

impl<P, A> Operation<P, A> {
    /// Whether people are told nothing of it: the other operation is all there is.
    const fn is_silent(&self) -> bool {
        matches!(self, Self::NotStarted { is_told: false, .. })
    }

    /// Why it failed, where it did.
    fn problem(&self) -> Option<Problem> {
        match self {
            Self::Failed(error) => Some(Problem::from_fault(error)),
            _ => None,
        }
    }
}

type FilesOperation = Operation<Planned, Applied>;
type RowsOperation = Operation<rows::Planned, RowsOutcome>;

async fn run(place: &Place<'_>, mut asked: Asked) -> Result<Outcome, Error> {
    let base = Base::of(place, &asked.filter)?;
    let filter = Place::filter(&asked.filter)?;
    let progress = Progress::new(place.terminal);
    let (session, connection) =
        begin(place, &progress, asked.verb.start("all"), asked.dry_run).await?;
    if !asked.dry_run && asked.direction != Direction::Push {
        session.make_tree()?;
    }
    let done = operate(
        place,
        &session,
        base,
        &mut asked,
        filter.as_ref(),
        &progress,
    );
    let done = Box::pin(done).await;
    progress.finish();
    let traffic = session.remote().traffic();
    if done.is_ok() && !asked.dry_run {
        collect(&session).await;
    }
    drop(session);
    connection.close().await;
    let (files, rows) = done?;
    let told = Told {
        place,
        verb: asked.verb,
        dry_run: asked.dry_run,
        traffic,
    };
    Ok(told.tell(files, rows))
}

/// Plans and applies; anew what is not done where rows or the branch moved in between.
async fn operate(
    place: &Place<'_>,
    session: &Session,
    base: Base,
    asked: &mut Asked,
    filter: Option<&Patterns>,
    progress: &Arc<Progress>,
) -> Result<(FilesOperation, RowsOperation), Error> {
    let (database, mut rows) = base.rows(session).await;
    let mut files: Option<FilesOperation> = None;
    // What earlier rounds brought is in the tree, so the last plan no longer speaks of it.
    let mut earlier = Planned::default();
    let mut round = 1;
    loop {
        let with = database.as_ref().filter(|_| rows.is_none());
        let options = AllOptions {
            direction: asked.direction,
            files: files.is_none(),
            filter,
            on_conflict: asked.on_conflict,
        };
        let mut plan = match Box::pin(session.plan_all(with, options)).await {
            Ok(plan) => plan,
            Err(error) if round == 1 => return Err(error.into()),
            Err(error) => {
                // What was done in earlier rounds is told all the same.
                let error = Arc::new(error);
                let failed = || Error::from(Arc::clone(&error));
                let files = files.unwrap_or_else(|| Operation::Failed(failed()));
                return Ok((files, rows.unwrap_or_else(|| Operation::Failed(failed()))));
            }
        };
        let (mut planned, planned_rows) = describe(&mut plan);
        if let Some(planned) = &mut planned {
            planned.put_first(std::mem::take(&mut earlier));
        }
        if asked.dry_run {
            let files = ended(plan.files.take(), planned);
            let from_plan = ended(plan.rows.take(), planned_rows);
            return Ok((
                files.unwrap_or_else(no_operation),
                rows.or(from_plan).unwrap_or_else(no_operation),
            ));
        }
        if round == 1 {
            confirm(
                place,
                progress,
                asked,
                planned.as_ref(),
                planned_rows.as_ref(),
            )?;
        }
        let message = asked.message.clone();
        let applied = session.apply_all(with, plan, message, &asked.limits);
        let outcome = Box::pin(applied).await?;
        let may_repeat =
            round < ROUNDS && (database.is_some() || asked.direction == Direction::Sync);
        if let Some(done) = outcome.files {
            match done {
                Err(error) if may_repeat && error.is_race() => {
                    earlier = planned.unwrap_or_default();
                }
                done => files = Some(files_operation(planned, done)),
            }
        }
        if let Some(done) = outcome.rows {
            match done {
                Err(error) if may_repeat && error.is_race() => {}
                done => rows = Some(rows_operation(planned_rows, done)),
            }
        }
        match (files.take(), rows.take()) {
            (Some(files), Some(rows)) => return Ok((files, rows)),
            unfinished => (files, rows) = unfinished,
        }
        round += 1;
    }
}

/// What a plan says, of files and of rows.
fn describe(plan: &mut AllPlan) -> (Option<Planned>, Option<rows::Planned>) {
    let files = match &mut plan.files {
        Some(Ok(FilesPlan::Push(plan))) => Some(Planned::of_push(plan)),
        Some(Ok(FilesPlan::Pull(plan))) => Some(Planned::of_pull(plan)),
        Some(Ok(FilesPlan::Sync(plan))) => Some(Planned::of_sync(plan)),
        _ => None,
    };
    let rows = match &plan.rows {
        Some(Ok(plan)) => Some(rows::Planned::of(plan)),
        _ => None,
    };
    (files, rows)
}

/// Nothing was asked for: there is no such operation in the plan.
fn no_operation<P, A>() -> Operation<P, A> {
    Operation::NotStarted {
        reason: "not asked for".to_owned(),
        is_told: false,
    }
}

/// A dry run of what was planned.
fn ended<T, P, A>(
    plan: Option<Result<T, Arc<sync_engine::Error>>>,
    planned: Option<P>,
) -> Option<Operation<P, A>> {
    match (plan?, planned) {
        (Err(error), _) => Some(Operation::Failed(error.into())),
        (Ok(_), planned) => Some(Operation::Ended(planned?, None)),
    }
}

fn files_operation(
    planned: Option<Planned>,
    done: Result<FilesOutcome, Arc<sync_engine::Error>>,
) -> FilesOperation {
    match (done, planned) {
        (Ok(done), Some(mut planned)) => {
            if let Some(pulled) = done.pulled {
                planned.changes = Arc::new(pulled);
            }
            let applied = Applied {
                snapshot: done.snapshot,
                message: done.message,
            };
            Operation::Ended(planned, Some(applied))
        }
        // The conflicts say so.
        (Err(_), Some(planned)) if !planned.conflicts.is_empty() => Operation::Ended(planned, None),
        (Err(error), _) => Operation::Failed(error.into()),
        (Ok(_), None) => no_operation(),
    }
}

fn rows_operation(
    planned: Option<rows::Planned>,
    done: Result<RowsOutcome, Arc<sync_engine::Error>>,
) -> RowsOperation {
    match (done, planned) {
        (Ok(done), Some(planned)) => Operation::Ended(planned, Some(done)),
        (Err(_), Some(planned)) if !planned.conflicts.is_empty() => Operation::Ended(planned, None),
        (Err(error), _) => Operation::Failed(error.into()),
        (Ok(_), None) => no_operation(),
    }
}

/// Asks a person who is there about a plan that removes something, or decides conflicts by a policy.
fn confirm(
    place: &Place<'_>,
    progress: &Arc<Progress>,
    asked: &mut Asked,
    files: Option<&Planned>,
    rows: Option<&rows::Planned>,
) -> Result<(), Error> {
    let is_there = place.env.stdin_terminal && place.env.stdout_terminal;
    if asked.limits.yes || !is_there || place.terminal.format != Format::Text {
        return Ok(());
    }
    let Some(question) = question(asked.on_conflict, files, rows) else {
        return Ok(());
    };
    progress.finish();
    report::preview(place, asked.verb, files, rows);
    ensure!(Terminal::ask(&question), DeclinedSnafu);
    // A person has seen how much goes, and said yes.
    asked.limits.yes = true;
    Ok(())
}

/// What a person is to be asked; `None` where the plan just runs.
fn question(
    on_conflict: OnConflict,
    files: Option<&Planned>,
    rows: Option<&rows::Planned>,
) -> Option<String> {
    let files_gone = files.map_or(0, |files| {
        Counts::of(files.changes.iter()).removed + Counts::of(&files.pulled).removed
    });
    let gone = |tables: &[TableCounts]| tables.iter().map(|table| table.deleted).sum::<u64>();
    let rows_gone = rows.map_or(0, |rows| gone(&rows.pulled) + gone(&rows.pushed));
    let diverged = |standing: Option<Standing>| standing == Some(Standing::Diverged);
    let by_policy = on_conflict != OnConflict::Ask
        && (files.is_some_and(|files| diverged(files.standing))
            || rows.is_some_and(|rows| diverged(rows.standing)));
    let mut parts = Vec::new();
    for (count, what) in [(files_gone, "file"), (rows_gone, "row")] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {what} is removed")),
            many => parts.push(format!("{many} {what}s are removed")),
        }
    }
    if by_policy {
        parts.push(format!("conflicts are decided: {}", on_conflict.as_str()));
    }
    (!parts.is_empty()).then(|| format!("{}: go on?", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ask = |policy, rows: &rows::Planned| question(policy, None, Some(rows));
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
    }
}
