//! The client: one endpoint, its connections, and calls that are repeated where that is safe and can help.

mod attempt;
mod pool;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Response};
use sync_core::retry::Backoff;
use tokio::time::{sleep, timeout};

use self::attempt::{Failed, Prepared};
use self::pool::Pool;
use crate::body::Body;
use crate::call::Call;
use crate::connect::Dialer;
use crate::endpoint::Endpoint;
use crate::error::{Error, InsecureTokenSnafu, InvalidCallSnafu};
use crate::meter::{Totals, Traffic};
use crate::request_id::random;
use crate::retry::{Outcome, Verdict, classify};
use crate::retry_after;
use crate::secret::Secret;
use crate::tls::ClientTls;

/// How much of an answer that is not handed out is read, so that its connection can be used again.
const DRAIN_BYTES: usize = 64 * 1024;

/// For how long.
const DRAIN_TIME: Duration = Duration::from_millis(100);

/// Bounds and policies of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// For resolving, connecting and the TLS handshake together; 10 s by default.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the headers of the answer; 120 s by default.
    ///
    /// A server verifies a whole push between the two.
    pub response_timeout: Duration,
    /// For a body, in either direction, without any progress that the peer could have made; 60 s by default.
    pub idle_timeout: Duration,
    /// How long a connection may be at rest and still be used; 25 s by default.
    ///
    /// Less than what servers allow, so that none closes it just when a request is sent.
    pub keep_alive: Duration,
    /// When to try again.
    pub backoff: Backoff,
    /// Whether HTTP/2 is offered over TLS; `true` by default. Elsewhere HTTP/1.1 is spoken.
    pub http2: bool,
    /// The longest headers of an answer, in bytes, at least 8 KiB; 64 KiB by default.
    pub max_header_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_mins(2),
            idle_timeout: Duration::from_mins(1),
            keep_alive: Duration::from_secs(25),
            backoff: Backoff::default(),
            http2: true,
            max_header_bytes: 64 * 1024,
        }
    }
}

/// A client of one endpoint; cheap to clone, and clones share connections and counts.
///
/// Connections are kept for the next call. Over HTTP/2 one carries everything.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    totals: Arc<Totals>,
    token: Option<Secret>,
    options: ClientOptions,
}

impl Client {
    /// A client that has not connected yet.
    ///
    /// `tls` is needed for [`Endpoint::Https`] only. The token goes with every request as a bearer;
    /// [`Client::send`] refuses to send it where others could read it.
    pub fn new(
        endpoint: Endpoint,
        tls: Option<ClientTls>,
        token: Option<Secret>,
        options: ClientOptions,
    ) -> Self {
        let totals = Arc::new(Totals::default());
        let plain = matches!(endpoint, Endpoint::Http { .. });
        let dialer = Dialer {
            loopback_only: plain && token.is_some(),
            tls: tls.map(|tls| tls.config(options.http2)),
            connect_timeout: options.connect_timeout,
            totals: Arc::clone(&totals),
            endpoint,
        };
        Self {
            inner: Arc::new(Inner {
                pool: Pool::new(dialer, &options),
                totals,
                token,
                options,
            }),
        }
    }

    /// Where it connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.pool.dialer().endpoint
    }

    /// Starts connecting in the background, so that the first call finds the connection open.
    ///
    /// Never fails: what goes wrong shows in the first call. Does nothing outside a tokio runtime,
    /// or where a connection is there or on its way.
    pub fn connect_early(&self) {
        if self.inner.authorization().is_ok() {
            self.inner.pool.connect_early();
        }
    }

    /// Sends a call and returns the beginning of the answer, whatever its status.
    ///
    /// Transient failures (429, 502, 503, 504, timeouts and lost connections) are tried again under the backoff of the
    /// options, `Retry-After` honoured, where the call is idempotent and its body is not a stream;
    /// failures to connect always are. When the attempts are used up the last answer, or error, is returned.
    /// All attempts have the same `x-request-id`.
    ///
    /// Dropping the future gives the call up; whether it arrived is then unknown.
    ///
    /// # Errors
    ///
    /// [`Error::InsecureToken`] and [`Error::InvalidCall`] before anything is sent;
    /// [`Error::Resolve`], [`Error::Connect`] and [`Error::Tls`] where nothing was sent;
    /// [`Error::TimedOut`], [`Error::Lost`] and [`Error::Protocol`] where the call may have arrived;
    /// [`Error::Producer`], or whatever error the body's producer had, where the peer has seen a part of it at most.
    pub async fn send(&self, call: Call) -> Result<Response<Body>, Error> {
        let inner = &self.inner;
        let endpoint = self.endpoint();
        let mut prepared = Prepared::new(call, endpoint, inner.authorization()?)?;
        let mut failed = 0;
        let mut fresh = false;
        loop {
            let result = self.attempt(&mut prepared, fresh).await;
            let (outcome, asked) = match &result {
                Ok(response) => (
                    Outcome::Answered(response.status()),
                    retry_after::from_headers(response.headers(), SystemTime::now()),
                ),
                Err(failed) => (failed.outcome, None),
            };
            let verdict = classify(outcome, prepared.repeat());
            let wait = match verdict {
                Verdict::Final => None,
                Verdict::Replace => Some(Duration::ZERO),
                Verdict::Retry => {
                    failed += 1;
                    inner.options.backoff.delay(failed, random(), asked)
                }
            };
            let Some(wait) = wait else {
                return result.map_err(|failed| failed.error);
            };
            tracing::debug!(
                request_id = %prepared.request_id, %endpoint, ?outcome, ?verdict, ?wait, "trying again"
            );
            match result {
                Ok(response) => {
                    let drain = response.into_body().read_to_end(DRAIN_BYTES);
                    // Whether it works or not: it only saves a connection.
                    let _ = timeout(DRAIN_TIME, drain).await;
                }
                Err(Failed { unsent, .. }) => prepared.give_back(unsent),
            }
            fresh = verdict == Verdict::Replace;
            if verdict == Verdict::Retry {
                sleep(wait).await;
            }
        }
    }

    /// What went over this client's connections so far.
    pub fn traffic(&self) -> Traffic {
        self.inner.totals.traffic()
    }

    async fn attempt(
        &self,
        prepared: &mut Prepared,
        fresh: bool,
    ) -> Result<Response<Body>, Failed> {
        let inner = &self.inner;
        let connection = inner
            .pool
            .lease(fresh)
            .await
            .map_err(Failed::not_connected)?;
        inner.totals.count_request();
        prepared
            .attempt(connection, &inner.pool, &inner.options)
            .await
    }
}

impl Inner {
    /// The header that carries the token, where it may be sent at all.
    fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        let endpoint = &self.pool.dialer().endpoint;
        if let (false, Endpoint::Http { host, .. }) = (endpoint.is_private(), endpoint) {
            return InsecureTokenSnafu { host }.fail();
        }
        let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
            let reason = "the token has characters that cannot be sent";
            return InvalidCallSnafu { reason }.fail();
        };
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", self.endpoint())
            .field("token", &self.inner.token)
            .field("options", &self.inner.options)
            .finish()
    }
}
