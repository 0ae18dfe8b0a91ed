//! The course of a run: calls are made, and engines are killed meanwhile.
//!
//! Invariants: the far engine is killed after about a third of the calls and the near one after about two thirds, each
//! while calls are in flight; a run always ends, because whatever is unanswered for too long is given up and counts as
//! lost. It does not judge. Test to read first: `kills_come_before_the_calls_run_out`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::call::{self, Line, Outcome, Record};
use super::client::Client;
use super::dice::Dice;
use super::mix::{self, Kind, Plan};
use super::progress::{Ending, Progress, Which};
use super::run::Options;
use super::stage::{Engine, Stage};
use super::upstream::Upstream;
use super::verdict::{Evidence, Kill};

/// Calls in flight at once, and how many of them a kill waits for.
const IN_FLIGHT_MAX: u32 = 24;
const IN_FLIGHT_AT_KILL: u64 = 3;
/// Share of the calls that ended before each kill, in percent.
const FAR_KILL_PERCENT: u64 = 35;
const NEAR_KILL_PERCENT: u64 = 65;
/// Calls that end between the kills at least, in percent.
const BETWEEN_KILLS_PERCENT: u64 = 5;
/// Calls that are held back in percent, and at least: half of them until the first kill is about to happen, the others until
/// the second one is, so that some are in flight then.
const HELD_BACK_PERCENT: u32 = 15;
const HELD_BACK_MIN: u32 = 2 * IN_FLIGHT_AT_KILL as u32;
/// How long a kill waits for calls in flight, and the longest pause after they are.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);
const KILL_PAUSE_MS_MAX: u64 = 150;
/// What is unanswered so long after the last kill is lost.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(45);
/// How long a run may take, and how much longer for each call beyond the usual number.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);
const RUN_CALLS: u32 = 600;
const RUN_TIME_PER_CALL: Duration = Duration::from_millis(200);
/// How often somebody looks.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_AFTER_CHILDREN: Duration = Duration::from_millis(250);

/// Everything that takes part while calls are made.
struct Course {
    line: Line,
    plans: Vec<Plan>,
    next: AtomicUsize,
    /// The upload has not ended yet.
    uploading: AtomicBool,
    /// So many calls may begin.
    released: watch::Sender<usize>,
    near_ready: watch::Sender<bool>,
    findings: Mutex<Vec<String>>,
    done: CancellationToken,
}

/// Makes all calls and kills both engines meanwhile.
pub(super) async fn play(options: &Options, stage: &Stage, upstream: &Upstream, progress: &Arc<Progress>) -> Evidence {
    let (near_ready, ready) = watch::channel(true);
    let line = Line {
        client: Client::new(stage.near.proxy, Arc::clone(progress)),
        upstream: upstream.address,
        near_ready: ready,
        give_up: CancellationToken::new(),
        progress: Arc::clone(progress),
        seed: options.seed,
    };
    let course = Arc::new(Course {
        line,
        plans: mix::mix(options.seed, options.calls),
        next: AtomicUsize::new(0),
        uploading: AtomicBool::new(true),
        released: watch::channel(released(options.calls, 0)).0,
        near_ready,
        findings: Mutex::new(Vec::new()),
        done: CancellationToken::new(),
    });
    let calls = async {
        let records = make_calls(&course, in_flight_max(options.calls)).await;
        course.done.cancel();
        records
    };
    let (records, kills, (), ()) = tokio::join!(
        calls,
        kill_both(&course, stage, options.calls),
        watch_children(&course, stage),
        end_in_time(&course, options.calls)
    );
    if kills.len() < 2 {
        course.finding(format!("only {} of 2 engines were killed and came back", kills.len()));
    }
    let findings = std::mem::take(&mut *course.findings.lock().unwrap_or_else(PoisonError::into_inner));
    Evidence { planned: options.calls.into(), records, kills, findings, ..Evidence::default() }
}

