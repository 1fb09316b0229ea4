//! Who a tenant is, who may say so, and that it has moved.

use http::Method;
use serde_json::{Value, json};
use sync_store::identity::{Introduction, Moved, PublicKey, Succession};
use sync_transport::Call;

use super::{HEAD, Site, post, push, send, snapshot};

const IDENTITY: &str = "/v1/tenants/acme/identity";
const ROTATE: &str = "/v1/tenants/acme/identity/rotate";
const MOVED: &str = "/v1/tenants/acme/moved";

fn nonce() -> (String, Vec<u8>) {
    ("ab".repeat(32), vec![0xab; 32])
}

fn introduction(body: Value) -> Introduction {
    serde_json::from_value(body).unwrap()
}

fn put(body: &Value) -> Call {
    Call::new(Method::PUT, MOVED).body(serde_json::to_vec(body).unwrap())
}

#[tokio::test]
async fn a_tenant_says_who_it_is_and_answers_about_heads_name_it() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    let (text, bytes) = nonce();
    let (status, said) = send(&client, Call::get(format!("{IDENTITY}?nonce={text}"))).await;
    assert_eq!(status, 200, "{said}");
    let key = introduction(said).verify(&bytes).unwrap().unwrap();
    for bad in ["", "ab", "zz", &"AB".repeat(32), &"ab".repeat(65)] {
        let asked = send(&client, Call::get(format!("{IDENTITY}?nonce={bad}"))).await;
        assert_eq!(asked.0, 400, "{bad}");
    }
    // Nobody signs what nobody chose.
    let (_, said) = send(&client, Call::get(IDENTITY)).await;
    assert_eq!(said, json!({"key": key}));

    let one = snapshot("one", None, "a.txt", None);
    for call in [
        Call::get(HEAD),
        push(None, one),
        Call::get("/v1/tenants/acme/heads"),
    ] {
        let answer = client.send(call).await.unwrap();
        assert_eq!(answer.status(), 200);
        let named = answer.headers().get("sync-identity").unwrap();
        assert_eq!(named.to_str().unwrap().parse(), Ok(key));
    }
    // The other tenant is somebody else, and its keys are not for who has no token of it.
    let (_, other) = send(&site.operator, Call::get("/v1/tenants/other/identity")).await;
    assert_ne!(introduction(other).key, Some(key));
    assert_eq!(
        send(&client, Call::get("/v1/tenants/other/identity"))
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn only_admins_change_who_a_tenant_is() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "deploy").await;
    let client = site.client(&token);
    for call in [
        Call::post(IDENTITY),
        Call::post(ROTATE),
        put(&json!({"url": "https://new"})),
    ] {
        assert_eq!(send(&client, call).await.0, 403);
    }
    let (_, token) = site.token("acme", "admin").await;
    let client = site.client(&token);
    let (status, refused) = send(&client, Call::post(IDENTITY)).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("server/has-identity"))
    );
    let key_of = |body: Value| introduction(body);
    let before = key_of(send(&client, Call::get(IDENTITY)).await.1);
    let (status, after) = send(&client, post(ROTATE, &json!(null))).await;
    assert_eq!(status, 200, "{after}");
    let after = key_of(after);
    let (was, is): (PublicKey, PublicKey) = (before.key.unwrap(), after.key.unwrap());
    assert_ne!(was, is);
    assert!(Succession::leads(&after.successions, was, is));

    // One that was made before tenants had keys is nobody until somebody says so.
    let repository = site.store.tenant("acme").await.unwrap().unwrap();
    repository.set_note("identity", None).await.unwrap();
    assert_eq!(
        send(&client, Call::get(IDENTITY)).await.1,
        json!({"key": null})
    );
    let answer = client.send(Call::get(HEAD)).await.unwrap();
    assert!(!answer.headers().contains_key("sync-identity"));
    for call in [Call::post(ROTATE), put(&json!({"url": "https://new"}))] {
        let (status, refused) = send(&client, call).await;
        assert_eq!(
            (status, &refused["error"]["code"]),
            (400, &json!("server/no-identity"))
        );
    }
    let (status, made) = send(&client, Call::post(IDENTITY)).await;
    assert_eq!(status, 200, "{made}");
    assert!(introduction(made).key.is_some());
}

#[tokio::test]
async fn a_tenant_that_has_moved_says_where_to_and_nothing_else() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "admin").await;
    let client = site.client(&token);
    for bad in [
        "ftp://new",
        "embedded:/x",
        "https://a@b",
        "https://new/path",
    ] {
        assert_eq!(send(&client, put(&json!({"url": bad}))).await.0, 400);
    }
    let (status, _) = send(&client, put(&json!({"url": "https://new:1/"}))).await;
    assert_eq!(status, 200);
    let one = snapshot("one", None, "a.txt", None);
    let legacy = "/api/v1/cloud/tenants/acme/files";
    for call in [Call::get(HEAD), push(None, one), Call::get(legacy)] {
        let (status, refused) = send(&client, call).await;
        assert_eq!(status, 410, "{refused}");
    }
    let (_, refused) = send(&client, Call::get(HEAD)).await;
    assert_eq!(refused["error"]["code"], json!("server/moved"));
    let moved: Moved =
        serde_json::from_value(refused["error"]["details"]["moved"].clone()).unwrap();
    assert_eq!(moved.verify(), Ok(()));
    assert_eq!(moved.statement.url, "https://new:1");
    let key = introduction(send(&client, Call::get(IDENTITY)).await.1).key;
    assert_eq!(Some(moved.statement.key), key);
    // Who has no token of it is not told.
    let (_, other) = site.token("other", "admin").await;
    assert_eq!(send(&site.client(&other), Call::get(HEAD)).await.0, 403);

    let (status, back) = send(&client, put(&json!({"url": null}))).await;
    assert_eq!((status, back), (200, json!(null)));
    assert_eq!(send(&client, Call::get(HEAD)).await.0, 200);
}
