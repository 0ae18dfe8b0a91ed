//! What was measured, as a table for people and as JSON for machines.
//!
//! Invariant: every figure stands beside its baseline and their ratio; only ratios compare between machines. A MB is 10⁶
//! octets. Test to read first: `the_table_has_every_ratio`.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::carrier::Way;
use super::statistics::{Spread, median, percentile};

/// One run of a large body, and of its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct BulkRun {
    /// Through the line, in MB/s.
    line_mb_s: f64,
    /// As a file: cp, mirror, cp; in MB/s.
    files_mb_s: f64,
    /// The line's speed over that of the file.
    ratio: f64,
}

impl BulkRun {
    /// From the times that `size` octets took.
    pub(super) fn new(size: u64, files: Duration, line: Duration) -> Self {
        let megabytes = size as f64 / 1e6;
        let (line_mb_s, files_mb_s) = (megabytes / line.as_secs_f64(), megabytes / files.as_secs_f64());
        Self { line_mb_s, files_mb_s, ratio: line_mb_s / files_mb_s }
    }
}

impl Display for BulkRun {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { line_mb_s, files_mb_s, ratio } = self;
        write!(f, "line {line_mb_s:.1} MB/s, files {files_mb_s:.1} MB/s, ratio {ratio:.2}")
    }
}

/// A large body, one way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bulk {
    way: Way,
    size: u64,
    line_mb_s: Option<Spread>,
    files_mb_s: Option<Spread>,
    ratio: Option<Spread>,
    runs: Vec<BulkRun>,
}

impl Bulk {
    /// Adds runs up.
    pub(super) fn of(way: Way, size: u64, runs: Vec<BulkRun>) -> Self {
        let spread = |value: fn(&BulkRun) -> f64| Spread::of(&runs.iter().map(value).collect::<Vec<_>>());
        Self {
            way,
            size,
            line_mb_s: spread(|run| run.line_mb_s),
            files_mb_s: spread(|run| run.files_mb_s),
            ratio: spread(|run| run.ratio),
            runs,
        }
    }
}

/// Many small calls, one way of making them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Calls {
    /// Calls per second.
    pub(super) per_second: f64,
    /// Half the calls took less, in milliseconds.
    pub(super) median_ms: f64,
    /// 99 of 100 took no more, in milliseconds.
    pub(super) p99_ms: f64,
}

impl Display for Calls {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { per_second, median_ms, p99_ms } = self;
        write!(f, "{per_second:.0} calls/s, median {median_ms:.1} ms, p99 {p99_ms:.1} ms")
    }
}

/// Many small calls.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Small {
    /// Callers at once.
    pub(super) connections: u32,
    /// How long each way was measured, warming up included.
    pub(super) seconds: f64,
    /// Through the line.
    pub(super) line: Calls,
    /// Directly.
    pub(super) direct: Calls,
    /// Calls per second, the line's over the direct ones.
    pub(super) ratio: f64,
    /// Packets of both engines per second.
    pub(super) packets_per_second: f64,
}

/// Two percentiles of times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    /// Half took less, in milliseconds.
    pub(super) p50_ms: f64,
    /// 99 of 100 took no more, in milliseconds.
    pub(super) p99_ms: f64,
}

impl Percentiles {
    /// Of a sample in milliseconds; `None` if it is empty.
    pub(super) fn of(sample: &[f64]) -> Option<Self> {
        Some(Self { p50_ms: median(sample)?, p99_ms: percentile(sample, 99)? })
    }
}

impl Display for Percentiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms", self.p50_ms, self.p99_ms)
    }
}

/// One call at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Idle {
    /// How many.
    pub(super) calls: u32,
    /// A call through the line.
    pub(super) line: Percentiles,
    /// A small file there and another back: the two passes of the mirrors.
    pub(super) files: Percentiles,
    /// What each call took more than the files beside it.
    pub(super) added: Percentiles,
    /// Making 4 KiB durable on the same disk.
    pub(super) fdatasync: Percentiles,
    /// The call's median over that of the files.
    pub(super) ratio: f64,
}

