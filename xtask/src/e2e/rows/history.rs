//! What was, what would be, and what a person chooses.

use super::{
    super::{scenario::Place, trees},
    stage::{ITEMS, Side, Stage, assert_same},
};

/// Two sides that agree on ten items.
fn pair<'p>(stage: &Stage<'p>) -> (Side<'p>, Side<'p>) {
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id, a, b) SELECT 'i' || i, 'first', 'first' FROM generate_series(1, 10) i");
    here.push().ok();
    there.pull().ok();
    (here, there)
}

pub(super) fn a_person_chooses(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = pair(&stage);
    for (id, choice, stays) in [("i1", "ours", "there"), ("i2", "theirs", "here")] {
        here.ask(&format!(
            "UPDATE items SET a = 'here', n = 5 WHERE id = '{id}'"
        ));
        there.ask(&format!("UPDATE items SET a = 'there' WHERE id = '{id}'"));
        let theirs = here.push().ok().text("snapshot");
        let before = there.rows();
        let refused = there.sync().exits(3).json();
        assert_eq!(refused["success"], false, "{refused}");
        assert_eq!(refused["conflicts"][0]["key"][0][1], id, "{refused}");
        assert_same(&before, &there.rows());
        let listed = there.call(&["conflicts", "list"]).exits(3).json();
        let conflict = &listed["conflicts"][0];
        assert_eq!(conflict["columns"].to_string(), "[\"a\"]", "{listed}");
        let named = conflict["id"].as_str().expect("an id").to_owned();
        there
            .call(&["conflicts", "show", &named])
            .ok()
            .says("here")
            .says("there");
        there.call(&["conflicts", "resolve", &named, choice]).ok();
        there.call(&["conflicts", "list"]).ok();
        there.sync().ok();
        here.sync().ok();
        // The row that was chosen stays as it is.
        let row = format!("SELECT a FROM items WHERE id = '{id}'");
        assert_eq!(there.ask(&row), stays);
        stage.assert_equal(&here);
        stage.assert_equal(&there);
        // The version that lost is in the history of the tenant, or was never sent.
        let was = there.call(&["diff", &theirs, "database"]).ok().json();
        assert!(
            choice == "theirs" || was.to_string().contains("\"here\""),
            "{was}"
        );
    }
    // A conflict that nobody has anymore is forgotten.
    there.call(&["conflicts", "list"]).ok();
    // One at a time, with a sync in between: what was chosen first still is when the second is chosen.
    here.ask("UPDATE items SET a = 'here-2' WHERE id IN ('i1', 'i2')");
    there.ask("UPDATE items SET a = 'there-2' WHERE id IN ('i1', 'i2')");
    here.push().ok();
    for left in [2, 1] {
        let refused = there.sync().exits(3).json();
        let open = refused["conflicts"].as_array().expect("conflicts");
        assert_eq!(open.len(), left, "{refused}");
        let named = open[0]["id"].as_str().expect("an id").to_owned();
        there.call(&["conflicts", "resolve", &named, "ours"]).ok();
    }
    there.sync().ok();
    here.sync().ok();
    assert_eq!(
        here.ask("SELECT a FROM items WHERE id IN ('i1', 'i2')"),
        "there-2\nthere-2"
    );
    for (option, stays) in [("ours", "there"), ("theirs", "here")] {
        here.ask("UPDATE items SET a = 'here', b = b || '.' WHERE id = 'i3'");
        here.push().ok();
        there.ask("UPDATE items SET a = 'there' WHERE id = 'i3'");
        there
            .call(&["sync", "database", "--on-conflict", option])
            .ok();
        here.sync().ok();
        assert_eq!(here.ask("SELECT a FROM items WHERE id = 'i3'"), stays);
        here.ask("UPDATE items SET a = 'first' WHERE id = 'i3'");
        here.push().ok();
        there.pull().ok();
    }
}

pub(super) fn a_dry_run_changes_nothing(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = pair(&stage);
    here.ask("UPDATE items SET a = 'here' WHERE id = 'i1'");
    here.push().ok();
    there.ask("UPDATE items SET b = 'there' WHERE id = 'i2'");
    here.ask("DELETE FROM items WHERE id = 'i3'");
    let first = snapshots(&here).pop().expect("a snapshot");
    let books = "SELECT count(*), string_agg(base::text, ';') FROM sync.base";
    let all = || {
        let sides = [&here, &there].map(|side| (side.rows(), side.ask(books)));
        (
            sides,
            stage.rows(),
            stage.tenant.ask(books),
            snapshots(&here),
        )
    };
    let before = all();
    let dry = |side: &Side<'_>, words: &[&str]| side.call(&[words, &["--dry-run"]].concat()).ok();
    let shown = dry(&here, &["push", "database"]).json();
    assert_eq!(shown["rows"][0]["key"][0][1], "i3", "{shown}");
    assert_eq!(
        (&shown["dry_run"], &shown["items_synced"]),
        (&true.into(), &0.into())
    );
    assert_eq!(
        shown["state"],
        serde_json::json!({"kind": "not_started"}),
        "{shown}"
    );
    dry(&there, &["pull", "database"]).says("i1");
    dry(&there, &["sync", "database"]).says("i1").says("i2");
    dry(&there, &["undo", "database", "--on-conflict", "ours"]).says("i1");
    dry(&here, &["rollback", &first, "database"]).says("i1");
    let after = all();
    assert_eq!(before, after);
    // What is done afterwards is what was said.
    here.push().ok();
    there.sync().ok();
    here.sync().ok();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
    trees::assert_same(&here.workspace.services(), &there.workspace.services());
}

