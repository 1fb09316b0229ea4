//! What the server counts for its operator, and the page that tells it.
//!
//! A count is an atomic in a fixed place: a request costs a handful of additions, and no label comes from a request but for
//! the names of tenants that have a database.

mod page;
mod route;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode};
use sync_store::Store;
use sync_transport::{Body, Handler, Peer, Totals};

use crate::{Server, answer};

use self::route::COUNT;
pub(crate) use self::route::RouteName;

/// The upper bounds of the buckets of durations, in milliseconds.
const BOUNDS_MS: [u64; 9] = [1, 5, 25, 100, 500, 2_500, 10_000, 30_000, 120_000];

/// The classes of status that answers have, and their first digits.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// How long the size of the store is believed: finding it out asks for every pack.
const SIZE_HOLDS: Duration = Duration::from_mins(1);

/// How many packs are asked for at once.
const PACKS: usize = 1000;

/// The format of the page: the text format of Prometheus.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are at this moment.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// One more, until what is returned is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted.
#[derive(Debug)]
pub(crate) struct Entered<'g>(&'g Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything that is counted, from the start of the server.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Instant,
    /// Bytes on the sockets.
    totals: Arc<Totals>,
    routes: [Answers; COUNT],
    /// Requests that are being answered, and those of them that wait for a head to move.
    pub(crate) running: Gauge,
    pub(crate) waiting: Gauge,
    /// Requests that their clients sent again.
    pub(crate) retries: Counter,
    pub(crate) packs_received: Counter,
    pub(crate) packs_stored: Counter,
    pub(crate) objects_stored: Counter,
    pub(crate) pack_bytes: Counter,
    pub(crate) heads_moved: Counter,
    /// Pushes whose branch was elsewhere, and rows that databases refused.
    pub(crate) stale: Counter,
    pub(crate) rows_refused: Counter,
    /// When the look at a tenant's database began that last found it equal to its branch.
    captured: Mutex<BTreeMap<String, Instant>>,
    size: tokio::sync::Mutex<Option<(Instant, Size)>>,
}

/// What became of the requests of one route.
#[derive(Debug, Default)]
struct Answers {
    classes: [Counter; CLASSES.len()],
    /// As many as took no longer than each bound and longer than the one before it; the last has no bound.
    buckets: [Counter; BOUNDS_MS.len() + 1],
    micros: Counter,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    tenants: u64,
    packs: u64,
    bytes: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            totals: Arc::default(),
            routes: Default::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            retries: Counter::default(),
            packs_received: Counter::default(),
            packs_stored: Counter::default(),
            objects_stored: Counter::default(),
            pack_bytes: Counter::default(),
            heads_moved: Counter::default(),
            stale: Counter::default(),
            rows_refused: Counter::default(),
            captured: Mutex::default(),
            size: tokio::sync::Mutex::default(),
        }
    }
}

impl Metrics {
    /// Where a listener counts what goes over its sockets.
    pub(crate) fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }

    /// A request was answered after so long.
    pub(crate) fn answered(&self, route: RouteName, status: StatusCode, took: Duration) {
        let answers = &self.routes[route as usize];
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        answers.classes[class].add(1);
        let bucket = BOUNDS_MS
            .iter()
            .position(|bound| took <= Duration::from_millis(*bound));
        answers.buckets[bucket.unwrap_or(BOUNDS_MS.len())].add(1);
        answers
            .micros
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A look at the tenant's database that began at `began` has found, or made, it equal to its branch.
    pub(crate) fn captured(&self, tenant: &str, began: Instant) {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        match captured.get_mut(tenant) {
            Some(last) => *last = began.max(*last),
            None => drop(captured.insert(tenant.to_owned(), began)),
        }
    }

    /// A tenant no longer has that database.
    pub(crate) fn forget(&self, tenant: &str) {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        captured.remove(tenant);
    }

    /// The size of the store, as it was at most a minute ago; `None` where it cannot be found out.
    async fn size(&self, store: &Store) -> Option<Size> {
        let mut last = self.size.lock().await;
        if let Some((when, size)) = *last
            && when.elapsed() < SIZE_HOLDS
        {
            return Some(size);
        }
        match measured(store).await {
            Ok(size) => {
                *last = Some((Instant::now(), size));
                Some(size)
            }
            Err(error) => {
                tracing::warn!(%error, "the size of the store cannot be found out");
                None
            }
        }
    }
}

async fn measured(store: &Store) -> Result<Size, sync_store::Error> {
    let mut size = Size {
        tenants: store.tenants().await?.len() as u64,
        ..Size::default()
    };
    let mut after = None;
    loop {
        let packs = store.blobs().list(after.as_ref(), PACKS).await?;
        let Some((last, _)) = packs.last() else {
            return Ok(size);
        };
        after = Some(*last);
        size.packs += packs.len() as u64;
        size.bytes += packs.iter().map(|(_, bytes)| bytes).sum::<u64>();
    }
}

/// Answers with the page.
pub(crate) async fn show(server: &Server) -> Response<Body> {
    let metrics = server.metrics();
    let size = metrics.size(server.store()).await;
    let page = page::of(metrics, size, server.now());
    answer::with_type(StatusCode::OK, MEDIA_TYPE, Body::full(page))
}

/// Answers `GET /metrics`, whoever asks, and nothing else: for a listener of its own.
#[derive(Debug, Clone)]
pub struct MetricsPage(pub(crate) Server);

impl Handler for MetricsPage {
    fn handle(&self, request: Request<Body>, _peer: Peer) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            if request.uri().path() != "/metrics" {
                return answer::empty(StatusCode::NOT_FOUND);
            }
            if request.method() != Method::GET {
                return answer::empty(StatusCode::METHOD_NOT_ALLOWED);
            }
            show(&self.0).await
        })
    }
}
