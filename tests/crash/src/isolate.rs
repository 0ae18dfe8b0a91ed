//! A mount and a process namespace of its own for a run, and a network if it wants one, so that nothing outlives it.
//!
//! The program starts itself again inside `unshare`. When the inner process ends, however it ends, the kernel kills whatever
//! it started and takes down its mounts, and with them its loop devices; when the outer one ends, the inner one notices by
//! the end of its standard input. What is left of an interrupted run is its folder, which the next run removes. Invariant:
//! a folder is removed only if nobody holds its lock. Needs root. Read first: [`run`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, bail, ensure};

/// Names the folder of the run to the inner process.
const PLACE: &str = "HOFT_CRASH_PLACE";
/// Names the program under test to the inner process.
const HOFT: &str = "HOFT_CRASH_HOFT";
const PREFIX: &str = "hoft-crash-";
/// What the inner process says by its exit status after the outer one has gone.
const ABANDONED: i32 = 130;

/// Where the inner process works, and the program under test.
#[derive(Clone, Debug)]
pub struct Inside {
    /// A folder that is removed at the end of the run.
    pub place: PathBuf,
    /// The program under test.
    pub hoft: PathBuf,
}

/// Is this word in `HOFT_REQUIRE`?
#[must_use]
pub fn is_required(word: &str) -> bool {
    std::env::var("HOFT_REQUIRE").unwrap_or_default().split(',').any(|name| name.trim() == word)
}

/// Which network a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// That of the machine.
    Shared,
    /// One with nothing but a loopback device: fixed ports clash with nobody, and no program speaks to anybody outside.
    Own,
}

/// Does the work in namespaces of its own: `work` is called in the inner process. `Err` in the result says why this machine
/// cannot do it.
///
/// # Errors
/// `HOFT_REQUIRE` names what is missing; the program under test cannot be built; something was left behind.
pub fn run(work: impl FnOnce(&Inside) -> ExitCode) -> anyhow::Result<Result<ExitCode, String>> {
    run_on(Network::Shared, work)
}

/// As [`run`], on this network.
///
/// # Errors
/// As [`run`].
pub fn run_on(network: Network, work: impl FnOnce(&Inside) -> ExitCode) -> anyhow::Result<Result<ExitCode, String>> {
    if let (Some(place), Some(hoft)) = (std::env::var_os(PLACE), std::env::var_os(HOFT)) {
        end_with_standard_input();
        if network == Network::Own {
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            ensure!(up.context("cannot start `ip` (Debian: iproute2)")?.success(), "the loopback device stays down");
        }
        return Ok(Ok(work(&Inside { place: place.into(), hoft: hoft.into() })));
    }
    if !rustix::process::geteuid().is_root() {
        let reason = "it needs root, for namespaces and mounts";
        ensure!(!is_required("root"), "HOFT_REQUIRE names root: {reason}");
        return Ok(Err(reason.to_owned()));
    }
    remove_leftovers();
    let hoft = crate::product::build()?;
    let place = tempfile::Builder::new().prefix(PREFIX).tempdir().context("cannot make a folder for this run")?;
    let lock = File::create(place.path().join("lock"))?;
    lock.lock().context("cannot lock the folder of this run")?;
    let mut inner = Command::new("unshare");
    inner.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]);
    if network == Network::Own {
        inner.arg("--net");
    }
    inner.arg("--");
    inner.arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    inner.env(PLACE, place.path()).env(HOFT, &hoft).stdin(Stdio::piped());
    let mut inner = inner.spawn().context("cannot start `unshare` (Debian: util-linux)")?;
    // Waiting closes a pipe that the child still owns, and with it the inner process.
    let alive = inner.stdin.take();
    let status = inner.wait()?;
    drop(alive);
    let folder = place.path().to_owned();
    place.close().with_context(|| format!("cannot remove {}", folder.display()))?;
    nothing_is_left(&folder)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Ok(ExitCode::from(code)))
}

/// Ends this process, and with it everything in its namespace, when the process outside has ended.
fn end_with_standard_input() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(ABANDONED);
    });
}

/// Removes the folders of runs that were interrupted.
fn remove_leftovers() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let free = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if free {
            println!("removing what an interrupted run left: {}", entry.path().display());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// No mount and no loop device speaks of the folder any more.
fn nothing_is_left(folder: &Path) -> anyhow::Result<()> {
    let name = folder.to_string_lossy().into_owned();
    let mut left = Vec::new();
    // The kernel takes mounts down a moment after the last process of their namespace has ended.
    for _ in 0..100 {
        left.clear();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|line| line.contains(&name)).map(str::to_owned));
        for device in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let backing = std::fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            if backing.contains(&name) {
                left.push(format!("{} of {}", device.path().display(), backing.trim()));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    bail!("the run has left something behind:\n  {}", left.join("\n  "))
}
