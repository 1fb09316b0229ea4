//! `tenant deploy`: where a tenant's program runs.

use http::Method;
use serde_json::json;
use snafu::{OptionExt, ensure};
use sync_core::Name;
use sync_store::protocol::deploy::{
    DeploySettings, Place as Where, RegistrySettings, SecretAt, SetDeploy,
};
use sync_store::protocol::routes;

use super::Place;
use crate::args::TenantDeploy;
use crate::connect::Connection;
use crate::error::{NoDataSnafu, WhichPlaceSnafu};
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, asked: TenantDeploy) -> Result<Outcome, Error> {
    ensure!(asked.data.is_dir(), NoDataSnafu { path: &asked.data });
    let (name, data) = (asked.name.clone(), asked.data.clone());
    let change = change(asked)?;
    let connection = Connection::operator(&data, place.env).await?;
    let remote = &connection.remote;
    let shown = match change {
        Change::Show => {
            let route = format!("{}?tenant={name}", routes::ADMIN_DEPLOY);
            remote.json(Method::GET, route, None::<&()>).await
        }
        Change::Set(deploy) => {
            let (tenant, route) = (name.clone(), routes::ADMIN_DEPLOY.to_owned());
            let deploy = deploy.map(|settings| *settings);
            let body = SetDeploy { tenant, deploy };
            remote.json(Method::PUT, route, Some(&body)).await
        }
    };
    connection.close().await;
    let shown: SetDeploy = shown?;
    let terminal = &place.terminal;
    terminal.value(
        &json!({"operation": "tenant deploy", "success": true, "tenant": name, "deploy": shown.deploy}),
    );
    terminal.line(&match &shown.deploy {
        None => format!("the program of `{name}` runs nowhere that the server knows"),
        Some(settings) => format!(
            "the program of `{name}` runs {}, from branch `{}`",
            told(&settings.place),
            settings.branch
        ),
    });
    if let Some(registry) = shown.deploy.and_then(|settings| settings.registry) {
        let RegistrySettings {
            registry,
            username,
            repository,
            password,
        } = registry;
        let found = match password {
            SecretAt::Variable(name) => format!("in the environment variable {name}"),
            SecretAt::File(path) => format!("in {}", path.display()),
        };
        terminal.line(&format!(
            "its images are in {registry}/{repository}, pushed by `{username}`, whose password is found {found}"
        ));
    }
    Ok(Outcome::Done)
}

fn told(place: &Where) -> String {
    match place {
        Where::Docker { publish, .. } => format!("in a container at {publish}"),
        Where::Fly { app, .. } => format!("on Fly as `{app}`"),
        Where::Command { program, .. } => format!("where `{}` says", program.display()),
    }
}

/// What is to be done.
enum Change {
    /// It is only shown.
    Show,
    /// It is set, or with `None` taken away.
    Set(Option<Box<DeploySettings>>),
}

fn change(asked: TenantDeploy) -> Result<Change, Error> {
    let which = |reason| WhichPlaceSnafu { reason };
    let given = usize::from(asked.docker.is_some())
        + usize::from(asked.fly.is_some())
        + usize::from(asked.command.is_some())
        + usize::from(asked.none);
    ensure!(
        given <= 1,
        which("one of --docker, --fly, --command and --none")
    );
    if asked.none {
        return Ok(Change::Set(None));
    }
    let registry = match asked.registry {
        None => None,
        Some(registry) => Some(RegistrySettings {
            registry,
            username: asked.username.context(which("--username"))?,
            repository: asked.repository.unwrap_or_else(|| asked.name.to_string()),
            password: secret(asked.password_env, asked.password_file)
                .context(which("one of --password-env and --password-file"))?,
        }),
    };
    let place = if let Some(publish) = asked.docker {
        Where::Docker {
            port: asked.port,
            publish,
            health: asked.health,
            env_file: asked.env_file,
            network: asked.network,
        }
    } else if let Some(app) = asked.fly {
        Where::Fly {
            app,
            region: asked.region,
            port: asked.port,
            health: asked.health,
            token: secret(asked.token_env, asked.token_file)
                .context(which("one of --token-env and --token-file"))?,
            api: asked.api,
        }
    } else if let Some(program) = asked.command {
        Where::Command {
            program,
            args: asked.arg,
        }
    } else {
        ensure!(
            registry.is_none(),
            which("one of --docker, --fly and --command")
        );
        return Ok(Change::Show);
    };
    Ok(Change::Set(Some(Box::new(DeploySettings {
        branch: asked.branch.map_or_else(main, Ok)?,
        place,
        registry,
        patience_seconds: asked.patience,
    }))))
}

fn main() -> Result<Name, Error> {
    let reason = "--branch";
    "main".parse().ok().context(WhichPlaceSnafu { reason })
}

/// Where a secret is found; `None` where nothing or both say so.
fn secret(variable: Option<String>, file: Option<std::path::PathBuf>) -> Option<SecretAt> {
    match (variable, file) {
        (Some(name), None) => Some(SecretAt::Variable(name)),
        (None, Some(path)) => Some(SecretAt::File(path)),
        _ => None,
    }
}
