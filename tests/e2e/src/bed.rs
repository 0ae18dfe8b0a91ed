//! The test bed: both clusters up, held by a lock, and down again whatever happens.
//!
//! Invariants: who has a [`TestBed`] holds the machine's lock; dropping it (also by a panic or an early return) ends
//! both clusters, unless it was detached or only attached. A run that was killed outright leaves the clusters up; the
//! next [`TestBed::start`] or [`clean`] removes them first. Read first: [`TestBed::up`].

use std::env;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use crate::artefacts::copy_logs;
use crate::cluster::{self, Layout, Timing};
use crate::handle::Cluster;
use crate::images;
use crate::leftovers;
use crate::lock::{Holder, Lock, MACHINE_LOCK};
use crate::mirror::{self, Carrier, Direction, Mirror};
use crate::place::Place;
use crate::prerequisites;
use crate::tools::Tools;

/// Two clusters with no way between them, and the tools to work with them.
#[derive(Debug)]
pub struct TestBed {
    /// The first cluster.
    pub a: Cluster,
    /// The second cluster.
    pub b: Cluster,
    /// Where everything lies.
    pub place: Place,
    /// How long each cluster took to become ready; empty when attached.
    pub timings: Vec<Timing>,
    lock: Option<Lock>,
    ends_with_us: bool,
}

impl TestBed {
    /// The test bed for tests: started, or attached to clusters that are up when `HOFT_E2E_ATTACH` is set.
    ///
    /// # Errors
    /// The machine lacks something, another run holds the lock, or a cluster does not become ready.
    pub async fn up() -> anyhow::Result<Self> {
        let place = Place::from_environment()?;
        let tools = ready_to_start(&place)?;
        if env::var_os("HOFT_E2E_ATTACH").is_some() {
            return Self::attach(place, tools).await;
        }
        Self::start(place, tools).await
    }

    /// Starts both clusters at once.
    ///
    /// # Errors
    /// Another run holds the lock, clusters are up already, or one does not become ready (then both are ended).
    pub async fn start(place: Place, tools: Tools) -> anyhow::Result<Self> {
        let (mut lock, before) = Lock::take(Path::new(MACHINE_LOCK))?;
        if let Some(refusal) = refusal(before.as_ref()) {
            bail!("{refusal}");
        }
        lock.write(&place.state, false)?;
        clean_up_after(before.as_ref(), &place)?;
        fs::create_dir_all(&place.state).with_context(|| format!("cannot create {}", place.state.display()))?;
        leftovers::note(&place.state)?;
        let archives = images::write_test_images(&place.state.join("images"))?;
        let starting = Layout::all(&place.state).into_iter().map(|layout| {
            let (tools, archives) = (tools.clone(), archives.clone());
            async move { cluster::start(&layout, &tools, &archives).await }
        });
        // Dropped when we are interrupted, which also aborts what it has begun.
        let mut tasks: JoinSet<_> = starting.collect();
        let mut timings = Vec::new();
        while let Some(started) = tasks.join_next().await {
            match started? {
                Ok(timing) => timings.push(timing),
                Err(error) => {
                    tasks.shutdown().await;
                    let kept = copy_logs(&place, "start")?;
                    end(&place.state)?;
                    lock.clear()?;
                    return Err(error.context(format!("a cluster did not start; its logs: {}", kept.display())));
                }
            }
        }
        timings.sort_by_key(|timing| timing.index);
        Self::of(place, tools, timings, lock, true).await
    }

    /// Uses clusters that an earlier `up --detach` left running, and leaves them running.
    ///
    /// # Errors
    /// None are up, or another run uses them.
    pub async fn attach(place: Place, tools: Tools) -> anyhow::Result<Self> {
        let (mut lock, before) = Lock::take(Path::new(MACHINE_LOCK))?;
        let Some(holder) = before.filter(|holder| holder.detached && any_alive(&holder.state)) else {
            bail!("HOFT_E2E_ATTACH is set, but no clusters are up: start them with `cargo run -p e2e -- up --detach`");
        };
        let place = Place { state: holder.state, ..place };
        lock.write(&place.state, true)?;
        Self::of(place, tools, Vec::new(), lock, false).await
    }

    async fn of(
        place: Place,
        tools: Tools,
        timings: Vec<Timing>,
        lock: Lock,
        ends_with_us: bool,
    ) -> anyhow::Result<Self> {
        let a = Cluster::new(Layout::new(&place.state, 0), tools.clone()).await?;
        let b = Cluster::new(Layout::new(&place.state, 1), tools).await?;
        Ok(Self { a, b, place, timings, lock: Some(lock), ends_with_us })
    }

    /// Both clusters.
    #[must_use]
    pub const fn clusters(&self) -> [&Cluster; 2] {
        [&self.a, &self.b]
    }

