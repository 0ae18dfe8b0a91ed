//! Processes that outlive the program that started them: each is recorded in a file, with its log beside it.
//!
//! Invariants: a record names a process by its id *and* its start time, so a recycled id is never signalled; the record
//! is on disk before [`Component::start`] returns. It signals nothing that it did not start or find by its record, its
//! cgroup, its network namespace or our state folder among its arguments.
//! Read first: [`Component`], then `stop`.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};
use serde::{Deserialize, Serialize};

/// Lines of a component's log that an error message shows.
const LOG_LINES_SHOWN: usize = 15;

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started or fails; the message has what it wrote.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One process by its id and the time it was started, in clock ticks since the machine was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub started_ticks: u64,
}

impl ProcessId {
    /// The process that has this id at the moment, unless it has ended. A zombie has, but not while other threads of it still
    /// end: until then it holds its sockets.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may itself hold spaces and parentheses.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let started_ticks = fields.get(19)?.parse().ok()?;
        let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        (*fields.first()? != "Z" || threads() > 1).then_some(Self { pid, started_ticks })
    }

    /// This very process.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// True while it runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        self.reap();
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            // It may end at this moment; then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends a signal to it and to all it started, if it leads a process group (every [`Component`] does).
    pub fn signal_group(self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Takes the exit status if it is our own child, so that it does not stay as a zombie.
    fn reap(self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Ends processes: SIGTERM, and SIGKILL for those that still run after `grace`. Returns when none runs.
///
/// # Errors
/// One outlives SIGKILL by ten seconds.
pub fn end(processes: &[ProcessId], grace: Duration) -> anyhow::Result<()> {
    processes.iter().for_each(|process| process.signal(Signal::TERM));
    if wait_gone(processes, grace).is_empty() {
        return Ok(());
    }
    processes.iter().for_each(|process| process.signal(Signal::KILL));
    let left = wait_gone(processes, Duration::from_secs(10));
    if !left.is_empty() {
        let pids: Vec<i32> = left.iter().map(|process| process.pid).collect();
        bail!("processes {pids:?} do not end, even by SIGKILL");
    }
    Ok(())
}

fn wait_gone(processes: &[ProcessId], patience: Duration) -> Vec<ProcessId> {
    let began = Instant::now();
    loop {
        let left: Vec<_> = processes.iter().copied().filter(|process| process.is_alive()).collect();
        if left.is_empty() || began.elapsed() >= patience {
            return left;
        }
        sleep(Duration::from_millis(10));
    }
}

/// A long-running program of a cluster: where its record and its log lie.
#[derive(Clone, Debug)]
pub struct Component {
    /// What it is called in files and messages.
    pub name: String,
    /// The file with its command line and process.
    pub record: PathBuf,
    /// The file with all it says.
    pub log: PathBuf,
}

/// What is written about a started component; enough to start it again the same way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables set for it.
    pub env: Vec<(String, String)>,
    /// The process.
    pub process: ProcessId,
}

impl Component {
    /// The component of that name with its files in these folders.
    #[must_use]
    pub fn new(name: &str, run: &Path, logs: &Path) -> Self {
        Self { name: name.to_owned(), record: run.join(format!("{name}.json")), log: logs.join(format!("{name}.log")) }
    }

    /// Starts it in a process group of its own, so that a Ctrl-C meant for us does not reach it.
    ///
    /// # Errors
    /// The program cannot be started or recorded.
    pub fn start(&self, argv: &[String], env: &[(String, String)]) -> anyhow::Result<ProcessId> {
        let (program, arguments) = argv.split_first().with_context(|| format!("{}: an empty command", self.name))?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).envs(env.iter().cloned()).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {} ({program})", self.name))?;
        let process = i32::try_from(child.id()).ok().and_then(ProcessId::of);
        let process = process.with_context(|| format!("{} ended at once\n{}", self.name, self.log_end()))?;
        let record = Record { argv: argv.to_vec(), env: env.to_vec(), process };
        let text = serde_json::to_string(&record)?;
        fs::write(&self.record, text).with_context(|| format!("cannot write {}", self.record.display()))?;
        Ok(process)
    }

    /// What is recorded of it, if it was started.
    #[must_use]
    pub fn recorded(&self) -> Option<Record> {
        serde_json::from_str(&fs::read_to_string(&self.record).ok()?).ok()
    }

    /// True while it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.recorded().is_some_and(|record| record.process.is_alive())
    }

    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// It does not run.
    pub fn check(&self) -> anyhow::Result<()> {
        if !self.is_alive() {
            bail!("{} has ended; its log {} ends with\n{}", self.name, self.log.display(), self.log_end());
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self, grace: Duration) -> anyhow::Result<()> {
        if let Some(record) = self.recorded() {
            end(&[record.process], grace).with_context(|| format!("cannot end {}", self.name))?;
        }
        Ok(())
    }

    /// Starts it once more with the command line of its last start.
    ///
    /// # Errors
    /// It was never started, or cannot be.
    pub fn start_again(&self) -> anyhow::Result<ProcessId> {
        let record = self.recorded().with_context(|| format!("{} was never started", self.name))?;
        self.start(&record.argv, &record.env)
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            let _ = file.read_to_end(&mut text);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// All processes of the machine for which `wanted` says yes, given their id.
#[must_use]
pub fn find(wanted: impl Fn(i32) -> bool) -> Vec<ProcessId> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| wanted(*pid)).filter_map(ProcessId::of).collect()
}

/// True if one of the process's arguments contains `part`.
#[must_use]
pub fn has_argument(pid: i32, part: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|word| String::from_utf8_lossy(word).contains(part)))
}
