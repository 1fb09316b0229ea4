//! The suite `files`: a tree goes to a tenant and comes back.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

mod access;
mod content;
mod cost;
mod history;
mod hostile;
mod merging;
mod outage;
mod two_people;
pub(super) mod watching;

use super::scenario::{Place, Suite};

/// Every scenario, the simple ones first.
pub(super) const SCENARIOS: Suite = &[
    (
        "a_push_is_pulled_byte_for_byte",
        content::a_push_is_pulled_byte_for_byte,
    ),
    (
        "edits_and_removals_travel",
        content::edits_and_removals_travel,
    ),
    (
        "renames_and_moves_travel",
        content::renames_and_moves_travel,
    ),
    ("executable_bits_travel", content::executable_bits_travel),
    (
        "empty_files_and_directories_travel",
        content::empty_files_and_directories_travel,
    ),
    (
        "a_file_and_a_directory_change_places",
        content::a_file_and_a_directory_change_places,
    ),
    ("links_travel_as_links", content::links_travel_as_links),
    (
        "long_names_and_deep_paths_travel",
        content::long_names_and_deep_paths_travel,
    ),
    (
        "a_file_of_100_mib_travels",
        content::a_file_of_100_mib_travels,
    ),
    ("ignored_files_stay_here", content::ignored_files_stay_here),
    (
        "the_example_goes_to_its_embedded_tenant",
        history::the_example_goes_to_its_embedded_tenant,
    ),
    (
        "history_is_kept_and_shown",
        history::history_is_kept_and_shown,
    ),
    (
        "status_tells_who_is_ahead",
        history::status_tells_who_is_ahead,
    ),
    ("doctor_is_content", history::doctor_is_content),
    (
        "nothing_to_push_is_one_small_request",
        cost::nothing_to_push_is_one_small_request,
    ),
    (
        "touched_files_are_not_sent",
        cost::touched_files_are_not_sent,
    ),
    (
        "a_lost_cache_is_no_removal",
        cost::a_lost_cache_is_no_removal,
    ),
    (
        "an_insert_into_a_large_file_costs_little",
        cost::an_insert_into_a_large_file_costs_little,
    ),
    (
        "one_edit_in_a_large_tree_costs_little",
        cost::one_edit_in_a_large_tree_costs_little,
    ),
    (
        "small_edits_cost_what_they_change",
        cost::small_edits_cost_what_they_change,
    ),
    (
        "a_large_tree_with_history_is_pulled_afresh",
        cost::a_large_tree_with_history_is_pulled_afresh,
    ),
    (
        "the_bytes_reported_are_the_bytes_on_the_wire",
        cost::the_bytes_reported_are_the_bytes_on_the_wire,
    ),
    ("a_dry_run_changes_nothing", cost::a_dry_run_changes_nothing),
    (
        "of_two_pushes_at_once_one_wins",
        two_people::of_two_pushes_at_once_one_wins,
    ),
    (
        "a_pull_never_overwrites_an_edit",
        two_people::a_pull_never_overwrites_an_edit,
    ),
    (
        "a_pull_keeps_edits_of_other_files",
        two_people::a_pull_keeps_edits_of_other_files,
    ),
    (
        "a_pull_never_overwrites_a_new_file",
        two_people::a_pull_never_overwrites_a_new_file,
    ),
    (
        "a_removal_here_and_an_edit_there_conflict",
        two_people::a_removal_here_and_an_edit_there_conflict,
    ),
    (
        "edits_of_two_people_merge_whoever_runs_first",
        merging::edits_of_two_people_merge_whoever_runs_first,
    ),
    (
        "what_cannot_be_merged_is_for_a_person",
        merging::what_cannot_be_merged_is_for_a_person,
    ),
    (
        "keeping_both_comes_to_the_same_tree",
        merging::keeping_both_comes_to_the_same_tree,
    ),
    (
        "restricted_paths_are_never_merged",
        merging::restricted_paths_are_never_merged,
    ),
    (
        "what_was_replaced_comes_back",
        merging::what_was_replaced_comes_back,
    ),
    (
        "an_old_snapshot_comes_back",
        merging::an_old_snapshot_comes_back,
    ),
    (
        "a_mass_removal_is_not_made_unasked",
        merging::a_mass_removal_is_not_made_unasked,
    ),
    (
        "a_filter_leaves_the_rest_as_it_is",
        merging::a_filter_leaves_the_rest_as_it_is,
    ),
    (
        "names_that_differ_by_case_are_told",
        merging::names_that_differ_by_case_are_told,
    ),
    (
        "a_save_is_on_the_tenant_at_once",
        watching::a_save_is_on_the_tenant_at_once,
    ),
    (
        "a_watch_outlives_its_server",
        watching::a_watch_outlives_its_server,
    ),
    ("a_wrong_token_is_denied", access::a_wrong_token_is_denied),
    (
        "an_expired_token_is_denied",
        access::an_expired_token_is_denied,
    ),
    (
        "a_revoked_token_is_denied",
        access::a_revoked_token_is_denied,
    ),
    (
        "a_token_reaches_only_its_tenant",
        access::a_token_reaches_only_its_tenant,
    ),
    (
        "a_token_to_read_cannot_push",
        access::a_token_to_read_cannot_push,
    ),
    (
        "a_wrong_authority_is_refused",
        access::a_wrong_authority_is_refused,
    ),
    (
        "a_login_is_kept_for_its_owner_alone",
        access::a_login_is_kept_for_its_owner_alone,
    ),
    (
        "tokens_are_not_stored_or_logged",
        access::tokens_are_not_stored_or_logged,
    ),
    (
        "a_linked_directory_is_not_followed",
        hostile::a_linked_directory_is_not_followed,
    ),
    (
        "what_is_refused_is_named",
        hostile::what_is_refused_is_named,
    ),
    ("secrets_stay_home", hostile::secrets_stay_home),
    (
        "what_shows_a_key_stays_home",
        hostile::what_shows_a_key_stays_home,
    ),
    (
        "an_emptied_tree_is_not_pushed_by_accident",
        hostile::an_emptied_tree_is_not_pushed_by_accident,
    ),
    (
        "a_server_that_is_away_is_named",
        outage::a_server_that_is_away_is_named,
    ),
    (
        "a_cut_push_sends_only_the_rest",
        outage::a_cut_push_sends_only_the_rest,
    ),
    (
        "a_server_stopped_in_a_push_goes_on_after",
        outage::a_server_stopped_in_a_push_goes_on_after,
    ),
    (
        "a_server_killed_in_a_push_goes_on_after",
        outage::a_server_killed_in_a_push_goes_on_after,
    ),
    (
        "a_cut_pull_fetches_only_the_rest",
        outage::a_cut_pull_fetches_only_the_rest,
    ),
    (
        "a_pull_that_is_cut_changes_nothing",
        outage::a_pull_that_is_cut_changes_nothing,
    ),
    (
        "a_second_server_is_refused",
        outage::a_second_server_is_refused,
    ),
    (
        "a_server_finishes_what_it_began",
        outage::a_server_finishes_what_it_began,
    ),
    ("health_is_told", outage::health_is_told),
    (
        "a_cut_look_fetches_only_the_rest",
        outage::a_cut_look_fetches_only_the_rest,
    ),
    (
        "status_answers_beside_a_long_push",
        outage::status_answers_beside_a_long_push,
    ),
];
