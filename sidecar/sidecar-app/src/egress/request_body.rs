//! The request's content on its way to the upstream: bounded, held to its declared length, and watched.
//!
//! Invariants: no more octets pass than the rule allows or Content-Length declares; the last declared octet passes only
//! after the stream's end was verified, so that an upstream never takes a cut request for a whole one; the upstream's time
//! to answer is not spent while this side waits for content to cross the gap. Test to read first:
//! `the_last_octet_waits_for_the_verified_end`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::body::{BodyError, BoxedBody};

/// What is wrong with a request's content, found after the call began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyFault {
    /// Larger than the rule allows.
    #[error("the request body is larger than {max} octets")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// More or less than Content-Length says.
    #[error("the request body does not have the {declared} octets that Content-Length declares")]
    Length {
        /// What Content-Length says.
        declared: u64,
    },
    /// The calling side ended it before its end.
    #[error("the request body was cut short: {0}")]
    Cut(String),
}

/// How far a request's content is, for whoever waits for the response.
#[derive(Debug)]
pub(super) struct Progress(Mutex<ProgressState>);

#[derive(Debug)]
struct ProgressState {
    moved_at: Instant,
    waiting_for_caller: bool,
    fault: Option<BodyFault>,
}

impl Progress {
    /// Of a request whose content, if any, can be sent at once.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(ProgressState { moved_at: Instant::now(), waiting_for_caller: false, fault: None })))
    }

    /// What was wrong with the content, if anything.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.lock().fault.clone()
    }

    /// When the upstream's time is over if nothing moves until then; `None` if it is over.
    pub(super) fn due(&self, time_max: Duration) -> Option<Instant> {
        let state = self.lock();
        let now = Instant::now();
        let since = if state.waiting_for_caller { now } else { state.moved_at };
        // An unreachable instant counts as one that is far away.
        let due = since.checked_add(time_max).unwrap_or(now + Duration::from_secs(86_400));
        (due > now).then_some(due)
    }

    fn note(&self, waiting_for_caller: bool) {
        let mut state = self.lock();
        state.waiting_for_caller = waiting_for_caller;
        state.moved_at = Instant::now();
    }

    fn fail(&self, fault: BodyFault) -> BodyError {
        let mut state = self.lock();
        state.waiting_for_caller = false;
        state.fault = Some(fault.clone());
        fault.into()
    }

    fn lock(&self) -> MutexGuard<'_, ProgressState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request body within its bounds.
