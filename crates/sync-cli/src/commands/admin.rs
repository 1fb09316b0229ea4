//! `tenant` and `token`: what the operator manages.

use http::Method;
use serde_json::json;
use snafu::ensure;
use sync_store::protocol::{IssuedToken, NewTenant, NewToken, TenantInfo, TokenInfo, routes};

use super::Place;
use crate::args::{TenantCreate, TenantDatabase, TenantList, TokenCreate, TokenList, TokenRevoke};
use crate::connect::{Connection, Purpose};
use crate::error::{NoDataSnafu, NotATokenSnafu, WhichDatabaseSnafu};
use crate::terminal::moment;
use crate::{Error, Outcome};

/// No body.
pub(super) const NOTHING: Option<&()> = None;

pub(super) async fn create_tenant(
    place: &Place<'_>,
    create: &TenantCreate,
) -> Result<Outcome, Error> {
    let connection = Connection::operator(&create.data, place.env).await?;
    let asked = NewTenant {
        name: create.name.to_string(),
    };
    let made: Result<TenantInfo, _> = connection
        .remote
        .json(Method::POST, routes::ADMIN_TENANTS.to_owned(), Some(&asked))
        .await;
    connection.close().await;
    let made = made?;
    place
        .terminal
        .line(&format!("created tenant `{}`", made.name));
    place
        .terminal
        .value(&json!({"operation": "tenant create", "success": true, "tenant": made}));
    Ok(Outcome::Done)
}

pub(super) async fn list_tenants(place: &Place<'_>, list: &TenantList) -> Result<Outcome, Error> {
    ensure!(list.data.is_dir(), NoDataSnafu { path: &list.data });
    let connection = Connection::operator(&list.data, place.env).await?;
    let found: Result<Vec<TenantInfo>, _> = connection
        .remote
        .json(Method::GET, routes::ADMIN_TENANTS.to_owned(), NOTHING)
        .await;
    connection.close().await;
    let found = found?;
    if found.is_empty() {
        place
            .terminal
            .line("no tenant yet: `sync-cli tenant create NAME --data DIR` makes one");
    }
    for tenant in &found {
        place.terminal.line(&tenant.name);
    }
    place
        .terminal
        .value(&json!({"operation": "tenant list", "success": true, "tenants": found}));
    Ok(Outcome::Done)
}

pub(super) async fn tenant_database(
    place: &Place<'_>,
    asked: TenantDatabase,
) -> Result<Outcome, Error> {
    ensure!(asked.data.is_dir(), NoDataSnafu { path: &asked.data });
    let given = usize::from(asked.url_env.is_some())
        + usize::from(asked.url_file.is_some())
        + usize::from(asked.none);
    ensure!(given <= 1, WhichDatabaseSnafu);
    let connection = Connection::operator(&asked.data, place.env).await?;
    let route = format!("{}?tenant={}", routes::ADMIN_DATABASE, asked.name);
    let known = connection.remote.json(Method::GET, route, NOTHING).await;
    let shown = if given == 0 || known.is_err() {
        known
    } else {
        let database = if asked.none {
            None
        } else {
            let known: serde_json::Value = known?;
            let (tables, branch) = database_settings(&asked, &known["database"])?;
            Some(json!({
                "url_env": asked.url_env,
                "url_file": asked.url_file,
                "branch": branch,
                "tables": tables,
            }))
        };
        let body = json!({"tenant": asked.name.as_str(), "database": database});
        let route = routes::ADMIN_DATABASE.to_owned();
        connection
            .remote
            .json(Method::PUT, route, Some(&body))
            .await
    };
    connection.close().await;
    let shown: serde_json::Value = shown?;
    place.terminal.value(
        &json!({"operation": "tenant database", "success": true, "database": shown["database"]}),
    );
    let place_of = shown["database"]["url_env"]
        .as_str()
        .map(|name| format!("in the environment variable {name}"));
    let place_of = place_of.or_else(|| {
        let file = shown["database"]["url_file"].as_str();
        file.map(|file| format!("in {file}"))
    });
    place.terminal.line(&match place_of {
        Some(found) => format!("the database of `{}` is found {found}", asked.name),
        None => format!(
            "`{}` has no database: its rows are history alone",
            asked.name
        ),
    });
    Ok(Outcome::Done)
}

