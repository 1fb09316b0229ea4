//! The protocol's requests about one tenant (ADR 0004).

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{Request, Response, StatusCode};
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::{Digest, Name, Release, Snapshot, SnapshotId};
use sync_store::protocol::{
    Advanced, BINARY_MEDIA_TYPE, EXPIRED_HEADER, Fetch, Head, Log, Logged, MAX_DIGESTS,
    MAX_EXPIRED, MAX_LOG, MAX_SIGNATURES, MAX_SIGNED, PACK_MEDIA_TYPE, SNAPSHOT_HEADER,
    decode_digests, decode_prefixes, encode_bits, encode_signatures,
};
use sync_store::{Advance, Repository};
use sync_transport::Body;

use crate::admin::read_json;
use crate::error::{BodySnafu, MalformedSnafu, NoSnapshotSnafu, StaleSnafu, StoreSnafu};
use crate::route::{TenantRoute, query};
use crate::{Error, Server, answer, branches, deploys, identity, rows, upkeep};

/// Length in bytes of a digest prefix in a `missing` request.
const PREFIX_LEN: usize = 8;

/// Serves a request of a caller who may make it.
pub(crate) async fn serve(
    server: &Server,
    repository: &Repository,
    route: TenantRoute,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    match route {
        TenantRoute::Branches => branches::list(repository).await,
        TenantRoute::Delete(branch) => {
            let expected = precondition(request.headers())?;
            branches::delete(server, repository, &branch, expected).await
        }
        TenantRoute::Head(branch) => head(server, repository, &branch, &request).await,
        TenantRoute::Push(branch) => push(server, repository, &branch, request).await,
        TenantRoute::Missing => missing(repository, request).await,
        TenantRoute::Fetch => fetch(repository, request).await,
        TenantRoute::Objects => objects(repository, request).await,
        TenantRoute::Signatures => signatures(repository, request).await,
        TenantRoute::Log => log(repository, request.uri().query()).await,
        TenantRoute::Resolve(prefix) => resolve(repository, &prefix).await,
        TenantRoute::Verify => Ok(upkeep::verify_tenant(repository, &request)),
        TenantRoute::Repair => upkeep::repair(repository, request).await,
        TenantRoute::DeployStatus => deploys::status(server, repository).await,
        TenantRoute::Deploys => deploys::deploys(repository).await,
        TenantRoute::RegistryToken => deploys::registry_token(server, repository).await,
        // Served by whoever knows the caller.
        TenantRoute::Export
        | TenantRoute::Import
        | TenantRoute::PlanImport
        | TenantRoute::Deploy => Ok(answer::empty(StatusCode::NOT_FOUND)),
        TenantRoute::Identity => identity::show(repository, request.uri().query()).await,
        TenantRoute::GenerateIdentity => identity::generate(repository).await,
        TenantRoute::RotateIdentity => identity::rotate(repository).await,
        TenantRoute::SetMoved => identity::set_moved(server, repository, request).await,
    }
}

async fn head(
    server: &Server,
    repository: &Repository,
    branch: &Name,
    request: &Request<Body>,
) -> Result<Response<Body>, Error> {
    let known = request
        .headers()
        .get(IF_NONE_MATCH)
        .map(|value| entity_tag(value, "if-none-match"))
        .transpose()?
        .flatten();
    let head = current_head(server, repository, branch, known, request.uri().query()).await?;
    let others = match query(request.uri().query(), "branches") {
        Some("true") => branches::beside(repository, branch).await?,
        _ => Vec::new(),
    };
    if head.is_some() && known == head && others.is_empty() {
        return Ok(answer::tagged(
            answer::empty(StatusCode::NOT_MODIFIED),
            head,
        ));
    }
    let snapshot = match head {
        Some(id) => Some(repository.snapshot(id).await.context(StoreSnafu)?),
        None => None,
    };
    let vacant = repository.is_vacant().await.context(StoreSnafu)?;
    Ok(answer::tagged(
        answer::json(
            StatusCode::OK,
            &Head {
                head,
                snapshot,
                vacant,
                branches: others,
            },
        ),
        head,
    ))
}

/// Where the branch is. Who asks about rows (`part=rows`) has the tenant's database looked at first; who waits (`wait=SECONDS`)
/// is answered when the head is no longer what is known.
async fn current_head(
    server: &Server,
    repository: &Repository,
    branch: &Name,
    known: Option<SnapshotId>,
    parameters: Option<&str>,
) -> Result<Option<SnapshotId>, Error> {
    let wait = match query(parameters, "wait") {
        None => None,
        Some(seconds) => Some(seconds.parse().ok().context(MalformedSnafu {
            reason: "`wait` is not a number of seconds",
        })?),
    };
    let database = if query(parameters, "part") == Some("rows") {
        let database = server.database(repository).await?;
        database.filter(|database| database.branch() == branch.as_str())
    } else {
        None
    };
    if let Some(seconds) = wait {
        let wait = Duration::from_secs(seconds);
        let _waiting = server.metrics().waiting.enter();
        return rows::wait_for(
            server,
            repository,
            database.as_ref(),
            branch.as_str(),
            known,
            wait,
        )
        .await;
    }
    match database {
        Some(database) => {
            let _turn = database.turn().await;
            let together = rows::bring_together(server, repository, &database).await?;
            Ok(together.head)
        }
        None => repository.head(branch.as_str()).await.context(StoreSnafu),
    }
}

