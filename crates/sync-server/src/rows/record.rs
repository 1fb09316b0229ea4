//! What the operator says of a tenant's database, kept with the tenant.

use std::path::PathBuf;

use http::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Name;
use sync_db::TableSpec;
use sync_store::Repository;
use sync_transport::Body;

use crate::admin::read_json;
use crate::error::{MalformedSnafu, NoTenantSnafu, StoreSnafu};
use crate::{Error, Server, answer};

/// The note of the tenant that it is kept under.
const NOTE: &str = "database";

/// A tenant's database: where its address is to be found, and which rows travel. One that came with a bundle has no address
/// until the operator names one, and is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseRecord {
    /// The environment variable of the server that holds the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_env: Option<String>,
    /// A file on the server's machine that holds the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// The branch that the database is the working copy of.
    pub branch: Name,
    /// The row sets.
    pub tables: Vec<TableSpec>,
}

/// A record for a tenant; `None` takes its database away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetDatabase {
    tenant: Name,
    database: Option<DatabaseRecord>,
}

/// What is known of a tenant's database; `None` where it has none.
pub(crate) async fn read_record(repository: &Repository) -> Result<Option<DatabaseRecord>, Error> {
    let bytes = repository.note(NOTE).await.context(StoreSnafu)?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let record = serde_json::from_slice(&bytes).ok();
    record.map(Some).context(MalformedSnafu {
        reason: "the record of the tenant's database is of another version of the server",
    })
}

/// Keeps what is known of a tenant's database.
pub(crate) async fn write_record(
    repository: &Repository,
    record: &DatabaseRecord,
) -> Result<(), Error> {
    let note = serde_json::to_vec(record).unwrap_or_default();
    repository
        .set_note(NOTE, Some(note))
        .await
        .context(StoreSnafu)
}

/// Sets or takes away a tenant's database. Nothing is connected yet.
pub(crate) async fn set_record(
    server: &Server,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let asked: SetDatabase = read_json(request).await?;
    if let Some(record) = &asked.database {
        ensure!(
            record.url_env.is_some() != record.url_file.is_some(),
            MalformedSnafu {
                reason: "either `url_env` or `url_file` says where the address of the database is"
            }
        );
        for spec in &record.tables {
            if let Err(reason) = spec.rules() {
                return MalformedSnafu { reason }.fail();
            }
        }
    }
    let repository = tenant(server, &asked.tenant).await?;
    let note = asked
        .database
        .as_ref()
        .map(|record| serde_json::to_vec(record).unwrap_or_default());
    repository.set_note(NOTE, note).await.context(StoreSnafu)?;
    server.metrics().forget(repository.name());
    Ok(answer::json(StatusCode::OK, &asked))
}

/// Shows a tenant's database.
pub(crate) async fn show_record(
    server: &Server,
    query: Option<&str>,
) -> Result<Response<Body>, Error> {
    let tenant_name: Option<Name> =
        crate::route::query(query, "tenant").and_then(|name| name.parse().ok());
    let tenant_name = tenant_name.context(MalformedSnafu {
        reason: "`tenant` is missing",
    })?;
    let repository = tenant(server, &tenant_name).await?;
    let shown = SetDatabase {
        database: read_record(&repository).await?,
        tenant: tenant_name,
    };
    Ok(answer::json(StatusCode::OK, &shown))
}

async fn tenant(server: &Server, name: &Name) -> Result<Repository, Error> {
    let found = server
        .store()
        .tenant(name.as_str())
        .await
        .context(StoreSnafu)?;
    found.context(NoTenantSnafu {
        tenant: name.as_str(),
    })
}
