//! An import that comes: all of it becomes one snapshot, or nothing of it is seen.

use std::sync::Arc;

use http::Response;
use http::header::{CONTENT_LENGTH, HeaderMap};
use serde_json::{Value as Json, json};
use snafu::ResultExt;
use sync_core::{Digest, Roots, Snapshot};
use sync_store::protocol::SetAsideRow;
use sync_store::{Advance, Class, Repository};
use sync_transport::Body;

use super::decode::decode;
use super::edit::{Basis, Edited, Strategy, count, edit};
use super::layout::Layout;
use super::refusal::ImportRefusal;
use crate::error::{BodySnafu, MalformedSnafu, StaleSnafu, StoreSnafu};
use crate::legacy::form::Form;
use crate::legacy::{BRANCH, answer, blocking, turn};
use crate::rows::{self, Current};
use crate::{Error, Server};

/// The most bytes of a body: 64 MiB.
const MAX_BODY: usize = 64 << 20;
/// How often another push may come in between. Each time somebody's push did land.
const TRIES: usize = 64;

/// What became of a list, for its sender.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    created: u64,
    updated: u64,
    skipped: u64,
    deleted: u64,
    conflicts: u64,
}

/// Serves an import.
pub(in crate::legacy) async fn serve(
    server: &Server,
    repository: &Repository,
    layout: Layout,
    query: &Form,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Response<Body>, Error> {
    let _turn = turn(&server.legacy().imports).await?;
    let body = Arc::new(read(headers, body).await?);
    let asked = query.value("merge_strategy").map(str::to_owned);
    for _ in 0..TRIES {
        let current = rows::current(server, repository, BRANCH).await?;
        let edited = edited(repository, &current, layout, asked.clone(), &body).await?;
        let landed = if edited.root == current.tables {
            Some((current.tables, Vec::new()))
        } else {
            land(server, repository, &current, edited.root).await?
        };
        if let Some((after, set_aside)) = landed {
            let roots = [current.tables, after];
            let outcomes = outcomes(repository, edited, roots, set_aside).await?;
            return Ok(told(layout, outcomes, server.now()));
        }
    }
    let head = repository.head(BRANCH).await.context(StoreSnafu)?;
    StaleSnafu { head }.fail()
}

/// The body, whole: serde reads it in place.
async fn read(headers: &HeaderMap, body: &mut Body) -> Result<Vec<u8>, Error> {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let mut bytes = Vec::with_capacity(length.unwrap_or(0).min(MAX_BODY));
    while let Some(piece) = body.next().await {
        let piece = piece.context(BodySnafu)?;
        if bytes.len() + piece.len() > MAX_BODY {
            return Err(ImportRefusal::TooLarge.at(""));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Puts the import into the rows as they are now.
async fn edited(
    repository: &Repository,
    current: &Current,
    layout: Layout,
    asked: Option<String>,
    body: &Arc<Vec<u8>>,
) -> Result<Edited, Error> {
    let basis = Basis {
        nodes: repository.nodes(),
        tables: current.tables,
        makes_tables: !current.has_database,
    };
    let (writer, writing) = repository.writer();
    let body = Arc::clone(body);
    let edited = blocking(move || {
        let import = decode(layout, &body)?;
        let strategy = strategy(asked.as_deref(), import.strategy.as_deref())?;
        edit(&basis, layout, &import, strategy, &writer)
    })
    .await;
    // The store's own failure is the cause of the edit's, so it is told first.
    writing.finish().await.context(StoreSnafu)?;
    edited
}

/// The strategy that query or body ask for.
fn strategy(query: Option<&str>, body: Option<&str>) -> Result<Strategy, Error> {
    let reason = match (query, body) {
        (Some(query), Some(body)) if query != body => "two different values of `merge_strategy`",
        _ => match query.or(body) {
            None | Some("merge") => return Ok(Strategy::Merge),
            Some("replace") => return Ok(Strategy::Replace),
            Some("skip_existing") => return Ok(Strategy::SkipExisting),
            Some(_) => "`merge_strategy` is `merge`, `replace` or `skip_existing`",
        },
    };
    MalformedSnafu { reason }.fail()
}

/// Makes a snapshot of the edited rows, and has it accepted as any push of rows; `None` where somebody else was faster.
/// Gives the map of tables that the branch has then, and what the database could not store.
async fn land(
    server: &Server,
    repository: &Repository,
    current: &Current,
    root: Digest,
) -> Result<Option<(Digest, Vec<SetAsideRow>)>, Error> {
    let snapshot = Snapshot {
        author: "legacy".to_owned(),
        message: "legacy import of rows".to_owned(),
        parents: current.head.into_iter().collect(),
        roots: Roots {
            rows: Some(root),
            ..current.roots
        },
        time: server.now(),
    };
    let malformed = |error: sync_core::snapshot::SnapshotError| Error::Malformed {
        reason: error.to_string(),
    };
    let (target, bytes) = snapshot.encode().map_err(malformed)?;
    let received = repository.prepare([(Class::Nodes, bytes)]).await;
    let advance = Advance {
        branch: BRANCH.to_owned(),
        expected: current.head,
        target,
        when: snapshot.time,
    };
    let received = received.context(StoreSnafu)?;
    let landed = match rows::accept(server, repository, received, advance).await {
        Err(Error::Stale { .. }) => return Ok(None),
        landed => landed?,
    };
    if landed.head == target {
        return Ok(Some((root, landed.set_aside)));
    }
    let held = repository.snapshot(landed.head).await;
    let held = held.context(StoreSnafu)?.roots.rows;
    Ok(Some((held.unwrap_or(root), landed.set_aside)))
}

/// Counts what is different now, which is true whatever was asked for.
async fn outcomes(
    repository: &Repository,
    edited: Edited,
    roots: [Digest; 2],
    set_aside: Vec<SetAsideRow>,
) -> Result<[Outcome; 3], Error> {
    let nodes = repository.nodes();
    blocking(move || {
        let mut outcomes = [Outcome::default(); 3];
        for (outcome, list) in outcomes.iter_mut().zip(edited.lists) {
            let Some(list) = list else {
                continue;
            };
            let counts = count(&nodes, roots, &list.table)?;
            let aside = set_aside
                .iter()
                .filter(|row| row.table == list.table.as_str());
            *outcome = Outcome {
                created: counts.created,
                updated: counts.updated,
                skipped: list.skipped,
                deleted: counts.deleted,
                conflicts: aside.count() as u64,
            };
        }
        Ok(outcomes)
    })
    .await
}

fn told(layout: Layout, outcomes: [Outcome; 3], now: u64) -> Response<Body> {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let mut body = json!({
        "created": sum(|o| o.created),
        "updated": sum(|o| o.updated),
        "skipped": sum(|o| o.skipped),
        "deleted": sum(|o| o.deleted),
        "conflicts": sum(|o| o.conflicts),
        "imported_at": answer::time(now),
    });
    if layout == Layout::Server {
        let names = layout.collections().iter().map(|c| c.name.to_owned());
        let results = outcomes.iter().map(|o| {
            json!({
                "created": o.created,
                "updated": o.updated,
                "skipped": o.skipped,
                "deleted": o.deleted,
                "conflicts": o.conflicts,
            })
        });
        body["results"] = Json::Object(names.zip(results).collect());
    }
    answer::both(body)
}
