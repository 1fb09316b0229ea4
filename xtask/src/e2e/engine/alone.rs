//! One of the two is not there, fails, or has to wait for a person: the other goes on.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{
    super::{
        rows::stage::{ITEMS, Side, Stage},
        scenario::Place,
    },
    all::{operation, save, snapshots, state},
};

pub(super) fn without_a_database_it_is_files(place: &Place) {
    let (here, there) = place.pair();
    std::fs::write(here.services().join("a.md"), "a\n").expect("write");
    let pushed = here.call(&["push"]).ok().json();
    assert_eq!(pushed["state"]["kind"], "completed", "{pushed:#}");
    assert_eq!(state(&pushed, "files"), "completed", "{pushed:#}");
    let database = &operation(&pushed, "database")["state"];
    assert_eq!(database["kind"], "not_started", "{pushed:#}");
    let reason = database["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no database is configured"), "{reason}");
    // It costs what files alone cost.
    std::fs::write(here.services().join("a.md"), "b\n").expect("write");
    let all = here.call(&["push"]).ok();
    std::fs::write(here.services().join("a.md"), "c\n").expect("write");
    let files = here.call(&["push", "files"]).ok();
    assert_eq!(all.number("requests"), files.number("requests"));
    assert_eq!(here.call(&["push"]).ok().number("requests"), 1);
    there.call(&["pull"]).ok();
    assert!(there.services().join("a.md").exists());
    assert_eq!(
        there.call(&["status"]).ok().json()["files"]["standing"],
        "in_sync"
    );
    there.call(&["watch", "all"]).exits(2).says("cli/watch-all");
    // A variable that another program wants is no database of ours.
    let answer = here
        .cli()
        .command(&["push"])
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .output()
        .expect("start");
    assert!(answer.status.success(), "{answer:?}");
    // A database whose address is not known here is told of, and no failure.
    let config = here.root().join("sync.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(
        &config,
        format!("{text}\n[database]\nurl_env = \"NO_SUCH_URL\"\n"),
    )
    .expect("write");
    let pushed = here.call(&["push"]).ok().json();
    let reason = operation(&pushed, "database")["state"]["reason"].to_string();
    assert!(reason.contains("NO_SUCH_URL"), "{pushed:#}");
}

pub(super) fn a_filter_leaves_rows(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    save(&here, "agents/a.md", "a\n");
    save(&here, "other/b.md", "b\n");
    here.ask("INSERT INTO items (id) VALUES ('i1')");
    let pushed = here.call(&["push", "--filter", "agents/"]).ok().json();
    assert_eq!(operation(&pushed, "files")["items_synced"], 1, "{pushed:#}");
    assert_eq!(state(&pushed, "database"), "not_started", "{pushed:#}");
    assert_eq!(stage.tenant.ask("SELECT count(*) FROM items"), "0");
    let rest = here.call(&["push"]).ok().json();
    assert_eq!(rest["items_synced"], 2, "{rest:#}");
    stage.assert_equal(&here);
}

/// Both changed; the rows fail with an exit code, the files do not. The second is that of `status` then.
#[track_caller]
fn only_files_go(side: &Side<'_>, [code, status]: [i32; 2]) {
    let before = snapshots(side);
    save(side, "a.md", &format!("{before}\n"));
    let pushed = side.call(&["push"]).exits(code).json();
    assert_eq!(pushed["success"], false, "{pushed:#}");
    assert_eq!(pushed["state"]["kind"], "partial", "{pushed:#}");
    assert_eq!(pushed["exit_code"], code, "{pushed:#}");
    assert_eq!(state(&pushed, "files"), "completed", "{pushed:#}");
    assert_eq!(state(&pushed, "database"), "failed", "{pushed:#}");
    let errors = operation(&pushed, "database")["errors"].as_array();
    assert_eq!(errors.map(Vec::len), Some(1), "{pushed:#}");
    assert_eq!(snapshots(side), before + 1);
    let status = side.call(&["status"]).exits(status).json();
    assert_eq!(status["files"]["standing"], "in_sync", "{status:#}");
}

