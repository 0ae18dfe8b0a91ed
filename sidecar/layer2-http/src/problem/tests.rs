//! Tests of `problem`.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// RFC 9209 §2.3.
const REGISTERED: [&str; 32] = [
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
];

fn id() -> OperationId {
    OperationId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap()
}

#[test]
fn every_kind_has_its_own_slug_and_a_registered_error_token() {
    let slugs: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
    assert_eq!(slugs.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        assert!(REGISTERED.contains(&kind.proxy_error()), "{kind:?}");
        assert!((400..600).contains(&kind.status()));
        assert!(kind.slug().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        assert_eq!(ProblemKind::from_slug(kind.slug()), Some(*kind));
    }
    assert_eq!(ProblemKind::from_slug("nonsense"), None);
}

#[test]
fn causes_have_the_specified_status_and_token() {
    for (kind, status, token) in [
        (ProblemKind::RouteDenied, 403, "http_request_denied"),
        (ProblemKind::AddressDenied, 502, "destination_ip_prohibited"),
        (ProblemKind::DnsError, 502, "dns_error"),
        (ProblemKind::DnsTimeout, 504, "dns_timeout"),
        (ProblemKind::ConnectionRefused, 502, "connection_refused"),
        (ProblemKind::ConnectionTimeout, 504, "connection_timeout"),
        (ProblemKind::TlsError, 502, "tls_protocol_error"),
        (ProblemKind::TlsCertificate, 502, "tls_certificate_error"),
        (ProblemKind::UpstreamTimeout, 504, "http_response_timeout"),
        (ProblemKind::ResponseIncomplete, 502, "http_response_incomplete"),
        (ProblemKind::UpstreamClosed, 502, "connection_terminated"),
        (ProblemKind::OutcomeUnknown, 502, "connection_terminated"),
        (ProblemKind::UpgradeFailed, 502, "http_upgrade_failed"),
        (ProblemKind::PeerSilent, 503, "destination_unavailable"),
        (ProblemKind::LoopDetected, 508, "proxy_loop_detected"),
        (ProblemKind::Internal, 500, "proxy_internal_error"),
    ] {
        assert_eq!((kind.status(), kind.proxy_error()), (status, token), "{kind:?}");
    }
    let statuses = [
        (ProblemKind::LogFull, 503),
        (ProblemKind::WaitOver, 504),
        (ProblemKind::BodyTooLarge, 413),
        (ProblemKind::BadRequest, 400),
        (ProblemKind::ForeignHost, 421),
        (ProblemKind::ForeignOrigin, 403),
        (ProblemKind::DuplicateOperation, 409),
        (ProblemKind::UnknownOperation, 404),
        (ProblemKind::ResultGone, 410),
        (ProblemKind::KeyReused, 422),
        (ProblemKind::KeyInProgress, 409),
    ];
    for (kind, status) in statuses {
        assert_eq!(kind.status(), status, "{kind:?}");
    }
}

#[test]
fn the_body_has_the_members_of_rfc_9457_and_what_is_known_of_the_operation() {
    let problem = Problem::outcome_unknown(id()).retry_after(30);
    let body: Value = serde_json::from_slice(&problem.to_json()).unwrap();
    assert_eq!(
        body,
        json!({
            "type": "urn:hoft:problem:outcome-unknown",
            "title": "Whether the call had its effect cannot be known",
            "status": 502,
            "detail": "outcome unknown: the call was being made when its state was lost, and may have had its effect",
            "instance": "/v1/operations/01890a5d-ac96-774b-bcce-b302099a8057",
            "operation": "01890a5d-ac96-774b-bcce-b302099a8057",
            "executed": "maybe",
            "retry_after_s": 30,
        })
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let body: Value = serde_json::from_slice(&Problem::new(ProblemKind::Internal, "").to_json()).unwrap();
    assert_eq!(body, json!({"type": "urn:hoft:problem:internal", "title": "hoft failed", "status": 500}));
}

#[test]
fn proxy_status_names_this_proxy_error_and_details() {
    let problem = Problem::new(ProblemKind::DnsError, "erp.south.svc: no such name");
    assert_eq!(
        problem.proxy_status_field("north-0"),
        "north-0; error=dns_error; details=\"erp.south.svc: no such name\""
    );
    let bare = Problem::new(ProblemKind::Internal, "");
    assert_eq!(bare.proxy_status_field("hoft.north"), "hoft.north; error=proxy_internal_error");
    assert_eq!(bare.proxy_status_field("0 north\""), "\"0 north\\\"\"; error=proxy_internal_error");
}

#[test]
fn no_detail_can_break_out_of_the_field() {
    let problem = Problem::new(ProblemKind::BadRequest, format!("\"; x=1\r\nSet-Cookie: \\é\0{}", "y".repeat(10_000)));
    let value = problem.proxy_status_field("north");
    assert!(value.starts_with("north; error=http_request_error; details=\"\\\"; x=1??Set-Cookie: \\\\??y"));
    assert!(value.len() < 400);
    assert!(http::HeaderValue::from_str(&value).is_ok());
    assert!(serde_json::from_slice::<Value>(&problem.to_json()).is_ok());
}
