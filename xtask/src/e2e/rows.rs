//! The suite `rows`: databases that are working copies of a tenant, with real PostgreSQL, servers and `sync-cli`.
//!
//! Scenarios whose names begin with `lesson_` are those of how earlier systems of this kind lost data.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod history;
mod killed;
mod lessons;
mod loss;
mod refusals;
mod schedules;
pub(super) mod stage;
mod travel;
mod trust;
mod writers;

use super::scenario::Suite;

/// Every scenario, the simple ones first.
pub(super) const SCENARIOS: Suite = &[
    (
        "rows_are_pushed_and_pulled",
        travel::rows_are_pushed_and_pulled,
    ),
    ("a_sync_goes_both_ways", travel::a_sync_goes_both_ways),
    (
        "an_embedded_tenant_needs_no_database",
        travel::an_embedded_tenant_needs_no_database,
    ),
    (
        "a_tenant_without_a_database_keeps_rows",
        travel::a_tenant_without_a_database_keeps_rows,
    ),
    (
        "db_migrate_makes_what_is_needed",
        travel::db_migrate_makes_what_is_needed,
    ),
    (
        "tables_that_differ_are_named",
        travel::tables_that_differ_are_named,
    ),
    ("a_person_chooses", history::a_person_chooses),
    (
        "a_dry_run_changes_nothing",
        history::a_dry_run_changes_nothing,
    ),
    ("history_speaks_of_rows", history::history_speaks_of_rows),
    (
        "what_was_replaced_comes_back",
        history::what_was_replaced_comes_back,
    ),
    (
        "a_mass_removal_is_not_made_unasked",
        history::a_mass_removal_is_not_made_unasked,
    ),
    (
        "lesson_12_an_older_row_never_overwrites",
        lessons::lesson_12_an_older_row_never_overwrites,
    ),
    (
        "lesson_13_the_winner_does_not_depend_on_who_asks",
        lessons::lesson_13_the_winner_does_not_depend_on_who_asks,
    ),
    (
        "lesson_14_two_columns_merge",
        lessons::lesson_14_two_columns_merge,
    ),
    (
        "lesson_15_nothing_is_half_applied",
        lessons::lesson_15_nothing_is_half_applied,
    ),
    (
        "lesson_16_counts_are_true",
        lessons::lesson_16_counts_are_true,
    ),
    (
        "lesson_17_late_commits_are_never_skipped",
        writers::lesson_17_late_commits_are_never_skipped,
    ),
    (
        "lesson_18_a_third_peer_gets_what_the_first_sent",
        lessons::lesson_18_a_third_peer_gets_what_the_first_sent,
    ),
    (
        "lesson_19_a_new_peer_gets_everything",
        loss::lesson_19_a_new_peer_gets_everything,
    ),
    (
        "lesson_20_a_bad_row_stops_no_others",
        lessons::lesson_20_a_bad_row_stops_no_others,
    ),
    (
        "lesson_21_what_is_deleted_stays_deleted",
        loss::lesson_21_what_is_deleted_stays_deleted,
    ),
    (
        "lesson_21_a_lost_record_overwrites_nothing",
        loss::lesson_21_a_lost_record_overwrites_nothing,
    ),
    (
        "lesson_22_many_updates_travel_as_one",
        lessons::lesson_22_many_updates_travel_as_one,
    ),
    (
        "lesson_23_a_busy_server_loses_nothing",
        refusals::lesson_23_a_busy_server_loses_nothing,
    ),
    (
        "lesson_24_nothing_to_do_is_one_request",
        lessons::lesson_24_nothing_to_do_is_one_request,
    ),
    (
        "lesson_25_nothing_waits_for_ever",
        refusals::lesson_25_nothing_waits_for_ever,
    ),
    (
        "what_holds_a_database_is_named",
        refusals::what_holds_a_database_is_named,
    ),
    (
        "lesson_26_rows_are_only_for_their_tenant",
        trust::lesson_26_rows_are_only_for_their_tenant,
    ),
    (
        "lesson_27_what_was_tampered_with_is_refused",
        trust::lesson_27_what_was_tampered_with_is_refused,
    ),
    (
        "lesson_28_roles_do_not_travel",
        trust::lesson_28_roles_do_not_travel,
    ),
    (
        "lesson_29_a_trigger_does_not_keep_sides_apart",
        lessons::lesson_29_a_trigger_does_not_keep_sides_apart,
    ),
    (
        "lesson_30_sequences_advance",
        lessons::lesson_30_sequences_advance,
    ),
    (
        "lesson_31_a_restored_database_loses_nothing",
        loss::lesson_31_a_restored_database_loses_nothing,
    ),
    (
        "lesson_31_a_restored_tenant_loses_nothing",
        loss::lesson_31_a_restored_tenant_loses_nothing,
    ),
    (
        "a_damaged_large_value_is_repaired",
        loss::a_damaged_large_value_is_repaired,
    ),
    (
        "the_tenants_program_goes_on_writing",
        writers::the_tenants_program_goes_on_writing,
    ),
    (
        "random_schedules_lose_nothing",
        schedules::random_schedules_lose_nothing,
    ),
    (
        "a_client_killed_anywhere_goes_on",
        killed::a_client_killed_anywhere_goes_on,
    ),
    (
        "a_server_killed_anywhere_goes_on",
        killed::a_server_killed_anywhere_goes_on,
    ),
    (
        "a_postgres_killed_at_any_time_goes_on",
        killed::a_postgres_killed_at_any_time_goes_on,
    ),
];
