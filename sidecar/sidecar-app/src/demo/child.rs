//! A child process of the demo: started, killed without warning, or asked to end.
//!
//! Invariants: a child does not outlive its [`Child`], however the demo ends short of a SIGKILL of its own; a child that
//! was killed is gone and reaped when [`Child::kill`] returns. What it writes to its standard error is kept in a file.
//! Test to read first: `a_killed_child_can_be_started_again`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::process::{Child as Process, Command};
use tokio::sync::Mutex;

/// How much of the end of a log is shown, in lines.
const TAIL_LINES: usize = 8;

/// One process, which may be started more than once.
#[derive(Debug)]
pub(crate) struct Child {
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Child {
    /// What will be started; nothing is yet.
    pub(crate) fn new(program: &Path, arguments: Vec<OsString>, log: PathBuf) -> Self {
        Self { program: program.to_owned(), arguments, log, process: Mutex::new(None) }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When its log cannot be written or the program cannot be started.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("the log {} cannot be written", self.log.display()))?;
        let output = log.try_clone().with_context(|| format!("the log {}", self.log.display()))?;
        let started = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        *process = Some(started.with_context(|| format!("{} cannot be started", self.program.display()))?);
        Ok(())
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub(crate) async fn kill(&self) {
        if let Some(mut process) = self.process.lock().await.take() {
            // It fails for a process that is gone already, which is just as well.
            let _ = process.kill().await;
        }
    }

    /// Asks it to end (SIGTERM), and kills it if it does not within `patience`.
    ///
    /// # Errors
    /// When it had to be killed, or ended with a failure.
    pub(crate) async fn stop(&self, patience: Duration) -> Result<()> {
        let Some(mut process) = self.process.lock().await.take() else { return Ok(()) };
        if let Some(pid) = process.id() {
            terminate(pid).await;
        }
        match tokio::time::timeout(patience, process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(anyhow!("it ended with {status}; its log ends with:\n{}", self.log_tail())),
            Ok(Err(error)) => Err(anyhow!(error).context("its end could not be waited for")),
            Err(_) => {
                let _ = process.kill().await;
                Err(anyhow!("it did not end within {} s of being asked to", patience.as_secs()))
            }
        }
    }

    /// How it ended, if it ended by itself.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        self.process.lock().await.as_mut().and_then(|process| process.try_wait().ok().flatten())
    }

    /// The last lines that it wrote.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        tail.iter().map(|line| format!("    {line}\n")).collect()
    }
}

/// Sends SIGTERM. The shell's own `kill` is there wherever a shell is.
async fn terminate(pid: u32) {
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()]);
    let sent = kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if !sent.is_ok_and(|status| status.success()) {
        tracing::debug!(pid, "SIGTERM could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(folder: &Path, script: &str) -> Child {
        Child::new(Path::new("sh"), vec!["-c".into(), script.into()], folder.join("log"))
    }

    #[tokio::test]
    async fn a_killed_child_can_be_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let child = shell(folder.path(), "echo begun >&2; exec sleep 60");
        for _ in 0..2 {
            child.start().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(child.ended().await.is_none());
            child.kill().await;
        }
        assert_eq!(child.log_tail(), "    begun\n    begun\n");
    }

    #[tokio::test]
    async fn a_child_that_is_asked_to_end_may_do_so_in_its_own_way() {
        let folder = tempfile::tempdir().unwrap();
        let child = shell(folder.path(), "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done");
        child.start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        child.stop(Duration::from_secs(5)).await.unwrap();
        assert_eq!(child.log_tail(), "    bye\n");
        child.stop(Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let child = shell(folder.path(), "trap '' TERM; while :; do sleep 0.05; done");
        child.start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        let error = child.stop(Duration::from_millis(300)).await.unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_child_that_ended_by_itself_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let child = shell(folder.path(), "echo broken >&2; exit 3");
        child.start().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(child.ended().await.unwrap().code(), Some(3));
        assert!(child.stop(Duration::from_secs(1)).await.unwrap_err().to_string().contains("broken"));
    }
}
