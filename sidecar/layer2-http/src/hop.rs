//! What must not travel from one hop to the next, and what a hop adds (RFC 9110 §7.6, RFC 9112 §6).
//!
//! Invariants: framing is checked before anything is dropped, so that two readers of one request cannot see two
//! requests; a client cannot make this hop drop what protects the next one by naming it in Connection; `hoft-` fields
//! never cross. The bytes of a message (obs-fold, bare CR) are the HTTP parser's to refuse. Test to read first:
//! `hop_by_hop_fields_are_dropped_and_the_rest_kept`.

use crate::fields::{FieldError, Fields, is_token_byte, shown};
use crate::operation::Executed;
use crate::problem::{Problem, ProblemKind};
use crate::target::{Target, TargetError, parse_authority};
use bytes::Bytes;

/// Why a message is refused before it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// Content-Length twice, or no number.
    #[error("Content-Length must be one number, given once")]
    ContentLength,
    /// Content-Length and Transfer-Encoding together.
    #[error("Content-Length and Transfer-Encoding must not stand together")]
    BothFramings,
    /// A Transfer-Encoding other than `chunked`, once.
    #[error("Transfer-Encoding must be chunked, given once")]
    TransferEncoding,
    /// More than one Host.
    #[error("Host must be given once")]
    HostRepeated,
    /// A Host that is none.
    #[error("Host: {0}")]
    Host(#[source] TargetError),
    /// Host and absolute target name different places.
    #[error("Host {host:?} is not the host of the target, {target:?}")]
    HostMismatch {
        /// Host field.
        host: String,
        /// Authority of the target.
        target: String,
    },
    /// A Max-Forwards that is no number.
    #[error("Max-Forwards must be one number")]
    MaxForwards,
    /// The message was here before.
    #[error("the call passed {name:?} before: it goes in a loop")]
    Loop {
        /// Pseudonym of this hop.
        name: String,
    },
    /// A field cannot be added.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl HopError {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        let kind = if matches!(self, Self::Loop { .. }) { ProblemKind::LoopDetected } else { ProblemKind::BadRequest };
        Problem::new(kind, self.to_string()).executed(Executed::No)
    }
}

/// Fields that only concern one connection (RFC 9110 §7.6.1 and their unregistered relatives).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields that Connection cannot make this hop drop: they frame, route or protect.
const NOT_NAMEABLE: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "authorization",
    "cookie",
    "via",
    "cdn-loop",
    "forwarded",
];

/// Fields that mean nothing, or harm, after the content (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [&str; 17] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "trailer",
    "te",
    "cache-control",
    "expect",
    "max-forwards",
    "range",
    "authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "location",
    "date",
];

/// Checks how the content is framed; gives its declared length in bytes.
///
/// # Errors
/// If two readers could disagree where the content ends.
pub fn check_framing(fields: &Fields) -> Result<Option<u64>, HopError> {
    let mut lengths = fields.get_all("content-length");
    let length = lengths.next().map(content_length).transpose()?;
    if lengths.next().is_some() {
        return Err(HopError::ContentLength);
    }
    if fields.contains("transfer-encoding") {
        if length.is_some() {
            return Err(HopError::BothFramings);
        }
        let mut codings = fields.get_all("transfer-encoding");
        let chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err(HopError::TransferEncoding);
        }
    }
    Ok(length)
}

/// Digits only: a sign, a space or a list would be read differently elsewhere.
fn content_length(value: &[u8]) -> Result<u64, HopError> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(HopError::ContentLength)
}

