//! Two tenants on two servers, with a database each: what is tried on the one comes to the other.

use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::super::{
    cli::Answer,
    files::watching::wait_until,
    rows::stage::{ITEMS, Served, Side, Stage, assert_same},
    scenario::{OwnServer, Place},
    server::signal,
    trees,
};
use super::all::save;

/// The client is killed when it has sent so many bytes to the target: from its first greeting to the last of the contents.
const KILLED_AT: [u64; 8] = [1, 2_000, 5_000, 20_000, 200_000, 500_000, 780_000, 805_000];

/// A tenant on the shared server, one on a server of the scenario's own, and a workspace of each.
struct Two<'p> {
    staging: Stage<'p>,
    production: Stage<'p>,
    here: Side<'p>,
    there: Side<'p>,
}

impl<'p> Two<'p> {
    #[track_caller]
    fn new(place: &'p Place<'p>, server: &OwnServer) -> Self {
        let staging = Stage::new(place, ITEMS);
        let there = Served::by(server);
        let production = Stage::at(place, place.postgres(), there, ITEMS);
        let here = staging.side("staging");
        let there = production.side("production");
        let two = Self {
            staging,
            production,
            here,
            there,
        };
        let authority = place.certificates().authority.display().to_string();
        let mut words = vec!["remote", "add", "production", &two.production.served.url];
        words.extend(["--tenant", place.tenant(), "--ca-file", &authority]);
        two.run(&words).ok();
        two
    }

