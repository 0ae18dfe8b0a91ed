//! Tests of `sim`: each name says what holds.

use super::*;

fn run(options: Options) -> World {
    let mut world = World::new(options);
    world.run_to_completion();
    world.assert_quiet();
    world
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long the test runs is asked for from outside")]
fn records_cross_a_bad_mirror_exactly_once() {
    // HOFT_SIM_SEEDS=5000 is the long form.
    let count = std::env::var("HOFT_SIM_SEEDS").map_or(250, |count| count.parse().unwrap());
    let (mut associations, mut tombstones) = (0, 0);
    for seed in 0..count {
        let truth = run(Options::draw(seed)).truth;
        associations += truth.associations;
        tombstones += truth.tombstones;
    }
    assert!(associations > count * 5 / 2, "lives were lost and found again: {associations}");
    assert!(tombstones > count / 4, "calls were cancelled: {tombstones}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let (a, b) = (run(Options::draw(7)), run(Options::draw(7)));
    assert_eq!((a.trace, a.steps, a.now), (b.trace, b.steps, b.now));
}

#[test]
fn a_good_mirror_carries_every_record_once() {
    for seed in 0..20 {
        let drawn = Options::draw(seed);
        let options = Options {
            loss: 0,
            cut: 0,
            duplicate: 0,
            crash_every: 0,
            outage: 0,
            publish_fails: 0,
            cancels: 0,
            jitter: 1,
            delay: (20_000, 20_000),
            ..drawn
        };
        let world = run(options);
        for node in &world.nodes {
            let status = node.peer.as_ref().unwrap().status(world.timestamp());
            assert_eq!((status.records_resent, status.records_duplicate), (0, 0), "{:?}", world.options);
        }
    }
}
