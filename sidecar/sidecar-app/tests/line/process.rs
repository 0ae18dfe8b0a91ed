//! Child processes that never outlive the test process, and the folders that go with them.
//!
//! Destructors do not run for statics, nor when a test process is interrupted or killed. So a small shell waits for the
//! end of its standard input, which is the end of this process, and then ends what is left and removes its folders.
//! Invariant: only processes started here are ended, by their id. Read first: [`Process`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything takes: only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const UNDERTAKER: &str = r#"
trap '' INT TERM HUP
pids=" "
dirs=""
while read -r what name; do
  case $what in
    begun) pids="$pids$name " ;;
    ended) pids=$(printf '%s' "$pids" | sed "s/ $name / /") ;;
    folder) dirs="$dirs $name" ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
sleep 1
for dir in $dirs; do rm -rf "$dir"; done
"#;

/// Tells the undertaker; see the file's comment.
fn tell(line: &str) {
    static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell.args(["-c", UNDERTAKER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Mutex::new(shell.spawn().ok()?.stdin.take()?))
    });
    if let Some(pipe) = pipe {
        let _ = writeln!(pipe.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
    }
}

/// A temporary folder that is removed with this process at the latest.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("hoft-line-").tempdir().unwrap();
    tell(&format!("folder {}", folder.path().display()));
    folder
}

/// Where the binary under test lies.
pub(crate) const HOFT: &str = env!("CARGO_BIN_EXE_hoft");

/// The binary under test.
pub(crate) fn hoft() -> Command {
    hoft_at(Path::new(HOFT))
}

/// A copy of it.
pub(crate) fn hoft_at(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "RUST_LOG",
        "HOFT_TERMINATION_LOG",
        "HOFT_CONFIG",
        "HOFT_ENDPOINT",
        "HOFT_KIND",
        "HOFT_NAMESPACE",
        "HOFT_SERVICE_ACCOUNT",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end: its status and everything it wrote.
pub(crate) fn run(arguments: &[&str]) -> (ExitStatus, String) {
    let output = hoft().args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status, text)
}

/// A running child with its output in a file.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it writes is appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        tell(&format!("begun {}", child.id()));
        Self { child, log: log.to_owned() }
    }

    /// Its status, if it ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        if status.is_some() {
            tell(&format!("ended {}", self.child.id()));
        }
        status
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", tail(&self.log));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_end(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {name} failed");
    }

    /// Stops it until what this gives is dropped.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.signal("-STOP");
        Paused(self)
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.wait();
    }

    /// Lets the highest resident memory begin anew from what is resident right now, where the system can do that.
    pub(crate) fn forget_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// The highest resident memory so far, in bytes; `None` where the system does not say.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }
}

/// A process that was stopped by SIGSTOP.
pub(crate) struct Paused<'a>(&'a Process);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.signal("-CONT");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            tell(&format!("ended {}", self.child.id()));
        }
    }
}

/// The last lines of a file.
pub(crate) fn tail(file: &Path) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    format!("--- {} ({} lines)\n{}\n", file.display(), lines.len(), lines[from..].join("\n"))
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "this did not come true: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
