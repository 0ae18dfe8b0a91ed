//! The three measurements: a large body, many small calls, one call at a time.
//!
//! Invariant: every figure is taken beside its baseline, in turns where that makes sense, so that what else runs on the
//! machine weighs on both. Nothing is judged here. Test to read first: `only_calls_that_end_in_the_window_count`.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::carrier::{Carrier, Way};
use super::client::Door;
use super::disk::Disk;
use super::pattern::Pattern;
use super::report::{Bulk, BulkRun, Calls, Idle, Percentiles, Small};
use super::statistics::{median, percentile};
use crate::demo::client::Client;
use crate::demo::view;

/// Octets of the response of a small call.
const SMALL_RESPONSE: u64 = 1024;
/// Share of the time before small calls count: one in this many.
const WARM_UP_SHARE: u32 = 5;
/// Rest between two measurements, so that acknowledgements and removals of one do not run into the other.
const REST: Duration = Duration::from_millis(500);

/// What is measured with.
#[derive(Debug)]
pub(super) struct Bench {
    /// The bytes.
    pub(super) pattern: Pattern,
    /// The upstream itself.
    pub(super) direct: Door,
    /// The upstream through the line.
    pub(super) line: Door,
    /// The baseline of files.
    pub(super) carrier: Carrier,
    /// The admin ports of both engines.
    pub(super) admins: [Client; 2],
}

impl Bench {
    /// A body of `size` octets there, and one back, `runs` times, in turns with the same octets as a file.
    ///
    /// # Errors
    /// When something breaks.
    pub(super) async fn bulk(&self, size: u64, runs: u32) -> Result<[Bulk; 2]> {
        let (carrier, pattern) = (self.carrier.clone(), self.pattern.clone());
        blocking(move || carrier.make_source(&pattern, size)).await?;
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for run in 1..=runs {
            for (way, results) in [(Way::Up, &mut up), (Way::Down, &mut down)] {
                self.settle().await;
                let (carrier, name) = (self.carrier.clone(), format!("bulk-{run}"));
                let plain = blocking(move || carrier.carry(way, &name)).await?;
                self.settle().await;
                let began = Instant::now();
                let mut connection = self.line.connect(&self.pattern).await?;
                match way {
                    Way::Up => connection.up(size).await?,
                    Way::Down => connection.down(size).await?,
                }
                let result = BulkRun::new(size, plain, began.elapsed());
                eprintln!("bulk {way:?} {run}/{runs}: {result}");
                results.push(result);
            }
        }
        Ok([Bulk::of(Way::Up, size, up), Bulk::of(Way::Down, size, down)])
    }

    /// Small calls from `connections` kept connections for about `time`, through the line and directly.
    ///
    /// # Errors
    /// When something breaks.
    pub(super) async fn small(&self, connections: u32, time: Duration) -> Result<Small> {
        self.settle().await;
        let direct = self.calls(&self.direct, connections, time).await?;
        eprintln!("small calls, directly: {direct}");
        self.settle().await;
        let before = (self.packets().await, Instant::now());
        let line = self.calls(&self.line, connections, time).await?;
        let packets = self.packets().await.saturating_sub(before.0);
        let packets_per_second = packets as f64 / before.1.elapsed().as_secs_f64();
        eprintln!("small calls, through the line: {line}, {packets_per_second:.0} packets/s");
        let ratio = line.per_second / direct.per_second;
        Ok(Small { connections, seconds: time.as_secs_f64(), line, direct, ratio, packets_per_second })
    }

