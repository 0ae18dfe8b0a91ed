//! A response that is kept as it passes: its pieces are gathered, and put on the shelf when it is whole.
//!
//! Invariants: what is gathered counts against the bounds of the shelf, and is given back however the response ends;
//! nothing is put there before the end of the response was verified. Test to read first:
//! `the_cache_keeps_what_it_may_and_nothing_else` in `tests/line/cache.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use layer2_http::shelf::{Asked, Kept, Key};

use super::Cache;
use crate::body::{BodyError, BoxedBody};

/// What of a response is there already, to be kept once it is whole.
pub(super) struct Gatherer {
    cache: Arc<Cache>,
    key: Key,
    asked: Asked,
    kept: Option<Kept>,
    pieces: Vec<Bytes>,
    octets: u64,
    octets_max: u64,
    declared: Option<u64>,
}

impl Gatherer {
    /// Will keep `kept` under `key` once its content is there: `declared` octets if that is known, `octets_max` at
    /// most.
    pub(super) fn new(
        cache: Arc<Cache>,
        (key, asked): (Key, Asked),
        kept: Kept,
        declared: Option<u64>,
        octets_max: u64,
    ) -> Self {
        Self { cache, key, asked, kept: Some(kept), pieces: Vec::new(), octets: 0, octets_max, declared }
    }

    fn take(&mut self, piece: &Bytes) {
        if self.kept.is_none() || piece.is_empty() {
            return;
        }
        let octets = piece.len() as u64;
        if self.octets + octets > self.octets_max || !self.cache.state().shelf.gather(octets) {
            return self.give_up();
        }
        self.octets += octets;
        // A piece may be a small part of a large buffer, which would stay with it.
        self.pieces.push(Bytes::copy_from_slice(piece));
        if self.declared == Some(self.octets) {
            // The last octet of a declared length is passed on only when the end of the stream was verified.
            self.whole();
        }
    }

    /// The end was there.
    pub(super) fn whole(&mut self) {
        let kept = self.kept.take().filter(|_| self.declared.is_none_or(|length| length == self.octets));
        let content = self.pieces.concat();
        self.give_up();
        if let Some(kept) = kept {
            self.cache.state().shelf.put(&self.key, self.asked, Kept { content: content.into(), ..kept });
        }
    }

    fn give_up(&mut self) {
        self.kept = None;
        self.pieces = Vec::new();
        self.cache.state().shelf.gathered(std::mem::take(&mut self.octets));
    }
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A response that is kept as it passes.
pub(super) struct Gathered {
    inner: BoxedBody,
    gatherer: Gatherer,
}

impl Gathered {
    pub(super) const fn new(inner: BoxedBody, gatherer: Gatherer) -> Self {
        Self { inner, gatherer }
    }
}

impl Body for Gathered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(piece) => this.gatherer.take(piece),
                // Trailers would have to be kept too.
                None => this.gatherer.give_up(),
            },
            Poll::Ready(Some(Err(_))) => this.gatherer.give_up(),
            Poll::Ready(None) => this.gatherer.whole(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
