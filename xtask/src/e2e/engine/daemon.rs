//! A daemon: what changes on either side arrives at the other, whatever goes wrong in between.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::super::{
    daemon::Daemon,
    faults::clock,
    files::watching::wait_until,
    rows::stage::{ITEMS, Side, Stage},
    scenario::{Place, Workspace, done},
    trees,
};
use super::all::save;
use crate::debian;

/// How long a backlog may take on a machine that does other things, too; a bench says how long it does take.
const BACKLOG: Duration = Duration::from_secs(5);

/// Waits until a file of a workspace reads so.
#[track_caller]
fn reads(workspace: &Workspace, path: &str, text: &str) {
    let path = workspace.services().join(path);
    wait_until(text, || {
        fs::read_to_string(&path).is_ok_and(|found| found == text)
    });
}

/// Saves a file.
#[track_caller]
fn put(workspace: &Workspace, path: &str, text: &str) {
    let path = workspace.services().join(path);
    fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
    fs::write(path, text).expect("write a file");
}

/// Adds lines to `sync.toml`.
#[track_caller]
fn configure(workspace: &Workspace, text: &str) {
    let path = workspace.root().join("sync.toml");
    let old = fs::read_to_string(&path).expect("read sync.toml");
    fs::write(path, format!("{old}\n{text}")).expect("write sync.toml");
}

/// A tenant with a database, and two tracked workspaces with their daemons.
fn pair<'p>(stage: &Stage<'p>) -> ([Side<'p>; 2], [Daemon; 2]) {
    let sides = ["here", "there"].map(|name| stage.side(name));
    let daemons = ["here", "there"].map(|name| {
        let side = &sides[usize::from(name == "there")];
        side.track();
        Daemon::start(&side.workspace, stage.place.directory(), name)
    });
    for daemon in &daemons {
        daemon.until("watching");
    }
    (sides, daemons)
}

pub(super) fn a_daemon_brings_both_ways(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let ([here, there], [one, two]) = pair(&stage);
    save(&here, "agents/triage.yaml", "name: triage\n");
    here.ask("INSERT INTO items (id, a) VALUES ('i1', 'first')");
    reads(&there.workspace, "agents/triage.yaml", "name: triage\n");
    for db in [&stage.tenant, &there.db] {
        wait_until("a row", || {
            db.ask("SELECT count(*) FROM items WHERE a = 'first'") == "1"
        });
    }
    // What the tenant's program writes comes to both, and what the other one saves comes back.
    stage.tenant.ask("UPDATE items SET b = 'program'");
    save(&there, "agents/triage.yaml", "name: two\n");
    for side in [&here, &there] {
        wait_until("the program's word", || {
            side.ask("SELECT b FROM items") == "program"
        });
        reads(&side.workspace, "agents/triage.yaml", "name: two\n");
    }
    let status = one.status();
    assert_eq!(status["targets"], serde_json::json!(["files", "database"]));
    let sync = &status["sync"];
    assert!(sync["last_sync"].is_u64(), "{status:#}");
    assert!(sync["stats"]["lag_ms"].is_u64(), "{status:#}");
    assert!(
        sync["stats"]["skew_ms"]
            .as_i64()
            .is_some_and(|ms| ms.abs() < 60_000),
        "{status:#}"
    );
    assert!(sync["last_error"].is_null(), "{status:#}");
    let socket = here.workspace.root().join(".sync/daemon.sock");
    let mode = fs::metadata(&socket).expect("stat").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    // A stop is over when the daemon is.
    one.tell("stop");
    assert!(!socket.exists());
    here.call(&["daemon", "status"])
        .exits(4)
        .says("cli/no-daemon");
    one.wait();
    two.ends_at_once();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
}

pub(super) fn a_backlog_is_drained_at_once(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.track();
    let daemon = Daemon::start(&here.workspace, place.directory(), "here");
    daemon.until("watching");
    daemon.tell("pause");
    daemon.until("paused");
    here.ask("INSERT INTO items (id, a) SELECT 'i' || i, 'many' FROM generate_series(1, 2001) i");
    save(&here, "a.md", "a\n");
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "0");
    // Not even a kick ends a pause.
    daemon.tell("kick");
    daemon.until("paused");
    let began = Instant::now();
    daemon.tell("resume");
    wait_until("the backlog", || {
        stage.tenant.ask("SELECT count(*) FROM items") == "2001"
    });
    let took = began.elapsed();
    println!("2,001 changed rows of backlog: {} ms", took.as_millis());
    assert!(took < BACKLOG, "{took:?}");
    // One row at a time, each by itself: whatever comes while a run is under way goes with the next.
    for number in 0..50 {
        here.ask(&format!(
            "UPDATE items SET n = {number} WHERE id = 'i{}'",
            number + 1
        ));
    }
    wait_until("the last of them", || {
        stage.tenant.ask("SELECT n FROM items WHERE id = 'i50'") == "49"
    });
    daemon.ends_at_once();
    stage.assert_equal(&here);
}

