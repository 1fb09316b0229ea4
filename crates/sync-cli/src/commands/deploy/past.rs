//! `deploy status`, `history` and `rollback`: what runs, what ran, and back to that.

use std::sync::Mutex;

use serde_json::json;
use snafu::OptionExt;
use sync_core::Digest;
use sync_engine::{Limits, Remote};
use sync_store::protocol::deploy::{
    AskDeploy, DeployEnd, DeployRecord, DeployStatus, DeployStep, Deployed, Which,
};

use super::super::{Place, ask};
use crate::args::{DeployHistory, DeployRollback};
use crate::connect::{Connection, Purpose};
use crate::error::NoReleaseSnafu;
use crate::terminal::{Paint, Terminal, moment, one_line, seconds};
use crate::{Error, Outcome};

/// Says how the tenant's program is.
pub(in crate::commands) async fn status(place: &Place<'_>) -> Result<Outcome, Error> {
    let connection = open(place, Purpose::Look).await?;
    let found = connection.remote.deploy_status().await;
    connection.close().await;
    let found = found?;
    place
        .terminal
        .value(&json!({"operation": "deploy status", "success": true, "status": found}));
    for line in lines(&found) {
        place.terminal.line(&line);
    }
    Ok(Outcome::Done)
}

fn lines(found: &DeployStatus) -> Vec<String> {
    let Some(place) = &found.place else {
        return vec!["the tenant runs no program: the operator names a place for it".to_owned()];
    };
    let mut lines = vec![match &found.release {
        None => format!("release   none on {place}"),
        Some(named) => format!(
            "release   {}  {}",
            one_line(&named.release.tag),
            named.id.short()
        ),
    }];
    if let Some(named) = &found.release {
        lines.push(format!("image     {}", one_line(&named.release.image)));
    }
    match (&found.serving, &found.trouble) {
        (Some(serving), _) => {
            let other = serving.release != found.release.as_ref().map(|named| named.id);
            let other = if other { ", another release" } else { "" };
            let url = serving.url.as_deref().map(|url| format!(" at {url}"));
            let reason = serving
                .reason
                .as_deref()
                .map(|reason| format!(": {reason}"));
            lines.push(one_line(&format!(
                "serving   {}{}{other}{}",
                serving.health,
                url.unwrap_or_default(),
                reason.unwrap_or_default()
            )));
        }
        (None, Some(trouble)) => lines.push(format!("serving   unknown: {}", one_line(trouble))),
        (None, None) => lines.push("serving   nothing".to_owned()),
    }
    if let Some(running) = &found.running {
        let (tag, by) = (one_line(&running.tag), one_line(&running.by));
        let since = moment(running.since);
        lines.push(format!("running   {tag} by {by} since {since}"));
    }
    if let Some(last) = &found.last {
        lines.push(format!("last      {}", line(last)));
    }
    lines
}

fn line(record: &DeployRecord) -> String {
    let end = match &record.end {
        DeployEnd::Served(snapshot) => format!("served, snapshot {}", snapshot.short()),
        DeployEnd::Failed { step, reason } => format!("failed: {step}: {reason}"),
    };
    one_line(&format!(
        "{}  {}  {}  {}  {end}",
        record.release.short(),
        moment(record.began),
        record.tag,
        record.by,
    ))
}

/// Lists what was deployed, newest first.
pub(in crate::commands) async fn history(
    place: &Place<'_>,
    asked: &DeployHistory,
) -> Result<Outcome, Error> {
    let connection = open(place, Purpose::Look).await?;
    let found = connection.remote.deploys().await;
    connection.close().await;
    let mut found = found?.deploys;
    found.truncate(asked.limit);
    place
        .terminal
        .value(&json!({"operation": "deploy history", "success": true, "deploys": found}));
    if found.is_empty() {
        place.terminal.line("nothing was deployed yet");
    }
    for record in &found {
        place.terminal.line(&line(record));
    }
    Ok(Outcome::Done)
}

/// Has a release run that ran before.
pub(in crate::commands) async fn rollback(
    place: &Place<'_>,
    asked: DeployRollback,
) -> Result<Outcome, Error> {
    let purpose = if asked.dry_run {
        Purpose::Look
    } else {
        Purpose::Act
    };
    let connection = open(place, purpose).await?;
    let done = back(place, &connection, asked).await;
    connection.close().await;
    done
}

async fn back(
    place: &Place<'_>,
    connection: &Connection,
    asked: DeployRollback,
) -> Result<Outcome, Error> {
    let remote = &connection.remote;
    let status = remote.deploy_status().await?;
    let now = status.release.as_ref().map(|named| named.id);
    let past = remote.deploys().await?.deploys;
    let (release, tag) = chosen(&past, now, asked.release.as_deref())?;
    bring_back(
        place,
        remote,
        Wanted {
            release,
            tag,
            message: asked.message,
        },
        Going {
            dry_run: asked.dry_run,
            yes: asked.yes,
        },
    )
    .await
}

