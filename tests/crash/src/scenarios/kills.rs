//! Either engine is killed at random moments of traffic, and of its own start.

use std::thread;
use std::time::{Duration, Instant};

use crate::caller::Mix;
use crate::dice::Dice;
use crate::line::{Line, Place, Which};
use crate::runner::Context;

/// Kills so many times; gives the figures. With `telling`, progress is printed.
#[must_use]
pub fn kills(context: Context<'_>, kills: u64, telling: bool) -> String {
    let began = Instant::now();
    let mut dice = Dice::new(context.seed, "kills");
    let mut line = Line::start(Place::new(context.inside), context.seed, |_| {});
    let traffic = line.traffic(Mix::default(), context.seed);
    for number in 1..=kills {
        thread::sleep(Duration::from_millis(dice.within(5, 250)));
        let which = *dice.pick(&Which::BOTH);
        line.engine(which).kill();
        match dice.below(10) {
            // Killed again while it starts.
            0..2 => {
                line.engine(which).spawn();
                thread::sleep(Duration::from_millis(dice.below(120)));
                line.engine(which).restart();
            }
            // Both are down at once.
            2 => {
                for which in Which::BOTH {
                    line.engine(which).kill();
                }
                for which in Which::BOTH {
                    line.engine(which).start_and_wait();
                }
            }
            // For a while.
            3 => {
                thread::sleep(Duration::from_millis(dice.below(500)));
                line.engine(which).start_and_wait();
            }
            _ => {
                line.engine(which).start_and_wait();
            }
        }
        if number % 10 == 0 {
            traffic.go_on_for(5);
        }
        if telling && number % 25 == 0 {
            println!("{number} kills, {} calls, {:.0} s", traffic.ended(), began.elapsed().as_secs_f64());
        }
    }
    let verdict = line.conclude(traffic);
    assert!(verdict.findings.is_empty(), "seed {}: {verdict}\n{}", context.seed, verdict.findings.join("\n"));
    assert!(verdict.answered > kills, "hardly anything was answered: {verdict}");
    format!("{kills} kills, {verdict}")
}
