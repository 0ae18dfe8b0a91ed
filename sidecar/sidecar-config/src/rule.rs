//! Checked allow rules: who may be called, and how.
//!
//! Invariants: a [`Destination`] names one host pattern, one port, at least one scheme, method and path; hosts are in
//! the form the WHATWG URL parser gives them, so comparing with a parsed URL is comparing text.
//! It does not decide calls: layer 2 does, on both sides. Test to read first: `a_pattern_matches_exactly_what_it_says`.

use std::{fmt, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{cache::Cache, far_side::FarSide, name::Name, problem::Refusal, quota::Quota, tunnels::Tunnels};

/// A rule for calls to the far side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRule {
    /// Name of the rule, and of its route.
    pub name: Name,
    /// What may be called; at least one.
    pub destinations: Vec<Destination>,
    /// Service accounts of the local callers that have the rule; every caller when empty.
    pub callers: Vec<String>,
    /// Where the route `/to/NAME/` leads: http or https, without user, query or fragment; its path ends in `/`.
    pub target: Option<Url>,
    /// How long a caller is held before it is told to come back for the answer.
    pub timeout: Duration,
    /// How much all calls of the rule together may use.
    pub quota: Quota,
    /// How much the calls from one client address may use.
    pub caller_quota: Quota,
    /// Whether responses are kept to be used again.
    pub cache: Cache,
    /// Byte streams.
    pub tunnels: Tunnels,
}

/// A rule for calls from the far side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundRule {
    /// Name of the rule.
    pub name: Name,
    /// What may be called; at least one.
    pub destinations: Vec<Destination>,
    /// Service accounts that the far side must state; any caller, and none, when empty.
    pub callers: Vec<String>,
    /// The server that calls are made to whatever host they name: http or https, with host and port and nothing else.
    pub target: Option<Url>,
    /// Networks that may be connected to although they are loopback, private or otherwise special.
    pub addresses: Vec<IpNet>,
    /// How long the called server may take to begin its response.
    pub timeout: Duration,
    /// Which calls are made again when it is unknown whether they were made.
    pub retry: Retry,
    /// Largest body of a request or response; at most `limits.bodyMax`.
    pub max_body: ByteSize,
    /// PEM file of the only authorities to trust; those of the system when absent.
    pub ca_file: Option<PathBuf>,
    /// Byte streams.
    pub tunnels: Tunnels,
    /// What else is done to its calls.
    pub far: FarSide,
}

/// Which calls are made again when it is unknown whether they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Those with an idempotent method (RFC 9110 §9.2.2) or an Idempotency-Key.
    #[default]
    Idempotent,
    /// Every call: the rule's owner promises that repeating one is safe.
    Safe,
    /// None.
    Never,
}

/// Something that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// At least one, each once.
    pub schemes: Vec<Scheme>,
    /// Which hosts.
    pub host: HostPattern,
    /// Port; not 0.
    pub port: u16,
    /// Methods of the IANA registry, each once; or only `*` for any.
    pub methods: Vec<String>,
    /// Beginnings of normalised paths; each begins with `/`.
    pub paths: Vec<String>,
}

/// A scheme that can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as a URL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme means when it names none.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which hosts a rule means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host only: a lower-case name, an IPv4 address, or an IPv6 address in brackets.
    Exact(String),
    /// Every host that ends in this text, which begins with a dot: `*.south.svc` is `.south.svc`.
    Suffix(String),
}

impl HostPattern {
    /// Reads `erp.south.svc`, `10.1.2.3`, `[fd00::1]` or `*.south.svc`.
    ///
    /// # Errors
    /// What is wrong with the text and what to write instead.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new("is empty", "name the host"));
        }
        if text == "*" || text == "*." {
            return Err(Refusal::new(
                format!("`{text}` would allow every host"),
                "name the hosts, or write `*.` and a suffix such as `*.south.svc`",
            ));
        }
        match text.strip_prefix("*.") {
            Some(suffix) => match host_text(suffix)? {
                url::Host::Domain(domain) => Ok(Self::Suffix(format!(".{domain}"))),
                url::Host::Ipv4(_) | url::Host::Ipv6(_) => {
                    Err(Refusal::new(format!("`{text}` is a pattern of an address"), "name the address itself"))
                }
            },
            None => Ok(Self::Exact(host_text(text)?.to_string())),
        }
    }

    /// Whether the pattern means this host, given in the form that the URL parser gives.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => host == exact,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// Reads a host the way a URL's host is read.
pub(crate) fn host_text(text: &str) -> Result<url::Host, Refusal> {
    let refuse = |why: &str, remedy: &str| Err(Refusal::new(format!("`{text}` {why}"), remedy));
    if text.contains("://") || text.contains('/') {
        return refuse("is a URL, not a host", "write the host alone; scheme, port and path have fields of their own");
    }
    if text.contains(['%', '@']) {
        return refuse("has a character that no host name has", "write the name in plain letters, without a user");
    }
    if text.contains('*') {
        return refuse("has a `*` in a place where it means nothing", "`*.` may stand only at the beginning");
    }
    if let Ok(address) = text.parse() {
        return Ok(url::Host::Ipv6(address));
    }
    if text.contains(':') && !text.starts_with('[') {
        return refuse("names a port", "write the host alone; the port has a field of its own");
    }
    let host = url::Host::parse(text)
        .or_else(|_| refuse("is not a host name", "write a name such as erp.south.svc, or an IP address"))?;
    if let url::Host::Domain(domain) = &host
        && !is_domain(domain)
    {
        return refuse(
            "is not a host name",
            "write labels of 1 to 63 letters, digits, `-` and `_`, joined by single dots",
        );
    }
    Ok(host)
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= 253
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_exactly_what_it_says() {
        let exact = HostPattern::parse("ERP.South.svc").unwrap();
        assert_eq!(exact, HostPattern::Exact("erp.south.svc".to_owned()));
        assert!(exact.matches("erp.south.svc"));
        assert!(!exact.matches("x.erp.south.svc"));

        let suffix = HostPattern::parse("*.south.svc").unwrap();
        assert_eq!(suffix, HostPattern::Suffix(".south.svc".to_owned()));
        assert!(suffix.matches("erp.south.svc"));
        assert!(suffix.matches("a.b.south.svc"));
        assert!(!suffix.matches("south.svc"));
        assert!(!suffix.matches(".south.svc"));
        assert!(!suffix.matches("evilsouth.svc"));
        assert_eq!(suffix.to_string(), "*.south.svc");
    }

    #[test]
    fn addresses_are_written_as_the_url_parser_writes_them() {
        for (text, host) in [
            ("10.1.2.3", "10.1.2.3"),
            ("[fd00::0:1]", "[fd00::1]"),
            ("fd00::1", "[fd00::1]"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(HostPattern::parse(text).unwrap(), HostPattern::Exact(host.to_owned()));
        }
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "**.a",
            "a.*",
            "*.*.a",
            "*a.example",
            "https://a",
            "a/b",
            "a:443",
            "a b",
            "a..b",
            ".a",
            "a.",
            "-a",
            "*.10.0.0.1",
            "a@b",
            "[::1",
            "a?b",
            "a#b",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
