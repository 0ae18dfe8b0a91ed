//! The parts of binary HTTP (RFC 9292) that a HEAD, INTERIM or TRAILERS record holds (wire format §9).
//!
//! Only the indeterminate-length forms exist here, and of them only control data and one field section: content travels
//! as DATA records, trailers as a section of their own. Invariants: a message is refused whole or taken whole; lengths
//! are checked before anything is allocated; varints have their shortest form, so equal messages are equal bytes.
//! Whether methods and paths make sense is for `head`. Test to read first:
//! `the_request_of_rfc_9292_decodes_and_encodes_to_its_bytes`.

use crate::fields::{FieldError, Fields, shown};
use bytes::Bytes;
use wire::limits::{DEFAULT_FIELD_SECTION, MAX_FIELD_SECTION};
use wire::varint;

/// Framing indicator of an indeterminate-length request.
pub const REQUEST: u64 = 2;
/// Framing indicator of an indeterminate-length response.
pub const RESPONSE: u64 = 3;

/// The largest field section that is read, in bytes: between 1 and 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionLimit(usize);

impl SectionLimit {
    /// A limit in bytes, at most 1 MiB (a larger one counts as 1 MiB).
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(bytes.clamp(1, MAX_FIELD_SECTION))
    }

    /// The limit in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl Default for SectionLimit {
    /// 64 KiB.
    fn default() -> Self {
        Self(DEFAULT_FIELD_SECTION)
    }
}

/// Why bytes are not a message of this subset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BhttpError {
    /// The bytes end before the message does.
    #[error("the binary HTTP message is cut short")]
    Cut,
    /// A number is longer than it needs to be.
    #[error("a number of the binary HTTP message is not in its shortest form")]
    NotShortest,
    /// Another framing indicator than the one expected.
    #[error("framing indicator {found} where {expected} belongs")]
    Framing {
        /// What was read.
        found: u64,
        /// What belongs there.
        expected: u64,
    },
    /// Control data that is not text.
    #[error("the control data is not ASCII text")]
    Control,
    /// A status code outside 100 to 599.
    #[error("status {status} is not in 100 to 599")]
    Status {
        /// The number read.
        status: u64,
    },
    /// A field line that must not exist.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A section above its limit.
    #[error("the field section exceeds {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Bytes after the message.
    #[error("{len} bytes follow the message")]
    Rest {
        /// How many.
        len: usize,
    },
}

impl From<varint::VarintError> for BhttpError {
    fn from(error: varint::VarintError) -> Self {
        match error {
            varint::VarintError::Cut => Self::Cut,
            varint::VarintError::NotShortest => Self::NotShortest,
        }
    }
}

/// Control data of a request (RFC 9292 §3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// Method, as sent.
    pub method: String,
    /// Scheme; empty for CONNECT.
    pub scheme: String,
    /// Authority; may be empty where a Host field says it.
    pub authority: String,
    /// Path and query; empty for CONNECT.
    pub path: String,
}

/// Appends a request up to and with its header section.
pub fn encode_request(control: &RequestControl, fields: &Fields, out: &mut Vec<u8>) {
    varint::encode(REQUEST, out);
    for part in [&control.method, &control.scheme, &control.authority, &control.path] {
        put(part.as_bytes(), out);
    }
    encode_section(fields, out);
}

/// Takes a request, up to and with its header section, off the front of `input`.
///
/// # Errors
/// If the bytes are no such message, or its section exceeds `limit`.
pub fn decode_request(input: &mut &[u8], limit: SectionLimit) -> Result<(RequestControl, Fields), BhttpError> {
    framing(input, REQUEST)?;
    let mut text = || {
        let bytes = take(input)?;
        let text = std::str::from_utf8(bytes).ok().filter(|t| t.is_ascii());
        text.map(str::to_owned).ok_or(BhttpError::Control)
    };
    let control = RequestControl { method: text()?, scheme: text()?, authority: text()?, path: text()? };
    Ok((control, decode_section(input, limit)?))
}

