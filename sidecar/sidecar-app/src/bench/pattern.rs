//! The bytes that are measured with: a block of noise over and over, so that making and checking them costs next to nothing.
//!
//! Invariants: what stands at an offset depends on the offset alone; no record or packet can be made shorter, because noise
//! is longer than either looks back. A body is checked octet by octet, never hashed: hashing would cost more than the line.
//! Test to read first: `a_body_is_the_same_however_it_is_cut`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::demo::dice::Dice;

/// Octets after which the noise repeats.
const PERIOD: usize = 4 << 20;
/// Most octets handed out at a time.
const PIECE_MAX: u64 = 64 * 1024;

/// The noise. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Bytes);

impl Pattern {
    /// Makes the noise; the same every time.
    pub(super) fn new() -> Self {
        let mut dice = Dice::new(1, 0);
        let mut noise = Vec::with_capacity(PERIOD);
        while noise.len() < PERIOD {
            noise.extend_from_slice(&dice.throw().to_le_bytes());
        }
        Self(noise.into())
    }

    /// What stands at `offset`, at most `most` octets, at least one unless `most` is 0.
    pub(super) fn piece(&self, offset: u64, most: u64) -> Bytes {
        let begin = usize::try_from(offset % PERIOD as u64).unwrap_or_default();
        let length = usize::try_from(most.min(PIECE_MAX)).unwrap_or(PERIOD).min(PERIOD - begin);
        self.0.slice(begin..begin + length)
    }

    /// The first `size` octets as a body that says how long it is.
    pub(super) fn body(&self, size: u64) -> PatternBody {
        PatternBody { pattern: self.clone(), at: 0, end: size }
    }
}

/// The first octets of the noise.
#[derive(Clone, Debug)]
pub(super) struct PatternBody {
    pattern: Pattern,
    at: u64,
    end: u64,
}

impl Body for PatternBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let piece = self.pattern.piece(self.at, self.end - self.at);
        self.at += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

/// Compares a body that arrives in pieces with the noise.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pattern: Pattern,
    at: u64,
    same: bool,
}

impl Check {
    /// Nothing has arrived yet.
    pub(super) fn new(pattern: &Pattern) -> Self {
        Self { pattern: pattern.clone(), at: 0, same: true }
    }

    /// Takes the next octets.
    pub(super) fn add(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let expected = self.pattern.piece(self.at, octets.len() as u64);
            let (now, later) = octets.split_at(expected.len());
            self.same &= now == expected;
            self.at += now.len() as u64;
            octets = later;
        }
    }

    /// How many octets arrived, if they were the right ones.
    pub(super) fn length(&self) -> Option<u64> {
        self.same.then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_is_the_same_however_it_is_cut() {
        let pattern = Pattern::new();
        let size = PERIOD as u64 + 100_001;
        let whole = pattern.body(size).collect().await.unwrap().to_bytes();
        assert_eq!(whole.len() as u64, size);
        for length in [1000, 65_537, 3 << 20] {
            let mut check = Check::new(&pattern);
            whole.chunks(length).for_each(|piece| check.add(piece));
            assert_eq!(check.length(), Some(size));
        }
    }

    #[test]
    fn one_wrong_octet_is_noticed() {
        let pattern = Pattern::new();
        let mut octets = pattern.piece(0, 1000).to_vec();
        octets[700] ^= 1;
        let mut check = Check::new(&pattern);
        check.add(&octets);
        assert_eq!(check.length(), None);
    }

    #[test]
    fn an_empty_body_is_at_its_end() {
        let body = Pattern::new().body(0);
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}
