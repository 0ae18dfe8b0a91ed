//! The payload of a HEAD or INTERIM record: envelope length, envelope, binary HTTP message (wire format §9).
//!
//! ```text
//! u32 little-endian n ‖ n bytes CBOR envelope ‖ RFC 9292 message ending after its header section
//! ```
//! Invariants: control data is safe to put on a request line (no white space, control byte, user information or
//! fragment); what is written reads back the same. Whether the call is *allowed* is for `policy`. Test to read first:
//! `a_request_head_reads_back_as_written`.

use crate::bhttp::{self, BhttpError, RequestControl, SectionLimit, shown_text};
use crate::envelope::{Envelope, EnvelopeError};
use crate::fields::{Fields, is_token_byte};
use crate::limits::{MAX_AUTHORITY, MAX_METHOD, MAX_TARGET};
use crate::target::{Target, TargetError, parse_absolute, parse_connect};
use bytes::Bytes;
use wire::limits::MAX_FIELD_SECTION;

/// Head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What is said beside HTTP.
    pub envelope: Envelope,
    /// Method, as sent (case counts).
    pub method: String,
    /// Scheme, lower case; empty for a plain CONNECT.
    pub scheme: String,
    /// `host` or `host:port`.
    pub authority: String,
    /// Path with query, or `*`; empty for a plain CONNECT.
    pub path: String,
    /// Header section.
    pub fields: Fields,
}

/// Head of a response, informational (INTERIM) or final (HEAD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// What is said beside HTTP.
    pub envelope: Envelope,
    /// Status, 100 to 599, not 101.
    pub status: u16,
    /// Header section.
    pub fields: Fields,
}

/// Why bytes are no head, or a head cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Ends before its envelope does.
    #[error("the head is cut short")]
    Cut,
    /// No envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No binary HTTP message.
    #[error(transparent)]
    Bhttp(#[from] BhttpError),
    /// The method is no token.
    #[error("method {shown:?} is no token of 1 to {MAX_METHOD} characters")]
    Method {
        /// The method, escaped.
        shown: String,
    },
    /// The scheme is no scheme.
    #[error("scheme {shown:?} is not a lower-case URI scheme")]
    Scheme {
        /// The scheme, escaped.
        shown: String,
    },
    /// The authority cannot be one.
    #[error("authority {shown:?} is not a host with an optional port")]
    Authority {
        /// The authority, escaped.
        shown: String,
    },
    /// The path cannot be one.
    #[error("path {shown:?} does not begin with '/', or has a character that must be percent-encoded")]
    Path {
        /// The path, escaped.
        shown: String,
    },
    /// A final status where an informational one belongs, or the reverse, or 101.
    #[error("status {status} does not belong here")]
    Status {
        /// The status.
        status: u16,
    },
}

impl RequestHead {
    /// The payload of its HEAD record.
    ///
    /// # Errors
    /// If a part breaks the rules `decode` holds it to, at the format's limits (field section 1 MiB, envelope 64 KiB).
    pub fn encode(&self) -> Result<Bytes, HeadError> {
        self.check()?;
        let mut out = begin(&self.envelope, &self.fields)?;
        let control = RequestControl {
            method: self.method.clone(),
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            path: self.path.clone(),
        };
        bhttp::encode_request(&control, &self.fields, &mut out);
        Ok(out.into())
    }

    /// Reads the payload of a HEAD record with the default limit of 64 KiB for its field section.
    ///
    /// # Errors
    /// If it is malformed or too large.
    pub fn decode(payload: &[u8]) -> Result<Self, HeadError> {
        Self::decode_within(payload, SectionLimit::default())
    }

    /// Reads the payload of a HEAD record.
    ///
    /// # Errors
    /// If it is malformed, or its field section exceeds `limit`.
    pub fn decode_within(payload: &[u8], limit: SectionLimit) -> Result<Self, HeadError> {
        let (envelope, mut message) = split(payload)?;
        let (control, fields) = bhttp::decode_request(&mut message, limit)?;
        bhttp::no_rest(message)?;
        let RequestControl { method, scheme, authority, path } = control;
        let head = Self { envelope, method, scheme, authority, path, fields };
        head.check()?;
        Ok(head)
    }

