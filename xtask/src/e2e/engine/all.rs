//! Both are well: one look, one plan, one snapshot.

use serde_json::Value;

use super::super::{
    rows::stage::{ITEMS, Side, Stage, assert_same, write},
    scenario::Place,
    trees,
};

/// A text that is a file and a value of a row, and more than one chunk of neither.
fn shared_text() -> String {
    "the same in both\n".repeat(800)
}

/// Edits a file, below `services/`.
#[track_caller]
pub(super) fn save(side: &Side<'_>, path: &str, text: &str) {
    let path = side.workspace.services().join(path);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
    write(&path, text);
}

/// The state of an operation, by its target.
#[track_caller]
pub(super) fn state(report: &Value, target: &str) -> String {
    operation(report, target)["state"]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[track_caller]
pub(super) fn operation<'r>(report: &'r Value, target: &str) -> &'r Value {
    let operations = report["operations"].as_array();
    let mut operations = operations.into_iter().flatten();
    match operations.find(|operation| operation["target"] == target) {
        Some(operation) => operation,
        None => panic!("no operation `{target}` in {report:#}"),
    }
}

/// Demands that both were done, as one snapshot.
#[track_caller]
fn assert_one_snapshot(report: &Value) {
    assert_eq!(report["state"]["kind"], "completed", "{report:#}");
    assert_eq!(state(report, "files"), "completed", "{report:#}");
    assert_eq!(state(report, "database"), "completed", "{report:#}");
    let snapshot = &report["snapshot"];
    assert!(snapshot.is_string(), "{report:#}");
    for target in ["files", "database"] {
        assert_eq!(
            &operation(report, target)["snapshot"],
            snapshot,
            "{report:#}"
        );
    }
}

/// How many snapshots the branch has.
#[track_caller]
pub(super) fn snapshots(side: &Side<'_>) -> usize {
    let log = side.call(&["log"]).ok().json();
    log["snapshots"].as_array().map_or(0, Vec::len)
}

/// Edits files and rows of one side, pushes, and pulls on the other.
#[track_caller]
fn travels(here: &Side<'_>, there: &Side<'_>) {
    let text = shared_text();
    save(here, "agents/triage.yaml", "name: triage\n");
    save(here, "texts/shared.md", &text);
    here.ask(&format!(
        "INSERT INTO items (id, a) SELECT 'i' || i, 'first' FROM generate_series(1, 30) i;
        INSERT INTO parts VALUES ('p', 'i1', '{text}')"
    ));
    let first = here.call(&["push"]).ok().json();
    assert_one_snapshot(&first);
    assert_eq!(first["operation"], "push all");
    assert_eq!(first["items_synced"], 33, "{first:#}");
    assert_eq!(operation(&first, "files")["items_synced"], 2, "{first:#}");
    assert_eq!(snapshots(here), 1);

    let pulled = there.call(&["pull", "all"]).ok().json();
    assert_one_snapshot(&pulled);
    assert_eq!(pulled["snapshot"], first["snapshot"]);
    assert_same(&here.rows(), &there.rows());
    trees::assert_same(&here.workspace.services(), &there.workspace.services());

    // An edit of each is one snapshot more, whose parts name both.
    save(there, "agents/triage.yaml", "name: triage\nmodel: new\n");
    there.ask("UPDATE items SET a = 'second' WHERE id = 'i3'; DELETE FROM items WHERE id = 'i30'");
    let second = there.call(&["push", "-m", "both"]).ok().json();
    assert_one_snapshot(&second);
    assert_eq!(second["message"], "both");
    assert_eq!(second["requests"], 2, "{second:#}");
    assert!(second["bytes_sent"].as_u64() < Some(16_000), "{second:#}");
    assert_eq!(snapshots(here), 2);
    let shown = here.call(&["show"]).ok().stdout;
    assert!(
        shown.contains("agents/triage.yaml") && shown.contains("items"),
        "{shown}"
    );
    let pulled = here.call(&["pull"]).ok().json();
    assert_one_snapshot(&pulled);
    assert_same(&here.rows(), &there.rows());
    trees::assert_same(&here.workspace.services(), &there.workspace.services());

    // Nothing to do is one request, for both.
    for side in [here, there] {
        for verb in ["push", "pull", "sync", "status"] {
            let idle = side.call(&[verb]).ok().json();
            assert_eq!(idle["requests"], 1, "{verb}: {idle:#}");
        }
    }
    for side in [here, there] {
        side.call(&["db", "verify", "--read"]).ok();
        side.call(&["verify"]).ok();
    }
}

pub(super) fn files_and_rows_go_as_one_snapshot(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    travels(&here, &there);
    stage.assert_equal(&here);
    // The tenant's program writes between two pushes: its snapshot comes first, then the one of both.
    stage
        .tenant
        .ask("INSERT INTO items (id, a) VALUES ('program', 'wrote')");
    save(&here, "agents/other.yaml", "name: other\n");
    let pushed = here.call(&["push"]).ok().json();
    assert_eq!(state(&pushed, "files"), "completed", "{pushed:#}");
    assert_eq!(operation(&pushed, "database")["standing"], "cloud_ahead");
    here.ask("UPDATE items SET b = 'mine' WHERE id = 'i5'");
    save(&here, "agents/third.yaml", "name: third\n");
    let synced = here.call(&["sync"]).ok().json();
    assert_one_snapshot(&synced);
    stage.assert_equal(&here);
}

