//! `identity` and `tenant moved`: who a tenant is, and where it lives.

use std::path::Path;

use http::Method;
use serde_json::json;
use snafu::ensure;
use sync_core::Name;
use sync_engine::trust;
use sync_store::PublicKey;
use sync_store::identity::{Introduction, Moved};
use sync_store::protocol::{MoveTo, routes};

use super::Place;
use super::admin::NOTHING;
use crate::args::{IdentityVerb, TenantMoved};
use crate::connect::Purpose;
use crate::error::WhereToSnafu;
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, verb: IdentityVerb) -> Result<Outcome, Error> {
    match verb {
        IdentityVerb::Show(asked) => {
            let (connection, tenant) = place
                .tenant(asked.data.as_deref(), asked.tenant, Purpose::Look)
                .await?;
            let found = trust::ask(connection.remote.client(), &tenant).await;
            connection.close().await;
            let found = found?;
            tell(place, "show", &tenant, &found);
            Ok(Outcome::Done)
        }
        IdentityVerb::Generate(asked) => {
            let (data, named) = (asked.data.as_deref(), asked.tenant);
            change(place, "generate", data, named, routes::identity).await
        }
        IdentityVerb::Rotate(asked) => {
            let (data, named) = (asked.data.as_deref(), asked.tenant);
            change(place, "rotate", data, named, routes::rotate_identity).await
        }
    }
}

async fn change(
    place: &Place<'_>,
    verb: &str,
    data: Option<&Path>,
    named: Option<Name>,
    route: impl Fn(&str) -> String,
) -> Result<Outcome, Error> {
    let (connection, tenant) = place.tenant(data, named, Purpose::Act).await?;
    let path = route(tenant.as_str());
    let made = connection.remote.json(Method::POST, path, NOTHING).await;
    connection.close().await;
    tell(place, verb, &tenant, &made?);
    Ok(Outcome::Done)
}

fn tell(place: &Place<'_>, verb: &str, tenant: &Name, found: &Introduction) {
    let terminal = &place.terminal;
    terminal.line(&match found.key {
        Some(key) => format!("tenant `{tenant}` is {key}"),
        None => format!("tenant `{tenant}` has no key: `sync-cli identity generate` makes one"),
    });
    let earlier: Vec<PublicKey> = found.successions.iter().map(|link| link.from).collect();
    for key in &earlier {
        terminal.line(&format!("  and was {key}"));
    }
    terminal.value(&json!({
        "operation": format!("identity {verb}"),
        "success": true,
        "tenant": tenant,
        "key": found.key,
        "earlier": earlier,
    }));
}

pub(super) async fn moved(place: &Place<'_>, asked: TenantMoved) -> Result<Outcome, Error> {
    ensure!(asked.to.is_some() != asked.back, WhereToSnafu);
    let data = asked.data.as_deref();
    let (connection, tenant) = place.tenant(data, asked.tenant, Purpose::Act).await?;
    let body = MoveTo { url: asked.to };
    let path = routes::moved(tenant.as_str());
    let said = connection.remote.json(Method::PUT, path, Some(&body)).await;
    connection.close().await;
    let said: Option<Moved> = said?;
    let url = said.map(|moved| moved.statement.url);
    place.terminal.line(&match &url {
        Some(url) => format!("tenant `{tenant}` lives at {url} from now on, and says so"),
        None => format!("tenant `{tenant}` lives here"),
    });
    place.terminal.value(&json!({
        "operation": "tenant moved",
        "success": true,
        "tenant": tenant,
        "url": url,
    }));
    Ok(Outcome::Done)
}
