//! What is tried again, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response};
use sync_core::Fault as _;
use sync_core::retry::Backoff;
use sync_transport::{
    ATTEMPT, Body, Call, Client, ClientOptions, Endpoint, Error, Listener, Peer, REQUEST_ID, Stage,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::setup::{LOOPBACK, Server, Way, answer, at_once, counted, text};

crate::over_every_way!(
    a_transient_answer_is_tried_again,
    a_final_answer_is_not,
    a_stream_is_not,
    the_last_answer_is_returned,
);

/// Answers with the given statuses in turn, then with the last one for ever; counts the requests.
fn script(statuses: &'static [u16], seen: &Arc<AtomicU64>) -> impl sync_transport::Handler {
    let seen = Arc::clone(seen);
    move |request: Request<Body>, _: Peer| {
        let index = usize::try_from(seen.fetch_add(1, Ordering::SeqCst)).unwrap();
        async move {
            let id = request.headers()[REQUEST_ID].to_str().unwrap().to_owned();
            let status = statuses[index.min(statuses.len() - 1)];
            if status == 401 {
                return answer(401, "who are you?");
            }
            let attempt = request.headers().get(ATTEMPT).cloned();
            let body = request.into_body().read_to_end(1 << 20).await.unwrap();
            let mut response = Response::new(Body::from(format!("{id} {}", body.len())));
            *response.status_mut() = status.try_into().unwrap();
            response
                .headers_mut()
                .extend(attempt.map(|attempt| (ATTEMPT, attempt)));
            response
        }
    }
}

async fn a_transient_answer_is_tried_again(way: Way) {
    let seen = Arc::new(AtomicU64::new(0));
    let server = Server::start(way, script(&[503, 429, 502, 504, 200], &seen)).await;
    let client = server.client_with(at_once(5));
    let call = Call::post("/").body(vec![1; 1000]).idempotent(true);
    let response = client.send(call).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[ATTEMPT], "5");
    let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
    assert_eq!(text(response).await, format!("{id} 1000"));
    assert_eq!(seen.load(Ordering::SeqCst), 5);
    assert_eq!(client.traffic().requests, 5);
}

async fn a_final_answer_is_not(way: Way) {
    for status in [&[500], &[401], &[404], &[412]] {
        let seen = Arc::new(AtomicU64::new(0));
        let server = Server::start(way, script(status, &seen)).await;
        let response = server.client_with(at_once(5)).send(Call::get("/")).await;
        assert_eq!(response.unwrap().status().as_u16(), status[0]);
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }
}

async fn a_stream_is_not(way: Way) {
    let seen = Arc::new(AtomicU64::new(0));
    let server = Server::start(way, script(&[503, 200], &seen)).await;
    let client = server.client_with(at_once(5));
    let taken = Arc::new(AtomicU64::new(0));
    let call = Call::post("/").body(counted(2, &taken)).idempotent(true);
    assert_eq!(client.send(call).await.unwrap().status(), 503);
    let call = Call::post("/").body(b"once".to_vec());
    let response = client.send(call).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key(ATTEMPT), "it was new");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

async fn the_last_answer_is_returned(way: Way) {
    let seen = Arc::new(AtomicU64::new(0));
    let server = Server::start(way, script(&[503], &seen)).await;
    let response = server.client_with(at_once(3)).send(Call::get("/")).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 503);
    assert!(text(response).await.ends_with(" 0"));
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

