//! Lessons about who may have which rows, and what is believed.

use std::{fs, path::Path};

use super::{
    super::scenario::Place,
    stage::{DEFAULTS, ITEMS, Served, Side, Stage},
};

pub(super) fn lesson_26_rows_are_only_for_their_tenant(place: &Place) {
    let stage = Stage::new(place, ITEMS);
    let here = stage.side("here");
    here.ask("INSERT INTO items (id, a) VALUES ('i', 'secret of one tenant')");
    let snapshot = here.push().ok().text("snapshot");
    let other = format!("{}-other", place.tenant());
    place
        .operator(&stage.served.data, &["tenant", "create", &other])
        .ok();
    let foreign = place.token(&other, "write");
    let reader = place.token(place.tenant(), "read");
    let thief = stage.side("thief");
    thief.ask("INSERT INTO items (id) VALUES ('forged')");
    let before = stage.rows();
    for (token, verbs) in [
        ("wrong", &["push", "pull", "sync", "status"][..]),
        (&foreign, &["push", "pull", "sync", "status"]),
    ] {
        for verb in verbs {
            let refused = thief.workspace.with_token(token).call(&[verb, "database"]);
            let refused = refused.exits(6);
            assert!(!refused.stdout.contains("secret of"), "{}", refused.stdout);
        }
    }
    // A reader reads, and no more; and what another tenant names is not this tenant's.
    thief.ask("DELETE FROM items");
    thief
        .workspace
        .with_token(&reader)
        .call(&["pull", "database"])
        .ok();
    thief.ask("UPDATE items SET a = 'forged'");
    thief
        .workspace
        .with_token(&reader)
        .call(&["push", "database"])
        .exits(6);
    let toml = thief.workspace.root().join("sync.toml");
    let text = fs::read_to_string(&toml).expect("read sync.toml");
    let line = format!("tenant = \"{}\"", place.tenant());
    super::stage::write(
        &toml,
        &text.replace(&line, &format!("tenant = \"{other}\"")),
    );
    let stranger = thief.workspace.with_token(&foreign);
    let refused = stranger.call(&["diff", &snapshot, "database"]).exits(2);
    assert!(!refused.stdout.contains("secret of"), "{}", refused.stdout);
    assert_eq!(before, stage.rows());
}

pub(super) fn lesson_27_what_was_tampered_with_is_refused(place: &Place) {
    let own = place.own_server();
    let served = Served::by(&own);
    let stage = Stage::at(place, place.postgres(), served, ITEMS);
    let here = stage.side("first");
    here.ask(
        "INSERT INTO items (id, a) SELECT 'i' || i, md5(i::text) FROM generate_series(1, 500) i",
    );
    here.push().ok();
    // Somebody edits the packs of the tenant: whoever reads them sees that, and takes nothing.
    let packs = packs(&own.data);
    assert!(!packs.is_empty(), "there are packs");
    for pack in &packs {
        let mut bytes = fs::read(pack).expect("read a pack");
        let middle = bytes.len() / 2;
        bytes[middle..]
            .iter_mut()
            .step_by(97)
            .for_each(|byte| *byte ^= 0x20);
        fs::write(pack, bytes).expect("write a pack");
    }
    let there = stage.side("second");
    let refused = there.pull();
    assert!([1, 4, 5].contains(&refused.code), "{refused:?}");
    assert_eq!(there.ask("SELECT count(*) FROM items"), "0");

    // Likewise what a workspace keeps for itself.
    for pack in self::packs(&here.workspace.root().join(".sync")) {
        let mut bytes = fs::read(&pack).expect("read a pack");
        bytes
            .iter_mut()
            .skip(40)
            .step_by(53)
            .for_each(|byte| *byte ^= 0x04);
        fs::write(pack, bytes).expect("write a pack");
    }
    let before = (here.rows(), stage.rows());
    here.ask("UPDATE items SET n = 1 WHERE id = 'i1'");
    here.push();
    assert_eq!(before.1, stage.rows(), "what cannot be proved was stored");
}

/// The files of a store that hold objects.
fn packs(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("read a directory") {
        let path = entry.expect("read a directory").path();
        if path.is_dir() {
            found.extend(packs(&path));
        } else if path.components().any(|part| part.as_os_str() == "packs") {
            found.push(path);
        }
    }
    found
}

pub(super) fn lesson_28_roles_do_not_travel(place: &Place) {
    let stage = Stage::new(place, DEFAULTS);
    let (here, there) = (stage.side("here"), stage.side("there"));
    let roles = |side: &Side<'_>| side.ask("SELECT roles FROM users ORDER BY id");
    here.ask("INSERT INTO users (id, name, email, roles) VALUES ('u', 'user', 'u@example.org', '{admin}')");
    here.push().ok();
    there.pull().ok();
    assert_eq!(stage.tenant.ask("SELECT roles FROM users"), "{}");
    assert_eq!(roles(&there), "{}");
    // Neither does a change of them count as one, nor does another change take them away.
    here.ask("UPDATE users SET roles = '{admin,root}'");
    assert_eq!(here.standing(), "in_sync");
    there.ask("UPDATE users SET roles = '{guest}', full_name = 'User'");
    there.sync().ok();
    here.sync().ok();
    assert_eq!(here.ask("SELECT full_name FROM users"), "User");
    assert_eq!(roles(&here), "{admin,root}");
    assert_eq!(roles(&there), "{guest}");
    assert_eq!(stage.tenant.ask("SELECT roles FROM users"), "{}");
    // Nor are they in what is shown of the history.
    let shown = here.call(&["diff", "database"]).ok();
    assert!(!shown.stdout.contains("admin"), "{}", shown.stdout);
}
