//! What two people made of one tree becomes one again, and what only a person can decide is left to one.

use serde_json::Value;

use super::{
    super::{
        scenario::Workspace,
        trees::{self, assert_same},
    },
    Place,
};

const PROMPT: &str = "name: triage\nmodel: small\n\nfirst\nsecond\nthird\nfourth\nfifth\n";

/// Two workspaces that hold the same sample and the same prompt.
fn agreed(place: &Place) -> (Workspace, Workspace) {
    agree(place.pair())
}

/// Likewise, on a branch of its own for each `round` of a scenario.
fn agreed_in(place: &Place, token: &str, round: &str) -> (Workspace, Workspace) {
    let workspace = |name: &str| {
        let workspace = place.workspace(&format!("{name}-{round}"), token);
        let config = trees::read(workspace.root(), "sync.toml");
        let config = config.replace("\"main\"", &format!("\"{round}\""));
        trees::write(workspace.root(), "sync.toml", config);
        workspace
    };
    agree((workspace("here"), workspace("there")))
}

fn agree((here, there): (Workspace, Workspace)) -> (Workspace, Workspace) {
    trees::sample(&here.services());
    trees::write(&here.services(), "agents/prompt.md", PROMPT);
    here.push().ok();
    there.pull().ok();
    (here, there)
}

fn edit(workspace: &Workspace, path: &str, from: &str, to: &str) {
    let text = trees::read(&workspace.services(), path);
    assert!(text.contains(from), "{path} has no `{from}`: {text}");
    trees::write(&workspace.services(), path, text.replace(from, to));
}

/// The paths of a list in a report.
fn paths(list: &Value) -> Vec<String> {
    let path = |item: &Value| {
        let path = item.get("path").unwrap_or(item);
        path.as_str().unwrap_or_default().to_owned()
    };
    list.as_array()
        .map(|list| list.iter().map(path).collect())
        .unwrap_or_default()
}

pub(super) fn edits_of_two_people_merge_whoever_runs_first(place: &Place) {
    let token = place.create_tenant();
    let mut results = Vec::new();
    for first in [true, false] {
        let round = if first { "here-first" } else { "there-first" };
        let (here, there) = agreed_in(place, &token, round);
        edit(&here, "agents/prompt.md", "first", "FIRST");
        trees::write(&here.services(), "agents/mine.md", "mine\n");
        trees::remove(&here.services(), "agents/researcher.yaml");
        edit(&there, "agents/prompt.md", "fifth", "FIFTH");
        trees::chmod(&there.services(), "agents/prompt.md", 0o755);
        edit(&there, "config/app.yaml", "locale", "language");
        let (one, two) = if first {
            (&here, &there)
        } else {
            (&there, &here)
        };
        one.call(&["sync", "files"]).ok();
        let merged = two.call(&["sync", "files"]).ok().json();
        assert_eq!(paths(&merged["merged"]), ["agents/prompt.md"]);
        one.call(&["sync", "files"]).ok();
        assert_same(&here.services(), &there.services());
        let text = trees::read(&here.services(), "agents/prompt.md");
        assert_eq!(
            text,
            PROMPT.replace("first", "FIRST").replace("fifth", "FIFTH")
        );
        assert_eq!(
            here.call(&["status"]).ok().json()["files"]["standing"],
            "in_sync"
        );
        results.push(trees::nodes(&here.services()));
    }
    assert_eq!(results[0], results[1]);
}

pub(super) fn what_cannot_be_merged_is_for_a_person(place: &Place) {
    let (here, there) = agreed(place);
    edit(&here, "agents/prompt.md", "third", "mine");
    here.push().ok();
    edit(&there, "agents/prompt.md", "third", "yours");
    trees::write(&there.services(), "agents/new.md", "new\n");
    let before = trees::traces(&there.services());
    for arguments in [
        &["sync", "files"][..],
        &["sync", "files", "--dry-run"],
        &["pull", "files"],
    ] {
        let refused = there.call(arguments).exits(3).json();
        assert_eq!(refused["success"], false);
        assert_eq!(paths(&refused["conflicts"]), ["agents/prompt.md"]);
        assert_eq!(refused["conflicts"][0]["reason"], "edited");
        assert_eq!(refused["conflicts"][0]["ours"]["kind"], "file");
        trees::assert_untouched(&there.services(), &before);
    }
    // Nothing was sent either.
    here.pull().ok();
    assert!(!here.services().join("agents/new.md").exists());
    there
        .call(&["sync", "files", "--on-conflict", "theirs"])
        .ok();
    assert!(trees::read(&there.services(), "agents/prompt.md").contains("mine"));
    here.pull().ok();
    assert_same(&here.services(), &there.services());

    edit(&here, "agents/prompt.md", "mine", "again");
    here.push().ok();
    edit(&there, "agents/prompt.md", "mine", "still yours");
    there.call(&["sync", "files", "--on-conflict", "ours"]).ok();
    here.pull().ok();
    assert!(trees::read(&here.services(), "agents/prompt.md").contains("still yours"));
    assert_same(&here.services(), &there.services());
}