/// The ids of the tenant's snapshots, newest first.
fn snapshots(side: &Side<'_>) -> Vec<String> {
    let log = side.call(&["log"]).ok().json();
    let snapshots = log["snapshots"].as_array().expect("snapshots");
    let ids = snapshots
        .iter()
        .filter_map(|snapshot| snapshot["id"].as_str());
    ids.map(str::to_owned).collect()
}

pub(super) fn history_speaks_of_rows(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = pair(&stage);
    trees::write(&here.workspace.services(), "agents/a.md", "a file\n");
    here.workspace.push().ok();
    here.ask("UPDATE items SET a = 'second' WHERE id = 'i1'; INSERT INTO parts VALUES ('p', 'i1', 'note')");
    here.call(&["push", "database", "-m", "tune i1"]).ok();
    stage.tenant.ask("DELETE FROM items WHERE id = 'i9'");
    here.pull().ok();
    let log = here
        .call(&["log"])
        .ok()
        .says("tune i1")
        .says("1 row changed on the tenant")
        .json();
    let ids = snapshots(&here);
    assert_eq!(ids.len(), 4, "{log}");
    // Rows and files have one history: neither loses the other.
    there.workspace.pull().ok();
    trees::assert_same(&here.workspace.services(), &there.workspace.services());
    there.pull().ok();
    stage.assert_equal(&there);

    let diff = here
        .call(&["diff", &ids[3], &ids[0], "database"])
        .ok()
        .json();
    let rows = diff["rows"].as_array().expect("rows");
    let row = |key: &str| {
        rows.iter()
            .find(|row| row["key"][0][1] == key)
            .expect("the row")
    };
    assert_eq!(row("i1")["columns"][0]["column"], "a", "{diff}");
    assert_eq!(row("i1")["columns"][0]["before"], "first", "{diff}");
    assert_eq!(row("i1")["columns"][0]["after"], "second", "{diff}");
    assert_eq!(row("i9")["kind"], "removed", "{diff}");
    assert_eq!(row("p")["kind"], "added", "{diff}");
    here.call(&["diff", "database", "--exit-code"]).ok();
    here.ask("UPDATE items SET n = 3 WHERE id = 'i2'");
    here.call(&["diff", "database", "--exit-code"])
        .exits(10)
        .says("i2");
    here.ask("UPDATE items SET n = 0 WHERE id = 'i2'");
    let shown = here.call(&["show", &ids[1]]).ok().says("tune i1").json();
    assert!(shown["rows"].to_string().contains("second"), "{shown}");

    // Back to the first snapshot, on both sides; files stay as they are.
    here.call(&["rollback", &ids[3], "database"]).ok();
    assert_eq!(here.ask("SELECT a FROM items WHERE id = 'i1'"), "first");
    assert_eq!(here.ask("SELECT count(*) FROM items"), "10");
    assert_eq!(here.ask("SELECT count(*) FROM parts"), "0");
    stage.assert_equal(&here);
    there.pull().ok();
    stage.assert_equal(&there);
    there.workspace.pull().ok();
    trees::assert_same(&here.workspace.services(), &there.workspace.services());
    assert_eq!(snapshots(&here).len(), 5);
}

pub(super) fn what_was_replaced_comes_back(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = pair(&stage);
    // All that came is all that there is: that is asked for twice.
    there.undo().exits(3).says("engine/empties");
    there.call(&["undo", "database", "--yes"]).ok();
    assert_eq!(there.ask("SELECT count(*) FROM items"), "0");
    there.undo().ok();
    assert_eq!(there.ask("SELECT count(*) FROM items"), "10");
    here.ask("UPDATE items SET a = 'second'; DELETE FROM items WHERE id = 'i10'");
    here.push().ok();
    let before = there.rows();
    there.pull().ok();
    let after = there.rows();
    // An edit since then stays, as long as it is of another column.
    there.ask("UPDATE items SET b = 'mine' WHERE id = 'i2'");
    there.undo().ok();
    assert_eq!(
        there.ask("SELECT a || b FROM items WHERE id = 'i2'"),
        "firstmine"
    );
    there.ask("UPDATE items SET b = 'first' WHERE id = 'i2'");
    assert_same(&before, &there.rows());
    // Nothing was undone on the tenant: it is ahead again, and a pull brings the same.
    assert_eq!(there.standing(), "cloud_ahead");
    there.pull().ok();
    assert_same(&after, &there.rows());
    stage.assert_equal(&there);
    // An edit of what would come back is for a person to choose.
    there.ask("UPDATE items SET a = 'mine' WHERE id = 'i2'");
    there.undo().exits(3);
    assert_eq!(there.ask("SELECT a FROM items WHERE id = 'i2'"), "mine");
    here.undo().exits(2).says("engine/nothing-to-undo");
}

pub(super) fn a_mass_removal_is_not_made_unasked(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id) SELECT 'i' || i FROM generate_series(1, 100) i");
    here.push().ok();
    there.pull().ok();
    here.ask("DELETE FROM items WHERE id > 'i5'");
    here.push().exits(3).says("engine/removes");
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "100");
    here.call(&["push", "database", "--yes"]).ok();
    there.pull().exits(3).says("engine/removes");
    assert_eq!(there.ask("SELECT count(*) FROM items"), "100");
    there
        .call(&["pull", "database", "--max-delete", "90%"])
        .ok();
    stage.assert_equal(&there);
    here.ask("TRUNCATE items CASCADE");
    here.push().exits(3).says("engine/empties");
    here.call(&["push", "database", "--yes"]).ok();
    stage.assert_equal(&here);
}
