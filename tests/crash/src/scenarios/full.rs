//! The disk of either engine is full for a while: nothing promised is lost, callers are told, and it goes on with space.

use std::time::{Duration, Instant};

use crate::caller::{Call, Mix};
use crate::line::{Line, Place, Which};
use crate::oracle::{Kind, Outcome};
use crate::process::eventually;
use crate::runner::Context;
use crate::volume::{LoopKind, Volume};

/// What the side's disk is.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// A file system in memory.
    Memory,
    /// One in a file.
    File(LoopKind),
}

/// A line of which one side's disk is small; the disk goes after the engines.
struct Bench {
    line: Line,
    volume: Volume,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.line.end();
    }
}

/// Fills the disk of one side in mid-traffic, and empties it again; gives the figures.
#[must_use]
pub fn full(context: Context<'_>, which: Which, on: On) -> String {
    let place = Place::new(context.inside);
    let volume = match on {
        On::Memory => Volume::memory(&place.disk(which), 64),
        On::File(kind) => Volume::in_file(&place.disk(which), kind, 512),
    };
    let mut bench = Bench { line: Line::start(place, context.seed, |_| {}), volume };
    let traffic = bench.line.traffic(Mix::default(), context.seed);
    traffic.go_on_for(40);
    let ballast = bench.volume.fill(0);
    let (ended, began) = (traffic.ended(), Instant::now());
    let mut restarts = 0;
    // As long as a supervisor would watch it: what ends is started again.
    while began.elapsed() < Duration::from_secs(3) {
        let engine = bench.line.engine(which);
        if engine.has_ended() {
            engine.kill();
            restarts += 1;
            engine.spawn();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let while_full = traffic.ended() - ended;
    std::fs::remove_file(&ballast).unwrap();
    let engine = bench.line.engine(which);
    if !engine.ready_or_ended() {
        engine.kill();
        engine.start_and_wait();
    }
    let target = bench.line.target();
    let call = Call { kind: Kind::Post, body: 100, answer: 100, delay_ms: 0, absolute: true };
    let mut records = Vec::new();
    eventually("a call is answered when there is space again", || {
        records.push(call.make(target));
        records.last().filter(|record| record.outcome == Outcome::Answered).map(drop)
    });
    traffic.go_on_for(40);
    records.extend(traffic.stop());
    let verdict = bench.line.judge(&records);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    format!("{which:?} on {on:?}: {restarts} restarts and {while_full} calls while it was full; {verdict}")
}
