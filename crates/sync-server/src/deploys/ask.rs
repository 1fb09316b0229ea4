//! The requests about deploys.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::{Digest, Release};
use sync_deploy::{Health, Serving};
use sync_store::protocol::deploy::{
    AskDeploy, DEPLOY_MEDIA_TYPE, DeployLine, DeployStatus, Deployed, Deploys, NamedRelease,
    RegistryToken, ServingNow, Which,
};
use sync_store::{Class, Repository};
use sync_transport::{Body, RequestId};
use tokio::sync::mpsc;

use super::journal::{Begun, Journal};
use super::{Turn, run, settings, settings_of};
use crate::admin::read_json;
use crate::auth::Caller;
use crate::error::{MalformedSnafu, NoPlaceSnafu, NoReleaseSnafu, StaleSnafu, StoreSnafu};
use crate::{Error, Server, answer};

/// So often an answer shows that the deploy goes on: well below every idle time-out.
const BEAT: Duration = Duration::from_secs(5);

/// Has a release run. The answer begins once the tenant's turn was taken, and the work goes on whoever still listens.
pub(crate) async fn deploy(
    server: &Server,
    caller: &Caller,
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let id = request.extensions().get::<RequestId>();
    let id = id.map_or_else(String::new, ToString::to_string);
    let asked: AskDeploy = read_json(request).await?;
    let start = begin(server, caller, repository, asked).await?;
    let (sender, lines) = mpsc::unbounded_channel();
    let (server, repository) = (server.clone(), repository.clone());
    tokio::spawn(async move {
        // Nobody may listen any more.
        let say = |line| drop(sender.send(line));
        let done = go(&server, &repository, start, &|step| {
            say(DeployLine::Step(step));
        })
        .await;
        say(match done {
            Ok(done) => DeployLine::Done(done),
            Err(error) => {
                tracing::error!(reason = %answer::chain(&error), "a deploy failed");
                DeployLine::Error(answer::detail(&error, &id))
            }
        });
    });
    Ok(lines_of(lines))
}

/// A deploy that may begin: the turn is taken, the release is stored.
pub(crate) enum Start {
    /// It serves already.
    Already(Deployed),
    /// It does not.
    Begin(Pending),
}

/// A deploy that begins with the turn in hand.
pub(crate) struct Pending {
    turn: Turn,
    begun: Box<Begun>,
}

/// Looks whether a deploy may begin, and takes the tenant's turn.
///
/// # Errors
///
/// [`Error::NoPlace`], [`Error::Stale`], [`Error::Deploying`], [`Error::NoRelease`]: nothing has happened.
pub(crate) async fn begin(
    server: &Server,
    caller: &Caller,
    repository: &Repository,
    asked: AskDeploy,
) -> Result<Start, Error> {
    let settings = settings_of(repository).await?;
    let branch = &settings.branch;
    ensure!(
        asked.branch == *branch,
        MalformedSnafu {
            reason: format!("the tenant's program is deployed from branch `{branch}`"),
        }
    );
    let (id, release) = stored(repository, asked.release).await?;
    let by = match caller {
        Caller::Operator => format!("{} (operator)", asked.author),
        Caller::Token { id, .. } => format!("{} (token {id})", asked.author),
    };
    let message = asked.message;
    let mut begun = Begun {
        by,
        since: server.now(),
        branch: branch.clone(),
        release: id,
        message: message.unwrap_or_else(|| format!("deploy {}", release.tag)),
        tag: release.tag,
        image: release.image,
        commit: release.commit,
        before: None,
        author: asked.author,
    };
    let turn = server.turns().take(repository.name(), begun.told())?;
    // A server before this one may have died in the middle, and its place may not have answered since.
    if let Some(left) = Journal::read(repository).await?.running {
        run::resume_begun(server, repository, left).await?;
    }
    let head = repository.head(branch.as_str()).await.context(StoreSnafu)?;
    let place = server.place(repository.name(), &settings)?;
    let serving = place.serving(repository.name()).await?;
    let named = match head {
        Some(head) => {
            repository
                .snapshot(head)
                .await
                .context(StoreSnafu)?
                .roots
                .release
        }
        None => None,
    };
    begun.before = serving.as_ref().and_then(|serving| serving.release);
    let is_well = |serving: &&Serving| serving.health == Health::Healthy;
    if begun.before == Some(id)
        && named == Some(id)
        && let (Some(head), Some(serving)) = (head, serving.as_ref().filter(is_well))
    {
        return Ok(Start::Already(Deployed {
            head,
            release: id,
            url: serving.url.clone(),
            already: true,
        }));
    }
    ensure!(head == asked.head, StaleSnafu { head });
    Ok(Start::Begin(Pending {
        turn,
        begun: Box::new(begun),
    }))
}

/// Does what may begin.
pub(crate) async fn go(
    server: &Server,
    repository: &Repository,
    start: Start,
    tell: &run::Tell<'_>,
) -> Result<Deployed, Error> {
    match start {
        Start::Already(deployed) => Ok(deployed),
        Start::Begin(Pending { turn, begun }) => {
            let settings = settings_of(repository).await?;
            let place = server.place(repository.name(), &settings)?;
            let done = run::run(server, repository, &*place, *begun, tell).await;
            drop(turn);
            done
        }
    }
}

