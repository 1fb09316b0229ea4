//! The API of the earlier system, for clients that are in the field and stay as they are (`docs/legacy.md`).
//!
//! - [`route`]: a method and a path as one of the known requests, purely; [`form`]: queries and forms.
//! - [`exchange`]: an API token for a short-lived access token (RFC 8693), without anything being stored.
//! - [`push`]: a tarball becomes a snapshot. Below it [`tarball`] takes the bytes apart and refuses ([`refusal`]) what is wrong
//!   with them, [`unpack`] cuts files into objects, [`land`] edits the tree and moves the head.
//! - [`pull`]: the tree as a tarball or as a manifest, from [`contents`], which reads ahead, into [`outgoing`].
//! - [`database`]: rows as JSON, both ways.
//! - [`deploy`]: what runs.
//! - [`answer`]: the JSON that these clients read.
//!
//! Everything below these requests is the same as for a workspace of today: same tokens, same objects, same branch.

mod answer;
mod contents;
mod database;
mod deploy;
mod exchange;
mod form;
#[cfg(fuzzing)]
pub mod fuzzing;
mod land;
mod manifest;
mod outgoing;
mod pull;
mod push;
mod refusal;
mod route;
mod tarball;
mod unpack;

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use snafu::{OptionExt, ResultExt};
use sync_core::Name;
use sync_store::protocol::Scope;
use sync_transport::{Body, Peer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::form::Form;
use self::route::{LegacyRoute, TenantRequest, route};
use crate::auth::Caller;
use crate::error::{MalformedSnafu, NoRouteSnafu, StoreSnafu};
use crate::route::NoRoute;
use crate::{Error, Server};

pub use database::ImportRefusal;
pub use refusal::Refusal;

/// The branch that these clients push to and pull from: they know of no other.
const BRANCH: &str = crate::branches::MAIN;

/// The directories that these clients know, sorted. They refuse a tarball that has anything else.
const DIRECTORIES: [&str; 8] = [
    "agents", "config", "content", "hooks", "plugins", "profiles", "skills", "web",
];

/// How many pushes run at a time. Each holds memory and two blocking threads that wait for each other: were there more than
/// the runtime has, all would wait for ever.
const MAX_PUSHES: usize = 32;
/// How many imports of rows run at a time: each has its body in memory, with its items beside it.
const MAX_IMPORTS: usize = 4;
/// How many pulls, manifests and exports run at a time, each on a blocking thread that waits for its reader.
const MAX_PULLS: usize = 64;

/// The most bytes of a refused request that are read so that its sender gets to read the refusal.
const MAX_DRAINED: u64 = 1 << 30;

/// What the legacy API keeps between requests. All of it may be lost: clients exchange again, checksums are computed again.
#[derive(Debug)]
pub(crate) struct State {
    exchange: exchange::Exchange,
    checksums: manifest::Checksums,
    pushes: Arc<Semaphore>,
    imports: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            exchange: exchange::Exchange::default(),
            checksums: manifest::Checksums::default(),
            pushes: Arc::new(Semaphore::new(MAX_PUSHES)),
            imports: Arc::new(Semaphore::new(MAX_IMPORTS)),
            pulls: Arc::new(Semaphore::new(MAX_PULLS)),
        }
    }
}

/// Whether a path belongs to this API.
pub(crate) fn claims(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.next() == Some("api") && segments.next() == Some("v1")
}

/// Answers a request to a path that this API claims.
pub(crate) async fn answer(
    server: &Server,
    request: Request<Body>,
    peer: Peer,
    request_id: &str,
) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let route = route(&parts.method, parts.uri.path());
    if route == Ok(LegacyRoute::Exchange) {
        return exchange::serve(server, body).await;
    }
    match serve(server, route, &parts, &mut body, peer).await {
        Ok(response) => response,
        Err(error) => {
            crate::server::log_refusal(&error);
            // They send all of a request before they read the answer, and take a closed connection for an outage.
            drain(&mut body).await;
            answer::refusal(&error, request_id, server.now())
        }
    }
}

async fn serve(
    server: &Server,
    route: Result<LegacyRoute, NoRoute>,
    parts: &Parts,
    body: &mut Body,
    peer: Peer,
) -> Result<Response<Body>, Error> {
    // Who calls is settled before anything is said about what exists.
    let caller = exchange::caller(server, &parts.headers, peer).await?;
    let (tenant, request) = match route {
        Ok(LegacyRoute::Tenant(tenant, request)) => (tenant, request),
        Ok(LegacyRoute::Direct(request)) => (own_tenant(&caller)?, request),
        Ok(LegacyRoute::Exchange) => {
            let reason = NoRoute::NotFound;
            return NoRouteSnafu { reason }.fail();
        }
        Err(reason) => return NoRouteSnafu { reason }.fail(),
    };
    let scope = match request {
        TenantRequest::Push | TenantRequest::Import(_) => Scope::Write,
        TenantRequest::RegistryToken | TenantRequest::Deploy => Scope::Deploy,
        _ => Scope::Read,
    };
    let repository = server.repository(&caller, &tenant, scope).await?;
    let query = parts.uri.query().unwrap_or_default();
    let query = Form::parse(query).context(MalformedSnafu {
        reason: "the query does not decode",
    })?;
    match request {
        TenantRequest::Push => push::serve(server, &repository, &query, body).await,
        TenantRequest::Pull => pull::serve(server, &repository, &query).await,
        TenantRequest::Manifest => pull::manifest(server, &repository, &query).await,
        TenantRequest::Import(layout) => {
            let headers = &parts.headers;
            database::import::serve(server, &repository, layout, &query, headers, body).await
        }
        TenantRequest::Export(layout) => {
            database::export::serve(server, &repository, layout, &query).await
        }
        TenantRequest::Describe => deploy::describe(&repository).await,
        TenantRequest::Database => Ok(answer::database()),
        TenantRequest::Status => deploy::status(server, &repository).await,
        TenantRequest::RegistryToken => deploy::registry_token(server, &repository).await,
        TenantRequest::Deploy => deploy::deploy(server, &caller, &repository, body).await,
    }
}

/// The tenant of a caller who names none.
fn own_tenant(caller: &Caller) -> Result<Name, Error> {
    match caller {
        Caller::Token { tenant, .. } => Ok(tenant.clone()),
        Caller::Operator => MalformedSnafu {
            reason: "this request takes its tenant from a token, and the operator has none",
        }
        .fail(),
    }
}

/// Waits for a turn, which lasts until it is dropped.
async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    let turn = Arc::clone(turns).acquire_owned().await;
    let closed = |error| sync_store::Error::Task {
        source: Box::new(error),
    };
    turn.map_err(closed).context(StoreSnafu)
}

/// Runs `work` where blocking is fine.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(sync_store::Error::from).context(StoreSnafu)?
}

async fn drain(body: &mut Body) {
    let mut read = 0;
    while read < MAX_DRAINED
        && let Some(Ok(piece)) = body.next().await
    {
        read += piece.len() as u64;
    }
}
