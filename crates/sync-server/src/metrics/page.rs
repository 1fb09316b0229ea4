//! The page: the text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};
use std::sync::PoisonError;

use super::{BOUNDS_MS, CLASSES, Counter, Metrics, RouteName, Size};

/// A page that is being written.
struct Page(String);

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Values of labels are names of ours or of tenants: none has anything to escape.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.begin(name, kind, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.one(name, "counter", help, counter.get());
    }
}

/// Everything, at `now` in milliseconds since 1970.
pub(super) fn of(metrics: &Metrics, size: Option<Size>, now: u64) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    requests(&mut page, metrics);
    work(&mut page, metrics);
    tenants(&mut page, metrics);
    if let Some(size) = size {
        page.one(
            "sync_tenants",
            "gauge",
            "Tenants in the store.",
            size.tenants,
        );
        page.one(
            "sync_store_packs",
            "gauge",
            "Packs in the store, as of at most a minute ago.",
            size.packs,
        );
        page.one(
            "sync_store_pack_bytes",
            "gauge",
            "Bytes of the packs in the store, as of at most a minute ago.",
            size.bytes,
        );
    }
    let uptime = metrics.started.elapsed();
    page.one(
        "sync_uptime_seconds",
        "gauge",
        "Since the server began.",
        uptime.as_secs_f64(),
    );
    let began = u128::from(now).saturating_sub(uptime.as_millis());
    page.one(
        "process_start_time_seconds",
        "gauge",
        "When the server began, in seconds since 1970.",
        format_args!("{}.{:03}", began / 1000, began % 1000),
    );
    let name = "sync_build_info";
    page.begin(name, "gauge", "Which build serves; always 1.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.0
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let name = "sync_requests_total";
    page.begin(
        name,
        "counter",
        "Requests that were answered, by route and class of status.",
    );
    for route in RouteName::ALL {
        let answers = &metrics.routes[route as usize];
        for (class, count) in CLASSES.iter().zip(&answers.classes) {
            page.sample(
                name,
                &[("route", route.as_str()), ("class", class)],
                count.get(),
            );
        }
    }
    let name = "sync_request_duration_seconds";
    page.begin(
        name,
        "histogram",
        "From a request's headers to those of its answer, by route.",
    );
    for route in RouteName::ALL {
        let answers = &metrics.routes[route as usize];
        let label = ("route", route.as_str());
        let mut count = 0;
        for (bucket, bound) in answers.buckets.iter().zip(BOUNDS_MS) {
            count += bucket.get();
            let bound = seconds(bound * 1000);
            page.sample(
                "sync_request_duration_seconds_bucket",
                &[label, ("le", &bound)],
                count,
            );
        }
        count += answers.buckets[BOUNDS_MS.len()].get();
        page.sample(
            "sync_request_duration_seconds_bucket",
            &[label, ("le", "+Inf")],
            count,
        );
        page.sample(
            "sync_request_duration_seconds_sum",
            &[label],
            seconds(answers.micros.get()),
        );
        page.sample("sync_request_duration_seconds_count", &[label], count);
    }
    page.one(
        "sync_requests_running",
        "gauge",
        "Requests that are being answered.",
        metrics.running.get(),
    );
    page.one(
        "sync_requests_waiting",
        "gauge",
        "Requests that wait for a head to move.",
        metrics.waiting.get(),
    );
    page.counter(
        "sync_retries_total",
        "Requests that their clients had sent before.",
        &metrics.retries,
    );
    let traffic = metrics.totals.traffic();
    let help = "Bytes that came over the sockets, TLS included.";
    page.one(
        "sync_received_bytes_total",
        "counter",
        help,
        traffic.bytes_received,
    );
    let help = "Bytes that went over the sockets, TLS included.";
    page.one("sync_sent_bytes_total", "counter", help, traffic.bytes_sent);
}

fn work(page: &mut Page, metrics: &Metrics) {
    for (name, help, counter) in [
        (
            "sync_packs_received_total",
            "Packs of pushes that began to come.",
            &metrics.packs_received,
        ),
        (
            "sync_packs_stored_total",
            "Packs of pushes that were checked and are on disk.",
            &metrics.packs_stored,
        ),
        (
            "sync_objects_received_total",
            "Objects of the packs that were stored.",
            &metrics.objects_stored,
        ),
        (
            "sync_pack_received_bytes_total",
            "Bytes of the packs that were stored, as they came.",
            &metrics.pack_bytes,
        ),
        (
            "sync_heads_moved_total",
            "Branches that moved, by pushes and by what programs wrote.",
            &metrics.heads_moved,
        ),
        (
            "sync_stale_pushes_total",
            "Requests that expected a branch elsewhere than it was.",
            &metrics.stale,
        ),
        (
            "sync_rows_refused_total",
            "Rows of pushes that databases of tenants refused.",
            &metrics.rows_refused,
        ),
    ] {
        page.counter(name, help, counter);
    }
}

fn tenants(page: &mut Page, metrics: &Metrics) {
    let name = "sync_tenant_lag_seconds";
    let help = "The most that a change in a tenant's database can be old that is in no snapshot yet: since the last look.";
    page.begin(name, "gauge", help);
    let captured = metrics
        .captured
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for (tenant, when) in captured.iter() {
        page.sample(name, &[("tenant", tenant)], when.elapsed().as_secs_f64());
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::StatusCode;

    use super::*;

    #[test]
    fn what_was_counted_is_on_the_page() {
        let metrics = Metrics::default();
        let took = |ms| Duration::from_millis(ms);
        metrics.answered(RouteName::Push, StatusCode::OK, took(3));
        metrics.answered(RouteName::Push, StatusCode::PRECONDITION_FAILED, took(90));
        metrics.answered(RouteName::Push, StatusCode::OK, took(500_000));
        metrics.stale.add(1);
        metrics.captured("acme", Instant::now());
        let waiting = metrics.waiting.enter();
        let size = Size {
            tenants: 1,
            packs: 2,
            bytes: 3,
        };
        let page = of(&metrics, Some(size), 1_700_000_000_000);
        for line in [
            "# TYPE sync_requests_total counter",
            "sync_requests_total{route=\"push\",class=\"2xx\"} 2",
            "sync_requests_total{route=\"push\",class=\"4xx\"} 1",
            "sync_request_duration_seconds_bucket{route=\"push\",le=\"0.001\"} 0",
            "sync_request_duration_seconds_bucket{route=\"push\",le=\"0.005\"} 1",
            "sync_request_duration_seconds_bucket{route=\"push\",le=\"120\"} 2",
            "sync_request_duration_seconds_bucket{route=\"push\",le=\"+Inf\"} 3",
            "sync_request_duration_seconds_sum{route=\"push\"} 500.093",
            "sync_request_duration_seconds_count{route=\"push\"} 3",
            "sync_requests_waiting 1",
            "sync_stale_pushes_total 1",
            "sync_store_pack_bytes 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.contains("sync_tenant_lag_seconds{tenant=\"acme\"} 0."));
        drop(waiting);
        metrics.forget("acme");
        let page = of(&metrics, None, 0);
        assert!(page.contains("sync_requests_waiting 0\n"));
        assert!(!page.contains("acme") && !page.contains("sync_store"));
    }
}