pub(super) fn a_daemon_outlives_its_server_and_the_network(place: &Place) {
    let mut own = place.own_server();
    let here = own.workspace.clone();
    let there = place.workspace_at("there", own.server.address(), &own.token);
    trees::sample(&here.services());
    let daemon = Daemon::start(&here, place.directory(), "here");
    daemon.until("watching");
    // The server is gone for a while.
    done(own.server.stop());
    put(&here, "agents/one.md", "saved without a server\n");
    daemon.until("backing_off");
    let code = daemon.status()["sync"]["last_error"]["code"].clone();
    assert!(
        code.as_str()
            .is_some_and(|code| code.starts_with("transport/")),
        "{code}"
    );
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    let arrives = |path: &str| {
        wait_until(path, || {
            let there = place.workspace_in(
                there.root(),
                &format!("https://localhost:{}", own.server.address().port()),
                &own.token,
            );
            there.pull();
            there.services().join(path).exists()
        });
    };
    arrives("agents/one.md");
    daemon.until("watching");
    // The network is: connections end, and new ones lead nowhere.
    let nowhere: SocketAddr = "127.0.0.1:9".parse().expect("an address");
    own.proxy.retarget(nowhere);
    own.proxy.cut();
    put(&here, "agents/two.md", "saved without a network\n");
    daemon.until("backing_off");
    own.proxy.retarget(own.server.address());
    // A kick need not wait for the next attempt.
    daemon.tell("kick");
    arrives("agents/two.md");
    // It hangs: whoever ends the daemon does not wait for that.
    own.proxy.stall();
    put(&here, "agents/three.md", "saved while nothing moved\n");
    daemon.until("syncing");
    daemon.ends_at_once();
    own.proxy.retarget(own.server.address());
    own.proxy.cut();
    here.call(&["sync", "files"]).ok();
    arrives("agents/three.md");
    done(own.server.stop());
}

pub(super) fn of_two_daemons_in_a_workspace_one_is_told(place: &Place) {
    let (here, _) = place.pair();
    let first = Daemon::start(&here, place.directory(), "first");
    first.until("watching");
    let process = first.status()["process"].to_string();
    here.call(&["daemon"])
        .exits(4)
        .says("engine/daemon-running")
        .says(&process);
    // The first is still there, and its socket.
    assert_eq!(first.status()["process"].to_string(), process);
    // It dies without a word, and leaves its socket behind.
    first.kill();
    assert!(here.root().join(".sync/daemon.sock").exists());
    here.call(&["daemon", "status"])
        .exits(4)
        .says("cli/no-daemon");
    let second = Daemon::start(&here, place.directory(), "second");
    second.until("watching");
    assert_ne!(second.status()["process"].to_string(), process);
    second.ends_at_once();
    // Where there is nothing to do there is no daemon.
    configure(&here, "[daemon]\ntargets = []\n");
    here.call(&["daemon"]).exits(2).says("cli/nothing-to-run");
}

