//! Runs scenarios one after another on one test bed, and says of each what became of it.
//!
//! The harness of the test binary (`harness = false`): scenarios share the clusters, so they take turns in the order
//! they are listed. Those that need the machine to themselves come first, without a test bed. Invariants: every
//! scenario ends as ok, FAILED or SKIPPED, and the last lines count them; after the test bed is down the machine must
//! be as it was; an interrupt takes everything down.
//! Arguments: words to select scenarios whose name contains one of them, `--exact`, `--list`.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::{self, TestBed};
use crate::gate;
use crate::images::product::Product;
use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::tools::Tools;

/// How long one scenario may take before it counts as failed.
const SCENARIO_PATIENCE: Duration = Duration::from_secs(900);

/// Lines of a failure that are said again at the end.
const WHY_LINES_MAX: usize = 8;

/// What a scenario returns.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// What a scenario works on.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// The machine without clusters: the scenario starts and ends them itself.
    Machine(for<'a> fn(&'a Place, &'a Tools) -> Outcome<'a>),
    /// Both clusters, shared with the other scenarios.
    Clusters(for<'a> fn(&'a TestBed) -> Outcome<'a>),
    /// Both clusters with the product's images in them.
    Product(for<'a> fn(&'a TestBed, &'a Product) -> Outcome<'a>),
}

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it shows, as a sentence in snake case.
    pub name: &'static str,
    /// What it needs, and what it does.
    pub stage: Stage,
}

impl Scenario {
    /// A scenario on the bare machine.
    #[must_use]
    pub const fn machine(name: &'static str, run: for<'a> fn(&'a Place, &'a Tools) -> Outcome<'a>) -> Self {
        Self { name, stage: Stage::Machine(run) }
    }

    /// A scenario on both clusters.
    #[must_use]
    pub const fn clusters(name: &'static str, run: for<'a> fn(&'a TestBed) -> Outcome<'a>) -> Self {
        Self { name, stage: Stage::Clusters(run) }
    }

    /// A scenario with the product.
    #[must_use]
    pub const fn product(name: &'static str, run: for<'a> fn(&'a TestBed, &'a Product) -> Outcome<'a>) -> Self {
        Self { name, stage: Stage::Product(run) }
    }
}

/// What became of the scenarios.
#[derive(Debug, Default)]
struct Report {
    passed: usize,
    /// Names, and the first lines of why.
    failed: Vec<(String, String)>,
    skipped: Vec<(String, String)>,
}

impl Report {
    fn skip(&mut self, name: &str, reason: &str) {
        println!("scenario {name} ... SKIPPED");
        self.skipped.push((name.to_owned(), reason.to_owned()));
    }

    fn fail(&mut self, name: &str, took: Duration, error: &anyhow::Error) {
        println!("scenario {name} ... FAILED ({:.1} s)\n{error:?}", took.as_secs_f64());
        let why = format!("{error:?}");
        let why: Vec<&str> = why.lines().take(WHY_LINES_MAX).collect();
        self.failed.push((name.to_owned(), why.join("\n  ")));
    }

