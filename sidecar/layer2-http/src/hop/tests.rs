//! Tests of `hop`.

use super::*;
use crate::target::parse_absolute;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push(name.to_string(), value.to_string()).unwrap();
    }
    fields
}

fn names(fields: &Fields) -> Vec<&str> {
    fields.iter().map(|(name, _)| name).collect()
}

#[test]
fn hop_by_hop_fields_are_dropped_and_the_rest_kept() {
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "expect",
        "hoft-deadline",
    ] {
        let mut request = fields(&[("accept", "*/*"), (name, "x"), ("cookie", "a")]);
        strip_request(&mut request);
        assert_eq!(names(&request), ["accept", "cookie"], "{name}");
    }
    let kept = [
        "host",
        "content-length",
        "content-type",
        "authorization",
        "cookie",
        "accept",
        "range",
        "if-match",
        "trailer",
        "via",
        "cdn-loop",
        "forwarded",
        "user-agent",
        "idempotency-key",
        "traceparent",
        "x-anything",
        "www-authenticate",
    ];
    for name in kept {
        let mut request = fields(&[(name, "x")]);
        strip_request(&mut request);
        assert_eq!(names(&request), [name]);
    }
    let mut response = fields(&[
        ("set-cookie", "a"),
        ("proxy-authenticate", "Basic"),
        ("hoft-operation-id", "spoofed"),
        ("te", "trailers"),
    ]);
    strip_response(&mut response);
    assert_eq!(names(&response), ["set-cookie"]);
}

#[test]
fn what_connection_names_is_dropped_in_any_case_and_from_every_line() {
    let mut request = fields(&[
        ("connection", "close, X-Private"),
        ("connection", "x-other"),
        ("x-private", "1"),
        ("x-other", "2"),
        ("x-private", "3"),
        ("x-public", "4"),
    ]);
    strip_request(&mut request);
    assert_eq!(names(&request), ["x-public"]);
}

#[test]
fn connection_cannot_drop_what_frames_routes_or_protects() {
    for name in NOT_NAMEABLE {
        let mut request = fields(&[("connection", name), (name, "x")]);
        strip_request(&mut request);
        assert_eq!(names(&request), [name]);
    }
}

#[test]
fn only_trailers_is_left_of_te() {
    for (te, left) in [("trailers", true), ("gzip;q=0.5, Trailers", true), ("gzip", false), ("", false)] {
        let mut request = fields(&[("te", te), ("connection", "te")]);
        strip_request(&mut request);
        assert_eq!(request.get("te").is_some(), left, "{te}");
        assert!(request.get("te").is_none_or(|value| value == b"trailers"));
    }
}

#[test]
fn trailers_carry_no_framing_routing_or_credentials() {
    for name in NOT_IN_TRAILERS.into_iter().chain(HOP_BY_HOP) {
        let mut trailers = fields(&[(name, "x"), ("x-checksum", "1")]);
        strip_trailers(&mut trailers);
        assert_eq!(names(&trailers), ["x-checksum"], "{name}");
    }
}

#[test]
fn one_content_length_is_a_number() {
    assert_eq!(check_framing(&fields(&[])), Ok(None));
    assert_eq!(check_framing(&fields(&[("content-length", "0")])), Ok(Some(0)));
    assert_eq!(check_framing(&fields(&[("content-length", "18446744073709551615")])), Ok(Some(u64::MAX)));
    assert_eq!(check_framing(&fields(&[("transfer-encoding", "Chunked")])), Ok(None));
}

#[test]
fn smuggling_by_content_length_is_refused() {
    for values in [
        &["5", "5"][..],
        &["5", "6"],
        &["5, 5"],
        &["5,6"],
        &["+5"],
        &["-1"],
        &["0x5"],
        &["5 5"],
        &[""],
        &["5;"],
        &["٥"],
        &["18446744073709551616"],
        &["5.0"],
        &["1e1"],
    ] {
        let lines: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
        assert_eq!(check_framing(&fields(&lines)), Err(HopError::ContentLength), "{values:?}");
    }
}

#[test]
fn smuggling_by_transfer_encoding_is_refused() {
    let both = fields(&[("transfer-encoding", "chunked"), ("content-length", "5")]);
    assert_eq!(check_framing(&both), Err(HopError::BothFramings));
    let other = fields(&[("content-length", "5"), ("transfer-encoding", "identity")]);
    assert_eq!(check_framing(&other), Err(HopError::BothFramings));
    for values in [
        &["identity"][..],
        &["xchunked"],
        &["chunked, chunked"],
        &["chunked", "chunked"],
        &["chunked", "identity"],
        &["gzip, chunked"],
        &["chunked;x=y"],
        &["\u{e9}chunked"],
        &[""],
    ] {
        let lines: Vec<_> = values.iter().map(|value| ("transfer-encoding", *value)).collect();
        assert_eq!(check_framing(&fields(&lines)), Err(HopError::TransferEncoding), "{values:?}");
    }
}

