//! Tests that everything goes again: two drivers without threads over logs and folders in memory, real packets between them, a
//! clock that the test moves, callers and an upstream that are polled by hand.
//!
//! Invariants of the bench: nothing happens but by [`Pair::step`], so a run is the same each time but for the tags of file names and the
//! secrets of lives. Test to read first: `after_all_calls_ended_everything_is_back_at_its_baseline`.

mod pair;
mod side;

use std::time::Duration;

use disk::log::Fault;
use layer0_pipe::Profile;

use pair::{Pair, Until};
use side::{Kind, MPL, RESULT_TTL};

const SEC: Duration = Duration::from_secs(1);
const PROFILES: [Profile; 3] = [Profile::Move, Profile::Copy, Profile::Sync];

#[test]
fn after_all_calls_ended_everything_is_back_at_its_baseline() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        for round in 0..3 {
            for kind in Kind::ALL {
                pair.near().call(kind);
                pair.far().call(kind);
            }
            pair.run(Until::Quiet, 20_000);
            if round == 0 {
                assert_eq!(pair.near().outcomes(), pair.far().outcomes(), "{profile:?}");
            }
        }
        pair.drain();
        pair.assert_baseline(&format!("{profile:?}"));
    }
}

#[test]
fn ten_thousand_calls_leave_nothing_behind() {
    let mut pair = Pair::new(Profile::Copy);
    for _ in 0..50 {
        for _ in 0..200 {
            pair.near().call(Kind::Plain);
        }
        pair.run(Until::Quiet, 20_000);
    }
    assert_eq!(pair.near().outcomes().get("answered"), Some(&10_000));
    // Before any time to live is over: only what callers may still ask for.
    pair.assert_no_exchange("before the results' time is over");
    pair.drain();
    pair.assert_baseline("after it");
}

#[test]
fn a_restart_at_any_point_leaves_nothing_behind() {
    for (index, profile) in PROFILES.into_iter().cycle().take(12).enumerate() {
        let mut pair = Pair::new(profile);
        for kind in Kind::ALL {
            pair.near().call(kind);
        }
        let what = format!("{profile:?}, restart after {} steps", index * 5 + 1);
        pair.run(Until::Steps(index * 5 + 1), 20_000);
        if index % 2 == 0 {
            pair.restart_near()
        } else {
            pair.restart_far()
        }
        pair.run(Until::Steps(20), 20_000);
        pair.restart_near();
        pair.restart_far();
        let answered = |pair: &mut Pair| pair.near().outcomes().get("answered").copied().unwrap_or(0);
        let before = answered(&mut pair);
        pair.near().call(Kind::Plain);
        pair.run(Until::Quiet, 40_000);
        assert_eq!(answered(&mut pair), before + 1, "{what}: the line works");
        pair.drain();
        pair.assert_baseline(&what);
    }
}

#[test]
fn a_crash_at_any_write_leaves_nothing_behind() {
    for call in (0..120).step_by(11) {
        let mut pair = Pair::new(Profile::Copy);
        for kind in Kind::ALL {
            pair.near().call(kind);
        }
        let far = call % 2 == 0;
        let storage = if far { pair.far().storage.clone() } else { pair.near().storage.clone() };
        storage.fail_at(storage.calls() + call, Fault::Stop);
        pair.run_until_stopped(3_000);
        storage.power_cut(0);
        if far {
            pair.restart_far()
        } else {
            pair.restart_near()
        }
        pair.near().call(Kind::Plain);
        pair.run(Until::Quiet, 40_000);
        pair.drain();
        pair.assert_baseline(&format!("crash at write {call} of the {} side", if far { "far" } else { "near" }));
    }
}

#[test]
fn a_crash_between_any_two_entries_of_one_call_leaves_nothing_behind() {
    for far in [false, true] {
        for call in 0.. {
            let mut pair = Pair::new(Profile::Copy);
            pair.near().call(Kind::Plain);
            let storage = if far { pair.far().storage.clone() } else { pair.near().storage.clone() };
            storage.fail_at(storage.calls() + call, Fault::Stop);
            // Everything written before the crash is kept.
            if !pair.run_until_stopped(1_000) {
                break;
            }
            if far {
                pair.restart_far()
            } else {
                pair.restart_near()
            }
            pair.drain();
            pair.assert_baseline(&format!("crash at write {call} of the {} side", if far { "far" } else { "near" }));
        }
    }
}

