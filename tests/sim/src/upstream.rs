//! Simulated upstreams: they execute what an engine hands over, and journal each execution at the moment its first octet would
//! leave.
//!
//! Invariants: an execution is journalled after the dispatch mark and never before; request content is compared octet by octet;
//! the order of steps is that of the product's egress. They do not judge what an execution means: checkers do.
//! Test to read first: `a_quiet_world_answers_every_call`.

use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};
use layer2_http::fin::code;
use layer2_http::head::{RequestHead, ResponseHead};
use layer2_http::operation::{Executed, OperationId};
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::{Envelope, Fields};
use sidecar_app::egress::{of_attempt, respond_problem};
use sidecar_app::exchange::{DispatchMark, FarExchange, RecordReader, RecordWriter};
use sidecar_app::record::{Incoming, ReadError};
use wire::record::kind;

use crate::callers::{EXECUTION, response_tag};
use crate::checkers;
use crate::content::{self, Check};
use crate::faults::Fault;
use crate::liars;
use crate::oracle::Execution;
use crate::rng::Rng;
use crate::shared::Shared;

/// Executes one exchange to its end.
pub async fn run(shared: Rc<Shared>, node: usize, exchange: FarExchange, mut rng: Rng) {
    let FarExchange { request, response, dispatch, attempt, cancelled, .. } = exchange;
    let outcome = {
        let work = pin!(execute(&shared, node, request, dispatch, attempt, &mut rng));
        match select(pin!(cancelled.cancelled()), work).await {
            Either::Left(_) => Outcome::Unwanted,
            Either::Right((outcome, _)) => outcome,
        }
    };
    match outcome {
        Outcome::Unwanted => response.abort(code::CANCELLED),
        Outcome::NotDispatched => {}
        Outcome::Problem(problem) => {
            let problem = of_attempt(problem, attempt);
            let answering = pin!(respond_problem(response, &problem, "sim"));
            select(pin!(cancelled.cancelled()), answering).await;
        }
        Outcome::Answer { execution, id } => {
            let answering = pin!(answer(&shared, execution, id, response, &mut rng));
            select(pin!(cancelled.cancelled()), answering).await;
        }
    }
}

enum Outcome {
    Unwanted,
    NotDispatched,
    Problem(Problem),
    Answer { execution: usize, id: OperationId },
}

/// Everything up to the response's head.
async fn execute(
    shared: &Rc<Shared>,
    node: usize,
    mut request: RecordReader,
    dispatch: DispatchMark,
    attempt: u32,
    rng: &mut Rng,
) -> Outcome {
    let Some(head) = read_head(shared, &mut request).await else { return Outcome::Unwanted };
    let Some(id) = head.envelope.operation else {
        shared.blame("S4", "a request without an operation".to_owned());
        return Outcome::NotDispatched;
    };
    let first = match request.next().await {
        Ok(first) => first,
        Err(ReadError::Mismatch) if shared.with_op(id, |op| op.false_end) == Some(true) => return Outcome::Unwanted,
        Err(error) => return unreadable(shared, id, &error),
    };
    if rng.percent(2) {
        let detail = "refused by the simulated policy";
        return Outcome::Problem(Problem::new(ProblemKind::RouteDenied, detail).of(id).executed(Executed::No));
    }
    if !dispatch.commit().await {
        return Outcome::NotDispatched;
    }
    let execution = begin(shared, node, id, attempt);
    match content(shared, id, first, request).await {
        Ok(()) => {}
        Err(ReadError::Reset { .. } | ReadError::Gone) => {
            let detail = "the request was cut short";
            return Outcome::Problem(Problem::new(ProblemKind::BadRequest, detail).of(id).executed(Executed::Maybe));
        }
        Err(ReadError::Mismatch) if shared.with_op(id, |op| op.false_end) == Some(true) => {
            let detail = "the request is not what its end says";
            return Outcome::Problem(Problem::new(ProblemKind::BadRequest, detail).of(id).executed(Executed::Maybe));
        }
        Err(error) => return unreadable(shared, id, &error),
    }
    if shared.with_op(id, |op| op.false_end) == Some(true) {
        shared.blame("S4", format!("the request of {id} counts as whole though its end is false"));
    }
    shared.oracle.borrow_mut().executions[execution].whole = true;
    shared.clock.sleep(rng.below(shared.options.think_us) + 1).await;
    if rng.percent(2) {
        shared.count(Fault::UpstreamBreak);
        let detail = "the simulated upstream closed the connection";
        return Outcome::Problem(Problem::new(ProblemKind::UpstreamClosed, detail).of(id).executed(Executed::Maybe));
    }
    Outcome::Answer { execution, id }
}

