//! The server over real connections: who may do what, and what each refusal says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod branches;
mod deploys;
mod identity;
mod legacy;
mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{Method, Response};
use serde_json::{Value, json};
use sync_core::map::{Builder, MemoryNodes};
use sync_core::patch::Signature;
use sync_core::{Chunk, Content, Digest, Entry, Roots, Snapshot, SnapshotId};
use sync_server::Server;
use sync_store::Store;
use sync_store::pack::{Class, PackWriter};
use sync_store::protocol::{MAX_SIGNED, decode_signatures, encode_digests};
use sync_transport::{
    Body, Call, Client, ClientOptions, Endpoint, Listener, Secret, ServerOptions, serve,
};
use tokio::sync::oneshot;

/// A server on loopback and in memory, with a clock that the test moves.
struct Site {
    url: String,
    store: Store,
    operator: Client,
    now: Arc<AtomicU64>,
    _stop: oneshot::Sender<()>,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|_| None).await
    }

    /// A site whose environment has these variables.
    async fn start_with(
        variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let configure = |server: Server| server.with_variables(Arc::new(variables));
        Self::start_over(Store::in_memory(), configure).await
    }

    /// A site over a store, with a server as it was configured.
    async fn start_over(store: Store, configure: impl FnOnce(Server) -> Server) -> Self {
        let now = Arc::new(AtomicU64::new(1_700_000_000_000));
        let clock = Arc::clone(&now);
        let server = Server::new(
            store.clone(),
            Arc::new(move || clock.load(Ordering::Relaxed)),
        );
        let server = configure(server);
        let public = Listener::bind_tcp("127.0.0.1:0".parse().unwrap(), None)
            .await
            .unwrap();
        let url = format!("http://{}", public.local_addr().unwrap());
        let (connector, private) = Listener::memory();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let until = async {
                let _ = stopped.await;
            };
            serve(
                vec![public, private],
                Arc::new(server),
                ServerOptions::default(),
                until,
            )
            .await
            .unwrap();
        });
        let operator = Client::new(
            Endpoint::Memory(connector),
            None,
            None,
            ClientOptions::default(),
        );
        Self {
            url,
            store,
            operator,
            now,
            _stop: stop,
        }
    }

    /// A site with the tenants `acme` and `other`.
    async fn with_tenants() -> Self {
        Self::start().await.and_tenants().await
    }

    async fn and_tenants(self) -> Self {
        let site = self;
        for name in ["acme", "other"] {
            let made = send(
                &site.operator,
                post("/v1/admin/tenants", &json!({"name": name})),
            )
            .await;
            assert_eq!(made.0, 201, "{}", made.1);
        }
        site
    }

    fn client(&self, token: &str) -> Client {
        let endpoint = Endpoint::parse(&self.url).unwrap();
        Client::new(
            endpoint,
            None,
            Some(Secret::new(token)),
            ClientOptions::default(),
        )
    }

    async fn token(&self, tenant: &str, scope: &str) -> (String, String) {
        let asked = json!({"tenant": tenant, "scope": scope, "expires_in_seconds": 60});
        let (status, issued) = send(&self.operator, post("/v1/admin/tokens", &asked)).await;
        assert_eq!(status, 201, "{issued}");
        let text = |key: &str| issued[key].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }
}

fn post(path: &str, body: &Value) -> Call {
    Call::post(path).body(serde_json::to_vec(body).unwrap())
}