/// The release that is meant: the newest that served and does not now, or the only one that is called so.
fn chosen(
    past: &[DeployRecord],
    now: Option<Digest>,
    named: Option<&str>,
) -> Result<(Digest, String), Error> {
    let served = past
        .iter()
        .filter(|record| matches!(record.end, DeployEnd::Served(_)));
    let mut served = served.filter(|record| match named {
        None => Some(record.release) != now,
        Some(named) => {
            let hex = named.len() >= 4 && record.release.to_string().starts_with(named);
            record.tag == named || hex
        }
    });
    let first = served.next().context(NoReleaseSnafu {
        given: named.unwrap_or("one that served before"),
        reason: "`deploy history` lists those that served",
    })?;
    let others = served.any(|other| other.release != first.release);
    let is_clear = named.is_none() || !others;
    is_clear.then_some(()).context(NoReleaseSnafu {
        given: named.unwrap_or_default(),
        reason: "several are called so: give the digits of one",
    })?;
    Ok((first.release, first.tag.clone()))
}

/// A release that the tenant has, and is to run.
pub(in crate::commands) struct Wanted {
    pub(in crate::commands) release: Digest,
    pub(in crate::commands) tag: String,
    pub(in crate::commands) message: Option<String>,
}

/// How far a run goes by itself.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Going {
    pub(in crate::commands) dry_run: bool,
    pub(in crate::commands) yes: bool,
}

/// Has the tenant run a release that it has, and waits until it serves.
pub(in crate::commands) async fn bring_back(
    place: &Place<'_>,
    remote: &Remote,
    wanted: Wanted,
    going: Going,
) -> Result<Outcome, Error> {
    let terminal = &place.terminal;
    let Wanted {
        release,
        tag,
        message,
    } = wanted;
    let tag = one_line(&tag);
    if going.dry_run {
        terminal.value(
            &json!({"operation": "deploy rollback", "success": true, "dry_run": true,
            "release": release, "tag": tag}),
        );
        terminal.line(&format!("would deploy {tag}  {}", release.short()));
        return Ok(Outcome::Done);
    }
    let question = format!(
        "deploy `{tag}` to tenant `{}` again: go on?",
        remote.tenant()
    );
    let mut limits = Limits {
        yes: going.yes,
        ..Limits::default()
    };
    ask::confirm(place, Some(question), &mut limits, || {})?;
    let head = remote.head(None).await?.and_then(|head| head.head);
    let asked = AskDeploy {
        branch: remote.branch().clone(),
        head,
        release: Which::Known(release),
        author: place.env.author(),
        message: Some(message.unwrap_or_else(|| format!("roll back to {tag}"))),
    };
    let (deployed, steps) = follow(place, remote, &asked).await?;
    for (step, took) in &steps {
        terminal.line(&format!("{step:<12} {}", seconds(*took)));
    }
    let url = deployed.url.as_ref().map(|url| format!(" at {url}"));
    terminal.line(&format!(
        "deployed     {tag} serves{}; snapshot {}",
        url.unwrap_or_default(),
        terminal.paint(Paint::Yellow, &deployed.head.short())
    ));
    let steps = steps.iter();
    let steps = steps.map(|(step, took)| json!({"step": step, "duration_ms": took}));
    terminal.value(&json!({
        "operation": "deploy rollback",
        "success": true,
        "dry_run": false,
        "release": deployed.release,
        "tag": tag,
        "head": deployed.head,
        "url": deployed.url,
        "already": deployed.already,
        "steps": steps.collect::<Vec<_>>(),
        "duration_ms": place.elapsed_ms(),
    }));
    Ok(Outcome::Done)
}

/// Asks for a deploy, and tells of the server's steps; with what each of them took.
pub(super) async fn follow(
    place: &Place<'_>,
    remote: &Remote,
    asked: &AskDeploy,
) -> Result<(Deployed, Vec<(&'static str, u64)>), Error> {
    let steps = Mutex::new(Vec::new());
    let tell = |step: DeployStep| {
        place.terminal.event_of_program(
            &json!({"event": "deploy_step", "step": step.step, "duration_ms": step.took}),
        );
        match step.took {
            None if super::is_for_people(place) => {
                Terminal::note(&format!("{}: the tenant's", step.step));
            }
            None => {}
            Some(took) => {
                if let Ok(mut steps) = steps.lock() {
                    steps.push((step.step.as_str(), took));
                }
            }
        }
    };
    let deployed = remote.deploy(asked, &tell).await?;
    Ok((deployed, steps.into_inner().unwrap_or_default()))
}

async fn open(place: &Place<'_>, purpose: Purpose) -> Result<Connection, Error> {
    let workspace = place.workspace()?;
    Connection::open(&workspace, place.env, purpose).await
}
