//! What an operator learns of a running server: its metrics and its log, and that neither has a secret.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
};

use serde_json::Value;

use super::{
    super::{
        rows::stage::{ITEMS, Served, Stage, write},
        scenario::{Place, done},
        server::Server,
    },
    all::save,
};

/// A server of the scenario's own with a listener for monitors.
struct Observed {
    server: Server,
    monitor: SocketAddr,
    served: Served,
}

impl Observed {
    #[track_caller]
    fn start(place: &Place, words: &[&str], level: &str) -> Self {
        let data = place.directory().join("data");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let monitor = free.expect("a free port");
        let mut command = place.serve_plainly(&data);
        command.args(words).env("SYNC_LOG", level);
        command.args(["--metrics-listen", &monitor.to_string()]);
        let server = done(Server::start_as(command, &log(place)));
        let url = format!("http://{}", server.address());
        let operator = |words: &[&str]| place.operator(&data, words).ok();
        operator(&["tenant", "create", place.tenant()]);
        let words = ["token", "create", "--tenant", place.tenant()];
        let token = operator(&[&words[..], &["--scope", "write"]].concat()).text("token");
        Self {
            server,
            monitor,
            served: Served { data, url, token },
        }
    }

    /// The page as a monitor sees it.
    #[track_caller]
    fn page(&self) -> Page {
        let stream = TcpStream::connect(self.monitor).expect("connect");
        Page::read(&asked(stream, "GET /metrics", ""))
    }
}

fn log(place: &Place) -> PathBuf {
    place.directory().join("observed.log")
}

/// The answer to a request without a body, its head included.
#[track_caller]
fn asked(mut stream: impl Read + Write, what: &str, headers: &str) -> String {
    let request =
        format!("{what} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Every sample by its name and labels.
struct Page(BTreeMap<String, f64>);

impl Page {
    /// Reads a page as strictly as the format says.
    #[track_caller]
    fn read(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        let mut kinds = BTreeMap::new();
        let mut samples = BTreeMap::new();
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                assert!(
                    help.split_once(' ').is_some_and(|(name, _)| is_name(name)),
                    "{line}"
                );
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(
                    kinds.insert(name.to_owned(), kind).is_none(),
                    "{line}: twice"
                );
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                let value: f64 = value.parse().expect("a number");
                let name = sample.split('{').next().unwrap_or_default();
                let parts = ["_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| name.strip_suffix(part));
                let family = family.filter(|family| kinds.get(*family) == Some(&"histogram"));
                assert!(
                    kinds.contains_key(family.unwrap_or(name)),
                    "{line}: no kind"
                );
                assert_labels(sample.strip_prefix(name).unwrap_or_default());
                let before = samples.insert(sample.to_owned(), value);
                assert!(before.is_none(), "{line}: twice");
            }
        }
        Self(samples)
    }

    #[track_caller]
    fn get(&self, sample: &str) -> f64 {
        match self.0.get(sample) {
            Some(value) => *value,
            None => panic!("no `{sample}` in {:#?}", self.0),
        }
    }

    /// How much more there is than before, in whole numbers.
    #[track_caller]
    fn since(&self, before: &Self, sample: &str) -> i64 {
        let more = self.get(sample) - before.get(sample);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "counts of a test are small"
        )]
        let whole = more as i64;
        whole
    }
}

fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(fine)
}

#[track_caller]
fn assert_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    for pair in inner.expect("labels").split(',') {
        let (label, value) = pair.split_once('=').expect("a label");
        let value = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        assert!(is_name(label), "{labels}");
        assert!(
            value.is_some_and(|value| !value.contains(['"', '\\', '/'])),
            "{labels}"
        );
    }
}