pub(super) fn keeping_both_comes_to_the_same_tree(place: &Place) {
    let token = place.create_tenant();
    let mut results = Vec::new();
    for first in [true, false] {
        let round = if first { "here-first" } else { "there-first" };
        let (here, there) = agreed_in(place, &token, round);
        edit(&here, "agents/prompt.md", "third", "mine");
        edit(&there, "agents/prompt.md", "third", "yours");
        // One removes what the other edits, one has a file where the other has a directory.
        trees::remove(&here.services(), "config/app.yaml");
        trees::write(&there.services(), "config/app.yaml", "kept\n");
        trees::write(&here.services(), "notes", "a file\n");
        trees::write(&there.services(), "notes/today.md", "in a directory\n");
        let (one, two) = if first {
            (&here, &there)
        } else {
            (&there, &here)
        };
        one.call(&["sync", "files"]).ok();
        two.call(&["sync", "files"]).exits(3);
        two.call(&["sync", "files", "--on-conflict", "keep-both"])
            .ok();
        one.pull().ok();
        assert_same(&here.services(), &there.services());
        let nodes = trees::nodes(&here.services());
        let copies = nodes
            .keys()
            .filter(|path| path.to_string_lossy().contains(".conflict-"));
        assert_eq!(copies.count(), 2, "{nodes:?}");
        assert_eq!(trees::read(&here.services(), "config/app.yaml"), "kept\n");
        results.push(nodes);
    }
    assert_eq!(results[0], results[1]);
}

pub(super) fn restricted_paths_are_never_merged(place: &Place) {
    let (here, there) = agreed(place);
    trees::write(&here.services(), "access-control/roles.yaml", PROMPT);
    here.push().ok();
    there.pull().ok();
    edit(&here, "access-control/roles.yaml", "first", "FIRST");
    edit(&there, "access-control/roles.yaml", "fifth", "FIFTH");
    here.call(&["sync", "files"]).ok();
    let refused = there.call(&["sync", "files"]).exits(3).json();
    assert_eq!(refused["conflicts"][0]["reason"], "restricted");
    there.call(&["sync", "files", "--on-conflict", "ours"]).ok();
    assert!(trees::read(&there.services(), "access-control/roles.yaml").contains("first\n"));
}

pub(super) fn what_was_replaced_comes_back(place: &Place) {
    let (here, there) = agreed(place);
    there.call(&["undo"]).exits(3).says("--yes");
    there.call(&["undo", "--yes"]).ok();
    assert!(
        !there.services().join("agents/prompt.md").exists(),
        "the first pull is undone"
    );
    there.call(&["undo"]).ok();
    assert_same(&here.services(), &there.services());

    let old = trees::nodes(&there.services());
    edit(&here, "agents/prompt.md", "third", "mine");
    trees::remove(&here.services(), "agents/researcher.yaml");
    trees::write(&here.services(), "web/big.bin", trees::noise(7, 3 << 20));
    here.push().ok();
    there.pull().ok();
    let new = trees::nodes(&there.services());
    there.call(&["undo", "--dry-run"]).ok();
    assert_eq!(trees::nodes(&there.services()), new);
    there.call(&["undo"]).ok();
    assert_eq!(trees::nodes(&there.services()), old);
    // It was the pull that was undone, so there is something to pull again.
    assert_eq!(
        there.call(&["status"]).ok().json()["files"]["standing"],
        "cloud_ahead"
    );
    there.call(&["undo"]).ok();
    assert_eq!(trees::nodes(&there.services()), new);
    assert_eq!(
        there.call(&["status"]).ok().json()["files"]["standing"],
        "in_sync"
    );
    // An edit since then is not lost.
    edit(&there, "agents/prompt.md", "mine", "edited since");
    let before = trees::traces(&there.services());
    there.call(&["undo"]).exits(3).says("agents/prompt.md");
    trees::assert_untouched(&there.services(), &before);
    there.call(&["undo", "--on-conflict", "ours"]).ok();
    assert!(trees::read(&there.services(), "agents/prompt.md").contains("edited since"));
    assert!(there.services().join("agents/researcher.yaml").exists());
}

