//! Is a message whole? One hash pass over the records of a stream, compared with its FIN (wire format §9).
//!
//! Invariant: a message passes only if every DATA record was given, in order, length, digest and a declared Content-Length
//! agree, and its head and trailers are those that its FIN was written for. It holds no data. Test to read first:
//! `a_body_that_lacks_a_record_is_refused`.

use crate::fin::Fin;
use crate::mutation::{Mutation, mutated};
use wire::digest::{BodyDigest, Digest};
use wire::record::Bound;

/// How what arrived differs from what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// FIN says another length.
    #[error("the body has {got} bytes, its end says {said}")]
    Length {
        /// By FIN, in bytes.
        said: u64,
        /// Arrived, in bytes.
        got: u64,
    },
    /// FIN says another digest.
    #[error("the body is not the one its end describes")]
    Digest,
    /// FIN was written for another head, or for other trailers.
    #[error("the end belongs to another message than the head or the trailers before it")]
    Bound,
    /// Content-Length says another length.
    #[error("the body has {got} bytes, Content-Length says {said}")]
    Declared {
        /// By Content-Length, in bytes.
        said: u64,
        /// Arrived, in bytes.
        got: u64,
    },
}

/// Checks, or makes the FIN of, one body.
#[derive(Clone, Debug, Default)]
pub struct BodyCheck {
    digest: BodyDigest,
    declared: Option<u64>,
    head: Option<Digest>,
    trailers: Option<Digest>,
}

impl BodyCheck {
    /// Begins before the first record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins before the first record of a body whose Content-Length is `declared` bytes. Not for responses to HEAD and for
    /// 304, which declare a length and have no body.
    #[must_use]
    pub fn with_declared(declared: Option<u64>) -> Self {
        Self { declared, ..Self::default() }
    }

    /// Takes the HEAD record: the digest of its payload.
    pub fn on_head(&mut self, payload_digest: &Digest) {
        self.head = Some(*payload_digest);
    }

    /// Takes the TRAILERS record: the digest of its payload.
    pub fn on_trailers(&mut self, payload_digest: &Digest) {
        self.trailers = Some(*payload_digest);
    }

    /// Takes the next DATA record: its length after decompression, in bytes, and the digest of its stored payload.
    pub fn on_data(&mut self, raw_len: u32, payload_digest: &Digest) {
        self.digest.record(raw_len, payload_digest);
    }

    /// Bytes so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.digest.length()
    }

    /// Compares with the FIN that arrived.
    ///
    /// # Errors
    /// If the body is not the whole one that FIN and Content-Length describe.
    pub fn on_fin(&self, fin: &Fin) -> Result<(), Mismatch> {
        let got = self.length();
        if fin.content_length != got {
            return Err(Mismatch::Length { said: fin.content_length, got });
        }
        if fin.digest != self.digest.clone().finish() {
            return Err(Mismatch::Digest);
        }
        if fin.bound.is_some() && fin.bound != self.bound() && !mutated(Mutation::BoundIgnored) {
            return Err(Mismatch::Bound);
        }
        self.on_end()
    }

    /// Compares with the declared Content-Length alone: where a body ends that has no FIN yet.
    ///
    /// # Errors
    /// If it declared another length.
    pub fn on_end(&self) -> Result<(), Mismatch> {
        let got = self.length();
        match self.declared {
            Some(said) if said != got => Err(Mismatch::Declared { said, got }),
            Some(_) | None => Ok(()),
        }
    }

    /// The FIN that ends this body.
    #[must_use]
    pub fn fin(&self) -> Fin {
        Fin { content_length: self.length(), digest: self.digest.clone().finish(), bound: self.bound() }
    }

    fn bound(&self) -> Option<Bound> {
        self.head.map(|head| Bound { head, trailers: self.trailers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::digest::sha256;

    fn body(records: &[&[u8]]) -> BodyCheck {
        let mut check = BodyCheck::new();
        for record in records {
            check.on_data(record.len() as u32, &sha256(&[record]));
        }
        check
    }

    #[test]
    fn a_body_that_lacks_a_record_is_refused() {
        let fin = body(&[b"one", b"two"]).fin();
        assert_eq!(body(&[b"one", b"two"]).on_fin(&fin), Ok(()));
        assert_eq!(body(&[b"one"]).on_fin(&fin), Err(Mismatch::Length { said: 6, got: 3 }));
        assert_eq!(body(&[b"two", b"one"]).on_fin(&fin), Err(Mismatch::Digest));
        assert_eq!(body(&[b"onetwo"]).on_fin(&fin), Err(Mismatch::Digest));
    }

    #[test]
    fn an_empty_body_has_a_digest_too() {
        let fin = BodyCheck::new().fin();
        assert_eq!(fin, Fin { content_length: 0, digest: sha256(&[b"hoft1 body"]), bound: None });
        assert_eq!(BodyCheck::new().on_fin(&fin), Ok(()));
    }

    #[test]
    fn the_end_of_another_message_does_not_end_this_one() {
        let message = |head: u8, trailers: Option<u8>| {
            let mut check = body(&[b"the same"]);
            check.on_head(&[head; 32]);
            if let Some(trailers) = trailers {
                check.on_trailers(&[trailers; 32]);
            }
            check
        };
        for (other, expected) in [
            (message(1, Some(2)), Ok(())),
            (message(9, Some(2)), Err(Mismatch::Bound)),
            (message(1, Some(9)), Err(Mismatch::Bound)),
            (message(1, None), Err(Mismatch::Bound)),
            (body(&[b"the same"]), Ok(())),
        ] {
            assert_eq!(message(1, Some(2)).on_fin(&other.fin()), expected, "{:?}", other.fin().bound);
        }
        assert_eq!(message(1, None).on_fin(&message(1, Some(2)).fin()), Err(Mismatch::Bound));
        assert_eq!(body(&[b"the same"]).on_fin(&message(1, None).fin()), Err(Mismatch::Bound));
    }

    #[test]
    fn a_body_shorter_than_its_content_length_is_refused() {
        let mut check = BodyCheck::with_declared(Some(4));
        check.on_data(3, &sha256(&[b"abc"]));
        let refused = Err(Mismatch::Declared { said: 4, got: 3 });
        assert_eq!(check.on_end(), refused);
        assert_eq!(check.on_fin(&check.fin()), refused);
        check.on_data(1, &sha256(&[b"d"]));
        assert_eq!(check.on_fin(&check.fin()), Ok(()));
    }
}
