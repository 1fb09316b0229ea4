//! A file as the pieces of a bundle: read, unwrapped and checked on a thread of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, stream};
use snafu::ResultExt;
use sync_bundle::age::Secret;
use sync_bundle::{Error as BundleError, Event as Read, Opening, Reader};
use sync_engine::event::Target;
use sync_engine::{Event, Listener, Phase, Progress};
use sync_transport::Body;
use tokio::sync::mpsc;

use crate::Error;
use crate::error::{NotASecretSnafu, ReadBundleSnafu, UnfinishedSnafu};

/// How many bytes are read at once.
const PIECE: usize = 256 << 10;
/// How many pieces wait for whoever takes them.
const QUEUE: usize = 4;

type Failed = Arc<Mutex<Option<Error>>>;

/// A bundle that is read from a file.
#[derive(Debug)]
pub(super) struct Bundle {
    receiver: Mutex<Option<mpsc::Receiver<Bytes>>>,
    failed: Failed,
}

/// A file, and what it may be opened with.
#[derive(Debug, Clone)]
pub(super) struct BundleFile {
    path: PathBuf,
    secrets: Vec<Secret>,
}

impl BundleFile {
    /// Reads the secret keys; the bundle itself is not opened yet.
    pub(super) fn new(path: PathBuf, identity_file: Option<&Path>) -> Result<Self, Error> {
        let secrets = match identity_file {
            None => Vec::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path).context(ReadBundleSnafu { path })?;
                Secret::parse_file(&text).context(NotASecretSnafu { path })?
            }
        };
        Ok(Self { path, secrets })
    }

    /// How the bundle begins.
    pub(super) async fn opening(&self) -> Result<Opening, Error> {
        let file = self.clone();
        let look = move || file.look();
        tokio::task::spawn_blocking(look)
            .await
            .context(UnfinishedSnafu)?
    }

    fn look(&self) -> Result<Opening, Error> {
        let mut opening = None;
        self.pass(&mut |_, read| {
            if let Some(Read::Opening(found)) = read {
                opening = Some(*found);
            }
            Ok(opening.is_none())
        })?;
        // A file that ends before is refused by the reader.
        opening.ok_or_else(|| BundleError::Unsigned.into())
    }

    /// Begins to read; progress is told to `listener`.
    pub(super) fn read(self, listener: Listener) -> Bundle {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let failed = Failed::default();
        let told = Arc::clone(&failed);
        tokio::task::spawn_blocking(move || {
            let (mut bytes, mut total) = (0, None);
            let outcome = self.pass(&mut |piece, event| {
                if let Some(Read::Opening(opening)) = event {
                    total = Some(opening.manifest.total_bytes());
                }
                let Some(piece) = piece else {
                    return Ok(true);
                };
                bytes += piece.len() as u64;
                let mut progress = Progress::new(Target::Bundle, Phase::Sending, 0, bytes);
                progress.total_bytes = total.map(|total: u64| total.max(bytes));
                listener(Event::Progress(progress));
                Ok(sender.blocking_send(piece).is_ok())
            });
            if let Err(error) = outcome {
                // Before the sender is gone: whoever finds the end too early asks why.
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            drop(sender);
        });
        Bundle {
            receiver: Mutex::new(Some(receiver)),
            failed,
        }
    }

    /// Reads it to its end, and checks it as far as its bytes go. Blocking.
    fn pass(&self, take: Take<'_>) -> Result<(), Error> {
        let path = &self.path;
        let file = File::open(path).context(ReadBundleSnafu { path })?;
        let mut file = sync_bundle::file::open(file, &self.secrets)?;
        let mut reader = Reader::default();
        let mut buffer = vec![0; PIECE];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(reader.finish()?);
            }
            let piece = &buffer[..count];
            reader.feed(piece);
            while let Some(read) = reader.next_event()? {
                let opens = matches!(read, Read::Opening(_));
                if opens && !take(None, Some(read))? {
                    return Ok(());
                }
            }
            if !take(Some(Bytes::copy_from_slice(piece)), None)? {
                return Ok(());
            }
        }
    }
}

impl Bundle {
    /// The tar. It breaks off where something is wrong: [`Bundle::explain`] says what.
    pub(super) fn pieces(&self) -> impl Stream<Item = Result<Bytes, BundleBroken>> + Send + use<> {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let failed = Arc::clone(&self.failed);
        stream::unfold((receiver, failed), |(receiver, failed)| async move {
            let mut receiver = receiver?;
            if let Some(piece) = receiver.recv().await {
                return Some((Ok(piece), (Some(receiver), failed)));
            }
            let is_broken = failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some();
            is_broken.then_some((Err(BundleBroken), (None, failed)))
        })
    }

    /// The same as a body.
    pub(super) fn body(&self) -> Body {
        Body::stream(self.pieces())
    }

    /// What was wrong with the file, where that is the cause of an error.
    pub(super) fn explain(&self, error: BundleError) -> Error {
        self.cause().unwrap_or_else(|| error.into())
    }

    /// Likewise, of a tenant that got less than all of it.
    pub(super) fn explain_refusal(&self, error: sync_engine::Error) -> Error {
        self.cause().unwrap_or_else(|| error.into())
    }

    fn cause(&self) -> Option<Error> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A file turned out to be no bundle.
#[derive(Debug)]
pub(super) struct BundleBroken;

impl std::fmt::Display for BundleBroken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the file is not a whole bundle")
    }
}

impl std::error::Error for BundleBroken {}

/// Takes a piece of the tar, or what was read there; says whether to go on.
type Take<'t> = &'t mut dyn FnMut(Option<Bytes>, Option<Read>) -> Result<bool, Error>;
