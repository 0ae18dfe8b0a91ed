//! Where a call goes: an absolute URI, an authority, or a path under a route, parsed once (WHATWG URL, RFC 3986).
//!
//! Invariants: scheme is http or https; the host is lower-case (IDNA, IPv4 in dotted form, IPv6 in brackets); no user
//! information, fragment or port 0; what is matched against rules and what is forwarded mean the same path: dot
//! segments are resolved in both, and encoded or doubly encoded separators, which servers read differently, are
//! refused. A path without dot segments is forwarded byte for byte. It resolves no name: that is egress. Test to read
//! first: `a_path_is_forwarded_byte_for_byte_and_matched_in_normal_form`.

mod path;

pub use path::{normal_path, within_prefix};

use crate::fields::shown;
use crate::head::valid_authority;
use crate::limits::MAX_TARGET;
use crate::operation::Executed;
use crate::policy::CallTarget;
use crate::problem::{Problem, ProblemKind};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use url::{Host, Url};

/// Why a target is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than 32 KiB.
    #[error("the target is longer than {MAX_TARGET} bytes")]
    TooLong,
    /// White space, a control character or a backslash.
    #[error("the target has white space, a control character or a backslash")]
    Character,
    /// Neither `http://` nor `https://`.
    #[error("the target is no absolute http:// or https:// URI")]
    Scheme,
    /// A user name or password.
    #[error("the target has user information; credentials belong to the far side's route")]
    UserInfo,
    /// A fragment.
    #[error("the target has a fragment")]
    Fragment,
    /// A host that is none.
    #[error("{shown:?} is no host")]
    Host {
        /// The host, escaped.
        shown: String,
    },
    /// Port 0, above 65535, or missing where it is required.
    #[error("the target has no port from 1 to 65535")]
    Port,
    /// A percent sign without two hex digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    Percent,
    /// A path that servers read differently.
    #[error(
        "the path has a percent-encoded slash, backslash or NUL, or a hidden dot segment, which servers read differently"
    )]
    Ambiguous,
    /// A path that leaves its route.
    #[error("the path leads out of {base}")]
    Escapes {
        /// Path of the route's target.
        base: String,
    },
}

impl TargetError {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        Problem::new(ProblemKind::BadRequest, self.to_string()).executed(Executed::No)
    }
}

/// A parsed target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http` or `https`; empty for CONNECT.
    pub scheme: String,
    /// Host in canonical form; IPv6 in brackets.
    pub host: String,
    /// Port, the scheme's default if none was given.
    pub port: u16,
    /// Path and query to forward; begins with '/'. Empty for CONNECT.
    pub path_and_query: String,
    /// Path in normal form, for rules only.
    pub path: String,
}

/// Host and port, as of CONNECT or Host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Host in canonical form; IPv6 in brackets.
    pub host: String,
    /// Port, if given.
    pub port: Option<u16>,
}

/// A request path of the routes door, `/to/{route}/{path…}?query`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutePath<'a> {
    /// Name of the route.
    pub route: &'a str,
    /// What follows it: empty, or begins with '/' or '?'.
    pub rest: &'a str,
}

/// Parses an absolute http or https URI.
///
/// # Errors
/// If it is none, or breaks a rule of this module.
pub fn parse_absolute(text: &str) -> Result<Target, TargetError> {
    if text.len() > MAX_TARGET {
        return Err(TargetError::TooLong);
    }
    if text.contains('#') {
        return Err(TargetError::Fragment);
    }
    let (before_query, _) = split_query(text);
    // The WHATWG parser drops tabs and line ends, trims spaces and turns backslashes into slashes: what it would
    // repair is refused.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) || before_query.contains('\\') {
        return Err(TargetError::Character);
    }
    let (scheme, rest) = before_query.split_once("://").ok_or(TargetError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(TargetError::Scheme);
    }
    let (authority, raw_path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(TargetError::UserInfo);
    }
    let bad_host = || TargetError::Host { shown: shown(authority.as_bytes()) };
    if authority.is_empty() || authority.contains('%') {
        return Err(bad_host());
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => TargetError::Port,
        _ => bad_host(),
    })?;
    let host = url.host_str().filter(|host| real_host(host)).ok_or_else(bad_host)?;
    let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(TargetError::Port)?;
    let path = if forwardable(raw_path) && !has_dot_segment(raw_path) { or_slash(raw_path) } else { url.path() };
    let query = split_query(text).1.map(|raw| if forwardable(raw) { raw } else { url.query().unwrap_or_default() });
    Ok(Target {
        scheme: url.scheme().to_owned(),
        host: host.to_owned(),
        port,
        path_and_query: query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
        path: normal_path(path)?,
    })
}

