//! The disk of either engine is full for a while: nothing promised is lost, and it goes on with space.
//!
//! An engine that cannot write what it must stops, so this plays the supervisor who starts it again. Read first:
//! [`full_for_a_while`].

use std::thread;
use std::time::{Duration, Instant};

use crate::caller::{Call, Mix, Traffic};
use crate::line::{Line, Place, Which};
use crate::oracle::{Kind, Outcome, Record};
use crate::process::eventually;
use crate::runner::Context;
use crate::volume::Volume;

/// How long a disk stays full.
const FULL_FOR: Duration = Duration::from_secs(2);

/// A line of which sides' disks are volumes; the volumes go after the engines.
pub(super) struct Bench {
    pub(super) line: Line,
    pub(super) volumes: Vec<Volume>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.line.end();
    }
}

/// What was seen while a disk was full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// How often the engine had to be started.
    pub(super) starts: u64,
    /// Calls that ended.
    pub(super) calls: u64,
}

/// Fills a volume of one side in mid-traffic, and empties it again.
pub(super) fn full_for_a_while(
    bench: &mut Bench,
    volume: usize,
    which: Which,
    traffic: &Traffic,
    records: &mut Vec<Record>,
) -> Seen {
    let ballast = bench.volumes[volume].fill();
    let (ended, began) = (traffic.ended(), Instant::now());
    let mut starts = 0;
    let engine = bench.line.engine(which);
    while began.elapsed() < FULL_FOR {
        if engine.has_ended() {
            engine.kill();
            starts += 1;
            engine.spawn();
        }
        thread::sleep(Duration::from_millis(50));
    }
    let calls = traffic.ended() - ended;
    ballast.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    answered_again(bench, which, records);
    Seen { starts, calls }
}

/// Waits until a call is answered; an engine that stopped for want of space is started.
pub(super) fn answered_again(bench: &mut Bench, which: Which, records: &mut Vec<Record>) {
    let target = bench.line.target();
    let call = Call { kind: Kind::Post, body: 100, answer: 100, delay_ms: 0, absolute: true };
    eventually("a call is answered when the disk is well again", || {
        let engine = bench.line.engine(which);
        while !engine.ready_or_ended() {
            engine.kill();
            engine.spawn();
        }
        let record = call.make(target);
        let answered = record.outcome == Outcome::Answered;
        records.push(record);
        answered.then_some(())
    });
}

/// Fills the disk of one side; gives the figures.
#[must_use]
pub fn full(context: Context<'_>, which: Which) -> String {
    let place = Place::new(context.inside);
    let volumes = vec![Volume::memory(&place.disk(which), 64)];
    let mut bench = Bench { line: Line::start(place, context.seed, |_| {}), volumes };
    let traffic = bench.line.traffic(Mix::default(), context.seed);
    traffic.go_on_for(40);
    let mut records = Vec::new();
    let Seen { starts, calls } = full_for_a_while(&mut bench, 0, which, &traffic, &mut records);
    traffic.go_on_for(40);
    records.extend(traffic.stop());
    let verdict = bench.line.judge(&records);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    format!("{which:?}: {starts} starts and {calls} calls while it was full; {verdict}")
}
