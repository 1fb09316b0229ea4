//! An API token for an access token.

use super::*;

async fn exchange(site: &Site, form: &str) -> (u16, Value) {
    let nobody = site.client("none");
    send(
        &nobody,
        Call::post("/api/v1/core/oauth/token").body(form.as_bytes().to_vec()),
    )
    .await
}

async fn access(site: &Site, subject: &str) -> (Client, Value) {
    let form = format!("grant_type={GRANT}&subject_token={subject}&subject_token_type={JWT}");
    let (status, granted) = exchange(site, &form.replace(':', "%3A")).await;
    assert_eq!(
        (status, &granted["token_type"]),
        (200, &json!("Bearer")),
        "{granted}"
    );
    let token = granted["access_token"].as_str().unwrap();
    (site.client(token), granted)
}

#[tokio::test]
async fn an_access_token_does_what_its_api_token_does_and_no_longer() {
    let site = Site::with_tenants().await;
    let (id, token) = site.token("acme", "write").await;
    let (client, granted) = access(&site, &token).await;
    // The API token ends in a minute, so no access token lives for an hour.
    assert_eq!(granted["expires_in"], 60);
    assert_eq!(
        granted["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    let body = tarball(&files(&[("agents/a.md", "a", 0o644)]));
    let post = || Call::post("/api/v1/sync/files").body(body.clone());
    assert_eq!(send(&client, post()).await.0, 200);
    assert_eq!(pull(&client, "/api/v1/sync/files").await.len(), 1);
    // It is for these clients alone, and for its tenant alone.
    assert_eq!(send(&client, Call::get(HEAD)).await.0, 401);
    let foreign = Call::get("/api/v1/cloud/tenants/other/files");
    assert_eq!(send(&client, foreign).await.0, 403);
    // An access token is none to exchange.
    let form = format!(
        "grant_type={GRANT}&subject_token_type={JWT}&subject_token={}",
        granted["access_token"].as_str().unwrap()
    );
    assert_eq!(exchange(&site, &form).await.1["error"], "invalid_request");

    let (_, reader) = site.token("acme", "read").await;
    let (reader, _) = access(&site, &reader).await;
    let (status, refused) = send(&reader, post()).await;
    assert_eq!((status, &refused["code"]), (403, &json!("forbidden")));
    assert_eq!(pull(&reader, "/api/v1/sync/files").await.len(), 1);

    let revoke = Call::new(Method::DELETE, format!("/v1/admin/tokens/{id}"));
    assert_eq!(send(&site.operator, revoke).await.0, 200);
    let (status, refused) = send(&client, post()).await;
    assert_eq!((status, &refused["code"]), (401, &json!("unauthorized")));
    site.now.fetch_add(60_000, Ordering::Relaxed);
    assert_eq!(send(&reader, Call::get("/api/v1/sync/files")).await.0, 401);
    let form = format!("grant_type={GRANT}&subject_token={token}&subject_token_type={JWT}");
    let (status, refused) = exchange(&site, &form).await;
    assert_eq!(
        (status, &refused["error"]),
        (400, &json!("invalid_request"))
    );
    assert!(refused["error_description"].is_string());
    assert_eq!(
        exchange(&site, "grant_type=password").await.1["error"],
        "unsupported_grant_type"
    );
    assert_eq!(exchange(&site, "%").await.0, 400);
}
