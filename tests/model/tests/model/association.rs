//! Searches of the association: what holds, what the rules as written miss, and that each rule is needed.

use model::association::{AsWritten, Association, Broken, Faults, Mend};
use model::check::{depth, holds, refuted};
use model::progress;

const S16_LIVED: &str = "S16: the confirmed life lived";
const S16_OLDER: &str = "S16: no older life after a younger";
const S16_CLOSED: &str = "S16: no closed life comes back";
const ONCE: &str = "a pair is opened once";

fn losses(more: u8) -> Faults {
    Faults { losses: [2, 1 + more], crashes: [1, 1], ..Faults::default() }
}

fn clones(more: u8) -> Faults {
    Faults { losses: [2, more], crashes: [0, 1], clones: [1, 0], ..Faults::default() }
}

/// Both forget, and a crash forgets what took part.
fn sweeps(more: u8) -> Faults {
    Faults { losses: [more, 0], crashes: [1, 1 - more.min(1)], sweeps: [1, 1], ..Faults::default() }
}

/// One side forgets.
fn forgotten(more: u8) -> Faults {
    Faults { losses: [1, more], sweeps: [0, 1], ..Faults::default() }
}

fn claims() -> Faults {
    Faults { losses: [1, 0], claims: [1, 1], ..Faults::default() }
}

/// Enough to break a rule.
fn two_losses() -> Faults {
    Faults { losses: [1, 1], ..Faults::default() }
}

fn one_clone() -> Faults {
    Faults { losses: [1, 0], clones: [1, 0], ..Faults::default() }
}

fn one_claim() -> Faults {
    Faults { claims: [1, 0], ..Faults::default() }
}

fn both(name: &str, model: Association) {
    for fenced in [false, true] {
        let fence = if fenced { "fenced" } else { "unfenced" };
        holds(&format!("association, {name}, {fence}"), Association { fenced, ..model });
    }
}

#[test]
fn no_stale_life_is_confirmed_after_losses() {
    both("losses", Association { faults: losses(depth()), ..Association::default() });
}

#[test]
fn no_stale_life_is_confirmed_with_clones() {
    both("clones", Association { faults: clones(depth()), ..Association::default() });
}

#[test]
fn no_stale_life_is_confirmed_after_sweeps() {
    both("sweeps and crashes", Association { faults: sweeps(depth()), ..Association::default() });
    both("sweeps and losses", Association { faults: forgotten(depth()), ..Association::default() });
}

#[test]
fn a_claimed_fork_costs_one_life() {
    both("claims", Association { faults: claims(), ..Association::default() });
}

#[test]
fn with_the_mend_a_pair_is_opened_once() {
    let mend = Some(Mend::ForgottenLifeStaysClosed);
    both("sweeps, mended", Association { faults: sweeps(depth()), mend, ..Association::default() });
    both("losses, mended", Association { faults: losses(0), mend, ..Association::default() });
}

fn finds_each_other(name: &str, model: Association) -> bool {
    let may_halt = model.faults.clones != [0; 2] || model.faults.claims != [0; 2];
    let goal = |world: &model::association::World| world.is_mutual() || (may_halt && world.is_halted());
    let found = progress::search(name, &model, |world| model.faults_of(world), goal);
    assert!(found.goals > 0, "{name}: the goal exists");
    found.stuck.is_none()
}

#[test]
fn from_everywhere_both_sides_find_each_other() {
    let mend = Some(Mend::ForgottenLifeStaysClosed);
    let cases = [
        ("losses", losses(0), None),
        ("sweeps", sweeps(0), None),
        ("sweeps, mended", sweeps(0), mend),
        ("clones", clones(0), None),
        ("claims", claims(), None),
    ];
    for (name, faults, mend) in cases {
        for fenced in [false, true] {
            let model = Association { faults, fenced, mend, ..Association::default() };
            assert!(finds_each_other(&format!("association, L3, {name}, fenced {fenced}"), model));
        }
    }
}

#[test]
fn dropping_mismatches_leaves_peers_deaf() {
    let model = Association { faults: two_losses(), broken: Some(Broken::MismatchIsDropped), ..Association::default() };
    assert!(!finds_each_other("association, L3, MismatchIsDropped", model));
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        (Broken::LastingNonce, two_losses(), false, S16_LIVED),
        (Broken::LastingNonce, two_losses(), false, S16_OLDER),
        (Broken::NoClosedLives, one_clone(), false, S16_CLOSED),
        (Broken::NoGenerations, one_clone(), true, S16_OLDER),
        (Broken::ForgotByAnyHello, two_losses(), false, "a pair is left only by a fault"),
        (Broken::NoForgot, forgotten(0), false, "who took part joins once"),
        (Broken::SupersededTakesALife, one_clone(), false, "lives are finite"),
        (Broken::ForkedForAnybody, one_claim(), false, "lives are finite"),
    ];
    for (broken, faults, fenced, property) in cases {
        let model = Association { faults, fenced, broken: Some(broken), mend: None };
        refuted(&format!("association, {broken:?}"), &model, property);
    }
}

#[test]
fn the_rules_as_written_open_a_pair_twice_after_a_sweep() {
    let faults = Faults { sweeps: [0, 1], ..Faults::default() };
    let model = AsWritten(Association { faults, ..Association::default() });
    refuted("association, as written, after a sweep", &model, ONCE);
}

#[test]
fn unfenced_a_clone_or_a_revert_defeats_the_rules() {
    let model = AsWritten(Association { faults: one_clone(), ..Association::default() });
    refuted("association, as written, a clone without a fence", &model, S16_OLDER);
    let faults = Faults { losses: [0, 1], reverts: [1, 0], ..Faults::default() };
    let model = AsWritten(Association { faults, ..Association::default() });
    refuted("association, as written, a revert without a fence", &model, S16_LIVED);
}
