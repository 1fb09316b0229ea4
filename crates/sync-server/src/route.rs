//! A method and a path as one of the known requests.

use http::Method;
use sync_core::Name;

/// A request that the server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Whether the process lives.
    Healthz,
    /// Whether it can serve.
    Readyz,
    /// What was counted.
    Metrics,
    /// A request about one tenant.
    Tenant(Name, TenantRoute),
    /// List tenants.
    ListTenants,
    /// Create a tenant.
    CreateTenant,
    /// List tokens.
    ListTokens,
    /// Issue a token.
    IssueToken,
    /// Revoke the token with this id.
    RevokeToken(String),
    /// Remove what nobody needs.
    Gc,
    /// Read and check everything.
    Verify,
    /// What a branch keeps.
    Retention,
    /// Set what a branch keeps.
    SetRetention,
    /// A tenant's database.
    Database,
    /// Set a tenant's database.
    SetDatabase,
    /// Where a tenant's program runs.
    Place,
    /// Set where a tenant's program runs.
    SetPlace,
}

/// A request about one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRoute {
    /// Which branches there are.
    Branches,
    /// Remove a branch.
    Delete(Name),
    /// Where a branch points to.
    Head(Name),
    /// Push to a branch.
    Push(Name),
    /// Which objects are missing.
    Missing,
    /// What one snapshot has and another lacks.
    Fetch,
    /// Objects by digest.
    Objects,
    /// Signatures of objects.
    Signatures,
    /// The log.
    Log,
    /// The snapshots whose ids start so.
    Resolve(String),
    /// Read and check everything.
    Verify,
    /// Take in good copies of what is damaged.
    Repair,
    /// Have a release run.
    Deploy,
    /// How the tenant's program is.
    DeployStatus,
    /// What was deployed.
    Deploys,
    /// Who may push images, and where.
    RegistryToken,
    /// All of the tenant as a bundle.
    Export,
    /// Become what a bundle says.
    Import,
    /// What a bundle would change.
    PlanImport,
    /// Who the tenant is.
    Identity,
    /// Make the tenant somebody.
    GenerateIdentity,
    /// Give the tenant another key.
    RotateIdentity,
    /// Say where the tenant lives.
    SetMoved,
}

impl TenantRoute {
    /// Whether it is about who the tenant is and where it lives: one that has moved answers it, too.
    pub(crate) const fn is_about_identity(&self) -> bool {
        matches!(
            self,
            Self::Identity | Self::GenerateIdentity | Self::RotateIdentity | Self::SetMoved
        )
    }

    /// Whether its answer is about heads, and names who gives it.
    pub(crate) const fn is_about_heads(&self) -> bool {
        matches!(
            self,
            Self::Branches | Self::Delete(_) | Self::Head(_) | Self::Push(_)
        )
    }
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No such path.
    NotFound,
    /// The path exists for another method.
    Method,
    /// A name in the path is not a valid name.
    Name,
}

/// Finds the route; empty path segments are skipped, because clients join base and path by concatenation.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let is = |wanted: Method, route: Route| {
        if *method == wanted {
            Ok(route)
        } else {
            Err(NoRoute::Method)
        }
    };
    match *segments.as_slice() {
        ["healthz"] => is(Method::GET, Route::Healthz),
        ["readyz"] => is(Method::GET, Route::Readyz),
        ["metrics"] => is(Method::GET, Route::Metrics),
        ["v1", "admin", "tenants"] if method == Method::POST => Ok(Route::CreateTenant),
        ["v1", "admin", "tenants"] => is(Method::GET, Route::ListTenants),
        ["v1", "admin", "tokens"] if method == Method::POST => Ok(Route::IssueToken),
        ["v1", "admin", "tokens"] => is(Method::GET, Route::ListTokens),
        ["v1", "admin", "tokens", id] => is(Method::DELETE, Route::RevokeToken(id.to_owned())),
        ["v1", "admin", "gc"] => is(Method::POST, Route::Gc),
        ["v1", "admin", "verify"] => is(Method::POST, Route::Verify),
        ["v1", "admin", "retention"] if method == Method::PUT => Ok(Route::SetRetention),
        ["v1", "admin", "retention"] => is(Method::GET, Route::Retention),
        ["v1", "admin", "database"] if method == Method::PUT => Ok(Route::SetDatabase),
        ["v1", "admin", "database"] => is(Method::GET, Route::Database),
        ["v1", "admin", "deploy"] if method == Method::PUT => Ok(Route::SetPlace),
        ["v1", "admin", "deploy"] => is(Method::GET, Route::Place),
        ["v1", "tenants", tenant, ref rest @ ..] => {
            let tenant = tenant.parse().map_err(|_| NoRoute::Name)?;
            tenant_route(method, rest).map(|route| Route::Tenant(tenant, route))
        }
        _ => Err(NoRoute::NotFound),
    }
}

