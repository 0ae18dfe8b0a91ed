//! May this call be made? The decision with authority, on the request's head alone.
//!
//! Invariants: nothing the near side decided is believed; what is matched against the rules is what is called; the fields
//! that leave hold nothing of the hop they came by, and their framing cannot be read in two ways. A refusal is always
//! `executed: no`. It resolves no name: the connector does. Test to read first: `each_check_can_refuse`.

use http::{HeaderMap, Method, Uri};
use layer2_http::bhttp::{BhttpError, SectionLimit};
use layer2_http::far::repeatable;
use layer2_http::fields::Fields;
use layer2_http::head::{HeadError, RequestHead};
use layer2_http::hop;
use layer2_http::operation::Executed;
use layer2_http::policy::Rule;
use layer2_http::problem::{Problem, ProblemKind};
use layer2_http::target::{self, Target};

use super::Egress;
use super::far_side::FarSide;
use super::fault::{self, Site};
use super::server::Server;
use super::upstream::Upstream;

/// A call that may be made.
pub(super) struct Call<'a> {
    /// The rule that allows it.
    pub(super) rule: &'a Rule,
    /// What it goes through.
    pub(super) upstream: &'a Upstream,
    /// Its method.
    pub(super) method: Method,
    /// Its absolute target.
    pub(super) uri: Uri,
    /// Its header section as it leaves.
    pub(super) fields: HeaderMap,
    /// Its declared length, in octets.
    pub(super) content_length: Option<u64>,
    /// Is making it twice harmless?
    pub(super) repeatable: bool,
    /// Where it goes, for messages.
    pub(super) site: Site,
}

/// Reads a request's head.
///
/// # Errors
/// When it is malformed or too large.
pub(super) fn read_head(payload: &[u8], section: SectionLimit) -> Result<RequestHead, Problem> {
    RequestHead::decode_within(payload, section).map_err(|error| {
        let kind = match &error {
            HeadError::Bhttp(BhttpError::TooLarge { .. }) => ProblemKind::FieldsTooLarge,
            _ => ProblemKind::BadRequest,
        };
        Problem::new(kind, error.to_string()).executed(Executed::No)
    })
}

/// Decides a call and prepares what leaves.
///
/// # Errors
/// With the first thing that is wrong with it.
pub(super) fn admit<'a>(egress: &'a Egress, head: &RequestHead) -> Result<Call<'a>, Problem> {
    admit_where(egress, head, |_| true)
}

/// As [`admit`], by one of the rules that `wanted` says yes to.
///
/// # Errors
/// As [`admit`].
pub(super) fn admit_where<'a>(
    egress: &'a Egress,
    head: &RequestHead,
    wanted: impl Fn(&Rule) -> bool,
) -> Result<Call<'a>, Problem> {
    let target = target_of(head)?;
    let denied = |denied: layer2_http::policy::Denied| refuse(ProblemKind::RouteDenied, denied.message);
    let call = target.call(&head.method).by(head.envelope.stated_caller());
    let rule = egress.policy.decide_where(&call, wanted).map_err(denied)?;
    let upstream = egress
        .upstreams
        .get(&rule.name)
        .ok_or_else(|| refuse(ProblemKind::Internal, format!("rule `{}` has no client: this is a bug", rule.name)))?;
    let content_length = hop::check_framing(&head.fields).map_err(bad)?;
    hop::check_loop(&head.fields, &egress.pseudonym)
        .map_err(|error| refuse(ProblemKind::LoopDetected, error.to_string()))?;
    let max = rule.max_body.unwrap_or(upstream.body_max);
    if content_length.is_some_and(|length| length > max) {
        let detail =
            format!("the request body is larger than the {max} octets that inbound rule `{}` allows", rule.name);
        return Err(refuse(ProblemKind::BodyTooLarge, detail));
    }
    let site = Site::new(&target, rule, upstream.server.as_ref());
    check_literal(&target, rule, upstream, &site)?;
    let mut fields =
        leaving(&head.fields, &upstream.far, &egress.pseudonym).map_err(bad)?.to_header_map().map_err(bad)?;
    if upstream.server.is_some() {
        // The client would leave out the default port of the scheme that the server is called by, not of the caller's.
        fields.insert(http::header::HOST, target.authority().parse().map_err(bad)?);
    }
    Ok(Call {
        rule,
        upstream,
        method: Method::from_bytes(head.method.as_bytes()).map_err(bad)?,
        uri: uri(&target, upstream.server.as_ref())?,
        fields,
        content_length,
        repeatable: repeatable(&head.method, head.fields.contains("idempotency-key"), rule.retry),
        site,
    })
}

