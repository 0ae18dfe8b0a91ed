//! Runs a probe on a thread of its own and watches it: shows what it does, passes signals on, and gives up on a folder that
//! does not answer.
//!
//! Invariants: whoever asked gets an answer within the time given and [`GRACE`], whatever the folder does; the first signal
//! lets the probe clean up, a second one does not wait for that. Test to read first:
//! `a_folder_that_hangs_is_named_with_what_was_done`.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::session::{Doing, Session, Step};

/// How long a probe may take beyond its time, to clean up.
const GRACE: Duration = Duration::from_secs(20);
/// How long it may take after a signal.
const GRACE_SIGNAL: Duration = Duration::from_secs(10);
/// Between two looks at what it does.
const TICK: Duration = Duration::from_millis(100);
/// Between two lines about one step, where lines cannot be written over.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Does the work and gives its result.
pub(super) fn watch<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce(&Session) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (stop, signals) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    listen(Arc::clone(&stop), Arc::clone(&signals))?;
    watch_with(timeout, GRACE, &stop, &signals, work)
}

fn watch_with<T: Send + 'static>(
    timeout: Duration,
    grace: Duration,
    stop: &Arc<AtomicBool>,
    signals: &AtomicUsize,
    work: impl FnOnce(&Session) -> Result<T> + Send + 'static,
) -> Result<T> {
    let doing = Doing::default();
    let session = Session::new(timeout, Arc::clone(stop), doing.clone());
    let (ended, result) = mpsc::channel();
    std::thread::Builder::new()
        .name("probe".to_owned())
        .spawn(move || {
            // Nobody waits any more if the time was over.
            let _ = ended.send(work(&session));
        })
        .context("a thread cannot be started")?;
    let mut show = Show::new();
    let result = wait(&result, timeout + grace, signals, || show.show(&doing.now()));
    show.clear();
    match result {
        Ok(result) => result,
        Err(GaveUp::Signal) => {
            bail!("interrupted while {}; the folder did not answer in time to clean up", doing.now().what)
        }
        Err(GaveUp::Time) => bail!(
            "the folder does not answer: {} has taken {} s so far; a dead mount does that: look whether `ls` answers, and mount it \
             anew",
            doing.now().what,
            doing.now().since.map_or(0, |since| since.elapsed().as_secs())
        ),
        Err(GaveUp::Panic) => bail!("the probe ended by itself while {}: this is a bug", doing.now().what),
    }
}

enum GaveUp {
    Signal,
    Time,
    Panic,
}

fn wait<T>(
    result: &Receiver<Result<T>>,
    time: Duration,
    signals: &AtomicUsize,
    mut tick: impl FnMut(),
) -> Result<Result<T>, GaveUp> {
    let began = Instant::now();
    let mut signalled: Option<Instant> = None;
    loop {
        match result.recv_timeout(TICK) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(GaveUp::Panic),
            Err(RecvTimeoutError::Timeout) => {}
        }
        tick();
        let count = signals.load(Ordering::Relaxed);
        if count > 0 {
            let since = *signalled.get_or_insert_with(Instant::now);
            if count > 1 || since.elapsed() > GRACE_SIGNAL {
                return Err(GaveUp::Signal);
            }
        } else if began.elapsed() > time {
            return Err(GaveUp::Time);
        }
    }
}

/// Counts SIGINT and SIGTERM from here on.
fn listen(stop: Arc<AtomicBool>, signals: Arc<AtomicUsize>) -> Result<()> {
    let (ready, is_ready) = mpsc::channel();
    std::thread::Builder::new()
        .name("probe-signals".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let listened = runtime.and_then(|runtime| {
                runtime.block_on(async {
                    let mut interrupt = signal(SignalKind::interrupt())?;
                    let mut terminate = signal(SignalKind::terminate())?;
                    let _ = ready.send(Ok(()));
                    loop {
                        tokio::select! {
                            _ = interrupt.recv() => {}
                            _ = terminate.recv() => {}
                        }
                        stop.store(true, Ordering::Relaxed);
                        signals.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            let listened: io::Result<()> = listened;
            let _ = ready.send(listened);
        })
        .context("a thread cannot be started")?;
    is_ready.recv().context("the thread that waits for Ctrl-C ended early")?.context("cannot wait for Ctrl-C")
}

/// Says on standard error what is done.
struct Show {
    terminal: bool,
    last: Step,
    said: Instant,
}

impl Show {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: Step::default(), said: Instant::now() }
    }

    fn show(&mut self, step: &Step) {
        let Some(since) = step.since else { return };
        let seconds = since.elapsed().as_secs();
        let mut stderr = io::stderr().lock();
        // Nobody listening is no reason to fail.
        if self.terminal {
            let _ = write!(stderr, "\r\x1b[K{} ({seconds} s)", step.what);
            let _ = stderr.flush();
        } else if self.last != *step {
            let _ = writeln!(stderr, "{}", step.what);
            self.said = Instant::now();
        } else if self.said.elapsed() >= SAY_AGAIN {
            let _ = writeln!(stderr, "{} ({seconds} s)", step.what);
            self.said = Instant::now();
        }
        self.last.clone_from(step);
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    //! Work that never comes back.
    use super::*;

    fn hangs(session: &Session) -> Result<()> {
        session.step("listing the folder")?;
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn a_folder_that_hangs_is_named_with_what_was_done() {
        let (stop, none) = (Arc::default(), AtomicUsize::new(0));
        let error = watch_with(Duration::ZERO, Duration::from_millis(300), &stop, &none, hangs).unwrap_err();
        assert!(error.to_string().contains("does not answer: listing the folder"), "{error}");
    }

    #[test]
    fn a_second_signal_does_not_wait() {
        let two = AtomicUsize::new(2);
        let error = watch_with(Duration::from_secs(3_600), GRACE, &Arc::default(), &two, hangs).unwrap_err();
        assert!(error.to_string().contains("interrupted while listing"), "{error}");
    }

    #[test]
    fn what_the_work_gives_is_given() {
        let none = AtomicUsize::new(0);
        let given = watch_with(Duration::from_secs(3_600), GRACE, &Arc::default(), &none, |_| Ok(7)).unwrap();
        assert_eq!(given, 7);
    }
}
