//! Branches come with a push of nothing, and go by compare-and-swap.

use http::Method;
use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde_json::{Value, json};
use sync_core::SnapshotId;
use sync_store::pack::PackWriter;
use sync_transport::Call;

use super::{Site, push, send, snapshot};

const BRANCHES: &str = "/v1/tenants/acme/heads";

fn quoted(id: SnapshotId) -> HeaderValue {
    HeaderValue::try_from(format!("\"{id}\"")).unwrap()
}

/// Begins a branch at a snapshot.
fn begin(branch: &str, at: SnapshotId) -> Call {
    let nothing = PackWriter::new().unwrap().finish().unwrap().concat();
    Call::post(format!("{BRANCHES}/{branch}"))
        .header(IF_NONE_MATCH, HeaderValue::from_static("*"))
        .header(
            HeaderName::from_static("sync-snapshot"),
            HeaderValue::try_from(at.to_string()).unwrap(),
        )
        .body(nothing)
}

fn remove(branch: &str, expected: SnapshotId) -> Call {
    Call::new(Method::DELETE, format!("{BRANCHES}/{branch}")).header(IF_MATCH, quoted(expected))
}

#[tokio::test]
async fn branches_begin_are_listed_and_go() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    let none = send(&client, Call::get(BRANCHES)).await;
    assert_eq!(none, (200, json!({"branches": []})));
    let one = snapshot("one", None, "a.txt", None);
    let two = snapshot("two", Some(one.0), "a.txt", None);
    assert_eq!(send(&client, push(None, one.clone())).await.0, 200);
    assert_eq!(send(&client, push(Some(one.0), two.clone())).await.0, 200);

    assert_eq!(send(&client, begin("trial", one.0)).await.0, 200);
    assert_eq!(send(&client, begin("trial", two.0)).await.0, 412);
    let strange = snapshot("never sent", None, "a.txt", None).0;
    assert_eq!(send(&client, begin("strange", strange)).await.0, 422);
    let (_, listed) = send(&client, Call::get(BRANCHES)).await;
    let heads = listed["branches"].as_array().unwrap().iter();
    let heads: Vec<_> = heads
        .map(|there| {
            (
                &there["branch"],
                &there["head"],
                &there["snapshot"]["message"],
            )
        })
        .collect();
    let expected = [("main", two.0, "two"), ("trial", one.0, "one")];
    let expected =
        expected.map(|(branch, head, message)| (json!(branch), json!(head), json!(message)));
    assert_eq!(heads.len(), 2);
    for (found, wanted) in heads.iter().zip(&expected) {
        assert_eq!(*found, (&wanted.0, &wanted.1, &wanted.2));
    }

    // With the answer about a head come the others, where it is asked for.
    let known = |path: &str| Call::get(path).header(IF_NONE_MATCH, quoted(two.0));
    let main = format!("{BRANCHES}/main");
    assert_eq!(send(&client, known(&main)).await, (304, Value::Null));
    let (status, head) = send(&client, known(&format!("{main}?branches=true"))).await;
    assert_eq!((status, &head["branches"][0]["head"]), (200, &json!(one.0)));
    assert_eq!(
        head["branches"][0]["roots"],
        listed["branches"][1]["snapshot"]["roots"]
    );

    let (status, body) = send(&client, remove("trial", two.0)).await;
    let stale = &body["error"]["details"]["stale"]["head"];
    assert_eq!((status, stale), (412, &json!(one.0)));
    let (status, body) = send(&client, remove("main", two.0)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("server/branch-kept"))
    );
    let blind = Call::new(Method::DELETE, format!("{BRANCHES}/trial"));
    assert_eq!(send(&client, blind).await.0, 400);
    let (_, reader) = site.token("acme", "read").await;
    let reader = site.client(&reader);
    assert_eq!(send(&reader, remove("trial", one.0)).await.0, 403);
    assert_eq!(
        send(&client, remove("trial", one.0)).await,
        (204, Value::Null)
    );
    assert_eq!(send(&client, remove("trial", one.0)).await.0, 412);
    assert_eq!(
        send(&client, known(&format!("{main}?branches=true")))
            .await
            .0,
        304
    );

    // What the tenant's database serves stays.
    let database = json!({
        "tenant": "acme",
        "database": {"url_env": "NOWHERE", "branch": "live", "tables": []},
    });
    let set =
        Call::new(Method::PUT, "/v1/admin/database").body(serde_json::to_vec(&database).unwrap());
    assert_eq!(send(&client, begin("live", one.0)).await.0, 200);
    assert_eq!(send(&site.operator, set).await.0, 200);
    assert_eq!(send(&client, remove("live", one.0)).await.0, 400);
}
