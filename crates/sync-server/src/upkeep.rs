//! Upkeep of tenants: collection, verification, repair, retention.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use snafu::{OptionExt, ResultExt};
use sync_core::Name;
use sync_store::protocol::{Answer, AskGc, AskVerify, BranchRetention, Upkept};
use sync_store::{Keep, Repository};
use sync_transport::{Body, RequestId};

use crate::admin::{parse_name, read_json};
use crate::error::{MalformedSnafu, NoTenantSnafu, StoreSnafu};
use crate::{Error, Server, answer, route};

/// So often an answer that takes long shows that it is still being made: well below every idle time-out.
const BEAT: Duration = Duration::from_secs(5);

/// Collects what nobody needs, or says what that would be.
pub(crate) async fn gc(server: &Server, request: Request<Body>) -> Result<Response<Body>, Error> {
    let id = request_id(&request);
    let asked: AskGc = read_json(request).await?;
    let tenants = tenants(server, asked.tenant.as_deref()).await?;
    let (now, grace) = (server.now(), asked.grace_seconds.saturating_mul(1000));
    Ok(slowly(id, async move {
        let mut done = Vec::new();
        for repository in tenants {
            let plan = repository.plan_gc(Keep::Heads, now, grace);
            let plan = plan.await.context(StoreSnafu)?;
            let report = if asked.plan {
                plan.report
            } else {
                repository.apply_gc(plan).await.context(StoreSnafu)?
            };
            done.push(Upkept {
                tenant: repository.name().to_owned(),
                report,
            });
        }
        Ok(done)
    }))
}

/// Reads and checks everything of one tenant or of all.
pub(crate) async fn verify(
    server: &Server,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let id = request_id(&request);
    let asked: AskVerify = read_json(request).await?;
    let tenants = tenants(server, asked.tenant.as_deref()).await?;
    Ok(slowly(id, async move {
        let mut done = Vec::new();
        for repository in tenants {
            let report = repository.verify(Keep::Heads).await.context(StoreSnafu)?;
            done.push(Upkept {
                tenant: repository.name().to_owned(),
                report,
            });
        }
        Ok(done)
    }))
}

/// Reads and checks everything of the caller's tenant.
pub(crate) fn verify_tenant(repository: &Repository, request: &Request<Body>) -> Response<Body> {
    let repository = repository.clone();
    slowly(request_id(request), async move {
        repository.verify(Keep::Heads).await.context(StoreSnafu)
    })
}

/// Takes in good copies of what is damaged.
pub(crate) async fn repair(
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let repaired = repository.repair(request.into_body().into_stream()).await;
    Ok(answer::json(StatusCode::OK, &repaired.context(StoreSnafu)?))
}

/// Says what a branch keeps.
pub(crate) async fn retention(
    server: &Server,
    parameters: Option<&str>,
) -> Result<Response<Body>, Error> {
    let named = |key: &'static str| {
        let found = route::query(parameters, key);
        parse_name(found.with_context(|| MalformedSnafu {
            reason: format!("`{key}` is missing"),
        })?)
    };
    let (tenant, branch) = (named("tenant")?, named("branch")?);
    let repository = repository(server, &tenant).await?;
    let retention = repository.retention(branch.as_str()).await;
    Ok(answer::json(
        StatusCode::OK,
        &BranchRetention {
            tenant: tenant.to_string(),
            branch: branch.to_string(),
            retention: retention.context(StoreSnafu)?,
        },
    ))
}

/// Sets what a branch keeps.
pub(crate) async fn set_retention(
    server: &Server,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let asked: BranchRetention = read_json(request).await?;
    let (tenant, branch) = (parse_name(&asked.tenant)?, parse_name(&asked.branch)?);
    let repository = repository(server, &tenant).await?;
    let set = repository.set_retention(branch.as_str(), asked.retention);
    set.await.context(StoreSnafu)?;
    Ok(answer::json(StatusCode::OK, &asked))
}

async fn tenants(server: &Server, only: Option<&str>) -> Result<Vec<Repository>, Error> {
    if let Some(only) = only {
        return Ok(vec![repository(server, &parse_name(only)?).await?]);
    }
    let mut found = Vec::new();
    for name in server.store().tenants().await.context(StoreSnafu)? {
        found.extend(server.store().tenant(&name).await.context(StoreSnafu)?);
    }
    Ok(found)
}

async fn repository(server: &Server, tenant: &Name) -> Result<Repository, Error> {
    let tenant = tenant.as_str();
    let found = server.store().tenant(tenant).await.context(StoreSnafu)?;
    found.context(NoTenantSnafu { tenant })
}

fn request_id(request: &Request<Body>) -> String {
    let id = request.extensions().get::<RequestId>();
    id.map_or_else(String::new, ToString::to_string)
}

/// An answer that begins at once and shows by white space that the work goes on, which it does whoever still listens.
fn slowly<T: Serialize + Send + 'static>(
    request_id: String,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Response<Body> {
    let work = Some((tokio::spawn(work), request_id));
    let stream = futures_util::stream::unfold(work, |work| async move {
        let (mut work, request_id) = work?;
        let Ok(done) = tokio::time::timeout(BEAT, &mut work).await else {
            let space = Bytes::from_static(b" ");
            return Some((Ok::<_, std::io::Error>(space), Some((work, request_id))));
        };
        let outcome = done.unwrap_or_else(|error| {
            Err(Error::Store {
                source: error.into(),
            })
        });
        let answer = match outcome {
            Ok(done) => Answer::Done(done),
            Err(error) => {
                tracing::error!(reason = %answer::chain(&error), "upkeep failed");
                Answer::Error(answer::detail(&error, &request_id))
            }
        };
        let bytes = serde_json::to_vec(&answer).map_err(std::io::Error::from);
        Some((bytes.map(Bytes::from), None))
    });
    answer::with_type(
        StatusCode::OK,
        HeaderValue::from_static("application/json"),
        Body::stream(stream),
    )
}
