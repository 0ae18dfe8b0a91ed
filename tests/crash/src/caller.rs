//! Callers: threads that call without pause through the near engine, whatever happens to it, and note how each call ended.
//!
//! Invariants: a call that is not idempotent is sent once, unless the engine itself says that it never heard of it; what was
//! once known of an operation must stay known; a call ends only with an answer, a problem that says whether it was run, a
//! broken connection, or patience. Read first: [`Caller::operation`].

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::http::{self, Conn, Message, request};
use crate::oracle::{Kind, Outcome, Record};
use crate::process::PATIENCE;
use crate::upstream::{answer_to, content, digest};

/// Before something is asked or tried again.
const PAUSE: Duration = Duration::from_millis(25);

/// Where callers call.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The near engine's port for callers.
    pub proxy: u16,
    /// The upstream's port.
    pub upstream: u16,
}

/// What calls are like.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Callers at once.
    pub callers: usize,
    /// Longest body and answer of most calls; a few have ten times as much.
    pub length: u64,
    /// Longest time the upstream takes, in milliseconds.
    pub delay_ms: u64,
    /// With operations, whose results are kept.
    pub operations: bool,
}

impl Default for Mix {
    fn default() -> Self {
        Self { callers: 8, length: 3000, delay_ms: 15, operations: true }
    }
}

/// Calls under way.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
    records: Arc<Mutex<Vec<Record>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts the callers.
    #[must_use]
    pub fn start(target: Target, mix: Mix, seed: u64) -> Self {
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let records = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..mix.callers)
            .map(|number| {
                let (stop, ended, records) = (Arc::clone(&stop), Arc::clone(&ended), Arc::clone(&records));
                let mut dice = Dice::new(seed, &format!("caller {number}"));
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let record = drawn(mix, &mut dice).make(target);
                        ended.fetch_add(1, Ordering::Relaxed);
                        records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
                        thread::sleep(Duration::from_millis(dice.below(10)));
                    }
                })
            })
            .collect();
        Self { stop, ended, records, threads }
    }

    /// Calls that have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls have ended.
    pub fn go_on_for(&self, calls: u64) {
        let until = self.ended() + calls;
        crate::process::eventually("calls go on", || (self.ended() >= until).then_some(()));
    }

    /// Lets every call come to its end; gives all of them.
    #[must_use]
    pub fn stop(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *records)
    }
}

/// A call to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its kind.
    pub kind: Kind,
    /// Length of its body.
    pub body: u64,
    /// Length of the content of its answer.
    pub answer: u64,
    /// How long the upstream takes.
    pub delay_ms: u64,
    /// To an absolute target, or to the route.
    pub absolute: bool,
}

impl Call {
    /// Makes it; gives how it ended.
    #[must_use]
    pub fn make(&self, target: Target) -> Record {
        let marker = uuid::Uuid::now_v7().to_string();
        let path = format!("/run/{marker}/{}/{}", self.answer, self.delay_ms);
        let (address, host) = match self.absolute {
            true => (format!("http://127.0.0.1:{}{path}", target.upstream), format!("127.0.0.1:{}", target.upstream)),
            false => (format!("/to/up{path}"), format!("localhost:{}", target.proxy)),
        };
        let body = if self.kind == Kind::Get { Vec::new() } else { content(&marker, self.body) };
        let sent = digest(&body);
        let expected = answer_to(&marker, &sent, self.answer);
        let caller = Caller { target, kind: self.kind, address, host, marker: &marker, body, expected };
        let outcome = match self.kind {
            Kind::Get | Kind::Keyed => caller.repeated(),
            Kind::Post => caller.once(),
            Kind::Operation => caller.operation(),
        };
        Record { marker, kind: self.kind, body: sent, outcome }
    }
}

/// A call as the mix has it.
fn drawn(mix: Mix, dice: &mut Dice) -> Call {
    let kinds = [Kind::Get, Kind::Keyed, Kind::Post, Kind::Post, Kind::Operation, Kind::Operation];
    let kind = *dice.pick(&kinds[..if mix.operations { 6 } else { 4 }]);
    let length = |dice: &mut Dice| if dice.percent(4) { mix.length * 40 } else { dice.below(mix.length + 1) };
    let (body, answer) = (length(dice), length(dice));
    Call { kind, body, answer, delay_ms: dice.below(mix.delay_ms + 1), absolute: dice.percent(50) }
}

struct Caller<'a> {
    target: Target,
    kind: Kind,
    address: String,
    host: String,
    marker: &'a str,
    body: Vec<u8>,
    expected: Vec<u8>,
}

/// What became of one attempt.
enum Attempt {
    /// Nobody listens: it was not sent.
    NotSent,
    /// Sent, at least in part, and there is no whole answer.
    Broken(io::Error),
    Answer(Message),
}