pub(super) fn a_tenant_without_a_database_takes_both(place: &Place) {
    let token = place.create_tenant();
    let url = super::super::rows::stage::over_tls(place.server());
    let side = |name| {
        let side = Side::new(place, place.postgres(), name, (&url, &token), ITEMS);
        side.call(&["db", "migrate", "--bookkeeping"]).ok();
        side
    };
    let (here, there) = (side("here"), side("there"));
    travels(&here, &there);
}

pub(super) fn a_sync_goes_both_ways(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    save(&here, "a.md", "one\ntwo\nthree\nfour\nfive\n");
    here.ask("INSERT INTO items (id, a, b) SELECT 'i' || i, 'x', 'x' FROM generate_series(1, 9) i");
    assert_one_snapshot(&here.call(&["sync"]).ok().json());
    assert_one_snapshot(&there.call(&["sync", "all"]).ok().json());

    save(&here, "a.md", "ONE\ntwo\nthree\nfour\nfive\n");
    here.ask("UPDATE items SET a = 'here' WHERE id = 'i1'");
    here.call(&["push"]).ok();
    save(&there, "a.md", "one\ntwo\nthree\nfour\nFIVE\n");
    save(&there, "b.md", "new\n");
    there.ask("UPDATE items SET b = 'there' WHERE id = 'i1'; INSERT INTO items (id) VALUES ('n')");
    let before = snapshots(&here);
    let synced = there.call(&["sync"]).ok().json();
    assert_one_snapshot(&synced);
    let files = operation(&synced, "files");
    assert_eq!(files["merged"][0], "a.md", "{files:#}");
    assert_eq!(snapshots(&here), before + 1);
    here.call(&["sync"]).ok();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
    trees::assert_same(&here.workspace.services(), &there.workspace.services());
    let text = std::fs::read_to_string(here.workspace.services().join("a.md")).expect("read");
    assert_eq!(text, "ONE\ntwo\nthree\nfour\nFIVE\n");
    assert_eq!(
        here.ask("SELECT a || b FROM items WHERE id = 'i1'"),
        "herethere"
    );
}

pub(super) fn status_and_diff_name_each(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    let stands = |side: &Side<'_>, code: i32| {
        let found = side.call(&["status", "--exit-code"]).exits(code).json();
        // What the tenant has changed is counted by what it is.
        let is_ahead = found["files"]["standing"] == "cloud_ahead";
        assert!(is_ahead || found["requests"] == 1, "{found:#}");
        let of = |target: &str| found[target]["standing"].as_str().map(str::to_owned);
        (
            of("files").unwrap_or_default(),
            of("database").unwrap_or_default(),
        )
    };
    let both = |files: &str, rows: &str| (files.to_owned(), rows.to_owned());
    save(&here, "a.md", "a\n");
    here.ask("INSERT INTO items (id) VALUES ('i1')");
    // The first command has the tenant prove who it is.
    let met = here.call(&["status"]).ok();
    assert_eq!(met.number("requests"), 2, "{}", met.stdout);
    assert_eq!(stands(&here, 10), both("local_ahead", "local_ahead"));
    let diff = here.call(&["diff", "--exit-code"]).exits(10).json();
    assert_eq!(operation(&diff, "files")["counts"]["added"], 1, "{diff:#}");
    assert_eq!(
        operation(&diff, "database")["tables"][0]["created"],
        1,
        "{diff:#}"
    );
    here.call(&["push"]).ok();
    assert_eq!(stands(&here, 0), both("in_sync", "in_sync"));
    here.call(&["diff", "--exit-code"]).ok();
    // A file alone moves the head: rows stay in sync with it.
    save(&here, "b.md", "b\n");
    assert_eq!(stands(&here, 10), both("local_ahead", "in_sync"));
    here.call(&["push"]).ok();
    assert_eq!(stands(&there, 10), both("cloud_ahead", "cloud_ahead"));
    there.call(&["pull"]).ok();
    there.ask("DELETE FROM items");
    assert_eq!(stands(&there, 10), both("in_sync", "local_ahead"));
    let log = there.call(&["log"]).ok().json();
    let (new, old) = (&log["snapshots"][0]["id"], &log["snapshots"][1]["id"]);
    let ids = [old, new].map(|id| id.as_str().unwrap_or_default().to_owned());
    let diff = there.call(&["diff", &ids[0], &ids[1], "all"]).ok().json();
    assert_eq!(operation(&diff, "files")["counts"]["added"], 1, "{diff:#}");
    assert_eq!(
        operation(&diff, "database")["tables"],
        serde_json::json!([]),
        "{diff:#}"
    );
}

pub(super) fn a_dry_run_changes_nothing(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    save(&here, "a.md", "a\n");
    here.ask("INSERT INTO items (id) VALUES ('i1'), ('i2')");
    for verb in ["push", "sync"] {
        let planned = here.call(&[verb, "--dry-run"]).ok().json();
        assert_eq!(planned["state"]["kind"], "not_started", "{planned:#}");
        let files = operation(&planned, "files");
        assert_eq!(files["changes"][0]["path"], "a.md", "{planned:#}");
        let rows = operation(&planned, "database");
        assert_eq!(rows["pushed"][0]["created"], 2, "{planned:#}");
        assert_eq!(snapshots(&here), 0);
        assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "0");
    }
    here.call(&["push"]).ok();
    let planned = there.call(&["pull", "--dry-run"]).ok().json();
    assert_eq!(
        operation(&planned, "files")["changes"][0]["path"],
        "a.md",
        "{planned:#}"
    );
    assert_eq!(
        operation(&planned, "database")["pulled"][0]["created"],
        2,
        "{planned:#}"
    );
    assert_eq!(there.ask("SELECT count(*) FROM items"), "0");
    assert!(!there.workspace.services().join("a.md").exists());
}
