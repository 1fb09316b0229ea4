//! `push`, `pull` and `sync` of everything that is configured: files, and the rows of the workspace's database.
//!
//! Both are planned first, shown and asked about once where a person is there, and applied in order; what goes to the tenant
//! goes as one snapshot. Where one of the two fails, the other is done and told of all the same.

mod look;
mod report;

use std::sync::Arc;

use sync_engine::all::{AllDone, ROUNDS};
use sync_engine::rows::TableCounts;
use sync_engine::{AllRequest, Counts, Direction, OnConflict, Session, Standing, WithDatabase};

use super::ask::by_rules;
use super::transfer::{Planned, Verb, begin, collect, limits};
use super::{Place, ask, rows};
use crate::args::{Pull, Push, SyncBoth};
use crate::progress::Progress;
use crate::{Error, Outcome};

pub(super) use self::look::{diff, status};
pub(super) use self::report::show_both;

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
pub(super) fn with_database(place: &Place<'_>, filter: &[String]) -> Result<WithDatabase, Error> {
    let absent = |reason: String, is_told| WithDatabase::Absent { reason, is_told };
    if !place.workspace()?.config().database.is_named {
        let reason = "no database is configured: sync.toml has no [database]";
        return Ok(absent(reason.to_owned(), false));
    }
    if !filter.is_empty() {
        return Ok(absent("--filter chooses paths".to_owned(), true));
    }
    Ok(match rows::database(place) {
        Ok(database) => WithDatabase::There(Box::new(database)),
        Err(Error::NoDatabase { variable }) => {
            let reason = format!("no database is configured: `{variable}` is not set");
            absent(reason, true)
        }
        Err(error) => WithDatabase::Failed(Arc::new(error)),
    })
}

async fn run(place: &Place<'_>, mut asked: Asked) -> Result<Outcome, Error> {
    let database = with_database(place, &asked.filter)?;
    let request = AllRequest {
        direction: asked.direction,
        files: true,
        filter: Place::filter(&asked.filter)?,
        on_conflict: asked.on_conflict,
        message: asked.message.clone(),
    };
    let progress = Progress::new(&place.terminal);
    let (session, connection) =
        begin(place, &progress, asked.verb.start("all"), asked.dry_run).await?;
    if !asked.dry_run && asked.direction != Direction::Push {
        session.make_tree()?;
    }
    let done = operate(place, &session, &database, &request, &mut asked, &progress);
    let done = Box::pin(done).await;
    progress.finish();
    let traffic = session.remote().traffic();
    if done.is_ok() && !asked.dry_run {
        collect(&session).await;
    }
    drop(session);
    connection.close().await;
    let report = done?.report(asked.direction, traffic, place.elapsed_ms());
    let report = if asked.dry_run {
        report.of_plan()
    } else {
        report
    };
    Ok(report::tell(&place.terminal, asked.verb, &report))
}

/// Plans, asks a person who is there, and applies unless it is a dry run.
async fn operate(
    place: &Place<'_>,
    session: &Session,
    database: &WithDatabase,
    request: &AllRequest,
    asked: &mut Asked,
    progress: &Arc<Progress>,
) -> Result<AllDone, Error> {
    let planned = Box::pin(session.plan_run(database, request)).await?;
    if asked.dry_run {
        return Ok(planned.outline());
    }
    let (files, rows) = (planned.files(), planned.rows());
    let question = question(asked.on_conflict, files, rows);
    let (verb, limits) = (asked.verb, &mut asked.limits);
    ask::confirm(place, question, limits, || {
        progress.finish();
        report::preview(place, verb, files, rows);
    })?;
    let applied = session.apply_run(database, planned, request, &asked.limits, ROUNDS);
    Ok(Box::pin(applied).await?)
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
    let by_rules = rows.map_or(0, |rows| by_rules(&rows.decided));
    let diverged = |standing: Option<Standing>| standing == Some(Standing::Diverged);
    let is_decided = files.is_some_and(|files| diverged(files.standing))
        || rows.is_some_and(|rows| diverged(rows.standing));
    let policy = is_decided.then_some(on_conflict);
    ask::question(files_gone, rows_gone, by_rules, policy)
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