/// Parses `host` or `host:port`, as of CONNECT or the Host field.
///
/// # Errors
/// If it is none.
pub fn parse_authority(text: &str) -> Result<Authority, TargetError> {
    let bad_host = || TargetError::Host { shown: shown(text.as_bytes()) };
    if !valid_authority(text) {
        return Err(bad_host());
    }
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[after_brackets..].find(':') {
        Some(at) => text.split_at(after_brackets + at),
        None => (text, ""),
    };
    let port = match port.strip_prefix(':') {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse::<u16>().ok().filter(|port| *port != 0).ok_or(TargetError::Port)?)
        }
        Some(_) => return Err(bad_host()),
    };
    let host = canonical_host(host).ok_or_else(bad_host)?;
    Ok(Authority { host, port })
}

/// Parses the `host:port` of a CONNECT: a target with neither scheme nor path.
///
/// # Errors
/// If it is no host with a port.
pub fn parse_connect(text: &str) -> Result<Target, TargetError> {
    let Authority { host, port } = parse_authority(text)?;
    let port = port.ok_or(TargetError::Port)?;
    Ok(Target { scheme: String::new(), host, port, path_and_query: String::new(), path: String::new() })
}

/// A host in canonical form: lower-case, IPv4 in dotted form, IPv6 in brackets. `None` if it is none.
#[must_use]
pub fn canonical_host(host: &str) -> Option<String> {
    if let Ok(ip) = host.parse::<Ipv6Addr>() {
        return Some(Host::<String>::Ipv6(ip).to_string());
    }
    let plain = !host.is_empty() && !host.contains('%');
    let host = plain.then(|| Host::parse(host).ok()).flatten()?.to_string();
    real_host(&host).then_some(host)
}

/// Splits `/to/{route}/{path…}?query`; `None` for any other path.
#[must_use]
pub fn route_path(path_and_query: &str) -> Option<RoutePath<'_>> {
    let named = path_and_query.strip_prefix("/to/")?;
    let (route, rest) = named.split_at(named.find(['/', '?']).unwrap_or(named.len()));
    wire::valid_name(route).then_some(RoutePath { route, rest })
}

impl Target {
    /// `host`, or `host:port` if the port is not the scheme's default.
    #[must_use]
    pub fn authority(&self) -> String {
        let default = matches!((self.scheme.as_str(), self.port), ("http", 80) | ("https", 443));
        if default { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// What rules are asked about; the caller is not known here.
    #[must_use]
    pub fn call<'a>(&'a self, method: &'a str) -> CallTarget<'a> {
        let (scheme, host, path) = (self.scheme.as_str(), self.host.as_str(), self.path.as_str());
        CallTarget { scheme, host, port: self.port, path, method, caller: None }
    }

    /// The target of a call through a route whose target is this one; `rest` is what follows the route's name.
    ///
    /// # Errors
    /// If the result is no target, or its path leads out of this one's.
    pub fn beneath(&self, rest: &str) -> Result<Self, TargetError> {
        let (base, _) = split_query(&self.path_and_query);
        let base = if rest.starts_with('/') { base.trim_end_matches('/') } else { base };
        if !(rest.is_empty() || rest.starts_with(['/', '?'])) {
            return Err(TargetError::Escapes { base: self.path.clone() });
        }
        let target = parse_absolute(&format!("{}://{}{base}{rest}", self.scheme, self.authority()))?;
        if within_prefix(&target.path, &self.path) {
            Ok(target)
        } else {
            Err(TargetError::Escapes { base: self.path.clone() })
        }
    }
}

impl fmt::Display for Target {
    /// The absolute URI; `host:port` for CONNECT.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme.is_empty() {
            return f.write_str(&self.authority());
        }
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.path_and_query)
    }
}

/// Does the WHATWG parser see a dot segment in this path?
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

/// May these bytes of a path or query stand on a request line as they are?
fn forwardable(raw: &str) -> bool {
    raw.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'`' | b'\\' | b'#'))
}

fn or_slash(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(before, query)| (before, Some(query)))
}

/// Refuses hosts that are all dots, which some resolvers take for the local machine, and the signs that WHATWG allows in a
/// host but DNS and the request line do not.
fn real_host(host: &str) -> bool {
    valid_authority(host) && host.bytes().any(|b| b != b'.')
}

#[cfg(test)]
mod tests;