/// Which rows travel, and which branch has them: as asked, else as settings say that came with a bundle and have no address yet.
fn database_settings(
    asked: &TenantDatabase,
    known: &serde_json::Value,
) -> Result<(serde_json::Value, serde_json::Value), Error> {
    let waits = known.is_object() && known["url_env"].is_null() && known["url_file"].is_null();
    let tables = match &asked.tables {
        Some(file) => json!(sync_engine::Config::read(file)?.database.tables()),
        None if waits => known["tables"].clone(),
        None => json!(sync_engine::rows::default_tables()),
    };
    let branch = match &asked.branch {
        Some(branch) => json!(branch),
        None if waits => known["branch"].clone(),
        None => json!("main"),
    };
    Ok((tables, branch))
}

pub(super) async fn create_token(place: &Place<'_>, create: TokenCreate) -> Result<Outcome, Error> {
    let connection = connection(place, create.data.as_deref()).await?;
    let asked = NewToken {
        tenant: create.tenant.to_string(),
        scope: create.scope,
        expires_in_seconds: create.expires.map(|lifetime| lifetime.0.as_secs()),
        label: create.label,
    };
    let issued: Result<IssuedToken, _> = connection
        .remote
        .json(Method::POST, routes::ADMIN_TOKENS.to_owned(), Some(&asked))
        .await;
    connection.close().await;
    let issued = issued?;
    place.terminal.line(&format!(
        "token {} for tenant `{}`, scope {}; it is shown this once:",
        issued.id, asked.tenant, asked.scope
    ));
    place.terminal.line(&issued.token);
    place.terminal.value(&json!({
        "operation": "token create",
        "success": true,
        "id": issued.id,
        "token": issued.token,
        "tenant": asked.tenant,
        "scope": asked.scope,
    }));
    Ok(Outcome::Done)
}

pub(super) async fn list_tokens(place: &Place<'_>, list: &TokenList) -> Result<Outcome, Error> {
    let connection = connection(place, list.data.as_deref()).await?;
    let route = format!("{}?tenant={}", routes::ADMIN_TOKENS, list.tenant);
    let found: Result<Vec<TokenInfo>, _> =
        connection.remote.json(Method::GET, route, NOTHING).await;
    connection.close().await;
    let found = found?;
    if found.is_empty() {
        place
            .terminal
            .line("no token yet: `sync-cli token create` issues one");
    }
    for token in &found {
        let state = match (token.revoked, token.expires) {
            (Some(revoked), _) => format!("revoked {}", moment(revoked)),
            (None, Some(expires)) if expires <= crate::env::Env::now() => {
                format!("expired {}", moment(expires))
            }
            (None, Some(expires)) => format!("until {}", moment(expires)),
            (None, None) => "for ever".to_owned(),
        };
        let label = token
            .label
            .as_deref()
            .map(crate::terminal::one_line)
            .unwrap_or_default();
        place
            .terminal
            .line(format!("{}  {:<6}  {state}  {label}", token.id, token.scope).trim_end());
    }
    place
        .terminal
        .value(&json!({"operation": "token list", "success": true, "tokens": found}));
    Ok(Outcome::Done)
}

pub(super) async fn revoke_token(
    place: &Place<'_>,
    revoke: &TokenRevoke,
) -> Result<Outcome, Error> {
    // Whoever gives the whole token means its id; the secret must not travel in a URL.
    let whole = revoke
        .id
        .strip_prefix("sync_")
        .and_then(|token| token.split_once('_'));
    let id = whole.map_or(revoke.id.as_str(), |(id, _)| id);
    ensure!(
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()),
        NotATokenSnafu
    );
    let connection = connection(place, revoke.data.as_deref()).await?;
    let revoked: Result<TokenInfo, _> = connection
        .remote
        .json(Method::DELETE, routes::admin_token(id), NOTHING)
        .await;
    connection.close().await;
    let revoked = revoked?;
    place
        .terminal
        .line(&format!("revoked token {}", revoked.id));
    place
        .terminal
        .value(&json!({"operation": "token revoke", "success": true, "token": revoked}));
    Ok(Outcome::Done)
}

/// To the data directory that was named, else to the workspace's own remote (with an `admin` token).
async fn connection(
    place: &Place<'_>,
    data: Option<&std::path::Path>,
) -> Result<Connection, Error> {
    match data {
        Some(data) => {
            ensure!(data.is_dir(), NoDataSnafu { path: data });
            Connection::operator(data, place.env).await
        }
        None => Connection::open(&place.workspace()?, place.env, Purpose::Act).await,
    }
}