/// The status, and the body as JSON; `null` where it is empty.
async fn send(client: &Client, call: Call) -> (u16, Value) {
    let answer: Response<Body> = client.send(call).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().read_to_end(1 << 20).await.unwrap();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

const HEAD: &str = "/v1/tenants/acme/heads/main";

/// A snapshot of one file with this text, and a pack that has all of it but what `leave_out` names.
fn snapshot(
    text: &str,
    parent: Option<SnapshotId>,
    path: &str,
    leave_out: Option<Class>,
) -> (SnapshotId, Vec<u8>) {
    let chunk = Chunk {
        digest: Digest::of(text.as_bytes()),
        len: text.len() as u64,
    };
    let content = Content {
        depth: 0,
        chunks: vec![chunk],
    };
    let entry = Entry::File {
        executable: false,
        content,
    };
    let mut nodes = MemoryNodes::new();
    let mut builder = Builder::new(&mut nodes);
    builder.push(path.as_bytes(), &entry.encode()).unwrap();
    let root = builder.finish().unwrap().root;
    let snapshot = Snapshot {
        author: "ada".into(),
        message: text.into(),
        parents: parent.into_iter().collect(),
        roots: Roots {
            files: Some(root),
            ..Roots::default()
        },
        time: 1,
    };
    let (id, bytes) = snapshot.encode().unwrap();
    let mut writer = PackWriter::new().unwrap();
    writer.add(Class::Nodes, &bytes).unwrap();
    if leave_out != Some(Class::Nodes) {
        nodes
            .iter()
            .for_each(|(_, node)| writer.add(Class::Nodes, node).unwrap());
    }
    if leave_out != Some(Class::Contents) {
        writer.add(Class::Contents, text.as_bytes()).unwrap();
    }
    (id, writer.finish().unwrap().concat())
}

fn push(expected: Option<SnapshotId>, (id, pack): (SnapshotId, Vec<u8>)) -> Call {
    let expectation = match expected {
        Some(id) => (
            IF_MATCH,
            HeaderValue::try_from(format!("\"{id}\"")).unwrap(),
        ),
        None => (IF_NONE_MATCH, HeaderValue::from_static("*")),
    };
    Call::post(HEAD)
        .header(expectation.0, expectation.1)
        .header(
            HeaderName::from_static("sync-snapshot"),
            HeaderValue::try_from(id.to_string()).unwrap(),
        )
        .body(pack)
}

#[tokio::test]
async fn every_bad_token_is_one_and_the_same_refusal() {
    let site = Site::with_tenants().await;
    let (id, good) = site.token("acme", "read").await;
    assert_eq!(send(&site.client(&good), Call::get(HEAD)).await.0, 200);
    let wrong_secret = format!("{}x", &good[..good.len() - 1]);
    let mut refusals = Vec::new();
    for bad in ["sync_aaaa_bbbb", "nonsense", &wrong_secret] {
        refusals.push(send(&site.client(bad), Call::get(HEAD)).await);
    }
    site.now.fetch_add(60_000, Ordering::Relaxed);
    refusals.push(send(&site.client(&good), Call::get(HEAD)).await);
    let (id_two, revoked) = site.token("acme", "read").await;
    let call = Call::new(Method::DELETE, format!("/v1/admin/tokens/{id_two}"));
    assert_eq!(send(&site.operator, call).await.0, 200);
    refusals.push(send(&site.client(&revoked), Call::get(HEAD)).await);
    assert_ne!(id, id_two);
    for (status, body) in refusals {
        assert_eq!(
            (status, &body["error"]["code"]),
            (401, &json!("server/unauthorized"))
        );
        assert_eq!(body["error"]["message"], "the request has no valid token");
    }
}

#[tokio::test]
async fn a_token_reaches_its_tenant_and_scope_alone() {
    let site = Site::with_tenants().await;
    let (_, reader) = site.token("acme", "read").await;
    let reader = site.client(&reader);
    // Another tenant looks the same as one that does not exist.
    for tenant in ["other", "nobody"] {
        let (status, body) = send(
            &reader,
            Call::get(format!("/v1/tenants/{tenant}/heads/main")),
        )
        .await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (403, &json!("server/forbidden")),
            "{tenant}"
        );
    }
    let first = snapshot("a", None, "a.txt", None);
    assert_eq!(send(&reader, push(None, first)).await.0, 403);
    assert_eq!(
        send(&reader, post("/v1/admin/tenants", &json!({"name": "mine"})))
            .await
            .0,
        403
    );
    assert_eq!(
        send(
            &reader,
            post(
                "/v1/admin/tokens",
                &json!({"tenant": "acme", "scope": "admin"})
            )
        )
        .await
        .0,
        403
    );
    let (_, admin) = site.token("acme", "admin").await;
    let admin = site.client(&admin);
    assert_eq!(
        send(
            &admin,
            post(
                "/v1/admin/tokens",
                &json!({"tenant": "acme", "scope": "read"})
            )
        )
        .await
        .0,
        201
    );
    assert_eq!(
        send(
            &admin,
            post(
                "/v1/admin/tokens",
                &json!({"tenant": "other", "scope": "read"})
            )
        )
        .await
        .0,
        403
    );
    // A token of another tenant looks the same as one that does not exist, whoever asks.
    let (theirs, _) = site.token("other", "read").await;
    let (_, own_reader) = site.token("acme", "read").await;
    for (client, status, code) in [
        (&admin, 404, "server/no-token"),
        (&site.client(&own_reader), 403, "server/forbidden"),
    ] {
        for id in [theirs.as_str(), "aaaaaaaaaaaaaaaa"] {
            let call = Call::new(Method::DELETE, format!("/v1/admin/tokens/{id}"));
            let (seen, body) = send(client, call).await;
            assert_eq!((seen, &body["error"]["code"]), (status, &json!(code)));
            let message = body["error"]["message"].as_str().unwrap();
            assert!(!message.contains("other"), "{message}");
        }
    }
    let (_, listed) = send(&admin, Call::get("/v1/admin/tokens")).await;
    let listed = listed.to_string();
    assert!(
        listed.contains("\"scope\":\"read\"") && !listed.contains("hash"),
        "{listed}"
    );
}

