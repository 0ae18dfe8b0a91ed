//! Simulated callers: they begin calls, write requests, read responses, lose patience, go away and come back.
//!
//! Invariants: what they see goes into the oracle as they see it, and content is compared octet by octet; they use an engine only
//! as its ingress does. They do not judge. Test to read first: `a_quiet_world_answers_every_call`.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::operation::{OperationId, OperationView, State};
use layer2_http::{Envelope, Fields};
use sidecar_app::command::{BeginCall, BeginError, StoredResult};
use sidecar_app::exchange::{DriverHandle, NearExchange, RecordReader, RecordWriter};
use sidecar_app::record::{Incoming, ReadError};

use crate::content::{self, Check};
use crate::faults::Fault;
use crate::liars;
use crate::oracle::{Begin, Class, Op};
use crate::rng::Rng;
use crate::shared::Shared;

/// The host that every call goes to.
pub const UPSTREAM: &str = "up.sim";
/// Routes of a world with several servers.
const ROUTES: u64 = 5;
/// The field in which an upstream says which of its executions this is.
pub const EXECUTION: &str = "sim-execution";

/// How long a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For ever.
    Endless,
    /// So long for the head; then it comes back for the result.
    Detach(u64),
    /// So long; then its connection closes.
    Leave(u64),
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its id.
    pub id: OperationId,
    /// Its place among the calls.
    pub number: u64,
    /// What repeating it may do.
    pub class: Class,
    /// The caller chose the id.
    pub chosen: bool,
    /// Octets of the request.
    pub request_len: u64,
    /// Octets written at once.
    pub piece: u64,
    /// Pause between two pieces.
    pub pause_us: u64,
    /// Offer content for compression.
    pub compress: bool,
    /// The request ends after so many octets, without its end.
    pub cut_at: Option<u64>,
    /// How long the caller waits.
    pub patience: Patience,
    /// The request ends falsely, as this generator says.
    pub false_end: Option<Rng>,
}

impl Plan {
    /// What the oracle knows of it before it begins.
    #[must_use]
    pub fn op(&self, node: usize, now: u64) -> Op {
        Op {
            number: self.number,
            node,
            class: self.class,
            chosen: self.chosen,
            request_len: self.request_len,
            asked_at: now,
            begin: Begin::Asked,
            gone: false,
            false_end: self.false_end.is_some(),
            detached: false,
            executions: Vec::new(),
            delivered: 0,
            delivered_in: 0,
            problems: Vec::new(),
            told: None,
            forgotten: false,
        }
    }

    fn head(&self) -> RequestHead {
        let (method, key) = match self.class {
            Class::Safe => ("GET", None),
            Class::Keyed => ("POST", Some(format!("key-{}", self.number))),
            Class::Once => ("POST", None),
        };
        RequestHead {
            envelope: Envelope { operation: Some(self.id), idempotency_key: key, ..Envelope::default() },
            method: method.to_owned(),
            scheme: "http".to_owned(),
            authority: UPSTREAM.to_owned(),
            path: format!("/call/{}", self.number),
            fields: Fields::new(),
        }
    }
}

/// Longest time that a caller pauses between all pieces of its request, in one-way trips.
const PAUSES: u64 = 50;

/// Draws a call.
#[must_use]
pub fn draw(rng: &mut Rng, number: u64, shared: &Shared) -> Plan {
    let options = &shared.options;
    let class = match rng.below(10) {
        0..=3 => Class::Safe,
        4..=5 => Class::Keyed,
        _ => Class::Once,
    };
    let large = rng.per_mille(options.large);
    let request_len = match rng.below(10) {
        0..=2 => 0,
        _ if large && options.bulky => rng.between(1_060_000, 1_200_000),
        _ if large => rng.between(100_000, 500_000),
        _ => rng.below(options.body_max) + 1,
    };
    let mut random = [0; 10];
    rng.fill(&mut random);
    let latency = options.latency_us;
    let patience = match rng.below(20) {
        0 | 1 => Patience::Detach(rng.below(latency * 6) + 1),
        2 => Patience::Leave(rng.below(latency * 5) + 1),
        _ => Patience::Endless,
    };
    let chosen = rng.percent(40);
    let piece = rng.between(200, 300_000);
    let pause_us = if rng.percent(25) { rng.below(latency) } else { 0 };
    Plan {
        id: OperationId::v7(crate::time::EPOCH_MS + shared.clock.now() / 1_000, &random),
        number,
        class,
        chosen,
        request_len,
        piece,
        // A large body in small pieces may not take longer than a world has to come to rest.
        pause_us: pause_us.min(latency * PAUSES / (request_len / piece).max(1)),
        compress: rng.percent(40),
        cut_at: rng.percent(4).then(|| rng.below(request_len + 1)),
        patience,
        false_end: liars::is_false(shared, rng).then(|| rng.clone()),
    }
}

