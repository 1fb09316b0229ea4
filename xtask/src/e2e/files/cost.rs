//! Cost follows what changed, and a plan that is only shown costs nothing.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use super::{
    super::{
        scenario::done,
        trees::{self, assert_same, noise},
    },
    Place,
};
use crate::proxy::Proxy;

pub(super) fn nothing_to_push_is_one_small_request(place: &Place) {
    let (here, _) = place.pair();
    trees::sample(&here.services());
    let first = here.push().ok();
    let again = here.push().ok();
    assert_eq!(again.number("requests"), 1, "{}", again.stdout);
    assert_eq!(again.number("items_synced"), 0, "{}", again.stdout);
    assert_eq!(again.json()["success"], true, "{}", again.stdout);
    assert_eq!(again.text("snapshot"), first.text("snapshot"));
    let bytes = again.number("bytes_sent") + again.number("bytes_received");
    assert!(bytes < 8_192, "{bytes} bytes with the TLS handshake");
}

pub(super) fn touched_files_are_not_sent(place: &Place) {
    let (here, _) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    // A fresh checkout has other times and the same bytes.
    let past = SystemTime::now() - Duration::from_hours(24 * 3650);
    for path in trees::nodes(&here.services()).into_keys() {
        let path = here.services().join(path);
        if path.is_file() {
            fs::File::options()
                .write(true)
                .open(path)
                .expect("open a file")
                .set_modified(past)
                .expect("set a time");
        }
    }
    let again = here.push().ok();
    assert_eq!(again.number("items_synced"), 0, "{}", again.stdout);
    assert_eq!(again.number("requests"), 1, "{}", again.stdout);
}

pub(super) fn a_lost_cache_is_no_removal(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    // A clone of the workspace without its private state knows nothing, and so agrees with the tenant.
    fs::remove_dir_all(here.root().join(".sync")).expect("remove .sync");
    let again = here.push().ok();
    assert_eq!(again.number("items_synced"), 0, "{}", again.stdout);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn an_insert_into_a_large_file_costs_little(place: &Place) {
    let (here, there) = place.pair();
    let mut bytes = noise(2, 16 << 20);
    trees::write(&here.services(), "web/asset.bin", &bytes);
    here.push().ok();
    there.pull().ok();
    let at = 5_000_000;
    bytes.splice(at..at, noise(3, 1024));
    trees::write(&here.services(), "web/asset.bin", &bytes);
    let pushed = here.push().ok();
    let sent = pushed.number("bytes_sent");
    assert!(
        sent < 300_000,
        "1 KiB inserted into 16 MiB sent {sent} bytes"
    );
    let pulled = there.pull().ok();
    let received = pulled.number("bytes_received");
    assert!(
        received < 300_000,
        "1 KiB inserted into 16 MiB received {received} bytes"
    );
    assert_same(&here.services(), &there.services());
}

pub(super) fn one_edit_in_a_large_tree_costs_little(place: &Place) {
    let (here, there) = place.pair();
    for number in 0..3_000 {
        trees::write(
            &here.services(),
            format!("content/{}/{number}.md", number % 60),
            format!("Page {number}\n"),
        );
    }
    here.push().ok();
    there.pull().ok();
    trees::write(&here.services(), "content/7/7.md", "Page 7, edited\n");
    let pushed = here.push().ok();
    assert_eq!(pushed.number("items_synced"), 1);
    assert!(
        pushed.number("requests") <= 2,
        "the head, then the push: {}",
        pushed.stdout
    );
    let sent = pushed.number("bytes_sent");
    assert!(sent < 8_192, "one edited file sent {sent} bytes");
    let pulled = there.pull().ok();
    assert_eq!(pulled.number("items_synced"), 1);
    assert_same(&here.services(), &there.services());
}

/// Bytes that do not compress, so that whatever is sent again is seen.
pub(super) fn small_edits_cost_what_they_change(place: &Place) {
    let (here, there) = place.pair();
    let path = |number: usize| format!("content/{}/{number}.md", number % 40);
    let text = |number: usize| noise(number as u64, 2_000 + number % 2_000);
    for number in 0..4_000 {
        trees::write(&here.services(), path(number), text(number));
    }
    here.push().ok();
    there.pull().ok();
    // One per cent: forty files of 3 KB, of which 50 bytes change and the rest moves.
    for number in (0..4_000).step_by(100) {
        let mut bytes = text(number);
        bytes.splice(700..740, noise(1 + number as u64, 50));
        trees::write(&here.services(), path(number), &bytes);
    }
    let pushed = here.push().ok();
    assert_eq!(pushed.number("items_synced"), 40);
    let bytes = pushed.number("bytes_sent") + pushed.number("bytes_received");
    assert!(bytes < 40_000, "the push took {bytes} bytes");
    assert!(
        pushed.number("requests") <= 3,
        "the head, the signatures, the push: {}",
        pushed.stdout
    );
    let pulled = there.pull().ok();
    assert_eq!(pulled.number("items_synced"), 40);
    let bytes = pulled.number("bytes_sent") + pulled.number("bytes_received");
    assert!(bytes < 20_000, "the pull took {bytes} bytes");
    assert_same(&here.services(), &there.services());
    // What the tenant made of it is whole: somebody new gets all of it.
    fs::remove_dir_all(there.services()).expect("remove the tree");
    fs::remove_dir_all(there.root().join(".sync")).expect("remove .sync");
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_large_tree_with_history_is_pulled_afresh(place: &Place) {
    let (here, there) = place.pair();
    let path = |number: usize| format!("dir-{:04}/file-{number:06}.md", number % 100);
    for number in 0..10_000 {
        trees::write(&here.services(), path(number), noise(number as u64, 300));
    }
    here.push().ok();
    // Nodes of later pushes stand in packs of their own, and name nodes of earlier ones.
    for step in [10_000, 100] {
        for number in (7..10_000).step_by(step) {
            trees::write(&here.services(), path(number), noise(step as u64, 200));
        }
        here.push().ok();
    }
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn the_bytes_reported_are_the_bytes_on_the_wire(place: &Place) {
    let token = place.create_tenant();
    let proxy = done(Proxy::start(place.server()));
    let here = place.workspace_at("here", proxy.address(), &token);
    trees::sample(&here.services());
    let pushed = here.push().ok();
    let passed = proxy.passed();
    // What TLS says goodbye with may or may not be counted.
    assert!(
        passed.sent.abs_diff(pushed.number("bytes_sent")) < 256,
        "{passed:?} {}",
        pushed.stdout
    );
    let received = pushed.number("bytes_received");
    assert!(
        passed.received.abs_diff(received) < 1_024,
        "{passed:?} {}",
        pushed.stdout
    );
}

pub(super) fn a_dry_run_changes_nothing(place: &Place) {
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
    let before = (trees::traces(here.root()), trees::traces(place.data()));
    let shown = here.call(&["push", "files", "--dry-run"]).ok();
    shown.says("agents/triage.yaml").says("config/app.yaml");
    trees::assert_untouched(here.root(), &before.0);
    trees::assert_untouched(place.data(), &before.1);

    here.push().ok();
    let before = (trees::traces(there.root()), trees::traces(place.data()));
    let shown = there.call(&["pull", "files", "--dry-run"]).ok();
    shown.says("agents/triage.yaml").says("config/app.yaml");
    trees::assert_untouched(there.root(), &before.0);
    trees::assert_untouched(place.data(), &before.1);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}