    /// Calls `sync-cli` in the first workspace, with a token for each tenant.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Answer {
        let mut command = self.here.workspace.cli().command(words);
        command.env("SYNC_TOKEN_PRODUCTION", &self.production.served.token);
        let output = command.output().expect("run sync-cli");
        Answer {
            call: words.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn promote(&self, words: &[&str]) -> Answer {
        self.run(&[&["promote", "default", "production"], words].concat())
    }

    /// The snapshots of production's branch, newest first.
    #[track_caller]
    fn log(&self) -> Vec<Value> {
        let log = self.run(&["log", "--remote", "production"]).ok().json();
        let snapshots = log["snapshots"].as_array().cloned().unwrap_or_default();
        snapshots
            .iter()
            .map(|logged| logged["id"].clone())
            .collect()
    }

    /// Edits a file and a row of one side, and pushes both.
    #[track_caller]
    fn edit(side: &Side<'_>, path: &str, text: &str, sql: &str) -> Value {
        save(side, path, text);
        side.ask(sql);
        side.call(&["push", "--yes"]).ok().json()["snapshot"].clone()
    }

    /// Forty files and all rows change on staging; the snapshot of that.
    #[track_caller]
    fn go_on(&self, round: u64) -> Value {
        for n in 0..40 {
            let noise = trees::noise(round * 100 + n, 20_000);
            let services = self.here.workspace.services();
            trees::write(&services, format!("web/{n}.bin"), noise);
        }
        let (text, sql) = (
            format!("round {round}\n"),
            format!("UPDATE items SET b = 'round {round}'"),
        );
        Self::edit(&self.here, "agents/0.yaml", &text, &sql)
    }

    /// A promote that says nothing.
    fn silent_promote(&self) -> Command {
        let words = ["promote", "default", "production"];
        let mut command = self.here.workspace.cli().command(&words);
        command
            .env("SYNC_TOKEN_PRODUCTION", &self.production.served.token)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// One more promote, and production is at `last`, going on from where it was; its snapshots.
    #[track_caller]
    fn arrives(&self, last: &Value, before: &[Value]) -> Vec<Value> {
        self.promote(&["--yes"]).ok();
        let now = self.log();
        assert_eq!(now.first(), Some(last), "{now:#?}");
        assert!(
            now.ends_with(before),
            "{now:#?} does not go on from {before:#?}"
        );
        assert_same(&self.staging.rows(), &self.production.rows());
        now
    }

    /// Three snapshots on staging; the last one.
    #[track_caller]
    fn fill(&self) -> Value {
        let mut last = Value::Null;
        for n in 0..3 {
            let sql = format!(
                "INSERT INTO items (id, a, n) SELECT 'i' || i, 'first', {n} FROM generate_series({n} * 20 + 1, {n} * 20 + 20) i"
            );
            let text = format!("name: triage\n\none\n\ntwo\n\nround: {n}\n");
            save(&self.here, &format!("agents/{n}.yaml"), &text);
            last = Self::edit(&self.here, "agents/triage.yaml", &text, &sql);
        }
        last
    }
}

/// Nothing is there: the same ids, the rows in the database, and then only what changed.
pub(super) fn a_promote_is_a_fast_forward(place: &Place) {
    let server = place.own_server();
    let two = Two::new(place, &server);
    let last = two.fill();

    let private = two.here.workspace.root().join(".sync");
    let before = trees::nodes(&private);
    let dry = two.promote(&["--dry-run"]).ok().json();
    assert_eq!(dry["fast_forward"], true, "{dry:#}");
    assert_eq!(before, trees::nodes(&private));
    assert_eq!(two.log(), Vec::<Value>::new());
    assert_eq!(two.production.tenant.ask("SELECT count(*) FROM items"), "0");

    let promoted = two.promote(&[]).ok().json();
    assert_eq!(promoted["snapshot"], last, "{promoted:#}");
    assert_eq!(promoted["fast_forward"], true, "{promoted:#}");
    assert_same(&two.staging.rows(), &two.production.rows());
    assert_eq!(two.log().len(), 3);

    // One file and one row: a few kilobytes, and the same id again.
    let sql = "UPDATE items SET a = 'second' WHERE id = 'i7'";
    let last = Two::edit(&two.here, "agents/1.yaml", "name: other\n", sql);
    let promoted = two.promote(&[]).ok().json();
    assert_eq!(promoted["snapshot"], last, "{promoted:#}");
    assert_eq!(promoted["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!(promoted["rows"][0]["updated"], 1, "{promoted:#}");
    let sent = promoted["to"]["bytes_sent"].as_u64().unwrap_or(u64::MAX);
    assert!(
        sent < 12_000,
        "{sent} bytes were sent for one file and one row"
    );
    assert_same(&two.staging.rows(), &two.production.rows());
    let again = two.promote(&[]).ok().json();
    assert_eq!(again["standing"], "up_to_date", "{again:#}");

    // Whoever works with production gets all of it.
    two.there.call(&["pull"]).ok();
    two.production.assert_equal(&two.there);
}

/// Both have something of their own: what is disjoint merges, what is not is for a person.
pub(super) fn a_promote_merges(place: &Place) {
    let server = place.own_server();
    let two = Two::new(place, &server);
    two.fill();
    two.promote(&[]).ok();
    two.there.call(&["pull"]).ok();

    let text = |first: &str, last: &str| format!("name: {first}\n\none\n\ntwo\n\nround: {last}\n");
    let sql = "UPDATE items SET b = 'there' WHERE id = 'i1'; DELETE FROM items WHERE id = 'i2'";
    let theirs = Two::edit(
        &two.there,
        "agents/triage.yaml",
        &text("triage", "there"),
        sql,
    );
    let sql =
        "UPDATE items SET a = 'here' WHERE id = 'i1'; UPDATE items SET a = 'here' WHERE id = 'i3'";
    let ours = Two::edit(&two.here, "agents/triage.yaml", &text("here", "2"), sql);
    let promoted = two.promote(&[]).ok().json();
    assert_eq!(promoted["standing"], "merge", "{promoted:#}");
    assert_eq!(promoted["merged"], json!(["agents/triage.yaml"]));
    let shown = two
        .run(&["show", "--remote", "production", "--stat"])
        .ok()
        .json();
    assert_eq!(shown["snapshot"]["parents"], json!([theirs, ours]));
    let row = "SELECT a, b FROM items WHERE id = 'i1'";
    assert_eq!(two.production.tenant.ask(row), "here|there");
    let count = "SELECT count(*) FROM items WHERE id IN ('i2', 'i3')";
    assert_eq!(two.production.tenant.ask(count), "1");
    two.there.call(&["pull"]).ok();
    let path = two.there.workspace.services().join("agents/triage.yaml");
    let read = std::fs::read_to_string(path).expect("read a file");
    assert_eq!(read, text("here", "there"));

    // The same column, and the same line: nothing changes until somebody has chosen.
    let there = "UPDATE items SET a = 'theirs' WHERE id = 'i5'";
    Two::edit(&two.there, "agents/0.yaml", "theirs\n", there);
    let here = "UPDATE items SET a = 'ours' WHERE id = 'i5'";
    Two::edit(&two.here, "agents/0.yaml", "ours\n", here);
    let (log, rows) = (two.log(), two.production.rows());
    let refused = two.promote(&[]).exits(3).json();
    assert_eq!(
        refused["conflicts"][0]["path"], "agents/0.yaml",
        "{refused:#}"
    );
    assert_eq!(refused["row_conflicts"].as_array().map(Vec::len), Some(1));
    assert_eq!(two.log(), log);
    assert_same(&two.production.rows(), &rows);
    two.promote(&["--on-conflict", "theirs"]).ok();
    let row = "SELECT a FROM items WHERE id = 'i5'";
    assert_eq!(two.production.tenant.ask(row), "ours");
    two.there.call(&["pull"]).ok();
    two.production.assert_equal(&two.there);
}

/// kill -9 of the client at any moment: production is where it was, or done, and one more run is enough.
pub(super) fn a_promote_that_is_killed_is_made_again(place: &Place) {
    let server = place.own_server();
    let two = Two::new(place, &server);
    two.fill();
    let (mut old, mut killed) = (two.log(), 0);
    for (round, at_bytes) in (0u64..).zip(KILLED_AT) {
        let last = two.go_on(round);
        let mut command = two.silent_promote();
        // What the client sends meanwhile waits until it is gone.
        let (tell, told) = mpsc::channel();
        server.proxy.when_sent(at_bytes, move |_| {
            if let Ok(pid) = told.recv() {
                signal(pid, Signal::KILL);
            }
        });
        let mut child = command.spawn().expect("start sync-cli");
        tell.send(Pid::from_child(&child))
            .expect("the proxy listens");
        let ended = child.wait().expect("wait for sync-cli");
        // Nobody is to be killed any more.
        server.proxy.when_sent(u64::MAX / 2, |_| {});
        killed += u32::from(!ended.success());
        // The server may still be at it: a request that has arrived is done to its end.
        old = two.arrives(&last, &old);
    }
    assert!(
        killed >= 5,
        "only {killed} runs were killed before their end"
    );
    let left = std::fs::read_dir(two.here.workspace.root().join(".sync")).expect("list .sync");
    let names = left.map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = names
        .filter(|name| name.to_string_lossy().starts_with("promote"))
        .collect();
    assert!(names.is_empty(), "{names:?} were left behind");
}

/// The target's server dies when it has been sent so many bytes: with a client that tries again meanwhile, and with one that
/// gives up.
pub(super) fn a_server_that_dies_in_a_promote_is_gone_on_with(place: &Place) {
    let mut server = place.own_server();
    let two = Two::new(place, &server);
    two.fill();
    let (mut old, mut died) = (two.log(), 0);
    for (round, at_bytes) in (0u64..).zip(KILLED_AT) {
        let last = two.go_on(round);
        let pid = server.server.pid().expect("the server runs");
        server
            .proxy
            .when_sent(at_bytes, move |_| signal(pid, Signal::KILL));
        let mut child = two.silent_promote().spawn().expect("start sync-cli");
        let mut has_ended = || child.try_wait().expect("wait for sync-cli").is_some();
        wait_until("an end of either", || {
            server.server.has_ended() || has_ended()
        });
        let is_dead = server.server.has_ended();
        died += u32::from(is_dead);
        if is_dead && round % 2 == 1 {
            child.wait().expect("wait for sync-cli");
        }
        server.proxy.when_sent(u64::MAX / 2, |_| {});
        if is_dead {
            server.server = place.start(&server.data);
            server.proxy.retarget(server.server.address());
        }
        child.wait().expect("wait for sync-cli");
        old = two.arrives(&last, &old);
    }
    assert!(died >= 5, "only {died} servers died in a promote");
}

/// Two at once: nobody's is lost, whoever is late is told, and once more is enough.
pub(super) fn two_promotes_at_once_lose_nothing(place: &Place) {
    let server = place.own_server();
    let two = Two::new(place, &server);
    two.fill();
    two.run(&["push", "files", "--branch", "trial"]).ok();
    two.promote(&[]).ok();
    let tester = two.staging.side("tester");
    tester.call(&["pull", "files", "--branch", "trial"]).ok();
    let mut late = 0;
    for round in 0..12 {
        // Each source goes on, so that each promote is one.
        let text = format!("round {round}\n");
        save(&two.here, "agents/main.yaml", &text);
        two.run(&["push", "files"]).ok();
        save(&tester, "agents/trial.yaml", &text);
        tester.call(&["push", "files", "--branch", "trial"]).ok();
        let runs = ["default", "default:trial"].map(|from| {
            let words = ["promote", from, "production"];
            let mut command = two.here.workspace.cli().command(&words);
            command.env("SYNC_TOKEN_PRODUCTION", &two.production.served.token);
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("start sync-cli")
        });
        for run in runs {
            let output = run.wait_with_output().expect("wait for sync-cli");
            let said = String::from_utf8_lossy(&output.stdout);
            match output.status.code() {
                Some(0) => {}
                Some(3) => {
                    assert!(said.contains("engine/overtaken-there"), "{said}");
                    late += 1;
                }
                code => panic!("{code:?}: {said}"),
            }
        }
        for from in ["default", "default:trial"] {
            let words = ["promote", from, "production"];
            two.run(&words).ok();
        }
        two.there.call(&["pull", "files"]).ok();
        for name in ["main", "trial"] {
            let path = format!("agents/{name}.yaml");
            let path = two.there.workspace.services().join(path);
            let read = std::fs::read_to_string(path).expect("read a file");
            assert_eq!(read, text, "what `{name}` has is lost");
        }
        if late >= 2 {
            break;
        }
    }
    assert!(late > 0, "no two of them met");
}

/// Branches of a tenant that has a database: begun by a push, listed, deleted, and none that is needed.
pub(super) fn branches_come_and_go(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let side = stage.side("here");
    side.ask("INSERT INTO items (id, a) VALUES ('i1', 'first')");
    save(&side, "agents/triage.yaml", "name: triage\n");
    let first = side.call(&["push"]).ok().json()["snapshot"].clone();

    // Nothing has changed: a branch, no snapshot. Then a row and a file of it alone.
    let begun = side.call(&["push", "--branch", "trial"]).ok().json();
    let names = |count: usize| {
        let listed = side.call(&["branch", "list"]).ok().json()["branches"].clone();
        assert_eq!(listed.as_array().map(Vec::len), Some(count), "{listed:#}");
        listed
    };
    assert_eq!(names(2)[1]["head"], first, "{begun:#}");
    let sql = "UPDATE items SET a = 'tried' WHERE id = 'i1'";
    let tried = Two::edit(&side, "agents/triage.yaml", "name: tried\n", sql);
    assert_eq!(names(2)[0]["head"], tried);
    let status = side.call(&["status", "--branch", "trial"]).ok().json();
    assert_eq!(status["files"]["standing"], "local_ahead", "{status:#}");
    let pushed = side.call(&["push", "--branch", "trial"]).ok().json();
    assert_eq!(pushed["items_synced"], 2, "{pushed:#}");
    // The database is the working copy of the other branch.
    assert_eq!(stage.tenant.ask("SELECT a FROM items"), "tried");
    side.call(&["branch", "delete", "main"])
        .exits(2)
        .says("branch-kept");
    side.call(&["branch", "delete", "trial"]).ok();
    names(1);
    let at = first.as_str().unwrap_or_default().to_owned();
    side.call(&["branch", "create", "trial", &at]).ok();
    assert_eq!(names(2)[1]["head"], first);
    let scope = place.token(place.tenant(), "read");
    let reader = side.workspace.with_token(&scope);
    reader.call(&["branch", "list"]).ok();
    reader.call(&["branch", "delete", "trial"]).exits(6);
}
