//! Dry runs that leave no trace: neither names nor bytes nor times of `.sync` are other ones afterwards, or it is not there.

use super::super::{
    rows::stage::{ITEMS, Side, Stage},
    scenario::Place,
    trees,
};
use super::all::save;

/// Calls each as a dry run, and demands that nothing was noted; with a code where it is not 0.
#[track_caller]
fn leave_no_trace(side: &Side<'_>, calls: &[(&[&str], i32)]) {
    let private = side.workspace.root().join(".sync");
    for (words, code) in calls {
        let before = trees::moments(&private);
        let planned = side.call(&[words, &["--dry-run"][..]].concat());
        let planned = planned.exits(*code);
        let after = trees::moments(&private);
        assert_eq!(before, after, "{words:?}: {}", planned.stdout);
    }
}

/// What there is to plan in every state of a workspace.
const TRANSFERS: [(&[&str], i32); 12] = [
    (&["push"], 0),
    (&["push", "files"], 0),
    (&["push", "database"], 0),
    (&["push", "all"], 0),
    (&["pull"], 0),
    (&["pull", "files"], 0),
    (&["pull", "database"], 0),
    (&["pull", "all"], 0),
    (&["sync"], 0),
    (&["sync", "files"], 0),
    (&["sync", "database"], 0),
    (&["sync", "all"], 0),
];

pub(super) fn a_dry_run_leaves_no_trace(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    let private = here.workspace.root().join(".sync");
    // It was never synced: nothing is made.
    let _ = std::fs::remove_dir_all(&private);
    save(&here, "a.md", "a\n");
    here.ask("INSERT INTO items (id) VALUES ('i1'), ('i2')");
    let push_and_sync = TRANSFERS.iter().filter(|(words, _)| words[0] != "pull");
    let push_and_sync: Vec<_> = push_and_sync.copied().collect();
    leave_no_trace(&here, &push_and_sync);
    assert!(!private.exists());

    here.call(&["push"]).ok();
    here.track();
    leave_no_trace(&here, &TRANSFERS);
    // What is new on either side is planned without being kept.
    there.call(&["pull"]).ok();
    save(&there, "b.md", "b\n");
    there.ask("INSERT INTO items (id) VALUES ('i3')");
    there.call(&["push"]).ok();
    leave_no_trace(&here, &TRANSFERS[4..]);
    here.call(&["pull"]).ok();
    save(&here, "a.md", "of here\n");
    here.ask("UPDATE items SET a = 'of here' WHERE id = 'i1'");
    leave_no_trace(&here, &TRANSFERS);
    here.call(&["sync"]).ok();
    let log = here.call(&["log"]).ok().json();
    let first = log["snapshots"].as_array().and_then(|all| all.last());
    let first = first.expect("a snapshot")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    leave_no_trace(
        &here,
        &[
            (&["undo"], 0),
            (&["undo", "database"], 0),
            (&["rollback", &first], 0),
            (&["rollback", &first, "database"], 0),
            (&["gc"], 0),
        ],
    );
    // To a tenant in `.sync` itself, which is not there yet, and then is.
    here.call(&["remote", "add", "other", "embedded:.sync/other"])
        .ok();
    leave_no_trace(&here, &[(&["promote", "default", "other"], 0)]);
    here.call(&["promote", "default", "other"]).ok();
    there.ask("UPDATE items SET a = 'of there' WHERE id = 'i2'");
    there.call(&["sync"]).ok();
    leave_no_trace(
        &here,
        &[
            (&["promote", "default", "other"], 0),
            (&["promote", "other", "default"], 0),
            (&["pull", "--remote", "other"], 0),
        ],
    );
    // A plan is no other for being made so.
    let planned = here.call(&["pull", "database", "--dry-run"]).ok().json();
    let pulled = here.call(&["pull", "database"]).ok().json();
    assert_eq!(planned["pulled"], pulled["pulled"], "{planned:#}");
    assert_eq!(pulled["pulled"][0]["updated"], 1, "{pulled:#}");
}
