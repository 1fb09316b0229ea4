//! Lessons about what is gone: deleted rows, collected history, lost records, restored databases.

use std::{fs, path::Path};

use super::{
    super::{
        scenario::{Place, done},
        upkeep::flip,
    },
    stage::{ITEMS, Served, Side, Stage},
};

pub(super) fn lesson_19_a_new_peer_gets_everything(place: &Place) {
    let own = place.own_server();
    let served = Served::by(&own);
    let stage = Stage::at(place, place.postgres(), served, ITEMS);
    let first = stage.side("first");
    for round in 0..5 {
        first.ask(&format!("INSERT INTO items (id, a) SELECT 'r{round}-' || i, repeat('x', 3000) FROM generate_series(1, 10) i"));
        first.ask(&format!("UPDATE items SET b = 'round {round}'"));
        first.push().ok();
    }
    let keep = [
        "retention",
        "set",
        "--tenant",
        place.tenant(),
        "--branch",
        "main",
        "--last",
        "1",
    ];
    place.operator(&own.data, &keep).ok();
    place.operator(&own.data, &["gc", "--grace", "0s"]).ok();
    let late = stage.side("late");
    late.pull().ok();
    assert_eq!(
        late.ask("SELECT count(*) FROM items WHERE b = 'round 4'"),
        "50"
    );
    stage.assert_equal(&late);
    // Whoever was there before goes on, with a base that is no longer kept.
    late.ask("UPDATE items SET n = 1 WHERE id = 'r1-1'");
    late.push().ok();
    place.operator(&own.data, &["gc", "--grace", "0s"]).ok();
    first.call(&["gc"]).ok();
    first.ask("UPDATE items SET n = 2 WHERE id = 'r2-1'");
    first.sync().ok();
    late.sync().ok();
    stage.assert_equal(&first);
    stage.assert_equal(&late);
    assert_eq!(late.ask("SELECT sum(n) FROM items"), "3");
}

pub(super) fn lesson_21_what_is_deleted_stays_deleted(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let sides = ["here", "there", "third"].map(|name| stage.side(name));
    let [here, there, third] = &sides;
    there.track();
    here.ask("INSERT INTO items (id, a) SELECT 'i' || i, 'first' FROM generate_series(1, 10) i");
    here.push().ok();
    there.pull().ok();
    third.pull().ok();
    here.ask("DELETE FROM items WHERE id = 'i1'");
    here.push().ok();
    // Sides that still have it, and touch others or even write it again as it was, do not bring it back.
    there.ask(
        "UPDATE items SET b = 'there' WHERE id = 'i2'; UPDATE items SET a = a WHERE id = 'i1'",
    );
    third.ask("UPDATE items SET b = 'third' WHERE id = 'i3'");
    for _ in 0..2 {
        for side in &sides {
            side.sync().ok();
        }
    }
    for side in &sides {
        assert_eq!(side.ask("SELECT count(*) FROM items WHERE id = 'i1'"), "0");
        stage.assert_equal(side);
    }
    // An edit against a deletion is for a person, not for who comes first.
    here.ask("DELETE FROM items WHERE id = 'i4'");
    there.ask("UPDATE items SET a = 'kept' WHERE id = 'i4'");
    here.sync().ok();
    there.sync().exits(3);
    there.call(&["conflicts", "resolve", "all", "ours"]).ok();
    there.sync().ok();
    here.sync().ok();
    assert_eq!(here.ask("SELECT a FROM items WHERE id = 'i4'"), "kept");
}

/// The private state of a workspace as it was before a pull, as after a crash between apply and record.
pub(super) fn lesson_21_a_lost_record_overwrites_nothing(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    there.track();
    here.ask("INSERT INTO items (id, a, b) SELECT 'i' || i, 'first', 'first' FROM generate_series(1, 10) i");
    here.push().ok();
    there.pull().ok();
    for round in 0..3 {
        here.ask(&format!("UPDATE items SET a = 'round {round}'"));
        here.push().ok();
        let private = there.workspace.root().join(".sync");
        let kept = there.workspace.root().join("kept");
        match round {
            0 => copy(&private, &kept),
            _ => fs::create_dir_all(&kept).expect("create a directory"),
        }
        there.pull().ok();
        there.ask(&format!(
            "UPDATE items SET a = 'newer {round}' WHERE id = 'i3'"
        ));
        if round < 2 {
            // An older record, then none at all.
            fs::remove_dir_all(&private).expect("remove .sync");
            fs::rename(&kept, &private).expect("put the older one back");
        }
        there.sync().ok();
        let row = "SELECT a FROM items WHERE id = 'i3'";
        assert_eq!(there.ask(row), format!("newer {round}"));
        assert_eq!(stage.tenant.ask(row), format!("newer {round}"));
        stage.assert_equal(&there);
        here.pull().ok();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create a directory");
    for entry in fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read a directory");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("copy a file");
        }
    }
}

