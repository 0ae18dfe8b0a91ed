//! `hoft probe`: what a real folder, and the mirror behind it, do with files; and the configuration that fits.
//!
//! The work is done on a thread of its own: a call of a dead share may never come back, and whoever asked is to be told
//! within bounds all the same. Invariants: whatever is made bears this run's mark and is removed at the end, an interrupted
//! one included; without `--far` nothing is written under a name that a mirror carries. Files: `ground.rs` and `names.rs` the
//! folder by itself, `crossing.rs` the way to the far folder, `rows.rs` what that means, `suggest.rs` what to configure. Test
//! to read first: `tests/line/probe`.

mod crossing;
mod findings;
mod ground;
mod names;
mod parcel;
mod report;
mod rows;
mod scratch;
mod session;
mod suggest;
mod watchman;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use disk::dir::{Dir, StdDir};
use sidecar_config::{ByteSize, parse_duration, parse_size};

use findings::Findings;
use report::Report;
use scratch::Scratch;
use session::Session;

/// How long files that were under way are waited for in the far folder, to remove them too.
const LATE_FILES: Duration = Duration::from_secs(5);
/// Between two looks for them.
const LOOK: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "\
What it does:
  Alone, it measures the folder by itself: file system, free space, renaming, appending, syncing, names,
  listing. It works in a hidden folder of its own, which mirrors leave alone.

  With --far it also measures the mirror: it sends about forty small files and two large ones through it and
  watches them arrive; then it removes some on each side and appends to some, and watches what the mirror does.
  That tells the profile (Move, Copy or Sync), the delay, and what gets lost, cut or doubled.

  Nobody else's file is touched. All names begin with `hoft-probe-`, and all are removed at the end, also after
  Ctrl-C. A live engine on these folders takes no harm: it counts a few files that it cannot use.

Examples:
  hoft probe /mnt/share/out
  hoft probe /mnt/share/out --far /mnt/other/in
  hoft probe out --far in --timeout 30m --size 64M      a mirror that takes minutes
  hoft probe out --far in --json > probe.json

How to read it:
  good  as hoft likes it            fine  hoft copes, or what is suggested does
  POOR  works, at a price           BAD   does not work as it is
  ?     not measured

Exit status: 0 unless something is BAD or the folder cannot be used. The same for both directions: probe the
outbox of each side. docs/probing-a-folder.md explains every row.";

/// Measure a folder, and the mirror behind it, and say how to configure an engine for it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ProbeArgs {
    /// The folder an engine is to write: its outbox.
    dir: PathBuf,
    /// Where the mirror puts the files of DIR: the far side's inbox, if this machine can reach it.
    #[arg(long, value_name = "DIR")]
    far: Option<PathBuf>,
    /// How long it may take, as 90s or 30m. Give several times what the mirror takes.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    timeout: Duration,
    /// Length of the two large files, as 8Mi; 0 sends none.
    #[arg(long, value_name = "SIZE", default_value = "8Mi", value_parser = parse_size)]
    size: ByteSize,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When a folder cannot be used or does not answer, when it was interrupted, or when something is bad.
pub fn main(args: &ProbeArgs) -> Result<()> {
    let (dir, far, size) = (args.dir.clone(), args.far.clone(), args.size.as_u64());
    let report = watchman::watch(args.timeout, move |session| probe(session, &dir, far.as_deref(), size))?;
    let text = if args.json {
        serde_json::to_string_pretty(&report).context("the report cannot be written as JSON")? + "\n"
    } else {
        report.text()
    };
    // Nobody listening is no reason to fail.
    let _ = io::stdout().write_all(text.as_bytes());
    let bad = report.bad();
    if bad.is_empty() { Ok(()) } else { Err(anyhow!("not usable as it is: {}", bad.join(", "))) }
}

/// Measures, and removes what it made.
fn probe(session: &Session, near: &Path, far: Option<&Path>, size: u64) -> Result<Report> {
    session.step("opening the folders")?;
    let dir = StdDir::open(near)?;
    dir.check_writable()?;
    if let Some(far) = far {
        check_far(near, far)?;
    }
    let scratch = Scratch::new(near, far).context("no randomness")?;
    let mut findings = Findings::default();
    let measured = measure(session, &scratch, &dir, size, &mut findings);
    // Files that never came may still come.
    let late = findings.mirror.as_ref().is_none_or(|way| way.whole < way.sent);
    session.step("removing its own files").ok();
    clean(&scratch, far.is_some() && late)?;
    match measured {
        Ok(()) => Ok(Report::new(near.to_owned(), far.map(Path::to_owned), findings)),
        Err(error) => Err(error.context("the probe was not finished; its files are removed")),
    }
}

fn measure(session: &Session, scratch: &Scratch, dir: &StdDir, size: u64, findings: &mut Findings) -> Result<()> {
    let hidden = scratch.hidden();
    fs::create_dir(&hidden).with_context(|| format!("a folder cannot be made in {}", scratch.near.display()))?;
    ground::measure(session, &scratch.near, &hidden, findings)?;
    // Two large files at once, and as much again for whoever else writes here.
    let room = dir.free_space().unwrap_or(0) / 4;
    crossing::measure(session, scratch, dir, size.min(room), findings)?;
    Ok(())
}

fn check_far(near: &Path, far: &Path) -> Result<()> {
    StdDir::open(far).context("--far")?;
    let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    if id(near).ok() == id(far).ok() {
        bail!("{} and --far are the same folder; name the folder where the mirror puts its files", near.display());
    }
    Ok(())
}

/// Removes what bears this run's mark on both sides, and in the far folder also what arrives a little later.
fn clean(scratch: &Scratch, late: bool) -> Result<()> {
    let failed = |failed: &[(PathBuf, io::Error)]| {
        let list: Vec<String> = failed.iter().map(|(folder, error)| format!("{}: {error}", folder.display())).collect();
        anyhow!("remove the files named *{}* yourself: {}", scratch.mark(), list.join("; "))
    };
    let mut left = scratch.clean();
    let began = Instant::now();
    while left.is_empty() && late && began.elapsed() < LATE_FILES {
        std::thread::sleep(LOOK);
        if scratch.is_left_far() {
            left = scratch.clean();
        }
    }
    if left.is_empty() { Ok(()) } else { Err(failed(&left)) }
}
