//! What a request and an answer carry, and over which connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{AUTHORIZATION, FROM, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use sync_transport::{Body, Call, Peer, REQUEST_ID, RequestId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::setup::{LOOPBACK, Server, Way, answer, echo, text};

crate::over_every_way!(
    a_request_arrives_as_it_was_made,
    a_request_id_is_made_or_taken_over,
    a_connection_is_kept,
    many_calls_at_once,
    a_panic_is_an_answer,
    an_answer_without_a_body_keeps_the_connection,
);

async fn a_request_arrives_as_it_was_made(way: Way) {
    let server = Server::start(way, |request: Request<Body>, peer: Peer| async move {
        let (parts, body) = request.into_parts();
        let body = body.read_to_end(100).await.unwrap();
        let host = match parts.headers.get(HOST) {
            Some(host) => host.to_str().unwrap().to_owned(),
            None => parts.uri.authority().unwrap().to_string(),
        };
        let token = parts.headers[AUTHORIZATION].to_str().unwrap().to_owned();
        let path = parts.uri.path_and_query().unwrap().clone();
        let kind = match peer {
            Peer::Tcp(address) if address.ip().is_loopback() => "network",
            Peer::Tcp(_) => "elsewhere",
            Peer::Unix => "unix",
            Peer::Memory => "memory",
        };
        let text = format!("{} {path} {host} {token} {body:?} {kind}", parts.method);
        Response::new(Body::from(text))
    })
    .await;
    let call = Call::new(Method::PUT, "/a%20b?c=d&e").body(b"body".to_vec());
    let response = server.client().send(call).await.unwrap();
    let host = match way {
        Way::Unix | Way::Memory | Way::Custom => "localhost".to_owned(),
        _ => {
            let url = server.endpoint.to_string();
            url.split_once("://").unwrap().1.to_owned()
        }
    };
    let kind = match way {
        Way::Unix => "unix",
        Way::Memory | Way::Custom => "memory",
        _ => "network",
    };
    let expected = format!("PUT /a%20b?c=d&e {host} Bearer hunter2 b\"body\" {kind}");
    assert_eq!(text(response).await, expected);
}

async fn a_request_id_is_made_or_taken_over(way: Way) {
    let server = Server::start(way, |request: Request<Body>, _: Peer| async move {
        let id = request.extensions().get::<RequestId>().unwrap().to_string();
        assert_eq!(request.headers()[REQUEST_ID], id.as_str());
        Response::new(Body::from(id))
    })
    .await;
    let client = server.client();
    let response = client.send(Call::get("/")).await.unwrap();
    let told = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
    assert_eq!(told.len(), 16);
    assert_eq!(text(response).await, told);
    let mine = Call::get("/").header(REQUEST_ID, HeaderValue::from_static("mine.1"));
    let response = client.send(mine).await.unwrap();
    assert_eq!(response.headers()[REQUEST_ID], "mine.1");
    assert_eq!(text(response).await, "mine.1");
    let bad = Call::get("/").header(REQUEST_ID, HeaderValue::from_static("a b"));
    let error = client.send(bad).await.unwrap_err();
    assert!(error.to_string().contains("request id"), "{error}");
}

async fn a_connection_is_kept(way: Way) {
    let server = Server::start(way, |request: Request<Body>, peer: Peer| async move {
        let body = request.into_body().read_to_end(1 << 20).await.unwrap();
        let text = format!("{peer:?} {}", body.len());
        Response::new(Body::from(text))
    })
    .await;
    let client = server.client();
    client.connect_early();
    let mut seen = Vec::new();
    for _ in 0..20 {
        let call = Call::post("/").body(vec![0; 100_000]);
        seen.push(text(client.send(call).await.unwrap()).await);
    }
    seen.dedup();
    // The port tells connections apart, where there is one.
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(client.traffic().requests, 20);
}

async fn an_answer_without_a_body_keeps_the_connection(way: Way) {
    let server = Server::start(way, |request: Request<Body>, peer: Peer| async move {
        let status = request.uri().path()[1..].parse().unwrap();
        let mut response = answer(status, if status == 200 { "headers only" } else { "" });
        let peer = format!("{peer:?}").parse().unwrap();
        response.headers_mut().insert(FROM, peer);
        response
    })
    .await;
    let client = server.client();
    let mut seen = Vec::new();
    for _ in 0..5 {
        for (method, path) in [
            (Method::GET, "/304"),
            (Method::GET, "/204"),
            (Method::HEAD, "/200"),
        ] {
            let response = client.send(Call::new(method, path)).await.unwrap();
            assert_eq!(response.status().as_str(), &path[1..]);
            seen.push(response.headers()[FROM].clone());
            assert_eq!(text(response).await, "");
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

async fn many_calls_at_once(way: Way) {
    let server = Server::start(way, echo).await;
    let client = server.client();
    let calls = (0..50_u8).map(|index| {
        let client = client.clone();
        tokio::spawn(async move {
            let body = vec![index; 10_000 + usize::from(index)];
            let response = client
                .send(Call::post("/").body(body.clone()))
                .await
                .unwrap();
            let back = response.into_body().read_to_end(1 << 20).await.unwrap();
            assert_eq!(back, body);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

async fn a_panic_is_an_answer(way: Way) {
    let server = Server::start(way, |request: Request<Body>, _: Peer| async move {
        assert_eq!(
            request.uri().path(),
            "/fine",
            "this panic is part of the test"
        );
        answer(200, "fine")
    })
    .await;
    let client = server.client();
    let response = client.send(Call::get("/")).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(text(response).await, "");
    assert_eq!(
        text(client.send(Call::get("/fine")).await.unwrap()).await,
        "fine"
    );
}

#[tokio::test]
async fn a_connection_that_was_opened_early_is_the_one_that_is_used() {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endpoint = sync_transport::Endpoint::parse(&url).unwrap();
    let client = sync_transport::Client::new(endpoint, None, None, crate::setup::at_once(1));
    client.connect_early();
    client.connect_early();
    let (mut socket, _) = listener.accept().await.unwrap();
    // Nobody accepts a second one.
    drop(listener);
    let call = client.send(Call::get("/"));
    let answer = async {
        let mut request = [0; 1024];
        let length = socket.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET / HTTP/1.1\r\n"));
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            .await
            .unwrap();
    };
    let (response, ()) = tokio::join!(call, answer);
    assert_eq!(text(response.unwrap()).await, "hi");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_connecting() {
    let connects = Arc::new(AtomicU64::new(0));
    let server = {
        let connects = Arc::clone(&connects);
        Server::start(Way::Memory, move |_: Request<Body>, _: Peer| {
            connects.fetch_add(1, Ordering::SeqCst);
            async { answer(200, "") }
        })
        .await
    };
    let client = server.client();
    for path in ["", "a", "/ b", "/\n", "/ä\u{0}"] {
        let error = client.send(Call::get(path)).await.unwrap_err();
        assert!(error.to_string().contains("path"), "{path:?}: {error}");
    }
    assert_eq!(client.traffic(), sync_transport::Traffic::default());
    assert_eq!(connects.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn secrets_do_not_show() {
    let server = Server::start(Way::Memory, echo).await;
    let client = server.client();
    let name = HeaderName::from_static("cookie");
    let call = Call::get("/").header(name, HeaderValue::from_static("hunter2"));
    let shown = format!("{client:?} {call:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
