//! The suite `bundle`: a tenant in a file, and back, bit for bit; what is not exactly a bundle is refused.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod hostile;
mod killed;
mod travel;

use std::path::Path;

use serde_json::Value;

use super::{
    cli::Answer,
    scenario::{OwnServer, Place, Suite, Workspace},
    trees::{self, noise},
};

/// Every scenario.
pub(super) const SCENARIOS: Suite = &[
    (
        "another_tenant_becomes_equal",
        travel::another_tenant_becomes_equal,
    ),
    (
        "rows_come_into_another_database",
        travel::rows_come_into_another_database,
    ),
    ("a_bundle_continues_one", travel::a_bundle_continues_one),
    (
        "who_may_and_whom_to_trust",
        travel::who_may_and_whom_to_trust,
    ),
    (
        "hostile_bundles_leave_nothing",
        hostile::hostile_bundles_leave_nothing,
    ),
    (
        "an_import_that_is_killed_goes_on",
        killed::an_import_that_is_killed_goes_on,
    ),
    (
        "an_export_that_is_cut_leaves_no_file",
        killed::an_export_that_is_cut_leaves_no_file,
    ),
];

/// A tree with history on two branches in the scenario's tenant on the shared server.
#[track_caller]
fn source(place: &Place) -> Workspace {
    let token = place.create_tenant();
    let here = place.workspace("source", &token);
    let services = here.services();
    trees::sample(&services);
    here.push().ok();
    for number in 0..4 {
        trees::write(&services, "web/big.bin", noise(number, 900_000));
        trees::write(&services, "agents/triage.yaml", format!("turn: {number}\n"));
        here.push().ok();
    }
    here.call(&["branch", "create", "trial"]).ok();
    trees::write(&services, "agents/trial.yaml", "only: here\n");
    here.call(&["push", "files", "--branch", "trial"]).ok();
    here
}

/// Writes a bundle of the scenario's tenant on the shared server.
#[track_caller]
fn export(place: &Place, name: &str, words: &[&str]) -> String {
    let file = place.directory().join(name).display().to_string();
    let tenant = ["--tenant", place.tenant()];
    let all = [&["export", "--out", &file][..], words, &tenant].concat();
    place.operator(place.data(), &all).ok();
    file
}

/// Imports a bundle into the scenario's tenant on a server of its own.
#[track_caller]
fn import(place: &Place, own: &OwnServer, file: &str, words: &[&str]) -> Answer {
    let tenant = ["--tenant", place.tenant()];
    let all = [&["import", file][..], words, &tenant].concat();
    place.operator(&own.data, &all)
}

/// The key that signed a bundle.
#[track_caller]
fn signer(place: &Place, file: &str) -> String {
    let shown = place.cli().call(&["inspect", file]).ok().json();
    let key = shown["bundle"]["signed_by"].as_str();
    key.expect("a key").to_owned()
}

/// The summary adds up.
#[track_caller]
fn assert_adds_up(done: &Value) {
    let number = |key: &str| done[key].as_u64().expect("a number");
    let parts = ["inserted", "deduplicated", "skipped", "failed"];
    let sum: u64 = parts
        .iter()
        .map(|part| number(&format!("records_{part}")))
        .sum();
    assert_eq!(number("records_inspected"), sum, "{done:#}");
    let record_count = done["bundle"]["record_count"].as_u64();
    assert_eq!(Some(number("records_inspected")), record_count, "{done:#}");
}

/// Two tenants have the same branches, snapshots and objects, and their bundles the same members.
#[track_caller]
fn assert_equal(place: &Place, own: &OwnServer, here: &Workspace) {
    let branches = |workspace: &Workspace| {
        let listed = workspace.call(&["branch", "list"]).ok().json();
        listed["branches"].clone()
    };
    let there = &own.workspace;
    assert_eq!(branches(here), branches(there));
    for branch in ["main", "trial"] {
        let log = |workspace: &Workspace| {
            let log = workspace.call(&["log", "-n", "1000", "--branch", branch]);
            log.ok().json()["snapshots"].clone()
        };
        assert_eq!(log(here), log(there), "{branch}");
    }
    place.operator(&own.data, &["verify"]).ok().says("sound");
    let back = place.directory().join("back.tar").display().to_string();
    let tenant = ["--tenant", place.tenant(), "--uncompressed"];
    let words = [&["export", "--out", &back][..], &tenant].concat();
    place.operator(&own.data, &words).ok();
    let first = export(place, "forth.tar", &["--uncompressed"]);
    let digest = |file: &str| {
        let shown = place.cli().call(&["inspect", file]).ok().json();
        let members = shown["manifest"]["members"].as_array().cloned();
        let members = members.expect("members");
        // Each tenant has tokens of its own.
        let same = |member: &Value| member["path"] != "config/tokens.json";
        members.into_iter().filter(same).collect::<Vec<_>>()
    };
    assert_eq!(digest(&first), digest(&back));
}

/// Nothing of a tenant is to be seen, and a collection leaves nothing.
#[track_caller]
fn assert_nothing(place: &Place, data: &Path) {
    let file = place.directory().join("none.tar.zst").display().to_string();
    let words = ["export", "--out", &file, "--tenant", place.tenant()];
    place.operator(data, &words).exits(2).says("bundle/empty");
    place.operator(data, &["gc", "--grace", "0s"]).ok();
    let verified = place.operator(data, &["verify"]).ok().json();
    for tenant in verified["tenants"].as_array().into_iter().flatten() {
        assert_eq!(tenant["objects"], 0, "{verified:#}");
        assert_eq!(tenant["snapshots"], 0, "{verified:#}");
    }
}
