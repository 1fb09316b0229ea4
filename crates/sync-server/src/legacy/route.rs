//! A method and a path as one of the requests that legacy clients make.

use http::Method;
use sync_core::Name;

use super::database::Layout;
use crate::route::NoRoute;

/// A request that the legacy API knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LegacyRoute {
    /// An API token for an access token.
    Exchange,
    /// About the tenant that the path names.
    Tenant(Name, TenantRequest),
    /// About the tenant of the token.
    Direct(TenantRequest),
}

/// A request about one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenantRequest {
    /// A tarball comes.
    Push,
    /// A tarball goes.
    Pull,
    /// What a pull would bring.
    Manifest,
    /// Rows come.
    Import(Layout),
    /// Rows go.
    Export(Layout),
    /// What the tenant is.
    Describe,
    /// Where its database is.
    Database,
    /// How its program is.
    Status,
    /// Who may push images.
    RegistryToken,
    /// An image is to run.
    Deploy,
}

/// Finds the route of a path below `/api/v1`; empty segments are skipped, because clients join base and path by concatenation.
pub(super) fn route(method: &Method, path: &str) -> Result<LegacyRoute, NoRoute> {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .skip(2)
        .collect();
    match *segments.as_slice() {
        ["core", "oauth", "token"] => is(method, &Method::POST, LegacyRoute::Exchange),
        ["cloud", "tenants", tenant, ref rest @ ..] | ["tenants", tenant, ref rest @ ..] => {
            let tenant = tenant.parse().map_err(|_| NoRoute::Name)?;
            let request = relay(method, rest)?;
            Ok(LegacyRoute::Tenant(tenant, request))
        }
        ["sync", "files"] if method == Method::POST => Ok(LegacyRoute::Direct(TenantRequest::Push)),
        ["sync", "files"] => is(
            method,
            &Method::GET,
            LegacyRoute::Direct(TenantRequest::Pull),
        ),
        ["sync", "files", "manifest"] => is(
            method,
            &Method::GET,
            LegacyRoute::Direct(TenantRequest::Manifest),
        ),
        ["sync", "database", "export"] => is(
            method,
            &Method::GET,
            LegacyRoute::Direct(TenantRequest::Export(Layout::Server)),
        ),
        ["sync", "database", "import"] => is(
            method,
            &Method::POST,
            LegacyRoute::Direct(TenantRequest::Import(Layout::Server)),
        ),
        _ => Err(NoRoute::NotFound),
    }
}

fn relay(method: &Method, segments: &[&str]) -> Result<TenantRequest, NoRoute> {
    let get = |request| is(method, &Method::GET, request);
    match *segments {
        [] => get(TenantRequest::Describe),
        ["files"] if method == Method::POST => Ok(TenantRequest::Push),
        ["files"] => get(TenantRequest::Pull),
        ["database"] => get(TenantRequest::Database),
        ["status"] => get(TenantRequest::Status),
        ["database", "export"] => get(TenantRequest::Export(Layout::Cloud)),
        ["database", "import"] => {
            let import = TenantRequest::Import(Layout::Cloud);
            is(method, &Method::POST, import)
        }
        ["registry-token"] => get(TenantRequest::RegistryToken),
        ["deploy"] => is(method, &Method::POST, TenantRequest::Deploy),
        _ => Err(NoRoute::NotFound),
    }
}

fn is<T>(method: &Method, wanted: &Method, route: T) -> Result<T, NoRoute> {
    if method == wanted {
        Ok(route)
    } else {
        Err(NoRoute::Method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expected: &Result<LegacyRoute, NoRoute>) {
        let found = route(&method.parse().unwrap(), path);
        assert_eq!(&found, expected, "{method} {path}");
    }

    #[test]
    fn every_request_has_one_route() {
        use TenantRequest::{
            Database, Deploy, Describe, Export, Import, Manifest, Pull, Push, RegistryToken, Status,
        };
        for base in ["/api/v1/cloud/tenants/acme", "//api/v1/tenants/acme"] {
            for (method, path, request) in [
                ("POST", "/files", Push),
                ("GET", "/files", Pull),
                ("GET", "/database", Database),
                ("GET", "/database/export", Export(Layout::Cloud)),
                ("POST", "/database/import", Import(Layout::Cloud)),
                ("GET", "", Describe),
                ("GET", "/status", Status),
                ("GET", "/registry-token", RegistryToken),
                ("POST", "/deploy", Deploy),
            ] {
                let route = LegacyRoute::Tenant("acme".parse().unwrap(), request);
                check(method, &format!("{base}{path}"), &Ok(route));
            }
            check("PUT", &format!("{base}/files"), &Err(NoRoute::Method));
            check("GET", &format!("{base}/other"), &Err(NoRoute::NotFound));
        }
        let direct = |request| Ok(LegacyRoute::Direct(request));
        check("GET", "/api/v1/sync/files", &direct(Pull));
        check("POST", "/api/v1//sync/files", &direct(Push));
        check("GET", "/api/v1/sync/files/manifest", &direct(Manifest));
        let database = "/api/v1/sync/database";
        let export = format!("{database}/export");
        check("GET", &export, &direct(Export(Layout::Server)));
        check("POST", &export, &Err(NoRoute::Method));
        let import = format!("{database}/import");
        check("POST", &import, &direct(Import(Layout::Server)));
        check(
            "POST",
            "/api/v1/core/oauth/token",
            &Ok(LegacyRoute::Exchange),
        );
        check("GET", "/api/v1/core/oauth/token", &Err(NoRoute::Method));
        check("GET", "/api/v1/tenants/..%2f/files", &Err(NoRoute::Name));
        check("GET", "/api/v1", &Err(NoRoute::NotFound));
    }
}
