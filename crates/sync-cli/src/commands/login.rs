//! `login`: stores a token.

use std::io::Read;

use serde_json::json;
use snafu::{ResultExt, ensure};
use sync_engine::{Location, Remote};

use super::Place;
use crate::error::{NoLoginSnafu, NotATokenSnafu, ReadTokenSnafu};
use crate::{Error, Outcome, credentials};

/// More bytes than any token has.
const MAX_TOKEN: u64 = 4096;

pub(super) async fn run(place: &Place<'_>) -> Result<Outcome, Error> {
    let workspace = place.workspace()?;
    let config = workspace.remote()?;
    let Location::Address(url) = config.location(workspace.root())? else {
        return NoLoginSnafu.fail();
    };
    let token = read(place).context(ReadTokenSnafu)?;
    let token = token.trim();
    let plain = token
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ensure!(token.starts_with("sync_") && plain, NotATokenSnafu);
    // It is tried before it is kept: a token that does not work is not worth keeping.
    let ca_file = config
        .ca_file
        .as_ref()
        .map(|file| workspace.root().join(file));
    let client = sync_engine::dial::client(&url, ca_file.as_deref(), token)?;
    Remote::new(client, config.tenant.clone(), config.branch.clone())
        .head(None)
        .await?;
    let path = credentials::store(place.env, &config.url, config.tenant.as_str(), token)?;
    place.terminal.line(&format!(
        "logged in to tenant `{}` at {url}; kept in {}",
        config.tenant,
        path.display()
    ));
    place.terminal.value(
        &json!({"operation": "login", "success": true, "tenant": config.tenant, "url": url}),
    );
    Ok(Outcome::Done)
}

/// Reads a token: without echo from a terminal, else from stdin.
fn read(place: &Place<'_>) -> std::io::Result<String> {
    if place.env.stdin_terminal {
        return rpassword::prompt_password("token: ");
    }
    let mut text = String::new();
    std::io::stdin().take(MAX_TOKEN).read_to_string(&mut text)?;
    Ok(text)
}
