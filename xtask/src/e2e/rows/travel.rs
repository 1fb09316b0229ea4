//! Rows go to a tenant and come back.

use super::{
    super::scenario::Place,
    stage::{DEFAULTS, Db, ITEMS, Side, Stage, Tables, assert_same, write},
};

/// Rows of the default tables, one that refers to another included.
const AGENTS: &str = "INSERT INTO agents (agent_id, name, port, tags, card_json) VALUES
        ('a1', 'one', 1, '{x,\"y z\"}', '{\"k\": [1, 2.50]}'), ('a2', 'two', NULL, NULL, '{}');
    INSERT INTO agent_skills (skill_id, file_path, name, instructions, source_id)
        VALUES ('s1', 's/1.md', 'skill', E'line\\nline', 'src');
    INSERT INTO users (id, name, email) VALUES ('u1', 'user', 'u@example.org');
    INSERT INTO user_contexts (context_id, user_id, name) VALUES ('c1', 'u1', 'context')";

pub(super) fn rows_are_pushed_and_pulled(place: &Place) {
    let stage = Stage::new(place, DEFAULTS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    assert_eq!(here.standing(), "in_sync");
    here.ask(AGENTS);

    let status = here
        .call(&["status", "database", "--exit-code"])
        .exits(10)
        .json();
    assert_eq!(status["database"]["standing"], "local_ahead");
    let tables = status["database"]["local"].as_array().expect("tables");
    let created: u64 = tables
        .iter()
        .filter_map(|table| table["created"].as_u64())
        .sum();
    assert_eq!((tables.len(), created), (4, 5), "{status}");

    let pushed = here.push().ok();
    let report = pushed.json();
    assert_eq!(report["operation"], "push database");
    assert_eq!(report["success"], true);
    assert_eq!(report["items_synced"], 5, "{report}");
    assert_eq!(
        report["errors"].as_array().map(Vec::len),
        Some(0),
        "{report}"
    );
    assert!(pushed.text("snapshot").len() >= 40, "{report}");
    stage.assert_equal(&here);
    assert_eq!(here.standing(), "in_sync");

    assert_eq!(there.standing(), "cloud_ahead");
    let pulled = there.pull().ok();
    assert_eq!(pulled.number("items_synced"), 5, "{}", pulled.stdout);
    assert_same(&here.rows(), &there.rows());
    stage.assert_equal(&there);

    // Every kind of change goes the other way.
    there.ask("UPDATE agents SET tags = '{}', port = 7 WHERE agent_id = 'a1'; DELETE FROM agents WHERE agent_id = 'a2';
        INSERT INTO agents (agent_id, name) VALUES ('a3', 'three')");
    let report = there.push().ok().json();
    let sum = &report["pushed"][0];
    assert_eq!(
        [&sum["created"], &sum["updated"], &sum["deleted"]],
        [1, 1, 1],
        "{report}"
    );
    here.pull().ok();
    assert_same(&here.rows(), &there.rows());
    stage.assert_equal(&here);

    // With a log the same comes out.
    here.track();
    there.track();
    here.ask("UPDATE agents SET port = port + 1 WHERE agent_id = 'a1'");
    here.push().ok();
    there.pull().ok();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
}

pub(super) fn a_sync_goes_both_ways(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.ask("INSERT INTO items (id, a) SELECT 'i' || i, 'first' FROM generate_series(1, 50) i");
    here.sync().ok();
    there.sync().ok();
    here.ask(
        "UPDATE items SET a = 'here' WHERE id IN ('i1', 'i2'); DELETE FROM items WHERE id = 'i50'",
    );
    there.ask("UPDATE items SET b = 'there' WHERE id IN ('i2', 'i3'); INSERT INTO parts VALUES ('p1', 'i1', 'new')");
    stage
        .tenant
        .ask("INSERT INTO items (id, a) VALUES ('t1', 'tenant')");
    let first = here.sync().ok();
    assert_eq!(first.json()["pulled"][0]["created"], 1, "{}", first.stdout);
    // Whoever pushes without having what came meanwhile is told.
    there.push().exits(3).says("engine/diverged");
    there.sync().ok();
    here.sync().ok();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
    assert_eq!(
        here.ask("SELECT a || b FROM items WHERE id = 'i2'"),
        "herethere"
    );
    assert_eq!(here.ask("SELECT count(*) FROM items"), "50");
    assert_eq!(here.standing(), "in_sync");
}

pub(super) fn an_embedded_tenant_needs_no_database(place: &Place) {
    let url = format!("embedded:{}", place.directory().join("tenant").display());
    let side = |name: &str| {
        let side = Side::new(place, place.postgres(), name, (&url, "unused"), ITEMS);
        side.call(&["db", "migrate", "--bookkeeping"]).ok();
        side
    };
    keeps_rows(&side("here"), &side("there"));
}

pub(super) fn a_tenant_without_a_database_keeps_rows(place: &Place) {
    let token = place.create_tenant();
    let url = super::stage::over_tls(place.server());
    let side = |name: &str| {
        let side = Side::new(place, place.postgres(), name, (&url, &token), ITEMS);
        side.call(&["db", "migrate", "--bookkeeping"]).ok();
        side
    };
    keeps_rows(&side("here"), &side("there"));
}

/// Rows, edits and removals go through a tenant that has nothing but its history.
fn keeps_rows(here: &Side<'_>, there: &Side<'_>) {
    here.ask(
        "INSERT INTO items (id, a) SELECT 'i' || i, 'first' FROM generate_series(1, 30) i;
        INSERT INTO parts VALUES ('p', 'i1', repeat('long ', 2000))",
    );
    here.push().ok();
    there.pull().ok();
    assert_same(&here.rows(), &there.rows());
    here.ask("UPDATE items SET a = 'second' WHERE id = 'i3'; DELETE FROM items WHERE id = 'i30'");
    there
        .ask("UPDATE items SET b = 'there' WHERE id = 'i3'; INSERT INTO items (id) VALUES ('new')");
    here.sync().ok();
    there.sync().ok();
    here.sync().ok();
    assert_same(&here.rows(), &there.rows());
    assert_eq!(
        here.ask("SELECT a || b FROM items WHERE id = 'i3'"),
        "secondthere"
    );
    let idle = there.sync().ok();
    assert_eq!(idle.number("items_synced"), 0, "{}", idle.stdout);
    here.call(&["db", "verify", "--read"]).ok();
    there.call(&["db", "verify", "--read"]).ok();
}

pub(super) fn db_migrate_makes_what_is_needed(place: &Place) {
    let db = Db::new(place.postgres(), "fresh", "");
    let file = place.directory().join("fresh.url");
    write(&file, &db.url());
    let file = file.display().to_string();
    let call = |words: &[&str]| {
        place
            .cli()
            .call(&[&["db", "--url-file", &file], words].concat())
    };

    let bookkeeping = call(&["migrate", "--bookkeeping"]).ok().json();
    assert_eq!(bookkeeping["migrated"]["from"], 0, "{bookkeeping}");
    let created =
        |answer: &serde_json::Value| answer["migrated"]["created"].as_array().map(Vec::len);
    assert_eq!(created(&bookkeeping), Some(0));
    let defaults = call(&["migrate"]).ok().json();
    assert_eq!(created(&defaults), Some(7), "{defaults}");
    let again = call(&["migrate"]).ok().json();
    assert_eq!(again["migrated"]["from"], again["migrated"]["to"]);
    assert_eq!(created(&again), Some(0));
    // What a program has made already stays as it is.
    db.ask("INSERT INTO agents (agent_id, name) VALUES ('a', 'b'); DROP TABLE agent_skills");
    assert_eq!(created(&call(&["migrate"]).ok().json()), Some(1));
    assert_eq!(db.ask("SELECT count(*) FROM agents"), "1");

    call(&["track"]).ok();
    db.ask("UPDATE agents SET port = 1");
    let status = call(&["status"]).ok().json();
    let tracked = status["tracked"].as_array().expect("tables");
    assert_eq!(tracked.len(), 4, "{status}");
    assert!(
        tracked.iter().all(|table| table["is_intact"] == true),
        "{status}"
    );
    let keys: u64 = tracked
        .iter()
        .filter_map(|table| table["keys"].as_u64())
        .sum();
    assert_eq!(keys, 1, "{status}");
    let password = db
        .url()
        .split('@')
        .next()
        .and_then(|before| before.rsplit(':').next().map(str::to_owned));
    let password = password
        .filter(|found| !found.starts_with("//"))
        .unwrap_or_default();
    assert!(
        password.is_empty() || !status.to_string().contains(&password),
        "the password is shown"
    );
    call(&["untrack", "agents"]).ok();
    let left = call(&["status"]).ok().json();
    assert_eq!(left["tracked"].as_array().map(Vec::len), Some(3), "{left}");
}

pub(super) fn tables_that_differ_are_named(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.ask("INSERT INTO items (id) VALUES ('a')");
    here.push().ok();
    here.ask("ALTER TABLE items ADD COLUMN extra text; UPDATE items SET extra = 'x'");
    let before = stage.rows();
    here.push().exits(2).says("db/schemas").says("extra");
    assert_same(&before, &stage.rows());
    // A column that exists on one side only is fine where it does not travel.
    here.configure("[[database.tables]]\nname = \"items\"\nexclude = [\"extra\"]\n[[database.tables]]\nname = \"parts\"\n");
    here.ask("UPDATE items SET a = 'y'");
    here.push().ok();
    assert_eq!(stage.tenant.ask("SELECT a FROM items"), "y");
    let missing = Tables { setup: "", ..ITEMS };
    let bare = Side::new(
        place,
        place.postgres(),
        "bare",
        (&stage.served.url, &stage.served.token),
        missing,
    );
    bare.call(&["db", "migrate", "--bookkeeping"]).ok();
    bare.pull().exits(1).says("db/no-table").says("items");
}
