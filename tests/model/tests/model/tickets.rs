//! Searches of tickets and sweeps: what holds, what the rules as written miss, and that each rule is needed.

use model::check::{depth, holds, refuted};
use model::tickets::{Broken, Tickets};

fn alone() -> Tickets {
    Tickets { losses: [1, 0], ..Tickets::default() }
}

#[test]
fn a_replayed_ticket_executes_nothing_twice() {
    holds("tickets, by themselves", alone());
    holds("tickets, changing late", Tickets { late: true, losses: [1, 0], ..Tickets::default() });
    holds("tickets, both lost their state", Tickets { losses: [1, 1 + depth()], ..Tickets::default() });
}

#[test]
fn with_the_memory_of_ids_a_swept_caller_repeats_nothing() {
    holds("tickets, sweeps and ids", Tickets { lifetime: 1, ids_kept: 2, losses: [1, 0], ..Tickets::default() });
    holds("tickets, longer memory", Tickets { lifetime: 4, ids_kept: 5, ..Tickets::default() });
}

#[test]
fn a_call_that_outlives_the_ids_is_executed_twice() {
    let model = Tickets { lifetime: 4, ids_kept: 2, ..Tickets::default() };
    refuted("tickets, as written, a call without end", &model, "S2");
}

#[test]
fn room_is_made_safely_if_a_sweep_voids_tickets() {
    let broken = Some(Broken::ForgottenForRoom);
    let model = Tickets { broken, ids_kept: 0, ..alone() };
    refuted("tickets, forgotten for room", &model, "S2");
    holds("tickets, forgotten for room, mended", Tickets { tickets_follow_secret: true, ..model });
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        (Broken::KeptOneLife, alone(), "S2"),
        (Broken::KeptOneLife, alone(), "S16"),
        (Broken::AgedByClock, Tickets { late: true, ..alone() }, "S2"),
        (Broken::TicketDespiteRecord, alone(), "S16"),
        (Broken::TicketOfAnyLife, Tickets { losses: [0, 1], ..alone() }, "S2"),
        (Broken::OldTickets, alone(), "S2"),
        (Broken::NonceSurvives, alone(), "S2"),
        (Broken::ProvisionalIsResent, Tickets { losses: [0, 1], ..alone() }, "S2"),
    ];
    for (broken, model, property) in cases {
        refuted(&format!("tickets, {broken:?}"), &Tickets { broken: Some(broken), ..model }, property);
    }
}
