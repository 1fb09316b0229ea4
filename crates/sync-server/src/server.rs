//! The handler: who calls, what for, and what came of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::header::HeaderMap;
use http::{Request, Response, StatusCode};
use snafu::{ResultExt, ensure};
use sync_core::Name;
use sync_deploy::Deployer;
use sync_store::protocol::Scope;
use sync_store::protocol::deploy::DeploySettings;
use sync_store::{Repository, Store};
use sync_transport::{ATTEMPT, Body, Handler, Peer, RequestId, Totals};
use tracing::Instrument;

use crate::auth::{self, Caller, Known, Rejection};
use crate::deploys::{self, Places, Turns};
use crate::error::{
    ForbiddenSnafu, NoRouteSnafu, NoTenantSnafu, OperatorOnlySnafu, StoreSnafu, UnauthorizedSnafu,
};
use crate::metrics::{self, Metrics, MetricsPage, RouteName};
use crate::route::{NoRoute, Route, TenantRoute, route};
use crate::rows::{self, Databases, TenantDatabase, Variables, Waiters};
use crate::{Error, admin, answer, api, bundles, identity, legacy, upkeep};

/// Says what time it is, in milliseconds since 1970-01-01T00:00:00Z.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The tenant server over one store. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    store: Store,
    clock: Clock,
    variables: Variables,
    legacy: Arc<legacy::State>,
    databases: Arc<Databases>,
    places: Option<Places>,
    private: Option<PathBuf>,
    turns: Arc<Turns>,
    waiters: Arc<Waiters>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Handler for Server {
    fn handle(&self, request: Request<Body>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
        let server = self.clone();
        Box::pin(async move { server.answer(request, peer).await })
    }
}

