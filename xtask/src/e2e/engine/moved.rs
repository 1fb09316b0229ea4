//! A tenant moves to another server, by a copy of its data directory: who knew it goes on there, and nobody else is taken for it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::super::{
    cli::Answer,
    daemon::Daemon,
    files::watching::wait_until,
    rows::stage::{ITEMS, Served, Stage, over_tls},
    scenario::{OwnServer, Place, Workspace, done},
    server::Server,
    trees::{self, write},
};

/// What a command says of files: how they stand, and how many requests it took.
#[track_caller]
fn status(workspace: &Workspace) -> (Value, u64, Answer) {
    let answer = workspace.call(&["status", "files"]).ok();
    let standing = answer.json()["files"]["standing"].clone();
    let requests = answer.number("requests");
    (standing, requests, answer)
}

#[track_caller]
fn stands(workspace: &Workspace, standing: &str, requests: u64) -> Answer {
    let (found, made, answer) = status(workspace);
    assert_eq!((found, made), (json!(standing), requests));
    answer
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("list a directory");
        let kind = entry.file_type().expect("look at a file");
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}

fn toml(workspace: &Workspace) -> String {
    trees::read(workspace.root(), "sync.toml")
}

/// A server with a copy of what another one has, which says so.
struct Moved {
    server: Server,
    url: String,
}

impl Moved {
    #[track_caller]
    fn from(place: &Place<'_>, old: &mut OwnServer) -> Self {
        // As long as it takes to copy, nobody is there.
        let stand_in = place.start(&place.directory().join("nobody"));
        let stopped = std::mem::replace(&mut old.server, stand_in);
        done(stopped.stop());
        let data = place.directory().join("new");
        copy(&old.data, &data);
        let server = place.start(&data);
        let url = over_tls(server.address());
        let stand_in = std::mem::replace(&mut old.server, place.start(&old.data));
        done(stand_in.stop());
        let mut words = vec!["tenant", "moved", "--to", &url];
        words.extend(["--tenant", place.tenant()]);
        place.operator(&old.data, &words).ok();
        old.proxy.retarget(old.server.address());
        Self { server, url }
    }
}

/// The base, what undo brings back, and what was saved meanwhile are as they were; a colleague who never followed is recognised.
pub(super) fn a_tenant_that_moves_is_followed(place: &Place) {
    let mut old = place.own_server();
    let here = old.workspace.clone();
    let url = over_tls(old.proxy.address());
    let there = place.workspace_in(&place.directory().join("there"), &url, &old.token);
    let late = place.workspace_in(&place.directory().join("late"), &url, &old.token);
    write(&here.services(), "a.txt", "one\n");
    write(&here.services(), "b.txt", "one\n");
    here.push().ok();
    // The first command meets the tenant; no other costs anything.
    stands(&here, "in_sync", 1);
    for workspace in [&there, &late] {
        workspace.pull().ok();
        stands(workspace, "in_sync", 1);
    }
    // A key that the old one vouches for is proved once.
    place
        .operator(
            &old.data,
            &["identity", "rotate", "--tenant", place.tenant()],
        )
        .ok();
    stands(&here, "in_sync", 2);
    stands(&here, "in_sync", 1);
    write(&here.services(), "a.txt", "two\n");
    here.push().ok();
    there.pull().ok();

    let new = Moved::from(place, &mut old);
    let new_url = new.url.clone();

    let before = toml(&here);
    write(&here.services(), "b.txt", "two\n");
    let followed = stands(&here, "local_ahead", 3)
        .says("has moved")
        .says(&new_url);
    assert!(
        followed.stderr.contains("remote set-url"),
        "{}",
        followed.stderr
    );
    let quiet = stands(&here, "local_ahead", 1);
    assert!(!quiet.stderr.contains("has moved"), "{}", quiet.stderr);
    here.push().ok();
    assert_eq!(toml(&here), before);
    // A push is followed, too, and so is what undo brings back.
    write(&there.services(), "c.txt", "c\n");
    there.call(&["undo"]).ok();
    assert_eq!(trees::read(&there.services(), "a.txt"), "one\n");
    there
        .call(&["sync", "files", "--on-conflict", "theirs"])
        .ok();

    // For good.
    here.call(&["remote", "set-url", &new_url]).ok();
    assert_eq!(toml(&here), before.replace(&url, &new_url));
    here.pull().ok();
    stands(&here, "in_sync", 1);
    assert_eq!(trees::read(&here.services(), "c.txt"), "c\n");
    // Who gets that from a colleague is known by the tenant's key, which is asked for once.
    fs::write(
        late.root().join("sync.toml"),
        toml(&late).replace(&url, &new_url),
    )
    .expect("write sync.toml");
    write(&late.services(), "d.txt", "d\n");
    let (_, requests, answer) = status(&late);
    assert_ne!(
        answer.json()["files"]["base"],
        Value::Null,
        "{}",
        answer.stdout
    );
    late.call(&["sync", "files"]).ok();
    assert_eq!(
        requests,
        2 + u64::from(answer.json()["files"]["standing"] != "in_sync")
    );
    assert_eq!(trees::read(&late.services(), "c.txt"), "c\n");

    // And back again: who was told otherwise names the address himself.
    place
        .operator(
            &old.data,
            &["tenant", "moved", "--back", "--tenant", place.tenant()],
        )
        .ok();
    done(new.server.stop());
    there.call(&["status", "files"]).exits(4);
    there.call(&["remote", "set-url", &url]).ok();
    there.call(&["status", "files"]).ok();
}

