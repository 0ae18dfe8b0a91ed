//! The test of the test: bugs made on purpose, which the checkers must notice.
//!
//! Invariants: one bug at a time, in the whole process; a seed catches a bug only if it keeps every promise without it. What
//! catches is a broken property, or `panic`: the product's own assertion. `tests/sim/mutations.txt` has for each bug the first
//! seed that catches it, or `-` where none is known: a blind spot of the checkers. It is written anew by `sim --mutations --seeds 0..2000 > tests/sim/mutations.txt`.
//! Test to read first: `every_bug_has_its_seed`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sim::time::lock;

/// The recorded seeds: name, seed, property.
const RECORDED: &str = include_str!("../mutations.txt");

// What to do with bugs. (A doc comment would become the help of the whole program.)
#[derive(Debug, clap::Args)]
pub(crate) struct Wishes {
    /// Look for the first of the seeds that catches this bug.
    #[arg(long)]
    mutation: Option<String>,
    /// The same for every bug; prints what `mutations.txt` is to hold.
    #[arg(long, conflicts_with = "mutation")]
    mutations: bool,
    /// Run the recorded seed of every bug: each must be caught.
    #[arg(long, conflicts_with_all = ["mutation", "mutations"])]
    replay_mutations: bool,
    /// Switch this bug on for whatever else is asked.
    #[arg(long, conflicts_with_all = ["mutation", "mutations", "replay_mutations"])]
    pub(crate) with_mutation: Option<String>,
}

/// A bug was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caught {
    seed: u64,
    property: String,
    what: String,
}

/// Does what is asked about bugs, if anything is.
pub(crate) fn run(args: &Wishes, seeds: &Range<u64>, jobs: u64) -> Option<ExitCode> {
    let chosen = args.mutation.as_ref().or(args.with_mutation.as_ref());
    if let Some(unknown) = chosen.filter(|name| !names().any(|known| known == name.as_str())) {
        println!("there is no bug `{unknown}`; there are: {}", names().collect::<Vec<_>>().join(", "));
        return Some(ExitCode::FAILURE);
    }
    if args.mutations || args.mutation.is_some() || args.replay_mutations {
        // Panics are caught and counted.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let code = match &args.mutation {
        Some(name) => hunt(&[name], seeds, jobs),
        None if args.mutations => hunt(&names().collect::<Vec<_>>(), seeds, jobs),
        None if args.replay_mutations => replay(jobs),
        None => return None,
    };
    select(None);
    Some(code)
}

fn names() -> impl Iterator<Item = &'static str> {
    layer1_replication::mutation::names()
        .chain(layer0_pipe::mutation::names())
        .chain(disk::mutation::names())
        .chain(layer2_http::mutation::names())
        .chain(sidecar_app::mutation::names())
}

/// Switches this bug on and every other one off.
pub(crate) fn select(name: Option<&str>) {
    let name = name.unwrap_or_default();
    layer1_replication::mutation::select(name);
    layer0_pipe::mutation::select(name);
    disk::mutation::select(name);
    layer2_http::mutation::select(name);
    sidecar_app::mutation::select(name);
}

/// Looks for the first seed that catches each of these.
fn hunt(names: &[&str], seeds: &Range<u64>, jobs: u64) -> ExitCode {
    let mut missed = Vec::new();
    for name in names {
        let began = Instant::now();
        let caught = catch(name, seeds.clone(), jobs);
        let took_s = began.elapsed().as_secs();
        match caught {
            Some(Caught { seed, property, what }) => {
                println!("{name} {seed} {property}");
                eprintln!("{name}: {} seeds, {took_s} s: {property}: {what}", seed - seeds.start + 1);
            }
            None => {
                println!("{name} -");
                eprintln!("{name}: not caught, {took_s} s");
                missed.push(*name);
            }
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("bugs that no seed of {seeds:?} caught: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// The first of these seeds that catches the bug and passes without it.
fn catch(name: &str, mut seeds: Range<u64>, jobs: u64) -> Option<Caught> {
    loop {
        select(Some(name));
        let caught = first(&seeds, jobs)?;
        select(None);
        if judge(caught.seed).is_none() {
            return Some(caught);
        }
        // It fails for another reason too.
        seeds.start = caught.seed + 1;
    }
}

/// The first of these seeds that breaks a promise as things are.
fn first(seeds: &Range<u64>, jobs: u64) -> Option<Caught> {
    let (next, found) = (AtomicU64::new(seeds.start), Mutex::new(None::<Caught>));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || lock(&found).as_ref().is_some_and(|found| found.seed < seed) {
                        return;
                    }
                    let caught = judge(seed);
                    let mut found = lock(&found);
                    if found.as_ref().is_none_or(|found| found.seed > seed) {
                        *found = caught.or(found.take());
                    }
                }
            });
        }
    });
    lock(&found).take()
}

/// The first promise that a seed breaks.
fn judge(seed: u64) -> Option<Caught> {
    let report = match catch_unwind(AssertUnwindSafe(|| sim::run_seed(seed, false, false))) {
        Ok(report) => report,
        Err(_) => return Some(Caught { seed, property: "panic".to_owned(), what: "the product gave up".to_owned() }),
    };
    let broken = report.violations.first()?;
    Some(Caught { seed, property: broken.property.to_owned(), what: broken.what.clone() })
}

/// The lines of the record: name, seed, property. `None`: no seed is known, the checkers are blind there.
fn recorded() -> impl Iterator<Item = (&'static str, Option<(u64, &'static str)>)> {
    RECORDED.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let seed = words.next().and_then(|word| word.parse().ok());
        Some((name, seed.zip(words.next())))
    })
}

/// Every recorded seed must catch its bug, and pass without it.
fn replay(jobs: u64) -> ExitCode {
    let mut missed = Vec::new();
    for (name, recorded) in recorded() {
        let Some((seed, property)) = recorded else {
            println!("{name}: no seed is known that catches it");
            continue;
        };
        match catch(name, seed..seed + 1, jobs) {
            Some(caught) if caught.property == property => println!("{name}: caught by seed {seed} as {property}"),
            Some(caught) => println!("{name}: caught by seed {seed} as {}, not {property}", caught.property),
            None => missed.push(name),
        }
    }
    let known: BTreeSet<&str> = recorded().map(|(name, _)| name).collect();
    missed.extend(names().filter(|name| !known.contains(name)));
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("bugs that their recorded seed does not catch, or that have none: {}", missed.join(", "));
    println!(
        "record them: cargo run -p sim --features mutations -- --mutations --seeds 0..2000 > tests/sim/mutations.txt"
    );
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_its_seed() {
        let all: BTreeSet<&str> = names().collect();
        let recorded: BTreeSet<&str> = recorded().map(|(name, _)| name).collect();
        assert_eq!(all, recorded);
        assert_eq!(all.len(), names().count(), "two bugs of one name");
    }
}
