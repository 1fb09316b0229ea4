//! The suite `engine`: everything that a workspace is configured for in one command, with real PostgreSQL, servers and `sync-cli`.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod agent;
mod all;
mod alone;
mod daemon;
mod killed;
mod moved;
mod operator;
mod promote;
mod terminated;
mod untouched;

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
    (
        "a_push_of_both_that_is_killed_goes_on",
        killed::a_push_of_both_that_is_killed_goes_on,
    ),
    ("status_and_diff_name_each", all::status_and_diff_name_each),
    ("a_dry_run_changes_nothing", all::a_dry_run_changes_nothing),
    (
        "a_dry_run_leaves_no_trace",
        untouched::a_dry_run_leaves_no_trace,
    ),
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
    ("an_agent_lists_the_tools", agent::an_agent_lists_the_tools),
    (
        "an_agent_syncs_files_and_rows",
        agent::an_agent_syncs_files_and_rows,
    ),
    ("an_agent_syncs_items", agent::an_agent_syncs_items),
    (
        "an_agent_is_held_to_its_arguments",
        agent::an_agent_is_held_to_its_arguments,
    ),
    (
        "an_agent_sees_progress_and_may_cancel",
        agent::an_agent_sees_progress_and_may_cancel,
    ),
    (
        "an_agent_calls_several_at_once",
        agent::an_agent_calls_several_at_once,
    ),
    (
        "an_agent_that_is_terminated_is_gone_on_with",
        terminated::an_agent_that_is_terminated_is_gone_on_with,
    ),
    (
        "a_daemon_brings_both_ways",
        daemon::a_daemon_brings_both_ways,
    ),
    (
        "a_backlog_is_drained_at_once",
        daemon::a_backlog_is_drained_at_once,
    ),
    (
        "a_daemon_outlives_its_server_and_the_network",
        daemon::a_daemon_outlives_its_server_and_the_network,
    ),
    (
        "of_two_daemons_in_a_workspace_one_is_told",
        daemon::of_two_daemons_in_a_workspace_one_is_told,
    ),
    (
        "a_failing_database_holds_up_no_files",
        daemon::a_failing_database_holds_up_no_files,
    ),
    (
        "a_database_without_an_address_holds_up_no_files",
        daemon::a_database_without_an_address_holds_up_no_files,
    ),
    (
        "a_clock_that_jumps_holds_up_nothing",
        daemon::a_clock_that_jumps_holds_up_nothing,
    ),
    (
        "a_server_that_is_ended_in_a_call_leaves_nothing_half_done",
        agent::a_server_that_is_ended_in_a_call_leaves_nothing_half_done,
    ),
    (
        "an_operator_sees_what_a_server_does",
        operator::an_operator_sees_what_a_server_does,
    ),
    ("no_secret_is_logged", operator::no_secret_is_logged),
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
        "a_tenant_that_moves_is_followed",
        moved::a_tenant_that_moves_is_followed,
    ),
    (
        "what_a_database_agreed_on_moves_along",
        moved::what_a_database_agreed_on_moves_along,
    ),
    (
        "a_daemon_follows_its_tenant",
        moved::a_daemon_follows_its_tenant,
    ),
    (
        "nobody_else_is_taken_for_a_tenant",
        moved::nobody_else_is_taken_for_a_tenant,
    ),
    (
        "a_server_that_dies_in_a_promote_is_gone_on_with",
        promote::a_server_that_dies_in_a_promote_is_gone_on_with,
    ),
    (
        "two_promotes_at_once_lose_nothing",
        promote::two_promotes_at_once_lose_nothing,
    ),
];
