//! One run: two engines, four mirrors and a server are set up, measured, and cleared away.
//!
//! Invariant: however a run ends, the children are ended and reaped before the folder may go. What is measured is in
//! `measure.rs`. It has no test of its own: run `hoft bench --size 10MB --runs 1 --seconds 2`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sidecar_config::ConfigFile;

use super::BenchArgs;
use super::carrier::{Carrier, Mirrors};
use super::client::Door;
use super::measure::Bench;
use super::pattern::Pattern;
use super::report::Report;
use super::upstream::Upstream;
use crate::demo::run::Signals;
use crate::demo::sides::Setting;
use crate::demo::stage::Stage;
use crate::mirror::FaultLevel;

/// How long a call may take: longer than any body that anybody has the patience to measure.
const CALL_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Time between two looks whether all children still run.
const WATCH: Duration = Duration::from_millis(500);

/// Measures what is asked for in `folder`.
///
/// # Errors
/// When something cannot be set up, breaks, or a signal ends it.
pub(super) async fn run(args: &BenchArgs, folder: &Path) -> Result<Report> {
    let mut signals = Signals::listen()?;
    let program = std::env::current_exe().context("this program's own file is not known")?;
    let pattern = Pattern::new();
    let upstream = Upstream::start(&pattern).await?;
    let setting = Setting { folder, upstream: upstream.address, faults: FaultLevel::None, seed: 1 };
    let carrier = Carrier::new(&folder.join("files"))?;
    let mirrors = carrier.start(&program).await?;
    let adjust = |file: &mut ConfigFile| adjust(args, file);
    eprintln!("two engines and four mirrors start in {}", folder.display());
    let stage = tokio::select! {
        stage = Stage::build_with(&setting, &adjust) => stage?,
        name = signals.first() => bail!("{name}: the measurement ends before it began"),
    };
    let bench = Bench {
        pattern,
        direct: Door::direct(upstream.address),
        line: Door::through(stage.near.proxy),
        carrier,
        admins: [stage.near.admin.clone(), stage.far.admin.clone()],
    };
    let measured = tokio::select! {
        measured = measure(args, &bench) => measured,
        fallen = fallen(&stage, &mirrors) => Err(anyhow::anyhow!(fallen)),
        name = signals.first() => Err(anyhow::anyhow!("{name}: the measurement was ended")),
    };
    stage.kill().await;
    mirrors.kill().await;
    measured
}

async fn measure(args: &BenchArgs, bench: &Bench) -> Result<Report> {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        debug_build: cfg!(debug_assertions),
        processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        bulk: None,
        small: None,
        idle: None,
    };
    if args.calls > 0 {
        report.idle = Some(bench.idle(args.calls).await.context("one call at a time")?);
    }
    if args.seconds > 0 {
        let time = Duration::from_secs(args.seconds.into());
        report.small = Some(bench.small(args.connections, time).await.context("small calls")?);
    }
    if args.runs > 0 {
        report.bulk = Some(bench.bulk(args.size.as_u64(), args.runs).await.context("a large body")?);
    }
    Ok(report)
}

/// Waits until a child ends by itself, and says which.
async fn fallen(stage: &Stage, mirrors: &Mirrors) -> String {
    loop {
        tokio::time::sleep(WATCH).await;
        if let Some(fallen) = stage.fallen().await {
            return fallen;
        }
        if let Some(fallen) = mirrors.fallen().await {
            return fallen;
        }
    }
}

/// What an engine has by default, but room and time for a large body, and what the command line asks for.
fn adjust(args: &BenchArgs, file: &mut ConfigFile) {
    let usual = ConfigFile::new("north", "south", file.folders.clone(), file.state.folder.clone());
    file.limits.body_max = file.limits.body_max.max(args.size);
    file.limits.max_in_flight = file.limits.max_in_flight.max(args.connections);
    file.limits.stream_window = args.stream_window.unwrap_or(usual.limits.stream_window);
    file.mirror.packet_size = args.packet_size.unwrap_or(usual.mirror.packet_size);
    for rule in &mut file.outbound.allow {
        rule.timeout = CALL_TIME_MAX;
    }
    for rule in &mut file.inbound.allow {
        rule.timeout = CALL_TIME_MAX;
    }
}