impl Server {
    /// A server over `store`, which reads the time from `clock`.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self {
            store,
            clock,
            variables: Arc::new(|_| None),
            legacy: Arc::default(),
            databases: Arc::default(),
            places: None,
            private: None,
            turns: Arc::default(),
            waiters: Arc::default(),
            metrics: Arc::default(),
        }
    }

    /// Lets records of tenants name the environment variables that hold the addresses of their databases.
    #[must_use]
    pub fn with_variables(self, variables: Variables) -> Self {
        Self { variables, ..self }
    }

    /// A directory that nobody else reads, for credentials while an image is pulled.
    #[must_use]
    pub fn with_private_dir(self, dir: PathBuf) -> Self {
        Self {
            private: Some(dir),
            ..self
        }
    }

    /// Has programs of tenants run in these places instead of those that `sync-deploy` knows.
    #[must_use]
    pub fn with_places(self, places: Places) -> Self {
        Self {
            places: Some(places),
            ..self
        }
    }

    /// Where the tenant's program runs.
    pub(crate) fn place(
        &self,
        tenant: &str,
        settings: &DeploySettings,
    ) -> Result<Arc<dyn Deployer>, Error> {
        if let Some(places) = &self.places {
            return places(tenant, settings);
        }
        let variables = Arc::clone(&self.variables);
        deploys::in_adapters(variables, self.private.clone())(tenant, settings)
    }

    pub(crate) const fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Answers whoever waits for a head to move, and lets nobody wait any more: a server that is about to end is not held up by
    /// them.
    pub fn end_waiting(&self) {
        self.waiters.end();
    }

    /// The tenant's database; `None` where it has none.
    pub(crate) async fn database(
        &self,
        repository: &Repository,
    ) -> Result<Option<Arc<TenantDatabase>>, Error> {
        self.databases.of(repository, &self.variables).await
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Where listeners of this server count the bytes on their sockets
    /// ([`ServerOptions::totals`](sync_transport::ServerOptions)).
    pub fn totals(&self) -> Arc<Totals> {
        Arc::clone(self.metrics.totals())
    }

    /// A handler that answers `GET /metrics` for whoever asks, for a listener that only the operator's machines reach.
    pub fn metrics_page(&self) -> MetricsPage {
        MetricsPage(self.clone())
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    pub(crate) fn legacy(&self) -> &Arc<legacy::State> {
        &self.legacy
    }

    /// Answers one request, and leaves one line about it in the log.
    async fn answer(self, request: Request<Body>, peer: Peer) -> Response<Body> {
        let started = Instant::now();
        // The transport has given every request an id, and repeats it in the answer.
        let id = request
            .extensions()
            .get::<RequestId>()
            .map_or_else(String::new, ToString::to_string);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let span = tracing::info_span!("request", %id);
        let is_legacy = legacy::claims(&path);
        let found = route(&method, &path);
        let name = if is_legacy {
            RouteName::Legacy
        } else {
            RouteName::of(&found, request.uri().query())
        };
        let metrics = self.metrics();
        let _running = metrics.running.enter();
        if request.headers().contains_key(ATTEMPT) {
            metrics.retries.add(1);
        }
        let answering = async {
            if is_legacy {
                return legacy::answer(&self, request, peer, &id).await;
            }
            let outcome = self.dispatch(found, request, peer).await;
            outcome.unwrap_or_else(|error| {
                if let Error::Stale { .. } = error {
                    metrics.stale.add(1);
                }
                log_refusal(&error);
                answer::refusal(&error, &id)
            })
        };
        let response = answering.instrument(span.clone()).await;
        metrics.answered(name, response.status(), started.elapsed());
        let _entered = span.enter();
        tracing::info!(
            %method,
            %path,
            status = response.status().as_u16(),
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
        response
    }

    async fn dispatch(
        &self,
        route: Result<Route, NoRoute>,
        request: Request<Body>,
        peer: Peer,
    ) -> Result<Response<Body>, Error> {
        match route {
            Ok(Route::Healthz) => return Ok(answer::empty(StatusCode::OK)),
            Ok(Route::Readyz) => {
                self.store.tenants().await.context(StoreSnafu)?;
                return Ok(answer::empty(StatusCode::OK));
            }
            _ => {}
        }
        // Who calls is settled before anything is said about what exists.
        let caller = self.caller(request.headers(), &peer).await?;
        let (tenant, route) = match route {
            Ok(Route::Tenant(tenant, route)) => (tenant, route),
            Ok(route) => return self.administer(&caller, route, request).await,
            Err(reason) => return NoRouteSnafu { reason }.fail(),
        };
        let scope = match route {
            TenantRoute::Push(_)
            | TenantRoute::Delete(_)
            | TenantRoute::Verify
            | TenantRoute::Repair => Scope::Write,
            TenantRoute::Deploy | TenantRoute::RegistryToken => Scope::Deploy,
            // What is told of tokens and settings goes with it, and the tenant signs it.
            TenantRoute::Export
            | TenantRoute::Import
            | TenantRoute::PlanImport
            | TenantRoute::GenerateIdentity
            | TenantRoute::RotateIdentity
            | TenantRoute::SetMoved => Scope::Admin,
            _ => Scope::Read,
        };
        if route.is_about_identity() {
            let repository = self.repository_anywhere(&caller, &tenant, scope).await?;
            return api::serve(self, &repository, route, request).await;
        }
        let repository = self.repository(&caller, &tenant, scope).await?;
        let is_about_heads = route.is_about_heads();
        let response = match route {
            TenantRoute::Export => bundles::export(self, &repository, request).await,
            TenantRoute::Deploy => deploys::deploy(self, &caller, &repository, request).await,
            TenantRoute::PlanImport => bundles::plan(&repository, request).await,
            TenantRoute::Import => {
                Box::pin(bundles::import(self, &caller, &repository, request)).await
            }
            route => api::serve(self, &repository, route, request).await,
        }?;
        if is_about_heads {
            return identity::named(&repository, response).await;
        }
        Ok(response)
    }

    /// The repository of a tenant that lives here, for a caller who may have it.
    ///
    /// # Errors
    ///
    /// [`Error::Moved`] where it lives elsewhere by now; whoever may not have it is not told so.
    pub(crate) async fn repository(
        &self,
        caller: &Caller,
        tenant: &Name,
        scope: Scope,
    ) -> Result<Repository, Error> {
        let found = self.repository_anywhere(caller, tenant, scope).await?;
        identity::ensure_here(&found).await?;
        Ok(found)
    }

    /// The tenant's repository, wherever it lives, for a caller who may have it.
    async fn repository_anywhere(
        &self,
        caller: &Caller,
        tenant: &Name,
        scope: Scope,
    ) -> Result<Repository, Error> {
        ensure!(
            auth::allows(caller, tenant, scope),
            ForbiddenSnafu {
                scope,
                tenant: tenant.as_str()
            }
        );
        let found = self
            .store
            .tenant(tenant.as_str())
            .await
            .context(StoreSnafu)?;
        found.map_or_else(
            || {
                NoTenantSnafu {
                    tenant: tenant.as_str(),
                }
                .fail()
            },
            Ok,
        )
    }

    async fn administer(
        &self,
        caller: &Caller,
        route: Route,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        match route {
            Route::Metrics => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                Ok(metrics::show(self).await)
            }
            Route::ListTenants => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                admin::list_tenants(self).await
            }
            Route::CreateTenant => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                admin::create_tenant(self, request).await
            }
            Route::Database => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                rows::show_record(self, request.uri().query()).await
            }
            Route::SetDatabase => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                rows::set_record(self, request).await
            }
            Route::Place => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                deploys::show_settings(self, request.uri().query()).await
            }
            Route::SetPlace => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                deploys::set_settings(self, request).await
            }
            Route::Gc | Route::Verify | Route::Retention | Route::SetRetention => {
                ensure!(*caller == Caller::Operator, OperatorOnlySnafu);
                match route {
                    Route::Gc => upkeep::gc(self, request).await,
                    Route::Verify => upkeep::verify(self, request).await,
                    Route::SetRetention => upkeep::set_retention(self, request).await,
                    _ => upkeep::retention(self, request.uri().query()).await,
                }
            }
            Route::ListTokens => admin::list_tokens(self, caller, request.uri().query()).await,
            Route::IssueToken => admin::issue_token(self, caller, request).await,
            Route::RevokeToken(id) => admin::revoke_token(self, caller, &id).await,
            // Answered before anybody was asked who he is.
            Route::Healthz | Route::Readyz | Route::Tenant(..) => Ok(answer::empty(StatusCode::OK)),
        }
    }

    /// Who calls: the operator where only he can connect, else the holder of the token.
    pub(crate) async fn caller(&self, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Error> {
        match peer {
            Peer::Unix | Peer::Memory => return Ok(Caller::Operator),
            Peer::Tcp(_) => {}
        }
        let (caller, _) = self.holder(auth::bearer(headers)).await?;
        Ok(caller)
    }

    /// The id of a valid token, and when it ends.
    pub(crate) async fn api_token(&self, text: &str) -> Result<(String, Option<u64>), Error> {
        match self.holder(Some(text)).await? {
            (Caller::Token { id, .. }, expires) => Ok((id, expires)),
            (Caller::Operator, _) => {
                let rejection = Rejection::Malformed;
                UnauthorizedSnafu { rejection }.fail()
            }
        }
    }

    /// The holder of a token, and when it ends.
    async fn holder(&self, text: Option<&str>) -> Result<(Caller, Option<u64>), Error> {
        let rejected = |rejection| UnauthorizedSnafu { rejection }.build();
        let (id, presented) = text
            .and_then(auth::parse)
            .ok_or_else(|| rejected(Rejection::Malformed))?;
        let known = self.known_token(id).await?;
        let expires = known.as_ref().and_then(|known| known.expires);
        let caller = auth::judge(id, presented, known, self.now()).map_err(rejected)?;
        Ok((caller, expires))
    }

    /// What is known of the token with this id.
    pub(crate) async fn known_token(&self, id: &str) -> Result<Option<Known>, Error> {
        let record = self.store.token(id).await.context(StoreSnafu)?;
        Ok(record.and_then(|record| {
            Some(Known {
                hash: record.secret_hash,
                tenant: record.tenant.parse().ok()?,
                scope: record.scope,
                expires: record.expires,
                revoked: record.revoked,
            })
        }))
    }
}

pub(crate) fn log_refusal(error: &Error) {
    let reason = answer::chain(error);
    match error {
        Error::Unauthorized { rejection } => {
            tracing::warn!(rejection = rejection.as_str(), "unauthorized");
        }
        _ if error.status().is_server_error() => tracing::error!(%reason, "failed"),
        _ => tracing::info!(%reason, "refused"),
    }
}
