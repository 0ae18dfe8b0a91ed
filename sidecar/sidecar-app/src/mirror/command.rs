//! The command line of `hoft mirror`: flags to options, a line at the start, a summary at the end.
//!
//! Invariant: a flag given by itself wins over the named set of faults. It draws no faults.
//! Read first: the tests at the end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::Context;

use super::{Counts, Faults, MirrorOptions, Profile, Summary, run};

const EXAMPLES: &str = "\
Examples:
  One direction of a good mirror:
      hoft mirror --from out --to in

  A bad one, with a record of what it did to every file:
      hoft mirror --from out --to in --faults harsh --seed 7 --journal mirror.jsonl

  Only cuts, always at 64 MiB, and nothing else:
      hoft mirror --from out --to in --cut-above 64MiB

  Ten seconds of outage every minute, otherwise mild:
      hoft mirror --from out --to in --faults mild --outage-every-ms 60000 --outage-ms 10000

A mirror carries files one way; start a second one for the other way. The same seed treats a file
of the same name the same way again, so a run can be repeated. Stop it with Ctrl-C or SIGTERM;
kill -STOP and kill -CONT make an outage by hand.

Named sets (each flag below overrides its part of the set):
  set    loss  cut   zero-tail  slow    duplicate  reorder  rename  delay-ms
  none   0     0     0          0       0          0        0       0..0
  mild   0.05  0.05  0.01       0.0125  0.025      0.02     0.005   20..150
  harsh  0.20  0.20  0.03       0.05    0.10       0.08     0.02    50..500";

/// Play the file transfer service: copy files from one folder to another, as badly as asked.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct MirrorArgs {
    /// Folder to watch, with its subfolders; must exist.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,

    /// Folder to deliver to; must exist.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// What happens to the source: `move` removes it once read, `copy` leaves it,
    /// `sync` leaves it and deletes the far copy when the source is deleted.
    #[arg(long, value_enum, default_value = "copy")]
    pub profile: Profile,

    /// Named set of faults to start from.
    #[arg(long, value_enum, value_name = "SET", default_value = "none")]
    pub faults: FaultLevel,

    /// Draws the faults; the same seed repeats them.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,

    /// Append a JSON line for every event to this file; counts are kept in FILE.summary.json.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,

    /// Print the summary at the end as JSON.
    #[arg(long)]
    pub json: bool,

    /// Share of files that never arrive, as 0.2 or 20%.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub loss: Option<f64>,

    /// Share of contents that never arrive, under whatever name and however often they are sent.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub content_drop: Option<f64>,

    /// Share of files that arrive cut short.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub cut: Option<f64>,

    /// Sizes to whose multiples some cuts are rounded, as 4096,64KiB [default: 4KiB,64KiB,1MiB].
    #[arg(long, value_name = "SIZES", value_parser = size, value_delimiter = ',', help_heading = "Faults")]
    pub cut_sizes: Option<Vec<u64>>,

    /// Cut every file that is longer than this to this size, as 64MiB.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Faults")]
    pub cut_above: Option<u64>,

    /// Share of files that arrive in full length, but with zeros after some point.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub zero_tail: Option<f64>,

    /// Share of files that grow piece by piece under their final name.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub slow: Option<f64>,

    /// Milliseconds such a file grows, as 200..2000 or 500.
    #[arg(long, value_name = "RANGE", value_parser = range, help_heading = "Faults")]
    pub slow_ms: Option<(u64, u64)>,

    /// Share of files that arrive once more later, under the same or a changed name.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub duplicate: Option<f64>,

    /// Share of files that are held back until later ones have passed.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub reorder: Option<f64>,

    /// Share of files that arrive as `name (1).ext`.
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Faults")]
    pub rename: Option<f64>,

    /// Milliseconds each file is under way, as 50..500 or 100.
    #[arg(long, value_name = "RANGE", value_parser = range, help_heading = "Faults")]
    pub delay_ms: Option<(u64, u64)>,

    /// Milliseconds from one outage to the next, and to the first.
    #[arg(long, value_name = "MS", requires = "outage_ms", help_heading = "Faults")]
    pub outage_every_ms: Option<u64>,

    /// Milliseconds an outage lasts; nothing is taken up or delivered meanwhile.
    #[arg(long, value_name = "MS", requires = "outage_every_ms", help_heading = "Faults")]
    pub outage_ms: Option<u64>,

    /// Milliseconds between two looks at the source.
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600_000), help_heading = "Watching")]
    pub poll_ms: u64,

    /// Milliseconds a new file must keep its size before it is taken; 0 takes it at first sight.
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = "Watching")]
    pub settle_ms: u64,

    /// Also take files that start with `.` or end in `.part`, as careless mirrors do.
    #[arg(long, help_heading = "Watching")]
    pub pick_up_temporary: bool,
}

