//! Another life, over the bench.

use disk::log::{Fault, MemStorage};
use layer1_replication::Alarm;
use layer2_http::operation::State;

use super::*;
use crate::driver::testbench::{Bench, DEFAULT, Far, operation, settings};

/// The far side in the same life, without what it knew of me.
fn forgetful(secret: u8) -> Far {
    Far::with_life(DEFAULT, 1, secret, 1_000 * u64::from(secret))
}

/// A bench with a GET and a POST under way, and the far side that executes them.
fn with_calls(storage: &MemStorage) -> Bench {
    let mut bench = Bench::start(storage);
    let mut first = Far::with_life(DEFAULT, 1, 1, 1);
    bench.talk(&mut first);
    for (n, method) in [(1, "GET"), (2, "POST")] {
        let _caller = bench.call(n, method, None, true);
    }
    bench.talk(&mut first);
    assert_eq!(first.asked().len(), 2);
    bench
}

fn assert_new_life(bench: &mut Bench, far: &mut Far) {
    for _ in 0..2 {
        bench.talk(far);
    }
    let asked = far.asked();
    assert_eq!(asked.iter().map(|asked| asked.operation).collect::<Vec<_>>(), [operation(1)]);
    assert_eq!(bench.view(operation(2)).state, State::Unknown);
    far.answer(asked[0].stream, b"after all");
    bench.talk(far);
    assert_eq!(bench.result(operation(1)), Some(b"after all".to_vec()));
}

#[test]
fn who_was_forgotten_begins_another_life_at_the_next_start() {
    let storage = MemStorage::new();
    let mut bench = with_calls(&storage);
    let before = bench.driver.life.clone();
    let mut far = forgetful(2);
    assert!(matches!(bench.try_talk(&mut far), Err(DriverError::NewLife)));
    drop(bench);
    let mut bench = Bench::start(&storage);
    assert_ne!(bench.driver.life.incarnation, before.incarnation);
    assert_ne!(bench.driver.life.nonce_secret, before.nonce_secret);
    assert_new_life(&mut bench, &mut far);
    // The next start reads the end of the old association before what followed from it.
    drop(bench);
    let mut bench = Bench::start(&storage);
    assert_eq!(bench.result(operation(1)), Some(b"after all".to_vec()));
    assert_eq!(bench.view(operation(2)).state, State::Unknown);
    // Forgotten once more on the same day: the pair halts, and the others go on.
    let life = bench.driver.life.clone();
    bench.talk(&mut forgetful(3));
    let now = bench.driver.host.now();
    assert_eq!(bench.driver.slots[&DEFAULT].peer.status(now).halted, Some(Alarm::PeerForgot));
    assert_eq!(bench.driver.life, life);
    // On the next day it is believed again.
    bench.host.pass(std::time::Duration::from_millis(2 * WORD_COUNTS_MS));
    drop(bench);
    let mut bench = Bench::start(&storage);
    bench.host.pass(std::time::Duration::from_millis(2 * WORD_COUNTS_MS));
    assert!(matches!(bench.try_talk(&mut forgetful(4)), Err(DriverError::NewLife)));
}

#[test]
fn a_crash_while_another_life_is_begun_leaves_one_or_the_other() {
    for seed in [0, 1, 9] {
        for call in 0.. {
            let storage = MemStorage::new();
            let mut bench = with_calls(&storage);
            let mut far = forgetful(2);
            storage.fail_at(storage.calls() + call, Fault::Stop);
            let done = matches!(bench.try_talk(&mut far), Err(DriverError::NewLife));
            drop(bench);
            storage.power_cut(seed);
            // Until the far side is heard by the new life, it says again that it forgot.
            let mut bench = Bench::start(&storage);
            while bench.try_talk(&mut far).is_err() {
                drop(bench);
                bench = Bench::try_start(&storage, settings()).unwrap();
            }
            assert_new_life(&mut bench, &mut far);
            if done {
                break;
            }
        }
    }
}
