//! The suite `upkeep`: what is stored stays intact, and does not grow for ever.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    cli::Answer,
    scenario::{OwnServer, Place, Suite, done},
    trees::{self, assert_same, noise},
};

/// Every scenario.
pub(super) const SCENARIOS: Suite = &[
    (
        "collections_beside_pushes_lose_nothing",
        collections_beside_pushes_lose_nothing,
    ),
    (
        "a_branch_keeps_its_newest_snapshots",
        a_branch_keeps_its_newest_snapshots,
    ),
    (
        "a_flipped_byte_is_found_and_repaired",
        a_flipped_byte_is_found_and_repaired,
    ),
    (
        "damage_that_nobody_can_repair_is_named",
        damage_that_nobody_can_repair_is_named,
    ),
    (
        "a_damaged_private_store_is_fetched_again",
        a_damaged_private_store_is_fetched_again,
    ),
];

/// Calls `gc` of everything, without any grace.
#[track_caller]
fn collect(place: &Place, own: &OwnServer) -> Answer {
    place.operator(&own.data, &["gc", "--grace", "0s"]).ok()
}

#[track_caller]
fn keep_last(place: &Place, own: &OwnServer, count: &str) {
    let tenant = ["--tenant", place.tenant(), "--branch", "main"];
    let set = [&["retention", "set"][..], &tenant, &["--last", count]].concat();
    place.operator(&own.data, &set).ok();
    let show = [&["retention", "show"][..], &tenant].concat();
    let shown = place.operator(&own.data, &show).ok();
    assert_eq!(shown.json()["kept"]["retention"]["last"].to_string(), count);
}

/// How many bytes the packs below a store's directory have.
fn pack_bytes(store: &Path) -> u64 {
    packs(store)
        .iter()
        .map(|pack| fs::metadata(pack).expect("stat").len())
        .sum()
}

fn packs(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in fs::read_dir(store.join("packs")).expect("list a directory") {
        let dir = dir.expect("list a directory").path();
        for pack in fs::read_dir(dir).expect("list a directory") {
            found.push(pack.expect("list a directory").path());
        }
    }
    found
}

/// Flips a byte in the middle of every pack below a store's directory.
pub(super) fn flip(store: &Path) {
    for pack in packs(store) {
        let mut bytes = fs::read(&pack).expect("read a pack");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&pack, bytes).expect("write a pack");
    }
}

fn collections_beside_pushes_lose_nothing(place: &Place) {
    let own = place.own_server();
    keep_last(place, &own, "1");
    trees::sample(&own.workspace.services());
    own.workspace.push().ok();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut collections = 0;
            while !over.load(Ordering::Relaxed) {
                collect(place, &own);
                collections += 1;
            }
            collections
        });
        for number in 0..25 {
            // Every other push brings back what the one before had replaced.
            let turn = number % 2;
            trees::write(
                &own.workspace.services(),
                "web/big.bin",
                noise(turn, 700_000),
            );
            for file in 0..60 {
                let text = format!("file {file} at turn {turn}\n");
                trees::write(&own.workspace.services(), format!("many/{file}.md"), text);
            }
            own.workspace.push().ok();
        }
        over.store(true, Ordering::Relaxed);
        assert!(collector.join().expect("a collector") > 0);
    });
    place.operator(&own.data, &["verify"]).ok().says("sound");
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    there.pull().ok();
    assert_same(&own.workspace.services(), &there.services());
    collect(place, &own);
    let left = pack_bytes(&own.data);
    assert!(left < 1_000_000, "{left} bytes are left of one version");
}