/// Rows, too, have the base that they had, with the tenant's database beside the new server; a choice that is open stays so.
pub(super) fn what_a_database_agreed_on_moves_along(place: &Place) {
    let mut old = place.own_server();
    let stage = Stage::at(place, place.postgres(), Served::by(&old), ITEMS);
    let (here, there) = (stage.side("mine"), stage.side("yours"));
    here.ask("INSERT INTO items (id, a) SELECT 'i' || i, 'first' FROM generate_series(1, 50) i");
    here.track();
    here.push().ok();
    there.pull().ok();
    here.ask("UPDATE items SET a = 'of here' WHERE id IN ('i1', 'i2')");
    there.ask("UPDATE items SET a = 'of there' WHERE id IN ('i1', 'i3')");
    there.push().ok();
    here.sync().exits(3);
    let open = here.call(&["conflicts", "list"]).exits(3).json();
    let new = Moved::from(place, &mut old);

    let again = here.call(&["conflicts", "list"]).exits(3).json();
    assert_eq!(again["conflicts"], open["conflicts"], "{again:#}");
    let id = open["conflicts"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    here.call(&["conflicts", "resolve", &id, "ours"]).ok();
    here.sync().ok().says("has moved");
    let rows = "SELECT string_agg(a, ',' ORDER BY id) FROM items WHERE id IN ('i1', 'i2', 'i3')";
    assert_eq!(here.ask(rows), "of here,of here,of there");
    assert_eq!(stage.tenant.ask(rows), "of here,of here,of there");
    here.call(&["remote", "set-url", &new.url]).ok();
    there.sync().ok();
    stage.assert_equal(&here);
    stage.assert_equal(&there);
    here.undo().ok();
    assert_eq!(here.ask("SELECT a FROM items WHERE id = 'i3'"), "first");
}

/// It is neither started again nor told.
pub(super) fn a_daemon_follows_its_tenant(place: &Place) {
    let mut old = place.own_server();
    let here = old.workspace.clone();
    write(&here.services(), "a.txt", "one\n");
    let daemon = Daemon::start(&here, place.directory(), "here");
    daemon.until("watching");
    let new = Moved::from(place, &mut old);
    write(&here.services(), "a.txt", "two\n");
    let there = place.workspace_in(&place.directory().join("there"), &new.url, &old.token);
    let arrives = |text: &str| {
        wait_until(text, || {
            there.pull();
            let path = there.services().join("a.txt");
            fs::read_to_string(path).is_ok_and(|found| found == text)
        });
    };
    arrives("two\n");
    // A key of the new place, too.
    let words = ["identity", "rotate", "--tenant", place.tenant()];
    place.operator(&place.directory().join("new"), &words).ok();
    write(&here.services(), "a.txt", "three\n");
    arrives("three\n");
    daemon.ends_at_once();
    done(old.server.stop());
    stands(&here, "in_sync", 1);
}

/// Somebody else at an address, or behind a pointer, is refused with both keys, and nothing goes to him.
pub(super) fn nobody_else_is_taken_for_a_tenant(place: &Place) {
    let old = place.own_server();
    let here = old.workspace.clone();
    write(&here.services(), "a.txt", "one\n");
    here.push().ok();
    let data = place.directory().join("impostor");
    let impostor = place.start(&data);
    place
        .operator(&data, &["tenant", "create", place.tenant()])
        .ok();
    let words = [
        "token",
        "create",
        "--scope",
        "admin",
        "--tenant",
        place.tenant(),
    ];
    let token = place.operator(&data, &words).ok().text("token");
    let key = |data: &Path| {
        let words = ["identity", "show", "--tenant", place.tenant()];
        place.operator(data, &words).ok().text("key")
    };
    let (known, other) = (key(&old.data), key(&data));
    let url = over_tls(impostor.address());
    let fooled = here.with_token(&token);
    let before = toml(&here);

    let refused = |answer: Answer| {
        let answer = answer.exits(5).says("engine/other-tenant");
        answer.says(&known).says(&other);
    };
    refused(fooled.call(&["remote", "set-url", &url]));
    // The old server is told to lead there: it signs, and who is there cannot.
    let moved = ["tenant", "moved", "--to", &url, "--tenant", place.tenant()];
    place.operator(&old.data, &moved).ok();
    let known_as = trees::read(here.root(), ".sync/identities.json");
    write(&here.services(), "a.txt", "two\n");
    // A token for each: the one for the new address is in the file.
    let mut command = here.cli().command(&["push", "files"]);
    command.env_remove("SYNC_TOKEN");
    let home = place.directory().join("home/.config/sync");
    fs::create_dir_all(&home).expect("make a directory");
    let name = |url: &str| format!("{url} {}", place.tenant());
    let address = over_tls(old.proxy.address());
    let tokens = json!({"tokens": {name(&address): old.token, name(&url): token}});
    fs::write(home.join("credentials.json"), tokens.to_string()).expect("write credentials");
    trees::chmod(&home, "credentials.json", 0o600);
    let output = command.output().expect("run sync-cli");
    refused(Answer {
        call: "push files".to_owned(),
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    });
    assert_eq!(trees::read(here.root(), ".sync/identities.json"), known_as);
    place
        .operator(
            &old.data,
            &["tenant", "moved", "--back", "--tenant", place.tenant()],
        )
        .ok();

    // Where he takes the old address over, nothing is sent to him.
    old.proxy.retarget(impostor.address());
    refused(fooled.call(&["push", "files"]));
    refused(fooled.call(&["pull", "files"]));
    let words = ["identity", "rotate", "--tenant", place.tenant()];
    place.operator(&data, &words).ok();
    let answer = fooled.call(&["status", "files"]).exits(5);
    answer.says("engine/other-tenant").says("remote trust");
    assert_eq!(toml(&here), before);

    // Unless a person says that he is right; then the two never met.
    let trusted = fooled.call(&["remote", "trust"]).ok().json();
    assert_eq!(trusted["known"], json!(known), "{trusted:#}");
    let status = fooled.call(&["status", "files"]).ok().json()["files"].clone();
    assert_eq!(status["base"], Value::Null, "{status:#}");
    assert_eq!(status["standing"], json!("local_ahead"), "{status:#}");
    fooled.call(&["push", "files"]).ok();
    old.proxy.retarget(old.server.address());
    refused_known(&here.call(&["status", "files"]), &known);
}

#[track_caller]
fn refused_known(answer: &Answer, known: &str) {
    assert_eq!(answer.code, 5, "{}{}", answer.stdout, answer.stderr);
    assert!(answer.stdout.contains(known) || answer.stderr.contains(known));
}