/// The named sets of faults, see [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FaultLevel {
    /// No faults and no delay.
    None,
    /// A decent service on a bad day.
    Mild,
    /// Worse than any service anyone would keep.
    Harsh,
}

impl MirrorArgs {
    /// The options these flags ask for.
    #[must_use]
    pub fn into_options(self) -> MirrorOptions {
        let named = self.faults.faults();
        let faults = Faults {
            loss: self.loss.unwrap_or(named.loss),
            content_drop: self.content_drop.unwrap_or(named.content_drop),
            cut: self.cut.unwrap_or(named.cut),
            cut_sizes: self.cut_sizes.unwrap_or(named.cut_sizes),
            cut_above: self.cut_above.or(named.cut_above),
            zero_tail: self.zero_tail.unwrap_or(named.zero_tail),
            slow: self.slow.unwrap_or(named.slow),
            slow_ms: self.slow_ms.unwrap_or(named.slow_ms),
            duplicate: self.duplicate.unwrap_or(named.duplicate),
            reorder: self.reorder.unwrap_or(named.reorder),
            rename: self.rename.unwrap_or(named.rename),
            delay_ms: self.delay_ms.unwrap_or(named.delay_ms),
            outage_every_ms: self.outage_every_ms.or(named.outage_every_ms),
            outage_ms: self.outage_ms.unwrap_or(named.outage_ms),
        };
        MirrorOptions {
            from: self.from,
            to: self.to,
            profile: self.profile,
            faults,
            seed: self.seed,
            journal: self.journal,
            poll_ms: self.poll_ms,
            settle_ms: self.settle_ms,
            pick_up_temporary: self.pick_up_temporary,
        }
    }
}

/// Runs `hoft mirror` until Ctrl-C or SIGTERM.
///
/// # Errors
/// The options are wrong, the journal cannot be opened, or signals cannot be received.
pub fn main(args: MirrorArgs) -> anyhow::Result<()> {
    let json = args.json;
    let level = args.faults;
    let options = args.into_options();
    options.check()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(&stop)?;
    let changed = level.faults() != options.faults;
    say(
        json,
        &format!(
            "mirroring {} to {}: profile {}, faults {}{}, seed {}; stop with Ctrl-C",
            options.from.display(),
            options.to.display(),
            options.profile.as_str(),
            level.as_str(),
            if changed { " with changes" } else { "" },
            options.seed
        ),
    );
    let summary = run(options, &stop)?;
    if json {
        say(false, &serde_json::to_string(&summary).context("cannot write the summary as JSON")?);
    } else {
        say(false, &summary_text(&summary));
    }
    Ok(())
}

impl FaultLevel {
    /// The faults of this set.
    #[must_use]
    pub fn faults(self) -> Faults {
        match self {
            Self::None => Faults::none(),
            Self::Mild => Faults::mild(),
            Self::Harsh => Faults::harsh(),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mild => "mild",
            Self::Harsh => "harsh",
        }
    }
}

/// Prints a line; nobody listening is no reason to fail.
fn say(to_stderr: bool, line: &str) {
    let written = if to_stderr { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") };
    if let Err(error) = written {
        tracing::debug!(%error, "a line could not be printed");
    }
}

fn summary_text(summary: &Summary) -> String {
    let Counts { seen, delivered, whole, lost, content_dropped, cut, zero_tail, slow, .. } = summary.counts;
    let Counts { duplicated, reordered, renamed, outages, deletes_propagated, vanished, failed, .. } = summary.counts;
    let mut text = format!(
        "mirror stopped after {}.{} s: {seen} files seen, {delivered} delivered ({whole} whole), {lost} lost",
        summary.elapsed_ms / 1000,
        summary.elapsed_ms % 1000 / 100
    );
    let others = [
        (cut, "cut"),
        (zero_tail, "zero-tailed"),
        (slow, "slow"),
        (duplicated, "duplicated"),
        (reordered, "held back"),
        (renamed, "renamed"),
        (content_dropped, "dropped for their content"),
        (vanished, "vanished before they were read"),
        (failed, "failed"),
        (deletes_propagated, "deletions propagated"),
        (outages, "outages"),
        (summary.pending, "still under way"),
    ];
    for (count, what) in others {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// Sets `stop` on the first SIGINT or SIGTERM.
fn stop_on_signal(stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let (ready, is_ready) = mpsc::channel();
    let stop = Arc::clone(stop);
    thread::Builder::new()
        .name("mirror-signals".to_owned())
        .spawn(move || wait_for_signal(&ready, &stop))
        .context("cannot start the thread that waits for Ctrl-C")?;
    is_ready.recv().context("the thread that waits for Ctrl-C ended early")?.context("cannot wait for Ctrl-C")
}

fn wait_for_signal(ready: &mpsc::Sender<io::Result<()>>, stop: &AtomicBool) {
    let waited = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        runtime.block_on(async {
            let mut signals = Signals::listen()?;
            if ready.send(Ok(())).is_ok() {
                signals.first().await;
            }
            Ok(())
        })
    });
    match waited {
        Ok(()) => stop.store(true, Ordering::Relaxed),
        // The receiver reports it; if it is gone, so is the mirror.
        Err(error) => drop(ready.send(Err(error))),
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn first(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be received");
        }
    }
}

/// A share as 0.2 or 20%.
fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
    match number.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number / scale)) => Ok(number / scale),
        _ => Err("a share is a number from 0 to 1, such as 0.2, or a percentage, such as 20%".to_owned()),
    }
}

