//! What a person sees: real processes against an embedded tenant, in a directory of their own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bundles;
mod dry_run;
mod identity;
mod mcp;
mod remotes;
mod schedules;
mod simulation;
mod simulation_rows;
mod transcript;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use transcript::{settled, unindented};

/// A workspace, and the commands that are run in it.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Self { dir }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A workspace `name` whose tenant all workspaces of this desk share.
    fn workspace(&self, name: &str) -> PathBuf {
        let root = self.root(name);
        fs::create_dir_all(&root).unwrap();
        let url = format!("embedded:{}", self.root("tenant").display());
        let output = self.run(&root, &["init", "--url", &url, "--name", name]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        root
    }

    /// Runs a command with nothing of the outer environment in it.
    fn run(&self, root: &Path, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sync-cli"))
            .arg("-C")
            .arg(root)
            .args(words)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.root("tmp"))
            .env("SYNC_AUTHOR", "ada")
            .output()
            .unwrap()
    }

    /// Runs a command that must end with `code`; stdout, then stderr, with what differs from run to run replaced.
    #[track_caller]
    fn check(&self, root: &Path, words: &[&str], code: i32, expected: &str) {
        let output = self.run(root, words);
        let seen = settled(&text(&output), self.dir.path());
        assert_eq!(output.status.code(), Some(code), "{words:?}:\n{seen}");
        assert_eq!(seen.trim(), unindented(expected).trim(), "{words:?}");
    }

    #[track_caller]
    fn json(&self, root: &Path, words: &[&str], code: i32) -> Value {
        let words = [&["--output", "json"], words].concat();
        let output = self.run(root, &words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}:\n{}",
            text(&output)
        );
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join("services").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join("services").join(path)).unwrap()
}

#[test]
fn a_first_session() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "agents/triage.yaml", "name: triage\nmodel: small\n");
    put(&work, "empty.txt", "");
    desk.check(
        &work,
        &["push", "--dry-run"],
        0,
        "
          + agents/triage.yaml  26 B
          + empty.txt           0 B
        files     would push 2 added
    ",
    );
    assert!(!desk.root("tenant").exists(), "a dry run made the tenant");
    desk.check(
        &work,
        &["push", "files", "-m", "first"],
        0,
        "
          + agents/triage.yaml  26 B
          + empty.txt           0 B
        files     pushed 2 added
        snapshot  ID  \"first\"
    ",
    );
    desk.check(
        &work,
        &["push"],
        0,
        "
        files     nothing changed
        snapshot  ID
    ",
    );
    desk.check(
        &work,
        &["status", "--exit-code"],
        0,
        "
        files     in_sync       base ID
    ",
    );
    put(&work, "agents/triage.yaml", "name: triage\nmodel: large\n");
    desk.check(
        &work,
        &["status", "--exit-code"],
        10,
        "
        files     local_ahead   here: 1 changed    base ID
    ",
    );
    desk.check(
        &work,
        &["diff"],
        0,
        "
        ~ agents/triage.yaml  +1 -1
        @@ -1,2 +1,2 @@
         name: triage
        -model: small
        +model: large
        files     1 changed
    ",
    );
    desk.check(
        &work,
        &["push"],
        0,
        "
          ~ agents/triage.yaml  26 B
        files     pushed 1 changed
        snapshot  ID  \"change agents/triage.yaml\"
    ",
    );
    desk.check(
        &work,
        &["log"],
        0,
        "
        ID  TIME  ada  change agents/triage.yaml
        ID  TIME  ada  first
    ",
    );
    desk.check(
        &work,
        &["show", "--stat"],
        0,
        "
        snapshot  ID
        parent    ID
        author    ada
        time      TIME
        message   change agents/triage.yaml
        ~ agents/triage.yaml  26 B
        files     1 changed
    ",
    );
}

#[test]
fn a_second_workspace_pulls_and_keeps_its_own_edits() {
    let desk = Desk::new();
    let (one, two) = (desk.workspace("one"), desk.workspace("two"));
    put(&one, "a.txt", "a\n");
    put(&one, "b.txt", "b\n");
    desk.json(&one, &["push"], 0);
    let pulled = desk.json(&two, &["pull"], 0);
    assert_eq!(
        (&pulled["items_synced"], &pulled["success"]),
        (&2.into(), &true.into())
    );
    assert_eq!(
        (read(&two, "a.txt"), read(&two, "b.txt")),
        ("a\n".into(), "b\n".into())
    );

    // An edit of another file survives a pull, and can then be pushed.
    put(&one, "a.txt", "a from one\n");
    desk.json(&one, &["push"], 0);
    put(&two, "b.txt", "b from two\n");
    desk.check(
        &two,
        &["push"],
        3,
        "
        error[engine/diverged]: workspace and tenant have both changed since they last agreed
        hint: run `sync-cli sync`, which merges both sides
    ",
    );
    desk.json(&two, &["pull"], 0);
    assert_eq!(
        (read(&two, "a.txt"), read(&two, "b.txt")),
        ("a from one\n".into(), "b from two\n".into())
    );
    desk.json(&two, &["push"], 0);
    desk.json(&one, &["pull"], 0);
    assert_eq!(read(&one, "b.txt"), "b from two\n");
    assert_eq!(
        desk.json(&one, &["status"], 0)["files"]["standing"],
        "in_sync"
    );
}

