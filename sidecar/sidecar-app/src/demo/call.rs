//! One call from its beginning to its outcome, as a careful program would make it.
//!
//! Invariants: each attempt has an operation id of its own, chosen here; the same id is sent again only if the near side
//! says that it never accepted it; a new id is used only if the old one was not executed, or the method may be repeated.
//! So whatever is doubled in the end was doubled by hoft. It judges single answers, not the run: `verdict.rs` does.
//! Test to read first: `an_answer_that_broke_off_is_fetched_from_the_operation` in `call/tests.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, header};
use http_body_util::{BodyExt, Full};
use layer2_http::operation::{Executed, OperationId, State};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Meaning, OPERATION};
use super::client::{Answer, Client, Failure};
use super::content::{Content, DemoBody};
use super::dice::Dice;
use super::mix::{Door, Kind, Plan};
use super::progress::Progress;
use super::upstream::CALL;

/// The route that leads to the upstream.
pub(crate) const ROUTE: &str = "demo";
/// A host that no rule names.
const UNLISTED_HOST: &str = "elsewhere.invalid";
/// How long a call that is given up may take to say where it stands.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// Pause before asking again, and the longest before another attempt.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What all calls of a run share.
#[derive(Debug)]
pub(super) struct Line {
    /// Speaks to the near engine's local port.
    pub(super) client: Client,
    /// Where the upstream listens.
    pub(super) upstream: SocketAddr,
    /// Whether the near engine runs.
    pub(super) near_ready: watch::Receiver<bool>,
    /// Cancelled when whatever is unanswered is lost.
    pub(super) give_up: CancellationToken,
    /// The counters and the clock.
    pub(super) progress: Arc<Progress>,
    /// Seed of the run.
    pub(super) seed: u64,
}

/// One attempt at a call. Times are milliseconds since the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// What the upstream is told: `<number>-<attempt>`.
    pub(super) marker: String,
    /// The operation id.
    pub(super) operation: OperationId,
    /// When it began.
    pub(super) begun_ms: u64,
    /// When its outcome was known.
    pub(super) ended_ms: Option<u64>,
    /// Why it was not the last one.
    pub(super) failed_with: Option<String>,
}

/// How a call ended for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With the right answer, to its last attempt.
    Right,
    /// With a wrong answer.
    Wrong(String),
    /// It may have been executed, and must not be repeated.
    Unknown(String),
    /// With nothing.
    Lost(String),
}

/// A call and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What was to be done.
    pub(super) plan: Plan,
    /// Every attempt, in order.
    pub(super) attempts: Vec<Attempt>,
    /// How it ended.
    pub(super) outcome: Outcome,
}

/// How one attempt ended.
#[derive(Debug)]
enum End {
    Answered(Answer),
    NotExecuted(String),
    Open(String),
}

/// Makes a call, as often as it takes and is right.
pub(super) async fn carry_out(line: &Line, plan: Plan) -> Record {
    let mut attempts = Vec::new();
    let settled = tokio::select! {
        outcome = try_until_settled(line, &plan, &mut attempts) => Some(outcome),
        () = line.give_up.cancelled() => None,
    };
    let outcome = match settled {
        Some(outcome) => outcome,
        None => Outcome::Lost(format!("it was not answered in time; {}", last_words(line, &attempts).await)),
    };
    Record { plan, attempts, outcome }
}

/// What its operation says about a call that is given up: where to look for the cause.
async fn last_words(line: &Line, attempts: &[Attempt]) -> String {
    let Some(attempt) = attempts.last() else { return "it was never sent".to_owned() };
    let before = attempts.iter().rev().find_map(|attempt| attempt.failed_with.as_deref());
    let before = before.map(|why| format!("; the attempt before failed with {why}")).unwrap_or_default();
    let place = attempt.operation.location();
    let answer = tokio::time::timeout(LAST_WORDS_MAX, line.client.get(&place)).await;
    let said = match answer {
        Ok(Ok(answer)) => format!("says {}", String::from_utf8_lossy(&answer.beginning)),
        Ok(Err(failure)) => format!("cannot be asked: {failure:?}"),
        Err(_) => "does not answer".to_owned(),
    };
    format!("{place} ({}, begun at {} ms) {said}{before}", attempt.marker, attempt.begun_ms)
}

