//! Which requests ask for a byte stream, and what of them is malformed: CONNECT (RFC 9110 §9.3.6) and the upgrade to
//! WebSocket (RFC 9110 §7.8, RFC 6455 §4).
//!
//! Invariants: an upgrade to anything else is not one: RFC 9110 lets a server ignore it, and `Upgrade: h2c` through a proxy is an
//! attack; a request for a byte stream has no content, whose end two readers could see in two places. Whether it is
//! *allowed* is for `policy`. Test to read first: `only_a_whole_websocket_handshake_is_an_upgrade`.

use crate::fields::Fields;
use crate::hop;
use crate::operation::Executed;
use crate::problem::{Problem, ProblemKind};
use crate::target::{Authority, Target, TargetError, parse_authority, parse_connect};

/// The one protocol that a call can switch to, as envelope key 13 names it.
pub const WEBSOCKET: &str = "websocket";

/// Why a request for a byte stream is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// Content-Length or Transfer-Encoding.
    #[error("a request for a byte stream has no content, so neither Content-Length nor Transfer-Encoding")]
    Content,
    /// The target of a CONNECT is no `host:port`.
    #[error("CONNECT: {0}")]
    Target(#[from] TargetError),
    /// Host names another place than the target.
    #[error("Host is not the host of the target, {target}")]
    Host {
        /// The target.
        target: String,
    },
    /// Not GET.
    #[error("an upgrade to websocket is asked for by GET")]
    Method,
    /// Sec-WebSocket-Key is missing, repeated, or not 16 octets in base64.
    #[error("Sec-WebSocket-Key must be given once: 16 octets in base64")]
    Key,
}

impl TunnelError {
    /// What the caller is told.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        Problem::new(ProblemKind::BadRequest, self.to_string()).executed(Executed::No)
    }
}

/// Does this HTTP/1.1 request ask for the upgrade that can be carried?
///
/// # Errors
/// If it does, and its handshake is malformed.
pub fn upgrade(method: &str, fields: &Fields) -> Result<bool, TunnelError> {
    let lists = |name, word: &str| fields.members(name).any(|member| member.eq_ignore_ascii_case(word.as_bytes()));
    if !lists("upgrade", WEBSOCKET) || !lists("connection", "upgrade") {
        return Ok(false);
    }
    if method != "GET" {
        return Err(TunnelError::Method);
    }
    let mut keys = fields.get_all("sec-websocket-key");
    let fits = keys.next().is_some_and(is_key) && keys.next().is_none();
    if fits { without_content(fields).map(|()| true) } else { Err(TunnelError::Key) }
}

/// 16 octets in base64: 22 characters and two signs of padding.
fn is_key(value: &[u8]) -> bool {
    let Some((characters, b"==")) = value.split_last_chunk::<2>() else { return false };
    characters.len() == 22 && characters.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// The target of a CONNECT whose request target is `authority`.
///
/// # Errors
/// If it is no `host:port`, Host names another place, or there is content.
pub fn connect(authority: &str, fields: &Fields) -> Result<Target, TunnelError> {
    let target = parse_connect(authority)?;
    without_content(fields)?;
    let mut hosts = fields.get_all("host");
    let same = hosts.next().is_none_or(|value| {
        let named = std::str::from_utf8(value).ok().and_then(|text| parse_authority(text).ok());
        // Some clients leave the port out, whatever it is.
        named.is_some_and(|Authority { host, port }| host == target.host && port.is_none_or(|port| port == target.port))
    });
    if same && hosts.next().is_none() { Ok(target) } else { Err(TunnelError::Host { target: target.authority() }) }
}

fn without_content(fields: &Fields) -> Result<(), TunnelError> {
    let length = hop::check_framing(fields).map_err(|_| TunnelError::Content)?;
    let none = length.is_none_or(|length| length == 0) && !fields.contains("transfer-encoding");
    if none { Ok(()) } else { Err(TunnelError::Content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(*name, *value).unwrap();
        }
        fields
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

    #[test]
    fn only_a_whole_websocket_handshake_is_an_upgrade() {
        let asked = |lines: &[(&'static str, &'static str)]| upgrade("GET", &fields(lines));
        let (connection, websocket) = (("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"));
        assert_eq!(asked(&[connection, websocket, KEY]), Ok(true));
        assert_eq!(asked(&[connection, KEY]), Ok(false));
        assert_eq!(asked(&[websocket, KEY]), Ok(false));
        assert_eq!(asked(&[connection, ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")]), Ok(false));
        assert_eq!(asked(&[connection, websocket]), Err(TunnelError::Key));
        assert_eq!(asked(&[connection, websocket, KEY, KEY]), Err(TunnelError::Key));
        for key in ["", "==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==\u{ff}", "dGhl IHNhbXBsZSBub25jZ=="] {
            assert_eq!(asked(&[connection, websocket, (KEY.0, key)]), Err(TunnelError::Key), "{key}");
        }
        for (name, value) in [("content-length", "1"), ("transfer-encoding", "chunked"), ("content-length", "+0")] {
            assert_eq!(asked(&[connection, websocket, KEY, (name, value)]), Err(TunnelError::Content));
        }
        assert_eq!(upgrade("POST", &fields(&[connection, websocket, KEY])), Err(TunnelError::Method));
    }

    #[test]
    fn a_connect_names_one_place_and_has_no_content() {
        let asked = |authority, lines: &[(&'static str, &'static str)]| connect(authority, &fields(lines));
        let target = asked("ERP.test:443", &[("host", "erp.test:443")]).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.to_string().as_str()), ("erp.test", 443, "erp.test:443"));
        assert!(asked("erp.test:443", &[]).is_ok() && asked("erp.test:443", &[("host", "erp.test")]).is_ok());
        for authority in
            ["erp.test", "erp.test:0", "erp.test:443/x", "user@erp.test:443", "http://erp.test:443", "/x", ""]
        {
            assert!(matches!(asked(authority, &[]), Err(TunnelError::Target(_))), "{authority}");
        }
        for host in ["other.test:443", "erp.test:80", "a b", "erp.test:443, other.test"] {
            assert!(matches!(asked("erp.test:443", &[("host", host)]), Err(TunnelError::Host { .. })), "{host}");
        }
        assert!(asked("erp.test:443", &[("host", "erp.test"), ("host", "erp.test")]).is_err());
        assert_eq!(asked("erp.test:443", &[("content-length", "3")]), Err(TunnelError::Content));
        assert!(asked("erp.test:443", &[("content-length", "0")]).is_ok());
    }
}
