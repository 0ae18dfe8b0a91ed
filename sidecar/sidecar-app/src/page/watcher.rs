//! Looks at the engine for the page: when somebody wants to see it, else every five seconds for the charts.
//!
//! Invariants: only this asks the driver, one question at a time, so a stuck driver gathers no memory however many look at
//! the page; a look that is late is shown as late, with what was known before. Test to read first:
//! `a_driver_that_does_not_answer_is_said_to_be_late`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use layer2_http::near::ShownOperation;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::samples::{PERIOD, Samples};
use crate::admin::Health;
use crate::driver::unix_ms;
use crate::exchange::DriverHandle;
use crate::status::{BacklogAges, EngineStatus};

/// The least time between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the driver may take before the page says so.
const PATIENCE: Duration = Duration::from_secs(2);
/// Operations of each state that one look brings.
const OF_EACH_STATE: usize = 100;

/// What one look saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    /// The engine, with ages and diagnoses.
    pub(super) status: EngineStatus,
    /// Of each state the newest operations, newest first in all.
    pub(super) operations: Vec<ShownOperation>,
    /// For the charts.
    pub(super) samples: Samples,
    /// So long the driver has not answered.
    pub(super) late: Option<Duration>,
    /// When the look began.
    pub(super) begun: Option<Instant>,
}

type Answer = Option<(EngineStatus, Option<Vec<ShownOperation>>)>;

/// Looks until told to stop.
pub(super) struct Watcher {
    driver: DriverHandle,
    health: Arc<Health>,
    scene: watch::Sender<Arc<Scene>>,
    wanted: Arc<Notify>,
    began: Instant,
    ages: BacklogAges,
    samples: Samples,
    sampled: Option<Instant>,
    /// A question that was not answered in time. No other is asked before it is.
    left: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    begun: Instant,
    answered: Instant,
    pause: Duration,
    patience: Duration,
}

impl Watcher {
    /// One that shows what it sees through `scene`, and looks when `wanted` says that somebody wants to know.
    pub(super) fn new(
        driver: DriverHandle,
        health: Arc<Health>,
        scene: watch::Sender<Arc<Scene>>,
        wanted: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        Self {
            driver,
            health,
            scene,
            wanted,
            began: now,
            ages: BacklogAges::default(),
            samples: Samples::default(),
            sampled: None,
            left: None,
            begun: now,
            answered: now,
            pause: PAUSE,
            patience: PATIENCE,
        }
    }

    /// Looks again and again.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let looks = async {
            let mut wanted = false;
            loop {
                self.look(wanted).await;
                tokio::time::sleep(self.pause).await;
                // Nobody asks: the charts do.
                let rest = PERIOD.saturating_sub(self.pause);
                wanted = timeout(rest, self.wanted.notified()).await.is_ok();
            }
        };
        stop.run_until_cancelled(looks).await;
    }

    /// One look. Operations are asked for only where somebody `wanted` to see them: there may be many.
    async fn look(&mut self, wanted: bool) {
        if !self.health.started() {
            self.answered = Instant::now();
            self.scene.send_modify(|scene| {
                let scene = Arc::make_mut(scene);
                scene.status.now_ms = unix_ms();
                scene.status.folders = self.health.folders();
            });
            return;
        }
        let driver = self.driver.clone();
        if self.left.is_none() {
            self.begun = Instant::now();
        }
        let question = self.left.get_or_insert_with(|| {
            Box::pin(async move {
                let status = driver.status().await?;
                let operations = if wanted { Some(driver.newest_operations(OF_EACH_STATE).await?) } else { None };
                Some((status, operations))
            })
        });
        match timeout(self.patience, question).await {
            Ok(Some((status, operations))) => {
                if wanted && operations.is_none() {
                    // The answer to a question of before.
                    self.wanted.notify_one();
                }
                self.show(status, operations);
            }
            Ok(None) => self.say_late(),
            Err(_) => return self.say_late(),
        }
        self.left = None;
    }

    fn show(&mut self, mut status: EngineStatus, operations: Option<Vec<ShownOperation>>) {
        let now = Instant::now();
        self.answered = now;
        status.folders = self.health.folders();
        self.ages.observe(self.began.elapsed(), &mut status);
        status.diagnose();
        if self.sampled.is_none_or(|before| now.duration_since(before) > PERIOD - 2 * PAUSE) {
            self.sampled = Some(now);
            self.samples.take(self.began.elapsed(), &status);
        }
        if let Some(operations) = operations {
            let samples = self.samples.clone();
            self.scene.send_replace(Arc::new(Scene {
                status,
                operations,
                samples,
                late: None,
                begun: Some(self.begun),
            }));
        }
    }

    /// The driver hangs, or has ended: what it said last is shown with its age.
    fn say_late(&self) {
        let late = self.answered.elapsed();
        self.scene.send_modify(|scene| {
            let scene = Arc::make_mut(scene);
            scene.late = Some(late);
            scene.status.started = true;
            scene.status.now_ms = unix_ms();
            scene.status.folders = self.health.folders();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use disk::log::{Log, LogOptions, MemStorage};

    use super::*;
    use crate::command::Command;
    use crate::driver::Event;

    #[tokio::test]
    async fn a_driver_that_does_not_answer_is_said_to_be_late() {
        let (log, _) = Log::open_on(Arc::new(MemStorage::new()), [0; 16], LogOptions::default()).unwrap();
        let (events, queue) = channel();
        let health = Arc::new(Health::default());
        health.set_started();
        let (scene, mut seen) = watch::channel(Arc::new(Scene::default()));
        let (wanted, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let driver = DriverHandle::new(events, log.reader());
        let mut watcher = Watcher::new(driver, health, scene, Arc::clone(&wanted));
        (watcher.pause, watcher.patience) = (Duration::from_millis(5), Duration::from_millis(50));
        let task = tokio::spawn(watcher.run(stop.clone()));
        for _ in 0..3 {
            wanted.notify_one();
            seen.changed().await.unwrap();
            assert!(seen.borrow_and_update().late.is_some());
        }
        let questions: Vec<_> = queue.try_iter().collect();
        assert_eq!(questions.len(), 1, "questions to a stuck driver gather");
        // From here on the driver answers: the question that was left, and those that follow.
        std::thread::spawn(move || {
            for question in questions.into_iter().chain(queue) {
                match question {
                    Event::Command(Command::Status { reply }) => {
                        let _ = reply.send(EngineStatus { log_bytes: 7, ..EngineStatus::default() });
                    }
                    Event::Command(Command::NewestOperations { reply, .. }) => drop(reply.send(Vec::new())),
                    other => panic!("{other:?}"),
                }
            }
        });
        wanted.notify_one();
        seen.wait_for(|scene| scene.late.is_none() && scene.status.log_bytes == 7).await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }
}