#[test]
fn host_must_be_the_one_of_an_absolute_target() {
    let target = parse_absolute("https://erp.south.svc/v1/").unwrap();
    for host in ["erp.south.svc", "ERP.South.svc", "erp.south.svc:443"] {
        assert_eq!(check_host(&fields(&[("host", host)]), Some(&target)), Ok(()), "{host}");
    }
    for host in ["crm.south.svc", "erp.south.svc:80", "localhost:8470", "erp.south.svc."] {
        let refused = check_host(&fields(&[("host", host)]), Some(&target));
        assert!(matches!(refused, Err(HopError::HostMismatch { .. })), "{host}");
    }
    assert_eq!(check_host(&fields(&[]), Some(&target)), Ok(()));
    assert_eq!(check_host(&fields(&[("host", "localhost:8470")]), None), Ok(()));
}

#[test]
fn a_repeated_or_malformed_host_is_refused() {
    let twice = fields(&[("host", "a"), ("host", "a")]);
    assert_eq!(check_host(&twice, None), Err(HopError::HostRepeated));
    for host in ["", "a b", "a@b", "a/b", "a,b", "a:b", "a\\b", "a?b", "\u{e9}"] {
        assert!(matches!(check_host(&fields(&[("host", host)]), None), Err(HopError::Host(_))), "{host}");
    }
}

#[test]
fn a_message_that_passed_here_is_a_loop() {
    let looped = |name: &str, value: &str| check_loop(&fields(&[(name, value)]), "north-0").is_err();
    assert!(looped("cdn-loop", "north-0"));
    assert!(looped("cdn-loop", "foo, NORTH-0; v=1"));
    assert!(looped("via", "1.1 north-0"));
    assert!(looped("via", "1.0 fred, 1.1  north-0 (hoft)"));
    assert!(!looped("cdn-loop", "north-01, x-north-0"));
    assert!(!looped("via", "1.1 south-0 (north-0)"));
    assert!(!looped("via", "north-0"));
    let mut request = fields(&[]);
    assert_eq!(check_loop(&request, "north-0"), Ok(()));
    add_cdn_loop(&mut request, "north-0").unwrap();
    let looped = check_loop(&request, "north-0").unwrap_err();
    assert_eq!(looped, HopError::Loop { name: "north-0".to_owned() });
    assert_eq!(looped.to_problem().status, 508);
    assert_eq!(HopError::BothFramings.to_problem().status, 400);
}

#[test]
fn connection_cannot_hide_a_loop() {
    let mut request = fields(&[("connection", "cdn-loop, via"), ("cdn-loop", "north-0")]);
    strip_request(&mut request);
    assert!(check_loop(&request, "north-0").is_err());
}

#[test]
fn via_gets_one_more_line() {
    let mut request = fields(&[("via", "1.0 fred")]);
    add_via(&mut request, "1.1", "north-0").unwrap();
    assert_eq!(request.get_all("via").collect::<Vec<_>>(), [&b"1.0 fred"[..], b"1.1 north-0"]);
    assert!(add_via(&mut request, "1.1", "a\r\nb").is_err());
}

#[test]
fn what_a_client_says_of_its_origin_counts_only_if_it_is_trusted() {
    let own = Forwarded { client: Some("127.0.0.1".into()), proto: Some("http".into()), ..Forwarded::default() };
    let sent = [
        ("forwarded", "for=1.2.3.4"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-host", "a"),
        ("x-real-ip", "1.2.3.4"),
    ];
    let mut untrusted = fields(&sent);
    set_forwarded(&mut untrusted, &own, false).unwrap();
    assert_eq!(untrusted, fields(&[("forwarded", "for=127.0.0.1;proto=http")]));
    let mut trusted = fields(&sent);
    set_forwarded(&mut trusted, &own, true).unwrap();
    assert_eq!(trusted.get_all("forwarded").collect::<Vec<_>>(), [&b"for=1.2.3.4"[..], b"for=127.0.0.1;proto=http"]);
    assert!(trusted.contains("x-real-ip"));
}

#[test]
fn elements_of_forwarded_are_quoted_where_they_must_be() {
    let element = |client: &str| Forwarded { client: Some(client.to_owned()), ..Forwarded::default() }.element();
    assert_eq!(element("_hidden"), "for=_hidden");
    assert_eq!(element("[::1]:80"), "for=\"[::1]:80\"");
    assert_eq!(element("a\";by=x\r\n"), "for=\"a;by=x\"");
    assert_eq!(Forwarded::default().element(), "");
}

#[test]
fn max_forwards_counts_only_trace_and_options() {
    let counted = |method: &str, value: &'static str| {
        let mut fields = Fields::new();
        fields.push("max-forwards", value).unwrap();
        let goes_on = count_down(method, &mut fields)?;
        Ok::<_, HopError>((goes_on, String::from_utf8(fields.get("max-forwards").unwrap().to_vec()).unwrap()))
    };
    assert_eq!(counted("OPTIONS", "3"), Ok((true, "2".to_owned())));
    assert_eq!(counted("TRACE", "0"), Ok((false, "0".to_owned())));
    assert_eq!(counted("GET", "0"), Ok((true, "0".to_owned())));
    for value in ["", "-1", "+1", "1, 2", "x"] {
        assert_eq!(counted("TRACE", value), Err(HopError::MaxForwards), "{value}");
    }
    assert_eq!(count_down("OPTIONS", &mut Fields::new()), Ok(true));
}