/// How long a call takes on a paused clock, and the status it ends with, when the first answer is 503 and says when to
/// come back.
async fn with_retry_after(seconds: &'static str) -> (Duration, u16) {
    let seen = Arc::new(AtomicU64::new(0));
    let server = Server::start(Way::Memory, move |_: Request<Body>, _: Peer| {
        let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut response = answer(if first { 503 } else { 200 }, "");
            let value = HeaderValue::from_static(seconds);
            response.headers_mut().insert(RETRY_AFTER, value);
            response
        }
    })
    .await;
    let client = server.client_with(ClientOptions::default());
    let before = Instant::now();
    let response = client.send(Call::get("/")).await.unwrap();
    (before.elapsed(), response.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed() {
    let (waited, status) = with_retry_after("7").await;
    assert_eq!(status, 200);
    let jitter = Backoff::default().base + Duration::from_millis(200);
    let asked = Duration::from_secs(7);
    assert!((asked..=asked + jitter).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_ends_the_retries() {
    let (waited, status) = with_retry_after("61").await;
    assert_eq!(status, 503);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn delays_grow_and_end() {
    let seen = Arc::new(AtomicU64::new(0));
    let server = Server::start(Way::Memory, script(&[503], &seen)).await;
    let before = Instant::now();
    let client = server.client_with(ClientOptions::default());
    client.send(Call::get("/")).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 5);
    // 200, 400, 800 and 1600 ms at most, and what draining takes.
    assert!(before.elapsed() <= Duration::from_millis(3500));
}

#[tokio::test]
async fn nobody_there_is_tried_again_and_then_said() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let endpoint = Endpoint::parse(&url).unwrap();
    let client = Client::new(endpoint, None, None, at_once(3));
    let taken = Arc::new(AtomicU64::new(0));
    let error = client
        .send(Call::post("/").body(counted(1, &taken)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "transport/unreachable");
    assert_eq!(error.class(), sync_core::Class::Unavailable);
    assert!(error.hint().unwrap().contains("running"));
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_memory_listener_that_is_gone_refuses() {
    let (connector, listener) = Listener::memory();
    drop(listener);
    let client = Client::new(Endpoint::Memory(connector), None, None, at_once(2));
    let error = client.send(Call::get("/")).await.unwrap_err();
    assert_eq!(error.code(), "transport/unreachable");
}

#[tokio::test]
async fn a_server_that_is_late_is_found_by_the_retry_even_for_a_stream() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("socket");
    let options = ClientOptions {
        backoff: Backoff {
            base: Duration::from_millis(1),
            attempts: u32::MAX,
            ..Backoff::default()
        },
        ..ClientOptions::default()
    };
    let client = Client::new(Endpoint::Unix(path.clone()), None, None, options);
    let taken = Arc::new(AtomicU64::new(0));
    let call = Call::post("/").body(counted(1, &taken));
    let sending = tokio::spawn(async move { client.send(call).await });
    tokio::task::yield_now().await;
    let listener = Listener::bind_unix(&path).await.unwrap();
    let server = sync_transport::serve(
        vec![listener],
        Arc::new(crate::setup::echo),
        sync_transport::ServerOptions::default(),
        async { assert_eq!(sending.await.unwrap().unwrap().status(), 200) },
    );
    server.await.unwrap();
}

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A server that answers one request on the first connection, closes it when the second has come, and answers others
/// on further connections.
async fn forgetful(listener: TcpListener) {
    let mut request = [0; 4096];
    let (mut first, _) = listener.accept().await.unwrap();
    assert!(first.read(&mut request).await.unwrap() > 0);
    first.write_all(FINE).await.unwrap();
    assert!(first.read(&mut request).await.unwrap() > 0);
    drop(first);
    loop {
        let (mut other, _) = listener.accept().await.unwrap();
        assert!(other.read(&mut request).await.unwrap() > 0);
        other.write_all(FINE).await.unwrap();
    }
}

async fn forgetful_client() -> Client {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(forgetful(listener));
    let endpoint = Endpoint::parse(&url).unwrap();
    let client = Client::new(endpoint, None, None, at_once(1));
    client.send(Call::get("/")).await.unwrap();
    client
}

#[tokio::test]
async fn a_stale_connection_is_replaced_and_not_counted() {
    let client = forgetful_client().await;
    // One attempt only: a failure that counted would be the end.
    let response = client.send(Call::get("/")).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_call_that_may_have_arrived_is_not_repeated_unless_that_is_safe() {
    let client = forgetful_client().await;
    let error = client.send(Call::post("/")).await.unwrap_err();
    let stage = Stage::Answer;
    assert!(
        matches!(&error, Error::Lost { stage: at, .. } if *at == stage),
        "{error:?}"
    );
    assert_eq!(error.code(), "transport/lost");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_costs_nothing_even_for_a_post() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut request = [0; 4096];
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(socket.read(&mut request).await.unwrap() > 0);
            socket.write_all(FINE).await.unwrap();
            socket.shutdown().await.unwrap();
            // The client has noticed.
            assert_eq!(socket.read(&mut request).await.unwrap(), 0);
        }
    });
    let client = Client::new(Endpoint::parse(&url).unwrap(), None, None, at_once(1));
    client.send(Call::post("/")).await.unwrap();
    // It closes its end when it has read the other's: only then the second request is sent.
    let second = client.send(Call::post("/"));
    let response = second.await.unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    drop(client);
    server.await.unwrap();
}

#[tokio::test]
async fn an_early_answer_of_a_rude_server_is_not_lost() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            socket
                .write_all(b"HTTP/1.1 413 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!")
                .await
                .unwrap();
            // Dropped with input that nobody has read: the client is reset.
        }
    });
    let client = Client::new(Endpoint::parse(&url).unwrap(), None, None, at_once(1));
    for _ in 0..50 {
        let taken = Arc::new(AtomicU64::new(0));
        let call = Call::post("/").body(counted(1024, &taken));
        let response = client.send(call).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(text(response).await, "no!");
    }
}
