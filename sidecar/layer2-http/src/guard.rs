//! May this request use the local port? Host and Origin must be ours (DNS rebinding, cross-site requests).
//!
//! Invariants: a page on a foreign site reaches neither a route nor the operations, whatever its name resolves to; a
//! proxied call may carry the Host and Origin of its own target. It resolves nothing: a name counts by its letters.
//! Test to read first: `a_rebound_name_is_refused`.

use crate::fields::shown;
use crate::problem::{Problem, ProblemKind};
use crate::target::parse_authority;
use std::net::IpAddr;

/// How the request names what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestForm<'a> {
    /// By an absolute URI, or CONNECT: to be proxied to this host (canonical form).
    Absolute {
        /// Host of the target.
        host: &'a str,
    },
    /// By a path: for the local API.
    Origin,
}

/// Why a request may not use the local port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// No Host where one is needed.
    #[error("the request has no Host")]
    MissingHost,
    /// A Host that is none.
    #[error("Host {shown:?} is no host with an optional port")]
    MalformedHost {
        /// The value, escaped.
        shown: String,
    },
    /// The name of another site.
    #[error(
        "Host {host} is not this port's: use localhost, or add the name to listen.names (a foreign name here may be DNS rebinding)"
    )]
    ForeignHost {
        /// The host.
        host: String,
    },
    /// A page of another site.
    #[error("a page of {shown:?} may not use this port; add its host to listen.names if it should")]
    ForeignOrigin {
        /// The value, escaped.
        shown: String,
    },
}

impl GuardError {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        let kind = match self {
            Self::MissingHost | Self::MalformedHost { .. } => ProblemKind::BadRequest,
            Self::ForeignHost { .. } => ProblemKind::ForeignHost,
            Self::ForeignOrigin { .. } => ProblemKind::ForeignOrigin,
        };
        Problem::new(kind, self.to_string())
    }
}

/// Checks the Host and Origin fields of a request; `names` are the configured host names of the port.
///
/// # Errors
/// If Host or Origin is malformed or names another site.
pub fn check(
    host: Option<&[u8]>,
    origin: Option<&[u8]>,
    form: RequestForm<'_>,
    names: &[String],
) -> Result<(), GuardError> {
    match (host, form) {
        (Some(host), _) => check_host(host, form, names)?,
        (None, RequestForm::Origin) => return Err(GuardError::MissingHost),
        // An absolute target names its host itself (HTTP/1.0 clients send no Host).
        (None, RequestForm::Absolute { .. }) => {}
    }
    origin.map_or(Ok(()), |origin| check_origin(origin, form, names))
}

fn check_host(value: &[u8], form: RequestForm<'_>, names: &[String]) -> Result<(), GuardError> {
    let malformed = || GuardError::MalformedHost { shown: shown(value) };
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    let host = parse_authority(text).map_err(|_| malformed())?.host;
    // 127.1 and 0x7f000001 count as the address they mean: a browser would have written it out, so no page hides behind them.
    if ours(&host, form, names) { Ok(()) } else { Err(GuardError::ForeignHost { host }) }
}

fn check_origin(value: &[u8], form: RequestForm<'_>, names: &[String]) -> Result<(), GuardError> {
    let foreign = || GuardError::ForeignOrigin { shown: shown(value) };
    // "null" is what sandboxed and file pages send: nobody knows whose they are.
    let text = std::str::from_utf8(value).map_err(|_| foreign())?;
    let (scheme, authority) = text.split_once("://").ok_or_else(foreign)?;
    let web = matches!(scheme, "http" | "https");
    let host = parse_authority(authority).map_err(|_| foreign())?.host;
    if web && ours(&host, form, names) { Ok(()) } else { Err(foreign()) }
}

fn ours(host: &str, form: RequestForm<'_>, names: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let same = |name: &str| name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(host);
    let target = matches!(form, RequestForm::Absolute { host: target } if same(target));
    target || is_local(host) || names.iter().any(|name| same(name))
}

/// Is this the request of a page on another site, by the Sec-Fetch-Site field that browsers set and pages cannot? Images and
/// links carry no Origin, so a route that changes something by GET needs this check too.
#[must_use]
pub fn is_cross_site(sec_fetch_site: Option<&[u8]>) -> bool {
    matches!(sec_fetch_site, Some(b"cross-site" | b"same-site"))
}

/// Is this host (canonical form) the machine itself: `localhost`, 127.0.0.0/8 or `[::1]`?
#[must_use]
pub fn is_local(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
