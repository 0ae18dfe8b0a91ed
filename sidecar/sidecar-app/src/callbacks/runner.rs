//! The deliveries of one line, one after the other.
//!
//! A runner waits for the next event that is durable, delivers it, says so to the driver, and goes on; it ends with the operation's last
//! event, or gives the line up. Invariants: an event is delivered before the next one; each attempt is signed with its own time and has
//! the event's id; nothing is held while it waits but the line's name. Test to read first: `tests/line/callbacks.rs`.

use std::time::Duration;

use http::Uri;
use layer2_http::callbacks::{Dead, Line, Pending};
use layer2_http::cloudevent::{self, CloudEvent, without_query};
use layer2_http::event::OperationEvent;
use layer2_http::target;
use layer2_http::webhook::{self, Verdict};
use tokio::sync::Notify;

use super::{Callbacks, LOOK_PERIOD, Receiver, outcome};
use crate::command::Stopping;
use crate::driver::unix_ms;

/// How a delivery ended.
enum Ended {
    Delivered,
    GivenUp { reason: String, attempts: u32 },
}

/// Delivers what a line has to tell, until its end.
pub(super) async fn run(callbacks: &Callbacks, pending: Pending, bell: &Notify) {
    let mut delivered = pending.delivered;
    // An error says that the engine stops: the next start goes on.
    while let Ok(Some(event)) = next(callbacks, &pending, delivered, bell).await {
        let Ok(ended) = deliver(callbacks, &pending, &event).await else { return };
        let number = if pending.line == Line::Result { 1 } else { event.number };
        match ended {
            Ended::Delivered => {
                let last = event.state.is_terminal();
                callbacks.driver.callback_delivered(pending.operation, pending.line, number, last);
                if last {
                    return;
                }
                delivered = event.number;
            }
            Ended::GivenUp { reason, attempts } => {
                let (id, line, url) = (pending.operation, pending.line, without_query(&pending.url));
                tracing::warn!(operation = %id, line = line.name(), url, reason, attempts, "a callback is given up");
                let at_ms = now_ms();
                callbacks.driver.callback_died(Dead { id, line, number: event.number, at_ms, reason, attempts });
                return;
            }
        }
    }
}

/// The next event to deliver, waiting for it; `None` if the operation is forgotten. Of a result that is the last one.
async fn next(
    callbacks: &Callbacks,
    pending: &Pending,
    delivered: u64,
    bell: &Notify,
) -> Result<Option<OperationEvent>, Stopping> {
    loop {
        let Some(events) = callbacks.driver.events_since(pending.operation, delivered).await? else { return Ok(None) };
        let wanted = |event: &OperationEvent| pending.line == Line::Events || event.state.is_terminal();
        if let Some(event) = events.into_iter().find(wanted) {
            return Ok(Some(event));
        }
        let _ = tokio::time::timeout(LOOK_PERIOD, bell.notified()).await;
    }
}

/// Tries until the receiver has it, or the time is over.
async fn deliver(callbacks: &Callbacks, pending: &Pending, event: &OperationEvent) -> Result<Ended, Stopping> {
    let given_up = |reason: &str, attempts| Ok(Ended::GivenUp { reason: reason.to_owned(), attempts });
    let Ok(target) = target::parse_absolute(&pending.url) else { return given_up("the URL cannot be read", 0) };
    let Some(receiver) = callbacks.receiver(&target) else {
        return given_up("no rule of callbacks.allow allows this URL any more", 0);
    };
    let Ok(uri) = target.to_string().parse::<Uri>() else { return given_up("the URL cannot be read", 0) };
    let retry = callbacks.retry;
    let until_ms = event.at_ms.max(pending.since_ms).saturating_add(millis(retry.for_));
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Ok(room) = receiver.slots.acquire().await else { return Err(Stopping) };
        let Some(told) = told(callbacks, pending, event).await? else { return given_up("it is not known any more", 0) };
        let answered = attempt(callbacks, receiver, &uri, &told).await;
        drop((room, told));
        let (reason, wait) = match answered {
            Ok((_, Verdict::Delivered)) => return Ok(Ended::Delivered),
            Ok((status, Verdict::Gone)) => {
                return given_up(&format!("the receiver is gone (status {status})"), attempts);
            }
            Ok((status, Verdict::Again(wait))) => (format!("status {status}"), wait),
            Err(reason) => (reason, None),
        };
        let pause = webhook::pause_after(attempts, retry.first, retry.max, random()).max(wait.unwrap_or_default());
        let (id, line, rule) = (pending.operation, pending.line.name(), receiver.name.as_str());
        tracing::debug!(operation = %id, line, rule, reason, attempts, ?pause, "a callback was not delivered");
        // The last attempt is at the end of its time, however long the receiver asks to wait.
        let left = Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms())).unwrap_or(0));
        if left.is_zero() {
            return given_up(&reason, attempts);
        }
        callbacks.driver.callback_failed();
        tokio::time::sleep(pause.min(left)).await;
    }
}

/// What is delivered, made anew for each attempt: nothing of it is held in between.
async fn told(
    callbacks: &Callbacks,
    pending: &Pending,
    event: &OperationEvent,
) -> Result<Option<CloudEvent>, Stopping> {
    if pending.line == Line::Events {
        let data = serde_json::to_value(event).unwrap_or_default();
        let source = callbacks.source.as_str();
        let told = CloudEvent::of_state(source, event.operation, event.number, event.state, event.at_ms, data);
        return Ok(Some(told));
    }
    let Some(view) = callbacks.driver.operation(pending.operation).await? else { return Ok(None) };
    Ok(Some(outcome::event(callbacks, &view).await))
}

/// One attempt.
async fn attempt(
    callbacks: &Callbacks,
    receiver: &Receiver,
    uri: &Uri,
    told: &CloudEvent,
) -> Result<(u16, Verdict), String> {
    let content = told.to_json();
    let at_s = unix_ms() / 1_000;
    let fields = [
        (webhook::ID, told.id.clone()),
        (webhook::TIMESTAMP, at_s.to_string()),
        (webhook::SIGNATURE, receiver.signer.sign(&told.id, at_s, &content)),
    ];
    let posted = receiver.poster.post(uri, &fields, cloudevent::CONTENT_TYPE, content, callbacks.time_max).await?;
    Ok((posted.status, webhook::judge(posted.status, posted.retry_after.as_deref(), now_ms())))
}

fn now_ms() -> i64 {
    i64::try_from(unix_ms()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Only spreads pauses: without it they are all as long as they may be.
fn random() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes)
}