    async fn calls(&self, door: &Door, connections: u32, time: Duration) -> Result<Calls> {
        let began = Instant::now();
        let window = (began + time / WARM_UP_SHARE, began + time);
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            let mut connection = door.connect(&self.pattern).await?;
            workers.spawn(async move {
                let mut ends = Vec::new();
                while Instant::now() < window.1 {
                    let began = Instant::now();
                    connection.down(SMALL_RESPONSE).await?;
                    ends.push((Instant::now(), began.elapsed()));
                }
                anyhow::Ok(ends)
            });
        }
        let mut ends = Vec::new();
        while let Some(worker) = workers.join_next().await {
            ends.extend(worker.context("a caller failed")??);
        }
        counted(&ends, window).context("no call ended in the time: give it more with --seconds")
    }

    /// Packets that both engines sent so far; what does not answer counts as none.
    async fn packets(&self) -> u64 {
        let mut packets = 0;
        for admin in &self.admins {
            let status = admin.get("/statusz").await.map_or_else(|_| Bytes::new(), |answer| answer.beginning);
            packets += serde_json::from_slice(&status).map_or(0, |status| view::engine_view(&status).packets);
        }
        packets
    }

    /// One call at a time, in turns with a small file there and back.
    ///
    /// # Errors
    /// When something breaks.
    pub(super) async fn idle(&self, calls: u32) -> Result<Idle> {
        self.settle().await;
        let mut connection = self.line.connect(&self.pattern).await?;
        let mut disk = Disk::new(self.carrier.home())?;
        let (mut line_ms, mut files_ms, mut added_ms, mut sync_ms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // The first of each is not counted: it opens what later ones find open.
        for call in 0..=calls {
            let (carrier, pattern, name) = (self.carrier.clone(), self.pattern.clone(), format!("ping-{call}"));
            let files = blocking(move || carrier.round_trip(&pattern, &name)).await?;
            let began = Instant::now();
            connection.down(SMALL_RESPONSE).await?;
            let line = began.elapsed();
            let (sync, same) = blocking(move || disk.sync().map(|sync| (sync, disk))).await?;
            disk = same;
            if call > 0 {
                sync_ms.push(sync.as_secs_f64() * 1e3);
                added_ms.push((line.as_secs_f64() - files.as_secs_f64()) * 1e3);
                line_ms.push(line.as_secs_f64() * 1e3);
                files_ms.push(files.as_secs_f64() * 1e3);
            }
        }
        let of = |sample: &[f64]| Percentiles::of(sample).context("not one call was asked for");
        let (line, files) = (of(&line_ms)?, of(&files_ms)?);
        let ratio = line.p50_ms / files.p50_ms;
        let idle = Idle { calls, line, files, added: of(&added_ms)?, fdatasync: of(&sync_ms)?, ratio };
        eprintln!("idle line: {line} a call, {files} for files alone; fdatasync {}", idle.fdatasync);
        Ok(idle)
    }

    /// Waits until nothing of the measurement before is left to be written.
    async fn settle(&self) {
        tokio::time::sleep(REST).await;
        let home = self.carrier.clone();
        let _ = tokio::task::spawn_blocking(move || home.flush()).await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a measuring thread failed")?
}

/// What the calls that ended within the window amount to; `None` if there is none.
fn counted(ends: &[(Instant, Duration)], (begin, end): (Instant, Instant)) -> Option<Calls> {
    let within = ends.iter().filter(|(at, _)| (begin..end).contains(at));
    let latencies: Vec<f64> = within.map(|(_, latency)| latency.as_secs_f64() * 1e3).collect();
    Some(Calls {
        per_second: latencies.len() as f64 / (end - begin).as_secs_f64(),
        median_ms: median(&latencies)?,
        p99_ms: percentile(&latencies, 99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_end_in_the_window_count() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let ends: Vec<_> = [50, 150, 199, 200, 300].map(|ms| (at(ms), Duration::from_millis(ms / 10))).into();
        let calls = counted(&ends, (at(100), at(200))).unwrap();
        assert!((calls.per_second - 20.0).abs() < 1e-6, "{calls:?}");
        assert!((calls.median_ms - 17.0).abs() < 1e-6, "{calls:?}");
        assert_eq!(counted(&ends, (at(400), at(500))), None);
    }
}