fn a_branch_keeps_its_newest_snapshots(place: &Place) {
    let own = place.own_server();
    let services = own.workspace.services();
    trees::sample(&services);
    own.workspace.push().ok();
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    there.pull().ok();
    let forgetful = place.workspace_at("forgetful", own.proxy.address(), &own.token);
    forgetful.pull().ok();
    let first = own.workspace.call(&["log"]).ok().json()["snapshots"][0]["id"].clone();
    let first = first.as_str().expect("an id").to_owned();
    for number in 0..5 {
        trees::write(&services, "web/big.bin", noise(number, 300_000));
        own.workspace.push().ok();
    }
    keep_last(place, &own, "2");
    let before = pack_bytes(&own.data);
    let planned = place.operator(&own.data, &["gc", "--grace", "0s", "--dry-run"]);
    let planned = planned.ok().json()["tenants"][0].clone();
    assert_eq!(pack_bytes(&own.data), before, "a plan removed something");
    let collected = collect(place, &own).json()["tenants"][0].clone();
    for key in ["expired", "removed", "snapshots"] {
        assert_eq!(planned[key], collected[key], "{key}");
    }
    assert_eq!(collected["expired"], 4);
    assert!(pack_bytes(&own.data) < before / 2);
    let log = own.workspace.call(&["log"]).ok().json();
    assert_eq!(log["snapshots"].as_array().map(Vec::len), Some(2));
    own.workspace
        .call(&["show", &first])
        .exits(2)
        .says("store/expired");
    own.workspace.call(&["show"]).ok();

    // Who is far behind goes on, with its own edits; also where it has lost what it knew of its base.
    trees::write(&there.services(), "mine.md", "mine\n");
    there.pull().ok();
    there.push().ok();
    own.workspace.pull().ok();
    assert_same(&services, &there.services());
    fs::remove_dir_all(forgetful.root().join(".sync/store")).expect("remove a store");
    fs::remove_file(forgetful.root().join(".sync/stat-cache")).expect("remove a cache");
    forgetful.call(&["status"]).ok();
    forgetful.pull().ok();
    assert_same(&services, &forgetful.services());
    forgetful.call(&["gc"]).ok();
    forgetful.push().ok();
}

fn a_flipped_byte_is_found_and_repaired(place: &Place) {
    let mut own = place.own_server();
    trees::sample(&own.workspace.services());
    trees::write(
        &own.workspace.services(),
        "web/big.bin",
        noise(3, 2_000_000),
    );
    own.workspace.push().ok();
    own.workspace.call(&["verify"]).ok().says("\"sound\"");
    done(own.server.stop());
    flip(&own.data);
    place
        .operator(&own.data, &["verify"])
        .exits(5)
        .says("web/big.bin");
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    place
        .operator(&own.data, &["verify", "--tenant", place.tenant()])
        .exits(5)
        .says("web/big.bin");
    let repaired = own.workspace.call(&["verify"]).ok().says("\"repaired\"");
    assert_eq!(repaired.json()["verification"]["repaired"], 1);
    place.operator(&own.data, &["verify"]).ok();
    own.workspace.call(&["verify"]).ok().says("\"sound\"");
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    there.pull().ok();
    assert_same(&own.workspace.services(), &there.services());
}

fn damage_that_nobody_can_repair_is_named(place: &Place) {
    let mut own = place.own_server();
    trees::write(&own.workspace.services(), "lost.bin", noise(4, 2_000_000));
    own.workspace.push().ok();
    done(own.server.stop());
    flip(&own.data);
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    trees::remove(&own.workspace.services(), "lost.bin");
    trees::write(&own.workspace.services(), "other.md", "other\n");
    let answer = own.workspace.call(&["verify"]).exits(5).says("lost.bin");
    assert_eq!(answer.json()["result"], "damaged");
    // Whoever has the file still repairs it.
    trees::write(&own.workspace.services(), "copy.bin", noise(4, 2_000_000));
    own.workspace.call(&["verify"]).ok().says("\"repaired\"");
}

fn a_damaged_private_store_is_fetched_again(place: &Place) {
    let own = place.own_server();
    trees::sample(&own.workspace.services());
    own.workspace.push().ok();
    flip(&own.workspace.root().join(".sync/store"));
    let answer = own.workspace.call(&["verify"]).ok().says("\"repaired\"");
    let private = &answer.json()["verification"]["private"];
    assert!(private["damaged"].as_u64() > Some(0), "{private}");
    own.workspace.call(&["verify"]).ok().says("\"sound\"");
    trees::write(&own.workspace.services(), "more.md", "more\n");
    own.workspace.push().ok();
    own.workspace.call(&["gc"]).ok();
    own.workspace.call(&["doctor"]).ok();
    own.workspace.call(&["verify"]).ok().says("\"sound\"");
}
