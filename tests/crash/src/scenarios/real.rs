//! Both sides on a real file system: kills, full disks, a read-only disk, and a disk that fails under the engine.

use crate::caller::{Call, Mix};
use crate::dice::Dice;
use crate::line::{Line, Place, Which};
use crate::oracle::Kind;
use crate::process::eventually;
use crate::runner::Context;
use crate::volume::{LoopKind, Volume};

use super::full::{Bench, answered_again, full_for_a_while};

/// Kills of either engine.
const KILLS: u64 = 6;

/// Does all of it on this file system; gives the figures.
#[must_use]
pub fn real(context: Context<'_>, kind: LoopKind) -> String {
    let mut dice = Dice::new(context.seed, kind.name());
    let place = Place::new(context.inside);
    let volumes = Which::BOTH.map(|which| Volume::in_file(&place.disk(which), kind)).into();
    let mut bench = Bench { line: Line::start(place, context.seed, |_| {}), volumes };
    let traffic = bench.line.traffic(Mix::default(), context.seed);
    let mut records = Vec::new();
    for _ in 0..KILLS {
        traffic.go_on_for(dice.within(1, 6));
        let which = *dice.pick(&Which::BOTH);
        bench.line.engine(which).restart();
    }
    let mut failed = 0;
    let mut starts = 0;
    for (volume, which) in Which::BOTH.into_iter().enumerate() {
        starts += full_for_a_while(&mut bench, volume, which, &traffic, &mut records).starts;
        traffic.go_on_for(5);
        read_only(&mut bench, volume, which);
        traffic.go_on_for(5);
        if bench.volumes[volume].fails() {
            failed += 1;
            // All callers may wait for answers that cannot be read any more: one more comes, and the engine has to write.
            let target = bench.line.target();
            let call = Call { kind: Kind::Post, body: 100, answer: 100, delay_ms: 0, absolute: true };
            let caller = std::thread::spawn(move || call.make(target));
            let engine = bench.line.engine(which);
            if which == Which::Near {
                // It finds out by what the next caller wants, and ends; or when it makes the space set aside whole, and takes no
                // calls. The far one has nothing to write, as nothing arrives any more.
                eventually("an engine whose disk fails ends, or takes no calls", || {
                    let takes_none = engine.status().is_some_and(|status| !status["log_failure"].is_null());
                    (takes_none || engine.has_ended()).then_some(())
                });
                assert!(!engine.has_ended() || engine.wait_for_end() != Some(0));
            }
            engine.kill();
            bench.volumes[volume].repair();
            bench.line.engine(which).start_and_wait();
            answered_again(&mut bench, which, &mut records);
            records.push(caller.join().unwrap());
        }
    }
    traffic.go_on_for(20);
    records.extend(traffic.stop());
    let verdict = bench.line.judge(&records);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    format!(
        "{}: {KILLS} kills, 2 full disks with {starts} starts, 2 read-only disks, {failed} failed disks; {verdict}",
        kind.name()
    )
}

/// An engine that is started on a disk that became read-only says so, and goes on when it is writable.
fn read_only(bench: &mut Bench, volume: usize, which: Which) {
    bench.line.engine(which).kill();
    // A mirror may be writing at this very moment.
    eventually("the volume becomes read-only", || bench.volumes[volume].remount("ro").ok());
    let engine = bench.line.engine(which);
    let told_before = engine.log_text().len();
    engine.spawn();
    assert!(!engine.ready_or_ended(), "an engine started on a read-only disk");
    assert_eq!(engine.wait_for_end(), Some(1));
    let told = engine.log_text().split_off(told_before);
    let disk = bench.line.place.disk(which).display().to_string();
    assert!(told.contains("Read-only file system") && told.contains(&disk), "{told}");
    bench.volumes[volume].remount("rw").unwrap();
    bench.line.engine(which).start_and_wait();
}
