//! Rows of legacy clients, without a database: they are in the history alone.

use super::*;

pub(crate) const IMPORT: &str = "/api/v1/cloud/tenants/acme/database/import";
pub(crate) const EXPORT: &str = "/api/v1/cloud/tenants/acme/database/export";
pub(crate) const DIRECT_IMPORT: &str = "/api/v1/sync/database/import";
pub(crate) const DIRECT_EXPORT: &str = "/api/v1/sync/database/export";

pub(crate) const AGENT: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
pub(crate) const SKILL: &str = "0190163d-8694-739b-aea5-966c26f8ad92";
pub(crate) const CONTEXT: &str = "0190163d-8694-739b-aea5-966c26f8ad93";

/// An export of relay routes, as clients send it back.
pub(crate) fn cloud(name: &str, updated: &str) -> Value {
    json!({
        "agents": [{"id": AGENT, "name": name, "system_prompt": null,
            "created_at": "2024-01-01T00:00:00Z", "updated_at": updated}],
        "skills": [{"id": SKILL, "agent_id": AGENT, "name": "search", "description": "finds",
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}],
        "contexts": [{"id": CONTEXT, "name": "first", "description": null,
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00.5Z"}],
        "timestamp": "2024-06-01T00:00:00Z",
    })
}

/// Sends an import and gives `created, updated, skipped, deleted, conflicts`.
pub(crate) async fn import(client: &Client, path: &str, body: &Value) -> [u64; 5] {
    let (status, answer) = send(client, post(path, body)).await;
    assert_eq!(status, 200, "{answer}");
    ["created", "updated", "skipped", "deleted", "conflicts"].map(|name| {
        assert_eq!(answer[name], answer["data"][name]);
        answer[name].as_u64().unwrap()
    })
}

/// An export, without its time.
pub(crate) async fn export(client: &Client, path: &str) -> Value {
    let (status, mut answer) = send(client, Call::get(path)).await;
    assert_eq!(status, 200, "{answer}");
    let name = if path.contains("/sync/") {
        "exported_at"
    } else {
        "timestamp"
    };
    let time = answer.as_object_mut().unwrap().remove(name).unwrap();
    assert_eq!(time, "2023-11-14T22:13:20Z");
    answer
}

fn without_time(mut body: Value) -> Value {
    body.as_object_mut().unwrap().remove("timestamp");
    body
}

#[tokio::test]
async fn what_is_imported_is_exported() {
    let (_site, repository, client) = site().await;
    let empty = json!({"agents": [], "skills": [], "contexts": []});
    assert_eq!(export(&client, EXPORT).await, empty);
    let first = cloud("triage", "2024-01-02T00:00:00Z");
    assert_eq!(import(&client, IMPORT, &first).await, [3, 0, 0, 0, 0]);
    assert_eq!(export(&client, EXPORT).await, without_time(first.clone()));
    // The same again is no news: nobody gets a new snapshot.
    let (before, snapshot) = head(&repository).await.unwrap();
    assert_eq!(
        (snapshot.author.as_str(), snapshot.parents.len()),
        ("legacy", 0)
    );
    assert_eq!(import(&client, IMPORT, &first).await, [0, 0, 3, 0, 0]);
    assert_eq!(head(&repository).await.unwrap().0, before);

    let newer = cloud("triage 2", "2024-01-03T00:00:00Z");
    assert_eq!(import(&client, IMPORT, &newer).await, [0, 1, 2, 0, 0]);
    // Somebody who has not seen it does not take it back.
    assert_eq!(import(&client, IMPORT, &first).await, [0, 0, 3, 0, 0]);
    assert_eq!(export(&client, EXPORT).await, without_time(newer));
    let (_, after) = head(&repository).await.unwrap();
    assert_eq!(after.parents, [before]);
}

#[tokio::test]
async fn strategies_say_what_happens_to_rows() {
    let (_site, repository, client) = site().await;
    let all = cloud("triage", "2024-01-02T00:00:00Z");
    import(&client, IMPORT, &all).await;
    let mut other = cloud("other", "2024-01-05T00:00:00Z");
    let path = |strategy: &str| format!("{IMPORT}?merge_strategy={strategy}");
    let skipped = import(&client, &path("skip_existing"), &other).await;
    assert_eq!(skipped, [0, 0, 3, 0, 0]);
    other["agents"][0]["id"] = json!("0190163d-8694-739b-aea5-966c26f8ad99");
    let merged = import(&client, &path("skip_existing"), &other).await;
    assert_eq!(merged, [1, 0, 2, 0, 0]);
    assert_eq!(
        import(&client, &path("replace"), &all).await,
        [0, 0, 3, 1, 0]
    );
    assert_eq!(export(&client, EXPORT).await, without_time(all.clone()));
    // What changed after the import was exported is not deleted by it.
    import(&client, IMPORT, &other).await;
    let mut old = all.clone();
    old["timestamp"] = json!("2024-01-04T00:00:00Z");
    assert_eq!(
        import(&client, &path("replace"), &old).await,
        [0, 0, 3, 0, 0]
    );

    let before = head(&repository).await.unwrap().0;
    let mut nothing = all.clone();
    nothing["agents"] = json!([]);
    assert_eq!(import(&client, IMPORT, &nothing).await, [0, 0, 2, 0, 0]);
    let (status, refused) = send(&client, post(&path("replace"), &nothing)).await;
    let empty = json!({"reason": "empty_list", "path": "agents"});
    assert_eq!((status, &refused["details"]), (422, &empty));
    assert_eq!(send(&client, post(&path("upsert"), &all)).await.0, 400);
    nothing["merge_strategy"] = json!("upsert");
    assert_eq!(send(&client, post(IMPORT, &nothing)).await.0, 400);
    nothing["merge_strategy"] = json!("merge");
    assert_eq!(send(&client, post(&path("replace"), &nothing)).await.0, 400);
    assert_eq!(head(&repository).await.unwrap().0, before);
}

/// A body of direct routes.
pub(crate) fn direct() -> Value {
    json!({
        "services": [{"name": "mail", "module_name": "mcp_mail", "status": "running", "port": 8081,
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}],
        "skills": [{"skill_id": "search", "file_path": "skills/search/index.md", "name": "Search",
            "description": "", "instructions": "x".repeat(5000), "enabled": false,
            "tags": ["a b", "c"], "category_id": null, "source_id": "local",
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}],
        "contexts": [{"context_id": "c1", "user_id": "ada", "session_id": null, "name": "first",
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}],
    })
}

#[tokio::test]
async fn direct_routes_have_their_own_layout() {
    let (_site, _, client) = site().await;
    let mut body = direct();
    let (status, answer) = send(&client, post(DIRECT_IMPORT, &body)).await;
    assert_eq!(status, 200, "{answer}");
    let one = json!({"created": 1, "updated": 0, "skipped": 0, "deleted": 0, "conflicts": 0});
    let results = json!({"services": one, "skills": one, "contexts": one});
    assert_eq!(answer["results"], results);
    assert_eq!(answer["imported_at"], "2023-11-14T22:13:20Z");
    assert_eq!(import(&client, DIRECT_IMPORT, &body).await, [0, 0, 3, 0, 0]);
    let counts = json!({"services": 1, "skills": 1, "contexts": 1});
    body["record_counts"] = counts;
    assert_eq!(export(&client, DIRECT_EXPORT).await, body);
    let some = export(
        &client,
        &format!("{DIRECT_EXPORT}?tables=agents,%20contexts"),
    )
    .await;
    assert_eq!(some["services"], body["services"]);
    assert_eq!(some["skills"], json!([]));
    assert_eq!(some["record_counts"]["skills"], 0);
    let unknown = Call::get(format!("{DIRECT_EXPORT}?tables=users"));
    assert_eq!(send(&client, unknown).await.0, 400);

    // Clients of relay routes see the same skills, under UUIDs that stay the same.
    let seen = export(&client, EXPORT).await;
    assert_eq!(seen, export(&client, EXPORT).await);
    assert_eq!(seen["skills"][0]["name"], "Search");
    assert_eq!(
        seen["skills"][0]["agent_id"],
        "00000000-0000-0000-0000-000000000000"
    );
    let mut back = seen.clone();
    back["timestamp"] = json!("2024-06-01T00:00:00Z");
    assert_eq!(import(&client, IMPORT, &back).await, [0, 0, 2, 0, 0]);
    back["skills"][0]["description"] = json!("finds");
    assert_eq!(import(&client, IMPORT, &back).await, [0, 1, 1, 0, 0]);
    // What they do not know of stays.
    body["skills"][0]["description"] = json!("finds");
    assert_eq!(export(&client, DIRECT_EXPORT).await, body);
    // A list that does not come is none that is empty.
    let replaced = json!({"merge_strategy": "replace", "agents": body["services"]});
    assert_eq!(
        import(&client, DIRECT_IMPORT, &replaced).await,
        [0, 0, 1, 0, 0]
    );
    assert_eq!(export(&client, DIRECT_EXPORT).await, body);
}

#[tokio::test]
async fn a_bad_import_leaves_nothing() {
    let (site, repository, client) = site().await;
    let good = cloud("triage", "2024-01-02T00:00:00Z");
    let mut twice = good.clone();
    twice["agents"] = json!([good["agents"][0], good["agents"][0]]);
    let mut nul = good.clone();
    nul["skills"][0]["name"] = json!("a\u{0}b");
    let mut number = direct();
    number["services"][0]["port"] = json!(1_u64 << 40);
    let mut nameless = direct();
    nameless["skills"][0]["skill_id"] = json!("");
    let mut long = direct();
    long["skills"][0]["skill_id"] = json!("x".repeat(9000));
    for (path, body, reason) in [
        (IMPORT, &twice, "duplicate"),
        (IMPORT, &nul, "shape"),
        (IMPORT, &json!({}), "shape"),
        (IMPORT, &direct(), "shape"),
        (DIRECT_IMPORT, &number, "out_of_range"),
        (DIRECT_IMPORT, &nameless, "shape"),
        (DIRECT_IMPORT, &long, "too_long"),
    ] {
        let (status, refused) = send(&client, post(path, body)).await;
        assert_eq!(
            (status, &refused["code"]),
            (422, &json!("validation_error"))
        );
        assert_eq!(refused["details"]["reason"], reason, "{refused}");
    }
    let deep = format!("{{\"x\":{}", "[".repeat(1 << 20));
    for body in ["", "x", "{\"agents\":[", &deep] {
        let call = Call::post(IMPORT).body(body.as_bytes().to_vec());
        let (status, refused) = send(&client, call).await;
        assert_eq!((status, &refused["code"]), (400, &json!("bad_request")));
    }
    let call = Call::post(IMPORT).body(b"{\"x\":\"\xff\"}".to_vec());
    assert_eq!(send(&client, call).await.0, 400);
    let call = Call::post(IMPORT).body(vec![b' '; (64 << 20) + 1]);
    let (status, refused) = send(&client, call).await;
    assert_eq!(
        (status, &refused["details"]["reason"]),
        (422, &json!("too_large"))
    );
    assert!(head(&repository).await.is_none());

    // Who may only read imports nothing, and nobody sees another tenant's rows.
    let (_, reader) = site.token("acme", "read").await;
    let reader = site.client(&reader);
    assert_eq!(send(&reader, post(IMPORT, &good)).await.0, 403);
    assert_eq!(send(&reader, Call::get(EXPORT)).await.0, 200);
    let (_, other) = site.token("other", "write").await;
    let other = site.client(&other);
    assert_eq!(send(&other, Call::get(EXPORT)).await.0, 403);
    assert_eq!(send(&other, post(IMPORT, &good)).await.0, 403);
    assert_eq!(import(&client, IMPORT, &good).await, [3, 0, 0, 0, 0]);
    let seen = export(&other, DIRECT_EXPORT).await;
    assert_eq!(seen["record_counts"]["skills"], 0);
}

#[tokio::test]
async fn imports_and_pushes_at_once_all_land() {
    let (_site, repository, client) = site().await;
    let bodies = (0..12).map(|n| {
        let mut body = cloud("agent", "2024-01-02T00:00:00Z");
        body["agents"][0]["id"] = json!(format!("00000000-0000-4000-8000-0000000000{n:02}"));
        body
    });
    let bodies: Vec<Value> = bodies.collect();
    let imports =
        futures_util::future::join_all(bodies.iter().map(|body| import(&client, IMPORT, body)));
    let file = tarball(&files(&[("agents/a.yaml", "a", 0o644)]));
    let push = send(&client, Call::post(FILES).body(file));
    let (counts, (status, _)) = tokio::join!(imports, push);
    assert_eq!(status, 200);
    // One of them brought the skill and the context, too.
    let created: u64 = counts.iter().map(|counts| counts[0]).sum();
    assert_eq!(created, 14);
    let all = export(&client, EXPORT).await;
    assert_eq!(all["agents"].as_array().unwrap().len(), 12);
    assert_eq!(tree(&repository).await.len(), 1);
}
