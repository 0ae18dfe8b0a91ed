//! Engines that stand still and go on: no process dies, so no outcome may be unknown.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::caller::Mix;
use crate::dice::Dice;
use crate::line::{Line, Place, Which};
use crate::runner::Context;

/// Stops either engine or both so many times, for up to two seconds; gives the figures.
#[must_use]
pub fn pauses(context: Context<'_>, pauses: u64) -> String {
    let mut dice = Dice::new(context.seed, "pauses");
    let mut line = Line::start(Place::new(context.inside), context.seed, |_| {});
    let traffic = line.traffic(Mix::default(), context.seed);
    for _ in 0..pauses {
        thread::sleep(Duration::from_millis(dice.within(10, 200)));
        let stopped: &[Which] = match dice.below(4) {
            0 => &Which::BOTH,
            1 | 2 => &[Which::Near],
            _ => &[Which::Far],
        };
        for which in stopped {
            line.engine(*which).signal(Signal::STOP);
        }
        thread::sleep(Duration::from_millis(*dice.pick(&[20, 200, 600, 1500])));
        for which in stopped {
            line.engine(*which).signal(Signal::CONT);
        }
    }
    let verdict = line.conclude(traffic);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    assert_eq!(verdict.answered, verdict.calls, "nobody died, and not all was answered: {verdict}");
    format!("{pauses} stops, {verdict}")
}
