//! Tenants and tokens.

use http::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Name;
use sync_store::TokenRecord;
use sync_store::protocol::{IssuedToken, NewTenant, NewToken, Scope, TenantInfo, TokenInfo};
use sync_transport::Body;

use crate::auth::{self, Caller};
use crate::error::{
    BodySnafu, ForbiddenSnafu, MalformedSnafu, NoTenantSnafu, NoTokenSnafu, RandomSnafu, StoreSnafu,
};
use crate::{Error, Server, answer, route};

/// The most bytes of a JSON request.
const MAX_JSON: usize = 64 * 1024;

pub(crate) async fn list_tenants(server: &Server) -> Result<Response<Body>, Error> {
    let tenants = server.store().tenants().await.context(StoreSnafu)?;
    let infos: Vec<TenantInfo> = tenants
        .into_iter()
        .map(|name| TenantInfo { name })
        .collect();
    Ok(answer::json(StatusCode::OK, &infos))
}

pub(crate) async fn create_tenant(
    server: &Server,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let asked: NewTenant = read_json(request).await?;
    let name = parse_name(&asked.name)?;
    server
        .store()
        .create_tenant(name.as_str())
        .await
        .context(StoreSnafu)?;
    Ok(answer::json(
        StatusCode::CREATED,
        &TenantInfo { name: asked.name },
    ))
}

pub(crate) async fn list_tokens(
    server: &Server,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Response<Body>, Error> {
    let tenant = match (route::query(query, "tenant"), caller) {
        (Some(name), _) => parse_name(name)?,
        (None, Caller::Token { tenant, .. }) => tenant.clone(),
        (None, Caller::Operator) => {
            return MalformedSnafu {
                reason: "`tenant` is missing",
            }
            .fail();
        }
    };
    require_admin(caller, &tenant)?;
    let tokens = server
        .store()
        .tokens(tenant.as_str())
        .await
        .context(StoreSnafu)?;
    let infos: Vec<TokenInfo> = tokens.into_iter().map(TokenInfo::from).collect();
    Ok(answer::json(StatusCode::OK, &infos))
}

pub(crate) async fn issue_token(
    server: &Server,
    caller: &Caller,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let asked: NewToken = read_json(request).await?;
    let tenant = parse_name(&asked.tenant)?;
    require_admin(caller, &tenant)?;
    let exists = server
        .store()
        .tenant(tenant.as_str())
        .await
        .context(StoreSnafu)?
        .is_some();
    ensure!(
        exists,
        NoTenantSnafu {
            tenant: tenant.as_str()
        }
    );
    let created = server.now();
    let secret = auth::new_secret().context(RandomSnafu)?;
    let record = TokenRecord {
        id: secret.id.clone(),
        secret_hash: secret.hash,
        tenant: asked.tenant,
        scope: asked.scope,
        label: asked.label,
        created,
        expires: asked
            .expires_in_seconds
            .map(|seconds| created.saturating_add(seconds.saturating_mul(1000))),
        revoked: None,
    };
    server.store().put_token(record).await.context(StoreSnafu)?;
    Ok(answer::json(
        StatusCode::CREATED,
        &IssuedToken {
            id: secret.id,
            token: secret.text,
        },
    ))
}

pub(crate) async fn revoke_token(
    server: &Server,
    caller: &Caller,
    id: &str,
) -> Result<Response<Body>, Error> {
    // Whoever manages no tokens is told so, whatever the id; whoever does, nothing of other tenants' tokens.
    if let Caller::Token { tenant, .. } = caller {
        require_admin(caller, tenant)?;
    }
    let record = server.store().token(id).await.context(StoreSnafu)?;
    let own = record
        .and_then(|record| record.tenant.parse().ok())
        .filter(|tenant| auth::allows(caller, tenant, Scope::Admin));
    ensure!(own.is_some(), NoTokenSnafu { id });
    server
        .store()
        .revoke_token(id, server.now())
        .await
        .context(StoreSnafu)?;
    let record = server
        .store()
        .token(id)
        .await
        .context(StoreSnafu)?
        .context(NoTokenSnafu { id })?;
    Ok(answer::json(StatusCode::OK, &TokenInfo::from(record)))
}

fn require_admin(caller: &Caller, tenant: &Name) -> Result<(), Error> {
    let scope = Scope::Admin;
    ensure!(
        auth::allows(caller, tenant, scope),
        ForbiddenSnafu {
            scope,
            tenant: tenant.as_str()
        }
    );
    Ok(())
}

pub(crate) fn parse_name(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error| {
        MalformedSnafu {
            reason: format!("`{}`: {error}", text.escape_debug()),
        }
        .build()
    })
}

/// Reads a small JSON body.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Error> {
    let bytes = request
        .into_body()
        .read_to_end(MAX_JSON)
        .await
        .context(BodySnafu)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        MalformedSnafu {
            reason: error.to_string(),
        }
        .build()
    })
}