/// Appends one response, informational or final, up to and with its header section.
pub fn encode_response(status: u16, fields: &Fields, out: &mut Vec<u8>) {
    varint::encode(RESPONSE, out);
    varint::encode(u64::from(status), out);
    encode_section(fields, out);
}

/// Takes the framing indicator and one response, informational or final, off the front of `input`.
///
/// # Errors
/// If the bytes are no such message, or its section exceeds `limit`.
pub fn decode_response(input: &mut &[u8], limit: SectionLimit) -> Result<(u16, Fields), BhttpError> {
    framing(input, RESPONSE)?;
    decode_status(input, limit)
}

/// Takes status and header section off the front of `input`: what may follow an informational response.
fn decode_status(input: &mut &[u8], limit: SectionLimit) -> Result<(u16, Fields), BhttpError> {
    let status = varint::decode(input)?;
    let code = u16::try_from(status).ok().filter(|s| (100..=599).contains(s));
    let code = code.ok_or(BhttpError::Status { status })?;
    Ok((code, decode_section(input, limit)?))
}

/// Appends a field section with its terminator: the payload of TRAILERS.
pub fn encode_section(fields: &Fields, out: &mut Vec<u8>) {
    for (name, value) in fields.iter() {
        put(name.as_bytes(), out);
        put(value, out);
    }
    varint::encode(0, out);
}

/// Takes a field section with its terminator off the front of `input`.
///
/// # Errors
/// If a line is malformed, or the section exceeds `limit`.
pub fn decode_section(input: &mut &[u8], limit: SectionLimit) -> Result<Fields, BhttpError> {
    // Reading only as far as the limit makes a section that is too large look cut; the length of the rest tells the two apart.
    let (mut within, too_large) = match input.split_at_checked(limit.bytes()) {
        Some((within, rest)) if !rest.is_empty() => (within, true),
        Some(_) | None => (*input, false),
    };
    let start = within.len();
    let fields = section_within(&mut within).map_err(|error| match error {
        BhttpError::Cut if too_large => BhttpError::TooLarge { limit: limit.bytes() },
        other => other,
    })?;
    *input = &input[start - within.len()..];
    Ok(fields)
}

fn section_within(input: &mut &[u8]) -> Result<Fields, BhttpError> {
    let mut fields = Fields::new();
    loop {
        let name = take(input)?;
        if name.is_empty() {
            return Ok(fields);
        }
        let value = take(input)?;
        fields.push(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value))?;
    }
}

/// The TRAILERS payload of `fields`.
#[must_use]
pub fn encode_trailers(fields: &Fields) -> Bytes {
    let mut out = Vec::with_capacity(fields.size_bytes());
    encode_section(fields, &mut out);
    out.into()
}

/// Reads a whole TRAILERS payload.
///
/// # Errors
/// If it is no field section, exceeds `limit`, or bytes follow.
pub fn decode_trailers(mut payload: &[u8], limit: SectionLimit) -> Result<Fields, BhttpError> {
    let fields = decode_section(&mut payload, limit)?;
    no_rest(payload)?;
    Ok(fields)
}

/// Refuses bytes after a message.
pub(crate) const fn no_rest(input: &[u8]) -> Result<(), BhttpError> {
    if input.is_empty() { Ok(()) } else { Err(BhttpError::Rest { len: input.len() }) }
}

fn framing(input: &mut &[u8], expected: u64) -> Result<(), BhttpError> {
    let found = varint::decode(input)?;
    if found == expected { Ok(()) } else { Err(BhttpError::Framing { found, expected }) }
}

fn put(bytes: &[u8], out: &mut Vec<u8>) {
    varint::encode(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn take<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], BhttpError> {
    let len = varint::decode(input)?;
    let len = usize::try_from(len).map_err(|_| BhttpError::Cut)?;
    let (bytes, rest) = input.split_at_checked(len).ok_or(BhttpError::Cut)?;
    *input = rest;
    Ok(bytes)
}

/// Control data for a message about what was refused.
pub(crate) fn shown_text(text: &str) -> String {
    shown(text.as_bytes())
}

#[cfg(test)]
mod tests;