/// Checks that Host is given at most once, is a host, and (if given) is the one of an absolute target.
///
/// # Errors
/// If it is not.
pub fn check_host(fields: &Fields, target: Option<&Target>) -> Result<(), HopError> {
    let mut hosts = fields.get_all("host");
    let Some(value) = hosts.next() else { return Ok(()) };
    if hosts.next().is_some() {
        return Err(HopError::HostRepeated);
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    let authority = parse_authority(text).map_err(HopError::Host)?;
    let Some(target) = target else { return Ok(()) };
    let default = if target.scheme == "https" { 443 } else { 80 };
    if authority.host == target.host && authority.port.unwrap_or(default) == target.port {
        return Ok(());
    }
    Err(HopError::HostMismatch { host: shown(value), target: target.authority() })
}

/// Drops from a request what concerns only this hop. Check its framing first.
pub fn strip_request(fields: &mut Fields) {
    strip(fields);
    fields.remove("expect");
}

/// Drops from a response what concerns only this hop. Check its framing first.
pub fn strip_response(fields: &mut Fields) {
    strip(fields);
    fields.remove("te");
}

/// Drops from a trailer section what is not allowed there.
pub fn strip_trailers(fields: &mut Fields) {
    strip(fields);
    fields.retain(|name, _| !NOT_IN_TRAILERS.contains(&name));
}

fn strip(fields: &mut Fields) {
    let named: Vec<String> =
        fields.members("connection").map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let trailers = fields.members("te").any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    fields.retain(|name, _| {
        let dropped = HOP_BY_HOP.contains(&name)
            || name == "te"
            || name.starts_with("hoft-")
            || (named.iter().any(|n| n == name) && !NOT_NAMEABLE.contains(&name));
        !dropped
    });
    if trailers {
        // Removed above, so there is room for it and it is valid.
        let _ = fields.set("te", &b"trailers"[..]);
    }
}

/// Counts the Max-Forwards of a TRACE or OPTIONS down (RFC 9110 §7.6.2). False: the message goes no further than this hop.
///
/// # Errors
/// If it is no number.
pub fn count_down(method: &str, fields: &mut Fields) -> Result<bool, HopError> {
    if !matches!(method, "TRACE" | "OPTIONS") {
        return Ok(true);
    }
    let mut lines = fields.get_all("max-forwards");
    let Some(value) = lines.next() else { return Ok(true) };
    let left = content_length(value).map_err(|_| HopError::MaxForwards)?;
    if lines.next().is_some() {
        return Err(HopError::MaxForwards);
    }
    drop(lines);
    let Some(left) = left.checked_sub(1) else { return Ok(false) };
    fields.set("max-forwards", left.to_string())?;
    Ok(true)
}

/// Has this message passed the hop `pseudonym` before (CDN-Loop, RFC 8586, or Via)?
///
/// # Errors
/// If so.
pub fn check_loop(fields: &Fields, pseudonym: &str) -> Result<(), HopError> {
    let is_me = |name: &[u8]| name.eq_ignore_ascii_case(pseudonym.as_bytes());
    let looped = fields.members("cdn-loop").any(|member| {
        let id = member.split(|b| *b == b';').next().unwrap_or_default();
        is_me(id.trim_ascii())
    });
    let via = fields.members("via").any(|member| {
        let mut words = member.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(is_me)
    });
    if looped || via { Err(HopError::Loop { name: pseudonym.to_owned() }) } else { Ok(()) }
}

/// Adds this hop to CDN-Loop.
///
/// # Errors
/// If `pseudonym` is not fit for a field value, or there are too many lines.
pub fn add_cdn_loop(fields: &mut Fields, pseudonym: &str) -> Result<(), HopError> {
    Ok(fields.push("cdn-loop", Bytes::copy_from_slice(pseudonym.as_bytes()))?)
}

/// Adds this hop to Via; `version` is that of the message received, such as `1.1` (RFC 9110 §7.6.3).
///
/// # Errors
/// If `pseudonym` is not fit for a field value, or there are too many lines.
pub fn add_via(fields: &mut Fields, version: &str, pseudonym: &str) -> Result<(), HopError> {
    Ok(fields.push("via", format!("{version} {pseudonym}"))?)
}

/// What this hop itself knows of a request, for Forwarded (RFC 7239).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Who sent it: an address (IPv6 in brackets) with an optional port, or an obfuscated `_name`.
    pub client: Option<String>,
    /// This hop.
    pub by: Option<String>,
    /// Host as received.
    pub host: Option<String>,
    /// `http` or `https`.
    pub proto: Option<String>,
}

impl Forwarded {
    /// The element, such as `for=127.0.0.1;proto=http`.
    #[must_use]
    pub fn element(&self) -> String {
        let pairs = [("for", &self.client), ("by", &self.by), ("host", &self.host), ("proto", &self.proto)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(value.as_ref()?))));
        pairs.collect::<Vec<_>>().join(";")
    }
}

fn quoted(value: &str) -> String {
    if !value.is_empty() && value.bytes().all(is_token_byte) {
        return value.to_owned();
    }
    let printable = value.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'));
    format!("\"{}\"", printable.collect::<String>())
}

/// Sets Forwarded to the measurement `own` of this hop. What a client sent is kept in front of it only if it is `trusted`,
/// else it and its unregistered relatives (X-Forwarded-*, X-Real-IP) are dropped.
///
/// # Errors
/// If there are too many lines.
pub fn set_forwarded(fields: &mut Fields, own: &Forwarded, trusted: bool) -> Result<(), HopError> {
    if !trusted {
        fields.retain(|name, _| !(name == "forwarded" || name.starts_with("x-forwarded-") || name == "x-real-ip"));
    }
    let element = own.element();
    if element.is_empty() { Ok(()) } else { Ok(fields.push("forwarded", element)?) }
}

#[cfg(test)]
mod tests;
