//! What the operator says of a tenant's program, kept with the tenant; secrets are only named there.

use http::{Request, Response, StatusCode};
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Name;
use sync_store::Repository;
use sync_store::protocol::deploy::{DeploySettings, Place, SecretAt, SetDeploy};
use sync_transport::{Body, Secret};

use crate::admin::read_json;
use crate::error::{MalformedSnafu, NoSecretSnafu, NoTenantSnafu, StoreSnafu};
use crate::rows::Variables;
use crate::{Error, Server, answer};

/// The note of the tenant that it is kept under.
const NOTE: &str = "deploy";

/// What is known of a tenant's program; `None` where nobody has said where it runs.
pub(super) async fn read_settings(
    repository: &Repository,
) -> Result<Option<DeploySettings>, Error> {
    let bytes = repository.note(NOTE).await.context(StoreSnafu)?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let settings = serde_json::from_slice(&bytes).ok();
    settings.map(Some).context(MalformedSnafu {
        reason: "what is known of the tenant's deploys is of another version of the server",
    })
}

/// The application at the platform of Fly, where that is where the program runs.
pub(crate) async fn fly_app(repository: &Repository) -> Result<Option<String>, Error> {
    let settings = read_settings(repository).await?;
    Ok(settings.and_then(|settings| match settings.place {
        Place::Fly { app, .. } => Some(app),
        _ => None,
    }))
}

/// Sets or takes away where a tenant's program runs. Nothing is started or ended.
pub(crate) async fn set_settings(
    server: &Server,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let asked: SetDeploy = read_json(request).await?;
    if let Some(settings) = &asked.deploy {
        let path = match &settings.place {
            Place::Docker { health, .. } | Place::Fly { health, .. } => health.starts_with('/'),
            Place::Command { .. } => true,
        };
        let reason = "the path that says whether the program is well starts with `/`";
        ensure!(path, MalformedSnafu { reason });
        let reason = "a release may take from a second to a day to get healthy";
        let patient = (1..=86_400).contains(&settings.patience_seconds);
        ensure!(patient, MalformedSnafu { reason });
    }
    let repository = tenant(server, &asked.tenant).await?;
    let note = asked.deploy.as_ref();
    let note = note.map(|settings| serde_json::to_vec(settings).unwrap_or_default());
    repository.set_note(NOTE, note).await.context(StoreSnafu)?;
    Ok(answer::json(StatusCode::OK, &asked))
}

/// Shows where a tenant's program runs.
pub(crate) async fn show_settings(
    server: &Server,
    query: Option<&str>,
) -> Result<Response<Body>, Error> {
    let name = crate::route::query(query, "tenant").and_then(|name| name.parse::<Name>().ok());
    let name = name.context(MalformedSnafu {
        reason: "`tenant` is missing",
    })?;
    let repository = tenant(server, &name).await?;
    let shown = SetDeploy {
        deploy: read_settings(&repository).await?,
        tenant: name,
    };
    Ok(answer::json(StatusCode::OK, &shown))
}

/// A secret from where it is found, which goes into no log and no error.
pub(super) fn secret(
    at: &SecretAt,
    variables: &Variables,
    what: &'static str,
    tenant: &str,
) -> Result<Secret, Error> {
    let found = match at {
        SecretAt::Variable(name) => variables(name),
        SecretAt::File(path) => std::fs::read_to_string(path).ok(),
    };
    let found = found.map(|text| text.trim().to_owned());
    let found = found.filter(|text| !text.is_empty());
    found
        .map(Secret::new)
        .context(NoSecretSnafu { what, tenant })
}

async fn tenant(server: &Server, name: &Name) -> Result<Repository, Error> {
    let found = server.store().tenant(name.as_str()).await;
    found.context(StoreSnafu)?.context(NoTenantSnafu {
        tenant: name.as_str(),
    })
}