#[tokio::test]
async fn heads_move_by_compare_and_swap() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    assert_eq!(
        send(&client, Call::get(HEAD)).await.1,
        json!({"head": null, "snapshot": null, "vacant": true})
    );
    let one = snapshot("one", None, "a.txt", None);
    assert_eq!(send(&client, push(None, one.clone())).await.0, 200);
    // Repeating it is success; expecting no branch any more is not.
    assert_eq!(send(&client, push(None, one.clone())).await.0, 200);
    let two = snapshot("two", Some(one.0), "a.txt", None);
    let (status, body) = send(&client, push(None, two.clone())).await;
    assert_eq!(
        (status, &body["error"]["details"]["stale"]["head"]),
        (412, &json!(one.0))
    );
    assert_eq!(send(&client, push(Some(one.0), two.clone())).await.0, 200);
    let unchanged = Call::get(HEAD).header(
        IF_NONE_MATCH,
        HeaderValue::try_from(format!("\"{}\"", two.0)).unwrap(),
    );
    assert_eq!(send(&client, unchanged).await, (304, Value::Null));
    let (_, log) = send(
        &client,
        Call::get(format!("/v1/tenants/acme/snapshots?from={}", two.0)),
    )
    .await;
    let ids: Vec<&Value> = log["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|logged| &logged["id"])
        .collect();
    assert_eq!(ids, [&json!(two.0), &json!(one.0)]);
    let prefix = &two.0.to_string()[..8];
    assert_eq!(
        send(
            &client,
            Call::get(format!("/v1/tenants/acme/snapshots/{prefix}"))
        )
        .await
        .1["id"],
        json!(two.0)
    );
}

#[tokio::test]
async fn signatures_are_given_in_the_order_asked() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    let text = "some text ".repeat(30);
    let pushed = send(&client, push(None, snapshot(&text, None, "a.txt", None))).await;
    assert_eq!(pushed.0, 200, "{}", pushed.1);
    let ask = |body: Vec<u8>| Call::post("/v1/tenants/acme/signatures").body(body);
    let asked = [Digest::of(b"unknown"), Digest::of(text.as_bytes())];
    let answer = client.send(ask(encode_digests(&asked))).await.unwrap();
    let body = answer.into_body().read_to_end(1000).await.unwrap();
    let expected = vec![None, Some(Signature::of(text.as_bytes()))];
    assert_eq!(decode_signatures(&body, [9, text.len()]), Some(expected));
    for body in [vec![1; 31], vec![1; 32 * (MAX_SIGNED + 1)]] {
        assert_eq!(send(&client, ask(body)).await.0, 400);
    }
}