/// Makes a call with the engine as it runs now.
pub async fn call(shared: Rc<Shared>, plan: Plan, handle: DriverHandle) {
    let Ok(head) = plan.head().encode() else { return };
    let begin = BeginCall {
        operation: plan.id,
        retain: plan.chosen,
        head,
        method: plan.head().method,
        target: format!("http://{UPSTREAM}/call/{}", plan.number),
        // Servers are chosen by route.
        route: shared.options.servers.map(|_| format!("route-{}", plan.number % ROUTES)),
        deadline_ms: None,
        asked: Default::default(),
    };
    if let Patience::Leave(after) = plan.patience {
        let going = pin!(exchange(&shared, &plan, &handle, begin));
        if let Either::Right(_) = select(going, pin!(shared.clock.sleep(after))).await {
            shared.count(Fault::CallerGone);
            shared.with_op(plan.id, |op| {
                op.gone = true;
                if op.begin == Begin::Asked {
                    op.begin = Begin::Unanswered;
                }
            });
        }
        return;
    }
    exchange(&shared, &plan, &handle, begin).await;
}

async fn exchange(shared: &Rc<Shared>, plan: &Plan, handle: &DriverHandle, begin: BeginCall) {
    let begun = handle.begin(begin).await;
    let state = match &begun {
        Ok(_) => Begin::Accepted,
        Err(BeginError::Stopping) => Begin::Unanswered,
        Err(_) => Begin::Refused,
    };
    shared.note("begun", &[plan.number, state as u64]);
    shared.with_op(plan.id, |op| op.begin = state);
    let Ok(NearExchange { request, response }) = begun else { return };
    let writing = write(shared, plan, request);
    let reading = read(shared, plan, handle, response);
    futures_util::future::join(writing, reading).await;
}

async fn write(shared: &Rc<Shared>, plan: &Plan, mut writer: RecordWriter) {
    let end = plan.cut_at.unwrap_or(plan.request_len);
    let mut at = 0;
    while at < end {
        let len = plan.piece.min(end - at);
        let content = content::piece(plan.number, at, usize::try_from(len).unwrap_or(0));
        if writer.data(content, plan.compress).await.is_err() {
            return;
        }
        at += len;
        if plan.pause_us > 0 {
            shared.clock.sleep(plan.pause_us).await;
        }
    }
    if plan.cut_at.is_some() {
        shared.count(Fault::RequestCut);
        shared.with_op(plan.id, |op| op.gone = true);
        return;
    }
    if let Some(rng) = &plan.false_end {
        return liars::end_falsely(shared, rng, writer, liars::Role::Caller).await;
    }
    let _ = writer.finish().await;
}

async fn read(shared: &Rc<Shared>, plan: &Plan, handle: &DriverHandle, mut reader: RecordReader) {
    let first = match plan.patience {
        Patience::Detach(after) => within(shared, after, reader.next()).await,
        Patience::Endless | Patience::Leave(_) => Some(reader.next().await),
    };
    let Some(first) = first else {
        shared.count(Fault::Detach);
        shared.with_op(plan.id, |op| op.detached = true);
        reader.detach();
        fetch(Rc::clone(shared), plan.id, handle.clone()).await;
        return;
    };
    match take(shared, plan.id, first, &mut reader).await {
        Ok(()) => {}
        Err(error) => ended(shared, plan.id, handle, &error).await,
    }
}

