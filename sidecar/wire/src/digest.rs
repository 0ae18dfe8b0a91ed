//! SHA-256 over parts and streams, and the content digest of a body (wire format §1, §9).
//!
//! Invariant: the content digest depends on the record boundaries and the stored payload digests only, so that one hash pass
//! over a body serves both. It keeps no data. Test to read first: `content_digest_is_the_hash_of_lengths_and_payload_digests`.

use alloc::string::String;
use core::fmt;
use sha2::{Digest as _, Sha256};

/// A SHA-256 (or SHA3-256) value.
pub type Digest = [u8; 32];

/// SHA-256 of the parts, one after another.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 of bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Sha256Stream(Sha256);

impl Sha256Stream {
    /// Begins with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

impl fmt::Debug for Sha256Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Stream")
    }
}

/// The content digest of a body: SHA-256 over "hoft1 body" and, for each DATA record in order, its `raw_len` and payload digest.
#[derive(Clone, Debug)]
pub struct BodyDigest {
    hash: Sha256Stream,
    length: u64,
}

impl Default for BodyDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl BodyDigest {
    /// A body with no record yet.
    #[must_use]
    pub fn new() -> Self {
        let mut hash = Sha256Stream::new();
        hash.update(b"hoft1 body");
        Self { hash, length: 0 }
    }

    /// Adds the next DATA record: its length after decompression, in bytes, and the digest of its stored payload.
    pub fn record(&mut self, raw_len: u32, payload_digest: &Digest) {
        self.hash.update(&raw_len.to_le_bytes());
        self.hash.update(payload_digest);
        self.length = self.length.saturating_add(u64::from(raw_len));
    }

    /// Bytes of the body so far (the content length of FIN).
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The content digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.hash.finish()
    }
}

/// Lower-case hex of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads hex of either case into exactly `N` bytes; `None` for anything else.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_digest_is_the_hash_of_lengths_and_payload_digests() {
        let (a, b) = (sha256(&[b"hello "]), sha256(&[b"world"]));
        let mut body = BodyDigest::new();
        body.record(6, &a);
        body.record(5, &b);
        assert_eq!(body.length(), 11);
        assert_eq!(body.finish(), sha256(&[b"hoft1 body", &[6, 0, 0, 0], &a, &[5, 0, 0, 0], &b]));
    }

    #[test]
    fn parts_and_pieces_hash_alike() {
        let mut stream = Sha256Stream::new();
        stream.update(b"a");
        stream.update(b"bc");
        let digest = stream.finish();
        assert_eq!(digest, sha256(&[b"ab", b"", b"c"]));
        assert_eq!(hex(&digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(from_hex(&hex(&digest)), Some(digest));
    }

    #[test]
    fn hex_of_the_wrong_length_or_with_signs_is_refused() {
        assert_eq!(from_hex::<2>("aAbB"), Some([0xaa, 0xbb]));
        for text in ["", "aab", "aabbc", "+abb", "aa b", "0xaa", "é12"] {
            assert_eq!(from_hex::<2>(text), None, "{text}");
        }
    }
}
