//! `sim`: runs seeds, replays one, and says what was injected.
//!
//! Exit status 0 only if every promise held, every fault of the menu was met, and a seed delivered and met enough on average.
//! `sim --seeds 0..2000` runs many, `sim --seed 7 --trace` replays one with all its options and events.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

#[cfg(feature = "mutations")]
mod mutations;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use sim::faults::Counts;
use sim::options::Options;
use sim::time::lock;
use sim::world::Report;

/// Records that a seed must deliver on average.
const RECORDS_MIN: u64 = 100;
/// Faults that a seed must meet on average.
const FAULTS_MIN: u64 = 10;

/// Runs seeds of the simulator.
#[derive(Debug, Parser)]
#[command(name = "sim", about)]
struct Args {
    /// Replay this seed alone.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print every event of the replayed seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Print what the engines log too, down to this level.
    #[arg(long, requires = "seed")]
    log: Option<String>,
    /// Seeds to run, `A..B`.
    #[arg(long, value_parser = seeds, default_value = "0..100")]
    seeds: Range<u64>,
    /// Threads; each seed has one.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Run each seed twice: both histories must be the same.
    #[arg(long)]
    check_determinism: bool,
    /// Stop after so many failed seeds.
    #[arg(long, default_value_t = 10)]
    failures_max: u64,
    /// Say which seeds took longer than so many milliseconds.
    #[arg(long)]
    slower_than_ms: Option<u128>,
    #[cfg(feature = "mutations")]
    #[command(flatten)]
    mutations: mutations::Wishes,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wanted = || format!("`{text}` is not of the form A..B");
    let (from, to) = text.split_once("..").ok_or_else(wanted)?;
    let (from, to) = (from.parse().map_err(|_| wanted())?, to.parse().map_err(|_| wanted())?);
    if from < to { Ok(from..to) } else { Err(wanted()) }
}

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(feature = "mutations")]
    if let Some(code) = mutations::run(&args.mutations, &args.seeds, args.jobs) {
        return code;
    }
    #[cfg(feature = "mutations")]
    if let Some(name) = &args.mutations.with_mutation {
        mutations::select(Some(name));
    }
    match args.seed {
        Some(seed) => {
            if let Some(level) = &args.log {
                tracing_subscriber::fmt().with_env_filter(level).without_time().with_ansi(false).init();
            }
            replay(seed, args.trace)
        }
        None => run(&args),
    }
}

fn replay(seed: u64, trace: bool) -> ExitCode {
    println!("{}", Options::draw(seed).describe());
    let report = sim::run_seed(seed, true, trace);
    tell(&report);
    println!(
        "{}{} records, {} steps, {} s simulated, history {:016x}",
        report.faults, report.records, report.steps, report.simulated_s, report.hash
    );
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(report: &Report) {
    let Some(first) = report.violations.first() else { return };
    for line in &report.last_events {
        println!("{line}");
    }
    for line in &report.states {
        println!("{line}");
    }
    println!("seed {} broke {}: {}", report.seed, first.property, first.what);
    for other in report.violations.iter().skip(1) {
        println!("  and {}: {}", other.property, other.what);
    }
    println!("replay: cargo run -p sim -- --seed {} --trace", report.seed);
}

#[derive(Default)]
struct Totals {
    faults: Counts,
    records: u64,
    seeds: u64,
    failed: Vec<u64>,
}

fn run(args: &Args) -> ExitCode {
    let (next, totals) = (AtomicU64::new(args.seeds.start), Mutex::new(Totals::default()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| work(args, &next, &totals));
        }
    });
    let totals = lock(&totals);
    let rate = totals.seeds as f64 / began.elapsed().as_secs_f64();
    let (records, faults) = (totals.records / totals.seeds.max(1), totals.faults.total() / totals.seeds.max(1));
    println!("{}", totals.faults);
    println!(
        "{} seeds, {rate:.1} seeds/s with {} jobs, {records} records and {faults} faults per seed",
        totals.seeds, args.jobs
    );
    let missing = totals.faults.missing(totals.seeds);
    if !missing.is_empty() {
        println!("faults of the menu that nobody met: {}", missing.join(", "));
    }
    if !totals.failed.is_empty() {
        println!("failed seeds: {:?}", totals.failed);
    }
    let enough = records >= RECORDS_MIN && faults >= FAULTS_MIN;
    if !enough {
        println!("a seed must deliver {RECORDS_MIN} records and meet {FAULTS_MIN} faults on average");
    }
    if totals.failed.is_empty() && missing.is_empty() && enough { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(args: &Args, next: &AtomicU64, totals: &Mutex<Totals>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= args.seeds.end || lock(totals).failed.len() as u64 >= args.failures_max {
            return;
        }
        let began = Instant::now();
        let mut report = sim::run_seed(seed, false, false);
        if let Some(bound) = args.slower_than_ms
            && began.elapsed().as_millis() > bound
        {
            println!(
                "seed {seed}: {} ms, {} steps, {} s simulated",
                began.elapsed().as_millis(),
                report.steps,
                report.simulated_s
            );
        }
        let differs = args.check_determinism && sim::run_seed(seed, false, false).hash != report.hash;
        if !report.violations.is_empty() {
            // The same again, with its last events.
            report = sim::run_seed(seed, true, false);
            tell(&report);
        }
        let mut totals = lock(totals);
        totals.seeds += 1;
        totals.records += report.records;
        totals.faults.merge(&report.faults);
        if differs {
            println!("seed {seed} had two different histories");
        }
        if differs || !report.violations.is_empty() {
            totals.failed.push(seed);
        }
    }
}