fn tenant_route(method: &Method, segments: &[&str]) -> Result<TenantRoute, NoRoute> {
    let is = |wanted: Method, route: TenantRoute| {
        if *method == wanted {
            Ok(route)
        } else {
            Err(NoRoute::Method)
        }
    };
    match *segments {
        ["heads"] => is(Method::GET, TenantRoute::Branches),
        ["heads", branch] => {
            let branch = branch.parse().map_err(|_| NoRoute::Name)?;
            match *method {
                Method::POST => Ok(TenantRoute::Push(branch)),
                Method::DELETE => Ok(TenantRoute::Delete(branch)),
                _ => is(Method::GET, TenantRoute::Head(branch)),
            }
        }
        ["missing"] => is(Method::POST, TenantRoute::Missing),
        ["fetch"] => is(Method::POST, TenantRoute::Fetch),
        ["objects"] => is(Method::POST, TenantRoute::Objects),
        ["verify"] => is(Method::POST, TenantRoute::Verify),
        ["repair"] => is(Method::POST, TenantRoute::Repair),
        ["deploy"] if method == Method::POST => Ok(TenantRoute::Deploy),
        ["deploy"] => is(Method::GET, TenantRoute::DeployStatus),
        ["deploys"] => is(Method::GET, TenantRoute::Deploys),
        ["registry-token"] => is(Method::GET, TenantRoute::RegistryToken),
        ["export"] => is(Method::POST, TenantRoute::Export),
        ["import"] => is(Method::POST, TenantRoute::Import),
        ["import", "plan"] => is(Method::POST, TenantRoute::PlanImport),
        ["identity"] if method == Method::POST => Ok(TenantRoute::GenerateIdentity),
        ["identity"] => is(Method::GET, TenantRoute::Identity),
        ["identity", "rotate"] => is(Method::POST, TenantRoute::RotateIdentity),
        ["moved"] => is(Method::PUT, TenantRoute::SetMoved),
        ["signatures"] => is(Method::POST, TenantRoute::Signatures),
        ["snapshots"] => is(Method::GET, TenantRoute::Log),
        ["snapshots", prefix] => is(Method::GET, TenantRoute::Resolve(prefix.to_owned())),
        _ => Err(NoRoute::NotFound),
    }
}

