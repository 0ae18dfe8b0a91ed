//! Searches of the log: what holds, and that each rule is needed for it.

use model::check::{depth, holds, refuted};
use model::log::{Bounds, Broken, Log, World};
use model::progress;

fn crashes() -> Bounds {
    Bounds { records: 3, crashes: [2 + depth(), 2 + depth()], ..Bounds::default() }
}

fn restores() -> Bounds {
    Bounds { records: 3, restores: [1, 1], ..Bounds::default() }
}

fn clones() -> Bounds {
    Bounds { records: 2 + depth(), clones: [1, 1], ..Bounds::default() }
}

#[test]
fn crashes_lose_nothing_that_was_released() {
    holds("log, crashes", Log { bounds: crashes(), broken: None });
}

#[test]
fn restores_lose_nothing_silently() {
    holds("log, restores", Log { bounds: restores(), broken: None });
}

#[test]
fn clones_lose_nothing_silently() {
    holds("log, clones", Log { bounds: clones(), broken: None });
}

#[test]
fn everything_at_once_loses_nothing_silently() {
    let one = Bounds { records: 1, crashes: [1, 1], restores: [1, 1], clones: [1, 1], resets: 0 };
    holds("log, every fault", Log { bounds: one, broken: None });
    let two = Bounds { records: 2, clones: [0, 0], ..one };
    holds("log, crashes and restores", Log { bounds: two, broken: None });
}

#[test]
fn the_next_pair_takes_nothing_of_the_old_one() {
    let bounds = Bounds { records: 2, restores: [1, 1], resets: 1, ..Bounds::default() };
    holds("log, restores and a new pair", Log { bounds, broken: None });
}

fn settles(name: &str, bounds: Bounds, broken: Option<Broken>) -> bool {
    let log = Log { bounds, broken };
    let found = progress::search(name, &log, |world| log.faults_of(world), World::is_settled);
    assert!(found.goals > 0, "{name}: the goal exists");
    found.stuck.is_none()
}

#[test]
fn every_record_is_released_or_somebody_is_alarmed() {
    assert!(settles("log, L1, crashes", Bounds { records: 2, ..crashes() }, None));
    assert!(settles("log, L1, restores", Bounds { records: 2, ..restores() }, None));
    assert!(settles("log, L1, clones", Bounds { records: 2, ..clones() }, None));
}

#[test]
fn without_alarms_records_are_lost_silently() {
    assert!(!settles("log, no inbox alarm, L1", Bounds { records: 2, ..restores() }, Some(Broken::NoInboxAlarm)));
    assert!(!settles("log, no log alarm, L1", Bounds { records: 2, ..restores() }, Some(Broken::NoLogAlarm)));
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        (Broken::AckBeforeDurable, crashes(), "S1"),
        (Broken::AckBeforeDurable, crashes(), "S7"),
        (Broken::AckBeforeDurable, crashes(), "S8"),
        (Broken::AckIsNoJoin, crashes(), "S7"),
        (Broken::SendBeforeDurable, crashes(), "no false alarm"),
        (Broken::ChainIgnored, restores(), "S1"),
        (Broken::ChainIgnored, clones(), "S1"),
        (Broken::SackReleases, restores(), "S1"),
        (Broken::HeldIsReplaced, clones(), "S8"),
        (Broken::PairIgnored, Bounds { resets: 1, ..restores() }, "S16"),
    ];
    for (broken, bounds, property) in cases {
        let steps = refuted(&format!("log, {broken:?}"), &Log { bounds, broken: Some(broken) }, property);
        assert!(!steps.is_empty());
    }
}
