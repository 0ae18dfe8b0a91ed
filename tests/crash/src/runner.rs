//! Runs scenarios, a few at once, and says of each what became of it.
//!
//! The harness of the test binary (`harness = false`). Invariants: every scenario ends as ok, FAILED or SKIPPED, and the last
//! lines count them; what a skipped one needs is named, and its word in `HOFT_REQUIRE` (`root`, [`Need::word`]) makes it a failure.
//! Arguments: words to select scenarios whose name contains one of them, `--exact`, `--list`, `--seed N`.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::isolate::{self, Inside, Network, is_required};
use crate::volume::Need;

/// How scenarios are run.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// So many at once: they wait more than they compute.
    pub at_once: usize,
    /// On this network.
    pub network: Network,
}

/// What a scenario works with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Folder and program.
    pub inside: &'a Inside,
    /// All its choices follow from this.
    pub seed: u64,
}

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it shows, as a sentence in snake case.
    pub name: &'static str,
    /// What it needs of the machine.
    pub needs: &'static [Need],
    /// What it does; gives its figures in a line.
    pub run: fn(Context<'_>) -> String,
}

#[derive(Debug, Default)]
struct Report {
    passed: usize,
    failed: Vec<&'static str>,
    skipped: Vec<(&'static str, String)>,
}

/// The `main` of a test binary.
#[must_use]
pub fn main(scenarios: &[Scenario], way: Way) -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let chosen: Vec<Scenario> = scenarios.iter().copied().filter(|scenario| arguments.chooses(scenario.name)).collect();
    if arguments.list {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        println!("\nscenarios: none chosen of {}", scenarios.len());
        return ExitCode::SUCCESS;
    }
    match isolate::run_on(way.network, |inside| run(inside, &chosen, arguments.seed, way.at_once)) {
        Ok(Ok(code)) => code,
        Ok(Err(reason)) => {
            println!("\nscenarios: 0 passed; 0 failed; {} skipped: {reason}", chosen.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("the scenarios failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(inside: &Inside, chosen: &[Scenario], seed: u64, at_once: usize) -> ExitCode {
    let began = Instant::now();
    println!("\nrunning {} scenarios, seed {seed}", chosen.len());
    let (report, waiting) = (Mutex::new(Report::default()), Mutex::new(chosen.iter().copied()));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(scenario) = next else { break };
                    run_one(scenario, Context { inside, seed }, &report);
                }
            });
        }
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    let reasons: BTreeSet<&str> = report.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
    for reason in reasons {
        let names: Vec<&str> =
            report.skipped.iter().filter(|(_, other)| other == reason).map(|(name, _)| *name).collect();
        println!("SKIPPED {} scenarios: {reason}: {}", names.len(), names.join(", "));
    }
    report.failed.iter().for_each(|name| println!("FAILED {name}"));
    println!(
        "\nscenarios: {} passed; {} failed; {} skipped; {:.0} s",
        report.passed,
        report.failed.len(),
        report.skipped.len(),
        began.elapsed().as_secs_f64()
    );
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(scenario: Scenario, context: Context<'_>, report: &Mutex<Report>) {
    let name = scenario.name;
    let report = || report.lock().unwrap_or_else(PoisonError::into_inner);
    for need in scenario.needs {
        let Err(reason) = need.met() else { continue };
        let word = need.word();
        if is_required(word) {
            println!("scenario {name} ... FAILED\nHOFT_REQUIRE names {word}: {reason}");
            report().failed.push(name);
        } else {
            println!("scenario {name} ... SKIPPED");
            report().skipped.push((name, reason));
        }
        return;
    }
    let began = Instant::now();
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| (scenario.run)(context)));
    let took = began.elapsed().as_secs_f64();
    match result {
        Ok(figures) => {
            println!("scenario {name} ... ok ({took:.1} s) {figures}");
            report().passed += 1;
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            println!("scenario {name} ... FAILED ({took:.1} s)\n{}", said.unwrap_or_default());
            report().failed.push(name);
        }
    }
}

/// The part of libtest's arguments that means something here; the rest is accepted and ignored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    words: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    seed: u64,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self { seed: 1, ..Self::default() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => parsed.exact = true,
                "--list" => parsed.list = true,
                "--skip" => parsed.skip.extend(arguments.next()),
                "--seed" => parsed.seed = arguments.next().and_then(|seed| seed.parse().ok()).unwrap_or(1),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                _ => parsed.words.push(argument),
            }
        }
        parsed
    }

    fn chooses(&self, name: &str) -> bool {
        let matches = |word: &String| if self.exact { name == word } else { name.contains(word.as_str()) };
        (self.words.is_empty() || self.words.iter().any(matches)) && !self.skip.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_select_and_skip_leaves_out() {
        let parse = |line: &str| Arguments::parse(line.split_whitespace().map(str::to_owned));
        assert!(parse("--nocapture --test-threads 1").chooses("kills"));
        assert!(parse("kil").chooses("kills") && !parse("kil").chooses("cuts"));
        assert!(!parse("--exact kil").chooses("kills") && !parse("--skip kil").chooses("kills"));
        assert_eq!(parse("--seed 7").seed, 7);
    }
}
