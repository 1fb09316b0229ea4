//! A tarball that comes: all of it becomes one snapshot, or nothing of it is seen.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use snafu::ResultExt;
use sync_store::{Class, Repository};
use sync_transport::Body;
use tokio::sync::mpsc;

use super::answer::{self, Pushed};
use super::form::Form;
use super::manifest::{ListedFile, Manifest};
use super::outgoing::{JSON, stream};
use super::pull::is_dry_run;
use super::tarball::{Limits, Pieces};
use super::unpack::{Files, unpack};
use super::{blocking, land, turn};
use crate::error::{BodySnafu, StoreSnafu};
use crate::{Error, Server};

/// How many pieces of the body wait for the thread that takes them apart.
const PIECES: usize = 8;
/// How many objects wait for the thread that packs them: at most 4 MiB.
const OBJECTS: usize = 16;

/// Serves a push.
pub(super) async fn serve(
    server: &Server,
    repository: &Repository,
    query: &Form,
    body: &mut Body,
) -> Result<Response<Body>, Error> {
    let now = server.now();
    let dry_run = is_dry_run(query)?;
    let turn = turn(&server.legacy().pushes).await?;
    let files = if dry_run {
        look(body).await?
    } else {
        take(repository, body).await?
    };
    drop(turn);
    let files = Arc::new(files);
    let pushed = Pushed {
        files_uploaded: files.len() as u64,
        uploaded_at: answer::time(now),
    };
    if dry_run {
        land::check(repository, Arc::clone(&files)).await?;
        return Ok(would_be(pushed, files, now));
    }
    land::land(server, repository, files).await?;
    Ok(answer::pushed(&pushed))
}

/// Reads a tarball and stores what is in it; no head names it yet.
async fn take(repository: &Repository, body: &mut Body) -> Result<Files, Error> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let (packing, mut unpacked) = mpsc::channel::<(Class, Vec<u8>)>(OBJECTS);
    let objects = std::iter::from_fn(move || unpacked.blocking_recv());
    let reading = blocking(move || {
        unpack(
            Pieces::new(pieces),
            Limits::default(),
            false,
            |class, object| packing.blocking_send((class, object)).map_err(|_| gone()),
        )
    });
    let stored = repository.prepare(objects);
    let (fed, files, stored) = tokio::join!(feed(body, sender), reading, stored);
    fed?;
    // Where packing failed the reader knows no more than that; where reading failed nothing of it is to be kept.
    let stored = stored.context(StoreSnafu)?;
    let files = files?;
    repository.record(&stored).await.context(StoreSnafu)?;
    Ok(files)
}

/// Reads a tarball, and keeps nothing of it.
async fn look(body: &mut Body) -> Result<Files, Error> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let reading =
        blocking(move || unpack(Pieces::new(pieces), Limits::default(), true, |_, _| Ok(())));
    let (fed, files) = tokio::join!(feed(body, sender), reading);
    fed.and(files)
}

/// Hands the body to the reader, as fast as that one takes it.
async fn feed(body: &mut Body, sender: mpsc::Sender<Bytes>) -> Result<(), Error> {
    while let Some(piece) = body.next().await {
        let piece = piece.context(BodySnafu)?;
        if sender.send(piece).await.is_err() {
            // The reader has found something wrong, and says what.
            break;
        }
    }
    Ok(())
}

fn gone() -> Error {
    let source = sync_store::Error::Cut {
        source: "nobody packs what is unpacked".into(),
    };
    Error::Store { source }
}

/// What a push would bring, as a manifest.
fn would_be(pushed: Pushed, files: Arc<Files>, now: u64) -> Response<Body> {
    let body = stream(move |out| {
        let mut start = serde_json::to_string(&pushed)?;
        // The manifest becomes the last member.
        start.pop();
        write!(out, "{start},\"manifest\":")?;
        let mut manifest = Manifest::start(out)?;
        for (path, file) in files.iter() {
            manifest.file(&ListedFile {
                path: path.as_str(),
                checksum: file.checksum.unwrap_or_default(),
                size: file.size,
            })?;
        }
        manifest.finish(now)?.write_all(b"}")
    });
    crate::answer::with_type(StatusCode::OK, JSON, body)
}
