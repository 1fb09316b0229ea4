//! The suite `legacy`: `curl` and `tar` in the place of clients of the earlier system.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    scenario::{Place, Suite, done},
    trees::{self, assert_same},
};

/// Every scenario, the simple ones first.
pub(super) const SCENARIOS: Suite = &[
    (
        "a_tarball_is_pulled_as_a_tree",
        a_tarball_is_pulled_as_a_tree,
    ),
    (
        "a_tree_is_pulled_as_a_tarball",
        a_tree_is_pulled_as_a_tarball,
    ),
    ("a_token_is_exchanged", a_token_is_exchanged),
    ("a_bad_tarball_leaves_nothing", a_bad_tarball_leaves_nothing),
    ("rows_go_without_a_database", rows_go_without_a_database),
    ("rows_go_into_a_database", rows_go_into_a_database),
    (
        "a_large_tarball_is_never_in_memory",
        a_large_tarball_is_never_in_memory,
    ),
];

/// More than this a server does not hold while it takes a tarball that is several times as large.
const MAX_SERVER_KIB: u64 = 192 * 1024;

/// The directories that legacy clients know.
const DIRECTORIES: [&str; 8] = [
    "agents", "skills", "content", "web", "config", "profiles", "plugins", "hooks",
];

/// A legacy client: where it connects to, and as whom.
struct Client<'p> {
    place: &'p Place<'p>,
    address: SocketAddr,
    token: Option<String>,
}

/// A status and a body.
struct Answer {
    status: u16,
    body: PathBuf,
}

impl<'p> Client<'p> {
    fn new(place: &'p Place<'p>, token: &str) -> Self {
        Self {
            place,
            address: place.server(),
            token: Some(token.to_owned()),
        }
    }

    /// Calls `curl`, which speaks HTTP/1.1 and trusts the test's authority.
    #[track_caller]
    fn call(&self, path: &str, arguments: &[&str]) -> Answer {
        let body = self.place.directory().join("answer");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--http1.1",
            "--write-out",
            "%{http_code}",
        ])
        .arg("--cacert")
        .arg(&self.place.certificates().authority)
        .arg("--output")
        .arg(&body);
        if let Some(token) = &self.token {
            curl.arg("--header")
                .arg(format!("authorization: Bearer {token}"));
        }
        let url = format!("https://localhost:{}{path}", self.address.port());
        let status = text(curl.args(arguments).arg(url));
        let status = status.trim().parse().expect("a status");
        Answer { status, body }
    }

    #[track_caller]
    fn push(&self, path: &str, tarball: &Path) -> Answer {
        let data = format!("@{}", tarball.display());
        let content = "content-type: application/octet-stream";
        self.call(path, &["--data-binary", &data, "--header", content])
    }
}

impl Answer {
    #[track_caller]
    fn ok(self) -> Self {
        self.is(200)
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        let said = fs::read(&self.body).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(..500).unwrap_or(&said)).into_owned();
        assert_eq!(self.status, status, "{said}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        let bytes = fs::read(&self.body).expect("read the answer");
        serde_json::from_slice(&bytes).expect("JSON")
    }
}

/// What a command prints; it has to succeed.
#[track_caller]
fn text(command: &mut Command) -> String {
    let output = command.output().expect("start a command");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A gzipped GNU tar of some directories of a tree.
#[track_caller]
fn pack(place: &Place, tree: &Path, directories: &[&str]) -> PathBuf {
    let tarball = place.directory().join("up.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--format=gnu", "--create", "--gzip", "--file"])
        .arg(&tarball);
    tar.arg("--directory").arg(tree).args(directories);
    text(&mut tar);
    tarball
}

#[track_caller]
fn unpack(tarball: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a directory");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--preserve-permissions", "--file"]);
    text(tar.arg(tarball).arg("--directory").arg(to));
}

/// A tree with what tarballs find hard: long names, executable files, a file of many chunks, an empty one.
fn sample(tree: &Path) {
    trees::sample(tree);
    trees::write(tree, "web/large.bin", trees::noise(11, 5 << 20));
    trees::write(tree, "plugins/empty", "");
    let long = format!("content/{}/{}.md", "d".repeat(120), "ü".repeat(120));
    trees::write(tree, long, "far away\n");
    trees::write(tree, "hooks/before", "#!/bin/sh\n");
    trees::chmod(tree, "hooks/before", 0o755);
}

