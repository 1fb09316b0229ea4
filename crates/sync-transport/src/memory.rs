//! A connection inside this process: the same HTTP code over a pair of buffers.

use std::fmt;
use std::io;

use futures_util::future::BoxFuture;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use crate::connect::{Connect, Io};

/// How many bytes each direction of a connection holds before its writer waits.
const BUFFER_BYTES: usize = 256 * 1024;

/// How many connections may wait to be accepted before a connect waits.
const BACKLOG: usize = 16;

/// The client's way to a listener in this process; cheap to clone.
#[derive(Clone)]
pub struct MemoryConnector(mpsc::Sender<DuplexStream>);

impl MemoryConnector {
    /// A connector and where its connections arrive.
    pub(crate) fn pair() -> (Self, mpsc::Receiver<DuplexStream>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self(sender), receiver)
    }

    pub(crate) async fn open(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
        match self.0.send(theirs).await {
            Ok(()) => Ok(ours),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// For who puts something between the two ends: delays, say, or losses.
impl Connect for MemoryConnector {
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>> {
        Box::pin(async { Ok(Box::new(self.open().await?) as Box<dyn Io>) })
    }

    fn is_private(&self) -> bool {
        true
    }
}

impl fmt::Debug for MemoryConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryConnector")
    }
}