    /// A mirror between two folders of each cluster, not started yet: `a.0` is the outbox of cluster a, `a.1` its inbox.
    ///
    /// # Errors
    /// There is no `hoft` to run, or its files cannot be made.
    pub fn mirror(
        &self,
        hoft: &Path,
        name: &str,
        a: (&Path, &Path),
        b: (&Path, &Path),
        carriers: (&Carrier, &Carrier),
    ) -> anyhow::Result<Mirror> {
        let direction = |suffix: &str, from: &Path, to: &Path, carrier: &Carrier| {
            Direction::new(&self.place, hoft, &format!("{name}-{suffix}"), from, to, carrier)
        };
        Ok(Mirror {
            a_to_b: direction("a-to-b", a.0, b.1, carriers.0)?,
            b_to_a: direction("b-to-a", b.0, a.1, carriers.1)?,
        })
    }

    /// Ends both clusters and removes all they had; only gives up the lock if they were attached.
    ///
    /// # Errors
    /// Something is left behind; the message lists it.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.finish()
    }

    /// Leaves the clusters running, for [`TestBed::attach`] and [`clean`].
    ///
    /// # Errors
    /// The lock cannot be written.
    pub fn detach(mut self) -> anyhow::Result<()> {
        if let Some(mut lock) = self.lock.take() {
            lock.write(&self.place.state, true)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        if self.ends_with_us {
            end(&self.place.state)?;
            lock.clear()?;
        }
        Ok(())
    }
}

impl Drop for TestBed {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            eprintln!("the test bed is not gone: {error:#}");
        }
    }
}

/// What a start needs, without building anything.
///
/// # Errors
/// Lists all that is missing.
pub fn ready_to_start(place: &Place) -> anyhow::Result<Tools> {
    let mut missing = prerequisites::check();
    let tools = Tools::find(place)?;
    if tools.is_none() {
        missing
            .add("the programs of the clusters are not built: `cargo run -p e2e -- build` (about ten minutes, once)");
    }
    match tools {
        Some(tools) if missing.is_empty() => Ok(tools),
        _ => bail!("{missing}"),
    }
}

/// Removes every cluster there is: detached, or left by a run that was killed. Says whether there was anything.
///
/// # Errors
/// A run is using them, or something cannot be removed.
pub fn clean(place: &Place) -> anyhow::Result<bool> {
    let (mut lock, before) = Lock::take(Path::new(MACHINE_LOCK))?;
    let anything = before.is_some() || place.state.exists();
    lock.write(&place.state, false)?;
    clean_up_after(before.as_ref(), place)?;
    lock.clear()?;
    Ok(anything)
}

fn clean_up_after(before: Option<&Holder>, place: &Place) -> anyhow::Result<()> {
    if let Some(holder) = before
        && holder.state != place.state
    {
        end(&holder.state)?;
    }
    end(&place.state)
}

/// Ends both clusters at once, then what belongs to neither alone.
fn end(state: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    mirror::end_all(state);
    let ending = Layout::all(state).into_iter().map(|layout| thread::spawn(move || cluster::stop(&layout)));
    let mut problems = Vec::new();
    for end in ending.collect::<Vec<_>>() {
        match end.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => problems.push(format!("{error:#}")),
            Err(_) => problems.push("ending a cluster panicked".to_owned()),
        }
    }
    leftovers::remove_shared(state);
    for path in [state.join("images"), state.join("exchange")] {
        if path.exists() && fs::remove_dir_all(&path).is_err() {
            problems.push(format!("cannot remove {}", path.display()));
        }
    }
    // Fails when something else was put there; that is not ours to remove.
    let _ = fs::remove_dir(state);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    if began.elapsed().as_secs() > 20 {
        println!("ending the clusters took {} s", began.elapsed().as_secs());
    }
    Ok(())
}

/// True if a component of a cluster below that folder still runs.
#[must_use]
pub fn any_alive(state: &Path) -> bool {
    Layout::all(state).iter().flat_map(Layout::components).any(|component| component.is_alive())
}

/// Why nothing may be started or cleaned up without being asked to: detached clusters are somebody's.
fn refusal(before: Option<&Holder>) -> Option<String> {
    let holder = before.filter(|holder| holder.detached && any_alive(&holder.state))?;
    Some(format!(
        "the clusters are up already, left running by `{}`: take them down with `cargo run -p e2e -- down`, or set \
         HOFT_E2E_ATTACH=1 to run tests on them",
        holder.command
    ))
}

/// The reason why the machine is not free for clusters of our own, if it is not; what a killed run left is no reason.
///
/// # Errors
/// The lock's file cannot be read.
pub fn occupied() -> anyhow::Result<Option<String>> {
    Ok(refusal(holder()?.as_ref()))
}

/// The state folder of the clusters that are up, held or detached, as the lock's file says.
///
/// # Errors
/// The lock's file cannot be read.
pub fn holder() -> anyhow::Result<Option<Holder>> {
    let path = Path::new(MACHINE_LOCK);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_str(&text).ok())
}
