//! `doctor deploy`: what a deploy needs, one after the other, whatever the ones before came to.

use std::path::Path;

use sync_core::ByteCount;
use sync_deploy::contents::{contents, ensure_fresh, ensure_sent};
use sync_deploy::{Cargo, ProcessRunner, Registry, Source, engine};
use sync_engine::Problem;

use super::super::Place;
use super::super::deploy::{Look, blocking};
use super::{Check, bad, good, report};
use crate::connect::{Connection, Purpose};
use crate::{Error, Outcome};

/// An image and its layers easily take as much.
const MIN_FREE: u64 = 1 << 30;

pub(in crate::commands) async fn run(place: &Place<'_>) -> Result<Outcome, Error> {
    let mut checks = Vec::new();
    match Look::new(place) {
        Ok(look) => examine(place, &look, &mut checks).await,
        Err(error) => checks.push(bad("deploy", &error)),
    }
    Ok(report(place, "doctor deploy", &checks))
}

async fn examine(place: &Place<'_>, look: &Look<'_>, checks: &mut Vec<Check>) {
    let runner = &ProcessRunner;
    let engine = engine::version(runner).await;
    let answers = engine.is_ok();
    let builder = engine::builder(runner).await;
    checks.push(checked(
        "docker",
        engine.map(|version| format!("engine {version}, {}", builder.as_str())),
    ));
    let source = Source::look(runner, &look.project.source).await;
    let source = source.and_then(|source| {
        source.ensure_clean()?;
        Ok(format!(
            "commit {}, nothing else",
            source.commit().unwrap_or_default()
        ))
    });
    checks.push(checked("git", source));
    let cargo = Cargo::look(runner, &look.project).await;
    if let Err(error) = &cargo {
        checks.push(bad("package", error));
    }
    let cargo = cargo.ok().flatten();
    let (project, found) = (look.project.clone(), cargo.clone());
    let context = blocking(move || contents(&project, found.as_ref(), builder, b"")).await;
    checks.push(checked(
        "context",
        context.map(|contents| {
            format!(
                "`{}` and `{}`, contents {}",
                look.project.dockerfile.display(),
                look.project.context.display(),
                contents.short()
            )
        }),
    ));
    if let Some(cargo) = cargo {
        let fresh = ensure_sent(&look.project, &cargo, builder).and_then(|()| ensure_fresh(&cargo));
        let found = format!("`{}` is as new as its sources", cargo.binary.display());
        checks.push(checked("binary", fresh.map(|_| found)));
    }
    checks.push(checked("registry", registry(place, look).await));
    let root = if answers {
        engine::root(runner).await.ok()
    } else {
        None
    };
    // The engine may be on another machine.
    let root = root.filter(|root| root.is_dir());
    let places = [Some(look.project.source.clone()), root];
    for path in places.into_iter().flatten() {
        checks.push(space(&path));
    }
}

fn checked(name: &'static str, found: Result<String, impl sync_core::Fault>) -> Check {
    match found {
        Ok(found) => good(name, found),
        Err(error) => bad(name, &error),
    }
}

/// Whether the registry lets in whoever would push.
async fn registry(place: &Place<'_>, look: &Look<'_>) -> Result<String, Error> {
    let says_itself = look.config.registry.is_some() && look.config.repository.is_some();
    let destination = if says_itself {
        look.destination(None).await?
    } else {
        let connection = Connection::open(&place.workspace()?, place.env, Purpose::Look).await?;
        let destination = look.destination(Some(&connection.remote)).await;
        connection.close().await;
        destination?
    };
    let who = match &destination.login {
        Some(login) => format!("lets in `{}`", login.username),
        None => "answers; the engine's own credentials push".to_owned(),
    };
    if destination.login.is_some() {
        let registry = Registry::new(destination.repository.clone(), destination.login)?;
        registry.greet().await?;
    }
    Ok(format!("{} {who}", destination.repository))
}

/// How much room there is where something is written.
fn space(path: &Path) -> Check {
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            let source = std::io::Error::from(error);
            let path = path.to_owned();
            return bad("space", &Error::ReadUrl { path, source });
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} free for `{}`", ByteCount(free), path.display());
    if free >= MIN_FREE {
        return good("space", found);
    }
    let problem = Problem {
        code: "deploy/no-space".to_owned(),
        message: found.clone(),
        hint: Some(format!("make room: a deploy wants {}", ByteCount(MIN_FREE))),
        path: None,
    };
    Check {
        name: "space",
        ok: false,
        found,
        problem: Some(problem),
    }
}
