//! The scenarios on two real clusters; one after another, in the order listed here.
//!
//! Needs root and the programs that `cargo run -p e2e -- build` makes; without them everything is skipped and counted,
//! and `HOFT_REQUIRE=cluster` makes that a failure. Arguments: words of names, `--list`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a scenario that panics has failed, which is what it is for")]

use std::process::ExitCode;

use e2e::runner::{self, Scenario};

mod basics;
mod chart_life;
mod directions;
mod engines;
mod failover;
mod figures;
mod first_call;
mod injection;
mod isolation;
mod many;
mod mismatch;
mod operators;
mod procs;
mod recovery;
mod refusals;
mod rights;
mod rounds;
mod schema;
mod traffic;
mod world;

/// In the order they run; those on the bare machine come first in any case.
const SCENARIOS: &[Scenario] = &[
    Scenario::machine("rounds_leave_nothing_behind", |place, tools| Box::pin(rounds::leave_nothing(place, tools))),
    Scenario::machine("a_killed_run_is_cleaned_up", |place, tools| Box::pin(rounds::killed(place, tools))),
    Scenario::clusters("a_second_run_is_refused", |bed| Box::pin(rounds::second_is_refused(bed))),
    Scenario::clusters("nothing_of_b_can_be_reached_from_a", |bed| Box::pin(isolation::no_way(bed))),
    Scenario::clusters("a_pod_with_a_native_sidecar_becomes_ready", |bed| Box::pin(basics::native_sidecar(bed))),
    Scenario::clusters("services_and_names_work_in_pods", |bed| Box::pin(basics::services_and_names(bed))),
    Scenario::clusters("exec_and_logs_work", |bed| Box::pin(basics::exec_and_logs(bed))),
    Scenario::clusters("a_folder_is_shared_with_pods", |bed| Box::pin(basics::shared_folder(bed))),
    Scenario::clusters("rsync_carries_files_both_ways", |bed| Box::pin(basics::rsync_carries(bed))),
    Scenario::clusters("a_failed_wait_says_why", |bed| Box::pin(basics::failed_wait(bed))),
    Scenario::clusters("a_restarted_api_server_goes_on", |bed| Box::pin(basics::restarted_api_server(bed))),
    Scenario::product("a_call_crosses_the_gap", |bed, product| Box::pin(first_call::crosses_the_gap(bed, product))),
    Scenario::product("every_kind_of_pod_gets_its_engine", |bed, product| {
        Box::pin(injection::every_kind(bed, product))
    }),
    Scenario::product("a_pod_without_its_engine_is_refused_with_the_reason", |bed, product| {
        Box::pin(injection::refused(bed, product))
    }),
    Scenario::product("pods_are_counted_by_the_age_of_their_engine", |bed, product| {
        Box::pin(injection::counts(bed, product))
    }),
    Scenario::product("an_engine_is_up_before_its_app_and_ends_after_it", |bed, product| {
        Box::pin(injection::order(bed, product))
    }),
    Scenario::product("pods_start_while_the_operator_is_away", |bed, product| {
        Box::pin(injection::operator_away(bed, product))
    }),
    Scenario::product("new_authorities_refuse_no_pod", |bed, product| {
        Box::pin(injection::new_authorities(bed, product))
    }),
    Scenario::product("a_stopped_direction_is_named_on_both_sides", |bed, product| {
        Box::pin(directions::each_is_named(bed, product))
    }),
    Scenario::product("nothing_is_lost_or_doubled_whatever_dies", |bed, product| {
        Box::pin(recovery::nothing_is_lost_or_doubled(bed, product))
    }),
    Scenario::product("calls_of_a_pod_that_is_gone_are_named", |bed, product| {
        Box::pin(recovery::stranded_calls_are_named(bed, product))
    }),
    Scenario::product("the_definition_is_enforced_by_the_api_server", |bed, product| {
        Box::pin(schema::is_enforced(bed, product))
    }),
    Scenario::product("mistakes_are_said_and_mended", |bed, product| {
        Box::pin(refusals::are_said_and_mended(bed, product))
    }),
    Scenario::product("another_key_than_expected_is_named", |bed, product| Box::pin(mismatch::is_named(bed, product))),
    Scenario::product("five_hundred_peerings_are_looked_after", |bed, product| {
        Box::pin(many::are_all_looked_after(bed, product))
    }),
    Scenario::clusters("the_audit_log_tells_users_apart", |bed| Box::pin(basics::audit(bed))),
    Scenario::product("a_leader_that_fails_is_succeeded", |bed, product| Box::pin(failover::is_survived(bed, product))),
    Scenario::product("memory_and_images_are_measured", |bed, product| Box::pin(figures::are_printed(bed, product))),
    // After all others, whose requests it looks at; the last one takes the operator away.
    Scenario::product("the_operators_rights_are_exact", |bed, product| Box::pin(rights::are_exact(bed, product))),
    Scenario::product("calls_go_on_while_the_chart_goes_and_comes", |bed, product| {
        Box::pin(chart_life::goes_on_without_the_operator(bed, product))
    }),
];

fn main() -> ExitCode {
    runner::main(SCENARIOS)
}