/// An address that the caller, or the rule's own target, writes as such; names are for the connector.
pub(super) fn check_literal(target: &Target, rule: &Rule, upstream: &Upstream, site: &Site) -> Result<(), Problem> {
    let ip = match &upstream.server {
        Some(server) => server.ip(),
        None => target.ip(),
    };
    let Some(ip) = ip else { return Ok(()) };
    upstream.networks.check(ip).map_err(|denied| fault::address_denied(&denied, &site.host, &rule.name))
}

fn target_of(head: &RequestHead) -> Result<Target, Problem> {
    if head.method == "CONNECT" || head.envelope.protocol.is_some() {
        return Err(refuse(ProblemKind::UpgradeFailed, "a byte stream is no call".to_owned()));
    }
    if !head.path.starts_with('/') {
        // Without this, `*` would become part of the host.
        return Err(refuse(ProblemKind::BadRequest, format!("{} {} names no resource", head.method, head.path)));
    }
    target::parse_absolute(&format!("{}://{}{}", head.scheme, head.authority, head.path)).map_err(bad)
}

/// What the client is asked for. The host is always the caller's, for Host and `:authority`; the connector goes to the rule's
/// server, if there is one, by its scheme.
fn uri(target: &Target, server: Option<&Server>) -> Result<Uri, Problem> {
    let scheme = server.map_or(target.scheme.as_str(), |server| server.scheme());
    format!("{scheme}://{}{}", target.authority(), target.path_and_query).parse().map_err(bad)
}

/// The header section as it leaves: end-to-end fields that the rule lets pass, with this hop's marks. The client writes
/// Host from the target.
fn leaving(received: &Fields, far: &FarSide, pseudonym: &str) -> Result<Fields, hop::HopError> {
    let mut fields = received.clone();
    hop::strip_request(&mut fields);
    fields.remove("host");
    far.leave(&mut fields);
    hop::add_via(&mut fields, "1.1", pseudonym)?;
    hop::add_cdn_loop(&mut fields, pseudonym)?;
    Ok(fields)
}

pub(super) fn refuse(kind: ProblemKind, detail: String) -> Problem {
    Problem::new(kind, detail).executed(Executed::No)
}

