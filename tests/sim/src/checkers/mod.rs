//! The properties of the specification, each a function with its number in its name.
//!
//! Invariants: a checker sees what callers and upstreams saw, what is durable on disks, what lies in folders and what engines
//! publish; never an engine's own opinion where there is a fact. None is weaker than its rule: where a rule allows more than
//! one might think, the function quotes it. Files: `execution.rs` calls, `wire.rs` what is published and read, `fork.rs` logs that
//! went back in time, `servers.rs` several servers of a side, `end.rs` when all is over. Test to read first: `every_property_has_a_checker`.

mod end;
mod execution;
mod fork;
mod servers;
mod wire;

pub use end::{at_the_end, l1_a_lost_tail_is_found_without_a_heartbeat, l5_a_poisoned_record_does_not_stop_the_others};
pub use execution::executed;
pub use servers::l1_calls_go_to_the_servers_that_are_there;
pub use wire::{Watch, verified};

/// Every property and the function that checks it.
pub const PROPERTIES: &[(&str, &str)] = &[
    ("S1", "wire::s1_what_is_released_is_durable_at_the_receiver, fork::s1_what_is_released_is_what_was_written"),
    ("S2", "execution::s2_at_most_once_per_operation, wire::s2_a_record_is_taken_once"),
    ("S3", "end::s3_every_accepted_call_ended_in_one_way, end::s3_a_kept_result_is_there"),
    ("S4", "callers::take, upstream::content: content is compared octet by octet; fork::s4_a_forked_pair_halts"),
    ("S5", "wire::s5_only_genuine_packets_are_verified"),
    ("S6", "wire::s6_no_salt_twice"),
    ("S7", "wire::s7_what_was_said_is_not_taken_back"),
    ("S8", "wire::s8_a_sack_is_durable_and_stays"),
    ("S9", "end::s9_nothing_was_beyond_credit"),
    ("S10", "wire::Watch::removed_from_outbox, wire::Watch::removed_from_inbox, wire::Watch::presence_removed"),
    ("S11", "wire::s5_only_genuine_packets_are_verified"),
    ("S12", "end::s12_one_dispatch_mark_per_call"),
    ("S13", "end::s13_only_heartbeats_at_rest"),
    ("S14", "wire::s14_the_suite_is_the_pinned_one"),
    ("S15", "callers::told, end::s15_a_told_end_stays"),
    ("S16", "wire::s16_a_closed_life_never_comes_back"),
    (
        "L1",
        "end::l1_every_record_is_acknowledged, end::l1_a_lost_tail_is_found_without_a_heartbeat, servers::l1_calls_go_to_the_servers_that_are_there",
    ),
    ("L2", "end::l2_both_clocks_agree"),
    ("L3", "rest::remedy: associations are opened anew"),
    ("L4", "rest::come_to_rest: every class of calls ends"),
    ("L5", "end::l5_a_poisoned_record_does_not_stop_the_others"),
    ("L6", "end::l6_storage_returns_to_its_baseline"),
];