async fn read_head(shared: &Rc<Shared>, request: &mut RecordReader) -> Option<RequestHead> {
    match request.next().await.ok()? {
        Incoming::Head(payload) => match RequestHead::decode(&payload) {
            Ok(head) => Some(head),
            Err(error) => {
                shared.blame("S4", format!("a request's head: {error}"));
                None
            }
        },
        _ => {
            shared.blame("S4", "a request does not begin with its head".to_owned());
            None
        }
    }
}

fn unreadable(shared: &Rc<Shared>, id: OperationId, error: &ReadError) -> Outcome {
    // Where a log went back in time or has a twin, two messages may meet in one stream: that it is seen is what is wanted.
    let met = matches!(error, ReadError::Mismatch) && !shared.rewinds.borrow().is_empty();
    if matches!(error, ReadError::Mismatch | ReadError::Inflate(_)) && !met {
        shared.blame("S4", format!("the request of {id}: {error}"));
    }
    Outcome::Unwanted
}

/// The first octet goes upstream.
fn begin(shared: &Rc<Shared>, node: usize, id: OperationId, attempt: u32) -> usize {
    let at = shared.clock.now();
    let index = {
        let mut oracle = shared.oracle.borrow_mut();
        let index = oracle.executions.len();
        oracle.executions.push(Execution {
            operation: id,
            node,
            attempt,
            at,
            whole: false,
            answer: None,
            false_end: false,
        });
        if let Some(op) = oracle.op(id) {
            op.executions.push(index);
        }
        index
    };
    shared.note("executed", &[shared.number(id), u64::from(attempt), index as u64]);
    checkers::executed(shared, id, index);
    index
}

/// Reads the request's content as it is sent on.
async fn content(
    shared: &Rc<Shared>,
    id: OperationId,
    first: Incoming,
    mut request: RecordReader,
) -> Result<(), ReadError> {
    let Some((number, len)) = shared.with_op(id, |op| (op.number, op.request_len)) else { return Ok(()) };
    let mut check = Check::new(number);
    let (mut next, mut differs) = (first, None);
    loop {
        match next {
            Incoming::Data(content) if !check.take(&content) => {
                differs = differs.or(Some(check.read()));
                if shared.rewinds.borrow().is_empty() {
                    shared.blame("S4", format!("the request of {id} differs before octet {}", check.read()));
                }
            }
            Incoming::End => break,
            _ => {}
        }
        next = request.next().await?;
    }
    if check.read() != len || differs.is_some() {
        let what = format!("with {} octets of {len}, different before octet {differs:?}", check.read());
        shared.blame("S4", format!("the request of {id} ended well {what}"));
    }
    Ok(())
}

async fn answer(shared: &Rc<Shared>, execution: usize, id: OperationId, mut writer: RecordWriter, rng: &mut Rng) {
    let options = &shared.options;
    let len = match rng.below(10) {
        0..=1 => 0,
        _ if rng.per_mille(options.large) && options.bulky => rng.between(1_060_000, 1_200_000),
        _ if rng.per_mille(options.large) => rng.between(100_000, 600_000),
        _ => rng.below(options.body_max * 2) + 1,
    };
    let status = if rng.percent(90) { 200 } else { 503 };
    let breaks_at = rng.percent(3).then(|| rng.below(len + 1));
    shared.oracle.borrow_mut().executions[execution].answer = Some((status, len));
    let mut fields = Fields::new();
    let _ = fields.push(EXECUTION, execution.to_string());
    let head = ResponseHead {
        envelope: Envelope { operation: Some(id), executed: Some(Executed::Yes), ..Envelope::default() },
        status,
        fields,
    };
    let Ok(payload) = head.encode() else { return };
    if writer.head(kind::HEAD, payload).await.is_err() {
        return;
    }
    let end = breaks_at.unwrap_or(len);
    let piece = rng.between(500, 300_000);
    let mut at = 0;
    while at < end {
        let now = piece.min(end - at);
        let content = content::piece(response_tag(execution), at, usize::try_from(now).unwrap_or(0));
        if writer.data(content, rng.percent(40)).await.is_err() {
            return;
        }
        at += now;
        if rng.percent(20) {
            shared.clock.sleep(rng.below(options.think_us / 2 + 1)).await;
        }
    }
    if breaks_at.is_some() {
        shared.count(Fault::UpstreamBreak);
        return;
    }
    if liars::is_false(shared, rng) {
        shared.oracle.borrow_mut().executions[execution].false_end = true;
        return liars::end_falsely(shared, rng, writer, liars::Role::Upstream).await;
    }
    let _ = writer.finish().await;
}
