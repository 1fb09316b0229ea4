//! Bounds: of time, on a paused clock over memory, and of size and number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Request, Response};
use sync_core::Fault as _;
use sync_core::retry::Backoff;
use sync_transport::{
    Body, Call, Client, ClientOptions, Endpoint, Error, Listener, Peer, ServerOptions, Wait, serve,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::setup::{Authority, LOOPBACK, Server, Way, answer, counted, echo, text};

crate::over_every_way!(
    long_headers_are_answered_431,
    more_connections_wait_for_their_turn,
);

/// A body that gives a little and then nothing, for ever.
fn stalls() -> Body {
    let first = stream::iter([Ok::<_, Error>(Bytes::from_static(b"begun"))]);
    Body::stream(first.chain(stream::pending()))
}

fn is_timeout(error: &Error, expected: Wait) -> bool {
    error.code() == "transport/timed-out"
        && matches!(error, Error::TimedOut { wait, .. } if *wait == expected)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_begin() {
    let server = Server::start(Way::Memory, |request: Request<Body>, _: Peer| async move {
        request.into_body().read_to_end(1 << 20).await.unwrap();
        std::future::pending().await
    })
    .await;
    let before = Instant::now();
    let call = Call::post("/").body(vec![0; 300_000]);
    let error = server.client().send(call).await.unwrap_err();
    assert!(is_timeout(&error, Wait::Answer), "{error:?}");
    assert_eq!(before.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops() {
    let server = Server::start(Way::Memory, |_: Request<Body>, _: Peer| async {
        Response::new(stalls())
    })
    .await;
    let response = server.client().send(Call::get("/")).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "begun");
    let before = Instant::now();
    let error = body.next().await.unwrap().unwrap_err();
    assert!(is_timeout(&error, Wait::Receiving), "{error:?}");
    assert_eq!(before.elapsed().as_secs(), 60);
    assert!(body.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_taken() {
    let server = Server::start(Way::Memory, |_request: Request<Body>, _: Peer| async {
        std::future::pending().await
    })
    .await;
    let taken = Arc::new(AtomicU64::new(0));
    let before = Instant::now();
    let call = Call::post("/").body(counted(1024, &taken));
    let error = server.client().send(call).await.unwrap_err();
    assert!(is_timeout(&error, Wait::Sending), "{error:?}");
    assert_eq!(before.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_slow_producer_is_nobody_s_fault() {
    let server = Server::start(Way::Memory, echo).await;
    let slow = stream::unfold(0, |count| async move {
        tokio::time::sleep(Duration::from_secs(50)).await;
        (count < 10).then(|| (Ok::<_, Error>(Bytes::from_static(b"x")), count + 1))
    });
    let call = Call::post("/").body(Body::stream(slow));
    let response = server.client().send(call).await.unwrap();
    assert_eq!(text(response).await, "xxxxxxxxxx");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stops() {
    let server = Server::start(Way::Memory, |request: Request<Body>, _: Peer| async move {
        let error = request.into_body().read_to_end(100).await.unwrap_err();
        assert!(is_timeout(&error, Wait::Receiving), "{error:?}");
        answer(408, "too slow")
    })
    .await;
    let before = Instant::now();
    let response = server.client().send(Call::post("/").body(stalls())).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(text(response).await, "too slow");
    assert_eq!(before.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken() {
    let taken = Arc::new(AtomicU64::new(0));
    let taking = Arc::clone(&taken);
    let server = Server::start(Way::Memory, move |_: Request<Body>, _: Peer| {
        let body = counted(1024, &taking);
        async move { Response::new(body) }
    })
    .await;
    let client = server.client();
    let response = client.send(Call::get("/")).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let stopped = server.stop();
    // Its one connection is stuck, and is dropped long before the drain time would be over.
    let before = Instant::now();
    let drained = stopped.await.unwrap().unwrap();
    assert_eq!(drained.cut, 1, "the drain time of 30 s is shorter");
    assert!(before.elapsed() <= Duration::from_secs(31));
    assert!(response.into_body().read_to_end(1 << 30).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_costs_the_connection() {
    let taken = Arc::new(AtomicU64::new(0));
    let taking = Arc::clone(&taken);
    let options = ServerOptions {
        drain_timeout: Duration::from_hours(1),
        ..ServerOptions::default()
    };
    let server = Server::start_with(Way::Memory, options, move |_: Request<Body>, _: Peer| {
        let body = counted(1024, &taking);
        async move { Response::new(body) }
    })
    .await;
    let response = server.client().send(Call::get("/")).await.unwrap();
    let before = Instant::now();
    let drained = server.stop().await.unwrap().unwrap();
    assert_eq!(drained.cut, 0);
    let waited = before.elapsed().as_secs();
    assert!((59..=76).contains(&waited), "{waited}");
    let error = response.into_body().read_to_end(1 << 30).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_is_closed_after_a_while() {
    let options = ServerOptions {
        max_connections: 1,
        ..ServerOptions::default()
    };
    let server = Server::start_with(Way::Memory, options, echo).await;
    let idle = server.client();
    text(idle.send(Call::get("/")).await.unwrap()).await;
    // The only connection is taken, until it has rested for long enough.
    let before = Instant::now();
    text(server.client().send(Call::get("/")).await.unwrap()).await;
    let waited = before.elapsed().as_secs();
    assert!((29..=33).contains(&waited), "{waited}");
    text(idle.send(Call::get("/")).await.unwrap()).await;
}

#[tokio::test]
async fn a_connect_that_takes_too_long() {
    // A listener that accepts nothing, and a backlog that is full: TLS never answers.
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(20),
        backoff: Backoff::NEVER,
        ..ClientOptions::default()
    };
    let tls = Some(Authority::new().trusted());
    let client = Client::new(Endpoint::parse(&url).unwrap(), tls, None, options);
    match client.send(Call::get("/")).await.unwrap_err() {
        Error::Connect { source, .. } => assert_eq!(source.kind(), std::io::ErrorKind::TimedOut),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_without_tls_that_takes_everything_and_says_nothing() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU64::new(0));
    let accepted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            accepted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(
                async move { while socket.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {} },
            );
        }
    });
    let options = ClientOptions {
        response_timeout: Duration::from_millis(50),
        backoff: Backoff {
            base: Duration::from_millis(1),
            ..Backoff::default()
        },
        ..ClientOptions::default()
    };
    let tries = u64::from(options.backoff.attempts);
    let client = Client::new(Endpoint::parse(&url).unwrap(), None, None, options);
    let error = client.send(Call::get("/")).await.unwrap_err();
    assert!(is_timeout(&error, Wait::Answer), "{error:?}");
    assert_eq!(connections.load(Ordering::Relaxed), tries);
}

/// A client that says the given bytes and then nothing is sent away.
async fn is_sent_away(tls: bool, says: &[u8]) {
    let options = ServerOptions {
        header_timeout: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let way = if tls { Way::TlsHttp2 } else { Way::Tcp };
    let server = Server::start_with(way, options, echo).await;
    let url = server.endpoint.to_string();
    let address = url.split_once("://").unwrap().1;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(says).await.unwrap();
    let mut answer = Vec::new();
    // An end or a reset: what matters is that it comes.
    let _ = socket.read_to_end(&mut answer).await;
}

#[tokio::test]
async fn slow_clients_are_sent_away() {
    is_sent_away(false, b"").await;
    is_sent_away(false, b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    is_sent_away(true, b"").await;
    is_sent_away(true, &[22, 3, 1]).await;
}

async fn long_headers_are_answered_431(way: Way) {
    let options = ServerOptions {
        max_header_bytes: 16 * 1024,
        ..ServerOptions::default()
    };
    let server = Server::start_with(way, options, echo).await;
    let client = server.client();
    for (length, status) in [(1000, 200), (17_000, 431), (200_000, 431), (1000, 200)] {
        let name = HeaderName::from_static("x-long");
        let value = HeaderValue::from_str(&"x".repeat(length)).unwrap();
        match client.send(Call::get("/").header(name, value)).await {
            Ok(response) => assert_eq!(response.status(), status, "{length}"),
            // HTTP/2 has to read them to keep its compression in step, and gives up on what is far too long.
            Err(error) => {
                let far_too_long = way == Way::TlsHttp2 && length > 100_000;
                assert!(
                    far_too_long && error.code() == "transport/lost",
                    "{error:?}"
                );
            }
        }
    }
}

async fn more_connections_wait_for_their_turn(way: Way) {
    let options = ServerOptions {
        max_connections: 2,
        ..ServerOptions::default()
    };
    let running = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let go = Arc::new(Notify::new());
    let server = {
        let (running, most, go) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&go));
        Server::start_with(way, options, move |_: Request<Body>, _: Peer| {
            let (running, most, go) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&go));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                go.notified().await;
                running.fetch_sub(1, Ordering::SeqCst);
                answer(200, "")
            }
        })
        .await
    };
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let client = server.client();
            tokio::spawn(async move {
                // The client, and with it the connection, ends with the call.
                text(client.send(Call::get("/")).await.unwrap()).await
            })
        })
        .collect();
    let release = tokio::spawn(async move {
        loop {
            go.notify_one();
            tokio::task::yield_now().await;
        }
    });
    for call in calls {
        call.await.unwrap();
    }
    release.abort();
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn options_out_of_bounds_are_refused() {
    let fine = ServerOptions::default();
    for (options, name) in [
        (
            ServerOptions {
                max_connections: 0,
                ..fine.clone()
            },
            "max_connections",
        ),
        (
            ServerOptions {
                max_header_bytes: 1,
                ..fine.clone()
            },
            "max_header_bytes",
        ),
        (
            ServerOptions {
                max_streams: 0,
                ..fine.clone()
            },
            "max_streams",
        ),
    ] {
        let error = serve(Vec::new(), Arc::new(echo), options, async {})
            .await
            .unwrap_err();
        assert_eq!(error.code(), "transport/invalid-option");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_private_and_replaced_only_when_stale() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener::bind_unix(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = Listener::bind_unix(&path).await.unwrap_err();
    assert!(matches!(&error, Error::Listen { source, .. }
        if source.kind() == std::io::ErrorKind::AddrInUse));
    assert!(error.hint().unwrap().contains("stop"));
    drop(listener);
    assert!(!path.exists());
    // A process that was killed leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind_unix(&path).await.unwrap();
    UnixStream::connect(&path).await.unwrap();
    drop(listener);
    std::fs::write(&path, "precious").unwrap();
    Listener::bind_unix(&path).await.unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
