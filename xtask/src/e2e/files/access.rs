//! Who may do what: tokens, tenants, certificates.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, process::Stdio};

use super::{
    super::{
        scenario::done,
        trees::{self, assert_same},
    },
    Place,
};
use crate::certificates;

pub(super) fn a_wrong_token_is_denied(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    trees::sample(&here.services());
    let mut wrong = token.clone();
    let last = if wrong.pop() == Some('a') { 'b' } else { 'a' };
    wrong.push(last);
    for guess in [wrong.as_str(), "nonsense", &token[..token.len() - 4]] {
        here.with_token(guess).push().exits(6);
        here.with_token(guess).pull().exits(6);
    }
    here.push().ok();
}

pub(super) fn an_expired_token_is_denied(place: &Place) {
    let good = place.create_tenant();
    let arguments = [
        "token",
        "create",
        "--tenant",
        place.tenant(),
        "--scope",
        "write",
        "--expires",
        "0d",
    ];
    let expired = place.operator(place.data(), &arguments).ok().text("token");
    let here = place.workspace("here", &good);
    trees::sample(&here.services());
    let denied = here.with_token(&expired).push().exits(6);
    let wrong = here.with_token("nonsense").push().exits(6);
    assert_eq!(
        denied.json()["errors"][0]["code"],
        wrong.json()["errors"][0]["code"],
        "a caller is not told why"
    );
    here.push().ok();
}

pub(super) fn a_revoked_token_is_denied(place: &Place) {
    let good = place.create_tenant();
    let created = place
        .operator(
            place.data(),
            &[
                "token",
                "create",
                "--tenant",
                place.tenant(),
                "--scope",
                "write",
            ],
        )
        .ok();
    let (id, token) = (created.text("id"), created.text("token"));
    let here = place.workspace("here", &good);
    trees::sample(&here.services());
    here.with_token(&token).push().ok();
    let list = place
        .operator(place.data(), &["token", "list", "--tenant", place.tenant()])
        .ok()
        .says(&id);
    assert!(!list.stdout.contains(&token), "a list shows tokens");
    place.operator(place.data(), &["token", "revoke", &id]).ok();
    here.with_token(&token).pull().exits(6);
    here.pull().ok();
}

pub(super) fn a_token_reaches_only_its_tenant(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    trees::sample(&here.services());
    here.push().ok();
    let other = format!("{}-other", place.tenant());
    place
        .operator(place.data(), &["tenant", "create", &other])
        .ok();
    let foreign = place.token(&other, "admin");
    let there = place.workspace("there", &foreign);
    let existing = there.pull().exits(6);
    // What does not exist is told in the same words as what belongs to somebody else.
    let path = there.root().join("sync.toml");
    let text = fs::read_to_string(&path).expect("read sync.toml");
    fs::write(&path, text.replace(place.tenant(), "no-such-tenant")).expect("write sync.toml");
    let absent = there.pull().exits(6);
    assert_eq!(
        existing.json()["errors"][0]["code"],
        absent.json()["errors"][0]["code"]
    );
    assert!(trees::nodes(&there.services()).is_empty());
}

pub(super) fn a_token_to_read_cannot_push(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    trees::sample(&here.services());
    here.push().ok();
    let there = place.workspace("there", &place.token(place.tenant(), "read"));
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    trees::write(&there.services(), "agents/triage.yaml", "mine now\n");
    there.push().exits(6);
    assert_eq!(here.pull().ok().number("items_synced"), 0);
}

pub(super) fn a_wrong_authority_is_refused(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    trees::sample(&here.services());
    let other = place.directory().join("other");
    fs::create_dir(&other).expect("create a directory");
    let stranger = done(certificates::make(&other));
    let path = here.root().join("sync.toml");
    let right = fs::read_to_string(&path).expect("read sync.toml");
    let known = place.certificates().authority.display().to_string();
    let text = right.replace(&known, &stranger.authority.display().to_string());
    fs::write(&path, text).expect("write sync.toml");
    here.push().exits(5);
    // Without an authority of its own, the machine's do not know this server either.
    let without: Vec<&str> = right
        .lines()
        .filter(|line| !line.starts_with("ca_file"))
        .collect();
    let without = without.join("\n");
    fs::write(&path, without).expect("write sync.toml");
    here.push().exits(5);
    fs::write(&path, right).expect("write sync.toml");
    here.push().ok();
}

pub(super) fn a_login_is_kept_for_its_owner_alone(place: &Place) {
    let token = place.create_tenant();
    let here = place.workspace("here", &token);
    trees::sample(&here.services());
    let without = place.cli().within(here.root());
    without.call(&["push", "files"]).exits(6);
    let login = |token: &str| {
        let mut child = without
            .command(&["login"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run sync-cli");
        let mut stdin = child.stdin.take().expect("a pipe");
        writeln!(stdin, "{token}").expect("write a token");
        drop(stdin);
        child.wait().expect("wait for sync-cli").code()
    };
    assert_ne!(
        login("sync_no_such_token"),
        Some(0),
        "a wrong token was kept"
    );
    without.call(&["push", "files"]).exits(6);
    assert_eq!(login(&token), Some(0));
    without.call(&["push", "files"]).ok();
    let home = place.directory().join("home");
    let holders: Vec<_> = trees::nodes(&home)
        .into_keys()
        .map(|path| home.join(path))
        .filter(|path| has(&fs::read(path).unwrap_or_default(), token.as_bytes()))
        .collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    let mode = fs::metadata(&holders[0])
        .expect("stat")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

pub(super) fn tokens_are_not_stored_or_logged(place: &Place) {
    let own = place.own_server();
    trees::sample(&own.workspace.services());
    own.workspace.push().ok();
    own.workspace
        .with_token("a-wrong-token-in-the-log")
        .push()
        .exits(6);
    done(own.server.stop());
    for root in [own.data.as_path(), &own.workspace.root().join(".sync")] {
        for path in trees::nodes(root).into_keys() {
            let bytes = fs::read(root.join(&path)).unwrap_or_default();
            assert!(
                !has(&bytes, own.token.as_bytes()),
                "{} has a token",
                path.display()
            );
        }
    }
    let log = fs::read(place.directory().join("server.log")).expect("read the log");
    assert!(!has(&log, own.token.as_bytes()), "the log has a token");
    assert!(
        !has(&log, b"a-wrong-token-in-the-log"),
        "the log has a guess"
    );
    let mode = fs::metadata(&own.data).expect("stat").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may read the server's data");
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
