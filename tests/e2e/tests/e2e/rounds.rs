//! Up and down again leaves the machine as it was, also after a run that was killed in the middle.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::bed;
use e2e::place::Place;
use e2e::snapshot::Snapshot;
use e2e::tools::Tools;
use e2e::{BUSYBOX, TestBed};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// What must show up in the difference while the clusters are up; else an empty difference would mean nothing.
fn assert_seen(before: &Snapshot, during: &Snapshot) -> anyhow::Result<()> {
    let lines = before.difference(during);
    for kind in Snapshot::kinds() {
        let prefix = format!("+ {kind} ");
        ensure!(lines.iter().any(|line| line.starts_with(&prefix)), "the clusters are up, but there is no new {kind}");
    }
    Ok(())
}

fn assert_same(before: &Snapshot, after: &Snapshot) -> anyhow::Result<()> {
    let lines = before.difference(after);
    ensure!(lines.is_empty(), "the machine is not as it was before:\n  {}", lines.join("\n  "));
    Ok(())
}

/// A pod in each cluster, so that there is something to clean up.
async fn with_pods(bed: &TestBed) -> anyhow::Result<()> {
    for cluster in bed.clusters() {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "sleeper", "namespace": "default"},
            "spec": {"containers": [{
                "name": "sleeper", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "1000"],
            }]},
        });
        cluster.apply(&pod).await?;
    }
    for cluster in bed.clusters() {
        cluster.wait_pod_ready("default", "sleeper", e2e::wait::PATIENCE).await?;
    }
    Ok(())
}

/// Some rounds of up, pods, down; after each the machine is as before.
pub(crate) async fn leave_nothing(place: &Place, tools: &Tools) -> anyhow::Result<()> {
    let rounds: u32 = match std::env::var("HOFT_E2E_ROUNDS") {
        Ok(text) => text.parse().with_context(|| format!("HOFT_E2E_ROUNDS is {text:?}, which is no number"))?,
        Err(_) => 3,
    };
    bed::clean(place)?;
    let before = Snapshot::take(place);
    for round in 1..=rounds {
        let began = Instant::now();
        let bed = TestBed::start(place.clone(), tools.clone()).await?;
        let ready = bed.timings.iter().map(|timing| format!("{:.1} s", timing.total().as_secs_f64()));
        let ready = ready.collect::<Vec<_>>().join(" and ");
        with_pods(&bed).await?;
        assert_seen(&before, &Snapshot::take(place))?;
        let up = began.elapsed();
        bed.down()?;
        let down = (began.elapsed() - up).as_secs_f64();
        println!("  round {round} of {rounds}: ready after {ready}, down in {down:.1} s");
        assert_same(&before, &Snapshot::take(place)).with_context(|| format!("after round {round}"))?;
    }
    Ok(())
}

/// A run is killed while it starts, and one when it is up with pods; the next run starts all the same.
pub(crate) async fn killed(place: &Place, tools: &Tools) -> anyhow::Result<()> {
    bed::clean(place)?;
    let before = Snapshot::take(place);
    for patience in [Duration::from_millis(300), Duration::from_secs(3), Duration::from_secs(30)] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_e2e"));
        let mut run = run.arg("up").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let began = Instant::now();
        // The last one is killed as soon as both nodes are up.
        while began.elapsed() < patience && !(patience.as_secs() > 10 && bed_is_ready(place)) {
            ensure!(run.try_wait()?.is_none(), "`e2e up` ended by itself");
            sleep(Duration::from_millis(50));
        }
        run.kill()?;
        run.wait()?;
        assert_seen(&before, &Snapshot::take(place)).context("there was nothing to clean up yet")?;
    }
    let bed = TestBed::start(place.clone(), tools.clone()).await.context("after killed runs")?;
    with_pods(&bed).await?;
    bed.down()?;
    assert_same(&before, &Snapshot::take(place))?;
    // An interrupt in the middle of a start takes down what there is.
    let mut run = Command::new(env!("CARGO_BIN_EXE_e2e"));
    let mut run = run.arg("up").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    sleep(Duration::from_secs(3));
    let pid = i32::try_from(run.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
    kill_process(pid, Signal::INT)?;
    run.wait()?;
    assert_same(&before, &Snapshot::take(place)).context("after an interrupt")
}

fn bed_is_ready(place: &Place) -> bool {
    e2e::cluster::Layout::all(&place.state).iter().all(|layout| layout.component("kubelet").is_alive())
}

/// A second run says who holds the clusters, and does them no harm.
pub(crate) async fn second_is_refused(bed: &TestBed) -> anyhow::Result<()> {
    for command in ["up", "down"] {
        let output = Command::new(env!("CARGO_BIN_EXE_e2e")).arg(command).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "a second `e2e {command}` was let in");
        let holder = format!("in use by process {}", std::process::id());
        ensure!(said.contains(&holder), "`e2e {command}` does not say {holder:?}: {said}");
    }
    for cluster in bed.clusters() {
        cluster.kubectl(&["get", "nodes"]).await?;
    }
    Ok(())
}
