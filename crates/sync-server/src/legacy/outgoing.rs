//! An answer that is written on a blocking thread while it travels.

use std::io::{self, Write};

use bytes::Bytes;
use http::header::HeaderValue;
use sync_transport::Body;
use tokio::sync::mpsc;

/// The type of JSON answers.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How many pieces wait for whoever reads the answer.
const QUEUE: usize = 4;
/// How many bytes a piece has.
const PIECE: usize = 64 * 1024;

/// Where an answer is written to. Waits where the reader is slow, and fails where he is gone.
#[derive(Debug)]
pub(super) struct Outgoing {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

/// A body that `write` writes. An error ends it as broken, so that nobody takes it for whole.
pub(super) fn stream(write: impl FnOnce(&mut Outgoing) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut out = Outgoing {
            sender: sender.clone(),
            piece: Vec::with_capacity(PIECE),
        };
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            // Where this fails nobody reads any more.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Body::stream(futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context)
    }))
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
