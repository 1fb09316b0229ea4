//! The pieces of a bundle into a file, which takes its name when all of it is there and was found right.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use snafu::ResultExt;
use sync_bundle::age::Recipient;
use sync_bundle::file::{FileWriter, Wrap};
use sync_bundle::{Event as Read, Opening, Reader};
use sync_engine::event::Target;
use sync_engine::{Event, Listener, Phase, Progress};
use sync_transport::Body;
use tokio::sync::mpsc;

use crate::Error;
use crate::env::Env;
use crate::error::{UnfinishedSnafu, WriteSnafu};

/// How many pieces wait to be written.
const QUEUE: usize = 2;

/// A file that is being written under another name, which only its owner may read, and is removed where it is not finished.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    partial: PathBuf,
    file: Option<File>,
    wrap: Wrap,
    recipients: Vec<Recipient>,
}

impl Destination {
    pub(super) fn new(path: &Path, wrap: Wrap, recipients: Vec<Recipient>) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.{:016x}", Env::random()));
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600);
        let file = opened.open(&partial).context(WriteSnafu { path })?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file: Some(file),
            wrap,
            recipients,
        })
    }

    /// Gives the file its name, durably.
    fn keep(mut self, file: &File) -> Result<u64, Error> {
        let path = self.path.clone();
        let written = || WriteSnafu { path: &path };
        file.sync_all().with_context(|_| written())?;
        let bytes = file.metadata().with_context(|_| written())?.len();
        std::fs::rename(&self.partial, &path).with_context(|_| written())?;
        self.partial = PathBuf::new();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let above = File::open(above.unwrap_or(Path::new(".")));
        above
            .and_then(|above| above.sync_all())
            .with_context(|_| written())?;
        Ok(bytes)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if !self.partial.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Writes what comes, each byte checked as an import would check it. Gives how the bundle begins, and the size of the file.
pub(super) async fn write(
    mut body: Body,
    destination: Destination,
    listener: Listener,
) -> Result<(Opening, u64), Error> {
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
    let writing =
        tokio::task::spawn_blocking(move || write_all(receiver, cancelled, destination, &listener));
    let mut broken = None;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                if sender.send(piece).await.is_err() {
                    // The writer found something wrong, and says what.
                    break;
                }
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    if broken.is_none() {
        // Without this the file is not whole.
        let _ = cancel.send(());
    }
    drop(sender);
    let written = writing.await.context(UnfinishedSnafu)?;
    match broken {
        Some(error) => Err(sync_engine::Error::from(error).into()),
        None => written,
    }
}

fn write_all(
    mut receiver: mpsc::Receiver<Bytes>,
    mut whole: tokio::sync::oneshot::Receiver<()>,
    mut destination: Destination,
    listener: &Listener,
) -> Result<(Opening, u64), Error> {
    let path = destination.path.clone();
    let written = || WriteSnafu { path: &path };
    let file = destination.file.take();
    let file = file.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound));
    let file = BufWriter::new(file.with_context(|_| written())?);
    let writer = FileWriter::new(file, destination.wrap, &destination.recipients);
    let mut writer = writer.with_context(|_| written())?;
    let mut reader = Reader::default();
    let (mut opening, mut bytes, mut total) = (None, 0, None);
    while let Some(piece) = receiver.blocking_recv() {
        reader.feed(&piece);
        while let Some(read) = reader.next_event()? {
            if let Read::Opening(found) = read {
                total = Some(found.manifest.total_bytes());
                opening = Some(*found);
            }
        }
        writer.write(&piece).with_context(|_| written())?;
        bytes += piece.len() as u64;
        let mut progress = Progress::new(Target::Bundle, Phase::Receiving, 0, bytes);
        progress.total_bytes = total.map(|total: u64| total.max(bytes));
        listener(Event::Progress(progress));
    }
    if whole.try_recv().is_err() {
        return Err(sync_bundle::Error::Truncated {
            member: path.display().to_string(),
        }
        .into());
    }
    reader.finish()?;
    let opening = opening.ok_or(sync_bundle::Error::Unsigned)?;
    let file = writer.finish().with_context(|_| written())?;
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    let bytes = destination.keep(&file.with_context(|_| written())?)?;
    Ok((opening, bytes))
}
