//! What happens to operations, as server-sent events (WHATWG HTML §9.2): `/v1/operations/{id}/events` and `/v1/events`.
//!
//! Each event has the number of `layer2_http::event` as its `id`, so a client that connects again with Last-Event-ID gets what it
//! missed, and nothing twice, over restarts of the engine too. Invariants: an event is sent once and in order; a client that reads
//! too slowly is cut off instead of being waited for in memory; the stream of one operation ends with the event that ends it, and
//! who has that already is answered 204, which tells a browser not to come again. Test to read first: `tests/line/events.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use layer2_http::event::OperationEvent;
use layer2_http::fields::Fields;
use layer2_http::operation::OperationId;
use layer2_http::problem::{Problem, ProblemKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::operations::{stopping, unknown};
use super::{Ingress, request};
use crate::body::{self, BodyError, BoxedBody};

/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a client that was cut off comes again, in ms.
const RETRY_MS: u32 = 1_000;
/// Events of all operations that a client gets at most of what it missed.
const MISSED_MAX: usize = 2_000;
/// Streams of events at once: each may hold what its client missed.
pub(super) const LISTENERS_MAX: usize = 128;

/// The events of one operation.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn of_operation(
    ingress: &Ingress,
    id: OperationId,
    fields: &Fields,
    stop: CancellationToken,
) -> Result<Response<BoxedBody>, Problem> {
    let after = last_event_id(fields)?.unwrap_or(0);
    let room = room(ingress)?;
    let news = ingress.driver.subscribe_events();
    let known = ingress.driver.events_since(id, 0).await.map_err(stopping)?.ok_or_else(|| unknown(id))?;
    if known.last().is_some_and(|last| last.state.is_terminal() && last.number <= after) {
        let mut response = Response::new(body::full(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let missed = known.into_iter().filter(|event| event.number > after).collect();
    Ok(stream_of(Events::new(Some(id), after, missed, news, stop, room)))
}

/// The events of all operations: from now on, or from the last one that the client saw.
///
/// # Errors
/// With the problem to answer instead.
pub(super) async fn of_all(
    ingress: &Ingress,
    fields: &Fields,
    stop: CancellationToken,
) -> Result<Response<BoxedBody>, Problem> {
    let after = last_event_id(fields)?;
    let room = room(ingress)?;
    let news = ingress.driver.subscribe_events();
    let missed = match after {
        Some(after) => ingress.driver.all_events_since(after, MISSED_MAX).await.map_err(stopping)?,
        None => Vec::new(),
    };
    Ok(stream_of(Events::new(None, after.unwrap_or(0), missed.into(), news, stop, room)))
}

/// Room for one more stream.
fn room(ingress: &Ingress) -> Result<OwnedSemaphorePermit, Problem> {
    let detail = "too many streams of events are open already; close one, or ask by polling";
    let full = |_| Problem::new(ProblemKind::LogFull, detail).retry_after(10);
    Arc::clone(&ingress.listeners).try_acquire_owned().map_err(full)
}

/// The number in Last-Event-ID.
fn last_event_id(fields: &Fields) -> Result<Option<u64>, Problem> {
    let Some(value) = fields.get("last-event-id") else { return Ok(None) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| request::bad("Last-Event-ID is not the id of an event of this server"))
}

/// A stream of events, and how far it is.
struct Events {
    only: Option<OperationId>,
    /// Number of the last event sent.
    after: u64,
    missed: VecDeque<OperationEvent>,
    news: Receiver<OperationEvent>,
    keep_alive: Interval,
    stop: CancellationToken,
    begun: bool,
    over: bool,
    _room: OwnedSemaphorePermit,
}

impl Events {
    fn new(
        only: Option<OperationId>,
        after: u64,
        missed: VecDeque<OperationEvent>,
        news: Receiver<OperationEvent>,
        stop: CancellationToken,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let mut keep_alive = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { only, after, missed, news, keep_alive, stop, begun: false, over: false, _room: room }
    }

    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        if !self.begun {
            self.begun = true;
            return Some(format!("retry: {RETRY_MS}\n\n"));
        }
        loop {
            if let Some(event) = self.missed.pop_front() {
                if let Some(text) = self.tell(&event) {
                    return Some(text);
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                event = self.news.recv() => match event {
                    Ok(event) => self.missed.push_back(event),
                    // It has missed some: it comes again, and says which was its last.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                },
                _ = self.keep_alive.tick() => return Some(": still here\n\n".to_owned()),
            }
        }
    }

    /// An event as it is sent, if it is one of those and was not sent before.
    fn tell(&mut self, event: &OperationEvent) -> Option<String> {
        if event.number <= self.after || self.only.is_some_and(|only| only != event.operation) {
            return None;
        }
        self.after = event.number;
        self.over = self.only.is_some() && event.state.is_terminal();
        Some(format!("id: {}\ndata: {}\n\n", event.number, event.to_json()))
    }
}

fn stream_of(events: Events) -> Response<BoxedBody> {
    let pieces = stream::unfold(events, |mut events| async move {
        let piece = events.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(piece))), events))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let fields = response.headers_mut();
    fields.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use layer2_http::event::Mark;
    use layer2_http::operation::State;
    use tokio::sync::broadcast;

    use super::*;
    use tokio::sync::Semaphore;

    fn permit() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
    }

    fn id(n: u8) -> OperationId {
        OperationId::v7(1, &[n; 10])
    }

    fn event(n: u8, number: u64, state: State) -> OperationEvent {
        OperationEvent::of(id(n), &Mark { number, state, at_ms: 0, figure: 0 })
    }

    fn numbers(pieces: &[String]) -> Vec<u64> {
        let line = |piece: &String| piece.lines().find_map(|line| line.strip_prefix("id: ")?.parse().ok());
        pieces.iter().filter_map(line).collect()
    }

    async fn rest(mut events: Events) -> Vec<String> {
        let mut pieces = Vec::new();
        while let Some(piece) = events.next().await {
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn what_is_missed_and_what_is_new_is_sent_once_and_ends_with_the_operation() {
        let (tell, news) = broadcast::channel(16);
        // The first of these is among what was missed, too.
        for event in
            [event(1, 3, State::Sent), event(2, 4, State::Sent), event(1, 5, State::Done), event(1, 6, State::Done)]
        {
            tell.send(event).unwrap();
        }
        let missed = VecDeque::from([event(1, 2, State::Queued), event(1, 3, State::Sent)]);
        let pieces = rest(Events::new(Some(id(1)), 1, missed, news, CancellationToken::new(), permit())).await;
        assert_eq!(pieces[0], "retry: 1000\n\n");
        assert_eq!(numbers(&pieces), [2, 3, 5]);
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_cut_off() {
        let (tell, news) = broadcast::channel(2);
        let mut events = Events::new(None, 0, VecDeque::new(), news, CancellationToken::new(), permit());
        assert!(events.next().await.is_some());
        for number in 1..=9 {
            tell.send(event(1, number, State::Sent)).unwrap();
        }
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn a_stopping_engine_ends_its_streams() {
        let (_tell, news) = broadcast::channel(2);
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(rest(Events::new(None, 0, VecDeque::new(), news, stop, permit())).await.len(), 1);
    }

    #[tokio::test]
    async fn a_silent_stream_says_that_it_is_there() {
        let (_tell, news) = broadcast::channel(2);
        let mut events = Events::new(None, 0, VecDeque::new(), news, CancellationToken::new(), permit());
        events.keep_alive = tokio::time::interval(Duration::from_millis(1));
        assert!(events.next().await.is_some());
        assert_eq!(events.next().await.as_deref(), Some(": still here\n\n"));
    }
}