impl Caller<'_> {
    fn attempt(&self) -> Attempt {
        let Ok(mut conn) = Conn::open(self.target.proxy, PATIENCE) else { return Attempt::NotSent };
        let method = if self.kind == Kind::Get { "GET" } else { "POST" };
        let key = format!("\"{}\"", self.marker);
        let fields: &[(&str, &str)] = match self.kind {
            Kind::Get | Kind::Post => &[],
            Kind::Keyed => &[("Idempotency-Key", &key)],
            Kind::Operation => &[("Hoft-Operation-Id", self.marker)],
        };
        let bytes = request(method, &self.address, &self.host, fields, &self.body);
        // An engine may answer before it has read everything.
        let written = conn.write(&bytes);
        match (conn.answer(), written) {
            (Ok(answer), _) => Attempt::Answer(answer),
            (Err(_), Err(error)) | (Err(error), _) => Attempt::Broken(error),
        }
    }

    /// Tries until somebody listens.
    fn attempt_until_sent(&self) -> Attempt {
        let began = Instant::now();
        loop {
            match self.attempt() {
                Attempt::NotSent if began.elapsed() < PATIENCE => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }

    fn once(&self) -> Outcome {
        self.outcome_of(&self.attempt_until_sent())
    }

    fn outcome_of(&self, attempt: &Attempt) -> Outcome {
        match attempt {
            Attempt::NotSent => Outcome::Lost("nobody listens any more".to_owned()),
            Attempt::Broken(error) if is_hang(error) => Outcome::Lost("no answer comes".to_owned()),
            Attempt::Broken(error) => Outcome::Unknown(format!("the connection broke: {error}")),
            Attempt::Answer(answer) => self.read(answer),
        }
    }

    fn repeated(&self) -> Outcome {
        let began = Instant::now();
        loop {
            let attempt = self.attempt_until_sent();
            let is_end = matches!(&attempt, Attempt::Answer(answer) if answer.get("idempotency-replayed").is_some());
            match self.outcome_of(&attempt) {
                done @ (Outcome::Answered | Outcome::Wrong(_) | Outcome::Lost(_)) => return done,
                // A call with this key was made, or may have been, and is not made again.
                done if is_end => return done,
                last if began.elapsed() >= PATIENCE => {
                    return Outcome::Lost(format!("not answered in {PATIENCE:?}, at last {last:?}"));
                }
                _ => thread::sleep(PAUSE),
            }
        }
    }

    fn operation(&self) -> Outcome {
        let mut known = false;
        loop {
            match self.attempt_until_sent() {
                Attempt::NotSent => return Outcome::Lost("nobody listens any more".to_owned()),
                Attempt::Broken(error) if is_hang(&error) => return Outcome::Lost("no answer comes".to_owned()),
                Attempt::Answer(answer) if !is_pending(&answer) => return self.read(&answer),
                Attempt::Answer(_) => known = true,
                Attempt::Broken(_) => {}
            }
            match self.asked_for(&mut known) {
                Some(outcome) => return outcome,
                // It was never accepted, so it is sent as if for the first time.
                None => thread::sleep(PAUSE),
            }
        }
    }

    /// Asks for the outcome of an operation until there is one; `None` if the engine never heard of it.
    fn asked_for(&self, known: &mut bool) -> Option<Outcome> {
        let began = Instant::now();
        let path = format!("/v1/operations/{}/result", self.marker);
        while began.elapsed() < PATIENCE {
            match http::get(self.target.proxy, &path, PATIENCE) {
                Ok(answer) if answer.problem() == "unknown-operation" => {
                    let forgotten = || Outcome::Lost("the operation was known, and is not any more".to_owned());
                    return known.then(forgotten);
                }
                Ok(answer) if is_pending(&answer) => *known = true,
                // An engine that stops says nothing of the operation.
                Ok(answer) if answer.problem() == "log-full" => {}
                Ok(answer) => return Some(self.read(&answer)),
                Err(_) => {}
            }
            thread::sleep(PAUSE);
        }
        Some(Outcome::Lost("the operation has no outcome".to_owned()))
    }

    /// What a whole answer says.
    fn read(&self, answer: &Message) -> Outcome {
        if answer.status() == 200 {
            let right = answer.body == self.expected;
            let said = String::from_utf8_lossy(&answer.body[..answer.body.len().min(120)]).into_owned();
            return if right { Outcome::Answered } else { Outcome::Wrong(format!("a wrong answer: {said}")) };
        }
        let (problem, json) = (answer.problem(), answer.json());
        let text = |name: &str| json[name].as_str().unwrap_or("?").to_owned();
        let said = format!("{} {problem}, executed {}: {}", answer.status(), text("executed"), text("detail"));
        match json["executed"].as_str() {
            // Of an earlier attempt, which may still be answered.
            None if problem == "idempotency-key-in-progress" => Outcome::Unknown(said),
            _ if problem.is_empty() => Outcome::Wrong(format!("neither the upstream's answer nor a problem: {said}")),
            Some("no") => Outcome::NotRun(said),
            Some("yes") => Outcome::Ran(said),
            Some("maybe") => Outcome::Unknown(said),
            _ => Outcome::Wrong(format!("a problem that does not say whether the call was run: {said}")),
        }
    }
}

/// The engine knows the operation, and it has no outcome yet.
fn is_pending(answer: &Message) -> bool {
    matches!(answer.problem().as_str(), "result-not-ready" | "duplicate-operation" | "wait-over")
}

fn is_hang(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