const fn in_flight_max(calls: u32) -> u32 {
    let quarter = calls / 4;
    if quarter < 4 {
        4
    } else if quarter > IN_FLIGHT_MAX {
        IN_FLIGHT_MAX
    } else {
        quarter
    }
}

/// So many calls may begin once `kills` kills happened or are about to.
fn released(calls: u32, kills: u32) -> usize {
    let held_back = (calls * HELD_BACK_PERCENT / 100).clamp(HELD_BACK_MIN, 2 * IN_FLIGHT_MAX);
    let still = match kills {
        0 => held_back,
        1 => held_back / 2,
        _ => 0,
    };
    usize::try_from(calls - still).unwrap_or(usize::MAX)
}

async fn make_calls(course: &Arc<Course>, in_flight: u32) -> Vec<Record> {
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        workers.spawn(work(Arc::clone(course)));
    }
    let mut records = Vec::new();
    while let Some(worked) = workers.join_next().await {
        match worked {
            Ok(some) => records.extend(some),
            Err(error) => course.finding(format!("a caller failed: {error}")),
        }
    }
    records.sort_by_key(|record: &Record| record.plan.number);
    records
}

async fn work(course: Arc<Course>) -> Vec<Record> {
    let mut records = Vec::new();
    let progress = &course.line.progress;
    loop {
        let place = course.next.fetch_add(1, Ordering::Relaxed);
        let Some(plan) = course.plans.get(place) else { return records };
        let mut released = course.released.subscribe();
        tokio::select! {
            _ = released.wait_for(|released| place < *released) => {}
            () = course.line.give_up.cancelled() => {}
        }
        progress.call_begun();
        let record = call::carry_out(&course.line, *plan).await;
        progress.call_ended(match &record.outcome {
            Outcome::Right => Ending::Right,
            Outcome::Unknown(_) => Ending::Unknown,
            Outcome::Wrong(_) | Outcome::Lost(_) => Ending::Wrong,
        });
        if plan.kind == Kind::Upload {
            course.uploading.store(false, Ordering::Relaxed);
        }
        let said = match &record.outcome {
            Outcome::Right => None,
            Outcome::Unknown(why) => Some(("outcome unknown", why)),
            Outcome::Wrong(why) => Some(("wrong", why)),
            Outcome::Lost(why) => Some(("lost", why)),
        };
        if let Some((what, why)) = said {
            progress.event(format!("call {} ({}) {what}: {why}", plan.number, plan.kind.name()));
        }
        records.push(record);
    }
}

/// Kills the far engine, then the near one, each in its time.
async fn kill_both(course: &Course, stage: &Stage, calls: u32) -> Vec<Kill> {
    let (mut kills, mut ended_before) = (Vec::new(), 0);
    let all = u64::from(calls);
    let mut dice = Dice::new(course.line.seed, u64::MAX);
    let targets = [(&stage.far, Which::Far, FAR_KILL_PERCENT), (&stage.near, Which::Near, NEAR_KILL_PERCENT)];
    for (engine, which, percent) in targets {
        let between = ended_before + kills.len() as u64 * all * BETWEEN_KILLS_PERCENT / 100;
        // More cannot end than may begin.
        let ended_min = (all * percent / 100).max(between).min(*course.released.borrow() as u64);
        // Every second run lets the upload end first: cut off by a kill, its outcome could only be unknown.
        let spares_upload = kills.is_empty() && dice.below(2) == 0;
        let due = |progress: &Progress| {
            progress.tally().ended() >= ended_min && !(spares_upload && course.uploading.load(Ordering::Relaxed))
        };
        if !course.reaches(None, due).await {
            return kills;
        }
        course.released.send_replace(released(calls, kills.len() as u32 + 1));
        let in_flight = |progress: &Progress| progress.tally().in_flight() >= IN_FLIGHT_AT_KILL;
        course.reaches(Some(KILL_WAIT_MAX), in_flight).await;
        tokio::time::sleep(Duration::from_millis(dice.below(KILL_PAUSE_MS_MAX))).await;
        course.reaches(Some(KILL_WAIT_MAX), in_flight).await;
        ended_before = course.line.progress.tally().ended();
        match kill(course, engine, which).await {
            Ok(kill) => kills.push(kill),
            Err(error) => {
                course.finding(format!("{} did not come back: {error}", engine.side));
                course.line.give_up.cancel();
                return kills;
            }
        }
    }
    kills
}

