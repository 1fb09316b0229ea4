//! From an endpoint to a connection that HTTP can be spoken on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use snafu::ResultExt as _;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::endpoint::Endpoint;
use crate::error::{
    ConnectSnafu, Error, InsecureTokenSnafu, InvalidEndpointSnafu, ResolveSnafu, TlsSnafu,
};
use crate::meter::{Gauge, Metered, Side, Totals};
use crate::tls;

/// How long an address has to itself before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// rustls reads 4 KiB at a time; between it and the socket goes a buffer of this many bytes.
pub(crate) const TLS_READ_BYTES: usize = 128 * 1024;

/// How many encrypted bytes rustls holds before a write waits; one system call takes as many.
pub(crate) const TLS_WRITE_BYTES: usize = 256 * 1024;

/// Anything that HTTP can run over: bytes in order, both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A way to a server that this crate does not know: a tunnel, the pipes of another process, a simulated network.
///
/// What it connects is used like a socket: requests have their deadlines, are tried again where that is safe, and may each
/// ask for a connection of their own.
pub trait Connect: fmt::Debug + Send + Sync {
    /// A new connection. Dropping the future gives up; a connect that takes longer than the client's timeout is given up, too.
    ///
    /// # Errors
    ///
    /// Why there is none: that counts as a server that cannot be reached.
    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn Io>>>;

    /// Whether nobody else can read what is sent there: only then is a token sent. `false` unless said otherwise.
    fn is_private(&self) -> bool {
        false
    }
}

/// A connection before HTTP.
pub(crate) struct Wire {
    pub(crate) io: Box<dyn Io>,
    pub(crate) http2: bool,
    pub(crate) gauge: Arc<Gauge>,
}

/// Knows how to connect to one endpoint.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Whether a token will be sent that nobody outside this machine may read.
    pub(crate) loopback_only: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) totals: Arc<Totals>,
}

impl Dialer {
    /// Resolves, connects and shakes hands, all within the connect timeout.
    pub(crate) async fn dial(&self) -> Result<Wire, Error> {
        match timeout(self.connect_timeout, self.dial_unbounded()).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)).context(self.unreachable()),
        }
    }

    async fn dial_unbounded(&self) -> Result<Wire, Error> {
        let gauge = Gauge::new(Arc::clone(&self.totals));
        let io: Box<dyn Io> = match &self.endpoint {
            Endpoint::Http { host, port } => {
                let socket = self.tcp(host, *port).await?;
                Box::new(Metered::new(socket, Side::Client, Arc::clone(&gauge)))
            }
            Endpoint::Https { host, port } => {
                let socket = self.tcp(host, *port).await?;
                let socket = Metered::new(socket, Side::Client, Arc::clone(&gauge));
                return self.shake_hands(socket, host, gauge).await;
            }
            Endpoint::Unix(path) => {
                let socket = unix(path).await.context(self.unreachable())?;
                Box::new(Metered::new(socket, Side::Client, Arc::clone(&gauge)))
            }
            Endpoint::Memory(connector) => {
                let socket = connector.open().await.context(self.unreachable())?;
                Box::new(Metered::new(socket, Side::Client, Arc::clone(&gauge)))
            }
            Endpoint::Custom(connector) => {
                let socket = connector.connect().await.context(self.unreachable())?;
                Box::new(Metered::new(socket, Side::Client, Arc::clone(&gauge)))
            }
        };
        Ok(Wire {
            io,
            http2: false,
            gauge,
        })
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .context(ResolveSnafu { host })?
            .collect();
        if self.loopback_only {
            addresses.retain(|address| address.ip().is_loopback());
            snafu::ensure!(!addresses.is_empty(), InsecureTokenSnafu { host });
        }
        let socket = first_to_connect(addresses)
            .await
            .context(self.unreachable())?;
        socket.set_nodelay(true).context(self.unreachable())?;
        Ok(socket)
    }

    async fn shake_hands(
        &self,
        socket: Metered<TcpStream>,
        host: &str,
        gauge: Arc<Gauge>,
    ) -> Result<Wire, Error> {
        let refuse = |reason| {
            let endpoint = self.endpoint.to_string();
            InvalidEndpointSnafu { endpoint, reason }
        };
        let Some(config) = &self.tls else {
            return refuse("https needs certificate authorities to trust").fail();
        };
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return refuse("no certificate can be made for its host").fail();
        };
        let socket = BufReader::with_capacity(TLS_READ_BYTES, socket);
        let mut stream = TlsConnector::from(Arc::clone(config))
            .connect(name, socket)
            .await
            .map_err(|source| {
                let endpoint = self.endpoint.to_string();
                match tls::trouble(&source) {
                    Some(trouble) => TlsSnafu { endpoint, trouble }.into_error(source),
                    None => ConnectSnafu { endpoint }.into_error(source),
                }
            })?;
        let session = stream.get_mut().1;
        session.set_buffer_limit(Some(TLS_WRITE_BYTES));
        let http2 = tls::is_h2(session.alpn_protocol());
        Ok(Wire {
            io: Box::new(stream),
            http2,
            gauge,
        })
    }

    fn unreachable(&self) -> ConnectSnafu<String> {
        ConnectSnafu {
            endpoint: self.endpoint.to_string(),
        }
    }
}

use snafu::IntoError as _;

async fn unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Tries addresses of both families in turn, a new one beside the others whenever none has answered for a while
/// ("Happy Eyeballs", RFC 8305, without its sorting: the resolver has sorted).
async fn first_to_connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = interleave(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// Families in turn, the first address's first, so that a broken IPv6 costs one address only.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut mixed = Vec::with_capacity(ours.len() + others.len());
    let (mut ours, mut others) = (ours.drain(..), others.drain(..));
    loop {
        match (ours.next(), others.next()) {
            (None, None) => return mixed,
            (one, other) => mixed.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|part| part.parse().unwrap()).collect()
        };
        let got = interleave(parse("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1"));
        assert_eq!(got, parse("[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"));
        assert_eq!(interleave(Vec::new()), Vec::new());
    }
}
