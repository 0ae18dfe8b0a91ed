//! From what went wrong with a call to the problem that its caller is told.
//!
//! Invariants: `executed: no` is said only if not one octet of the request can have reached the upstream: the connection was
//! never ready, or the client gave the request back unsent. Everything later is `maybe`. Details name host, cause and
//! remedy; they hold no field value, path or query, where credentials could stand. Test to read first:
//! `each_failure_of_a_connection_has_its_kind`.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;
use layer2_http::operation::Executed;
use layer2_http::policy::Rule;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::Target;

use super::connector::ConnectTimeout;
use super::request_body::BodyFault;
use super::resolver::ResolveError;
use super::server::Server;

/// Where a call goes, for messages.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// `scheme://host:port`, or that it is the rule's target.
    pub(super) origin: String,
    /// Host alone, or the same.
    pub(super) host: String,
    /// Name of the inbound rule.
    pub(super) rule: String,
    /// By TLS?
    pub(super) tls: bool,
}

impl Site {
    /// Where a call to `target` goes by this rule. A rule's own server is not named: the calling side is told only what it knows.
    pub(super) fn new(target: &Target, rule: &Rule, server: Option<&Server>) -> Self {
        let rule = rule.name.clone();
        match server {
            None => Self {
                origin: format!("{}://{}:{}", target.scheme, target.host, target.port),
                host: target.host.clone(),
                rule,
                tls: target.scheme == "https",
            },
            Some(server) => {
                let place = format!("the target of rule `{rule}`");
                Self { origin: place.clone(), host: place, rule, tls: server.scheme() == "https" }
            }
        }
    }
}

/// The first error of type `T` in a chain, looking into I/O errors too: their `source` skips what they wrap.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    inner(error).and_then(find)
}

fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The I/O error at the bottom of a chain; those above it only wrap it.
fn find_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = error.downcast_ref().or(found);
        next = inner(error);
    }
    found
}

/// The innermost cause as text: what stands above it says only where it was noticed.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(next) = inner(deepest) {
        deepest = next;
    }
    deepest.to_string()
}

/// The problem of a call that the client could not carry out.
pub(super) fn of_call(error: &legacy::Error, site: &Site) -> Problem {
    if error.is_connect() {
        return of_connecting(error, site).executed(Executed::No);
    }
    of_exchange(error, site)
}

/// The connection was not made, so nothing was sent.
pub(super) fn of_connecting(error: &(dyn Error + 'static), site: &Site) -> Problem {
    if let Some(error) = find::<ResolveError>(error) {
        return of_name(error, site);
    }
    if let Some(timeout) = find::<ConnectTimeout>(error) {
        return Problem::new(ProblemKind::ConnectionTimeout, format!("{}: {timeout}", site.origin));
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return of_tls(error, site);
    }
    let Some(cause) = find_io(error) else {
        return Problem::new(ProblemKind::ConnectionRefused, format!("{}: {}", site.origin, root(error)));
    };
    use io::ErrorKind;
    let kind = match cause.kind() {
        ErrorKind::TimedOut => ProblemKind::ConnectionTimeout,
        // TCP was there, so it is the handshake that was cut.
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => ProblemKind::TlsError,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted if site.tls => ProblemKind::TlsError,
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown => ProblemKind::ConnectionRefused,
        // Out of sockets, ports or memory: ours, not the upstream's.
        _ => ProblemKind::Internal,
    };
    Problem::new(kind, format!("{}: {cause}; is it running, and reachable from the far side?", site.origin))
}

fn of_name(error: &ResolveError, site: &Site) -> Problem {
    let Site { host, rule, .. } = site;
    match error {
        ResolveError::Failed(_) | ResolveError::Empty => {
            Problem::new(ProblemKind::DnsError, format!("{host} cannot be resolved on the far side: {error}"))
        }
        ResolveError::Timeout(_) => {
            Problem::new(ProblemKind::DnsTimeout, format!("{host} was not resolved on the far side: {error}"))
        }
        ResolveError::Denied(denied) => address_denied(denied, host, rule),
    }
}

/// A target whose address the rule does not list.
pub(super) fn address_denied(denied: &layer2_http::addresses::DeniedAddress, host: &str, rule: &str) -> Problem {
    let detail =
        format!("{host}: {denied}; add it to the addresses of the far side's inbound rule `{rule}`, if that is meant");
    Problem::new(ProblemKind::AddressDenied, detail).executed(Executed::No)
}

fn of_tls(error: &rustls::Error, site: &Site) -> Problem {
    let Site { origin, rule, .. } = site;
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Problem::new(
            ProblemKind::TlsCertificate,
            format!("{origin}: {error}; the far side's inbound rule `{rule}` can name its authority in tls.caFile"),
        ),
        rustls::Error::InvalidMessage(_) => {
            Problem::new(ProblemKind::TlsError, format!("{origin}: {error}; does this port speak TLS?"))
        }
        _ => Problem::new(ProblemKind::TlsError, format!("{origin}: {error}")),
    }
}

