//! History, status, and what a new user sees first.

use std::{fs, process::Command};

use super::{
    super::trees::{self, assert_same},
    Place,
};
use crate::repository;

pub(super) fn the_example_goes_to_its_embedded_tenant(place: &Place) {
    let copy = place.directory().join("example");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(repository::root().join("docs/example"))
        .arg(&copy)
        .status()
        .expect("run cp");
    assert!(copied.success());
    // A copy of a repository in which somebody tried it out has state; a fresh clone has none.
    drop(fs::remove_dir_all(copy.join(".sync")));
    let example = place.cli().within(&copy);
    let first = example.call(&["push", "files"]).ok();
    assert!(first.number("items_synced") > 20, "{}", first.stdout);
    assert_eq!(first.number("items_skipped"), 0, "{}", first.stdout);
    let again = example.call(&["push", "files"]).ok();
    assert_eq!(again.number("items_synced"), 0, "{}", again.stdout);
    assert_eq!(again.number("requests"), 1, "{}", again.stdout);
    let snapshot = first.text("snapshot");
    example.call(&["log"]).ok().says(&snapshot[..7]);
    example
        .call(&["show", &snapshot])
        .ok()
        .says("agents/triage.yaml");
    example.call(&["status"]).ok().says("in_sync");

    // A second workspace on the same embedded tenant gets the same tree.
    let second = place.directory().join("second");
    let tenant = copy.join(".sync/tenant");
    super::super::cli::write_workspace(
        &second,
        &format!("embedded:{}", tenant.display()),
        "example",
        None,
    );
    place.cli().within(&second).call(&["pull", "files"]).ok();
    assert_same(&copy.join("services"), &second.join("services"));
}

pub(super) fn history_is_kept_and_shown(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    let first = here.push().ok().text("snapshot");
    trees::write(
        &here.services(),
        "agents/triage.yaml",
        "name: triage\nversion: 2\n",
    );
    let second = here.push().ok().text("snapshot");
    assert_ne!(first, second);
    let log = here.call(&["log"]).ok();
    log.says(&first[..7]).says(&second[..7]);
    here.call(&["diff", &first, &second])
        .ok()
        .says("agents/triage.yaml");
    here.call(&["show", &first[..12]]).ok().says(&first[..7]);
    // A workspace that never had them shows them, too.
    there.call(&["log"]).ok().says(&first[..7]);
    there.call(&["show", "0000000000"]).exits(2);
}

pub(super) fn status_tells_who_is_ahead(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    here.call(&["status", "--exit-code"])
        .exits(0)
        .says("in_sync");
    trees::write(&here.services(), "agents/triage.yaml", "edited here\n");
    here.call(&["status", "--exit-code"])
        .exits(10)
        .says("local_ahead");
    here.call(&["diff"]).ok().says("agents/triage.yaml");
    here.push().ok();
    there
        .call(&["status", "--exit-code"])
        .exits(10)
        .says("cloud_ahead");
    trees::write(&there.services(), "config/app.yaml", "edited there\n");
    there
        .call(&["status", "--exit-code"])
        .exits(10)
        .says("diverged");
    there.call(&["status"]).ok();
    // Having looked takes nothing away from having it.
    there.pull().ok();
    assert_eq!(
        trees::read(&there.services(), "agents/triage.yaml"),
        "edited here\n"
    );
}

pub(super) fn doctor_is_content(place: &Place) {
    let (here, _) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    here.call(&["doctor"]).ok();
    here.call(&["completions", "bash"]).ok().says("push");
    here.call(&["no-such-verb"]).exits(2);
    here.call(&["push", "files", "--no-such-flag"]).exits(2);
    // A workspace is what `init` makes, and it is made once.
    let fresh = place.directory().join("fresh");
    fs::create_dir(&fresh).expect("create a directory");
    let cli = place.cli().within(&fresh);
    cli.call(&["init"]).ok();
    assert!(fresh.join("sync.toml").is_file());
    assert!(fresh.join("services").is_dir());
    let text = trees::read(&fresh, "sync.toml");
    cli.call(&["init"]);
    assert_eq!(
        text,
        trees::read(&fresh, "sync.toml"),
        "a second init rewrote sync.toml"
    );
}
