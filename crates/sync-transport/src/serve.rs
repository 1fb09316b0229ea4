//! The server: accepts, bounds, and goes away in good order.

mod connection;
mod requests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connect::Io;
use crate::error::{Error, InvalidOptionSnafu};
use crate::handler::{Handler, Peer};
use crate::listener::Listener;
use crate::meter::Totals;
use crate::tls::ServerTls;

/// How long nothing is accepted after the system refused to, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// For the TLS handshake, and for the headers of a request from the moment the connection is idle;
    /// so also the longest that an idle connection is kept. 30 s by default.
    pub header_timeout: Duration,
    /// For a body, in either direction, without any progress that the peer could have made; 60 s by default.
    ///
    /// A peer that does not take an answer is noticed up to a quarter later, and loses its connection.
    pub idle_timeout: Duration,
    /// The longest headers of a request, in bytes, 8 KiB to 512 KiB; 64 KiB by default.
    ///
    /// Longer ones are answered 431; much longer ones cost an HTTP/2 connection.
    pub max_header_bytes: usize,
    /// How many connections may be open; more wait to be accepted. At least 1; 1024 by default.
    pub max_connections: usize,
    /// How many requests one HTTP/2 connection may have running. At least 1; 128 by default.
    pub max_streams: u32,
    /// How long running requests may take to finish after a shutdown began; 30 s by default.
    pub drain_timeout: Duration,
    /// Where bytes on the sockets are counted; nobody else looks at them by default.
    pub totals: Arc<Totals>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            max_header_bytes: 64 * 1024,
            max_connections: 1024,
            max_streams: 128,
            drain_timeout: Duration::from_secs(30),
            totals: Arc::default(),
        }
    }
}

impl ServerOptions {
    /// The largest `max_header_bytes`.
    pub const MAX_HEADER_BYTES: usize = 512 * 1024;

    fn check(&self) -> Result<(), Error> {
        let refuse = |option, bounds| InvalidOptionSnafu { option, bounds }.fail();
        if !(8 * 1024..=Self::MAX_HEADER_BYTES).contains(&self.max_header_bytes) {
            return refuse("max_header_bytes", "8 KiB to 512 KiB");
        }
        if self.max_connections == 0 {
            return refuse("max_connections", "at least 1");
        }
        if self.max_streams == 0 {
            return refuse("max_streams", "at least 1");
        }
        Ok(())
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// How many requests were begun since the start.
    pub requests: u64,
    /// How many connections still had something running when the drain time was over, and were cut.
    pub cut: usize,
}

/// Serves connections from all listeners until `shutdown` is ready, then drains.
///
/// Draining: the listeners are dropped, so new connections are refused; idle connections are closed;
/// running requests finish, up to the drain timeout; what is left then is cut, its handlers stopped.
/// When this returns, or is dropped, no handler of it runs any more.
///
/// Over TLS a connection speaks what its handshake agreed on, HTTP/2 or HTTP/1.1; without TLS it is HTTP/1.1.
///
/// # Errors
///
/// [`Error::InvalidOption`] before anything is accepted. What goes wrong with one connection ends that connection only.
pub async fn serve(
    listeners: Vec<Listener>,
    handler: Arc<dyn Handler>,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, Error> {
    options.check()?;
    let options = Arc::new(options);
    let served = Arc::new(AtomicU64::new(0));
    let (end, ending) = watch::channel(Ending::NotYet);
    let (arrivals, mut arrived) = mpsc::channel(1);
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(accept(listener, arrivals.clone()));
    }
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            Some(arrival) = arrived.recv(), if connections.len() < options.max_connections => {
                let Arrival { socket, peer, tls } = arrival;
                connections.spawn(connection::run(
                    socket,
                    tls,
                    peer,
                    Arc::clone(&handler),
                    Arc::clone(&options),
                    Arc::clone(&served),
                    ending.clone(),
                ));
            }
        }
    }
    // Dropping the sockets is what makes the system refuse new connections.
    acceptors.shutdown().await;
    drop(arrived);
    end.send_replace(Ending::Drain);
    let drain = async { while connections.join_next().await.is_some() {} };
    let in_time = timeout(options.drain_timeout, drain).await.is_ok();
    let cut = connections.len();
    end.send_replace(Ending::Cut);
    while connections.join_next().await.is_some() {}
    if !in_time {
        tracing::warn!(cut, "connections were cut at the end of the drain time");
    }
    Ok(Drained {
        requests: served.load(Ordering::Relaxed),
        cut,
    })
}

/// How far the server is with going away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    NotYet,
    /// Finish what runs.
    Drain,
    /// Stop what runs.
    Cut,
}

/// Ready once the server is as far.
async fn reached(ending: &mut watch::Receiver<Ending>, at_least: Ending) {
    // The sender lives as long as the server; without it the server is gone, too.
    let _ = ending.wait_for(|now| *now >= at_least).await;
}

/// A connection that nobody serves yet.
struct Arrival {
    socket: Box<dyn Io>,
    peer: Peer,
    tls: Option<ServerTls>,
}

async fn accept(mut listener: Listener, arrivals: mpsc::Sender<Arrival>) {
    let tls = listener.tls();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let tls = tls.clone();
                let arrival = Arrival { socket, peer, tls };
                if arrivals.send(arrival).await.is_err() {
                    return;
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether an error of accepting says something about one connection only.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}