async fn kill(course: &Course, engine: &Engine, which: Which) -> Result<Kill> {
    let progress = &course.line.progress;
    let (from_ms, in_flight) = (progress.now_ms(), progress.tally().in_flight());
    if which == Which::Near {
        course.near_ready.send_replace(false);
    }
    engine.kill().await;
    progress.killed(which);
    progress.event(format!("{} killed with {in_flight} calls in flight", engine.side));
    engine.restart().await?;
    let to_ms = progress.now_ms();
    progress.back(which);
    if which == Which::Near {
        course.near_ready.send_replace(true);
    }
    progress.event(format!("{} ready again after {} ms", engine.side, to_ms - from_ms));
    Ok(Kill { side: engine.side, from_ms, to_ms, in_flight })
}

/// Gives up whatever is unanswered when its time is over.
async fn end_in_time(course: &Course, calls: u32) {
    let extra = RUN_TIME_PER_CALL * calls.saturating_sub(RUN_CALLS);
    let both_killed = async {
        let restarted =
            |progress: &Progress| [Which::Far, Which::Near].into_iter().all(|which| progress.fate(which) == (1, false));
        course.reaches(None, restarted).await;
        tokio::time::sleep(LAST_ANSWER_MAX).await;
    };
    tokio::select! {
        () = course.done.cancelled() => return,
        () = tokio::time::sleep(RUN_TIME_MAX + extra) => {}
        () = both_killed => {}
    }
    course.line.progress.event("time is over: what is unanswered is given up");
    course.line.give_up.cancel();
}

/// Ends the run early when a child ended by itself.
async fn watch_children(course: &Course, stage: &Stage) {
    loop {
        tokio::select! {
            () = course.done.cancelled() => return,
            () = tokio::time::sleep(LOOK_AFTER_CHILDREN) => {}
        }
        if let Some(fallen) = stage.fallen().await {
            course.line.progress.event(fallen.lines().next().unwrap_or_default());
            course.finding(fallen);
            course.line.give_up.cancel();
            return;
        }
    }
}

impl Course {
    fn finding(&self, text: String) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Waits until something is so; false if the run is over or the patience at an end before.
    async fn reaches(&self, patience: Option<Duration>, so: impl Fn(&Progress) -> bool) -> bool {
        let looking = async {
            while !so(&self.line.progress) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let patience = async {
            match patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = looking => true,
            () = patience => false,
            () = self.done.cancelled() => false,
            () = self.line.give_up.cancelled() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_come_before_the_calls_run_out() {
        for calls in mix::CALLS_MIN..400 {
            let ended_at = |percent| usize::try_from(u64::from(calls) * percent / 100).unwrap();
            let released: Vec<usize> = (0..=2).map(|kills| released(calls, kills)).collect();
            assert!(
                ended_at(FAR_KILL_PERCENT) <= released[0],
                "{calls}: the first kill waits for calls that are held back"
            );
            assert!(
                ended_at(NEAR_KILL_PERCENT) <= released[1],
                "{calls}: the second kill waits for calls that are held back"
            );
            assert_eq!(released[2], calls as usize);
            let at_kill = usize::try_from(IN_FLIGHT_AT_KILL).unwrap();
            assert!(released[1] - released[0] >= at_kill && released[2] - released[1] >= at_kill, "{calls}");
            assert!(u64::from(in_flight_max(calls)) >= IN_FLIGHT_AT_KILL);
            assert!(in_flight_max(calls) <= IN_FLIGHT_MAX);
        }
    }
}