pub(super) fn an_old_snapshot_comes_back(place: &Place) {
    let (here, there) = agreed(place);
    let old = trees::nodes(&here.services());
    let snapshot = here.call(&["log"]).ok().json()["snapshots"][0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    edit(&here, "agents/prompt.md", "third", "mine");
    trees::remove(&here.services(), "agents/researcher.yaml");
    here.push().ok();
    let plan = there
        .call(&["rollback", &snapshot, "--dry-run"])
        .ok()
        .json();
    assert_eq!(
        paths(&plan["changes"]),
        ["agents/prompt.md", "agents/researcher.yaml"]
    );
    trees::write(&here.services(), "agents/unsent.md", "not pushed yet\n");
    let done = here
        .call(&["rollback", &snapshot, "-m", "worse"])
        .ok()
        .json();
    assert_eq!(done["message"], Value::Null);
    let mut back = trees::nodes(&here.services());
    back.retain(|path, _| !path.ends_with("unsent.md"));
    assert_eq!(back, old);
    assert_eq!(
        here.call(&["status"]).ok().json()["files"]["standing"],
        "local_ahead"
    );
    there.pull().ok();
    assert_eq!(trees::nodes(&there.services()), old);
    let log = there.call(&["log"]).ok().json();
    assert_eq!(log["snapshots"][0]["snapshot"]["message"], "worse");
    assert_eq!(log["snapshots"].as_array().map(Vec::len), Some(3));
    // Undoing it here leaves a change that can be pushed.
    here.call(&["undo"]).ok();
    assert!(trees::read(&here.services(), "agents/prompt.md").contains("mine"));
    here.push().ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    here.call(&["rollback", "ffffffff"]).exits(2);
}

pub(super) fn a_mass_removal_is_not_made_unasked(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    for number in 0..100 {
        trees::write(
            &here.services(),
            format!("many/{number}.md"),
            format!("{number}\n"),
        );
    }
    here.push().ok();
    there.pull().ok();
    for number in 0..60 {
        trees::remove(&here.services(), &format!("many/{number}.md"));
    }
    for arguments in [
        &["push", "files"][..],
        &["sync", "files"],
        &["push", "files", "--max-delete", "40%"],
    ] {
        here.call(arguments).exits(3).says("60 of");
    }
    // What only moves is not removed.
    trees::rename(&here.services(), "many", "few");
    trees::rename(&there.services(), "many", "others");
    there.call(&["push", "files", "--dry-run"]).ok();
    there.call(&["push", "files"]).ok();
    trees::rename(&there.services(), "others", "many");
    there.push().ok();
    trees::rename(&here.services(), "few", "many");
    here.call(&["sync", "files", "--max-delete", "60"]).ok();
    let before = trees::traces(&there.services());
    there.call(&["pull", "files"]).exits(3).says("60 of");
    trees::assert_untouched(&there.services(), &before);
    there.call(&["pull", "files", "--yes"]).ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_filter_leaves_the_rest_as_it_is(place: &Place) {
    let (here, there) = agreed(place);
    let sample = trees::nodes(&there.services());
    edit(&here, "agents/prompt.md", "third", "mine");
    edit(&here, "config/app.yaml", "locale", "language");
    let status = here
        .call(&["status", "files", "--filter", "agents/"])
        .ok()
        .json();
    assert_eq!(status["files"]["local"]["changed"], 1);
    let diff = here
        .call(&["diff", "files", "--filter", "*.yaml"])
        .ok()
        .json();
    assert_eq!(paths(&diff["changes"]), ["config/app.yaml"]);
    let pushed = here
        .call(&["push", "files", "--filter", "agents/"])
        .ok()
        .json();
    assert_eq!(paths(&pushed["changes"]), ["agents/prompt.md"]);
    assert_eq!(
        here.call(&["status"]).ok().json()["files"]["standing"],
        "local_ahead"
    );
    here.push().ok();

    let pulled = there
        .call(&["pull", "files", "--filter", "/config"])
        .ok()
        .json();
    assert_eq!(paths(&pulled["changes"]), ["config/app.yaml"]);
    assert_eq!(trees::read(&there.services(), "agents/prompt.md"), PROMPT);
    // What was left out is still to come; it does not look like an edit of this workspace.
    assert_eq!(
        there.call(&["status"]).ok().json()["files"]["standing"],
        "cloud_ahead"
    );
    assert_eq!(paths(&there.push().ok().json()["changes"]), [""; 0]);
    there.call(&["undo"]).ok();
    assert_eq!(trees::nodes(&there.services()), sample);
    there.call(&["undo"]).ok();
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    // A workspace that has never synced can begin with a part.
    let third = place.workspace("part", &place.token(place.tenant(), "write"));
    third.call(&["pull", "files", "--filter", "agents/"]).ok();
    assert!(third.services().join("agents/prompt.md").exists());
    assert!(!third.services().join("config").exists());
    third.pull().ok();
    assert_same(&here.services(), &third.services());
}

pub(super) fn names_that_differ_by_case_are_told(place: &Place) {
    let (here, there) = agreed(place);
    trees::write(&here.services(), "agents/PROMPT.md", "another\n");
    let pushed = here.push().ok().json();
    assert_eq!(pushed["errors"][0]["code"], "engine/case");
    let pulled = there.pull().ok().json();
    assert_eq!(pulled["errors"][0]["path"], "agents/prompt.md");
    assert_same(&here.services(), &there.services());
    assert!(
        here.push().ok().json()["errors"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
}