fn files_of(place: &Place) -> String {
    // The base of some clients ends in a slash.
    format!("//api/v1/cloud/tenants/{}/files", place.tenant())
}

fn a_tarball_is_pulled_as_a_tree(place: &Place) {
    let token = place.create_tenant();
    let client = Client::new(place, &token);
    let tree = place.directory().join("tree");
    sample(&tree);
    let pushed = client
        .push(&files_of(place), &pack(place, &tree, &["."]))
        .ok()
        .json();
    let count = trees::nodes(&tree)
        .values()
        .filter(|node| matches!(node, trees::Node::File { .. }))
        .count();
    assert_eq!(pushed["files_uploaded"], count);
    let here = place.workspace("here", &token);
    here.pull().ok();
    assert_same(&tree, &here.services());
    // A workspace that holds the same files has nothing to add: their roots are equal.
    let there = place.workspace("there", &token);
    sample(&there.services());
    assert_eq!(there.push().ok().number("items_synced"), 0);
    client
        .push(&files_of(place), &pack(place, &tree, &["agents", "hooks"]))
        .ok();
    assert_eq!(here.pull().ok().number("items_synced"), 0);
}

fn a_tree_is_pulled_as_a_tarball(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    sample(&here.services());
    trees::write(&here.services(), "mcp/tools.yaml", "tools: []\n");
    trees::link(&here.services(), "agents/current.yaml", "triage.yaml");
    here.push().ok();
    let reader = Client::new(place, &place.token(place.tenant(), "read"));
    let down = place.directory().join("down");
    unpack(&reader.call(&files_of(place), &[]).ok().body, &down);
    // Whoever knows only regular files of eight directories is sent nothing else, and takes nothing else away.
    let expected = place.directory().join("expected");
    sample(&expected);
    assert_same(&expected, &down);

    trees::write(&down, "agents/triage.yaml", "name: triage\nversion: 2\n");
    trees::chmod(&down, "content/blog/post-1.md", 0o755);
    trees::remove(&down, "agents/researcher.yaml");
    let client = Client::new(place, &token);
    let known: Vec<&str> = DIRECTORIES
        .into_iter()
        .filter(|directory| down.join(directory).exists())
        .collect();
    client
        .push(&files_of(place), &pack(place, &down, &known))
        .ok();
    assert_eq!(here.pull().ok().number("items_synced"), 2);
    let services = here.services();
    assert!(
        services.join("mcp/tools.yaml").exists()
            && services.join("agents/researcher.yaml").exists()
    );
    assert_eq!(
        trees::read(&services, "agents/current.yaml"),
        "name: triage\nversion: 2\n"
    );
    assert_eq!(
        trees::nodes(&services).get(Path::new("content/blog/post-1.md")),
        trees::nodes(&down).get(Path::new("content/blog/post-1.md"))
    );
}

fn a_token_is_exchanged(place: &Place) {
    let api_token = place.create_tenant();
    let nobody = Client {
        token: None,
        ..Client::new(place, "")
    };
    let grant = |subject: &str| {
        nobody.call(
            "/api/v1/core/oauth/token",
            &[
                "--data-urlencode",
                "grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
                "--data-urlencode",
                &format!("subject_token={subject}"),
                "--data-urlencode",
                "subject_token_type=urn:ietf:params:oauth:token-type:jwt",
            ],
        )
    };
    assert_eq!(
        grant("sync_no_such").is(400).json()["error"],
        "invalid_request"
    );
    let granted = grant(&api_token).ok().json();
    assert_eq!(granted["expires_in"], 3600);
    let client = Client::new(place, granted["access_token"].as_str().expect("a token"));
    let tree = place.directory().join("tree");
    sample(&tree);
    client
        .push("/api/v1/sync/files", &pack(place, &tree, &["."]))
        .ok();
    let manifest = client
        .call("/api/v1/sync/files/manifest?filter=web", &[])
        .ok()
        .json();
    let listed = manifest["files"].as_array().expect("files");
    assert_eq!(listed.len(), 2);
    for file in listed {
        let path = tree.join(file["path"].as_str().expect("a path"));
        let sum = text(Command::new("sha256sum").arg(path));
        assert_eq!(sum.split(' ').next(), file["checksum"].as_str());
    }
    let down = place.directory().join("down");
    unpack(&client.call("/api/v1/sync/files", &[]).ok().body, &down);
    assert_same(&tree, &down);
    nobody.call("/api/v1/sync/files", &[]).is(401);
}

