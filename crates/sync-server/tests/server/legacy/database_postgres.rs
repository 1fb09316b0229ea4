//! Rows of legacy clients, in a tenant that has a PostgreSQL database.
#![allow(clippy::expect_used, reason = "what is missing says how to get it")]

use super::database::*;
use super::*;

/// Where the PostgreSQL for tests is; the role has to be a superuser.
fn postgres() -> String {
    std::env::var("SYNC_TEST_POSTGRES").expect(
        "SYNC_TEST_POSTGRES is not set: run `cargo xtask e2e up postgres`, which starts a PostgreSQL and says how to set it",
    )
}

/// A database that is dropped with this, and a tenant that has it.
struct Fixture {
    site: Site,
    client: Client,
    name: String,
    url: String,
}

/// Rows that a statement gives, of one text each.
async fn ask(url: &str, sql: &str) -> Vec<String> {
    let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("the PostgreSQL for tests answers");
    tokio::spawn(connection);
    let answered = client.simple_query(sql).await;
    let answered = answered.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    let rows = answered.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}

impl Fixture {
    async fn new(tables: &[&str], script: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync_legacy_{}_{number}", std::process::id());
        let server = postgres();
        ask(
            &server,
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        )
        .await;
        ask(&server, &format!("CREATE DATABASE {name}")).await;
        let (base, query) = server.split_once('?').unwrap_or((&server, ""));
        let (host, _) = base.rsplit_once('/').unwrap();
        let url = format!("{host}/{name}?{query}");
        let url = url.trim_end_matches('?').to_owned();
        ask(&url, script).await;
        let address = url.clone();
        let site = Site::start_with(move |_| Some(address.clone())).await;
        let site = site.and_tenants().await;
        let tables: Vec<Value> = tables.iter().map(|name| json!({"name": name})).collect();
        let record = json!({"tenant": "acme",
            "database": {"url_env": "ANY", "branch": "main", "tables": tables}});
        let set =
            Call::new(Method::PUT, "/v1/admin/database").body(record.to_string().into_bytes());
        let (status, said) = send(&site.operator, set).await;
        assert_eq!(status, 200, "{said}");
        let (_, token) = site.token("acme", "write").await;
        let client = site.client(&token);
        Self {
            site,
            client,
            name,
            url,
        }
    }

    async fn ask(&self, sql: &str) -> Vec<String> {
        ask(&self.url, sql).await
    }

    async fn head(&self) -> Option<SnapshotId> {
        let repository = self.site.store.tenant("acme").await.unwrap().unwrap();
        repository.head("main").await.unwrap()
    }

    async fn end(self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        ask(&postgres(), &drop).await;
    }
}

