//! Between bytes and records: digests, compression and the end of a stream.
//!
//! Compression is a property of a record, decided once when it enters the log; only content is ever compressed, never a
//! field section (RFC 7541 §7.1 says why). Inflating never exceeds the length the sender signed.

use bytes::Bytes;
use disk::log::{LogError, LogReader};
use layer0_pipe::InflateError;
use layer2_http::body::BodyCheck;
use wire::digest::sha256;
use wire::record::FLAG_ZSTD;

use crate::command::{Found, Outgoing};
use crate::entry;

/// Content octets of one record: one frame's worth.
pub const DATA_LEN_MAX: usize = 256 * 1024;

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The final head.
    Head(Bytes),
    /// A 1xx head.
    Interim(Bytes),
    /// Content, inflated.
    Data(Bytes),
    /// Trailers.
    Trailers(Bytes),
    /// The end: length and digest matched.
    End,
    /// A record of a kind this program does not interpret.
    Other {
        /// Its kind.
        kind: u8,
    },
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The sender ended it as failed.
    #[error("the stream was reset with code {code}")]
    Reset {
        /// a code of `layer2_http::fin::code`.
        code: u64,
    },
    /// It is not known (any more), or the engine stops.
    #[error("the stream is gone")]
    Gone,
    /// The log could not be read.
    #[error("the log could not be read")]
    Log(#[source] LogError),
    /// A compressed record did not inflate to its length.
    #[error("a record did not inflate")]
    Inflate(#[source] InflateError),
    /// The content differs from what the sender finished.
    #[error("the content does not match the length and digest of its end")]
    Mismatch,
}

impl Outgoing {
    /// A record stored as it is.
    pub fn plain(kind: u8, payload: Bytes) -> Self {
        let raw_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self { kind, flags: 0, raw_len, pd: sha256(&[&payload]), payload }
    }

    /// A record as it lies in the log, to be appended once more.
    pub fn again(found: &Found, payload: Bytes) -> Self {
        let head = &found.head;
        Self { kind: head.kind, flags: head.flags, raw_len: head.raw_len, pd: found.pd, payload }
    }

    /// The end of a stream whose content went through `body`.
    pub fn fin(body: &BodyCheck) -> Self {
        Self::plain(wire::record::kind::FIN, body.fin().encode().into())
    }

    /// A content record, compressed where asked and where that helps.
    pub fn data(content: Bytes, compress: bool) -> Self {
        if compress && let Some(payload) = layer0_pipe::compress(&content) {
            let raw_len = u32::try_from(content.len()).unwrap_or(u32::MAX);
            return Self {
                kind: wire::record::kind::DATA,
                flags: FLAG_ZSTD,
                raw_len,
                pd: sha256(&[&payload]),
                payload,
            };
        }
        Self::plain(wire::record::kind::DATA, content)
    }
}

/// The stored payload of a received record, from its log entry.
///
/// # Errors
/// When the log cannot be read or the entry is not what the index says.
pub fn stored_payload(log: &LogReader, found: &Found) -> Result<Bytes, ReadError> {
    let (kind, body) = log.read(found.position).map_err(ReadError::Log)?;
    entry::record_payload(kind, &body, found.head.stored_len).ok_or(ReadError::Gone)
}

/// Undoes a record's compression.
///
/// # Errors
/// When it does not inflate to exactly `raw_len` octets.
pub fn inflate(payload: Bytes, raw_len: u32, flags: u8) -> Result<Bytes, ReadError> {
    if flags & FLAG_ZSTD == 0 {
        return Ok(payload);
    }
    layer0_pipe::inflate(&payload, raw_len).map_err(ReadError::Inflate)
}
