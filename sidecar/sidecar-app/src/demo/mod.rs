//! `hoft demo`: the whole line on one machine, under fire, with a verdict.
//!
//! Two engines and two faulty mirrors run as child processes of this program's own file; a real HTTP server stands at the
//! far end, and a real HTTP client calls it through the near engine's local port. Each engine is killed once in
//! mid-traffic. In the end every call is held against the server's own journal.
//!
//! Invariants: standard output carries the result alone (with `--json`: one object); the status is 0 only if every promise
//! was kept; children, terminal and folder are cleared away however it ends. The demo knows nothing of the engines but
//! what their ports say. Files: `mix.rs` what is called, `call.rs` one call, `stage.rs` the children, `course.rs` what happens
//! to them, `verdict.rs` the judgement. Test to read first: `verdict/tests.rs`, `a_run_without_trouble_is_good`.

mod answer;
pub(crate) mod call;
pub(crate) mod child;
pub(crate) mod client;
mod content;
mod course;
pub(crate) mod dice;
pub(crate) mod folder;
mod mix;
mod packets;
mod picture;
mod progress;
pub(crate) mod run;
pub(crate) mod sides;
pub(crate) mod stage;
mod upstream;
mod verdict;
pub(crate) mod view;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::mirror::FaultLevel;

const ABOUT: &str = "\
Two engines call each other through two mirrors that lose, cut, repeat, reorder and delay files. A real HTTP client makes
the calls, a real HTTP server answers them and writes down what it executed. Each engine is killed once in mid-traffic and
started again. In the end every call is held against the server's journal: nothing may be lost, nothing executed twice that
must not be, every body identical, and an outcome unknown only where a kill explains it. The exit status says so too.";

/// Run two engines and two faulty mirrors on this machine, kill them, and count what is lost: nothing.
#[derive(Clone, Debug, clap::Args)]
#[command(long_about = ABOUT)]
pub struct DemoArgs {
    /// How many calls to make.
    #[arg(long, value_name = "NUMBER", default_value_t = 120, value_parser = clap::value_parser!(u32).range(i64::from(mix::CALLS_MIN)..=100_000))]
    calls: u32,

    /// How bad the mirrors are.
    #[arg(long, value_enum, value_name = "SET", default_value = "harsh")]
    faults: FaultLevel,

    /// Draws calls and faults; the same seed draws them again. Without it every run differs.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Run in this folder and leave everything there: configurations, logs, journals, packets.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Print one JSON object at the end, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the demo and says how it ended.
///
/// # Errors
/// When it could not be run, was interrupted, or a promise was broken.
pub fn main(args: &DemoArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let seed = args.seed.unwrap_or_else(seed_of_now);
    let options =
        run::Options { calls: args.calls, faults: args.faults, seed, keep: args.keep.clone(), json: args.json };
    let ended = runtime.block_on(run::run(&options));
    runtime.shutdown_background();
    let ended = ended?;
    let text = if args.json {
        serde_json::to_string(&ended.verdict).context("the verdict cannot be written as JSON")?
    } else {
        picture::conclusion(&ended.verdict, ended.elapsed)
    };
    // Nobody listening is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
    if ended.verdict.good() {
        return Ok(());
    }
    for finding in &ended.verdict.findings {
        let _ = writeln!(std::io::stderr(), "  {finding}");
    }
    bail!("the demo found broken promises; everything about the run is in {}", ended.folder.display())
}

/// A seed that differs from run to run and is short enough to be typed again.
fn seed_of_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| u64::try_from(since.as_millis()).unwrap_or_default() % 1_000_000)
}

#[cfg(test)]
mod tests {
    //! The command line of the demo.
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(arguments: &[&str]) -> Result<DemoArgs, clap::Error> {
        Cli::try_parse_from(["hoft"].iter().chain(arguments)).map(|cli| cli.demo)
    }

    #[test]
    fn the_defaults_are_a_harsh_run_of_moderate_length() {
        Cli::command().debug_assert();
        let args = parse(&[]).unwrap();
        assert_eq!((args.calls, args.faults, args.seed, args.json), (120, FaultLevel::Harsh, None, false));
        let args = parse(&["--json", "--calls", "300", "--faults", "mild", "--seed", "9", "--keep", "x"]).unwrap();
        assert_eq!((args.calls, args.faults, args.seed, args.json), (300, FaultLevel::Mild, Some(9), true));
        assert_eq!(args.keep, Some(PathBuf::from("x")));
    }

    #[test]
    fn too_few_calls_for_all_kinds_are_refused() {
        assert!(parse(&["--calls", "11"]).is_err());
        assert!(parse(&["--calls", "12"]).is_ok());
    }

    #[test]
    fn a_seed_of_now_can_be_typed_again() {
        assert!(seed_of_now() < 1_000_000);
    }
}
