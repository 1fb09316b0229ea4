//! Connections of one client: those at rest, the shared one of HTTP/2, and the one that is opened early.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ClientOptions;
use crate::connect::{Dialer, Io, Wire};
use crate::error::{ConnectSnafu, Error};
use crate::http2_window::{CONNECTION_WINDOW, FRAME_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW};
use crate::meter::Gauge;
use crate::progress::Outgoing;

/// How many HTTP/1 connections are kept for later.
const MAX_IDLE: usize = 4;

/// How long a connection may take from the end of an answer to being ready for the next request.
const READY_TIME: Duration = Duration::from_millis(250);

/// How long a connection that nobody needs any more may take to say good-bye.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// The most that hyper buffers of an HTTP/1 message, in either direction.
const HTTP1_BUFFER_BYTES: usize = 512 * 1024;

/// How often an HTTP/2 connection with something under way is asked whether it lives, and how long it has to answer.
const PING: Duration = Duration::from_secs(20);

/// A connection that speaks HTTP.
pub(super) struct Connection {
    sender: Sender,
    pub(super) gauge: Arc<Gauge>,
    /// Whether it was opened before the call that has it now.
    pub(super) reused: bool,
    life: Arc<Life>,
}

enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// Keeps the task that drives a connection; dropped, the task has a moment to close it.
struct Life {
    task: tokio::task::AbortHandle,
    _closing: oneshot::Sender<()>,
}

impl Connection {
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Whether a request may be put onto it.
    fn is_usable(&self, keep_alive: Duration) -> bool {
        !self.is_closed() && self.gauge.at_rest() < keep_alive
    }