#[test]
fn a_side_that_lost_its_state_leaves_nothing_behind_at_the_other() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        for kind in Kind::ALL {
            pair.near().call(kind);
            pair.far().call(kind);
        }
        pair.run(Until::Steps(12), 20_000);
        pair.lose_far();
        pair.run(Until::Quiet, 40_000);
        pair.near().call(Kind::Plain);
        pair.run(Until::Quiet, 40_000);
        pair.drain();
        pair.assert_baseline(&format!("{profile:?}"));
    }
}

#[test]
fn a_file_that_the_inbox_drops_unfinished_is_forgotten_by_the_driver() {
    let mut pair = Pair::new(Profile::Copy);
    pair.cut_files = 3;
    for _ in 0..30 {
        pair.near().call(Kind::Upload);
        pair.run(Until::Quiet, 20_000);
    }
    assert!(pair.cut > 10, "{} files were cut", pair.cut);
    pair.cut_files = 0;
    pair.drain();
    pair.assert_baseline("after cut files");
}

#[test]
fn a_stored_result_stays_until_its_time_is_over_and_then_goes() {
    let mut pair = Pair::new(Profile::Copy);
    pair.near().call(Kind::Kept);
    pair.run(Until::Quiet, 20_000);
    pair.pass(RESULT_TTL - 20 * SEC);
    assert_eq!(pair.near().stored_results(), 1);
    assert!(pair.near().spooled() > 0);
    pair.pass(40 * SEC);
    assert_eq!((pair.near().stored_results(), pair.near().spooled()), (0, 0));
}

#[test]
fn a_response_stays_until_its_caller_read_it_and_then_goes() {
    let mut pair = Pair::new(Profile::Copy);
    pair.near().call(Kind::Upload);
    while pair.near().spooled() == 0 {
        pair.run(Until::Steps(1), 1);
    }
    pair.near().held = true;
    pair.pass(60 * SEC);
    assert!(pair.near().spooled() >= 3, "{}", pair.near().spooled());
    pair.near().roll();
    assert!(pair.near().roll() > 1, "its segment stays");
    pair.near().held = false;
    pair.run(Until::Quiet, 20_000);
    assert_eq!(pair.near().outcomes().get("answered"), Some(&1));
    assert_eq!((pair.near().spooled(), pair.near().roll()), (0, 1));
}

#[test]
fn a_record_stays_in_the_log_until_it_is_acknowledged_also_over_a_restart() {
    let mut pair = Pair::new(Profile::Copy);
    pair.near().call(Kind::Plain);
    pair.run(Until::Quiet, 20_000);
    pair.outage = true;
    pair.near().call(Kind::Kept);
    pair.pass(10 * SEC);
    let unacknowledged = pair.near().unacknowledged();
    assert!(unacknowledged >= 4, "{unacknowledged}");
    pair.near().roll();
    pair.restart_near();
    assert_eq!(pair.near().unacknowledged(), unacknowledged);
    assert!(pair.near().roll() > 1, "its segment stays");
    pair.outage = false;
    pair.run(Until::Steps(200), 200);
    pair.run(Until::Quiet, 20_000);
    assert_eq!((pair.near().unacknowledged(), pair.near().stored_results()), (0, 1));
    pair.drain();
    pair.assert_baseline("after an outage and a restart");
}

#[test]
fn what_a_slow_mirror_has_not_read_stays_in_the_outbox_for_the_packet_lifetime() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        pair.near().call(Kind::Plain);
        pair.run(Until::Quiet, 20_000);
        pair.outage = true;
        let before = pair.near().out.files();
        pair.pass(300 * SEC);
        let unread = pair.near().out.files();
        assert!(unread.len() >= before.len() + 9, "{profile:?}: heartbeats were swept away: {unread:?}");
        pair.restart_near();
        pair.pass(100 * SEC);
        let after = pair.near().out.files();
        assert!(unread.iter().all(|file| after.contains(file)), "{profile:?}: those of the start before");
        pair.pass(2 * MPL);
        let old = pair.near().out.files();
        assert!(unread.iter().all(|file| !old.contains(file)), "{profile:?}: {old:?}");
        pair.outage = false;
        pair.near().call(Kind::Plain);
        pair.run(Until::Quiet, 40_000);
        pair.drain();
        pair.assert_baseline(&format!("{profile:?}, after an outage"));
    }
}
