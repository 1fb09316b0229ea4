//! `jobs`: what runs by a schedule.

use std::sync::Arc;

use serde_json::json;
use sync_core::Class;
use sync_engine::jobs::{JobEvent, JobParameters, JobRun, JobState, Jobs};

use super::Place;
use super::rows::database;
use crate::args::{JobsHistory, JobsRun, JobsVerb};
use crate::env::Env;
use crate::progress::Progress;
use crate::terminal::{Terminal, moment, one_line, seconds};
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, verb: JobsVerb) -> Result<Outcome, Error> {
    match verb {
        JobsVerb::List(_) => list(place),
        JobsVerb::Run(run) => one(place, &run).await,
        JobsVerb::History(history) => past(place, &history).await,
    }
}

/// The jobs of the workspace.
pub(super) fn jobs(place: &Place<'_>, progress: &Arc<Progress>) -> Result<Jobs, Error> {
    let jobs = Jobs::new(
        place.workspace()?,
        database(place)?,
        Arc::new(Env::random),
        Arc::new(Env::now),
        progress.listener(),
    );
    Ok(jobs?)
}

/// What is in `sync.toml`, for which no database is needed.
fn list(place: &Place<'_>) -> Result<Outcome, Error> {
    let jobs = sync_engine::jobs::jobs_of(&place.workspace()?.config().jobs)?;
    let now = Env::now();
    let mut listed = Vec::new();
    for job in &jobs {
        let next = job
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.next(now));
        listed.push(json!({
            "name": job.name,
            "schedule": job.schedule.as_ref().map(ToString::to_string),
            "run": job.task.to_string(),
            "direction": job.direction(),
            "delete_orphans": job.parameters.delete_orphans,
            "override_existing": job.parameters.override_existing,
            "next": next,
        }));
        let when = match (&job.schedule, next) {
            (Some(schedule), Some(next)) => format!("{schedule:<16}  next {}", moment(next)),
            _ => "when asked for".to_owned(),
        };
        place.terminal.line(&format!(
            "{:<20}  {:<22}  {when}",
            job.name,
            job.task.to_string()
        ));
    }
    place
        .terminal
        .value(&json!({"operation": "jobs list", "success": true, "jobs": listed}));
    Ok(Outcome::Done)
}

async fn one(place: &Place<'_>, asked: &JobsRun) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let jobs = jobs(place, &progress)?;
    let parameters = JobParameters {
        direction: asked.direction,
        delete_orphans: asked.delete_orphans,
        override_existing: asked.override_existing,
    };
    let job = jobs.job(&asked.name)?.clone().with(parameters)?;
    let run = Box::pin(jobs.run(&job)).await;
    progress.finish();
    let run = run?;
    show(&place.terminal, &run);
    let is_done = run.state == JobState::Completed;
    place.terminal.value(&json!({
        "operation": "jobs run",
        "success": is_done,
        "run": run,
        "duration_ms": place.elapsed_ms(),
    }));
    Ok(if is_done {
        Outcome::Done
    } else {
        Outcome::Failed(Class::Failed)
    })
}

async fn past(place: &Place<'_>, asked: &JobsHistory) -> Result<Outcome, Error> {
    let progress = Progress::new(&place.terminal);
    let jobs = jobs(place, &progress)?;
    let runs = jobs.history(asked.name.as_deref(), asked.limit).await?;
    for run in &runs {
        show(&place.terminal, run);
    }
    if runs.is_empty() {
        place.terminal.line("no job has run yet");
    }
    place
        .terminal
        .value(&json!({"operation": "jobs history", "success": true, "runs": runs}));
    Ok(Outcome::Done)
}

/// Tells people what happens to jobs.
pub(super) fn say(terminal: &Terminal, event: &JobEvent) {
    match event {
        JobEvent::Ready { jobs: 0 } => {
            terminal.line("no job of sync.toml has a schedule");
        }
        JobEvent::Ready { jobs } => terminal.line(&format!("waiting for {jobs} jobs")),
        JobEvent::Started { job, .. } => terminal.line(&format!("{job}: begins")),
        JobEvent::Ended { run } | JobEvent::Missed { run } => show(terminal, run),
        JobEvent::Elsewhere { job, .. } => {
            terminal.line(&format!("{job}: another daemon does it"));
        }
        JobEvent::GivenUp { job } => terminal.line(&format!("{job}: given up")),
        JobEvent::Waiting { problem } => terminal.problem(problem),
    }
}

/// One run on a line, and what went wrong in it below.
fn show(terminal: &Terminal, run: &JobRun) {
    let what = match run.state {
        JobState::Missed => format!(
            "{} {} missed, the last at {}",
            run.missed,
            if run.missed == 1 { "run" } else { "runs" },
            run.scheduled_for.map_or_else(String::new, moment)
        ),
        state => {
            let took = run
                .ended_at
                .map(|ended| ended.saturating_sub(run.started_at));
            let took = took.map_or_else(String::new, |took| format!("  {}", seconds(took)));
            format!("{}{}{took}", state.as_str(), counts(&run.results))
        }
    };
    terminal.line(&format!("{}  {}: {what}", moment(run.started_at), run.job));
    for error in run.errors.as_array().into_iter().flatten() {
        let text = |key: &str| error[key].as_str().unwrap_or_default();
        terminal.line(&format!(
            "  {} [{}]",
            one_line(text("message")),
            text("code")
        ));
    }
}

/// `  content: 1 created, 2 updated`
fn counts(results: &serde_json::Value) -> String {
    let mut text = String::new();
    for (what, counts) in results.as_object().into_iter().flatten() {
        let named = ["created", "updated", "deleted"].map(|key| (key, counts[key].as_u64()));
        let named = named.into_iter().filter_map(|(key, count)| {
            count
                .filter(|count| *count > 0)
                .map(|count| format!("{count} {key}"))
        });
        let named: Vec<String> = named.collect();
        let named = if named.is_empty() {
            "nothing changed".to_owned()
        } else {
            named.join(", ")
        };
        text.push_str("  ");
        text.push_str(what);
        text.push_str(": ");
        text.push_str(&named);
    }
    text
}