/// The simple form.
const SIMPLE: &str = "
CREATE TABLE agents (id uuid PRIMARY KEY, name text NOT NULL UNIQUE, system_prompt text,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE skills (id uuid PRIMARY KEY, agent_id uuid NOT NULL REFERENCES agents, name text NOT NULL,
    description text, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
CREATE TABLE contexts (id uuid PRIMARY KEY, name text NOT NULL, description text,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);";

#[tokio::test(flavor = "multi_thread")]
async fn the_simple_form_is_a_database() {
    let fixture = Fixture::new(&["agents", "skills", "contexts"], SIMPLE).await;
    let client = &fixture.client;
    let first = cloud("triage", "2024-01-02T00:00:00Z");
    assert_eq!(import(client, IMPORT, &first).await, [3, 0, 0, 0, 0]);
    assert_eq!(fixture.ask("SELECT name FROM agents").await, ["triage"]);
    let before = fixture.head().await;
    assert_eq!(import(client, IMPORT, &first).await, [0, 0, 3, 0, 0]);
    assert_eq!(fixture.head().await, before);
    // What the tenant's program wrote meanwhile is newer, and is exported.
    fixture
        .ask("UPDATE agents SET name = 'renamed', updated_at = '2024-03-01 00:00:00.25Z'")
        .await;
    assert_eq!(import(client, IMPORT, &first).await, [0, 0, 3, 0, 0]);
    let seen = export(client, EXPORT).await;
    assert_eq!(seen["agents"][0]["name"], "renamed");
    assert_eq!(seen["agents"][0]["updated_at"], "2024-03-01T00:00:00.25Z");
    // What the database refuses is a conflict, and the rest is done.
    let mut other = cloud("renamed", "2024-04-01T00:00:00Z");
    other["agents"][0]["id"] = json!("0190163d-8694-739b-aea5-966c26f8ad99");
    other["contexts"][0]["name"] = json!("second");
    other["contexts"][0]["updated_at"] = json!("2024-04-01T00:00:00Z");
    assert_eq!(import(client, IMPORT, &other).await, [0, 1, 1, 0, 1]);
    assert_eq!(fixture.ask("SELECT name FROM contexts").await, ["second"]);
    assert_eq!(fixture.ask("SELECT count(*) FROM agents").await, ["1"]);
    let answer = export(client, EXPORT).await;
    assert_eq!(answer["agents"].as_array().unwrap().len(), 1);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_form_is_a_database() {
    let defaults = include_str!("../../../../sync-db/src/migrate/default_tables.sql");
    let script = format!(
        "{defaults}; INSERT INTO users (id, name, email) VALUES ('ada', 'ada', 'ada@example.org');
        INSERT INTO agents (agent_id, name, port, skills) VALUES ('mail', 'mail', 8080, '{{search}}')"
    );
    let tables = ["agents", "agent_skills", "users", "user_contexts"];
    let fixture = Fixture::new(&tables, &script).await;
    let client = &fixture.client;
    let mut body = direct();
    body["services"][0]["updated_at"] = json!("2100-01-01T00:00:00Z");
    assert_eq!(import(client, DIRECT_IMPORT, &body).await, [2, 1, 0, 0, 0]);
    assert_eq!(import(client, DIRECT_IMPORT, &body).await, [0, 0, 3, 0, 0]);
    let seen = fixture.ask("SELECT port || status FROM agents, (SELECT tags::text || enabled AS status FROM agent_skills) s");
    assert_eq!(seen.await, ["8081{\"a b\",c}false"]);
    // What was written is what a capture reads: nothing is left to do.
    let before = fixture.head().await;
    let seen = export(client, EXPORT).await;
    assert_eq!(fixture.head().await, before);
    assert_eq!(seen["skills"][0]["agent_id"], seen["agents"][0]["id"]);
    // A client of relay routes makes rows of which the tables want more than it knows.
    let mut cloudy = cloud("triage", "2024-01-02T00:00:00Z");
    cloudy["contexts"] = json!([]);
    assert_eq!(import(client, IMPORT, &cloudy).await, [2, 0, 0, 0, 0]);
    assert_eq!(import(client, IMPORT, &cloudy).await, [0, 0, 2, 0, 0]);
    let made =
        fixture.ask("SELECT agent_id || version || enabled FROM agents WHERE name = 'triage'");
    assert_eq!(made.await, [format!("{AGENT}1.0.0true")]);
    assert_eq!(
        fixture
            .ask("SELECT port FROM agents WHERE agent_id = 'mail'")
            .await,
        ["8081"]
    );
    // A context has to have a user, whom these clients do not name.
    let contexts = cloud("triage", "2024-01-02T00:00:00Z");
    assert_eq!(import(client, IMPORT, &contexts).await, [0, 0, 2, 0, 1]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_says_which_tables_there_are() {
    let script = "CREATE TABLE agents (id int PRIMARY KEY, name text);
        CREATE TABLE contexts (id uuid PRIMARY KEY, name varchar(5), updated_at timestamptz)";
    let fixture = Fixture::new(&["agents", "contexts"], script).await;
    let client = &fixture.client;
    let mut body = cloud("triage", "2024-01-02T00:00:00Z");
    let (status, refused) = send(client, post(IMPORT, &body)).await;
    assert_eq!(
        (status, &refused["details"]["reason"]),
        (422, &json!("table_key"))
    );
    fixture
        .ask("DROP TABLE agents; CREATE TABLE agents (id uuid PRIMARY KEY, name int)")
        .await;
    let (status, refused) = send(client, post(IMPORT, &body)).await;
    let wrong = json!({"reason": "column_type", "path": "agents[0].name"});
    assert_eq!((status, &refused["details"]), (422, &wrong));
    body["agents"] = json!([]);
    let (status, refused) = send(client, post(IMPORT, &body)).await;
    let none = json!({"reason": "no_table", "path": "skills"});
    assert_eq!((status, &refused["details"]), (422, &none));
    body["skills"] = json!([]);
    assert_eq!(import(client, IMPORT, &body).await, [1, 0, 0, 0, 0]);
    let seen = export(client, EXPORT).await;
    assert_eq!(
        seen["contexts"][0]["created_at"],
        seen["contexts"][0]["updated_at"]
    );
    assert_eq!(import(client, IMPORT, &body).await, [0, 0, 1, 0, 0]);
    assert_eq!(fixture.ask("SELECT name FROM contexts").await, ["first"]);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_tried_again() {
    let fixture = Fixture::new(&["agents", "skills", "contexts"], SIMPLE).await;
    let drop = format!("DROP DATABASE {} WITH (FORCE)", fixture.name);
    let nowhere = Site::start_with(|_| Some("postgres://a@127.0.0.1:1/a".to_owned())).await;
    let nowhere = nowhere.and_tenants().await;
    let tables = json!([{"name": "agents"}]);
    let record = json!({"tenant": "acme",
        "database": {"url_env": "ANY", "branch": "main", "tables": tables}});
    let set = Call::new(Method::PUT, "/v1/admin/database").body(record.to_string().into_bytes());
    assert_eq!(send(&nowhere.operator, set).await.0, 200);
    let (_, token) = nowhere.token("acme", "write").await;
    let (status, said) = send(&nowhere.client(&token), Call::get(EXPORT)).await;
    assert_eq!(
        (status, &said["code"]),
        (503, &json!("service_unavailable"))
    );
    assert!(!said.to_string().contains("127.0.0.1"), "{said}");
    ask(&postgres(), &drop).await;
}