fn a_bad_tarball_leaves_nothing(place: &Place) {
    let token = place.create_tenant();
    let client = Client::new(place, &token);
    let tree = place.directory().join("tree");
    sample(&tree);
    trees::link(&tree, "web/passwd", "/etc/passwd");
    let refused = client
        .push(&files_of(place), &pack(place, &tree, &["."]))
        .is(422)
        .json();
    assert_eq!(refused["details"]["reason"], "link");
    assert_eq!(refused["details"]["path"], "./web/passwd");
    trees::remove(&tree, "web/passwd");
    let tarball = pack(place, &tree, &["."]);
    let whole = fs::read(&tarball).expect("read the tarball");
    fs::write(&tarball, &whole[..whole.len() / 2]).expect("write the tarball");
    let refused = client.push(&files_of(place), &tarball).is(422).json();
    assert_eq!(refused["details"]["reason"], "truncated");
    let here = place.workspace("here", &token);
    assert_eq!(here.pull().ok().number("items_synced"), 0);
    assert!(trees::nodes(&here.services()).is_empty());
}

const AGENT: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

/// The body of an import, as clients on relay routes send it.
fn rows(agent: &str, updated: &str) -> String {
    let times = format!(r#""created_at":"2024-01-01T00:00:00Z","updated_at":"{updated}""#);
    format!(
        r#"{{"agents":[{{"id":"{AGENT}","name":"{agent}","system_prompt":null,{times}}}],
        "skills":[{{"id":"{AGENT}","agent_id":"{AGENT}","name":"search","description":"finds",{times}}}],
        "contexts":[],"timestamp":"2024-06-01T00:00:00Z"}}"#
    )
}

/// Imports rows, and gives how many were created, updated and skipped, and how many the database refused.
#[track_caller]
fn import(client: &Client, body: &str) -> [u64; 4] {
    let path = format!(
        "//api/v1/cloud/tenants/{}/database/import",
        client.place.tenant()
    );
    let json = "content-type: application/json";
    let answer = client.call(&path, &["--data-binary", body, "--header", json]);
    let answer = answer.ok().json();
    let names = ["created", "updated", "skipped", "conflicts"];
    names.map(|name| answer[name].as_u64().expect("a number"))
}

#[track_caller]
fn exported(client: &Client) -> Value {
    let path = format!(
        "/api/v1/cloud/tenants/{}/database/export",
        client.place.tenant()
    );
    client.call(&path, &[]).ok().json()
}

fn rows_go_without_a_database(place: &Place) {
    let client = Client::new(place, &place.create_tenant());
    assert_eq!(exported(&client)["agents"], Value::Array(Vec::new()));
    let first = rows("triage", "2024-01-02T00:00:00Z");
    assert_eq!(import(&client, &first), [2, 0, 0, 0]);
    assert_eq!(import(&client, &first), [0, 0, 2, 0]);
    let sent: Value = serde_json::from_str(&first).expect("JSON");
    let seen = exported(&client);
    for list in ["agents", "skills", "contexts"] {
        assert_eq!(seen[list], sent[list]);
    }
    let timestamp = seen["timestamp"].as_str().expect("a time");
    assert!(timestamp.ends_with('Z'), "{timestamp}");
    // What is exported can be imported by whoever exported it.
    assert_eq!(import(&client, &seen.to_string()), [0, 0, 2, 0]);
    let reader = Client::new(place, &place.token(place.tenant(), "read"));
    let direct = "/api/v1/sync/database/export?tables=skills";
    let direct = reader.call(direct, &[]).ok().json();
    assert_eq!(direct["record_counts"]["skills"], 1);
    assert_eq!(direct["skills"][0]["skill_id"], AGENT);
    let import = "/api/v1/sync/database/import";
    reader.call(import, &["--data-binary", "{}"]).is(403);
    let upsert = format!("{import}?merge_strategy=upsert");
    client.call(&upsert, &["--data-binary", "{}"]).is(400);
    let nul = rows("a\\u0000b", "2024-01-02T00:00:00Z");
    let path = format!("/api/v1/tenants/{}/database/import", place.tenant());
    let refused = client.call(&path, &["--data-binary", &nul]).is(422).json();
    assert_eq!(refused["details"]["reason"], "shape");
    let url = format!("/api/v1/cloud/tenants/{}/database", place.tenant());
    assert_eq!(
        client.call(&url, &[]).ok().json()["database_url"],
        Value::Null
    );
}