async fn within<F: Future>(shared: &Shared, us: u64, future: F) -> Option<F::Output> {
    match select(pin!(future), pin!(shared.clock.sleep(us))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Reads a response to its end and compares it with what the upstream answered.
async fn take(
    shared: &Rc<Shared>,
    id: OperationId,
    first: Result<Incoming, ReadError>,
    reader: &mut RecordReader,
) -> Result<(), ReadError> {
    let Incoming::Head(payload) = first? else {
        shared.blame("S4", format!("the response of {id} does not begin with its head"));
        return Ok(());
    };
    let Ok(head) = ResponseHead::decode(&payload) else {
        shared.blame("S4", format!("the response head of {id} cannot be read"));
        return Ok(());
    };
    if head.envelope.problem.is_some() {
        while !matches!(reader.next().await?, Incoming::End) {}
        shared.note("problem", &[shared.number(id)]);
        shared.with_op(id, |op| op.problems.push(head.envelope.executed));
        return Ok(());
    }
    let execution = head.fields.get(EXECUTION).and_then(|value| std::str::from_utf8(value).ok()?.parse::<usize>().ok());
    let Some((execution, status, len)) = execution.and_then(|index| shared.answer(id, index)) else {
        shared.blame("S4", format!("the response of {id} is none that an upstream gave to it"));
        return Ok(());
    };
    if status != head.status {
        shared.blame("S4", format!("the response of {id} has status {} instead of {status}", head.status));
    }
    let mut check = Check::new(response_tag(execution));
    let mut differs = None;
    loop {
        match reader.next().await? {
            Incoming::Data(content) if !check.take(&content) => {
                differs = differs.or(Some(check.read()));
                // Where a log went back in time or has a twin, two messages may meet in one stream: their end tells.
                if shared.rewinds.borrow().is_empty() {
                    shared.blame("S4", format!("the response of {id} differs before octet {}", check.read()));
                    return Ok(());
                }
            }
            Incoming::End => break,
            _ => {}
        }
    }
    if shared.oracle.borrow().executions[execution].false_end {
        shared.blame("S4", format!("the response of {id} counts as whole though its end is false"));
    }
    if check.read() != len || differs.is_some() {
        let what = format!("with {} octets of {len}, different before octet {differs:?}", check.read());
        shared.blame("S4", format!("the response of {id} ended well {what}"));
    }
    shared.note("delivered", &[shared.number(id), execution as u64, len]);
    shared.with_op(id, |op| {
        op.delivered += 1;
        op.delivered_in = shared.starts.borrow().get(&op.node).copied().unwrap_or(0);
    });
    Ok(())
}

/// The tag of an execution's answer.
#[must_use]
pub fn response_tag(execution: usize) -> u64 {
    (1 << 32) + execution as u64
}

/// An exchange ended without a response: the caller is told the operation's state.
async fn ended(shared: &Rc<Shared>, id: OperationId, handle: &DriverHandle, error: &ReadError) {
    if matches!(error, ReadError::Mismatch | ReadError::Inflate(_) | ReadError::Log(_)) {
        let false_end =
            shared.with_op(id, |op| op.clone()).is_some_and(|op| shared.oracle.borrow().was_answered_falsely(&op));
        // A log that just failed is no liar; the engine ends with it.
        let met = matches!(error, ReadError::Mismatch) && !shared.rewinds.borrow().is_empty();
        if !matches!(error, ReadError::Log(_)) && !met && !false_end {
            shared.blame("S4", format!("the response of {id}: {error}"));
        }
        return;
    }
    if let Ok(Some(view)) = handle.operation(id).await {
        told(shared, &view);
    }
}

/// A caller is told how far its operation is.
pub fn told(shared: &Shared, view: &OperationView) {
    if !view.state.is_terminal() {
        return;
    }
    let before = shared.with_op(view.id, |op| op.told.replace(view.state)).flatten();
    shared.note("told", &[shared.number(view.id), view.state as u64]);
    if let Some(before) = before.filter(|before| *before != view.state) {
        let what = format!("operation {} was told to be {before}, and is now {}", view.id, view.state);
        shared.blame("S15", what);
    }
}

/// Asks for a stored result until there is one, or there will be none.
pub async fn fetch(shared: Rc<Shared>, id: OperationId, handle: DriverHandle) {
    loop {
        // An engine that stops says nothing about operations.
        let Ok(stored) = handle.stored_result(id).await else { return };
        match stored {
            StoredResult::Ready(mut reader) => {
                let first = reader.next().await;
                match take(&shared, id, first, &mut reader).await {
                    Ok(()) => {}
                    Err(error) => ended(&shared, id, &handle, &error).await,
                }
                return;
            }
            StoredResult::Gone(view) => {
                told(&shared, &view);
                return;
            }
            StoredResult::Pending(view) if view.state != State::Unknown => {}
            StoredResult::Pending(_) | StoredResult::Unknown => return,
        }
        shared.clock.sleep(shared.options.latency_us * 2).await;
    }
}