/// Milliseconds as 50..500 or 100.
fn range(text: &str) -> Result<(u64, u64), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    match (least.trim().parse(), most.trim().parse()) {
        (Ok(least), Ok(most)) if least <= most => Ok((least, most)),
        _ => Err("a range is two numbers of milliseconds, such as 50..500, or one, such as 100".to_owned()),
    }
}

/// Bytes as 4096, 64KiB, 64K or 1MB.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "ki" | "kib" => Some(1 << 10),
        "m" | "mi" | "mib" => Some(1 << 20),
        "g" | "gi" | "gib" => Some(1 << 30),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "a size is a number of bytes, such as 4096, 64KiB or 1MB".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        mirror: MirrorArgs,
    }

    fn options(extra: &[&str]) -> MirrorOptions {
        let arguments = ["hoft", "--from", "a", "--to", "b"].iter().chain(extra);
        Cli::try_parse_from(arguments).unwrap().mirror.into_options()
    }

    #[test]
    fn flags_override_the_named_set() {
        Cli::command().debug_assert();
        assert_eq!(options(&[]), MirrorOptions::new("a", "b"));
        let harsh =
            options(&["--faults", "harsh", "--loss", "0", "--delay-ms", "1..2", "--profile", "move", "--seed", "7"]);
        let expected = Faults { loss: 0.0, delay_ms: (1, 2), ..Faults::harsh() };
        assert_eq!((harsh.faults, harsh.profile, harsh.seed), (expected, Profile::Move, 7));
        assert_eq!(options(&["--cut-sizes", "1,2KiB"]).faults.cut_sizes, [1, 2048]);
    }

    #[test]
    fn the_table_in_the_help_is_true() {
        for (name, faults) in [("none", Faults::none()), ("mild", Faults::mild()), ("harsh", Faults::harsh())] {
            let row = EXAMPLES.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).unwrap();
            let numbers: Vec<f64> = row.split_whitespace().skip(1).take(7).map(|cell| cell.parse().unwrap()).collect();
            let Faults { loss, cut, zero_tail, slow, duplicate, reorder, rename, .. } = faults;
            assert_eq!(numbers, [loss, cut, zero_tail, slow, duplicate, reorder, rename]);
            assert_eq!(range(row.split_whitespace().last().unwrap()), Ok(faults.delay_ms));
        }
    }

    #[test]
    fn wrong_values_are_refused_with_an_example() {
        for (parsed, text) in [(share("20%"), 0.2), (share("0.5"), 0.5), (share("1"), 1.0)] {
            assert_eq!(parsed, Ok(text));
        }
        for text in ["1.1", "-0.1", "NaN", "x", "%", ""] {
            assert!(share(text).unwrap_err().contains("0.2"), "{text}");
        }
        assert_eq!((range("5"), range("1..9")), (Ok((5, 5)), Ok((1, 9))));
        for text in ["9..1", "..", "a", "1..", "-1"] {
            assert!(range(text).unwrap_err().contains("50..500"), "{text}");
        }
        assert_eq!(
            (size("4096"), size("64KiB"), size("1mb"), size("2 G")),
            (Ok(4096), Ok(65536), Ok(1_000_000), Ok(2 << 30))
        );
        for text in ["0", "", "KiB", "1x", "99999999999G"] {
            assert!(size(text).unwrap_err().contains("64KiB"), "{text}");
        }
    }

    #[test]
    fn an_outage_needs_both_numbers() {
        let error = Cli::try_parse_from(["hoft", "--from", "a", "--to", "b", "--outage-ms", "5"]).unwrap_err();
        assert!(error.to_string().contains("--outage-every-ms"));
    }

    #[test]
    fn the_summary_names_only_what_happened() {
        let counts = Counts { seen: 5, delivered: 4, whole: 3, lost: 1, cut: 1, ..Counts::default() };
        let summary = Summary { elapsed_ms: 12_345, profile: Profile::Copy, seed: 1, pending: 0, counts };
        assert_eq!(
            summary_text(&summary),
            "mirror stopped after 12.3 s: 5 files seen, 4 delivered (3 whole), 1 lost, 1 cut"
        );
    }
}
