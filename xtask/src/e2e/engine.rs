//! The suite `engine`: everything that a workspace is configured for in one command, with real PostgreSQL, servers and `sync-cli`.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod all;
mod alone;
mod promote;

use super::scenario::Suite;

/// Every scenario, the simple ones first.
pub(super) const SCENARIOS: Suite = &[
    (
        "files_and_rows_go_as_one_snapshot",
        all::files_and_rows_go_as_one_snapshot,
    ),
    (
        "a_tenant_without_a_database_takes_both",
        all::a_tenant_without_a_database_takes_both,
    ),
    ("a_sync_goes_both_ways", all::a_sync_goes_both_ways),
    ("status_and_diff_name_each", all::status_and_diff_name_each),
    ("a_dry_run_changes_nothing", all::a_dry_run_changes_nothing),
    (
        "without_a_database_it_is_files",
        alone::without_a_database_it_is_files,
    ),
    ("a_filter_leaves_rows", alone::a_filter_leaves_rows),
    (
        "a_failing_database_leaves_files_pushed",
        alone::a_failing_database_leaves_files_pushed,
    ),
    (
        "a_failing_tenant_database_leaves_files_pushed",
        alone::a_failing_tenant_database_leaves_files_pushed,
    ),
    ("rows_set_aside_are_told", alone::rows_set_aside_are_told),
    (
        "what_a_person_has_to_choose_stops_only_itself",
        alone::what_a_person_has_to_choose_stops_only_itself,
    ),
    ("a_person_is_asked_once", alone::a_person_is_asked_once),
    ("branches_come_and_go", promote::branches_come_and_go),
    (
        "a_promote_is_a_fast_forward",
        promote::a_promote_is_a_fast_forward,
    ),
    ("a_promote_merges", promote::a_promote_merges),
    (
        "a_promote_that_is_killed_is_made_again",
        promote::a_promote_that_is_killed_is_made_again,
    ),
    (
        "two_promotes_at_once_lose_nothing",
        promote::two_promotes_at_once_lose_nothing,
    ),
];