#[tokio::test]
async fn what_is_missing_or_malformed_moves_nothing() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    let check = async |call: Call, status: u16, code: &str| {
        let (seen, body) = send(&client, call).await;
        assert_eq!(
            (seen, body["error"]["code"].as_str()),
            (status, Some(code)),
            "{body}"
        );
        assert_eq!(send(&client, Call::get(HEAD)).await.1["head"], Value::Null);
        body
    };
    let lacking = snapshot("one", None, "a.txt", Some(Class::Contents));
    let body = check(push(None, lacking.clone()), 422, "store/incomplete").await;
    assert_eq!(
        body["error"]["details"]["incomplete"]["missing"],
        json!([Digest::of(b"one")])
    );
    for path in ["../a", "/etc/passwd", "a\u{1b}b", "a//b"] {
        check(
            push(None, snapshot("one", None, path, None)),
            422,
            "store/malformed",
        )
        .await;
    }
    let (id, mut pack) = snapshot("one", None, "a.txt", None);
    pack.truncate(pack.len() - 1);
    check(push(None, (id, pack)), 400, "store/cut").await;
    check(
        push(None, (id, b"not a pack at all".to_vec())),
        422,
        "store/pack",
    )
    .await;
    check(
        Call::post(HEAD).body(b"x".to_vec()),
        400,
        "server/malformed",
    )
    .await;
    check(
        Call::get("/v1/tenants/acme/snapshots/zz"),
        400,
        "server/malformed",
    )
    .await;
    check(
        Call::get("/v1/tenants/acme/snapshots/abcd"),
        404,
        "server/no-snapshot",
    )
    .await;
    check(Call::get("/v1/nothing"), 404, "server/no-route").await;
    check(Call::get("/v1/tenants/acme/fetch"), 405, "server/no-route").await;
    check(
        post("/v1/tenants/acme/fetch", &json!({"want": Digest::of(b"x")})),
        404,
        "server/no-snapshot",
    )
    .await;
    check(
        Call::post("/v1/tenants/acme/missing").body(b"1234567".to_vec()),
        400,
        "server/malformed",
    )
    .await;
    // What the first push brought is kept: the rest completes it.
    let whole = snapshot("one", None, "a.txt", Some(Class::Nodes));
    assert_eq!(send(&client, push(None, whole)).await.0, 200);
}

#[tokio::test]
async fn the_operator_collects_and_a_tenant_verifies() {
    let site = Site::with_tenants().await;
    let (_, token) = site.token("acme", "write").await;
    let client = site.client(&token);
    let one = snapshot("one", None, "a.txt", None);
    assert_eq!(send(&client, push(None, one.clone())).await.0, 200);
    let two = snapshot("two", Some(one.0), "a.txt", None);
    assert_eq!(send(&client, push(Some(one.0), two.clone())).await.0, 200);
    let ask = json!({"tenant": "acme", "branch": "main", "retention": {"last": 1}});
    let put =
        || Call::new(Method::PUT, "/v1/admin/retention").body(serde_json::to_vec(&ask).unwrap());
    assert_eq!(send(&client, put()).await.0, 403);
    assert_eq!(send(&site.operator, put()).await.0, 200);
    let read = Call::get("/v1/admin/retention?tenant=acme&branch=main");
    assert_eq!(send(&site.operator, read).await.1, ask);
    let gc = |plan: bool| {
        let ask = json!({"tenant": "acme", "grace_seconds": 0, "plan": plan});
        post("/v1/admin/gc", &ask)
    };
    assert_eq!(send(&client, gc(false)).await.0, 403);
    site.now.fetch_add(1000, Ordering::Relaxed);
    for plan in [true, false] {
        let (_, body) = send(&site.operator, gc(plan)).await;
        let done = &body["done"][0];
        assert_eq!(
            (&done["tenant"], &done["expired"], &done["removed"]),
            (&json!("acme"), &json!(1), &json!(3)),
            "{body}"
        );
    }
    // What is gone is named as such, and a fetch that builds on it brings everything.
    let gone = [
        Call::get(format!("/v1/tenants/acme/snapshots?from={}", one.0)),
        Call::get(format!("/v1/tenants/acme/snapshots/{}", one.0)),
        post("/v1/tenants/acme/fetch", &json!({"want": one.0})),
    ];
    for call in gone {
        let (status, body) = send(&client, call).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (410, &json!("store/expired")),
            "{body}"
        );
    }
    let fetch = json!({"want": two.0, "have": one.0, "contents": true});
    assert_eq!(
        send(&client, post("/v1/tenants/acme/fetch", &fetch))
            .await
            .0,
        200
    );
    let (_, log) = send(
        &client,
        Call::get(format!("/v1/tenants/acme/snapshots?from={}", two.0)),
    )
    .await;
    assert_eq!(log["snapshots"].as_array().unwrap().len(), 1);
    let (status, body) = send(&client, Call::post("/v1/tenants/acme/verify")).await;
    assert_eq!((status, &body["done"]["damaged_total"]), (200, &json!(0)));
    let repair = Call::post("/v1/tenants/acme/repair").body(two.1.clone());
    assert_eq!(send(&client, repair).await.1, json!({"objects": 0}));
    let unknown = post("/v1/admin/verify", &json!({"tenant": "nobody"}));
    assert_eq!(send(&site.operator, unknown).await.0, 404);
}

#[tokio::test]
async fn anybody_may_ask_whether_it_lives() {
    let site = Site::start().await;
    let nobody = site.client("none");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(&nobody, Call::get(path)).await.0, 200);
    }
}
