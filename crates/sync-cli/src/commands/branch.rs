//! `branch`: the branches of the tenant.

use serde_json::json;
use snafu::OptionExt;

use super::Place;
use crate::args::{BranchCreate, BranchDelete, BranchVerb};
use crate::connect::{Connection, Purpose};
use crate::error::NothingYetSnafu;
use crate::terminal::{Paint, moment, one_line};
use crate::{Error, Outcome};

pub(super) async fn run(place: &Place<'_>, verb: &BranchVerb) -> Result<Outcome, Error> {
    let purpose = match verb {
        BranchVerb::List(_) => Purpose::Look,
        BranchVerb::Create(_) | BranchVerb::Delete(_) => Purpose::Act,
    };
    let connection = Connection::open(&place.workspace()?, place.env, purpose).await?;
    let done = match verb {
        BranchVerb::List(_) => list(place, &connection).await,
        BranchVerb::Create(asked) => create(place, &connection, asked).await,
        BranchVerb::Delete(asked) => delete(place, &connection, asked).await,
    };
    connection.close().await;
    done.map(|()| Outcome::Done)
}

async fn list(place: &Place<'_>, connection: &Connection) -> Result<(), Error> {
    let followed = connection.remote.branch();
    let found = connection.remote.branches().await?;
    if found.is_empty() {
        place
            .terminal
            .line("no branch yet: `sync-cli push` begins the first");
    }
    for there in &found {
        place.terminal.line(&format!(
            "{} {:<12} {}  {}  {}",
            if there.branch == *followed { "*" } else { " " },
            there.branch,
            place.terminal.paint(Paint::Yellow, &there.head.short()),
            moment(there.snapshot.time),
            one_line(&there.snapshot.message)
        ));
    }
    let branches = found.iter().map(|there| {
        json!({
            "branch": there.branch,
            "head": there.head,
            "snapshot": there.snapshot,
            "followed": there.branch == *followed,
        })
    });
    place.terminal.value(&json!({
        "operation": "branch list",
        "success": true,
        "branches": branches.collect::<Vec<_>>(),
    }));
    Ok(())
}

async fn create(
    place: &Place<'_>,
    connection: &Connection,
    asked: &BranchCreate,
) -> Result<(), Error> {
    let remote = &connection.remote;
    let at = if let Some(prefix) = &asked.snapshot {
        remote.resolve(prefix).await?.id
    } else {
        let head = remote.head(None).await?.and_then(|head| head.head);
        head.context(NothingYetSnafu)?
    };
    remote.create_branch(&asked.name, at).await?;
    place.terminal.line(&format!(
        "branch `{}` begins at {}",
        asked.name,
        place.terminal.paint(Paint::Yellow, &at.short())
    ));
    place.terminal.value(&json!({
        "operation": "branch create",
        "success": true,
        "branch": asked.name,
        "head": at,
    }));
    Ok(())
}

async fn delete(
    place: &Place<'_>,
    connection: &Connection,
    asked: &BranchDelete,
) -> Result<(), Error> {
    let was = connection.remote.remove_branch(&asked.name).await?;
    place.terminal.line(&format!(
        "deleted branch `{}`, which was at {}; `sync-cli branch create {} {}` brings it back until the next collection",
        asked.name,
        place.terminal.paint(Paint::Yellow, &was.short()),
        asked.name,
        was.short()
    ));
    place.terminal.value(&json!({
        "operation": "branch delete",
        "success": true,
        "branch": asked.name,
        "head": was,
    }));
    Ok(())
}