/// Only time ends the attempts: whoever is told that nothing was executed, for want of room or of a peer, tries later.
async fn try_until_settled(line: &Line, plan: &Plan, attempts: &mut Vec<Attempt>) -> Outcome {
    let mut pause = PAUSE;
    for number in 0.. {
        if number > 0 {
            line.progress.call_repeated();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let attempt = Attempt::new(line, plan, number);
        attempts.push(attempt.clone());
        let end = settle(line, plan, &attempt).await;
        if let Some(attempt) = attempts.last_mut() {
            attempt.ended_ms = Some(line.progress.now_ms());
        }
        match end {
            End::Answered(answer) => {
                let operation = attempt.operation.to_string();
                return answer::fault(plan, &attempt.marker, &operation, &answer)
                    .map_or(Outcome::Right, Outcome::Wrong);
            }
            End::Open(why) if !plan.repeatable() => return Outcome::Unknown(why),
            End::NotExecuted(why) | End::Open(why) => {
                if let Some(attempt) = attempts.last_mut() {
                    attempt.failed_with = Some(why);
                }
            }
        }
    }
    Outcome::Lost("there are no more numbers for attempts".to_owned())
}

/// Sends one operation until it is accepted, and finds out what became of it.
async fn settle(line: &Line, plan: &Plan, attempt: &Attempt) -> End {
    loop {
        let request = match request(line, plan, attempt) {
            Ok(request) => request,
            Err(error) => return End::NotExecuted(error.to_string()),
        };
        match line.client.exchange(request).await {
            Ok(answer) => match answer::meaning(plan, answer) {
                Meaning::Final(answer) => return End::Answered(answer),
                Meaning::NotExecuted(why) => return End::NotExecuted(why),
                Meaning::Open(why) => return End::Open(why),
                Meaning::Ask | Meaning::NeverAccepted => {}
            },
            Err(Failure::Unreached(_)) => {
                line.ready().await;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(Failure::Broken(_)) => {}
        }
        if let Some(end) = pick_up(line, plan, attempt).await {
            return end;
        }
    }
}

/// Asks an operation what became of it until that is known; `None` if it was never accepted.
async fn pick_up(line: &Line, plan: &Plan, attempt: &Attempt) -> Option<End> {
    let place = attempt.operation.location();
    loop {
        line.ready().await;
        let Ok(seen) = line.client.get(&place).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let meaning = if seen.status == 200 {
            match Operation::read(&seen) {
                Some(operation) if operation.may_have_result() => fetch(line, plan, &place, &operation).await,
                _ => Meaning::Ask,
            }
        } else {
            answer::meaning(plan, seen)
        };
        match meaning {
            Meaning::NeverAccepted => return None,
            Meaning::Ask => tokio::time::sleep(PAUSE).await,
            Meaning::Final(answer) => return Some(End::Answered(answer)),
            Meaning::NotExecuted(why) => return Some(End::NotExecuted(why)),
            Meaning::Open(why) => return Some(End::Open(why)),
        }
    }
}

/// Fetches the stored response of an operation.
async fn fetch(line: &Line, plan: &Plan, place: &str, operation: &Operation) -> Meaning {
    match line.client.get(&format!("{place}/result")).await {
        // It broke off: what the operation says next tells whether to fetch it again.
        Err(_) if !operation.ended || operation.result => Meaning::Ask,
        Err(_) => operation.without_result(),
        Ok(answer) => match answer::meaning(plan, answer) {
            // It was there a moment ago: an operation is not forgotten during a run.
            Meaning::NeverAccepted => Meaning::Open("its operation was forgotten".to_owned()),
            Meaning::Ask if operation.ended => operation.without_result(),
            meaning => meaning,
        },
    }
}

/// What `GET /v1/operations/{id}` says.
#[derive(Debug, PartialEq, Eq)]
struct Operation {
    ended: bool,
    responding: bool,
    result: bool,
    executed: Executed,
    text: String,
}

impl Operation {
    fn read(answer: &Answer) -> Option<Self> {
        let value: Value = serde_json::from_slice(&answer.beginning).ok()?;
        let state = State::from_name(value.get("state")?.as_str()?)?;
        let problem = value.get("problem").and_then(Value::as_str).unwrap_or("no response");
        Some(Self {
            ended: state.is_terminal(),
            responding: state.rank() >= State::ResponseStarted.rank() && !state.is_terminal(),
            result: value.get("result").and_then(Value::as_bool).unwrap_or_default(),
            executed: answer::executed(value.get("executed")),
            text: format!("operation {state}: {problem}"),
        })
    }

    const fn may_have_result(&self) -> bool {
        self.ended || self.responding || self.result
    }

    fn without_result(&self) -> Meaning {
        match self.executed {
            Executed::No => Meaning::NotExecuted(self.text.clone()),
            Executed::Yes | Executed::Maybe => Meaning::Open(self.text.clone()),
        }
    }
}

impl Line {
    /// Waits until the near engine runs.
    async fn ready(&self) {
        let mut ready = self.near_ready.clone();
        if ready.wait_for(|ready| *ready).await.is_err() {
            // Whoever starts engines is gone: the run ends by itself.
            std::future::pending::<()>().await;
        }
    }
}

impl Attempt {
    fn new(line: &Line, plan: &Plan, number: u32) -> Self {
        let mut dice = Dice::new(line.seed, u64::from(plan.number) << 32 | u64::from(number));
        let mut random = [0; 10];
        for (octet, thrown) in
            random.iter_mut().zip(dice.throw().to_le_bytes().into_iter().chain(dice.throw().to_le_bytes()))
        {
            *octet = thrown;
        }
        Self {
            marker: format!("{}-{number}", plan.number),
            operation: OperationId::v7(unix_ms(), &random),
            begun_ms: line.progress.now_ms(),
            ended_ms: None,
            failed_with: None,
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn request(line: &Line, plan: &Plan, attempt: &Attempt) -> Result<Request<DemoBody>, http::Error> {
    let path = plan.path();
    let (target, host) = match plan.door {
        Door::Route => (format!("/to/{ROUTE}{path}"), line.client.address().to_string()),
        Door::Proxy => {
            let host = match plan.kind {
                Kind::RefusedNear => UNLISTED_HOST.to_owned(),
                _ => line.upstream.to_string(),
            };
            (format!("http://{host}{path}"), host)
        }
    };
    let mut builder = Request::builder()
        .method(plan.method())
        .uri(target)
        .header(header::HOST, host)
        .header(OPERATION, attempt.operation.to_string())
        .header(CALL, &attempt.marker);
    let Some(content) = plan.request() else { return builder.body(Full::default().boxed_unsync()) };
    builder = builder.header(header::CONTENT_TYPE, content.media_type());
    // Every second body says its length beforehand; the others come in chunks.
    if plan.number.is_multiple_of(2) {
        builder = builder.header(header::CONTENT_LENGTH, content.size);
        return builder.body(Content::body(content));
    }
    builder.body(content.streamed())
}

#[cfg(test)]
mod tests;