/// Puts a copy of a database back in its place, as a restored backup does.
struct Backup {
    name: String,
}

impl Backup {
    fn of(side: &super::stage::Db<'_>) -> Self {
        let name = format!("{}_backup", side.name());
        side.close();
        side.superuser(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{0}'; CREATE DATABASE {name} TEMPLATE {0}",
            side.name()
        ));
        Self { name }
    }

    fn put_back(self, side: &super::stage::Db<'_>) {
        side.close();
        side.superuser(&format!("DROP DATABASE {} WITH (FORCE)", side.name()));
        side.superuser(&format!(
            "ALTER DATABASE {} RENAME TO {}",
            self.name,
            side.name()
        ));
    }
}

/// Two sides that agree, one of them tracked, with a day that followed the backup.
fn day<'p>(stage: &Stage<'p>) -> (Side<'p>, Side<'p>) {
    let (here, there) = (stage.side("here"), stage.side("there"));
    here.track();
    here.ask("INSERT INTO items (id, a, b) SELECT 'i' || i, 'first', 'first' FROM generate_series(1, 100) i");
    here.sync().ok();
    there.sync().ok();
    (here, there)
}

pub(super) fn lesson_31_a_restored_database_loses_nothing(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = day(&stage);
    let backup = Backup::of(&here.db);
    here.ask("UPDATE items SET a = 'of the day' WHERE n = 0 AND id <> 'i7'; INSERT INTO items (id) VALUES ('new')");
    here.sync().ok();
    there.sync().ok();
    there.ask("UPDATE items SET b = 'there' WHERE id = 'i9'; DELETE FROM items WHERE id = 'i100'");
    there.sync().ok();
    here.ask("UPDATE items SET n = 1 WHERE id = 'i8'");
    here.sync().ok();
    let before = stage.rows();
    backup.put_back(&here.db);
    // What was written after the restore goes, what the restore took comes back.
    here.ask("UPDATE items SET b = 'after' WHERE id = 'i7'");
    here.sync().ok();
    stage.assert_equal(&here);
    assert_eq!(here.ask("SELECT b FROM items WHERE id = 'i7'"), "after");
    let lines = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("i7|"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&before), lines(&stage.rows()));
    there.sync().ok();
    stage.assert_equal(&there);
    // Its log is trusted again.
    here.ask("UPDATE items SET n = 9 WHERE id = 'i1'");
    here.sync().ok();
    stage.assert_equal(&here);
}

pub(super) fn lesson_31_a_restored_tenant_loses_nothing(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = day(&stage);
    let backup = Backup::of(&stage.tenant);
    here.ask(
        "UPDATE items SET a = 'of the day' WHERE id <> 'i7'; DELETE FROM items WHERE id = 'i100'",
    );
    here.sync().ok();
    there
        .ask("UPDATE items SET b = 'there' WHERE id = 'i9'; INSERT INTO items (id) VALUES ('new')");
    there.sync().ok();
    here.sync().ok();
    let before = here.rows();
    backup.put_back(&stage.tenant);
    stage
        .tenant
        .ask("UPDATE items SET b = 'after' WHERE id = 'i7'");
    here.sync().ok();
    stage.assert_equal(&here);
    assert_eq!(here.ask("SELECT b FROM items WHERE id = 'i7'"), "after");
    let lines = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with("i7|"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&before), lines(&here.rows()));
    there.sync().ok();
    stage.assert_equal(&there);
}

pub(super) fn a_damaged_large_value_is_repaired(place: &Place) {
    let mut own = place.own_server();
    let served = Served::by(&own);
    let stage = Stage::at(place, place.postgres(), served, ITEMS);
    let here = stage.side("here");
    here.ask("INSERT INTO items (id, a) SELECT 'large', string_agg(md5(i::text), '') FROM generate_series(1, 60000) i");
    here.push().ok();
    done(own.server.stop());
    flip(&own.data);
    place.operator(&own.data, &["verify"]).exits(5);
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    // No file has it: the copy is in the workspace's own store.
    let repaired = here.call(&["verify"]).ok().says("\"repaired\"");
    assert!(repaired.json()["verification"]["repaired"].as_u64() > Some(0));
    here.call(&["verify"]).ok().says("\"sound\"");
    let late = stage.side("late");
    late.pull().ok();
    stage.assert_equal(&late);
}
