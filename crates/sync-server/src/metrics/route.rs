//! The names of routes: what a request is counted under, whatever its path.

use crate::route::{NoRoute, Route, TenantRoute, query};

/// What a request is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteName {
    Health,
    Metrics,
    Head,
    /// A request for a head that is answered when it moves.
    Wait,
    Push,
    /// The branches of a tenant, and the end of one.
    Branches,
    Missing,
    Fetch,
    Objects,
    Signatures,
    Log,
    Snapshot,
    Verify,
    Repair,
    Deploy,
    Export,
    /// A bundle that comes, and what it would change.
    Import,
    /// Who a tenant is, and where it lives.
    Identity,
    Admin,
    Legacy,
    /// No request that the server knows.
    Unknown,
}

/// How many there are.
pub(super) const COUNT: usize = RouteName::ALL.len();

impl RouteName {
    /// Each, in the order of their numbers.
    pub(super) const ALL: [Self; 21] = [
        Self::Health,
        Self::Metrics,
        Self::Head,
        Self::Wait,
        Self::Push,
        Self::Branches,
        Self::Missing,
        Self::Fetch,
        Self::Objects,
        Self::Signatures,
        Self::Log,
        Self::Snapshot,
        Self::Verify,
        Self::Repair,
        Self::Deploy,
        Self::Export,
        Self::Import,
        Self::Identity,
        Self::Admin,
        Self::Legacy,
        Self::Unknown,
    ];

    /// The name of a route, with the query of the request.
    pub(crate) fn of(route: &Result<Route, NoRoute>, parameters: Option<&str>) -> Self {
        let route = match route {
            Ok(Route::Tenant(_, route)) => route,
            Ok(Route::Healthz | Route::Readyz) => return Self::Health,
            Ok(Route::Metrics) => return Self::Metrics,
            Ok(_) => return Self::Admin,
            Err(_) => return Self::Unknown,
        };
        match route {
            TenantRoute::Head(_) if query(parameters, "wait").is_some() => Self::Wait,
            TenantRoute::Head(_) => Self::Head,
            TenantRoute::Push(_) => Self::Push,
            TenantRoute::Branches | TenantRoute::Delete(_) => Self::Branches,
            TenantRoute::Missing => Self::Missing,
            TenantRoute::Fetch => Self::Fetch,
            TenantRoute::Objects => Self::Objects,
            TenantRoute::Signatures => Self::Signatures,
            TenantRoute::Log => Self::Log,
            TenantRoute::Resolve(_) => Self::Snapshot,
            TenantRoute::Verify => Self::Verify,
            TenantRoute::Repair => Self::Repair,
            TenantRoute::Deploy
            | TenantRoute::DeployStatus
            | TenantRoute::Deploys
            | TenantRoute::RegistryToken => Self::Deploy,
            TenantRoute::Export => Self::Export,
            TenantRoute::Import | TenantRoute::PlanImport => Self::Import,
            TenantRoute::Identity
            | TenantRoute::GenerateIdentity
            | TenantRoute::RotateIdentity
            | TenantRoute::SetMoved => Self::Identity,
        }
    }

    /// The value of the label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Head => "head",
            Self::Wait => "wait",
            Self::Push => "push",
            Self::Branches => "branches",
            Self::Missing => "missing",
            Self::Fetch => "fetch",
            Self::Objects => "objects",
            Self::Signatures => "signatures",
            Self::Log => "log",
            Self::Snapshot => "snapshot",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Deploy => "deploy",
            Self::Export => "export",
            Self::Import => "import",
            Self::Identity => "identity",
            Self::Admin => "admin",
            Self::Legacy => "legacy",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::route::route;

    #[test]
    fn each_has_its_number_and_its_name() {
        for (number, name) in RouteName::ALL.into_iter().enumerate() {
            assert_eq!(name as usize, number);
            let same = RouteName::ALL
                .iter()
                .filter(|other| other.as_str() == name.as_str());
            assert_eq!(same.count(), 1);
        }
    }

    #[test]
    fn no_path_becomes_a_name() {
        #[track_caller]
        fn check(path: &str, parameters: Option<&str>, expected: RouteName) {
            assert_eq!(
                RouteName::of(&route(&Method::GET, path), parameters),
                expected,
                "{path}"
            );
        }
        check("/v1/tenants/acme/heads/main", None, RouteName::Head);
        check(
            "/v1/tenants/acme/heads/main",
            Some("wait=9"),
            RouteName::Wait,
        );
        check("/v1/tenants/acme/snapshots/7f3a", None, RouteName::Snapshot);
        check("/v1/admin/tenants", None, RouteName::Admin);
        check("/metrics", None, RouteName::Metrics);
        check("/secret/path", None, RouteName::Unknown);
        check("/v1/tenants/%2e%2e/heads/main", None, RouteName::Unknown);
    }
}
