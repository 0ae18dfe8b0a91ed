//! The power of either engine's disk fails at random calls, under traffic and while it starts: the state folder loses any
//! of what was not synced.

use std::time::Instant;

use crate::caller::{Mix, Traffic};
use crate::cutfs::{CutDisk, CutReport, Loss, Trigger};
use crate::dice::Dice;
use crate::http::{self, Conn, request};
use crate::line::{Line, Place, Which};
use crate::oracle::Verdict;
use crate::process::{PATIENCE, eventually};
use crate::runner::Context;

/// The state folders of both sides, each on a disk of our own, and the line on them.
struct Bench {
    line: Line,
    disks: [CutDisk; 2],
}

/// The disk can go only when nobody uses it any more.
impl Drop for Bench {
    fn drop(&mut self) {
        self.line.end();
    }
}

impl Bench {
    fn start(context: Context<'_>) -> Self {
        let place = Place::new(context.inside);
        let disks = Which::BOTH.map(|which| {
            std::fs::create_dir_all(place.state(which)).unwrap();
            CutDisk::mount_state(&place.state(which)).unwrap()
        });
        Self { line: Line::start(place, context.seed, |_| {}), disks }
    }

    fn disk(&self, which: Which) -> &CutDisk {
        &self.disks[usize::from(which == Which::Far)]
    }

    /// Waits until the power of one side fails, as it is armed to, and loses.
    fn cut(&mut self, which: Which, loss: Loss, dice: &mut Dice) -> CutReport {
        let engine = self.line.engine(which);
        eventually("the power fails", || engine.has_ended().then_some(()));
        engine.kill();
        assert!(self.disk(which).fired().is_some(), "the engine ended by itself:\n{}", self.line.logs());
        self.disk(which).cut(loss, dice)
    }
}

/// Cuts so many times; the figures of the cuts, and the verdict.
fn cut_under_traffic(context: Context<'_>, cuts: u64, telling: bool) -> (CutReport, u64, Verdict) {
    let began = Instant::now();
    let mut dice = Dice::new(context.seed, "cuts");
    let mut bench = Bench::start(context);
    let traffic: Traffic = bench.line.traffic(Mix::default(), context.seed);
    traffic.go_on_for(10);
    let mut sum = CutReport::default();
    let mut at_start = 0;
    let mut number = 0;
    while number < cuts {
        let which = *dice.pick(&Which::BOTH);
        let mut loss = *dice.pick(&Loss::ALL);
        let pid = bench.line.engine(which).id();
        bench.disk(which).arm(pid, Trigger::PowerCut(dice.within(1, 90))).unwrap();
        // A cut may be followed by one in the middle of the start that it makes necessary.
        loop {
            let report = bench.cut(which, loss, &mut dice);
            sum.pending += report.pending;
            sum.dropped += report.dropped;
            sum.torn += report.torn;
            number += 1;
            if number >= cuts || !dice.percent(35) {
                break;
            }
            at_start += 1;
            loss = *dice.pick(&Loss::ALL);
            bench.disk(which).arm_next(Trigger::PowerCut(dice.within(1, 12)));
            bench.line.engine(which).spawn();
        }
        bench.line.engine(which).start_and_wait();
        if number % 4 == 0 {
            traffic.go_on_for(8);
        }
        if telling && number % 20 == 0 {
            println!("{number} cuts, {} calls, {:.0} s", traffic.ended(), began.elapsed().as_secs_f64());
        }
    }
    (sum, at_start, bench.line.conclude(traffic))
}

/// Cuts so many times; gives the figures. With `telling`, progress is printed.
#[must_use]
pub fn cuts(context: Context<'_>, cuts: u64, telling: bool) -> String {
    let (sum, at_start, verdict) = cut_under_traffic(context, cuts, telling);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    assert!(verdict.answered > cuts, "hardly anything was answered: {verdict}");
    // A disk that loses nothing proves nothing.
    assert!(sum.dropped + sum.torn > cuts / 4, "the cuts lost next to nothing: {sum:?}");
    let CutReport { pending, dropped, torn } = sum;
    format!(
        "{cuts} cuts, {at_start} of them at a start; {pending} changes pending, {dropped} lost, {torn} torn; {verdict}"
    )
}

/// An operation with a known outcome, then a cut that keeps only what was synced: is the outcome still known?
fn outcome_survives(context: Context<'_>, lies: bool) -> bool {
    let mut bench = Bench::start(context);
    if lies {
        bench.disk(Which::Near).lie();
    }
    let target = bench.line.target();
    let id = uuid::Uuid::now_v7().to_string();
    let mut conn = Conn::open(target.proxy, PATIENCE).unwrap();
    let fields = [("Hoft-Operation-Id", id.as_str())];
    let host = format!("localhost:{}", target.proxy);
    conn.write(&request("POST", &format!("/to/up/run/{id}/10/0"), &host, &fields, b"x")).unwrap();
    assert_eq!(conn.answer().unwrap().status(), 200);
    let known = || http::get(target.proxy, &format!("/v1/operations/{id}/result"), PATIENCE).unwrap().status();
    assert_eq!(known(), 200);
    bench.disk(Which::Near).power_off();
    bench.line.engine(Which::Near).kill();
    bench.disk(Which::Near).cut(Loss::Everything, &mut Dice::new(context.seed, "lies"));
    bench.line.engine(Which::Near).start_and_wait();
    known() == 200
}

/// The bench can fail: on a disk that answers syncs and does not do them, what was promised is lost.
#[must_use]
pub fn lies(context: Context<'_>) -> String {
    assert!(outcome_survives(context, false), "what was synced is lost");
    assert!(!outcome_survives(context, true), "the disk of this bench loses nothing");
    "an outcome is kept by a disk that syncs, and lost by one that does not".to_owned()
}