pub(super) struct RequestBody {
    inner: BoxedBody,
    progress: Arc<Progress>,
    max: u64,
    total: u64,
    declared: Option<u64>,
    /// Octets of the declared length that were not given to the upstream yet.
    left: Option<u64>,
    /// Complete by length; held until the end is verified.
    held: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl RequestBody {
    /// `inner` with at most `max` octets, and exactly `declared` ones if that is given.
    pub(super) fn new(inner: BoxedBody, max: u64, declared: Option<u64>, progress: Arc<Progress>) -> Self {
        Self { inner, progress, max, total: 0, declared, left: declared, held: VecDeque::new(), ended: false }
    }

    /// Counts the octets of a frame; says whether it completes the declared length.
    fn admit(&mut self, octets: usize) -> Result<bool, BodyFault> {
        self.total = self.total.saturating_add(octets as u64);
        if self.total > self.max {
            return Err(BodyFault::TooLarge { max: self.max });
        }
        match self.declared {
            Some(declared) if self.total > declared => Err(BodyFault::Length { declared }),
            Some(declared) => Ok(self.total == declared),
            None => Ok(false),
        }
    }

    fn give(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended = true;
        self.held.clear();
        Poll::Ready(Some(Err(self.progress.fail(fault))))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while !this.ended {
            let polled = Pin::new(&mut this.inner).poll_frame(cx);
            this.progress.note(polled.is_pending());
            match ready!(polled) {
                Some(Ok(frame)) => {
                    let complete = match this.admit(frame.data_ref().map_or(0, Bytes::len)) {
                        Ok(complete) => complete,
                        Err(fault) => return this.fail(fault),
                    };
                    if !complete {
                        return this.give(frame);
                    }
                    this.held.push_back(frame);
                }
                Some(Err(error)) => return this.fail(BodyFault::Cut(error.to_string())),
                None => {
                    this.ended = true;
                    if let Some(declared) = this.declared
                        && this.total < declared
                    {
                        return this.fail(BodyFault::Length { declared });
                    }
                }
            }
        }
        match this.held.pop_front() {
            Some(frame) => this.give(frame),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    type Piece = Result<&'static str, &'static str>;

    fn body(pieces: &[Piece], max: u64, declared: Option<u64>) -> (RequestBody, Arc<Progress>) {
        let frames: Vec<_> =
            pieces.iter().map(|piece| piece.map(|p| Frame::data(Bytes::from_static(p.as_bytes())))).collect();
        let inner = StreamBody::new(stream::iter(frames).map(|frame| frame.map_err(BodyError::from))).boxed_unsync();
        let progress = Progress::new();
        (RequestBody::new(inner, max, declared, Arc::clone(&progress)), progress)
    }

    /// What passed, and what went wrong.
    async fn drain(pieces: &[Piece], max: u64, declared: Option<u64>) -> (String, Option<BodyFault>) {
        let (mut body, progress) = body(pieces, max, declared);
        let mut passed = String::new();
        while let Some(Ok(frame)) = body.frame().await {
            passed.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        (passed, progress.fault())
    }

    #[tokio::test]
    async fn the_last_octet_waits_for_the_verified_end() {
        assert_eq!(drain(&[Ok("abc"), Ok("def")], 10, Some(6)).await, ("abcdef".to_owned(), None));
        let cut = BodyFault::Cut("reset".to_owned());
        assert_eq!(drain(&[Ok("abc"), Ok("def"), Err("reset")], 10, Some(6)).await, ("abc".to_owned(), Some(cut)));
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_declared_is_refused() {
        let fault = Some(BodyFault::Length { declared: 4 });
        assert_eq!(drain(&[Ok("abc")], 10, Some(4)).await, ("abc".to_owned(), fault.clone()));
        assert_eq!(drain(&[Ok("abc"), Ok("de")], 10, Some(4)).await, ("abc".to_owned(), fault.clone()));
        assert_eq!(drain(&[Ok("abcd"), Ok("e")], 10, Some(4)).await, (String::new(), fault));
    }

    #[tokio::test]
    async fn a_body_above_the_bound_is_refused() {
        assert_eq!(drain(&[Ok("abc"), Ok("def")], 6, None).await, ("abcdef".to_owned(), None));
        let fault = Some(BodyFault::TooLarge { max: 5 });
        assert_eq!(drain(&[Ok("abc"), Ok("def")], 5, None).await, ("abc".to_owned(), fault));
    }

    #[tokio::test]
    async fn the_size_is_known_when_it_was_declared() {
        let (mut whole, _) = body(&[Ok("abc"), Ok("def")], 10, Some(6));
        assert_eq!(whole.size_hint().exact(), Some(6));
        whole.frame().await.unwrap().unwrap();
        assert_eq!(whole.size_hint().exact(), Some(3));
        assert_eq!(body(&[], 10, None).0.size_hint().exact(), None);
    }

    #[tokio::test]
    async fn waiting_for_the_caller_does_not_spend_the_upstreams_time() {
        let time_max = Duration::from_millis(20);
        let progress = Progress::new();
        let inner = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BodyError>>()).boxed_unsync();
        let mut body = RequestBody::new(inner, 10, None, Arc::clone(&progress));
        assert!(progress.due(time_max).is_some());
        tokio::time::sleep(time_max * 2).await;
        assert_eq!(progress.due(time_max), None);
        assert!(body.frame().now_or_never().is_none());
        tokio::time::sleep(time_max * 2).await;
        assert!(progress.due(time_max).is_some());
    }
}
