//! The bodies of the demo: made from a seed on the fly, and recognised by length and digest.
//!
//! Invariants: the same [`Content`] always has the same octets, on either end and in any number of pieces; no body is held
//! whole, whatever its size. Test to read first: `a_body_is_recognised_however_it_was_cut_into_pieces`.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::{Deserialize, Serialize};
use wire::digest::{self, Sha256Stream};

use super::dice::Dice;

/// Octets made at a time.
const BLOCK: u64 = 64 * 1024;

/// A body that cannot fail.
pub(super) type DemoBody = UnsyncBoxBody<Bytes, Infallible>;

/// What a body contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// What it is made from.
    pub(super) seed: u64,
    /// Its length in octets.
    pub(super) size: u64,
    /// Letters, which can be compressed on their way; else any octets.
    pub(super) text: bool,
}

impl Content {
    /// The media type that says what it is.
    pub(super) const fn media_type(&self) -> &'static str {
        if self.text { "text/plain" } else { "application/octet-stream" }
    }

    /// The piece that begins at block `index`; empty past the end.
    fn block(&self, index: u64) -> Bytes {
        let begin = index.saturating_mul(BLOCK).min(self.size);
        let length = usize::try_from((self.size - begin).min(BLOCK)).unwrap_or_default();
        let mut octets = Vec::with_capacity(length + 8);
        let mut dice = Dice::new(self.seed, index);
        while octets.len() < length {
            let thrown = dice.throw();
            let thrown = if self.text { (thrown & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161 } else { thrown };
            octets.extend_from_slice(&thrown.to_le_bytes());
        }
        octets.truncate(length);
        octets.into()
    }

    fn blocks(self) -> impl Iterator<Item = Bytes> {
        (0..self.size.div_ceil(BLOCK)).map(move |index| self.block(index))
    }

    /// The body, held whole if it is small, so that its length is sent with it.
    pub(super) fn body(self) -> DemoBody {
        if self.size <= BLOCK {
            return Full::new(self.block(0)).boxed_unsync();
        }
        self.streamed()
    }

    /// The body piece by piece, of a length that is not announced.
    pub(super) fn streamed(self) -> DemoBody {
        StreamBody::new(stream::iter(self.blocks().map(|block| Ok(Frame::data(block))))).boxed_unsync()
    }

    /// The body in `pieces` about equal pieces.
    pub(super) fn pieces(self, pieces: usize) -> Vec<Bytes> {
        let whole: Vec<u8> = self.blocks().flatten().collect();
        let length = whole.len().div_ceil(pieces.max(1)).max(1);
        whole.chunks(length).map(Bytes::copy_from_slice).collect()
    }

    /// How it is recognised.
    pub(super) fn mark(self) -> Mark {
        let mut meter = Meter::default();
        for block in self.blocks() {
            meter.add(&block);
        }
        meter.finish()
    }
}

/// Length and digest of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// In octets.
    pub(super) length: u64,
    /// SHA-256 in hex.
    pub(super) sha256: String,
}

impl Mark {
    /// The mark of a body held whole.
    pub(super) fn of(content: &[u8]) -> Self {
        let mut meter = Meter::default();
        meter.add(content);
        meter.finish()
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets, sha256 {}…", self.length, self.sha256.get(..12).unwrap_or(&self.sha256))
    }
}

/// Measures a body that arrives in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    hash: Sha256Stream,
    length: u64,
}

impl Meter {
    /// Takes the next piece.
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.length += piece.len() as u64;
    }

    /// What came.
    pub(super) fn finish(self) -> Mark {
        Mark { length: self.length, sha256: digest::hex(&self.hash.finish()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_recognised_however_it_was_cut_into_pieces() {
        for size in [0, 1, 63, BLOCK, BLOCK + 1, 3 * BLOCK + 17] {
            let content = Content { seed: 9, size, text: size % 2 == 0 };
            let mark = content.mark();
            assert_eq!(mark.length, size);
            for pieces in [1, 3, 7] {
                let mut meter = Meter::default();
                let cut = content.pieces(pieces);
                assert!(cut.len() <= pieces, "{size} {pieces}");
                for piece in cut {
                    meter.add(&piece);
                }
                assert_eq!(meter.finish(), mark);
            }
        }
    }

    #[test]
    fn another_seed_makes_another_body() {
        let content = Content { seed: 1, size: 100, text: false };
        assert_ne!(content.mark(), Content { seed: 2, ..content }.mark());
        assert_ne!(content.mark(), Content { text: true, ..content }.mark());
        assert_eq!(Mark::of(&content.block(0)), content.mark());
        assert!(Content { text: true, ..content }.block(0).iter().all(u8::is_ascii_lowercase));
    }

    #[tokio::test]
    async fn the_body_sent_is_the_body_measured() {
        for size in [10, 3 * BLOCK] {
            let content = Content { seed: 4, size, text: false };
            let sent = content.body().collect().await.unwrap().to_bytes();
            assert_eq!(Mark::of(&sent), content.mark());
        }
    }
}