impl Idle {
    /// What a call may add by the target: fifteen syncs and two milliseconds.
    fn added_ms_target(&self) -> f64 {
        15.0 * self.fdatasync.p50_ms + 2.0
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// Version of the program.
    pub(super) version: &'static str,
    /// Whether it was built without optimisation: the figures say little then.
    pub(super) debug_build: bool,
    /// Processors that this process may use.
    pub(super) processors: usize,
    /// A large body, up and down.
    pub(super) bulk: Option<[Bulk; 2]>,
    /// Many small calls.
    pub(super) small: Option<Small>,
    /// One call at a time.
    pub(super) idle: Option<Idle>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let build = if self.debug_build { ", not optimised: build with --release" } else { "" };
        writeln!(f, "hoft {}, {} processors{build}", self.version, self.processors)?;
        writeln!(f, "\n{:<34}{:>15}{:>15}{:>10}", "", "line", "baseline", "ratio")?;
        for bulk in self.bulk.iter().flatten() {
            bulk_rows(f, bulk)?;
        }
        if let Some(small) = &self.small {
            let Small { line, direct, ratio, .. } = small;
            let name = format!("small calls, {} at once, per second", small.connections);
            row(
                f,
                &name,
                &format!("{:.0}", line.per_second),
                &format!("{:.0}", direct.per_second),
                &format!("{ratio:.3}"),
            )?;
            row(f, "  median, ms", &format!("{:.1}", line.median_ms), &format!("{:.1}", direct.median_ms), "")?;
            row(f, "  99th percentile, ms", &format!("{:.1}", line.p99_ms), &format!("{:.1}", direct.p99_ms), "")?;
            row(f, "  packets per second", &format!("{:.1}", small.packets_per_second), "", "")?;
        }
        if let Some(idle) = &self.idle {
            let Idle { line, files, ratio, added, fdatasync, .. } = idle;
            let ms = |value: f64| format!("{value:.2}");
            row(f, "one call, median, ms", &ms(line.p50_ms), &ms(files.p50_ms), &ms(*ratio))?;
            row(f, "  99th percentile, ms", &ms(line.p99_ms), &ms(files.p99_ms), "")?;
            row(f, "  added by the line, median, ms", &ms(added.p50_ms), "", "")?;
            row(f, "  added by the line, p99, ms", &ms(added.p99_ms), "", "")?;
            row(f, "  fdatasync, median, ms", "", &ms(fdatasync.p50_ms), "")?;
            row(f, "  fdatasync, p99, ms", "", &ms(fdatasync.p99_ms), "")?;
            row(f, "  15 fdatasync and 2 ms", "", &ms(idle.added_ms_target()), "")?;
        }
        write!(
            f,
            "\nBaselines: bulk and one call: plain files through the same mirror program; small calls: without the line."
        )
    }
}

fn bulk_rows(f: &mut Formatter<'_>, bulk: &Bulk) -> std::fmt::Result {
    let Some(((line, files), ratio)) = bulk.line_mb_s.zip(bulk.files_mb_s).zip(bulk.ratio) else { return Ok(()) };
    let way = match bulk.way {
        Way::Up => "up",
        Way::Down => "down",
    };
    let name = format!("{:.0} MB {way}, median MB/s", bulk.size as f64 / 1e6);
    row(f, &name, &format!("{:.1}", line.median), &format!("{:.1}", files.median), &format!("{:.3}", ratio.median))?;
    let range = |spread: Spread, digits: usize| format!("{:.digits$}–{:.digits$}", spread.min, spread.max);
    row(f, &format!("  least and most of {}", bulk.runs.len()), &range(line, 0), &range(files, 0), &range(ratio, 2))
}

fn row(f: &mut Formatter<'_>, name: &str, line: &str, baseline: &str, ratio: &str) -> std::fmt::Result {
    writeln!(f, "{name:<34}{line:>15}{baseline:>15}{ratio:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let run = |line| BulkRun::new(100_000_000, Duration::from_secs(1), Duration::from_secs(line));
        let bulk = |way| Bulk::of(way, 100_000_000, vec![run(2), run(5), run(4)]);
        let calls = |per_second| Calls { per_second, median_ms: 60.0, p99_ms: 99.0 };
        let (line, direct) = (calls(500.0), calls(10_000.0));
        Report {
            version: "1.2.3",
            debug_build: true,
            processors: 2,
            bulk: Some([bulk(Way::Up), bulk(Way::Down)]),
            small: Some(Small { connections: 64, seconds: 1.0, line, direct, ratio: 0.05, packets_per_second: 40.0 }),
            idle: Some(Idle {
                calls: 50,
                line: Percentiles { p50_ms: 30.0, p99_ms: 40.0 },
                files: Percentiles { p50_ms: 20.0, p99_ms: 21.0 },
                added: Percentiles { p50_ms: 10.0, p99_ms: 18.5 },
                fdatasync: Percentiles { p50_ms: 0.5, p99_ms: 4.25 },
                ratio: 1.5,
            }),
        }
    }

    #[test]
    fn the_table_has_every_ratio() {
        let text = report().to_string();
        for part in [
            "not optimised",
            "100 MB up",
            "100 MB down",
            "25.0",
            "0.250",
            "0.20–0.50",
            "0.050",
            "1.50",
            "10.00",
            "18.50",
            "4.25",
            "9.50",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn the_json_has_the_same_and_every_run() {
        let json: serde_json::Value = serde_json::to_value(report()).unwrap();
        assert_eq!(json["bulk"][1]["way"], "down");
        assert_eq!(json["bulk"][0]["ratio"]["median"], 0.25);
        assert_eq!(json["bulk"][0]["runs"].as_array().unwrap().len(), 3);
        assert_eq!(json["small"]["ratio"], 0.05);
        assert_eq!(json["idle"]["added"]["p50_ms"], 10.0);
        assert_eq!(json["idle"]["fdatasync"]["p99_ms"], 4.25);
    }
}