/// The value of `key` in a query string; values of ours need no percent-decoding.
pub fn query<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expected: &Result<Route, NoRoute>) {
        assert_eq!(
            &route(&method.parse().unwrap(), path),
            expected,
            "{method} {path}"
        );
    }

    fn tenant(route: TenantRoute) -> Route {
        Route::Tenant("acme".parse().unwrap(), route)
    }

    #[test]
    fn every_request_has_one_route() {
        let main: Name = "main".parse().unwrap();
        check("GET", "/healthz", &Ok(Route::Healthz));
        check("GET", "/readyz", &Ok(Route::Readyz));
        check(
            "GET",
            "/v1/tenants/acme/heads/main",
            &Ok(tenant(TenantRoute::Head(main.clone()))),
        );
        check(
            "POST",
            "//v1/tenants/acme/heads/main",
            &Ok(tenant(TenantRoute::Push(main.clone()))),
        );
        check(
            "DELETE",
            "/v1/tenants/acme/heads/main",
            &Ok(tenant(TenantRoute::Delete(main))),
        );
        check(
            "GET",
            "/v1/tenants/acme/heads",
            &Ok(tenant(TenantRoute::Branches)),
        );
        check(
            "POST",
            "/v1/tenants/acme/missing",
            &Ok(tenant(TenantRoute::Missing)),
        );
        check(
            "POST",
            "/v1/tenants/acme/fetch",
            &Ok(tenant(TenantRoute::Fetch)),
        );
        check(
            "POST",
            "/v1/tenants/acme/objects",
            &Ok(tenant(TenantRoute::Objects)),
        );
        check(
            "POST",
            "/v1/tenants/acme/signatures",
            &Ok(tenant(TenantRoute::Signatures)),
        );
        check(
            "GET",
            "/v1/tenants/acme/snapshots",
            &Ok(tenant(TenantRoute::Log)),
        );
        check(
            "GET",
            "/v1/tenants/acme/snapshots/ab12",
            &Ok(tenant(TenantRoute::Resolve("ab12".into()))),
        );
        check("GET", "/v1/admin/tenants", &Ok(Route::ListTenants));
        check("POST", "/v1/admin/gc", &Ok(Route::Gc));
        check("PUT", "/v1/admin/retention", &Ok(Route::SetRetention));
        check("POST", "/v1/admin/tenants", &Ok(Route::CreateTenant));
        check(
            "DELETE",
            "/v1/admin/tokens/x",
            &Ok(Route::RevokeToken("x".into())),
        );
        check("PUT", "/v1/tenants/acme/heads/main", &Err(NoRoute::Method));
        check("GET", "/v1/tenants/acme/missing", &Err(NoRoute::Method));
        check("GET", "/v1/tenants/..%2fx/heads/main", &Err(NoRoute::Name));
        check("GET", "/v1/tenants/acme", &Err(NoRoute::NotFound));
        check("GET", "/", &Err(NoRoute::NotFound));
    }

    #[test]
    fn requests_about_deploys_bundles_and_identities() {
        for (method, path, route) in [
            ("POST", "deploy", TenantRoute::Deploy),
            ("GET", "deploy", TenantRoute::DeployStatus),
            ("GET", "deploys", TenantRoute::Deploys),
            ("GET", "registry-token", TenantRoute::RegistryToken),
        ] {
            let path = format!("/v1/tenants/acme/{path}");
            check(method, &path, &Ok(tenant(route)));
        }
        check("GET", "/v1/admin/deploy", &Ok(Route::Place));
        check("PUT", "/v1/admin/deploy", &Ok(Route::SetPlace));
        check(
            "POST",
            "/v1/tenants/acme/export",
            &Ok(tenant(TenantRoute::Export)),
        );
        check(
            "POST",
            "/v1/tenants/acme/import/plan",
            &Ok(tenant(TenantRoute::PlanImport)),
        );
        check("GET", "/v1/tenants/acme/import", &Err(NoRoute::Method));
        check(
            "GET",
            "/v1/tenants/acme/identity",
            &Ok(tenant(TenantRoute::Identity)),
        );
        check(
            "POST",
            "/v1/tenants/acme/identity",
            &Ok(tenant(TenantRoute::GenerateIdentity)),
        );
        check(
            "POST",
            "/v1/tenants/acme/identity/rotate",
            &Ok(tenant(TenantRoute::RotateIdentity)),
        );
        check(
            "PUT",
            "/v1/tenants/acme/moved",
            &Ok(tenant(TenantRoute::SetMoved)),
        );
    }

    #[test]
    fn query_values() {
        assert_eq!(query(Some("from=ab&limit=3"), "limit"), Some("3"));
        assert_eq!(query(Some("limits=3"), "limit"), None);
        assert_eq!(query(None, "limit"), None);
    }
}
