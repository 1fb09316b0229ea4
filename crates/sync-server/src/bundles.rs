//! Bundles: all of a tenant in one archive, and a tenant made equal to one (ADR 0018).
//!
//! Who is trusted is the caller's to say, with each import; this checks that it is so. The signature is checked here again.

use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_bundle::{AskExport, Beside, Export, Imported, Incoming, Opening, Reason, Taken};
use sync_core::Name;
use sync_db::TableSpec;
use sync_store::identity::Succession;
use sync_store::protocol::{BUNDLE_MEDIA_TYPE, SetAsideRow};
use sync_store::{Advance, PublicKey, Received, Repository};
use sync_transport::Body;

use crate::admin::read_json;
use crate::auth::Caller;
use crate::error::{MalformedSnafu, StoreSnafu};
use crate::route::query;
use crate::rows::{self, DatabaseRecord};
use crate::{Error, Server, answer};

/// What a tenant is set to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseSettings>,
}

/// What is said of a tenant's database but where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseSettings {
    branch: Name,
    tables: Vec<TableSpec>,
}

/// Sends the tenant. Nothing of it changes, its database is not looked at.
pub(crate) async fn export(
    server: &Server,
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let ask: AskExport = read_json(request).await?;
    let record = rows::read_record(repository).await?;
    let database = record.map(|record| DatabaseSettings {
        branch: record.branch,
        tables: record.tables,
    });
    let settings = serde_json::to_value(TenantSettings { database });
    let tokens = server.store().tokens(repository.name()).await;
    let tokens = tokens.context(StoreSnafu)?;
    let beside = Beside {
        settings: settings.unwrap_or_default(),
        tokens: tokens.into_iter().map(Into::into).collect(),
    };
    let export = Export::plan(repository, ask, beside).await?;
    Ok(answer::with_type(
        StatusCode::OK,
        HeaderValue::from_static(BUNDLE_MEDIA_TYPE),
        Body::stream(export.stream()),
    ))
}

/// Says what a bundle would change, of which only the beginning is sent.
pub(crate) async fn plan(
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let trust = Trust::parse(query(request.uri().query(), "trust"))?;
    let incoming = Incoming::open(request.into_body().into_stream()).await?;
    trust.check(repository, incoming.opening()).await?;
    let plan = sync_bundle::plan(repository, &incoming.opening().manifest).await?;
    Ok(answer::json(StatusCode::OK, &plan))
}

/// Makes the tenant what the bundle says, all of it or nothing.
///
/// A tenant that has a database gets the rows of the branch that it serves as by a push, before other branches move.
pub(crate) async fn import(
    server: &Server,
    caller: &Caller,
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let parameters = request.uri().query().map(ToOwned::to_owned);
    let trust = Trust::parse(query(parameters.as_deref(), "trust"))?;
    let force = query(parameters.as_deref(), "force") == Some("true");
    let incoming = Incoming::open(request.into_body().into_stream()).await?;
    trust.check(repository, incoming.opening()).await?;
    let manifest = incoming.opening().manifest.clone();
    if let Some(database) = server.database(repository).await? {
        // What it holds and no snapshot has yet is content, too.
        let _turn = database.turn().await;
        Box::pin(rows::bring_together(server, repository, &database)).await?;
    }
    let plan = sync_bundle::plan(repository, &manifest).await?;
    plan.check(force)?;
    let mut taken = incoming.take_into(repository).await?;
    let moves = taken.moves(&plan, server.now());
    let set_aside = move_heads(server, repository, &taken, moves).await?;
    taken.keep(repository, &plan).await?;
    settle(caller, repository, &mut taken).await?;
    let tokens = taken.tokens.len() as u64;
    taken.summary.skip(Reason::TokenWithoutHash, tokens);
    let done = Imported {
        branches: plan.branches,
        set_aside,
        summary: taken.summary,
    };
    Ok(answer::json(StatusCode::OK, &done))
}

/// Moves the heads: the one of the branch that the tenant's database serves by a push, the others at once. Gives the rows that
/// the database could not store.
async fn move_heads(
    server: &Server,
    repository: &Repository,
    taken: &Taken,
    moves: Vec<Advance>,
) -> Result<Vec<SetAsideRow>, Error> {
    let database = server.database(repository).await?;
    let branch = database.as_ref().map(|database| database.branch());
    let is_push =
        |to: &Advance| branch == Some(to.branch.as_str()) && to.expected != Some(to.target);
    let (pushes, others): (Vec<_>, Vec<_>) = moves.into_iter().partition(is_push);
    let mut set_aside = Vec::new();
    for push in pushes {
        taken.prepare(repository).await?;
        let landed = rows::accept(server, repository, Received::nothing(), push).await?;
        set_aside.extend(landed.set_aside);
    }
    taken.advance(repository, others).await?;
    server.waiters().moved(repository.name());
    Ok(set_aside)
}

/// Takes the settings over where the tenant has none, and counts them in.
async fn settle(caller: &Caller, repository: &Repository, taken: &mut Taken) -> Result<(), Error> {
    let settings = serde_json::from_value::<TenantSettings>(taken.settings.clone());
    let settings = settings.map_err(|error| {
        let member = sync_bundle::manifest::TENANT.to_owned();
        let reason = error.to_string();
        sync_bundle::Error::Malformed { member, reason }
    })?;
    let summary = &mut taken.summary;
    let Some(settings) = settings.database else {
        summary.count(1, 0);
        return Ok(());
    };
    let DatabaseSettings { branch, tables } = settings;
    match rows::read_record(repository).await? {
        Some(known) if known.branch == branch && known.tables == tables => summary.count(1, 0),
        Some(_) => summary.skip(Reason::SettingsKept, 1),
        None if *caller != Caller::Operator => summary.skip(Reason::SettingsNeedOperator, 1),
        None => {
            let record = DatabaseRecord {
                url_env: None,
                url_file: None,
                branch,
                tables,
            };
            rows::write_record(repository, &record).await?;
            summary.count(1, 1);
        }
    }
    Ok(())
}

/// Whose bundle is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The tenant's own.
    Own,
    /// That of a key, and of those that it vouches for.
    Key(PublicKey),
    /// Anybody's, also nobody's.
    Anybody,
}

impl Trust {
    fn parse(text: Option<&str>) -> Result<Self, Error> {
        match text {
            None => Ok(Self::Own),
            Some("anybody") => Ok(Self::Anybody),
            Some(key) => key.parse().map(Self::Key).map_err(|error| {
                MalformedSnafu {
                    reason: format!("`trust` is neither `anybody` nor a key: {error}"),
                }
                .build()
            }),
        }
    }

    async fn check(self, repository: &Repository, opening: &Opening) -> Result<(), Error> {
        if self == Self::Anybody {
            return Ok(());
        }
        let Some(signer) = &opening.signer else {
            return Err(sync_bundle::Error::Unsigned.into());
        };
        let known = match self {
            Self::Key(key) => signer.follows(key),
            _ => match repository.identity().await.context(StoreSnafu)? {
                Some(own) => {
                    let key = own.key.public_key();
                    // An older bundle of its own, too.
                    signer.follows(key)
                        || Succession::leads(&own.successions, signer.public_key, key)
                }
                None => false,
            },
        };
        if known {
            return Ok(());
        }
        let refused = sync_bundle::Error::Untrusted {
            key: signer.public_key,
            tenant: opening.manifest.source.tenant.to_string(),
        };
        Err(refused.into())
    }
}