#[test]
fn a_local_edit_is_never_overwritten() {
    let desk = Desk::new();
    let (one, two) = (desk.workspace("one"), desk.workspace("two"));
    put(&one, "a.txt", "a\n");
    put(&one, "z.txt", "z\n");
    desk.json(&one, &["push"], 0);
    desk.json(&two, &["pull"], 0);
    put(&one, "a.txt", "a from one\n");
    put(&one, "z.txt", "z from one\n");
    desk.json(&one, &["push"], 0);
    put(&two, "a.txt", "a from two\n");
    desk.check(&two, &["pull"], 3, "
        ! a.txt: both sides changed it
              here     file of 11 B (ID)
              tenant   file of 11 B (ID)
              base     file of 2 B (ID)
        error[engine/conflict]: 1 path changed here and on the tenant: `a.txt`
        hint: run `sync-cli sync`, which merges texts by line; what it cannot merge, decide with `--on-conflict ours|theirs|keep-both`
    ");
    assert_eq!(
        (read(&two, "a.txt"), read(&two, "z.txt")),
        ("a from two\n".into(), "z\n".into())
    );
    let failed = desk.json(&two, &["pull"], 3);
    assert_eq!(
        (&failed["success"], &failed["errors"][0]["code"]),
        (&false.into(), &"engine/conflict".into())
    );
}

#[test]
fn mistakes_are_told_with_the_next_step() {
    let desk = Desk::new();
    let nowhere = desk.root("nowhere");
    fs::create_dir_all(&nowhere).unwrap();
    desk.check(
        &nowhere,
        &["push"],
        2,
        "
        error[engine/no-workspace]: there is no workspace at `DIR/nowhere` or above it
        hint: run `sync-cli init` there, or name the workspace with `-C DIR`
    ",
    );
    let work = desk.workspace("work");
    desk.check(
        &work,
        &["init"],
        2,
        "
        error[engine/workspace-exists]: there is a workspace at `DIR/work` already
    ",
    );
    desk.check(&work, &["show", "abcd1234"], 2, "
        error[engine/no-snapshot]: `abcd1234` does not name a snapshot: the tenant has no snapshot `abcd1234`
        hint: `sync-cli log` lists the snapshots
    ");
    fs::remove_dir(work.join("services")).unwrap();
    let output = desk.run(&work, &["push"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("services"), "{}", text(&output));
    fs::write(
        work.join("sync.toml"),
        "[remote]\nurl = \"https://a\"\ntoken = \"x\"\n",
    )
    .unwrap();
    let output = desk.run(&work, &["push"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("line 3") && text(&output).contains("token"),
        "{}",
        text(&output)
    );
}

#[test]
fn what_cannot_be_synced_is_named_and_left_alone() {
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "good.txt", "good\n");
    let bad = work
        .join("services")
        .join(std::ffi::OsStr::from_bytes(b"bad\xff.txt"));
    fs::write(&bad, "bad").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.join("services/passwd")).unwrap();
    let pushed = desk.json(&work, &["push"], 0);
    assert_eq!(
        (&pushed["items_synced"], &pushed["items_skipped"]),
        (&1.into(), &2.into())
    );
    let named: Vec<&str> = pushed["errors"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["path"].as_str())
        .collect();
    assert!(
        named.contains(&"passwd") && named.iter().any(|path| path.starts_with("bad")),
        "{named:?}"
    );
    assert!(bad.exists());
}

#[test]
fn lost_private_state_loses_nothing() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.txt", "a\n");
    put(&work, "dir/b.txt", "b\n");
    desk.json(&work, &["push"], 0);
    for lost in ["store", "stat-cache", "state.json", ""] {
        let path = work.join(".sync").join(lost);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let again = desk.json(&work, &["push"], 0);
        assert_eq!(again["items_synced"], 0, "after losing `{lost}`");
        put(&work, "a.txt", &format!("a without {lost}\n"));
        assert_eq!(
            desk.json(&work, &["push"], 0)["items_synced"],
            1,
            "after losing `{lost}`"
        );
    }
    assert_eq!(
        desk.json(&work, &["log"], 0)["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
}

#[test]
fn a_push_that_could_not_say_it_arrived_is_known_again() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    let path = work.join(".sync/state.json");
    let state = || serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap();
    put(&work, "a.txt", "one\n");
    desk.json(&work, &["push"], 0);
    let mut before = state();
    put(&work, "a.txt", "two\n");
    desk.json(&work, &["push"], 0);
    // As a crash between the server's answer and the last write would have left it.
    before["pushing"] = state()["bases"].clone();
    fs::write(&path, before.to_string()).unwrap();
    put(&work, "a.txt", "three\n");
    assert_eq!(
        desk.json(&work, &["status"], 0)["files"]["standing"],
        "local_ahead"
    );
    assert_eq!(desk.json(&work, &["push"], 0)["items_synced"], 1);
    assert_eq!(
        desk.json(&work, &["log"], 0)["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(state()["pushing"], serde_json::json!({}));
}

#[test]
fn secrets_and_emptied_trees_need_a_word() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.txt", "a\n");
    put(&work, "config/.env", "PASSWORD=hunter2\n");
    let pushed = desk.json(&work, &["push"], 0);
    assert_eq!(
        (&pushed["items_synced"], &pushed["errors"][0]["path"]),
        (&1.into(), &"config/.env".into())
    );
    let toml = fs::read_to_string(work.join("sync.toml")).unwrap();
    fs::write(
        work.join("sync.toml"),
        format!("{toml}\n[files]\nallow_secrets = [\"config/.env\"]\n"),
    )
    .unwrap();
    assert_eq!(desk.json(&work, &["push"], 0)["items_synced"], 1);
    // What is part of the history stays in it, even where the cache that knew it is lost and the permission is gone.
    fs::write(work.join("sync.toml"), toml).unwrap();
    fs::remove_file(work.join(".sync/stat-cache")).unwrap();
    let again = desk.json(&work, &["push"], 0);
    assert_eq!(
        (&again["items_synced"], &again["items_skipped"]),
        (&0.into(), &0.into())
    );

    fs::remove_dir_all(work.join("services")).unwrap();
    fs::create_dir(work.join("services")).unwrap();
    desk.check(
        &work,
        &["push"],
        3,
        "
        error[engine/empties]: none of the 2 files of the tenant would remain
        hint: look at it with `--dry-run`; if that is what you want, add `--yes`
    ",
    );
    assert_eq!(desk.json(&work, &["push", "--yes"], 0)["items_synced"], 2);
}

/// Every pull keeps what it replaces, for `undo`, which only ever needs the last of it.
#[test]
fn the_private_store_is_collected_by_itself() {
    let desk = Desk::new();
    let (one, two) = (desk.workspace("one"), desk.workspace("two"));
    let mut random = 1u64;
    let mut noise = || {
        let mut text = String::new();
        for _ in 0..1 << 18 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            write!(text, "{:016x}", random ^ random >> 29).unwrap();
        }
        text
    };
    let stored = || -> u64 {
        let dirs = fs::read_dir(two.join(".sync/store/packs")).unwrap();
        let files = dirs.flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap());
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    let (mut most, mut last) = (0, String::new());
    for _ in 0..12 {
        last = fs::read_to_string(two.join("services/large.txt")).unwrap_or_default();
        put(&one, "large.txt", &noise());
        desk.json(&one, &["push"], 0);
        desk.json(&two, &["pull"], 0);
        most = most.max(stored());
    }
    // Some two MB are kept each time.
    assert!(most < 20 << 20, "{most} bytes");
    assert!(stored() < 20 << 20);
    assert!(read(&two, "large.txt") != last);
    desk.json(&two, &["undo"], 0);
    assert!(read(&two, "large.txt") == last, "what was replaced is lost");
    assert_eq!(desk.json(&two, &["verify"], 0)["result"], "sound");
}

/// What a command told, line by line.
fn events_of(output: &std::process::Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn scripts_get_events_and_completions() {
    let desk = Desk::new();
    let work = desk.workspace("work");
    put(&work, "a.txt", "a\n");
    let output = desk.run(&work, &["--output", "ndjson", "push", "files"]);
    let lines = events_of(&output);
    let names = |lines: &[Value]| -> Vec<String> {
        let names = lines.iter().map(|line| line["event"].as_str().unwrap());
        names
            .filter(|name| *name != "progress")
            .map(str::to_owned)
            .collect()
    };
    let expected = [
        "sync:start",
        "push:start",
        "push:item",
        "push:complete",
        "sync:complete",
    ];
    assert_eq!(names(&lines), expected);
    let (last, events) = lines.split_last().unwrap();
    assert_eq!(last["report"]["operation"], "push files");
    let sending = |event: &&Value| event["event"] == "progress" && event["phase"] == "sending";
    let sent = events.iter().rfind(sending).expect("nothing was sent");
    assert_eq!(sent["bytes"], sent["total_bytes"]);
    let item = events.iter().find(|event| event["event"] == "push:item");
    let item = item.unwrap();
    assert_eq!(
        (&item["path"], &item["kind"], &item["size"]),
        (&"a.txt".into(), &"added".into(), &2.into())
    );
    // What ends in an error says so in its last line, and has the report, too.
    let output = desk.run(&work, &["--output", "ndjson", "rollback", "7f3a9c0"]);
    assert_ne!(output.status.code(), Some(0));
    let lines = events_of(&output);
    assert_eq!(names(&lines), ["sync:start", "sync:error"]);
    let last = lines.last().unwrap();
    assert!(last["code"].is_string() && last["message"].is_string());
    assert_eq!(last["report"]["success"], false);
    for shell in ["bash", "zsh", "fish", "nushell"] {
        let script = text(&desk.run(&work, &["completions", shell]));
        assert!(script.contains("push"), "{shell}");
    }
    let output = desk.run(&work, &["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}