pub(super) fn an_operator_sees_what_a_server_does(place: &Place) {
    let observed = Observed::start(place, &[], "info");
    let stage = Stage::at(place, place.postgres(), observed.served.clone(), ITEMS);
    let here = stage.side("here");
    let before = observed.page();
    assert!((before.get("sync_tenants") - 1.0).abs() < 0.5);
    let build = r#"sync_build_info{version="0.1.0"}"#;
    assert!((before.get(build) - 1.0).abs() < 0.5);

    save(&here, "a.md", &"a line\n".repeat(2000));
    stage.tenant.ask("ALTER TABLE items ADD CHECK (n < 100)");
    here.ask("INSERT INTO items (id, n) VALUES ('good', 1), ('bad', 1000)");
    here.call(&["push", "all"]).exits(1);
    stage
        .tenant
        .ask("INSERT INTO items (id) VALUES ('program')");
    here.call(&["status"]).ok();
    here.workspace
        .with_token("sync_aaaa_bbbb")
        .call(&["status", "files"])
        .exits(6);
    let page = observed.page();
    for (sample, more) in [
        ("sync_packs_received_total", 1),
        ("sync_packs_stored_total", 1),
        ("sync_rows_refused_total", 1),
        // What the database could store, and what its program wrote.
        ("sync_heads_moved_total", 2),
        (r#"sync_requests_total{route="push",class="2xx"}"#, 1),
        (r#"sync_requests_total{route="head",class="4xx"}"#, 1),
        (r#"sync_request_duration_seconds_count{route="push"}"#, 1),
        (
            r#"sync_request_duration_seconds_bucket{route="push",le="+Inf"}"#,
            1,
        ),
        ("sync_stale_pushes_total", 0),
    ] {
        assert_eq!(page.since(&before, sample), more, "{sample}");
    }
    assert!(page.since(&before, "sync_objects_received_total") >= 5);
    assert!(page.since(&before, "sync_received_bytes_total") > 500);
    assert!(page.since(&before, "sync_sent_bytes_total") > 500);
    let lag = format!("sync_tenant_lag_seconds{{tenant=\"{}\"}}", place.tenant());
    assert!((0.0..60.0).contains(&page.get(&lag)));
    assert!(page.get("sync_uptime_seconds") > before.get("sync_uptime_seconds"));
    assert!(page.get("sync_requests_running") < 2.0);

    // The operator's socket has it, too; the listener for clients never, and that for monitors has nothing else.
    let socket = observed.served.data.join("operator.sock");
    let operator = || UnixStream::connect(&socket).expect("connect");
    let same = Page::read(&asked(operator(), "GET /metrics", ""));
    assert_eq!(same.0.len(), page.0.len());
    let public = || TcpStream::connect(observed.server.address()).expect("connect");
    let monitor = || TcpStream::connect(observed.monitor).expect("connect");
    let token = format!("authorization: Bearer {}\r\n", observed.served.token);
    for (answer, status) in [
        (asked(public(), "GET /metrics", ""), "401"),
        (asked(public(), "GET /metrics", &token), "403"),
        (asked(monitor(), "GET /v1/admin/tenants", ""), "404"),
        (asked(monitor(), "POST /metrics", ""), "405"),
    ] {
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
    }
    done(observed.server.stop());
}

/// Pushes, refusals, wrong tokens and a database that is away, in both formats and as much as can be logged.
pub(super) fn no_secret_is_logged(place: &Place) {
    const SECRET: &str = "hunter2-of-the-database";
    for (format, level) in [("text", "info"), ("json", "debug")] {
        drop(std::fs::remove_file(log(place)));
        let observed = Observed::start(place, &["--log-format", format], level);
        let served = observed.served.clone();
        let here = place.workspace_in(&place.directory().join(format), &served.url, &served.token);
        write(&here.services().join("a.md"), "a\n");
        here.push().ok();
        here.with_token("sync_aaaa_guessed").push().exits(6);
        here.with_token(&format!("{}x", served.token))
            .push()
            .exits(6);
        here.call(&["show", "abcd1234"]).exits(2);
        // The database is away, and its address has a password.
        let file = place.directory().join("away.url");
        write(
            &file,
            &format!("postgres://nobody:{SECRET}@127.0.0.1:1/none"),
        );
        let file = file.display().to_string();
        let words = ["tenant", "database", place.tenant(), "--url-file", &file];
        place.operator(&served.data, &words).ok();
        // Who asks names his request: he finds it in the answer, and the operator in the log.
        let public = || TcpStream::connect(observed.server.address()).expect("connect");
        let query = format!(
            "GET /v1/tenants/{}/snapshots?from=asked-{SECRET}",
            place.tenant()
        );
        let bearer = format!("authorization: Bearer {}\r\n", served.token);
        let rows = format!("GET /v1/tenants/{}/heads/main?part=rows", place.tenant());
        let failed = asked(public(), &rows, &bearer);
        assert_eq!(failed.get(9..10), Some("5"), "{failed}");
        assert!(!failed.contains(SECRET), "{failed}");
        for headers in ["", bearer.as_str()] {
            let answer = asked(
                public(),
                &query,
                &format!("x-request-id: mine-42\r\n{headers}"),
            );
            let body = answer.split_once("\r\n\r\n").expect("a body").1;
            let told: Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(told["error"]["request_id"], "mine-42", "{answer}");
            assert!(!answer.contains(SECRET), "{answer}");
        }
        let stream = TcpStream::connect(observed.monitor).expect("connect");
        let page = asked(stream, "GET /metrics", "");
        done(observed.server.stop());
        let logged = std::fs::read_to_string(log(place)).expect("the log");
        assert!(logged.contains("mine-42"), "{logged}");
        if format == "json" {
            for line in logged.lines() {
                let event: Value = serde_json::from_str(line).expect("JSON");
                assert!(event["level"].is_string(), "{line}");
            }
        }
        let secret = served.token.rsplit('_').next().unwrap_or_default();
        for text in [&logged, &page] {
            for secret in [
                secret,
                "guessed",
                SECRET,
                "Bearer",
                "authorization",
                "from=asked",
            ] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
        drop(std::fs::remove_dir_all(place.directory().join("data")));
    }
}