/// The connection was there.
fn of_exchange(error: &(dyn Error + 'static), site: &Site) -> Problem {
    let origin = &site.origin;
    let http = find::<hyper::Error>(error);
    if http.is_some_and(hyper::Error::is_canceled) {
        // The client hands a request back only before it wrote anything of it.
        let detail = format!("{origin} closed the connection before the request was sent");
        return Problem::new(ProblemKind::UpstreamClosed, detail).executed(Executed::No);
    }
    let problem = if let Some(error) = find::<rustls::Error>(error) {
        of_tls(error, site)
    } else if http.is_some_and(|http| http.is_parse() || http.is_parse_status() || http.is_parse_too_large()) {
        Problem::new(ProblemKind::ResponseInvalid, format!("{origin}: {}", root(error)))
    } else {
        Problem::new(ProblemKind::UpstreamClosed, format!("{origin}: {}", root(error)))
    };
    problem.executed(Executed::Maybe)
}

/// The request's content failed after the call began.
pub(super) fn of_body(fault: &BodyFault, site: &Site) -> Problem {
    let rule = &site.rule;
    match fault {
        BodyFault::TooLarge { .. } => Problem::new(
            ProblemKind::BodyTooLarge,
            format!("{fault}; the far side's inbound rule `{rule}` sets maxBody"),
        ),
        BodyFault::Length { .. } | BodyFault::Cut(_) => Problem::new(ProblemKind::BadRequest, fault.to_string()),
    }
    .executed(Executed::Maybe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::BodyError;
    use std::time::Duration;

    fn site(tls: bool) -> Site {
        let origin = if tls { "https://erp.test:443" } else { "http://erp.test:80" };
        Site { origin: origin.to_owned(), host: "erp.test".to_owned(), rule: "erp".to_owned(), tls }
    }

    fn kind(error: impl Into<BodyError>, tls: bool) -> ProblemKind {
        of_connecting(&*error.into(), &site(tls)).kind
    }

    #[test]
    fn each_failure_of_a_connection_has_its_kind() {
        use io::ErrorKind;
        let io = |kind: ErrorKind| io::Error::from(kind);
        assert_eq!(kind(io(ErrorKind::ConnectionRefused), false), ProblemKind::ConnectionRefused);
        assert_eq!(kind(io(ErrorKind::HostUnreachable), false), ProblemKind::ConnectionRefused);
        assert_eq!(kind(io(ErrorKind::TimedOut), false), ProblemKind::ConnectionTimeout);
        assert_eq!(kind(io(ErrorKind::ConnectionReset), false), ProblemKind::ConnectionRefused);
        assert_eq!(kind(io(ErrorKind::ConnectionReset), true), ProblemKind::TlsError);
        assert_eq!(kind(io(ErrorKind::UnexpectedEof), true), ProblemKind::TlsError);
        assert_eq!(kind(io(ErrorKind::AddrNotAvailable), false), ProblemKind::Internal);
        assert_eq!(kind(ResolveError::Empty, false), ProblemKind::DnsError);
        assert_eq!(kind(ResolveError::Failed(io(ErrorKind::NotFound)), false), ProblemKind::DnsError);
        assert_eq!(kind(ResolveError::Timeout(Duration::from_secs(5)), false), ProblemKind::DnsTimeout);
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_from_a_broken_handshake() {
        // As the TLS connector wraps it: an I/O error in an I/O error.
        let wrapped = |error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let problem = of_connecting(&wrapped(unknown), &site(true));
        assert_eq!(problem.kind, ProblemKind::TlsCertificate);
        assert!(problem.detail.contains("tls.caFile") && problem.detail.contains("`erp`"), "{}", problem.detail);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(of_connecting(&wrapped(plain), &site(true)).kind, ProblemKind::TlsError);
    }

    #[test]
    fn a_denied_address_names_the_rule_to_change() {
        let denied = layer2_http::addresses::address_allowed("10.1.2.3".parse().unwrap(), &[]).unwrap_err();
        let problem = of_connecting(&io::Error::other(ResolveError::Denied(denied)), &site(false));
        assert_eq!((problem.kind, problem.executed), (ProblemKind::AddressDenied, Some(Executed::No)));
        assert!(problem.detail.contains("10.1.2.3") && problem.detail.contains("`erp`"), "{}", problem.detail);
    }

    #[test]
    fn a_failed_body_may_have_been_seen() {
        let problem = of_body(&BodyFault::TooLarge { max: 7 }, &site(false));
        assert_eq!((problem.status, problem.executed), (413, Some(Executed::Maybe)));
        let problem = of_body(&BodyFault::Cut("reset".to_owned()), &site(false));
        assert_eq!((problem.status, problem.executed), (400, Some(Executed::Maybe)));
    }
}
