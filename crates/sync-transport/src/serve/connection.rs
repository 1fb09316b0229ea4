//! One connection, from its first byte to its last.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::BufReader;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

use super::requests::{Answering, Requests, Standing};
use super::{Ending, ServerOptions, reached};
use crate::connect::{Io, TLS_READ_BYTES, TLS_WRITE_BYTES};
use crate::handler::{Handler, Peer};
use crate::http2_window::{CONNECTION_WINDOW, FRAME_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW};
use crate::meter::{Gauge, Metered, Side};
use crate::tls::{self, ServerTls};

/// The most that hyper buffers of an HTTP/1 message, in either direction.
const HTTP1_BUFFER_BYTES: usize = ServerOptions::MAX_HEADER_BYTES;

/// Serves a connection until it ends, and waits for the handlers that it has started.
pub(super) async fn run(
    socket: Box<dyn Io>,
    tls: Option<ServerTls>,
    peer: Peer,
    handler: Arc<dyn Handler>,
    options: Arc<ServerOptions>,
    served: Arc<AtomicU64>,
    mut ending: watch::Receiver<Ending>,
) {
    let gauge = Gauge::new(Arc::clone(&options.totals));
    let socket = Metered::new(socket, Side::Server, Arc::clone(&gauge));
    let (io, http2): (Box<dyn Io>, bool) = match tls {
        None => (Box::new(socket), false),
        Some(tls) => {
            let socket = BufReader::with_capacity(TLS_READ_BYTES, socket);
            let handshake = TlsAcceptor::from(tls.config()).accept(socket);
            let handshake = tokio::select! {
                handshake = timeout(options.header_timeout, handshake) => handshake,
                () = reached(&mut ending, Ending::Drain) => return,
            };
            match handshake {
                Ok(Ok(mut stream)) => {
                    let session = stream.get_mut().1;
                    session.set_buffer_limit(Some(TLS_WRITE_BYTES));
                    let http2 = tls::is_h2(session.alpn_protocol());
                    (Box::new(stream), http2)
                }
                Ok(Err(error)) => {
                    tracing::debug!(?peer, %error, "a TLS handshake failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!(?peer, "a TLS handshake took too long");
                    return;
                }
            }
        }
    };
    let requests = Requests::new(handler, peer, Arc::clone(&options), served, gauge);
    let _stop = StopHandlers(Arc::clone(&requests));
    let spoken = speak(io, http2, Arc::clone(&requests), options, ending.clone());
    let whole = async {
        spoken.await;
        // The connection is gone, and with it every body: what still runs learns of it there.
        requests.finish().await;
    };
    let cut = tokio::select! {
        () = whole => false,
        () = reached(&mut ending, Ending::Cut) => true,
    };
    if cut {
        requests.stop();
        requests.finish().await;
    }
}

/// Stops the handlers of a connection whose server was dropped.
struct StopHandlers(Arc<Requests>);

impl Drop for StopHandlers {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Speaks HTTP until the connection ends or is given up.
fn speak(
    io: Box<dyn Io>,
    http2: bool,
    requests: Arc<Requests>,
    options: Arc<ServerOptions>,
    ending: watch::Receiver<Ending>,
) -> BoxFuture<'static, ()> {
    let io = TokioIo::new(io);
    let service = Answering(Arc::clone(&requests));
    if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_concurrent_streams(options.max_streams)
            .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX))
            .serve_connection(io, service);
        drive(connection, requests, options, ending).boxed()
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_header_size(options.max_header_bytes)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            .serve_connection(io, service);
        drive(connection, requests, options, ending).boxed()
    }
}

async fn drive<C>(
    connection: C,
    requests: Arc<Requests>,
    options: Arc<ServerOptions>,
    mut ending: watch::Receiver<Ending>,
) where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut connection = std::pin::pin!(connection);
    let often = options.header_timeout.min(options.idle_timeout) / 4;
    // A period of zero is no period.
    let mut look = interval(often.max(Duration::from_millis(1)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = reached(&mut ending, Ending::Drain), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => match requests.standing() {
                Standing::Idle if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                Standing::Fine | Standing::Idle => {}
                Standing::Dead => {
                    tracing::debug!("a connection is closed: its peer does nothing");
                    return;
                }
            },
        }
    }
}
