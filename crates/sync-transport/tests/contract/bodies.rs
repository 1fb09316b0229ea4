//! Bodies: whole, streamed, held back, cut, and too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Request, Response};
use sync_transport::{Body, Call, Error, Peer, Stage};
use tokio::sync::{Notify, mpsc};

use crate::setup::{PIECE, Server, Way, answer, counted, echo, pieces, settled, text};

crate::over_every_way!(
    eight_mebibytes_come_back_as_they_went,
    a_sender_is_held_back_by_a_slow_reader,
    a_server_is_held_back_by_a_slow_client,
    an_early_answer_is_not_lost,
    an_early_answer_does_not_cost_the_client,
    an_answer_that_is_cut_is_an_error,
    a_request_that_is_cut_is_an_error_and_its_handler_goes_on,
    a_client_that_leaves_does_not_stop_the_handler,
    a_producer_s_error_comes_back_as_it_is,
    a_body_that_is_too_long_is_refused,
);

async fn eight_mebibytes_come_back_as_they_went(way: Way) {
    let server = Server::start(way, echo).await;
    let client = server.client();
    let taken = Arc::new(AtomicU64::new(0));
    let call = Call::post("/").body(counted(128, &taken));
    let response = client.send(call).await.unwrap();
    assert_eq!(response.status(), 200);
    let back = response.into_body().read_to_end(1 << 30).await.unwrap();
    let expected: Vec<u8> = pieces(128).collect::<Vec<_>>().concat();
    assert!(
        back == expected,
        "{} of {} bytes",
        back.len(),
        expected.len()
    );
    let traffic = client.traffic();
    let sent = u64::try_from(expected.len()).unwrap();
    for counted in [traffic.bytes_sent, traffic.bytes_received] {
        assert!((sent..sent + sent / 50).contains(&counted), "{traffic:?}");
    }
    assert_eq!(traffic.requests, 1);
}

/// What may be under way between two ends: windows, and the buffers of hyper and of the system.
const MOST_UNDER_WAY: u64 = 24 << 20;

const MUCH: u64 = 1024;

async fn a_sender_is_held_back_by_a_slow_reader(way: Way) {
    let read = Arc::new(Notify::new());
    let reading = Arc::clone(&read);
    let server = Server::start(way, move |request: Request<Body>, _: Peer| {
        let reading = Arc::clone(&reading);
        async move {
            reading.notified().await;
            let length = request
                .into_body()
                .into_stream()
                .try_fold(0, |sum, piece| async move { Ok(sum + piece.len()) })
                .await
                .unwrap();
            Response::new(Body::from(length.to_string()))
        }
    })
    .await;
    let client = server.client();
    let taken = Arc::new(AtomicU64::new(0));
    let call = Call::post("/").body(counted(MUCH, &taken));
    let sending = tokio::spawn(async move { client.send(call).await });
    let bytes = settled(&taken, 1).await * 65_536;
    assert!(bytes <= MOST_UNDER_WAY, "{bytes} bytes for nobody");
    read.notify_one();
    let response = sending.await.unwrap().unwrap();
    assert_eq!(text(response).await, (MUCH * 65_536).to_string());
}

async fn a_server_is_held_back_by_a_slow_client(way: Way) {
    let taken = Arc::new(AtomicU64::new(0));
    let taking = Arc::clone(&taken);
    let server = Server::start(way, move |_: Request<Body>, _: Peer| {
        let body = counted(MUCH, &taking);
        async move { Response::new(body) }
    })
    .await;
    let response = server.client().send(Call::get("/")).await.unwrap();
    let bytes = settled(&taken, 1).await * 65_536;
    assert!(bytes <= MOST_UNDER_WAY, "{bytes} bytes for nobody");
    let length: usize = response
        .into_body()
        .into_stream()
        .map(|piece| piece.unwrap().len())
        .fold(0, |sum, length| async move { sum + length })
        .await;
    assert_eq!(length, 1024 * PIECE);
}

async fn an_early_answer_is_not_lost(way: Way) {
    let server = Server::start(way, |_: Request<Body>, _: Peer| async {
        answer(413, "too much")
    })
    .await;
    for _ in 0..3 {
        let taken = Arc::new(AtomicU64::new(0));
        let call = Call::post("/").body(counted(16 * MUCH, &taken));
        let response = server.client().send(call).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(text(response).await, "too much");
        assert!(
            settled(&taken, 0).await < 16 * MUCH,
            "all of it was sent for nothing"
        );
    }
}

