//! Searches of the hand-over: what holds, what is known to fail, and that each rule is needed.

use model::check::{depth, holds, refuted};
use model::handover::{Broken, Faults, Handover, Policy, World};
use model::progress;

fn crashes_and_losses() -> Faults {
    Faults { crashes: [2, 3 + depth()], losses: [1, 2], ..Faults::default() }
}

fn restores() -> Faults {
    Faults { crashes: [depth(), 1], restores: [1, 1], ..Faults::default() }
}

fn far_restore() -> Faults {
    Faults { restores: [0, 1], ..Faults::default() }
}

#[test]
fn no_call_is_made_twice_silently() {
    for harmless in [false, true] {
        let model = Handover { faults: crashes_and_losses(), harmless, ..Handover::default() };
        holds(&format!("handover, crashes and losses, harmless {harmless}"), model);
    }
}

#[test]
fn behind_a_fence_a_restore_makes_no_call_twice() {
    for faults in [Faults { restores: [1, 0], ..restores() }, Faults { restores: [0, 1], ..restores() }] {
        for harmless in [false, true] {
            let model = Handover { faults, harmless, fenced: true, ..Handover::default() };
            holds(&format!("handover, one restore, fenced, harmless {harmless}"), model);
        }
    }
}

#[test]
fn with_the_mend_two_restores_and_losses_make_no_call_twice() {
    let faults = Faults { losses: [0, 1], ..restores() };
    let model = Handover { faults, fenced: true, restored_proves_nothing: true, ..Handover::default() };
    holds("handover, both restored, fenced, mended", model);
}

#[test]
fn a_new_life_at_each_unclean_start_replaces_the_fence() {
    let faults = Faults { crashes: [1, 1], ..far_restore() };
    let model = Handover { faults, policy: Policy::NewLife, ..Handover::default() };
    holds("handover, far restored, unfenced, new life", model);
}

#[test]
fn an_unfenced_restore_makes_a_call_twice_under_both_policies() {
    for policy in [Policy::AssumeCrash, Policy::AssumeRollback] {
        let model = Handover { faults: far_restore(), policy, ..Handover::default() };
        refuted(&format!("handover, far restored, unfenced, {policy:?}"), &model, "S2");
    }
}

#[test]
fn a_restored_near_side_proves_nothing() {
    let faults = Faults { restores: [1, 0], losses: [0, 1], ..Faults::default() };
    let model = Handover { faults, fenced: true, ..Handover::default() };
    refuted("handover, near restored and far lost, fenced, as written", &model, "S2");
}

fn ends(name: &str, model: Handover) -> bool {
    let found = progress::search(name, &model, |world| model.faults_of(world), World::is_over);
    assert!(found.goals > 0, "{name}: the goal exists");
    found.stuck.is_none()
}

#[test]
fn every_call_ends() {
    for harmless in [false, true] {
        let model = Handover { faults: crashes_and_losses(), harmless, ..Handover::default() };
        assert!(ends(&format!("handover, S3, harmless {harmless}"), model));
        let model = Handover { faults: restores(), harmless, fenced: true, ..Handover::default() };
        assert!(ends(&format!("handover, S3, restores, harmless {harmless}"), model));
    }
    let silent = Handover { faults: crashes_and_losses(), broken: Some(Broken::LossIsSilent), ..Handover::default() };
    assert!(!ends("handover, S3, LossIsSilent", silent));
}

#[test]
fn each_rule_is_needed() {
    let lost = crashes_and_losses();
    let near = Faults { restores: [1, 0], ..Faults::default() };
    let cases = [
        (Broken::MarkAfterCall, lost, "S2"),
        (Broken::MarkIgnored, lost, "S2"),
        (Broken::MarkIgnored, lost, "S12"),
        (Broken::EverythingRebound, lost, "S2"),
        (Broken::SentMarkLate, lost, "S2"),
        (Broken::IdsForgotten, near, "S2"),
        (Broken::MarkCountsAsMade, lost, "S3: delivered is true"),
        (Broken::RefusesAnything, lost, "S3: not executed is true"),
        (Broken::EndIsReplaced, lost, "S3: one end is told"),
    ];
    for (broken, faults, property) in cases {
        let model = Handover { faults, fenced: true, broken: Some(broken), ..Handover::default() };
        refuted(&format!("handover, {broken:?}"), &model, property);
    }
    let model = Handover {
        faults: lost,
        fenced: true,
        harmless: true,
        broken: Some(Broken::RefusalCoversAll),
        ..Handover::default()
    };
    refuted("handover, as written, RefusalCoversAll", &model, "S3: not executed is true");
}
