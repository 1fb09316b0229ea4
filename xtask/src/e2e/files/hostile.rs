//! Trees that are not what they seem.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, os::unix::net::UnixListener};

use super::{
    super::trees::{self, assert_same},
    Place,
};

pub(super) fn a_linked_directory_is_not_followed(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    // In the target, a directory of the tree becomes a link out of it.
    let outside = place.directory().join("outside");
    fs::create_dir(&outside).expect("create a directory");
    fs::write(outside.join("triage.yaml"), "belongs to somebody else\n").expect("write a file");
    trees::remove(&there.services(), "agents");
    trees::link(&there.services(), "agents", &outside);
    trees::write(
        &here.services(),
        "agents/triage.yaml",
        "name: triage\nversion: 2\n",
    );
    trees::write(&here.services(), "agents/planted.yaml", "planted\n");
    here.push().ok();
    let before = trees::traces(&outside);
    let answer = there.pull();
    assert_ne!(answer.code, 0, "{}", answer.stdout);
    assert_ne!(answer.code, 70, "{}", answer.stderr);
    trees::assert_untouched(&outside, &before);
    // Nor does a push take what is behind the link.
    let pushed = there.push();
    assert!(!pushed.stdout.contains("belongs to somebody else"));
    trees::assert_untouched(&outside, &before);
}

pub(super) fn what_is_refused_is_named(place: &Place) {
    let (here, there) = place.pair();
    let services = here.services();
    trees::sample(&services);
    trees::link(&services, "agents/outside.yaml", "../../../outside.yaml");
    trees::link(&services, "agents/absolute.yaml", "/etc/hostname");
    trees::link(&services, "agents/loop", ".");
    let _socket = UnixListener::bind(services.join("config/control.sock")).expect("bind a socket");
    let odd = OsStr::from_bytes(b"caf\xe9.md");
    fs::write(services.join("content").join(odd), "latin 1").expect("write a file");
    fs::write(
        services.join("content/two\nlines.md"),
        "a name of two lines",
    )
    .expect("write a file");
    let pushed = here.push();
    for name in [
        "agents/outside.yaml",
        "agents/absolute.yaml",
        "config/control.sock",
        "caf",
        "two",
    ] {
        assert!(
            pushed.stdout.contains(name),
            "`{name}` is not named as refused\n{}{}",
            pushed.stdout,
            pushed.stderr
        );
    }
    assert!(pushed.number("items_skipped") >= 5, "{}", pushed.stdout);
    there.pull().ok();
    for name in [
        "agents/outside.yaml",
        "agents/absolute.yaml",
        "config/control.sock",
        "content/two\nlines.md",
    ] {
        assert!(
            there.services().join(name).symlink_metadata().is_err(),
            "{name} travelled"
        );
    }
    assert_eq!(
        trees::read(&there.services(), "agents/triage.yaml"),
        "name: triage\nversion: 1\n"
    );
}

pub(super) fn secrets_stay_home(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    trees::write(
        &here.services(),
        "profiles/dev.secrets.env",
        "API_KEY=abcdefgh12345678\n",
    );
    trees::write(&here.services(), "config/.env", "PASSWORD=hunter2\n");
    trees::write(
        &here.services(),
        "config/server.key",
        format!(
            "-----BEGIN {} KEY-----\nMC4CAQ\n-----END {} KEY-----\n",
            "PRIVATE", "PRIVATE"
        ),
    );
    let pushed = here.push();
    for name in [
        "profiles/dev.secrets.env",
        "config/.env",
        "config/server.key",
    ] {
        assert!(
            pushed.stdout.contains(name),
            "`{name}` is not named\n{}",
            pushed.stdout
        );
    }
    there.pull().ok();
    for name in [
        "profiles/dev.secrets.env",
        "config/.env",
        "config/server.key",
    ] {
        assert!(!there.services().join(name).exists(), "{name} travelled");
    }
}

pub(super) fn what_shows_a_key_stays_home(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    let key = format!(
        "-----BEGIN {} KEY-----\n{}\n-----END {} KEY-----\n",
        "PRIVATE",
        "MC4CAQAwBQYDK2VwBCIEIHc4".repeat(2),
        "PRIVATE"
    );
    trees::write(&here.services(), "agents/notes.md", format!("mine:\n{key}"));
    trees::write(&here.services(), "agents/about.md", "no key yet\n");
    let pushed = here.push().ok().json();
    assert_eq!(pushed["errors"][0]["path"], "agents/notes.md");
    // A file that both sides have keeps its last version there.
    trees::write(&here.services(), "agents/about.md", key);
    here.push().ok().says("agents/about.md");
    there.pull().ok();
    assert!(!there.services().join("agents/notes.md").exists());
    assert_eq!(
        trees::read(&there.services(), "agents/about.md"),
        "no key yet\n"
    );
    // Whoever means it says so.
    let config = trees::read(here.root(), "sync.toml");
    let config = config.replace(
        "[remote]",
        "[files]\nallow_secrets = [\"agents/notes.md\"]\n\n[remote]",
    );
    trees::write(here.root(), "sync.toml", config);
    here.push().ok();
    there.pull().ok();
    assert!(there.services().join("agents/notes.md").exists());
}

pub(super) fn an_emptied_tree_is_not_pushed_by_accident(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    let kept = trees::nodes(&there.services());
    fs::remove_dir_all(here.services()).expect("remove the tree");
    let refused = here.push();
    assert_ne!(
        refused.code, 0,
        "a missing tree was pushed as empty\n{}",
        refused.stdout
    );
    assert_ne!(refused.code, 70, "{}", refused.stderr);
    fs::create_dir(here.services()).expect("create the tree");
    let refused = here.push();
    assert_ne!(
        refused.code, 0,
        "an empty tree was pushed\n{}",
        refused.stdout
    );
    there.pull().ok();
    assert_eq!(kept, trees::nodes(&there.services()));
    // What is gone by mistake comes back by a pull into a fresh workspace.
    let token = place.token(place.tenant(), "read");
    let fresh = place.workspace("fresh", &token);
    fresh.pull().ok();
    assert_same(&there.services(), &fresh.services());
}