pub(super) fn a_failing_database_leaves_files_pushed(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.ask("INSERT INTO items (id) VALUES ('i1')");
    here.set_url("postgres://nobody@127.0.0.1:1/none");
    only_files_go(&here, [4, 4]);
    // It comes back, and what it has goes then.
    here.set_url(&here.db.url());
    let pushed = here.call(&["push"]).ok().json();
    assert_eq!(
        operation(&pushed, "database")["items_synced"],
        1,
        "{pushed:#}"
    );
    stage.assert_equal(&here);
}

pub(super) fn a_failing_tenant_database_leaves_files_pushed(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.ask("INSERT INTO items (id) VALUES ('i1')");
    here.call(&["push"]).ok();
    here.ask("INSERT INTO items (id) VALUES ('i2')");
    // Its table is gone: it can neither be looked at nor written to.
    stage.tenant.ask("ALTER TABLE items RENAME TO gone");
    only_files_go(&here, [1, 1]);
    stage.tenant.ask("ALTER TABLE gone RENAME TO items");
    // It can be looked at and not written to: the one push of both is refused, and files go alone.
    here.call(&["status"]).ok();
    stage.tenant.ask(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON sync.base FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    here.call(&["status"]).ok();
    only_files_go(&here, [1, 1]);
    stage.tenant.ask("DROP FUNCTION refuse() CASCADE");
    here.call(&["sync"]).ok();
    stage.assert_equal(&here);
}

pub(super) fn rows_set_aside_are_told(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    stage.tenant.ask("ALTER TABLE items ADD CHECK (n < 100)");
    here.ask("INSERT INTO items (id, n) VALUES ('good', 1), ('bad', 1000)");
    save(&here, "a.md", "a\n");
    let pushed = here.call(&["push"]).exits(1).json();
    assert_eq!(state(&pushed, "files"), "completed", "{pushed:#}");
    let rows = operation(&pushed, "database");
    assert_eq!(rows["state"]["kind"], "partial", "{pushed:#}");
    assert_eq!(rows["state"]["completed"], 1, "{pushed:#}");
    assert_eq!(rows["state"]["total"], 2, "{pushed:#}");
    assert_eq!(operation(&pushed, "files")["snapshot"], rows["snapshot"]);
    let status = here.call(&["status"]).ok().json();
    assert_eq!(status["files"]["standing"], "in_sync", "{status:#}");
    assert_eq!(status["database"]["standing"], "local_ahead", "{status:#}");
    stage
        .tenant
        .ask("ALTER TABLE items DROP CONSTRAINT items_n_check");
    here.call(&["push"]).ok();
    stage.assert_equal(&here);
}

pub(super) fn what_a_person_has_to_choose_stops_only_itself(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    save(&here, "a.md", "a\n");
    here.ask("INSERT INTO items (id, a, b) VALUES ('i1', 'x', 'x')");
    here.call(&["push"]).ok();
    there.call(&["pull"]).ok();

    save(&here, "a.md", "here\n");
    here.ask("UPDATE items SET a = 'here'");
    here.call(&["push"]).ok();
    save(&there, "a.md", "there\n");
    there.ask("UPDATE items SET b = 'there'");
    let synced = there.call(&["sync"]).exits(3).json();
    assert_eq!(state(&synced, "files"), "failed", "{synced:#}");
    assert_eq!(
        operation(&synced, "files")["conflicts"][0]["path"],
        "a.md",
        "{synced:#}"
    );
    assert_eq!(state(&synced, "database"), "completed", "{synced:#}");
    assert_eq!(there.ask("SELECT a || b FROM items"), "herethere");
    there.call(&["sync", "--on-conflict", "ours"]).ok();

    here.call(&["sync"]).ok();
    here.ask("UPDATE items SET a = 'one'");
    here.call(&["push"]).ok();
    there.ask("UPDATE items SET a = 'two'");
    save(&there, "b.md", "b\n");
    let synced = there.call(&["sync"]).exits(3).json();
    assert_eq!(state(&synced, "files"), "completed", "{synced:#}");
    assert_eq!(state(&synced, "database"), "failed", "{synced:#}");
    there.call(&["conflicts", "resolve", "all", "theirs"]).ok();
    there.call(&["sync"]).ok();
    here.call(&["sync"]).ok();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
}

/// `sync-cli push` on a terminal, where somebody types.
#[track_caller]
fn typed(side: &Side<'_>, words: &str, answer: &str) -> (i32, String) {
    let call = side.workspace.cli().command(&[]);
    let program = call.get_program().to_string_lossy().into_owned();
    let root = side.workspace.root().display().to_string();
    let mut command = Command::new("script");
    command
        .args(["-q", "-e", "-c"])
        .arg(format!("{program} -C {root} {words}"))
        .arg("/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (key, value) in call.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let mut child = command.spawn().expect("start `script`");
    let mut stdin = child.stdin.take().expect("its stdin");
    writeln!(stdin, "{answer}").expect("type");
    let output = child.wait_with_output().expect("wait");
    drop(stdin);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

pub(super) fn a_person_is_asked_once(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    save(&here, "a.md", "a\n");
    save(&here, "b.md", "b\n");
    here.ask("INSERT INTO items (id) SELECT 'i' || i FROM generate_series(1, 40) i");
    // What removes nothing just runs.
    let (code, said) = typed(&here, "push", "n");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("go on?"), "{said}");
    assert_eq!(snapshots(&here), 1);
    // More rows go than the guard lets go unasked.
    std::fs::remove_file(here.workspace.services().join("b.md")).expect("remove");
    here.ask("DELETE FROM items WHERE id <> 'i7'");
    let (code, said) = typed(&here, "push", "n");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("1 file is removed, 39 rows are removed: go on?"),
        "{said}"
    );
    assert!(
        said.contains("b.md") && said.contains("cli/declined"),
        "{said}"
    );
    assert_eq!(snapshots(&here), 1);
    here.call(&["push"]).exits(3).says("engine/empties");
    let (code, said) = typed(&here, "push", "y");
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("go on?").count(), 1, "{said}");
    stage.assert_equal(&here);
    here.ask("DELETE FROM items");
    let (code, said) = typed(&here, "push --yes", "");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("go on?"), "{said}");
    stage.assert_equal(&here);
    // Each alone asks, too, and so does what takes something back.
    here.ask("INSERT INTO items (id) VALUES ('i1'), ('i2')");
    save(&here, "c.md", "c\n");
    here.call(&["push"]).ok();
    let there = stage.side("there");
    there.call(&["pull"]).ok();
    std::fs::remove_file(here.workspace.services().join("c.md")).expect("remove");
    here.ask("DELETE FROM items WHERE id = 'i1'");
    let before = snapshots(&here);
    for (side, words, question) in [
        (&here, "push files", "1 file is removed: go on?"),
        (&here, "push database", "1 row is removed: go on?"),
        (&there, "pull files", "1 file is removed: go on?"),
        (&there, "pull database", "1 row is removed: go on?"),
        (&here, "sync files", "nothing changed"),
    ] {
        let (code, said) = typed(side, words, "n");
        let is_asked = question.ends_with('?');
        assert_eq!(code, i32::from(is_asked), "{words}: {said}");
        assert!(said.contains(question), "{words}: {said}");
        if is_asked {
            assert_eq!(typed(side, words, "y").0, 0, "{words}");
        }
    }
    assert_eq!(snapshots(&here), before + 2);
    save(&there, "d.md", "d\n");
    there.call(&["push"]).ok();
    here.call(&["pull"]).ok();
    let (code, said) = typed(&here, "undo", "n");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("1 file is removed: go on?"), "{said}");
}
