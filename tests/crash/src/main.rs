//! `crash`: long runs by hand. Every choice follows from the seed.

use std::process::ExitCode;

use clap::Parser;
use crash::isolate;
use crash::line::Which;
use crash::runner::Context;
use crash::scenarios::{self, Copied};

/// Kills, cuts and stops the real program for as long as asked, and compares what it told with what was done.
#[derive(Debug, Parser)]
struct Arguments {
    /// Kills of either engine at random moments.
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// Power cuts of either engine's disk.
    #[arg(long, default_value_t = 0)]
    cuts: u64,
    /// Rounds of death at every kind of call on the disk, and of a roll of the log.
    #[arg(long, default_value_t = 0)]
    points: u64,
    /// Rounds of stopping and going on.
    #[arg(long, default_value_t = 0)]
    pauses: u64,
    /// Rounds of states from a backup, of either side.
    #[arg(long, default_value_t = 0)]
    backups: u64,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = isolate::run(|inside| {
        let context = Context { inside, seed: arguments.seed };
        let round = |number: u64| Context { inside, seed: arguments.seed + number };
        if arguments.kills > 0 {
            println!("{}", scenarios::kills(context, arguments.kills, true));
        }
        if arguments.cuts > 0 {
            println!("{}", scenarios::cuts(context, arguments.cuts, true));
        }
        for number in 0..arguments.points {
            println!("round {number}: {}", scenarios::points(round(number)));
            println!("round {number}: {}", scenarios::rolls(round(number)));
        }
        for number in 0..arguments.pauses {
            println!("round {number}: {}", scenarios::pauses(round(number), 30));
        }
        for number in 0..arguments.backups {
            for which in Which::BOTH {
                println!("round {number}: {}", scenarios::restored(round(number), which, Copied::InTraffic));
            }
        }
        ExitCode::SUCCESS
    });
    match result {
        Ok(Ok(code)) => code,
        Ok(Err(reason)) => {
            println!("not run: {reason}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