async fn push(
    server: &Server,
    repository: &Repository,
    branch: &Name,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let headers = request.headers();
    let expected = precondition(headers)?;
    let target = headers
        .get(SNAPSHOT_HEADER)
        .and_then(|value| value.to_str().ok()?.parse::<SnapshotId>().ok())
        .with_context(|| MalformedSnafu {
            reason: format!("`{SNAPSHOT_HEADER}` is not a snapshot id"),
        })?;
    // Asked before the body is read: who lost the race need not send it.
    let head = repository.head(branch.as_str()).await.context(StoreSnafu)?;
    if head != expected && head != Some(target) {
        return StaleSnafu { head }.fail();
    }
    if let Some(ids) = headers.get(EXPIRED_HEADER) {
        let ids = expired(ids)?;
        repository.note_expired(&ids).await.context(StoreSnafu)?;
    }
    let metrics = server.metrics();
    metrics.packs_received.add(1);
    let received = repository
        .receive(request.into_body().into_stream())
        .await
        .context(StoreSnafu)?;
    let (objects, bytes) = (received.objects, received.bytes);
    metrics.packs_stored.add(1);
    metrics.objects_stored.add(objects);
    metrics.pack_bytes.add(bytes);
    let release = deploys::ensure_release(
        repository,
        &received,
        branch.as_str(),
        [expected, Some(target)],
    );
    release.await?;
    let advance = Advance {
        branch: branch.as_str().to_owned(),
        expected,
        target,
        when: server.now(),
    };
    let landed = rows::accept(server, repository, received, advance).await?;
    let body = Advanced {
        head: landed.head,
        objects,
        bytes,
        set_aside: landed.set_aside,
    };
    Ok(answer::tagged(
        answer::json(StatusCode::OK, &body),
        Some(landed.head),
    ))
}

/// The names of snapshots that nobody keeps.
fn expired(value: &HeaderValue) -> Result<Vec<SnapshotId>, Error> {
    let ids = value.to_str().ok().and_then(|text| {
        let ids = text.split(',').map(|id| id.trim().parse().ok());
        ids.collect::<Option<Vec<SnapshotId>>>()
    });
    ids.filter(|ids| ids.len() <= MAX_EXPIRED)
        .with_context(|| MalformedSnafu {
            reason: format!("`{EXPIRED_HEADER}` has at most {MAX_EXPIRED} snapshot ids"),
        })
}

/// What a change of a head expects it to be: `If-Match: "<id>"`, or `If-None-Match: *` for a branch that is yet to be.
fn precondition(headers: &HeaderMap) -> Result<Option<SnapshotId>, Error> {
    match (headers.get(IF_MATCH), headers.get(IF_NONE_MATCH)) {
        (Some(value), None) => {
            let id = entity_tag(value, "if-match")?;
            ensure!(
                id.is_some(),
                MalformedSnafu {
                    reason: "`if-match` needs a snapshot id"
                }
            );
            Ok(id)
        }
        (None, Some(value)) if value == "*" => Ok(None),
        _ => MalformedSnafu {
            reason: "a push needs `if-match: \"<snapshot>\"` or `if-none-match: *`",
        }
        .fail(),
    }
}

/// A snapshot id in quotes; `None` for a tag that names something else.
fn entity_tag(value: &HeaderValue, header: &str) -> Result<Option<SnapshotId>, Error> {
    let text = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    let text = text.with_context(|| MalformedSnafu {
        reason: format!("`{header}` is not an entity tag"),
    })?;
    Ok(text.parse().ok())
}

async fn missing(repository: &Repository, request: Request<Body>) -> Result<Response<Body>, Error> {
    let bytes = request
        .into_body()
        .read_to_end(MAX_DIGESTS * PREFIX_LEN)
        .await
        .context(BodySnafu)?;
    let prefixes = decode_prefixes(&bytes).context(MalformedSnafu {
        reason: "the body is not a list of prefixes",
    })?;
    let missing = repository.missing(&prefixes).await.context(StoreSnafu)?;
    Ok(binary(encode_bits(&missing)))
}

