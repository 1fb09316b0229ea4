//! One attempt: a request over one connection, watched until its answer begins.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::ClientOptions;
use super::pool::{Connection, Pool};
use crate::body::Body;
use crate::call::{Call, CallBody};
use crate::endpoint::Endpoint;
use crate::error::{Error, InvalidCallSnafu, Stage, TimedOutSnafu, Wait, from_hyper};
use crate::progress::{Outgoing, Phase, Progress};
use crate::received::{Ending, Received};
use crate::request_id::{ATTEMPT, REQUEST_ID, RequestId};
use crate::retry::{Outcome, Repeat};

/// What this client calls itself.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// An attempt without an answer.
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    pub(super) error: Error,
    /// The body, where none of it was used.
    pub(super) unsent: Option<Body>,
}

impl Failed {
    pub(super) fn not_connected(error: Error) -> Self {
        let permanent = !matches!(error, Error::Connect { .. } | Error::Resolve { .. });
        Self {
            outcome: Outcome::NotConnected { permanent },
            error,
            unsent: None,
        }
    }
}

/// A call, checked and ready to be sent any number of times that its body allows.
pub(super) struct Prepared {
    method: Method,
    /// Scheme, authority and path; HTTP/1 sends the path alone.
    uri: Uri,
    authority: HeaderValue,
    headers: HeaderMap,
    /// `None` after a stream was taken.
    body: Option<CallBody>,
    repeat: Repeat,
    /// How often it was put together so far.
    attempts: u32,
    pub(super) request_id: RequestId,
}

