//! Clocks that go back and forth, and files with times that say nothing.

use std::{
    fs::{self, File, FileTimes},
    process::Command,
    time::{Duration, SystemTime},
};

use super::{
    super::{
        scenario::{Workspace, done},
        trees::{self, assert_same},
    },
    Place,
};
use crate::debian;

/// A command with a clock that is off by so much, run by what `words` name; files keep their true times.
pub(in crate::e2e) fn faked(command: &Command, offset: &str, words: &[&str]) -> Command {
    let mut faked = Command::new("faketime");
    faked
        .args(["-f", offset])
        .args(words)
        .arg(command.get_program())
        .args(command.get_args())
        .env("NO_FAKE_STAT", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => faked.env(name, value),
            None => faked.env_remove(name),
        };
    }
    faked
}

/// Runs `sync-cli` with a clock that is off by so much.
fn call_at(workspace: &Workspace, offset: &str, arguments: &[&str]) {
    let command = workspace.cli().command(arguments);
    let output = faked(&command, offset, &[]).output().expect("run faketime");
    assert!(
        output.status.success(),
        "{arguments:?} at {offset}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(super) fn a_wrong_clock_changes_nothing(place: &Place) {
    done(debian::demand("faketime", "faketime"));
    let (here, there) = place.pair();
    trees::sample(&here.services());
    for (number, offset) in ["-10y", "+10y", "-10y", "+0"].into_iter().enumerate() {
        trees::write(
            &here.services(),
            "agents/triage.yaml",
            format!("version {number}\n"),
        );
        call_at(&here, offset, &["push", "files"]);
        call_at(&there, offset, &["pull", "files"]);
        assert_same(&here.services(), &there.services());
        call_at(&here, offset, &["status"]);
        // An edit right after a run whose clock was ahead is not older than what that run saw.
        trees::write(
            &here.services(),
            "agents/triage.yaml",
            format!("Version {number}\n"),
        );
        here.push().ok();
        call_at(&there, offset, &["sync", "files"]);
        assert_same(&here.services(), &there.services());
    }
    // Newest first is a matter of parents, not of times.
    let log = here.call(&["log", "-n", "100"]).ok().json();
    assert_eq!(log["snapshots"].as_array().map(Vec::len), Some(8), "{log}");
}

/// Sets the time at which a file seems to have been changed last.
fn touch(workspace: &Workspace, path: &str, time: SystemTime) {
    let file = File::options()
        .write(true)
        .open(workspace.services().join(path))
        .expect("open a file");
    file.set_times(FileTimes::new().set_modified(time))
        .expect("set the time of a file");
}

pub(super) fn strange_times_hide_no_edit(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    here.push().ok();
    let path = "agents/triage.yaml";
    let times = [
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - Duration::from_hours(24),
        SystemTime::now() + Duration::from_hours(10 * 365 * 24),
    ];
    for (number, time) in times.into_iter().enumerate() {
        // The same length and the same time, before and after: only the time of the change differs.
        for word in ["left", "back"] {
            trees::write(&here.services(), path, format!("{word} {number}\n"));
            touch(&here, path, time);
            assert_eq!(
                here.push().ok().number("items_synced"),
                1,
                "{word} at {time:?}"
            );
            there.pull().ok();
            assert_same(&here.services(), &there.services());
        }
        assert_eq!(here.push().ok().number("items_synced"), 0);
    }
    // Another file of the same length and time, moved into its place.
    let modified = fs::metadata(here.services().join(path))
        .and_then(|found| found.modified())
        .expect("stat");
    trees::write(&here.services(), "agents/other.yaml", "swap 2\n");
    touch(&here, "agents/other.yaml", modified);
    trees::rename(&here.services(), "agents/other.yaml", path);
    assert_eq!(here.push().ok().number("items_synced"), 1);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
}
