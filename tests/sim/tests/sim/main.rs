//! The simulator over a few dozen seeds, and what makes its verdict worth something: determinism, every fault met, every
//! property checked. The long form is the program `sim`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use sim::checkers::PROPERTIES;
use sim::faults::Counts;
use sim::options::{FileFaults, Options, Rare, Troubles};
use sim::trace::Trace;
use sim::world::{Report, World};

/// Seeds of the short form.
const SEEDS: u64 = 60;

fn sound(report: &Report) {
    let first = report.violations.first();
    assert!(
        first.is_none(),
        "seed {}: {first:?}; `cargo run -p sim -- --seed {}` replays it",
        report.seed,
        report.seed
    );
}

#[test]
fn a_quiet_world_answers_every_call() {
    for seed in 0..3 {
        let options = Options {
            files: FileFaults::default(),
            troubles: Troubles::default(),
            rare: Rare::default(),
            spread_percent: 0,
            ..Options::draw(seed)
        };
        let report = World::new(options, Trace::new(false, false)).run();
        sound(&report);
        assert!(report.records >= 60, "{} records", report.records);
    }
}

#[test]
fn every_promise_holds_and_every_fault_of_the_menu_is_met() {
    let (mut faults, mut records) = (Counts::default(), 0);
    for seed in 0..SEEDS {
        let report = sim::run_seed(seed, false, false);
        sound(&report);
        faults.merge(&report.faults);
        records += report.records;
    }
    assert_eq!(faults.missing(SEEDS), [""; 0]);
    assert!(records / SEEDS >= 100, "{} records per seed", records / SEEDS);
    assert!(faults.total() / SEEDS >= 10, "{} faults per seed", faults.total() / SEEDS);
}

/// Seeds that once broke a promise, each for a reason of its own.
#[test]
fn what_once_went_wrong_does_not_go_wrong_again() {
    let found = [
        (64, "a response reached the caller of another call, whose exchange had the same number before a restore"),
        (1255, "a pair that halted while the outbox was full never answered again"),
        (1169, "who lived a life that was over was not told so, and waited for ever"),
        (1349, "a result that its reader had whole was given up for the quota, as incomplete"),
        (2231, "beside a clone, the head of one request and the content and end of another passed for a whole one"),
        (2295, "after a restore, the head of one request and the end of another passed for a whole one"),
        (313, "two engines of a side each removed the copy of an announcement that the other one had kept"),
        (1223, "an announcement went for a copy of it that lay where one engine alone reads"),
        (1462, "a call that had been executed was refused when it was sent again, as not executed"),
    ];
    for (seed, what) in found {
        let report = sim::run_seed(seed, false, false);
        assert!(report.violations.is_empty(), "seed {seed}: {what}: {:?}", report.violations);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 4, 9, 17, 19] {
        let (a, b) = (sim::run_seed(seed, false, false), sim::run_seed(seed, false, false));
        assert_eq!((a.hash, a.steps, a.records, a.faults), (b.hash, b.steps, b.records, b.faults), "seed {seed}");
    }
}

#[test]
fn every_property_has_a_checker() {
    let names: Vec<&str> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    let expected: Vec<String> = (1..=16).map(|n| format!("S{n}")).chain((1..=6).map(|n| format!("L{n}"))).collect();
    assert_eq!(names, expected);
}
