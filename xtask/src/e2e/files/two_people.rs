//! Two people work on one tree, and nobody's work is lost.

use std::{process::Stdio, thread};

use super::{
    super::trees::{self, assert_same},
    Place,
};

pub(super) fn of_two_pushes_at_once_one_wins(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    for round in 0..5 {
        trees::write(
            &here.services(),
            "agents/here.yaml",
            format!("round {round}\n"),
        );
        trees::write(
            &there.services(),
            "agents/there.yaml",
            format!("round {round}\n"),
        );
        let (a, b) = thread::scope(|scope| {
            let a = scope.spawn(|| here.push());
            let b = scope.spawn(|| there.push());
            (a.join().expect("push"), b.join().expect("push"))
        });
        let (winner, loser) = if a.code == 0 {
            b.exits(3);
            (&here, &there)
        } else {
            a.exits(3);
            b.exits(0);
            (&there, &here)
        };
        loser.pull().ok();
        loser.push().ok();
        winner.pull().ok();
        assert_same(&here.services(), &there.services());
        for (workspace, file) in [(&here, "agents/there.yaml"), (&there, "agents/here.yaml")] {
            let text = trees::read(&workspace.services(), file);
            assert_eq!(
                text,
                format!("round {round}\n"),
                "an update of {file} was lost"
            );
        }
    }
}

pub(super) fn a_pull_never_overwrites_an_edit(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    trees::write(
        &here.services(),
        "agents/triage.yaml",
        "name: triage\nversion: here\n",
    );
    trees::write(&here.services(), "agents/other.yaml", "name: other\n");
    here.push().ok();
    trees::write(
        &there.services(),
        "agents/triage.yaml",
        "name: triage\nversion: there\n",
    );
    let before = trees::traces(&there.services());
    let refused = there.pull().exits(3).says("agents/triage.yaml");
    assert_eq!(refused.json()["success"], false);
    trees::assert_untouched(&there.services(), &before);
    // A push is refused, too, and changes nothing at the tenant.
    there.push().exits(3);
    let third = place.workspace("third", &place.token(place.tenant(), "read"));
    third.pull().ok();
    assert_same(&here.services(), &third.services());
}

pub(super) fn a_pull_keeps_edits_of_other_files(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    trees::write(&here.services(), "agents/triage.yaml", "edited here\n");
    here.push().ok();
    trees::write(&there.services(), "config/app.yaml", "edited there\n");
    trees::remove(&there.services(), "agents/researcher.yaml");
    there.pull().ok();
    assert_eq!(
        trees::read(&there.services(), "agents/triage.yaml"),
        "edited here\n"
    );
    assert_eq!(
        trees::read(&there.services(), "config/app.yaml"),
        "edited there\n"
    );
    assert!(!there.services().join("agents/researcher.yaml").exists());
    there.push().ok();
    here.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_pull_never_overwrites_a_new_file(place: &Place) {
    let (here, there) = place.pair();
    trees::write(&here.services(), "notes.md", "from here\n");
    here.push().ok();
    // This workspace has never seen the tenant, and has a file of that name already.
    trees::write(&there.services(), "notes.md", "from there\n");
    let before = trees::traces(&there.services());
    there.pull().exits(3).says("notes.md");
    trees::assert_untouched(&there.services(), &before);
    // The same bytes are no conflict.
    trees::write(&there.services(), "notes.md", "from here\n");
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}

pub(super) fn a_removal_here_and_an_edit_there_conflict(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    there.pull().ok();
    trees::remove(&here.services(), "config/app.yaml");
    here.push().ok();
    trees::write(&there.services(), "config/app.yaml", "locale: fr\n");
    there.pull().exits(3).says("config/app.yaml");
    assert_eq!(
        trees::read(&there.services(), "config/app.yaml"),
        "locale: fr\n"
    );

    // A pipeline without a terminal is told the same, and never asked.
    let status = there
        .cli()
        .command(&["pull", "files"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("run sync-cli");
    assert_eq!(status.code(), Some(3));
}
