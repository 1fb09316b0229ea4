//! Going away in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use sync_transport::{Body, Call, Error, Peer, ServerOptions};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::setup::{Server, Way, answer, echo, text};

crate::over_every_way!(
    a_running_request_is_finished_and_new_ones_are_refused,
    an_answer_on_its_way_is_finished,
    connections_at_rest_hold_nobody_up,
    nothing_outlives_its_server,
);

async fn a_running_request_is_finished_and_new_ones_are_refused(way: Way) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = {
        let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
        Server::start(way, move |_: Request<Body>, _: Peer| {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                begun.notify_one();
                go.notified().await;
                answer(200, "finished")
            }
        })
        .await
    };
    let (client, other) = (server.client(), server.client());
    let running = tokio::spawn(async move { client.send(Call::get("/")).await });
    begun.notified().await;
    let stopped = server.stop();
    // One that had arrived just before the end is turned away, too, but may see its connection break.
    while !matches!(other.send(Call::get("/")).await, Err(Error::Connect { .. })) {}
    assert!(!stopped.is_finished());
    go.notify_one();
    let response = running.await.unwrap().unwrap();
    assert_eq!(text(response).await, "finished");
    let drained = stopped.await.unwrap().unwrap();
    assert_eq!((drained.requests, drained.cut), (1, 0));
}

async fn an_answer_on_its_way_is_finished(way: Way) {
    let go = Arc::new(Notify::new());
    let server = {
        let go = Arc::clone(&go);
        Server::start(way, move |_: Request<Body>, _: Peer| {
            let go = Arc::clone(&go);
            async move {
                let first = stream::iter([Ok::<_, Error>(Bytes::from_static(b"one "))]);
                let second = stream::once(async move {
                    go.notified().await;
                    Ok(Bytes::from_static(b"two"))
                });
                Response::new(Body::stream(first.chain(second)))
            }
        })
        .await
    };
    let mut body = server
        .client()
        .send(Call::get("/"))
        .await
        .unwrap()
        .into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "one ");
    let stopped = server.stop();
    go.notify_one();
    assert_eq!(body.read_to_end(100).await.unwrap(), "two");
    assert_eq!(stopped.await.unwrap().unwrap().cut, 0);
}

async fn connections_at_rest_hold_nobody_up(way: Way) {
    let server = Server::start(way, echo).await;
    let clients: Vec<_> = (0..5).map(|_| server.client()).collect();
    for client in &clients {
        text(client.send(Call::get("/")).await.unwrap()).await;
    }
    let before = Instant::now();
    let drained = server.stop().await.unwrap().unwrap();
    assert_eq!((drained.requests, drained.cut), (5, 0));
    assert!(before.elapsed() < Duration::from_secs(1));
}

/// Remembers that it was dropped.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_finish_in_time_is_cut() {
    cut_after(Way::Memory, ServerOptions::default()).await;
}

/// On a real clock, so without any drain time at all.
async fn nothing_outlives_its_server(way: Way) {
    let options = ServerOptions {
        drain_timeout: Duration::ZERO,
        ..ServerOptions::default()
    };
    cut_after(way, options).await;
}

async fn cut_after(way: Way, options: ServerOptions) {
    let drain = options.drain_timeout;
    let begun = Arc::new(Notify::new());
    let gone = Arc::new(AtomicBool::new(false));
    let server = {
        let (begun, gone) = (Arc::clone(&begun), Arc::clone(&gone));
        Server::start_with(way, options, move |_: Request<Body>, _: Peer| {
            let (begun, gone) = (Arc::clone(&begun), Gone(Arc::clone(&gone)));
            async move {
                begun.notify_one();
                let _gone = gone;
                std::future::pending().await
            }
        })
        .await
    };
    let client = server.client();
    let running = tokio::spawn(async move { client.send(Call::get("/")).await });
    begun.notified().await;
    let before = Instant::now();
    let drained = server.stop().await.unwrap().unwrap();
    assert_eq!((drained.requests, drained.cut), (1, 1));
    assert_eq!(before.elapsed().as_secs(), drain.as_secs());
    assert!(gone.load(Ordering::SeqCst), "a handler outlived its server");
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}
