//! The requests of one connection: each in a task of its own, and all of them watched.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::future::{poll_fn, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, Either};
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ServerOptions;
use crate::body::Body;
use crate::error::Error;
use crate::handler::{Handler, Peer};
use crate::meter::Gauge;
use crate::progress::{Guard, Outgoing, Phase, Progress};
use crate::received::Received;
use crate::request_id::{REQUEST_ID, RequestId};

/// What a connection looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Something is under way, or was a moment ago.
    Fine,
    /// No request for as long as one may take to come: time to say good-bye.
    Idle,
    /// The peer takes nothing, or did not even say good-bye.
    Dead,
}

/// The requests of one connection.
pub(super) struct Requests {
    handler: Arc<dyn Handler>,
    peer: Peer,
    options: Arc<ServerOptions>,
    served: Arc<AtomicU64>,
    gauge: Arc<Gauge>,
    tasks: Mutex<JoinSet<()>>,
    state: Mutex<State>,
}

struct State {
    running: usize,
    /// When the last request ended, or the connection began; meaningful while none is running.
    idle_since: Instant,
    /// Answers that are on their way.
    sending: Vec<Arc<Progress>>,
}

impl Requests {
    pub(super) fn new(
        handler: Arc<dyn Handler>,
        peer: Peer,
        options: Arc<ServerOptions>,
        served: Arc<AtomicU64>,
        gauge: Arc<Gauge>,
    ) -> Arc<Self> {
        Arc::new(Self {
            handler,
            peer,
            options,
            served,
            gauge,
            tasks: Mutex::new(JoinSet::new()),
            state: Mutex::new(State {
                running: 0,
                idle_since: Instant::now(),
                sending: Vec::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a request's handler; the future is its answer.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Result<Response<Outgoing>, Infallible>> {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.lock().running += 1;
        let (mut parts, incoming) = request.into_parts();
        let id = RequestId::from_headers(&parts.headers).unwrap_or_else(RequestId::random);
        let running = Box::new(Running {
            requests: Arc::clone(self),
            id: id.clone(),
        });
        parts.headers.insert(REQUEST_ID, id.to_header());
        parts.extensions.insert(id.clone());
        let header_bytes: usize = parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        tracing::debug!(
            request_id = %id, peer = ?self.peer, method = %parts.method, path = parts.uri.path(), "request"
        );
        let head_over_http2 =
            (parts.version == Version::HTTP_2).then_some(parts.method == Method::HEAD);
        let received = Received::new(incoming, self.options.idle_timeout, id.clone(), None);
        let requests = Arc::clone(self);
        let answer = if header_bytes > self.options.max_header_bytes {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            Either::Left(ready(without_body(status)))
        } else {
            let request = Request::from_parts(parts, Body::received(received));
            Either::Right(self.start(request, id.clone()))
        };
        Box::pin(async move {
            let mut response = answer.await;
            tracing::debug!(request_id = %id, status = response.status().as_u16(), "answer");
            response
                .headers_mut()
                .entry(REQUEST_ID)
                .or_insert_with(|| id.to_header());
            if let Some(head) = head_over_http2 {
                leave_body_out(&mut response, head);
            }
            let (parts, body) = response.into_parts();
            let (outgoing, progress) = Outgoing::new(body, Some(running));
            requests.watch(progress);
            Ok(Response::from_parts(parts, outgoing))
        })
    }

    fn start(
        self: &Arc<Self>,
        request: Request<Body>,
        id: RequestId,
    ) -> impl Future<Output = Response<Body>> + use<> {
        let (sender, receiver) = oneshot::channel();
        let handler = Arc::clone(&self.handler);
        let peer = self.peer;
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let response = handler.handle(request, peer).await;
            // Nobody waits where the connection has ended meanwhile.
            let _ = sender.send(response);
        });
        async move {
            receiver.await.unwrap_or_else(|_| {
                tracing::error!(request_id = %id, "a handler panicked, or was stopped");
                without_body(StatusCode::INTERNAL_SERVER_ERROR)
            })
        }
    }

    fn watch(&self, progress: Arc<Progress>) {
        let mut state = self.lock();
        state.sending.retain(|progress| !progress.is_done());
        state.sending.push(progress);
    }

    /// How the connection stands now.
    pub(super) fn standing(&self) -> Standing {
        let options = &self.options;
        let written = self.gauge.last_write();
        let state = self.lock();
        let stalled = state.sending.iter().any(|progress| {
            let (phase, since) = progress.phase();
            phase == Phase::Sending && since.max(written).elapsed() >= options.idle_timeout
        });
        let idle = state.idle_since.elapsed();
        if stalled {
            Standing::Dead
        } else if state.running > 0 || idle < options.header_timeout {
            Standing::Fine
        } else if idle < options.header_timeout * 2 {
            Standing::Idle
        } else {
            Standing::Dead
        }
    }

    /// Waits until no handler runs.
    pub(super) async fn finish(&self) {
        while poll_fn(|cx| self.tasks().poll_join_next(cx))
            .await
            .is_some()
        {}
    }

    /// Stops every handler at the next point where it waits.
    pub(super) fn stop(&self) {
        self.tasks().abort_all();
    }
}

/// What hyper calls.
#[derive(Clone)]
pub(super) struct Answering(pub(super) Arc<Requests>);

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Outgoing>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.0.answer(request)
    }
}

/// Counts a request as running until its answer is sent or given up.
struct Running {
    requests: Arc<Requests>,
    id: RequestId,
}

impl Guard for Running {
    fn failed(&self, error: &Error) {
        let cause = error.source().map(ToString::to_string);
        tracing::warn!(request_id = %self.id, %error, cause, "an answer was cut");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.requests.lock();
        state.running -= 1;
        state.idle_since = Instant::now();
        state.sending.retain(|progress| !progress.is_done());
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

/// Leaves out the body where none may follow (RFC 9110, section 6.4.1).
///
/// For HTTP/1 hyper does so, for HTTP/2 it does not, and the client takes the body for a broken promise.
fn leave_body_out(response: &mut Response<Body>, to_head: bool) {
    let status = response.status();
    if to_head {
        if let Some(length) = response.body().size_hint().exact() {
            let headers = response.headers_mut();
            headers.entry(CONTENT_LENGTH).or_insert(length.into());
        }
    } else if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        return;
    }
    *response.body_mut() = Body::empty();
}

fn without_body(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