impl Prepared {
    pub(super) fn new(
        call: Call,
        endpoint: &Endpoint,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, Error> {
        let refuse = |reason| InvalidCallSnafu { reason };
        if !call.path_and_query.starts_with('/') {
            return refuse("its path does not begin with `/`").fail();
        }
        let (scheme, authority) = endpoint.origin();
        let host = HeaderValue::from_str(&authority)
            .map_err(|_| refuse("its host cannot be sent").build())?;
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(call.path_and_query)
            .build()
            .map_err(|_| refuse("its path has characters that a URL may not have").build())?;
        let mut headers = call.headers;
        let request_id = match headers.get(REQUEST_ID) {
            None => RequestId::random(),
            Some(_) => RequestId::from_headers(&headers)
                .ok_or_else(|| refuse("its request id is not one").build())?,
        };
        headers.insert(REQUEST_ID, request_id.to_header());
        headers.insert(HOST, host.clone());
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(Self {
            repeat: Repeat {
                idempotent: call.idempotent,
                repeatable: !matches!(call.body, CallBody::Stream(_)),
            },
            method: call.method,
            uri,
            authority: host,
            headers,
            body: Some(call.body),
            attempts: 0,
            request_id,
        })
    }

    pub(super) fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Takes back the body of an attempt that never used it.
    pub(super) fn give_back(&mut self, unsent: Option<Body>) {
        if let (None, Some(body)) = (&self.body, unsent) {
            self.body = Some(CallBody::Stream(body));
        }
    }

    fn take_body(&mut self) -> Body {
        match self.body.take() {
            // An attempt never follows one that has used the stream, so this is a call without a body.
            None | Some(CallBody::Empty) => {
                self.body = Some(CallBody::Empty);
                Body::empty()
            }
            Some(CallBody::Bytes(bytes)) => {
                self.body = Some(CallBody::Bytes(bytes.clone()));
                Body::full(bytes)
            }
            Some(CallBody::Stream(body)) => body,
        }
    }

    fn request(&mut self, http2: bool) -> (Request<Outgoing>, Arc<Progress>) {
        let (outgoing, progress) = Outgoing::new(self.take_body(), None);
        let mut request = Request::new(outgoing);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        self.attempts += 1;
        if self.attempts > 1 {
            request.headers_mut().insert(ATTEMPT, self.attempts.into());
        }
        if http2 {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = self.uri.clone();
            request.headers_mut().remove(HOST);
        } else {
            let path = self.uri.path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            request.headers_mut().insert(HOST, self.authority.clone());
        }
        (request, progress)
    }

    /// Sends the request and waits for the answer to begin.
    pub(super) async fn attempt(
        &mut self,
        mut connection: Connection,
        pool: &Arc<Pool>,
        options: &ClientOptions,
    ) -> Result<Response<Body>, Failed> {
        let (request, progress) = self.request(connection.is_http2());
        let gauge = Arc::clone(&connection.gauge);
        let watch = watch(&progress, options, || gauge.last_write());
        let answered = tokio::select! {
            biased;
            answered = connection.send(request) => Ok(answered),
            timed_out = watch => Err(timed_out),
        };
        match answered {
            Ok(Ok(response)) => Ok(self.answer(response, connection, progress, pool, options)),
            Ok(Err(error)) => Err(self.failure(error, &progress, connection.reused)),
            Err((wait, after)) => {
                progress.abort();
                connection.abort();
                pool.distrust();
                Err(Failed {
                    outcome: Outcome::TimedOut,
                    error: TimedOutSnafu {
                        wait,
                        after,
                        request_id: self.request_id.clone(),
                    }
                    .build(),
                    unsent: None,
                })
            }
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        progress: Arc<Progress>,
        pool: &Arc<Pool>,
        options: &ClientOptions,
    ) -> Response<Body> {
        let (parts, incoming) = response.into_parts();
        tracing::debug!(
            request_id = %self.request_id, method = %self.method, path = self.uri.path(),
            status = parts.status.as_u16(), "answered"
        );
        let ending = Exchange {
            connection: Some(connection),
            progress,
            pool: Arc::clone(pool),
        };
        let received = Received::new(
            incoming,
            options.idle_timeout,
            self.request_id.clone(),
            Some(Box::new(ending)),
        );
        Response::from_parts(parts, Body::received(received))
    }

    fn failure(
        &self,
        mut error: TrySendError<Request<Outgoing>>,
        progress: &Progress,
        reused: bool,
    ) -> Failed {
        if let Some(failed) = progress.take_failure() {
            return Failed {
                outcome: Outcome::Broken,
                error: failed,
                unsent: None,
            };
        }
        let unsent = error
            .take_message()
            .map(|request| request.into_body().into_body());
        let stage = if progress.is_done() {
            Stage::Answer
        } else {
            Stage::Sending
        };
        let error = from_hyper(error.into_error(), stage, self.request_id.clone());
        let outcome = match (&unsent, &error) {
            (Some(_), _) => Outcome::Unsent { reused },
            (None, Error::Protocol { .. }) => Outcome::Broken,
            (None, _) => Outcome::Lost { reused },
        };
        Failed {
            outcome,
            error,
            unsent,
        }
    }
}

/// Ends when nothing has moved for too long, with what was waited for.
async fn watch(
    progress: &Progress,
    options: &ClientOptions,
    last_write: impl Fn() -> Instant,
) -> (Wait, Duration) {
    loop {
        let (phase, since) = progress.phase();
        let (wait, after) = match phase {
            Phase::Done => (Wait::Answer, options.response_timeout),
            Phase::Sending | Phase::Producing => (Wait::Sending, options.idle_timeout),
        };
        let now = Instant::now();
        // Nobody but ourselves is waited for while the producer is at work: look again later.
        let since = if phase == Phase::Producing {
            now
        } else {
            since
        };
        // The connection has taken the body, but the socket may not have.
        let deadline = since.max(last_write()) + after;
        if deadline <= now {
            return (wait, after);
        }
        // The phase may change to one that ends sooner.
        let soonest = options.idle_timeout.min(options.response_timeout);
        sleep_until(deadline.min(now + soonest)).await;
    }
}

/// The rest of an exchange, once its answer has begun.
#[derive(Debug)]
struct Exchange {
    connection: Option<Connection>,
    progress: Arc<Progress>,
    pool: Arc<Pool>,
}

impl Ending for Exchange {
    fn complete(mut self: Box<Self>) {
        if let Some(connection) = self.connection.take() {
            if self.progress.is_done() {
                self.pool.rest(connection);
            } else {
                // The peer has said all it has to say; the rest of the request would be for nobody.
                self.progress.abort();
                connection.abort();
            }
        }
    }

    fn peer_owes_since(&self) -> Option<Instant> {
        let (phase, since) = self.progress.phase();
        (phase != Phase::Producing).then_some(since)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.connection.is_some() && !self.progress.is_done() {
            self.progress.abort();
        }
    }
}