async fn fetch(repository: &Repository, request: Request<Body>) -> Result<Response<Body>, Error> {
    let asked: Fetch = read_json(request).await?;
    require_snapshot(repository, asked.want).await?;
    // A base that this tenant never had (it was restored, say) is no reason to refuse: everything is sent then.
    let have = match asked.have {
        Some(id) if repository.is_accepted(id).await.context(StoreSnafu)? => Some(id),
        _ => None,
    };
    let export = repository.export(Fetch { have, ..asked });
    Ok(pack(Body::stream(export.await.context(StoreSnafu)?)))
}

async fn objects(repository: &Repository, request: Request<Body>) -> Result<Response<Body>, Error> {
    let digests = read_digests(request, MAX_DIGESTS).await?;
    Ok(pack(Body::stream(
        repository
            .export_objects(digests)
            .await
            .context(StoreSnafu)?,
    )))
}

async fn signatures(
    repository: &Repository,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let digests = read_digests(request, MAX_SIGNED).await?;
    let signatures = repository.signatures(digests.clone(), MAX_SIGNATURES);
    let signatures = signatures.await.context(StoreSnafu)?;
    let found = digests.iter().map(|digest| signatures.get(digest));
    Ok(binary(encode_signatures(found)))
}

async fn read_digests(request: Request<Body>, max: usize) -> Result<Vec<Digest>, Error> {
    let bytes = request
        .into_body()
        .read_to_end(max * Digest::LEN)
        .await
        .context(BodySnafu)?;
    decode_digests(&bytes).context(MalformedSnafu {
        reason: "the body is not a list of digests",
    })
}

fn binary(body: Vec<u8>) -> Response<Body> {
    answer::with_type(
        StatusCode::OK,
        HeaderValue::from_static(BINARY_MEDIA_TYPE),
        Body::full(body),
    )
}

fn pack(body: Body) -> Response<Body> {
    answer::with_type(
        StatusCode::OK,
        HeaderValue::from_static(PACK_MEDIA_TYPE),
        body,
    )
}

async fn log(repository: &Repository, parameters: Option<&str>) -> Result<Response<Body>, Error> {
    let from = query(parameters, "from").context(MalformedSnafu {
        reason: "`from` is missing",
    })?;
    let from: SnapshotId = from.parse().ok().context(MalformedSnafu {
        reason: "`from` is not a snapshot id",
    })?;
    let limit = match query(parameters, "limit") {
        None => MAX_LOG,
        Some(text) => text.parse().ok().context(MalformedSnafu {
            reason: "`limit` is not a number",
        })?,
    };
    require_snapshot(repository, from).await?;
    let found = repository
        .log(from, limit.min(MAX_LOG))
        .await
        .context(StoreSnafu)?;
    let mut snapshots: Vec<Logged> = Vec::with_capacity(found.len());
    for (id, snapshot) in found {
        // Mostly that of the one before.
        let known = snapshots
            .last()
            .filter(|last| last.snapshot.roots.release == snapshot.roots.release);
        let release = match known {
            Some(last) => last.release.clone(),
            None => release_of(repository, &snapshot).await?,
        };
        snapshots.push(Logged {
            id,
            snapshot,
            release,
        });
    }
    Ok(answer::json(StatusCode::OK, &Log { snapshots }))
}

async fn resolve(repository: &Repository, prefix: &str) -> Result<Response<Body>, Error> {
    let hex = (4..=2 * Digest::LEN).contains(&prefix.len())
        && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    ensure!(
        hex,
        MalformedSnafu {
            reason: "a snapshot is named by at least 4 hexadecimal digits"
        }
    );
    let found = repository
        .resolve(&prefix.to_ascii_lowercase())
        .await
        .context(StoreSnafu)?;
    match *found.as_slice() {
        [id] => {
            let snapshot = repository.snapshot(id).await.context(StoreSnafu)?;
            let release = release_of(repository, &snapshot).await?;
            let logged = Logged {
                id,
                snapshot,
                release,
            };
            Ok(answer::json(StatusCode::OK, &logged))
        }
        [] => {
            if let Ok(id) = prefix.parse() {
                require_snapshot(repository, id).await?;
            }
            NoSnapshotSnafu { id: prefix }.fail()
        }
        _ => MalformedSnafu {
            reason: format!("`{prefix}` is the start of several snapshots: give more digits"),
        }
        .fail(),
    }
}

async fn release_of(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Option<Release>, Error> {
    match snapshot.roots.release {
        Some(release) => repository.release(release).await.context(StoreSnafu),
        None => Ok(None),
    }
}

async fn require_snapshot(repository: &Repository, id: SnapshotId) -> Result<(), Error> {
    let known = repository.is_accepted(id).await.context(StoreSnafu)?;
    if !known && repository.is_expired(id).await.context(StoreSnafu)? {
        let source = sync_store::Error::Expired { id };
        return Err(Error::Store { source });
    }
    ensure!(known, NoSnapshotSnafu { id: id.to_string() });
    Ok(())
}