    /// Does it ask for a byte stream (CONNECT, RFC 9110 §9.3.6, or extended, RFC 8441)? Its execution begins with its head.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.method == "CONNECT" || self.envelope.protocol.is_some()
    }

    /// Where it goes, parsed: what rules are asked about and the call is made to.
    ///
    /// # Errors
    /// If scheme, authority and path are no target.
    pub fn target(&self) -> Result<Target, TargetError> {
        if self.scheme.is_empty() {
            return parse_connect(&self.authority);
        }
        if self.path == "*" {
            // OPTIONS for the whole server: only a rule for every path covers it.
            let server = parse_absolute(&format!("{}://{}/", self.scheme, self.authority))?;
            return Ok(Target { path_and_query: self.path.clone(), ..server });
        }
        parse_absolute(&format!("{}://{}{}", self.scheme, self.authority, self.path))
    }

    fn check(&self) -> Result<(), HeadError> {
        if !valid_method(&self.method) {
            return Err(HeadError::Method { shown: shown_text(&self.method) });
        }
        let plain_connect = self.method == "CONNECT" && self.envelope.protocol.is_none();
        let scheme_fits = if plain_connect { self.scheme.is_empty() } else { valid_scheme(&self.scheme) };
        if !scheme_fits {
            return Err(HeadError::Scheme { shown: shown_text(&self.scheme) });
        }
        if !valid_authority(&self.authority) {
            return Err(HeadError::Authority { shown: shown_text(&self.authority) });
        }
        let path_fits = if plain_connect { self.path.is_empty() } else { valid_path(&self.path, &self.method) };
        if !path_fits {
            return Err(HeadError::Path { shown: shown_text(&self.path) });
        }
        Ok(())
    }
}

impl ResponseHead {
    /// Is it an informational response, which travels as INTERIM?
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The payload of its HEAD or INTERIM record.
    ///
    /// # Errors
    /// If status, envelope or field section cannot be written: an upstream may answer with a status above 599.
    pub fn encode(&self) -> Result<Bytes, HeadError> {
        if !(100..=599).contains(&self.status) || self.status == 101 {
            return Err(HeadError::Status { status: self.status });
        }
        let mut out = begin(&self.envelope, &self.fields)?;
        bhttp::encode_response(self.status, &self.fields, &mut out);
        Ok(out.into())
    }

    /// Reads the payload of a HEAD record (a final response) with the default limit of 64 KiB for its field section.
    ///
    /// # Errors
    /// If it is malformed, too large, or informational.
    pub fn decode(payload: &[u8]) -> Result<Self, HeadError> {
        Self::decode_within(payload, SectionLimit::default())
    }

    /// Reads the payload of a HEAD record (a final response).
    ///
    /// # Errors
    /// If it is malformed, informational, or its field section exceeds `limit`.
    pub fn decode_within(payload: &[u8], limit: SectionLimit) -> Result<Self, HeadError> {
        let head = Self::read(payload, limit)?;
        if head.is_interim() { Err(HeadError::Status { status: head.status }) } else { Ok(head) }
    }

    /// Reads the payload of an INTERIM record (an informational response).
    ///
    /// # Errors
    /// If it is malformed, final, 101, or its field section exceeds `limit`.
    pub fn decode_interim(payload: &[u8], limit: SectionLimit) -> Result<Self, HeadError> {
        let head = Self::read(payload, limit)?;
        let fits = head.is_interim() && head.status != 101;
        if fits { Ok(head) } else { Err(HeadError::Status { status: head.status }) }
    }

    fn read(payload: &[u8], limit: SectionLimit) -> Result<Self, HeadError> {
        let (envelope, mut message) = split(payload)?;
        let (status, fields) = bhttp::decode_response(&mut message, limit)?;
        bhttp::no_rest(message)?;
        Ok(Self { envelope, status, fields })
    }
}

fn begin(envelope: &Envelope, fields: &Fields) -> Result<Vec<u8>, HeadError> {
    let size = fields.size_bytes();
    if size > MAX_FIELD_SECTION {
        return Err(BhttpError::TooLarge { limit: MAX_FIELD_SECTION }.into());
    }
    let envelope = envelope.encode()?;
    let mut out = Vec::with_capacity(4 + envelope.len() + size + 256);
    out.extend_from_slice(&(envelope.len() as u32).to_le_bytes());
    out.extend_from_slice(&envelope);
    Ok(out)
}

fn split(payload: &[u8]) -> Result<(Envelope, &[u8]), HeadError> {
    let (len, rest) = payload.split_first_chunk::<4>().ok_or(HeadError::Cut)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| HeadError::Cut)?;
    let (envelope, message) = rest.split_at_checked(len).ok_or(HeadError::Cut)?;
    Ok((Envelope::decode(envelope)?, message))
}

/// Is this a method (RFC 9110 §9.1)?
pub(crate) fn valid_method(method: &str) -> bool {
    (1..=MAX_METHOD).contains(&method.len()) && method.bytes().all(is_token_byte)
}

fn valid_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.len() <= 16
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'))
}

/// Bytes a host and port may have; user information, paths and fragments cannot hide in them.
pub(crate) fn valid_authority(authority: &str) -> bool {
    (1..=MAX_AUTHORITY).contains(&authority.len())
        && authority
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']'))
}

fn valid_path(path: &str, method: &str) -> bool {
    (path.starts_with('/') || (path == "*" && method == "OPTIONS"))
        && path.len() <= MAX_TARGET
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

#[cfg(test)]
mod tests;
