//! Runs seeds: `sim --seeds 0..2000`, `sim --seed 7 --trace`.
use clap::Parser;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long)]
    trace: bool,
    #[arg(long, default_value = "0..20")]
    seeds: String,
}

fn main() {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let options = sim::options::Options::draw(seed);
        println!("{}", options.describe());
        let report = sim::run_seed(seed, true, args.trace);
        for line in &report.last_events {
            println!("{line}");
        }
        println!(
            "{:?} records {} steps {} hash {:x} {} s",
            report.violations, report.records, report.steps, report.hash, report.simulated_s
        );
        return;
    }
    let (a, b) = args.seeds.split_once("..").unwrap();
    let began = std::time::Instant::now();
    let mut counts = sim::faults::Counts::default();
    let (mut records, mut n, mut bad) = (0, 0, 0);
    for seed in a.parse::<u64>().unwrap()..b.parse().unwrap() {
        let t = std::time::Instant::now();
        let report = sim::run_seed(seed, false, false);
        counts.merge(&report.faults);
        records += report.records;
        n += 1;
        if !report.violations.is_empty() {
            bad += 1;
            println!("seed {seed} {:?}", report.violations[0]);
        }
        if t.elapsed().as_millis() > 300 {
            println!("seed {seed} slow {:?} steps {} simulated {} s", t.elapsed(), report.steps, report.simulated_s);
        }
    }
    println!(
        "{counts}{n} seeds, {bad} bad, {} records/seed, {} faults/seed, {:.1} seeds/s",
        records / n,
        counts.total() / n,
        n as f64 / began.elapsed().as_secs_f64()
    );
}
