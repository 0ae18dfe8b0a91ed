//! `hoft bench`: what the line costs, as ratios to baselines that are measured beside it.
//!
//! Two engines and their mirrors run as children of this program, without faults; beside them run two more mirrors that
//! carry plain files. Times on a shared machine mean little, so every figure comes with that of its baseline from the same
//! run: bodies and single calls are compared with plain files that the same mirror program carries, small calls with calls
//! that do not take the line.
//!
//! Invariants: standard output carries the result alone; children and folder are cleared away however it ends; a slow line
//! is no failure. A body comes from memory and is compared, not written, at its end, whereas a file is read and written:
//! the engines' own logs and packets are all that the line writes. Files: `measure.rs` what is measured, `carrier.rs` and
//! `disk.rs` the baselines, `run.rs` the children, `report.rs` the result. Test to read first: `the_defaults_are_those_of_the_help`.

mod carrier;
mod client;
mod disk;
mod measure;
mod pattern;
mod report;
mod run;
mod statistics;
mod upstream;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use sidecar_config::ByteSize;

use crate::demo::folder::Folder;

/// How long threads that still copy may take to notice that nobody waits any more.
const END_TIME_MAX: Duration = Duration::from_secs(10);

const ABOUT: &str = "\
Two engines call each other through two mirrors without faults, on this machine. Three things are measured, each beside
its baseline in the same run, because only the ratios mean something on another machine:

  a large body, up and down   against: cp and fsync into a mirrored folder, the same mirror, cp and fsync out of it
  many small calls at once    against: the same calls without the line
  one call on an idle line    against: a small file through the mirrors there, and another back; beside it what
                              fdatasync takes on the same disk

Bodies are noise: nothing is gained by compression. The folder needs about five times the body's size.";

/// Measure what the line costs here, as ratios to plain copies and direct calls of the same run.
#[derive(Clone, Debug, clap::Args)]
#[command(long_about = ABOUT)]
pub struct BenchArgs {
    /// Size of the large body.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    size: ByteSize,

    /// How often the large body goes up and down; 0 leaves it out.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    runs: u32,

    /// Callers at once, for the small calls; each keeps its connection.
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,

    /// How long small calls are made, through the line and directly each; 0 leaves them out.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=86_400))]
    seconds: u32,

    /// Calls that are made one at a time; 0 leaves them out.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    calls: u32,

    /// The engines' `mirror.packetSize` [default: theirs]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    packet_size: Option<ByteSize>,

    /// The engines' `limits.streamWindow` [default: theirs]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    stream_window: Option<ByteSize>,

    /// Measure within this folder, on its file system; everything is removed at the end [default: that for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print one JSON object at the end, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
}

/// Measures, and says what came out.
///
/// # Errors
/// When something could not be run, or was interrupted; never because it was slow.
pub fn main(args: &BenchArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder::temporary(&parent, "hoft-bench")?;
    let report = runtime.block_on(run::run(args, folder.path()));
    runtime.shutdown_timeout(END_TIME_MAX);
    drop(folder);
    let report = report?;
    let text = if args.json {
        serde_json::to_string(&report).context("the result cannot be written as JSON")?
    } else {
        report.to_string()
    };
    // Nobody listening is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

/// A size as 1000000, 10MB or 1GiB.
fn size(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(size) if size.as_u64() > 0 => Ok(size),
        Ok(_) => Err("a size is at least one octet".to_owned()),
        Err(_) => Err("a size is a number of octets, such as 1000000, 10MB or 1GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    //! The command line of the measurement.
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(arguments: &[&str]) -> Result<BenchArgs, clap::Error> {
        Cli::try_parse_from(["hoft"].iter().chain(arguments)).map(|cli| cli.bench)
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        Cli::command().debug_assert();
        let args = parse(&[]).unwrap();
        assert_eq!((args.size, args.runs), (ByteSize::gib(1), 3));
        assert_eq!((args.connections, args.seconds, args.calls), (256, 10, 50));
        assert_eq!((args.packet_size, args.stream_window, args.dir, args.json), (None, None, None, false));
    }

    #[test]
    fn sizes_are_written_with_units() {
        let args = parse(&["--size", "10MB", "--packet-size", "4MiB", "--stream-window", "65536"]).unwrap();
        assert_eq!(args.size, ByteSize::mb(10));
        assert_eq!((args.packet_size, args.stream_window), (Some(ByteSize::mib(4)), Some(ByteSize(65_536))));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(parse(&["--size", "0"]).is_err());
        assert!(parse(&["--size", "much"]).is_err());
        assert!(parse(&["--connections", "0"]).is_err());
        assert!(parse(&["--runs", "0", "--seconds", "0", "--calls", "0"]).is_ok());
    }
}
