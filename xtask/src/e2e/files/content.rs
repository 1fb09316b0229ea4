//! Whatever is in a tree arrives as it is.

use std::os::unix::fs::PermissionsExt as _;

use super::{
    super::trees::{self, assert_same, noise},
    Place,
};

pub(super) fn a_push_is_pulled_byte_for_byte(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    let pushed = here.push().ok();
    assert_eq!(pushed.json()["success"], true);
    assert_eq!(pushed.json()["operation"], "push files");
    assert_eq!(pushed.number("items_skipped"), 0);
    assert!(
        !pushed.stderr.contains('\r'),
        "a bar in a pipe: {}",
        pushed.stderr
    );
    let files = trees::nodes(&here.services())
        .values()
        .filter(|node| matches!(node, trees::Node::File { .. }))
        .count();
    assert_eq!(pushed.number("items_synced"), files as u64);
    let pulled = there.pull().ok();
    assert_eq!(pulled.text("snapshot"), pushed.text("snapshot"));
    assert_same(&here.services(), &there.services());
}

pub(super) fn edits_and_removals_travel(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    trees::write(
        &here.services(),
        "agents/triage.yaml",
        "name: triage\nversion: 2\n",
    );
    trees::remove(&here.services(), "config/app.yaml");
    trees::remove(&here.services(), "skills");
    trees::write(&here.services(), "agents/new.yaml", "name: new\n");
    let pushed = here.push().ok();
    // One edited, one new, three removed, and a directory that is empty now, which is something to keep.
    assert_eq!(pushed.number("items_synced"), 6, "{}", pushed.stdout);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    assert!(there.services().join("config").is_dir());
    assert!(!there.services().join("skills").exists());
    // And back: the other one edits, the first one pulls.
    trees::write(&there.services(), "agents/new.yaml", "name: newer\n");
    there.push().ok();
    here.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn renames_and_moves_travel(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    trees::rename(&here.services(), "agents/triage.yaml", "agents/intake.yaml");
    trees::rename(
        &here.services(),
        "web/picture.png",
        "assets/images/picture.png",
    );
    trees::rename(&here.services(), "content/blog", "content/journal");
    let pushed = here.push().ok();
    assert!(
        pushed.number("bytes_sent") < 20_000,
        "a moved picture of 40,000 bytes was sent again: {}",
        pushed.stdout
    );
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn executable_bits_travel(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    trees::chmod(&here.services(), "config/app.yaml", 0o755);
    trees::chmod(&here.services(), "skills/check/scripts/run.sh", 0o644);
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    let mode = there
        .services()
        .join("config/app.yaml")
        .metadata()
        .expect("stat")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o111,
        0o111,
        "may be run by everybody who may read it"
    );
}

pub(super) fn empty_files_and_directories_travel(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    trees::write(&here.services(), "config/empty.yaml", "");
    trees::directory(&here.services(), "templates/email/empty");
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    // A directory that is no longer empty, and one that becomes so.
    trees::write(&here.services(), "templates/email/empty/a.txt", "a");
    trees::remove(&here.services(), "config/empty.yaml");
    trees::remove(&here.services(), "config/app.yaml");
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_file_and_a_directory_change_places(place: &Place) {
    let (here, there) = place.pair();
    trees::write(&here.services(), "a", "a file");
    trees::write(&here.services(), "b/inside", "below");
    trees::write(&here.services(), "c", "stays");
    here.push().ok();
    there.pull().ok();
    trees::remove(&here.services(), "a");
    trees::remove(&here.services(), "b");
    trees::write(&here.services(), "a/inside", "below");
    trees::write(&here.services(), "b", "a file");
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn links_travel_as_links(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    trees::link(&here.services(), "agents/default.yaml", "triage.yaml");
    trees::link(&here.services(), "latest", "content/blog");
    trees::link(
        &here.services(),
        "content/dangling.md",
        "../config/not-yet.yaml",
    );
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    trees::remove(&here.services(), "agents/default.yaml");
    trees::link(&here.services(), "agents/default.yaml", "researcher.yaml");
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn long_names_and_deep_paths_travel(place: &Place) {
    let (here, there) = place.pair();
    let services = here.services();
    trees::write(
        &services,
        "n".repeat(255),
        "the longest name of one byte letters",
    );
    trees::write(&services, "ü".repeat(127), "254 bytes in 127 letters");
    let long = format!("{}/{}", "a".repeat(200), "b".repeat(200));
    trees::write(&services, &long, "a path of 401 bytes");
    let deep = vec!["d"; 500].join("/");
    trees::write(&services, format!("{deep}/leaf"), "500 directories down");
    trees::write(
        &services,
        "with space/and 'quotes' \"double\".txt",
        "quoted",
    );
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    trees::write(&services, format!("{deep}/leaf"), "changed");
    trees::remove(&services, &"a".repeat(200));
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_file_of_100_mib_travels(place: &Place) {
    let (here, there) = place.pair();
    trees::write(&here.services(), "web/large.bin", noise(1, 100 << 20));
    let pushed = here.push().ok();
    assert!(pushed.number("bytes_sent") >= 100 << 20);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn ignored_files_stay_here(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    trees::write(
        &here.services(),
        ".syncignore",
        "*.swp\n/build/\n!keep.swp\n",
    );
    trees::write(&here.services(), "agents/.triage.yaml.swp", "editor");
    trees::write(&here.services(), "agents/keep.swp", "wanted");
    trees::write(&here.services(), "build/out.bin", "made");
    here.push().ok();
    trees::write(&there.services(), "build/mine.bin", "made there");
    there.pull().ok();
    assert!(there.services().join("agents/keep.swp").exists());
    assert!(!there.services().join("agents/.triage.yaml.swp").exists());
    assert!(!there.services().join("build/out.bin").exists());
    assert_eq!(
        trees::read(&there.services(), "build/mine.bin"),
        "made there"
    );
}
