//! A program that is run again and again, as from a timer.
//!
//! Invariants: never two runs at once; what is dropped ends its run first. A run that fails is only written down: the next one
//! may succeed, and if none does the calls of the scenario do not end. Read first: [`Again::start`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a run's end is asked for.
const LOOK: Duration = Duration::from_millis(5);

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    end: AtomicBool,
    held: AtomicBool,
    child: Mutex<Option<Child>>,
}

impl Shared {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run that is under way.
    fn kill(&self) {
        if let Some(child) = self.child().as_mut() {
            let _ = child.kill();
        }
    }
}

/// A program that is run again and again until this is dropped.
#[derive(Debug)]
pub struct Again {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Again {
    /// Runs what `command` makes, `pause` after the last run has ended; what it writes is appended to `log`.
    #[must_use]
    pub fn start(command: impl Fn() -> Command + Send + 'static, pause: Duration, log: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        let (of_thread, log) = (Arc::clone(&shared), log.to_owned());
        let thread = thread::spawn(move || {
            while !of_thread.end.load(Ordering::Relaxed) {
                if !of_thread.held.load(Ordering::Relaxed) {
                    once(&of_thread, command(), &log);
                }
                thread::sleep(pause);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Kills the run that is under way and starts no other until [`Again::go_on`].
    pub fn hold(&self) {
        self.shared.held.store(true, Ordering::Relaxed);
        self.shared.kill();
    }

    /// Runs it again.
    pub fn go_on(&self) {
        self.shared.held.store(false, Ordering::Relaxed);
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        self.shared.kill();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn once(shared: &Shared, mut command: Command, log: &PathBuf) {
    let mut file: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap());
    *shared.child() = Some(command.spawn().unwrap());
    let status: ExitStatus = loop {
        if let Some(status) = shared.child().as_mut().and_then(|child| child.try_wait().unwrap()) {
            break status;
        }
        thread::sleep(LOOK);
    };
    *shared.child() = None;
    if !status.success() {
        let _ = writeln!(file, "{command:?}: {status}");
    }
}