pub(super) fn a_failing_database_holds_up_no_files(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.track();
    here.ask("INSERT INTO items (id) VALUES ('i1')");
    let daemon = Daemon::start(&here.workspace, place.directory(), "here");
    daemon.until("watching");
    let there = stage.side("there");
    // Its table is gone: rows cannot be read.
    here.ask("ALTER TABLE items RENAME TO gone");
    for number in 0..3 {
        let text = format!("save {number}\n");
        save(&here, "a.md", &text);
        wait_until("files without rows", || {
            there.call(&["pull", "files"]);
            fs::read_to_string(there.workspace.services().join("a.md"))
                .is_ok_and(|found| found == text)
        });
    }
    wait_until("that it says so", || {
        let status = daemon.status();
        status["sync"]["last_error"]["code"]
            .as_str()
            .is_some_and(|code| code.starts_with("db/"))
    });
    here.ask("ALTER TABLE gone RENAME TO items; UPDATE items SET a = 'back'");
    daemon.tell("kick");
    wait_until("the rows", || {
        stage.tenant.ask("SELECT a FROM items") == "back"
    });
    daemon.until("watching");
    daemon.ends_at_once();
    stage.assert_equal(&here);
}

pub(super) fn a_database_without_an_address_holds_up_no_files(place: &Place) {
    let own = place.own_server();
    configure(&own.workspace, "[database]\nurl_env = \"NOWHERE\"\n");
    let daemon = Daemon::start(&own.workspace, place.directory(), "here");
    daemon.until("watching");
    put(&own.workspace, "a.md", "saved\n");
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    wait_until("files without rows", || {
        there.call(&["pull", "files"]);
        fs::read_to_string(there.services().join("a.md")).is_ok_and(|found| found == "saved\n")
    });
    let status = daemon.status();
    assert_eq!(status["targets"], serde_json::json!(["files"]));
    let reason = status["left_out"]["database"].as_str().unwrap_or_default();
    assert!(reason.contains("`NOWHERE` is not set"), "{status:#}");
    daemon.ends_at_once();
    // With nothing else to do it does not start.
    configure(&own.workspace, "[daemon]\ntargets = [\"database\"]\n");
    own.workspace.call(&["daemon"]).exits(2).says("NOWHERE");
}

/// The daemon with a clock that a file sets, whenever it is read.
fn with_clock(workspace: &Workspace, file: &Path) -> Command {
    let command = workspace.cli().command(&["daemon"]);
    let mut faked = clock::faked(&command, "+0", &["env", "-u", "FAKETIME"]);
    faked
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1");
    faked
}

pub(super) fn a_clock_that_jumps_holds_up_nothing(place: &Place) {
    done(debian::demand("faketime", "faketime"));
    let (here, there) = place.pair();
    let setting = place.directory().join("clock");
    fs::write(&setting, "+0\n").expect("set the clock");
    let command = with_clock(&here, &setting);
    let daemon = Daemon::start_as(command, &here, place.directory(), "here");
    daemon.until("watching");
    let mut times = Vec::new();
    for offset in ["-10y", "+10y", "-1d", "+0"] {
        fs::write(&setting, format!("{offset}\n")).expect("set the clock");
        let text = format!("saved at {offset}\n");
        put(&here, "a.md", &text);
        wait_until(offset, || {
            there.pull();
            fs::read_to_string(there.services().join("a.md")).is_ok_and(|found| found == text)
        });
        // And the other way round.
        let text = format!("answered at {offset}\n");
        put(&there, "b.md", &text);
        there.call(&["sync", "files"]).ok();
        reads(&here, "b.md", &text);
        daemon.until("watching");
        times.extend(daemon.status()["sync"]["last_sync"].as_u64());
    }
    let years = |ms: u64| ms / (365 * 24 * 3600 * 1000);
    assert!(years(times[1]) > years(times[0]) + 15, "{times:?}");
    // The program that sets its clock does not pass a signal on.
    daemon.tell("stop");
    daemon.wait();
}
