//! The suite `faults`: processes that are killed, wires that break, disks that are full, clocks that are wrong.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

pub(in crate::e2e) mod clock;
pub(super) mod disk;
mod killed;
pub(super) mod refusals;
mod server_killed;
pub(super) mod tracer;
mod wire;
mod writer;

use super::scenario::{Place, Suite};

/// Every scenario.
pub(super) const SCENARIOS: Suite = &[
    (
        "a_push_killed_anywhere_goes_on",
        killed::a_push_killed_anywhere_goes_on,
    ),
    (
        "a_pull_killed_anywhere_goes_on",
        killed::a_pull_killed_anywhere_goes_on,
    ),
    (
        "a_sync_killed_anywhere_goes_on",
        killed::a_sync_killed_anywhere_goes_on,
    ),
    (
        "an_undo_killed_anywhere_goes_on",
        killed::an_undo_killed_anywhere_goes_on,
    ),
    (
        "a_server_killed_in_a_push_goes_on",
        server_killed::a_server_killed_in_a_push_goes_on,
    ),
    (
        "a_server_killed_in_a_pull_goes_on",
        server_killed::a_server_killed_in_a_pull_goes_on,
    ),
    (
        "a_server_killed_in_a_sync_goes_on",
        server_killed::a_server_killed_in_a_sync_goes_on,
    ),
    (
        "a_server_killed_after_an_undo_goes_on",
        server_killed::a_server_killed_after_an_undo_goes_on,
    ),
    (
        "a_collection_killed_anywhere_goes_on",
        killed::a_collection_killed_anywhere_goes_on,
    ),
    (
        "a_broken_wire_loses_nothing",
        wire::a_broken_wire_loses_nothing,
    ),
    (
        "damaged_bodies_are_refused",
        wire::damaged_bodies_are_refused,
    ),
    (
        "a_busy_server_is_asked_again",
        refusals::a_busy_server_is_asked_again,
    ),
    (
        "a_full_disk_here_leaves_the_tree_as_it_is",
        disk::a_full_disk_here_leaves_the_tree_as_it_is,
    ),
    (
        "a_full_disk_there_leaves_the_branch_as_it_is",
        disk::a_full_disk_there_leaves_the_branch_as_it_is,
    ),
    (
        "a_file_that_is_being_written_is_sent_whole",
        writer::a_file_that_is_being_written_is_sent_whole,
    ),
    (
        "a_wrong_clock_changes_nothing",
        clock::a_wrong_clock_changes_nothing,
    ),
    (
        "strange_times_hide_no_edit",
        clock::strange_times_hide_no_edit,
    ),
];