    fn finish(&self, took: Duration) -> ExitCode {
        let reasons: BTreeSet<&str> = self.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
        for reason in reasons {
            let count = self.skipped.iter().filter(|(_, other)| other == reason).count();
            println!("SKIPPED {count} scenarios: {reason}");
        }
        // Once more, because whoever looks has the last lines first, and sometimes nothing else.
        for (name, why) in &self.failed {
            println!("FAILED {name}: {why}");
        }
        println!(
            "\nscenarios: {} passed; {} failed; {} skipped; {} s",
            self.passed,
            self.failed.len(),
            self.skipped.len(),
            took.as_secs()
        );
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The `main` of a test binary.
#[must_use]
pub fn main(scenarios: &[Scenario]) -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let chosen: Vec<Scenario> = scenarios.iter().copied().filter(|scenario| arguments.chooses(scenario.name)).collect();
    if arguments.list {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} of {} scenarios", chosen.len(), scenarios.len());
    let result = Place::from_environment().and_then(|place| {
        let running = place.clone();
        interruptible(&place, async move { run(&running, &chosen).await })
    });
    result.unwrap_or_else(|error| {
        println!("the scenarios did not run: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs to the end, or until Ctrl-C or SIGTERM; then whatever is up is taken down.
///
/// # Errors
/// What the future gives; or it was interrupted.
pub fn interruptible<T>(place: &Place, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            result = work => result.map(Some),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
        }
    });
    // Nothing may go on starting processes while they are ended.
    runtime.shutdown_timeout(Duration::from_secs(20));
    match result? {
        Some(value) => Ok(value),
        None => {
            println!("interrupted: taking everything down");
            bed::clean(place)?;
            bail!("interrupted")
        }
    }
}

async fn run(place: &Place, chosen: &[Scenario]) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut report = Report::default();
    let tools = match gate::cluster_available(place)? {
        Ok(tools) => tools,
        Err(reason) => {
            chosen.iter().for_each(|scenario| report.skip(scenario.name, &reason));
            return Ok(report.finish(began.elapsed()));
        }
    };
    for scenario in chosen {
        if let Stage::Machine(run) = scenario.stage {
            match bed::occupied()? {
                Some(reason) if gate::is_required() => report.fail(scenario.name, Duration::ZERO, &anyhow!(reason)),
                Some(reason) => report.skip(scenario.name, &reason),
                None => {
                    let result = guarded(scenario.name, run(place, &tools)).await;
                    conclude(&mut report, scenario.name, result, None).await;
                }
            }
        }
    }
    if chosen.iter().any(|scenario| !matches!(scenario.stage, Stage::Machine(_))) {
        on_test_bed(place, chosen, &mut report).await?;
    }
    Ok(report.finish(began.elapsed()))
}

async fn on_test_bed(place: &Place, chosen: &[Scenario], report: &mut Report) -> anyhow::Result<()> {
    let product = product(place, chosen).await;
    let before = Snapshot::take(place);
    let bed = TestBed::up().await?;
    for (cluster, timing) in bed.clusters().iter().zip(&bed.timings) {
        println!("cluster {} is ready after {:.1} s", cluster.name(), timing.total().as_secs_f64());
    }
    if let Ok(Ok(product)) = &product {
        import(&bed, product).await?;
    }
    for scenario in chosen {
        let result = match (scenario.stage, &product) {
            (Stage::Machine(_), _) => continue,
            (Stage::Clusters(run), _) => guarded(scenario.name, run(&bed)).await,
            (Stage::Product(run), Ok(Ok(product))) => guarded(scenario.name, run(&bed, product)).await,
            (Stage::Product(_), Ok(Err(reason))) => {
                report.skip(scenario.name, reason);
                continue;
            }
            (Stage::Product(_), Err(error)) => {
                report.fail(scenario.name, Duration::ZERO, error);
                continue;
            }
        };
        conclude(report, scenario.name, result, Some(&bed)).await;
    }
    let ends_with_us = !bed.timings.is_empty();
    bed.down()?;
    // What is gone since then was left by a killed run before us.
    let mut left = before.difference(&Snapshot::take(place));
    left.retain(|line| line.starts_with('+'));
    if ends_with_us && !left.is_empty() {
        let left = anyhow!("the clusters have left something behind:\n{}", left.join("\n"));
        report.fail("nothing_is_left_behind", Duration::ZERO, &left);
    }
    Ok(())
}

/// The product if a chosen scenario needs it: the reason why it is not available, or why it cannot be built.
async fn product(place: &Place, chosen: &[Scenario]) -> anyhow::Result<Result<Product, String>> {
    if !chosen.iter().any(|scenario| matches!(scenario.stage, Stage::Product(_))) {
        return Ok(Err("no scenario needs it".to_owned()));
    }
    let place = place.clone();
    tokio::task::spawn_blocking(move || gate::product_available(&place)).await?
}

/// Makes the product's images known to both clusters.
async fn import(bed: &TestBed, product: &Product) -> anyhow::Result<()> {
    for cluster in bed.clusters() {
        for archive in &product.archives {
            cluster.import_image(archive).await?;
        }
    }
    Ok(())
}

/// A scenario that panics or takes too long has failed, no more.
async fn guarded(name: &str, scenario: Outcome<'_>) -> (Duration, anyhow::Result<()>) {
    println!("scenario {name} ...");
    let began = Instant::now();
    let result = match tokio::time::timeout(SCENARIO_PATIENCE, AssertUnwindSafe(scenario).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(anyhow!("it panicked: {}", said.unwrap_or_default()))
        }
        Err(_) => Err(anyhow!("it took more than {} s", SCENARIO_PATIENCE.as_secs())),
    };
    (began.elapsed(), result)
}

async fn conclude(report: &mut Report, name: &str, result: (Duration, anyhow::Result<()>), bed: Option<&TestBed>) {
    let (took, result) = result;
    let mut failure = result.err();
    if let (Some(error), Some(bed)) = (&failure, bed) {
        match bed.keep_artefacts(name, &format!("{error:?}")).await {
            Ok(folder) => println!("artefacts of {name}: {}", folder.display()),
            Err(error) => println!("artefacts of {name} cannot be kept: {error:#}"),
        }
    }
    for cluster in bed.into_iter().flat_map(TestBed::clusters) {
        if let Err(error) = cluster.clear().await {
            failure = failure.or_else(|| Some(error.context("what the scenario made cannot be removed")));
        }
    }
    match failure {
        None => {
            println!("scenario {name} ... ok ({:.1} s)", took.as_secs_f64());
            report.passed += 1;
        }
        Some(error) => report.fail(name, took, &error),
    }
}

/// The part of libtest's arguments that means something here; the rest is accepted and ignored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    words: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => parsed.exact = true,
                "--list" => parsed.list = true,
                "--skip" => parsed.skip.extend(arguments.next()),
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
        assert!(parse("--nocapture --test-threads 1").chooses("isolation"));
        assert!(parse("iso").chooses("isolation") && !parse("iso").chooses("rounds"));
        assert!(!parse("--exact iso").chooses("isolation"));
        assert!(!parse("--skip iso").chooses("isolation"));
    }
}