fn rows_go_into_a_database(place: &Place) {
    let postgres = place.own_postgres();
    let ask = |sql: &str| done(postgres.query(sql));
    let times = "created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL";
    ask(&format!(
        "CREATE TABLE agents (id uuid PRIMARY KEY, name text UNIQUE, system_prompt text, {times})"
    ));
    ask(&format!(
        "CREATE TABLE skills (id uuid PRIMARY KEY, agent_id uuid REFERENCES agents, name text, description text, {times})"
    ));
    let client = Client::new(place, &place.create_tenant());
    let environment = postgres.environment();
    let of = |name: &str| {
        let found = environment.iter().find(|(at, _)| *at == name);
        found.map(|(_, value)| value.as_str()).expect("a variable")
    };
    let url_file = place.directory().join("url");
    let (url, authority) = (of("SYNC_TEST_POSTGRES"), of("SYNC_TEST_POSTGRES_CA"));
    let url = format!("{url}?sslmode=verify-full&sslrootcert={authority}");
    fs::write(&url_file, url).expect("write the URL");
    let tables = place.directory().join("tables.toml");
    let config = "[[database.tables]]\nname = \"agents\"\n[[database.tables]]\nname = \"skills\"\n";
    fs::write(&tables, config).expect("write the tables");
    let (url_file, tables) = (url_file.display().to_string(), tables.display().to_string());
    let mut database = vec!["tenant", "database", place.tenant()];
    database.extend(["--url-file", &url_file, "--tables", &tables]);
    place.operator(place.data(), &database).ok();

    let first = rows("triage", "2024-01-02T00:00:00Z");
    assert_eq!(import(&client, &first), [2, 0, 0, 0]);
    assert_eq!(ask("SELECT name FROM agents"), "triage");
    assert_eq!(import(&client, &first), [0, 0, 2, 0]);
    ask("UPDATE agents SET name = 'renamed', updated_at = '2024-03-01 00:00:00Z'");
    assert_eq!(exported(&client)["agents"][0]["name"], "renamed");
    assert_eq!(import(&client, &first), [0, 0, 2, 0]);
    assert_eq!(ask("SELECT name FROM agents"), "renamed");
    assert_eq!(
        import(&client, &rows("last", "2024-04-01T00:00:00Z")),
        [0, 2, 0, 0]
    );
    assert_eq!(ask("SELECT name FROM agents"), "last");
    // A server that is away is tried again by whoever asked.
    done(postgres.kill());
    let path = format!("/api/v1/cloud/tenants/{}/database/export", place.tenant());
    let away = client.call(&path, &[]).is(503).json();
    assert_eq!(away["code"], "service_unavailable");
    done(postgres.revive());
    assert_eq!(exported(&client)["agents"][0]["name"], "last");
    place
        .operator(
            place.data(),
            &["tenant", "database", place.tenant(), "--none"],
        )
        .ok();
    done(postgres.down());
}

fn a_large_tarball_is_never_in_memory(place: &Place) {
    let own = place.own_server();
    let client = Client {
        address: own.server.address(),
        ..Client::new(place, &own.token)
    };
    let tree = place.directory().join("tree");
    for number in 0..4 {
        let bytes = trees::noise(number, 96 << 20);
        trees::write(&tree, format!("web/{number}.bin"), bytes);
    }
    let tarball = pack(place, &tree, &["web"]);
    client.push(&files_of(place), &tarball).ok();
    let down = place.directory().join("down");
    unpack(&client.call(&files_of(place), &[]).ok().body, &down);
    assert_same(&tree, &down);
    let manifest = client.call("/api/v1/sync/files/manifest", &[]).ok().json();
    assert_eq!(manifest["total_size"], 4 * (96 << 20));
    let pid = own.server.pid().expect("a process").as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak = peak.expect("a peak");
    assert!(peak < MAX_SERVER_KIB, "the server held {peak} KiB");
}
