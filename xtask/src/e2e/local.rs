//! The suite `local`: skills, content and access control, files beside the rows of a real PostgreSQL, with real `sync-cli`.
//!
//! Scenarios whose names begin with `lesson_` are those of how earlier systems of this kind lost data.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod corpus;
mod desk;
mod jobs;
mod killed;
mod lessons;
mod travel;
mod watching;

use super::scenario::Suite;

/// Every scenario, the simple ones first.
pub(super) const SCENARIOS: Suite = &[
    (
        "the_example_comes_back_as_it_was",
        travel::the_example_comes_back_as_it_was,
    ),
    (
        "a_generated_corpus_comes_back_as_it_was",
        travel::a_generated_corpus_comes_back_as_it_was,
    ),
    (
        "many_pages_are_compared_at_once",
        travel::many_pages_are_compared_at_once,
    ),
    ("edits_of_both_sides_meet", travel::edits_of_both_sides_meet),
    ("a_person_chooses", travel::a_person_chooses),
    (
        "a_dry_run_changes_nothing",
        travel::a_dry_run_changes_nothing,
    ),
    (
        "a_mass_removal_is_not_made_unasked",
        travel::a_mass_removal_is_not_made_unasked,
    ),
    ("a_filter_leaves_the_rest", travel::a_filter_leaves_the_rest),
    ("what_is_missing_is_named", travel::what_is_missing_is_named),
    (
        "what_makes_no_sense_is_refused",
        travel::what_makes_no_sense_is_refused,
    ),
    (
        "lesson_32_nothing_is_modified_for_ever",
        lessons::lesson_32_nothing_is_modified_for_ever,
    ),
    (
        "lesson_33_the_round_trip_loses_nothing",
        lessons::lesson_33_the_round_trip_loses_nothing,
    ),
    (
        "lesson_34_a_slug_reaches_nothing_outside",
        lessons::lesson_34_a_slug_reaches_nothing_outside,
    ),
    (
        "lesson_35_counts_are_true",
        lessons::lesson_35_counts_are_true,
    ),
    (
        "lesson_36_no_source_takes_over_a_row",
        lessons::lesson_36_no_source_takes_over_a_row,
    ),
    (
        "lesson_37_a_grant_leaves_with_its_entry",
        lessons::lesson_37_a_grant_leaves_with_its_entry,
    ),
    (
        "lesson_38_what_does_not_parse_is_not_removed",
        lessons::lesson_38_what_does_not_parse_is_not_removed,
    ),
    (
        "a_save_is_in_the_database_at_once",
        watching::a_save_is_in_the_database_at_once,
    ),
    (
        "a_burst_of_saves_is_one_transaction",
        watching::a_burst_of_saves_is_one_transaction,
    ),
    (
        "a_watch_ends_when_it_is_told",
        watching::a_watch_ends_when_it_is_told,
    ),
    (
        "a_watch_outlives_its_database",
        watching::a_watch_outlives_its_database,
    ),
    ("jobs_run_and_are_recorded", jobs::jobs_run_and_are_recorded),
    ("a_job_runs_one_at_a_time", jobs::a_job_runs_one_at_a_time),
    (
        "a_daemon_keeps_items_beside_jobs",
        jobs::a_daemon_keeps_items_beside_jobs,
    ),
    (
        "of_two_daemons_one_does_a_run",
        jobs::of_two_daemons_one_does_a_run,
    ),
    (
        "a_run_killed_anywhere_goes_on",
        killed::a_run_killed_anywhere_goes_on,
    ),
    (
        "a_postgres_killed_at_any_time_goes_on",
        killed::a_postgres_killed_at_any_time_goes_on,
    ),
];