async fn an_early_answer_does_not_cost_the_client(way: Way) {
    let server = Server::start(way, |request: Request<Body>, _: Peer| async move {
        if request.uri().path() == "/no" {
            return answer(401, "no");
        }
        Response::new(request.into_body())
    })
    .await;
    let client = server.client();
    for _ in 0..5 {
        let endless = stream::repeat_with(|| Ok::<_, Error>(Bytes::from_static(&[0; 4096])));
        let call = Call::post("/no").body(Body::stream(endless));
        let response = client.send(call).await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(text(response).await, "no");
        let response = client
            .send(Call::post("/").body(b"yes".to_vec()))
            .await
            .unwrap();
        assert_eq!(text(response).await, "yes");
    }
}

async fn an_answer_that_is_cut_is_an_error(way: Way) {
    let server = Server::start(way, |_: Request<Body>, _: Peer| async {
        let first = stream::iter([Ok(Bytes::from_static(b"begun"))]);
        let cut = stream::iter([Err("the disk is on fire")]);
        Response::new(Body::stream(first.chain(cut)))
    })
    .await;
    // HTTP/1 may cut before the head of the answer has left.
    let error = match server.client().send(Call::get("/")).await {
        Ok(response) => response.into_body().read_to_end(100).await.unwrap_err(),
        Err(error) => error,
    };
    let shown = format!("{error:?}");
    assert!(matches!(error, Error::Lost { .. }), "{shown}");
    assert!(!shown.contains("fire"), "{shown}");
}

/// A handler that reports what it saw of a body once it is through with it, some turns later.
fn witness(
    begun: &Arc<Notify>,
    seen: mpsc::UnboundedSender<Result<usize, Error>>,
) -> impl sync_transport::Handler {
    let begun = Arc::clone(begun);
    move |request: Request<Body>, _: Peer| {
        let (begun, seen) = (Arc::clone(&begun), seen.clone());
        async move {
            begun.notify_one();
            let result = request.into_body().read_to_end(1 << 30).await;
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            seen.send(result.map(|body| body.len())).unwrap();
            Response::new(Body::empty())
        }
    }
}

async fn a_request_that_is_cut_is_an_error_and_its_handler_goes_on(way: Way) {
    let (seen, mut reports) = mpsc::unbounded_channel();
    let begun = Arc::new(Notify::new());
    let server = Server::start(way, witness(&begun, seen)).await;
    let first = stream::iter([Ok(Bytes::from_static(b"begun"))]);
    // What fails before it has left is never heard of.
    let cut = stream::once(async move {
        begun.notified().await;
        Err("cut")
    });
    let call = Call::post("/").body(Body::stream(first.chain(cut)));
    server.client().send(call).await.unwrap_err();
    let error = reports.recv().await.unwrap().unwrap_err();
    let stage = Stage::Receiving;
    assert!(
        matches!(&error, Error::Lost { stage: at, .. } if *at == stage),
        "{error:?}"
    );
}

async fn a_client_that_leaves_does_not_stop_the_handler(way: Way) {
    let (seen, mut reports) = mpsc::unbounded_channel();
    let begun = Arc::new(Notify::new());
    let server = Server::start(way, witness(&begun, seen)).await;
    let first = stream::iter([Ok::<_, Error>(Bytes::from_static(b"begun"))]);
    let call = Call::post("/").body(Body::stream(first.chain(stream::pending())));
    let client = server.client();
    let sending = tokio::spawn(async move { client.send(call).await });
    begun.notified().await;
    sending.abort();
    let error = reports.recv().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}

async fn a_producer_s_error_comes_back_as_it_is(way: Way) {
    let server = Server::start(way, echo).await;
    let fails = stream::iter([Ok(Bytes::from_static(b"x")), Err("the file has moved")]);
    let call = Call::post("/").body(Body::stream(fails));
    let client = server.client();
    let error = match client.send(call).await {
        Err(error) => error,
        // The echo may have begun before the producer failed.
        Ok(response) => response.into_body().read_to_end(100).await.unwrap_err(),
    };
    match error {
        Error::Producer { source } => assert_eq!(source.to_string(), "the file has moved"),
        Error::Lost { .. } => {}
        other => panic!("{other:?}"),
    }
}

async fn a_body_that_is_too_long_is_refused(way: Way) {
    let refused = Arc::new(AtomicBool::new(false));
    let refusing = Arc::clone(&refused);
    let server = Server::start(way, move |request: Request<Body>, _: Peer| {
        let refusing = Arc::clone(&refusing);
        async move {
            match request.into_body().read_to_end(PIECE).await {
                Err(Error::TooLarge { max_bytes: 65_536 }) => {
                    refusing.store(true, Ordering::SeqCst);
                    answer(413, "")
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let taken = Arc::new(AtomicU64::new(0));
    for body in [
        Call::post("/").body(vec![0; PIECE + 1]),
        Call::post("/").body(counted(2, &taken)),
    ] {
        let response = server.client().send(body).await.unwrap();
        assert_eq!(response.status(), 413);
        assert!(refused.swap(false, Ordering::SeqCst));
    }
}