pub(super) fn bad(error: impl std::fmt::Display) -> Problem {
    refuse(ProblemKind::BadRequest, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::tests::{egress, egress_to, head};
    use layer2_http::envelope::Caller;

    fn refusal(head: &RequestHead) -> (ProblemKind, Option<Executed>) {
        let problem = admit(&egress(&["203.0.113.0/24"]), head).map(|_| ()).unwrap_err();
        (problem.kind, problem.executed)
    }

    #[test]
    fn each_check_can_refuse() {
        let with = |name: &'static str, value: &'static str| {
            let mut head = head("POST", "http://erp.test/v1/orders");
            head.fields.push(name, value).unwrap();
            head
        };
        let mut asterisk = head("OPTIONS", "http://erp.test/");
        asterisk.path = "*".to_owned();
        let mut stream = head("POST", "http://erp.test/v1/orders");
        stream.envelope.protocol = Some("websocket".to_owned());
        let mut twice = with("content-length", "3");
        twice.fields.push("content-length", "3").unwrap();
        for (head, kind) in [
            (head("POST", "http://other.test/v1/orders"), ProblemKind::RouteDenied),
            (head("POST", "http://erp.test/v1/%2e%2e%2fadmin"), ProblemKind::BadRequest),
            (head("TRACE", "http://erp.test/v1/orders"), ProblemKind::RouteDenied),
            (head("GET", "http://10.0.0.1/v1/orders"), ProblemKind::AddressDenied),
            (asterisk, ProblemKind::BadRequest),
            (stream, ProblemKind::UpgradeFailed),
            (twice, ProblemKind::BadRequest),
            (with("content-length", "1001"), ProblemKind::BodyTooLarge),
            (with("cdn-loop", "cdn, hoft-south"), ProblemKind::LoopDetected),
            (with("via", "1.1 hoft-south"), ProblemKind::LoopDetected),
        ] {
            assert_eq!(refusal(&head), (kind, Some(Executed::No)), "{head:?}");
        }
    }

    #[test]
    fn a_rule_with_callers_asks_what_the_near_side_states() {
        let mut egress = egress(&[]);
        let rules = egress.policy.rules().iter().cloned();
        let own = rules.map(|rule| Rule { callers: vec!["billing".to_owned()], ..rule }).collect();
        egress.policy = layer2_http::policy::Policy::new(own).unwrap();
        let mut head = head("GET", "http://erp.test/v1/orders");
        let stated = |name: &str| Some(Caller { service_account: Some(name.to_owned()), ..Caller::default() });
        for (caller, allowed) in [(None, false), (stated("stock"), false), (stated("billing"), true)] {
            head.envelope.caller = caller;
            let kind = admit(&egress, &head).map(|_| ()).map_err(|problem| problem.kind);
            assert_eq!(kind, if allowed { Ok(()) } else { Err(ProblemKind::RouteDenied) });
        }
    }

    #[test]
    fn a_call_to_a_target_keeps_its_host_path_and_query() {
        for (server, url, uri, host) in [
            ("https://127.0.0.1:8443", "http://erp.test/v1/x?a=%7e", "https://erp.test/v1/x?a=%7e", "erp.test"),
            ("http://127.0.0.1", "http://erp.test:8080/v1/x", "http://erp.test:8080/v1/x", "erp.test:8080"),
            ("https://127.0.0.1", "http://erp.test:443/v1/x", "https://erp.test:443/v1/x", "erp.test:443"),
        ] {
            let egress = egress_to(Some(server), &["127.0.0.1/32"], &[80, 443, 8080], None);
            let call = admit(&egress, &head("GET", url)).map_err(|problem| problem.detail).unwrap();
            assert_eq!((call.uri.to_string().as_str(), call.fields["host"].to_str().unwrap()), (uri, host));
            assert_eq!(call.site.tls, server.starts_with("https"));
        }
        let egress = egress_to(Some("http://127.0.0.1:8080"), &[], &[], None);
        let problem = admit(&egress, &head("GET", "http://erp.test/v1/x")).map(|_| ()).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::AddressDenied, "{}", problem.detail);
        // An address that the caller names is not connected to, so it is not judged.
        let egress = egress_to(Some("http://nowhere.invalid"), &[], &[], None);
        assert!(admit(&egress, &head("GET", "http://10.0.0.1/v1/x")).is_ok());
    }

    #[test]
    fn a_plain_connect_is_refused_as_a_byte_stream() {
        let mut head = head("CONNECT", "http://erp.test/");
        (head.scheme, head.path) = (String::new(), String::new());
        assert_eq!(refusal(&head), (ProblemKind::UpgradeFailed, Some(Executed::No)));
    }

    #[test]
    fn what_leaves_is_end_to_end_and_marked() {
        let mut head = head("POST", "http://erp.test:8080/v1/orders?a=%7e&b");
        for (name, value) in [
            ("host", "elsewhere.test"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("proxy-authorization", "Basic eDp5"),
            ("authorization", "Bearer t"),
            ("hoft-deadline", "5"),
            ("user-agent", "app/1"),
            ("forwarded", "for=10.0.0.1"),
            ("via", "1.1 hoft-north"),
            ("content-length", "3"),
        ] {
            head.fields.push(name, value).unwrap();
        }
        let egress = egress(&[]);
        let call = admit(&egress, &head).map_err(|problem| problem.detail).unwrap();
        let mut left: Vec<_> =
            call.fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                ("authorization", "Bearer t"),
                ("cdn-loop", "hoft-south"),
                ("content-length", "3"),
                ("forwarded", "for=10.0.0.1"),
                ("user-agent", "app/1"),
                ("via", "1.1 hoft-north"),
                ("via", "1.1 hoft-south"),
            ]
        );
        assert_eq!(call.uri.to_string(), "http://erp.test:8080/v1/orders?a=%7e&b");
        assert_eq!((call.content_length, call.repeatable), (Some(3), false));
    }

    #[test]
    fn a_head_above_the_limit_is_told_from_a_malformed_one() {
        let mut head = head("GET", "http://erp.test/v1/");
        head.fields.push("x", "y".repeat(200)).unwrap();
        let payload = head.encode().unwrap();
        assert!(read_head(&payload, SectionLimit::new(300)).is_ok());
        let kind = |payload: &[u8], limit| read_head(payload, SectionLimit::new(limit)).unwrap_err().kind;
        assert_eq!(kind(&payload, 100), ProblemKind::FieldsTooLarge);
        assert_eq!(kind(&payload[..payload.len() - 1], 300), ProblemKind::BadRequest);
    }
}
