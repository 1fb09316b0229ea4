//! `remote`: the tenants that the workspace has names for.

use serde_json::json;
use sync_engine::config::{default_branch, default_tenant};
use sync_engine::{Location, RemoteConfig, Workspace};
use sync_store::PublicKey;

use super::Place;
use crate::args::{RemoteAdd, RemoteRemove, RemoteSetUrl, RemoteVerb};
use crate::{Error, Outcome, connect, credentials};

pub(super) async fn run(place: &Place<'_>, verb: RemoteVerb) -> Result<Outcome, Error> {
    match verb {
        RemoteVerb::List(_) => list(place),
        RemoteVerb::Add(asked) => add(place, asked),
        RemoteVerb::Remove(asked) => remove(place, &asked),
        RemoteVerb::SetUrl(asked) => set_url(place, asked).await,
        RemoteVerb::Trust(_) => trust(place).await,
    }
}

fn list(place: &Place<'_>) -> Result<Outcome, Error> {
    let workspace = place.workspace()?;
    let config = workspace.config();
    let default = config.default_remote().ok().map(|(name, _)| name);
    let mut found = Vec::new();
    for (name, remote) in config.remotes() {
        let there = workspace.found(remote)?;
        let moved = Some(&there.url).filter(|url| **url != remote.url);
        // An embedded tenant needs none.
        let token = match there.location(workspace.root())? {
            Location::Embedded(_) => None,
            Location::Address(_) => Some(is_stored(place, &there)? || is_stored(place, remote)?),
        };
        let is_default = default == Some(name);
        place.terminal.line(&format!(
            "{} {name:<12} {}{}  tenant {}  branch {}{}",
            if is_default { "*" } else { " " },
            remote.url,
            moved.map_or_else(String::new, |url| format!(", moved to {url}")),
            remote.tenant,
            remote.branch,
            match token {
                None => "",
                Some(true) => "  token stored",
                Some(false) => "  no token stored",
            }
        ));
        found.push(json!({
            "name": name,
            "url": remote.url,
            "moved_to": moved,
            "tenant": remote.tenant,
            "branch": remote.branch,
            "default": is_default,
            "token": token,
        }));
    }
    if found.is_empty() {
        place
            .terminal
            .line("no remote yet: `sync-cli remote add NAME URL` adds one");
    }
    place
        .terminal
        .value(&json!({"operation": "remote list", "success": true, "remotes": found}));
    Ok(Outcome::Done)
}

fn add(place: &Place<'_>, asked: RemoteAdd) -> Result<Outcome, Error> {
    let workspace = place.workspace()?;
    let remote = RemoteConfig {
        url: asked.url,
        tenant: asked.tenant.unwrap_or_else(default_tenant),
        branch: asked.branch.unwrap_or_else(default_branch),
        ca_file: asked.ca_file,
    };
    workspace.add_remote(&asked.name, &remote)?;
    place.terminal.line(&format!(
        "added remote `{}`: tenant `{}` at {}",
        asked.name, remote.tenant, remote.url
    ));
    let needs_token = matches!(
        remote.location(workspace.root())?,
        Location::Address(_) if !is_stored(place, &remote)?
    );
    if needs_token {
        place.terminal.line(&format!(
            "run `sync-cli login --remote {}`, which stores its token",
            asked.name
        ));
    }
    place.terminal.value(&json!({
        "operation": "remote add",
        "success": true,
        "name": asked.name,
        "url": remote.url,
        "tenant": remote.tenant,
        "branch": remote.branch,
    }));
    Ok(Outcome::Done)
}

fn remove(place: &Place<'_>, asked: &RemoteRemove) -> Result<Outcome, Error> {
    let removed = place.workspace()?.remove_remote(&asked.name)?;
    let kept = is_stored(place, &removed)?;
    place
        .terminal
        .line(&format!("removed remote `{}`", asked.name));
    if kept {
        let path = credentials::path(place.env)?;
        place.terminal.line(&format!(
            "its token is still in {}; `sync-cli token revoke` ends it",
            path.display()
        ));
    }
    place.terminal.value(&json!({
        "operation": "remote remove",
        "success": true,
        "name": asked.name,
        "token_kept": kept,
    }));
    Ok(Outcome::Done)
}

/// Writes another address of the tenant that the workspace works with.
async fn set_url(place: &Place<'_>, asked: RemoteSetUrl) -> Result<Outcome, Error> {
    let workspace = place.workspace()?;
    let (name, from) = (workspace.remote_name()?, workspace.written_remote()?);
    let to = RemoteConfig {
        url: asked.url,
        ..from.clone()
    };
    let known = connect::key_known(&workspace, from).await?;
    let found = connect::introduction(&workspace, name, [from, &to], place.env).await?;
    Workspace::ensure_same(known, &to, &found)?;
    workspace.set_remote_url(&to.url, found.key)?;
    place.terminal.line(&format!(
        "remote `{name}`: tenant `{}` at {}; what was agreed on with it stays",
        to.tenant, to.url
    ));
    place.terminal.value(&json!({
        "operation": "remote set-url",
        "success": true,
        "name": name,
        "url": to.url,
        "tenant": to.tenant,
        "key": found.key,
    }));
    Ok(Outcome::Done)
}

/// Takes whoever answers for the tenant that the workspace works with.
async fn trust(place: &Place<'_>) -> Result<Outcome, Error> {
    let workspace = place.workspace()?;
    let (name, remote) = (workspace.remote_name()?, workspace.remote()?);
    let known = connect::key_known(&workspace, &remote).await?;
    let found = connect::introduction(&workspace, name, [&remote, &remote], place.env).await?;
    let is_known = known.is_some() && Workspace::ensure_same(known, &remote, &found).is_ok();
    if !is_known {
        workspace.trust(&remote, &found)?;
    }
    let said = |key: Option<PublicKey>| {
        key.map_or_else(|| "nobody with a key".to_owned(), |key| key.to_string())
    };
    place.terminal.line(&if is_known {
        format!(
            "remote `{name}` is the tenant that it was: {}",
            said(found.key)
        )
    } else {
        format!(
            "remote `{name}` was {}, and is {} from now on; nothing was agreed on with it yet",
            said(known),
            said(found.key)
        )
    });
    place.terminal.value(&json!({
        "operation": "remote trust",
        "success": true,
        "name": name,
        "known": known,
        "key": found.key,
    }));
    Ok(Outcome::Done)
}

fn is_stored(place: &Place<'_>, remote: &RemoteConfig) -> Result<bool, Error> {
    credentials::is_stored(place.env, &remote.url, remote.tenant.as_str())
}
