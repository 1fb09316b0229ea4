//! The socket, watched: how many bytes went either way, when the last one left, and how it is closed.
//!
//! It sits under TLS, so it counts what really travels.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a server that closes first goes on reading.
///
/// A socket that is closed with unread input is reset, and a reset can destroy the answer that was just sent.
const LINGER: Duration = Duration::from_secs(2);

/// What went over a client's connections so far, counted on the socket, under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Requests put onto a connection, each repetition counted.
    pub requests: u64,
}

/// The running totals of one client, or of one server.
#[derive(Debug, Default)]
pub struct Totals {
    sent: AtomicU64,
    received: AtomicU64,
    requests: AtomicU64,
}

impl Totals {
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// What went over all of its connections so far; a server counts no requests here.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_received: self.received.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
        }
    }
}

/// What others may know of a connection while HTTP runs on it.
#[derive(Debug)]
pub(crate) struct Gauge {
    totals: Arc<Totals>,
    opened: Instant,
    /// When the socket last took a byte, and when it last gave one, in milliseconds since `opened`.
    written: AtomicU64,
    read: AtomicU64,
}

impl Gauge {
    pub(crate) fn new(totals: Arc<Totals>) -> Arc<Self> {
        Arc::new(Self {
            totals,
            opened: Instant::now(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
        })
    }

    /// When the socket last took a byte; when it was opened, if never.
    pub(crate) fn last_write(&self) -> Instant {
        self.opened + Duration::from_millis(self.written.load(Ordering::Relaxed))
    }

    /// For how long nothing went either way.
    pub(crate) fn at_rest(&self) -> Duration {
        let read = self.opened + Duration::from_millis(self.read.load(Ordering::Relaxed));
        self.last_write().max(read).elapsed()
    }

    fn wrote(&self, bytes: usize) {
        self.count(bytes, &self.totals.sent, &self.written);
    }

    fn gave(&self, bytes: usize) {
        self.count(bytes, &self.totals.received, &self.read);
    }

    fn count(&self, bytes: usize, total: &AtomicU64, last: &AtomicU64) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        total.fetch_add(bytes, Ordering::Relaxed);
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        last.fetch_max(now, Ordering::Relaxed);
    }
}

/// Which end of the connection this is; each has its own way of not losing an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// When the peer takes no more, goes on reading: it may have answered before it closed.
    Client,
    /// When closing, goes on reading for a moment: see [`LINGER`].
    Server,
}

/// A socket that is watched.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    io: T,
    side: Side,
    gauge: Arc<Gauge>,
    read_ended: bool,
    /// Why nothing more can be written; told only once reading has ended, too.
    broken: Option<io::ErrorKind>,
    blocked_writer: Option<Waker>,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<T> Metered<T> {
    pub(crate) fn new(io: T, side: Side, gauge: Arc<Gauge>) -> Self {
        Self {
            io,
            side,
            gauge,
            read_ended: false,
            broken: None,
            blocked_writer: None,
            lingering: None,
        }
    }

    fn end_reading(&mut self) {
        self.read_ended = true;
        if let Some(writer) = self.blocked_writer.take() {
            writer.wake();
        }
    }

    fn written(
        &mut self,
        result: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(bytes)) => {
                self.gauge.wrote(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) if self.side == Side::Client && !self.read_ended => {
                self.broken = Some(error.kind());
                self.blocked_writer = Some(cx.waker().clone());
                Poll::Pending
            }
            other => other,
        }
    }

    /// What a write meets once the peer takes no more.
    fn refuse_write(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let kind = self.broken?;
        if self.read_ended {
            return Some(Poll::Ready(Err(kind.into())));
        }
        self.blocked_writer = Some(cx.waker().clone());
        Some(Poll::Pending)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let result = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        let bytes = buf.filled().len() - before;
        this.gauge.gave(bytes);
        if result.is_err() || (bytes == 0 && room) {
            this.end_reading();
        }
        Poll::Ready(result)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(refused) = this.refuse_write(cx) {
            return refused;
        }
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.written(result, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(refused) = this.refuse_write(cx) {
            return refused;
        }
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.written(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if this.side == Side::Client || this.read_ended {
                return Poll::Ready(Ok(()));
            }
        }
        let timer = this
            .lingering
            .get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scrap = [0; 8192];
        while timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => this.gauge.gave(buf.filled().len()),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
