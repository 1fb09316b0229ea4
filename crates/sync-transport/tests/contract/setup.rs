//! A server of each kind, with a client to match, and certificates made on the spot.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use sync_core::retry::Backoff;
use sync_transport::{
    Body, Client, ClientOptions, ClientTls, Drained, Endpoint, Error, Handler, Listener, Secret,
    ServerOptions, ServerTls, serve,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The ways that a client and a server can be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    TlsHttp1,
    TlsHttp2,
    Unix,
    Memory,
    Custom,
}

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running server.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    tls: Option<ClientTls>,
    way: Way,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Drained, Error>>,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start(way: Way, handler: impl Handler) -> Self {
        Self::start_with(way, ServerOptions::default(), handler).await
    }

    pub(crate) async fn start_with(
        way: Way,
        options: ServerOptions,
        handler: impl Handler,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let mut tls = None;
        let (endpoint, listener) = match way {
            Way::Tcp => {
                let listener = Listener::bind_tcp(LOOPBACK, None).await.unwrap();
                let address = listener.local_addr().unwrap();
                let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
                (endpoint, listener)
            }
            Way::TlsHttp1 | Way::TlsHttp2 => {
                let authority = Authority::new();
                tls = Some(authority.trusted());
                let server = authority.server(Some("127.0.0.1"), 2999);
                let listener = Listener::bind_tcp(LOOPBACK, Some(server)).await.unwrap();
                let address = listener.local_addr().unwrap();
                let endpoint = Endpoint::parse(&format!("https://{address}")).unwrap();
                (endpoint, listener)
            }
            Way::Unix => {
                let path = dir.path().join("socket");
                let listener = Listener::bind_unix(&path).await.unwrap();
                (Endpoint::Unix(path), listener)
            }
            Way::Memory => {
                let (connector, listener) = Listener::memory();
                (Endpoint::Memory(connector), listener)
            }
            Way::Custom => {
                let (connector, listener) = Listener::memory();
                (Endpoint::Custom(Arc::new(connector)), listener)
            }
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(
            vec![listener],
            Arc::new(handler),
            options,
            async move {
                // A test that drops the server without stopping it is done with it, too.
                let _ = stopped.await;
            },
        ));
        Self {
            endpoint,
            tls,
            way,
            stop,
            task,
            _dir: dir,
        }
    }

    /// A client that never tries again.
    pub(crate) fn client(&self) -> Client {
        self.client_with(ClientOptions {
            backoff: Backoff::NEVER,
            ..ClientOptions::default()
        })
    }

    pub(crate) fn client_with(&self, mut options: ClientOptions) -> Client {
        options.http2 = self.way == Way::TlsHttp2;
        let token = Some(Secret::new("hunter2"));
        Client::new(self.endpoint.clone(), self.tls.clone(), token, options)
    }

    /// Asks it to stop, without waiting.
    pub(crate) fn stop(self) -> JoinHandle<Result<Drained, Error>> {
        self.stop.send(()).unwrap();
        self.task
    }
}

/// Tries again at once, so that no test waits for a backoff.
pub(crate) fn at_once(attempts: u32) -> ClientOptions {
    ClientOptions {
        backoff: Backoff {
            base: Duration::ZERO,
            attempts,
            ..Backoff::default()
        },
        ..ClientOptions::default()
    }
}

/// A certificate authority of our own.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn trusted(&self) -> ClientTls {
        ClientTls::from_pem(self.pem.as_bytes()).unwrap()
    }

    /// A certificate for a name, valid until the end of a year.
    pub(crate) fn certificate(&self, name: Option<&str>, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = name.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn server(&self, name: Option<&str>, until: i32) -> ServerTls {
        let (certificate, key) = self.certificate(name, until);
        ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// An answer with a status and a text.
pub(crate) fn answer(status: u16, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let body = response.into_body().read_to_end(1 << 20).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Sends the request's body back as it comes.
pub(crate) async fn echo(request: Request<Body>, _: sync_transport::Peer) -> Response<Body> {
    Response::new(request.into_body())
}

/// `count` pieces of 64 KiB; the bytes say where they are.
pub(crate) fn pieces(count: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    (0..count).map(|index| {
        let byte = u8::try_from(index % 251).unwrap();
        Bytes::from(vec![byte; PIECE])
    })
}

pub(crate) const PIECE: usize = 64 * 1024;

/// The pieces as a body, counted as they are taken.
pub(crate) fn counted(count: u64, taken: &Arc<std::sync::atomic::AtomicU64>) -> Body {
    let taken = Arc::clone(taken);
    let stream = futures_util::stream::iter(pieces(count).map(move |piece| {
        taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::io::Error>(piece)
    }));
    Body::stream(stream)
}

/// Waits, without a clock, until a number that others change has settled, by asking a server in between.
pub(crate) async fn settled(number: &std::sync::atomic::AtomicU64, at_least: u64) -> u64 {
    let other = Server::start(Way::Tcp, echo).await;
    let client = other.client();
    loop {
        let before = number.load(std::sync::atomic::Ordering::SeqCst);
        for _ in 0..50 {
            let response = client.send(sync_transport::Call::get("/")).await.unwrap();
            text(response).await;
        }
        let after = number.load(std::sync::atomic::Ordering::SeqCst);
        if before == after && before >= at_least {
            return after;
        }
    }
}