/// The release that is meant, stored.
async fn stored(repository: &Repository, which: Which) -> Result<(Digest, Release), Error> {
    match which {
        Which::New(release) => {
            let malformed = |error: sync_core::release::ReleaseError| Error::Malformed {
                reason: error.to_string(),
            };
            let (id, bytes) = release.encode().map_err(malformed)?;
            let _stored = repository
                .put([(Class::Nodes, bytes)])
                .await
                .context(StoreSnafu)?;
            Ok((id, release))
        }
        Which::Known(id) => {
            let release = repository.release(id).await.context(StoreSnafu)?;
            let release = release.context(NoReleaseSnafu {
                release: id.to_string(),
            })?;
            Ok((id, release))
        }
    }
}

/// Lines as they come, and white space while none does.
fn lines_of(lines: mpsc::UnboundedReceiver<DeployLine>) -> Response<Body> {
    let stream = futures_util::stream::unfold(lines, |mut lines| async move {
        let bytes = match tokio::time::timeout(BEAT, lines.recv()).await {
            Err(_) => b" ".to_vec(),
            Ok(None) => return None,
            Ok(Some(line)) => {
                let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
                bytes.push(b'\n');
                bytes
            }
        };
        Some((Ok::<_, std::io::Error>(Bytes::from(bytes)), lines))
    });
    answer::with_type(
        StatusCode::OK,
        HeaderValue::from_static(DEPLOY_MEDIA_TYPE),
        Body::stream(stream),
    )
}

/// Says how the tenant's program is.
pub(crate) async fn status(
    server: &Server,
    repository: &Repository,
) -> Result<Response<Body>, Error> {
    let status = look(server, repository).await?;
    Ok(answer::json(StatusCode::OK, &status))
}

/// How the tenant's program is.
pub(crate) async fn look(server: &Server, repository: &Repository) -> Result<DeployStatus, Error> {
    let settings = settings::read_settings(repository).await?;
    let journal = Journal::read(repository).await?;
    let running = server.turns().running(repository.name());
    let running = running.or_else(|| journal.running.as_ref().map(Begun::told));
    let mut status = DeployStatus {
        branch: None,
        place: None,
        head: None,
        release: None,
        serving: None,
        trouble: None,
        running,
        last: journal.past.into_iter().next(),
    };
    let Some(settings) = settings else {
        return Ok(status);
    };
    let head = repository.head(settings.branch.as_str()).await;
    status.head = head.context(StoreSnafu)?;
    if let Some(head) = status.head {
        let roots = repository.snapshot(head).await.context(StoreSnafu)?.roots;
        if let Some(id) = roots.release {
            let release = repository.release(id).await.context(StoreSnafu)?;
            status.release = release.map(|release| NamedRelease { id, release });
        }
    }
    let place = server.place(repository.name(), &settings);
    let serving = match place {
        Ok(place) => place.serving(repository.name()).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    match serving {
        Ok(serving) => status.serving = serving.map(serving_now),
        Err(error) => status.trouble = Some(answer::chain(&error)),
    }
    status.place = Some(settings.place.as_str().to_owned());
    status.branch = Some(settings.branch);
    Ok(status)
}

fn serving_now(serving: Serving) -> ServingNow {
    let (health, reason) = match serving.health {
        Health::Healthy => ("healthy", None),
        Health::Starting => ("starting", None),
        Health::Unhealthy { reason } => ("unhealthy", Some(reason)),
    };
    ServingNow {
        release: serving.release,
        image: serving.image,
        url: serving.url,
        health: health.to_owned(),
        reason,
    }
}

/// Says what was deployed.
pub(crate) async fn deploys(repository: &Repository) -> Result<Response<Body>, Error> {
    let deploys = Journal::read(repository).await?.past;
    Ok(answer::json(StatusCode::OK, &Deploys { deploys }))
}

/// Says who may push images, and where.
pub(crate) async fn registry_token(
    server: &Server,
    repository: &Repository,
) -> Result<Response<Body>, Error> {
    let token = registry(server, repository).await?;
    Ok(answer::json(StatusCode::OK, &token))
}

/// Who may push images, and where.
///
/// # Errors
///
/// [`Error::NoPlace`] where the operator has named no registry, [`Error::NoSecret`] where the password is not there.
pub(crate) async fn registry(
    server: &Server,
    repository: &Repository,
) -> Result<RegistryToken, Error> {
    let tenant = repository.name();
    let settings = settings_of(repository).await?;
    let registry = settings.registry.context(NoPlaceSnafu { tenant })?;
    let what = "the password of the registry";
    let token = settings::secret(&registry.password, server.variables(), what, tenant)?;
    Ok(RegistryToken {
        registry: registry.registry,
        username: registry.username,
        token: token.expose().to_owned(),
        repository: registry.repository,
    })
}