    /// Another handle of the same HTTP/2 connection.
    fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else {
            return None;
        };
        Some(Self {
            sender: Sender::Http2(sender.clone()),
            gauge: Arc::clone(&self.gauge),
            reused: true,
            life: Arc::clone(&self.life),
        })
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        }
    }

    /// Closes an HTTP/1 connection at once: something on it will never end. One of HTTP/2 lives on for the others.
    pub(super) fn abort(self) {
        if let Sender::Http1(_) = self.sender {
            self.life.task.abort();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("http2", &self.is_http2())
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Pool {
    dialer: Dialer,
    max_header_bytes: usize,
    keep_alive: Duration,
    state: Mutex<State>,
    /// Held while connecting where that may end in a connection that everybody shares.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    shared: Option<Connection>,
    early: Option<JoinHandle<Result<Connection, Error>>>,
    /// Known once a handshake did not end in HTTP/2, so that nobody waits for a connection to share.
    speaks_http1: bool,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, options: &ClientOptions) -> Arc<Self> {
        let may_share = options.http2 && dialer.tls.is_some();
        Arc::new(Self {
            dialer,
            max_header_bytes: options.max_header_bytes.max(8192),
            keep_alive: options.keep_alive,
            state: Mutex::new(State {
                speaks_http1: !may_share,
                ..State::default()
            }),
            connecting: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connect_early(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut state = self.lock();
        if state.early.is_none() && state.idle.is_empty() && state.shared.is_none() {
            let pool = Arc::clone(self);
            state.early = Some(runtime.spawn(async move { pool.connect().await }));
        }
    }

    /// A connection for one call: one at rest, the shared one, the early one, or a new one, in this order.
    ///
    /// With `fresh` it is a new one for sure.
    pub(super) async fn lease(&self, fresh: bool) -> Result<Connection, Error> {
        if fresh {
            return self.connect_and_share().await;
        }
        if let Some(connection) = self.at_rest().await {
            return Ok(connection);
        }
        if let Some(result) = self.early().await {
            return result.map(|connection| self.shared(connection));
        }
        let connecting = if self.lock().speaks_http1 {
            None
        } else {
            Some(self.connecting.lock().await)
        };
        if connecting.is_some()
            && let Some(connection) = self.at_rest().await
        {
            return Ok(connection);
        }
        self.connect_and_share().await
    }

    /// Takes back an HTTP/1 connection whose last exchange has ended.
    pub(super) fn rest(&self, mut connection: Connection) {
        if connection.is_http2() || connection.is_closed() {
            return;
        }
        connection.reused = true;
        let mut state = self.lock();
        if state.idle.len() >= MAX_IDLE {
            state.idle.remove(0);
        }
        state.idle.push(connection);
    }

    /// Shares the shared connection with nobody new: something on it does not move.
    pub(super) fn distrust(&self) {
        self.lock().shared = None;
    }

    async fn at_rest(&self) -> Option<Connection> {
        loop {
            let mut connection = {
                let mut state = self.lock();
                let keep_alive = self.keep_alive;
                state.shared.take_if(|shared| !shared.is_usable(keep_alive));
                state.idle.retain(|idle| idle.is_usable(keep_alive));
                if let Some(shared) = &state.shared {
                    return shared.share();
                }
                state.idle.pop()?
            };
            // The task that drives it may still have to notice that the exchange is over, or that the peer is gone.
            if let Sender::Http1(sender) = &mut connection.sender
                && matches!(timeout(READY_TIME, sender.ready()).await, Ok(Ok(())))
            {
                return Some(connection);
            }
        }
    }

    /// The connection that was opened early, waited for if need be.
    ///
    /// `None` where there is none, or where it failed before anybody asked: that is no news by now.
    async fn early(&self) -> Option<Result<Connection, Error>> {
        let task = self.lock().early.take()?;
        let waited = !task.is_finished();
        match task.await {
            Ok(Ok(mut connection)) if connection.is_usable(self.keep_alive) => {
                connection.reused = true;
                Some(Ok(connection))
            }
            Ok(Err(error)) if waited => Some(Err(error)),
            _ => None,
        }
    }

    async fn connect_and_share(&self) -> Result<Connection, Error> {
        let connection = self.connect().await?;
        Ok(self.shared(connection))
    }

    /// Lets others have a share in a new connection, if it can be shared.
    fn shared(&self, connection: Connection) -> Connection {
        let mut state = self.lock();
        match connection.share() {
            Some(other) => state.shared = Some(other),
            None => state.speaks_http1 = true,
        }
        connection
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let wire = self.dialer.dial().await?;
        let http2 = wire.http2;
        tracing::debug!(endpoint = %self.dialer.endpoint, http2, "connected");
        self.speak(wire).await.map_err(|error| {
            use snafu::IntoError as _;
            ConnectSnafu {
                endpoint: self.dialer.endpoint.to_string(),
            }
            .into_error(std::io::Error::other(error))
        })
    }

    async fn speak(&self, wire: Wire) -> Result<Connection, hyper::Error> {
        let Wire { io, http2, gauge } = wire;
        let io: TokioIo<Box<dyn Io>> = TokioIo::new(io);
        let (sender, life) = if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME_BYTES)
                .max_send_buf_size(SEND_BUFFER_BYTES)
                .max_header_list_size(u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX))
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING);
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Http2(sender), drive(connection))
        } else {
            let mut builder = http1::Builder::new();
            builder
                .max_buf_size(HTTP1_BUFFER_BYTES)
                .max_header_size(self.max_header_bytes);
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Http1(sender), drive(connection))
        };
        Ok(Connection {
            sender,
            gauge,
            reused: false,
            life: Arc::new(life),
        })
    }
}

/// Runs a connection in a task of its own, until it ends or nobody needs it.
fn drive(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> Life {
    let (closing, closed) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            _ = closed => match timeout(CLOSE_TIME, connection).await {
                Ok(result) => result,
                Err(_) => return,
            },
        };
        if let Err(error) = result {
            // Whoever had a call on it was told.
            tracing::debug!(%error, "a connection ended");
        }
    });
    Life {
        task: task.abort_handle(),
        _closing: closing,
    }
}
