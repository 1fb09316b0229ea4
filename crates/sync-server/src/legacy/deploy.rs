//! What runs, for clients that name an image by its tag.

use std::time::Duration;

use http::Response;
use serde::Deserialize;
use serde_json::json;
use snafu::{OptionExt, ResultExt};
use sync_core::{Digest, Release};
use sync_deploy::{Login, Registry};
use sync_store::Repository;
use sync_store::protocol::deploy::{AskDeploy, DeployStatus, Which};
use sync_transport::{Body, Secret};

use super::{BRANCH, answer};
use crate::auth::Caller;
use crate::error::{BodySnafu, MalformedSnafu, NoReleaseSnafu, StoreSnafu};
use crate::{Error, Server, deploys};

/// Their clients wait for a minute; what takes longer is answered as running, and goes on.
const PATIENCE: Duration = Duration::from_secs(45);
/// The most bytes of a request.
const MAX_BODY: usize = 16 * 1024;

#[derive(Deserialize)]
struct Asked {
    image: String,
}

/// Says who may push images, and where.
pub(super) async fn registry_token(
    server: &Server,
    repository: &Repository,
) -> Result<Response<Body>, Error> {
    let found = deploys::registry(server, repository).await?;
    Ok(answer::both(json!({
        "registry": found.registry,
        "username": found.username,
        "token": found.token,
        "repository": found.repository,
        "tag": format!("deploy-{}", server.now() / 1000),
    })))
}

/// Says how the tenant's program is.
pub(super) async fn status(
    server: &Server,
    repository: &Repository,
) -> Result<Response<Body>, Error> {
    Ok(told(&deploys::look(server, repository).await?))
}

/// Names the application at the platform, where that is where the program runs.
pub(super) async fn describe(repository: &Repository) -> Result<Response<Body>, Error> {
    let app = deploys::fly_app(repository).await?;
    Ok(answer::both(json!({"fly_app_name": app})))
}

/// Has an image run that the tenant's registry has under a tag.
///
/// # Errors
///
/// [`Error::NoRelease`] where it has none, [`Error::Malformed`] where the image is not of that repository; as a deploy.
pub(super) async fn deploy(
    server: &Server,
    caller: &Caller,
    repository: &Repository,
    body: &mut Body,
) -> Result<Response<Body>, Error> {
    let bytes = std::mem::replace(body, Body::empty());
    let bytes = bytes.read_to_end(MAX_BODY).await.context(BodySnafu)?;
    let asked: Option<Asked> = serde_json::from_slice(&bytes).ok();
    let asked = asked.context(MalformedSnafu {
        reason: "expected `{\"image\": \"registry/repository:tag\"}`",
    })?;
    let release = resolved(server, repository, &asked.image).await?;
    let ask = AskDeploy {
        branch: BRANCH.parse().map_err(|_| Error::OtherRelease)?,
        head: repository.head(BRANCH).await.context(StoreSnafu)?,
        release: Which::New(release),
        author: "legacy".to_owned(),
        message: None,
    };
    let start = deploys::begin(server, caller, repository, ask).await?;
    let (at, tenant) = (server.clone(), repository.clone());
    let work = tokio::spawn(async move { deploys::go(&at, &tenant, start, &|_| {}).await });
    match tokio::time::timeout(PATIENCE, work).await {
        Err(_) => Ok(answer::both(
            json!({"status": "deploying", "app_url": null}),
        )),
        Ok(Ok(done)) => {
            let url = done?.url;
            Ok(answer::both(json!({"status": "deployed", "app_url": url})))
        }
        Ok(Err(error)) => Err(Error::Store {
            source: error.into(),
        }),
    }
}

/// The release that an image of the tenant's repository is.
async fn resolved(server: &Server, repository: &Repository, image: &str) -> Result<Release, Error> {
    let known = deploys::registry(server, repository).await?;
    let base = format!("{}/{}", known.registry, known.repository);
    let rest = image.strip_prefix(&base).unwrap_or_default();
    let reference = rest
        .strip_prefix([':', '@'])
        .filter(|text| !text.is_empty());
    let reference = reference.with_context(|| MalformedSnafu {
        reason: format!("the image is not one of `{base}`"),
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let reason = "the image is not named as `registry/repository:tag`";
    let reference = Some(reference).filter(|text| text.chars().all(plain));
    let reference = reference.context(MalformedSnafu { reason })?;
    let login = Login {
        registry: known.registry.clone(),
        username: known.username,
        password: Secret::new(known.token),
    };
    let place = sync_deploy::Repository::new(&known.registry, &known.repository)?;
    let registry = Registry::new(place, Some(login))?;
    let found = registry.image(reference).await?;
    let digest = found.context(NoReleaseSnafu { release: image })?.digest;
    let image = format!("{base}@{digest}");
    Ok(Release {
        commit: None,
        // All that is known of what it was made from is what came of it.
        contents: Digest::of(image.as_bytes()),
        dirty: false,
        image,
        tag: reference.to_owned(),
    })
}

fn told(status: &DeployStatus) -> Response<Body> {
    let serving = status.serving.as_ref();
    let (word, message) = match (&status.place, &status.running, serving) {
        (None, ..) => (
            "not_deployed",
            "this server runs no program of the tenant".to_owned(),
        ),
        (_, Some(running), _) => ("deploying", format!("{} by {}", running.tag, running.by)),
        (.., Some(serving)) => {
            let word = match serving.health.as_str() {
                "healthy" => "running",
                other => other,
            };
            let tag = status
                .release
                .as_ref()
                .map(|named| named.release.tag.as_str());
            (word, tag.unwrap_or(&serving.image).to_owned())
        }
        (.., None) => {
            let trouble = status.trouble.clone();
            (
                "not_deployed",
                trouble.unwrap_or_else(|| "nothing was deployed yet".to_owned()),
            )
        }
    };
    answer::both(json!({
        "status": word,
        "message": message,
        "app_url": serving.and_then(|serving| serving.url.as_deref()),
    }))
}
