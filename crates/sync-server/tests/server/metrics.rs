//! What is counted, and who is told.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use sync_transport::{Call, Client};

use super::{HEAD, Site, push, send, snapshot};

/// The page, as the operator sees it.
async fn page(site: &Site) -> String {
    let answer = site.operator.send(Call::get("/metrics")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; version=0.0.4"
    );
    let bytes = answer.into_body().read_to_end(1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn value(page: &str, sample: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{page}"))
        .parse()
        .unwrap()
}

async fn status(client: &Client, call: Call) -> u16 {
    send(client, call).await.0
}

#[tokio::test]
async fn pushes_and_refusals_are_counted() {
    let site = Site::with_tenants().await;
    let writer = site.client(&site.token("acme", "write").await.1);
    let first = snapshot("one", None, "a.md", None);
    let (id, pack) = (first.0, u32::try_from(first.1.len()).unwrap());
    assert_eq!(status(&writer, push(None, first)).await, 200);
    // Said again it moves nothing, and who comes too late is told.
    assert_eq!(
        status(&writer, push(None, snapshot("one", None, "a.md", None))).await,
        200
    );
    assert_eq!(
        status(&writer, push(None, snapshot("two", None, "b.md", None))).await,
        412
    );
    let broken = (id, b"no pack".to_vec());
    assert_eq!(status(&writer, push(Some(id), broken)).await, 422);
    let attempt = HeaderName::from_static("sync-attempt");
    let again = Call::get(HEAD).header(attempt, HeaderValue::from_static("2"));
    assert_eq!(status(&writer, again).await, 200);
    assert_eq!(status(&site.client("none"), Call::get(HEAD)).await, 401);
    assert_eq!(
        status(&writer, Call::new(Method::GET, "/no/such/path")).await,
        404
    );

    let page = page(&site).await;
    for (sample, expected) in [
        (r#"sync_requests_total{route="push",class="2xx"}"#, 2.0),
        (r#"sync_requests_total{route="push",class="4xx"}"#, 2.0),
        (r#"sync_requests_total{route="head",class="2xx"}"#, 1.0),
        (r#"sync_requests_total{route="head",class="4xx"}"#, 1.0),
        (r#"sync_requests_total{route="unknown",class="4xx"}"#, 1.0),
        ("sync_heads_moved_total", 1.0),
        ("sync_packs_received_total", 3.0),
        ("sync_packs_stored_total", 2.0),
        ("sync_objects_received_total", 6.0),
        ("sync_stale_pushes_total", 1.0),
        ("sync_retries_total", 1.0),
        ("sync_requests_running", 1.0),
        ("sync_requests_waiting", 0.0),
        ("sync_tenants", 2.0),
    ] {
        assert!(
            (value(&page, sample) - expected).abs() < 0.5,
            "{sample}\n{page}"
        );
    }
    assert!(value(&page, "sync_pack_received_bytes_total") >= 2.0 * f64::from(pack));
    assert!(value(&page, "sync_store_pack_bytes") > 0.0);
    assert!(
        !page.contains("/no/such") && !page.contains("acme"),
        "{page}"
    );
}

#[tokio::test]
async fn who_waits_is_counted_while_he_does() {
    let site = Site::with_tenants().await;
    let token = site.token("acme", "write").await.1;
    let (reader, writer) = (site.client(&token), site.client(&token));
    let first = snapshot("one", None, "a.md", None);
    let id = first.0;
    let known = HeaderValue::try_from(format!("\"{id}\"")).unwrap();
    assert_eq!(status(&writer, push(None, first)).await, 200);
    let waits = Call::get(format!("{HEAD}?wait=20")).header(http::header::IF_NONE_MATCH, known);
    let waiting = tokio::spawn(async move { status(&reader, waits).await });
    while value(&page(&site).await, "sync_requests_waiting") < 0.5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = snapshot("two", Some(id), "a.md", None);
    assert_eq!(status(&writer, push(Some(id), second)).await, 200);
    assert_eq!(waiting.await.unwrap(), 200);
    let page = page(&site).await;
    assert!(value(&page, "sync_requests_waiting") < 0.5);
    assert!(value(&page, r#"sync_requests_total{route="wait",class="2xx"}"#) > 0.5);
}

#[tokio::test]
async fn only_the_operator_sees_it() {
    let site = Site::with_tenants().await;
    let admin = site.client(&site.token("acme", "admin").await.1);
    assert_eq!(status(&admin, Call::get("/metrics")).await, 403);
    assert_eq!(
        status(&site.client("none"), Call::get("/metrics")).await,
        401
    );
    assert_eq!(status(&site.operator, Call::post("/metrics")).await, 405);
}
