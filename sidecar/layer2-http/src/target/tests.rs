//! Tests of `target`.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Target {
    parse_absolute(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host_refused(text: &str) -> bool {
    matches!(parse_absolute(text), Err(TargetError::Host { .. }))
}

#[test]
fn a_path_is_forwarded_byte_for_byte_and_matched_in_normal_form() {
    let target = parse("HTTPS://Erp.South.SVC/v1/%7euser/caf%c3%a9;v=1//x?q=%2F%2e%2e/&r={|}");
    assert_eq!(target.scheme, "https");
    assert_eq!(target.host, "erp.south.svc");
    assert_eq!(target.port, 443);
    assert_eq!(target.path_and_query, "/v1/%7euser/caf%c3%a9;v=1//x?q=%2F%2e%2e/&r={|}");
    assert_eq!(target.path, "/v1/~user/caf%C3%A9;v=1//x");
    assert_eq!(target.to_string(), "https://erp.south.svc/v1/%7euser/caf%c3%a9;v=1//x?q=%2F%2e%2e/&r={|}");
}

#[test]
fn dot_segments_are_resolved_in_what_is_matched_and_in_what_is_forwarded() {
    for (text, path) in [
        ("http://a/v1/../admin", "/admin"),
        ("http://a/v1/./x", "/v1/x"),
        ("http://a/v1/%2e%2E/admin?q", "/admin"),
        ("http://a/v1/.%2e/admin", "/admin"),
        ("http://a/v1/..", "/"),
        ("http://a/../../x", "/x"),
        ("http://a/v1//../x", "/v1/x"),
    ] {
        let target = parse(text);
        assert_eq!(target.path, path, "{text}");
        assert_eq!(target.path_and_query.split('?').next(), Some(path), "{text}");
    }
    assert_eq!(parse("http://a/x/../y?p=../z").path_and_query, "/y?p=../z");
    assert_eq!(parse("http://a/...").path, "/...");
    assert_eq!(parse("http://a/.hidden/x.y").path, "/.hidden/x.y");
}

#[test]
fn paths_that_servers_read_differently_are_refused() {
    for path in [
        "/v1%2fadmin",
        "/v1%2Fadmin",
        "/v1%5cadmin",
        "/v1%00",
        "/v1/%252e%252e/admin",
        "/v1/%252fadmin",
        "/v1/%25%32%66",
        "/v1/..;/admin",
        "/v1/.;x/admin",
        "/v1/%2e%2e;/admin",
        "/v1/%2e%2e%2fadmin",
        "/v1/%2525252e%2525252e/x",
        "/v1/%252525252525252e",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/%c0%af",
        "/v1/%c1%9cadmin",
        "/v1/%e0%80%ae",
        "/v1/%25c0%25af",
    ] {
        assert_eq!(parse_absolute(&format!("http://a{path}")), Err(TargetError::Ambiguous), "{path}");
    }
    for path in ["/%", "/%4", "/%zz", "/a%%20"] {
        assert_eq!(parse_absolute(&format!("http://a{path}")), Err(TargetError::Percent), "{path}");
    }
}

#[test]
fn what_the_whatwg_parser_would_repair_is_refused() {
    for text in [
        " http://a/",
        "http://a/ ",
        "http://a/b c",
        "http://a/\tb",
        "ht\ntp://a/",
        "http://a\r/",
        "http://a/\u{a0}",
        "http:\\\\a/",
        "http://a\\@b/",
        "http://a/\\..\\x",
        "http://a/\0",
    ] {
        let error = parse_absolute(text).unwrap_err();
        assert!(matches!(error, TargetError::Character | TargetError::Scheme), "{text:?}: {error}");
    }
    assert_eq!(parse("http://a?x=\\y").path_and_query, "/?x=\\y");
}

#[test]
fn user_information_and_fragments_are_refused() {
    for text in
        ["http://user@a/", "http://user:pw@a/", "http://@a/", "http://:@a/", "http://a:80@b/", "http://a%40b@c/"]
    {
        assert_eq!(parse_absolute(text), Err(TargetError::UserInfo), "{text}");
    }
    for text in ["http://a/#x", "http://a#", "http://a/?q#x", "http://a#@b/"] {
        assert_eq!(parse_absolute(text), Err(TargetError::Fragment), "{text}");
    }
    assert_eq!(parse("http://a/@x?y=@z").path, "/@x");
}

#[test]
fn only_absolute_http_and_https_are_targets() {
    for text in ["", "/x", "a/b", "ftp://a/", "file:///etc/passwd", "http:a", "http:/a", "https:", "ws://a/", "//a/"] {
        assert_eq!(parse_absolute(text), Err(TargetError::Scheme), "{text}");
    }
}

#[test]
fn hosts_come_in_canonical_form() {
    for (text, host) in [
        ("http://EXAMPLE.com", "example.com"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://127.1/", "127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://0177.0.0.1/", "127.0.0.1"),
        ("http://１２７.0.0.1/", "127.0.0.1"),
        ("http://[0:0:0:0:0:0:0:1]/", "[::1]"),
        ("http://[::FFFF:127.0.0.1]/", "[::ffff:7f00:1]"),
        ("http://a.svc./", "a.svc."),
    ] {
        assert_eq!(parse(text).host, host, "{text}");
        assert_eq!(parse(text).path, "/");
    }
    assert_eq!(parse("http://0x7f.1/").ip(), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(parse("http://[::1]/").ip(), Some("::1".parse().unwrap()));
    assert_eq!(parse("http://a/").ip(), None);
}

#[test]
fn hosts_that_are_none_are_refused() {
    for text in [
        "http://",
        "http:///x",
        "http://?x",
        "http://:80/",
        "http://./",
        "http://../",
        "http://a%2eb/",
        "http://a b/",
        "http://a<b/",
        "http://[::1",
        "http://[::1%25eth0]/",
        "http://[1]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://a|b/",
        "http://a*/",
        "http://a$b/",
        "http://(a)/",
        "http://a,b/",
        "http://a;b/",
    ] {
        let error = parse_absolute(text).unwrap_err();
        assert!(host_refused(text) || error == TargetError::Character, "{text}: {error}");
    }
}

#[test]
fn ports_are_1_to_65535_and_default_to_the_schemes() {
    assert_eq!(parse("http://a").port, 80);
    assert_eq!(parse("https://a").port, 443);
    assert_eq!(parse("https://a:80/").authority(), "a:80");
    assert_eq!(parse("https://a:443/").authority(), "a");
    assert_eq!(parse("http://a:/").port, 80);
    assert_eq!(parse("http://[::1]:8080/").authority(), "[::1]:8080");
    for text in ["http://a:0/", "http://a:65536/", "http://a:x/", "http://a:80:80/"] {
        assert_eq!(parse_absolute(text), Err(TargetError::Port), "{text}");
    }
}

#[test]
fn bytes_a_request_line_cannot_carry_are_encoded() {
    let target = parse("http://a/ä\"<x>`?ö\"<>");
    assert_eq!(target.path_and_query, "/%C3%A4%22%3Cx%3E%60?%C3%B6%22%3C%3E");
    assert_eq!(target.path, "/%C3%A4%22%3Cx%3E%60");
    assert!(target.path_and_query.parse::<http::Uri>().is_ok());
}

#[test]
fn a_target_above_the_limit_is_refused() {
    let of = |len: usize| format!("http://a/{}", "x".repeat(len - 9));
    assert!(parse_absolute(&of(MAX_TARGET)).is_ok());
    assert_eq!(parse_absolute(&of(MAX_TARGET + 1)), Err(TargetError::TooLong));
}

#[test]
fn authorities_are_a_host_and_perhaps_a_port() {
    let authority = |host: &str, port| Ok(Authority { host: host.to_owned(), port });
    assert_eq!(parse_authority("A.b:443"), authority("a.b", Some(443)));
    assert_eq!(parse_authority("localhost"), authority("localhost", None));
    assert_eq!(parse_authority("[::1]:8470"), authority("[::1]", Some(8470)));
    assert_eq!(parse_authority("[::1]"), authority("[::1]", None));
    assert_eq!(parse_authority("127.0.0.1:1"), authority("127.0.0.1", Some(1)));
    for text in ["a:0", "a:65536", "a:", "[::1]:"] {
        assert_eq!(parse_authority(text), Err(TargetError::Port), "{text}");
    }
    for text in ["", ":80", "a:b", "a:80:80", "::1", "[::1", "[::1]x", "u@a", "a/b", "a b", "a\r\n", "a,b", "a%41", "."]
    {
        assert!(matches!(parse_authority(text), Err(TargetError::Host { .. })), "{text}");
    }
}

#[test]
fn a_connect_target_is_a_host_with_a_port() {
    let target = parse_connect("ERP.south.svc:443").unwrap();
    assert_eq!((target.to_string().as_str(), target.authority().as_str()), ("erp.south.svc:443", "erp.south.svc:443"));
    assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("erp.south.svc", 443, ""));
    assert_eq!(parse_connect("[::1]:80").unwrap().authority(), "[::1]:80");
    assert_eq!(parse_connect("erp.south.svc"), Err(TargetError::Port));
    assert!(parse_connect("https://a:1/").is_err());
}

#[test]
fn a_refused_target_is_a_bad_request_that_was_not_executed() {
    let problem = parse_absolute("ftp://a/").unwrap_err().to_problem();
    assert_eq!((problem.status, problem.executed), (400, Some(Executed::No)));
}

#[test]
fn a_route_path_names_a_route_and_the_rest() {
    let of = |route, rest| Some(RoutePath { route, rest });
    assert_eq!(route_path("/to/erp/v1/x?y=/z"), of("erp", "/v1/x?y=/z"));
    assert_eq!(route_path("/to/erp"), of("erp", ""));
    assert_eq!(route_path("/to/erp?x=/to/crm"), of("erp", "?x=/to/crm"));
    assert_eq!(route_path("/to/erp//x"), of("erp", "//x"));
    for path in ["/", "/to", "/to/", "/to//x", "/to/ERP/", "/to/a%2fb", "/to/../x", "/v1/operations", "to/erp"] {
        assert_eq!(route_path(path), None, "{path}");
    }
}

#[test]
fn a_call_through_a_route_stays_beneath_its_target() {
    let base = parse("https://erp.south.svc:8443/base");
    let beneath = |rest: &str| base.beneath(rest).map(|target| target.to_string());
    assert_eq!(beneath("/v1/x?y=1").unwrap(), "https://erp.south.svc:8443/base/v1/x?y=1");
    assert_eq!(beneath("").unwrap(), "https://erp.south.svc:8443/base");
    assert_eq!(beneath("?y").unwrap(), "https://erp.south.svc:8443/base?y");
    assert_eq!(beneath("/a/../b").unwrap(), "https://erp.south.svc:8443/base/b");
    for rest in ["/../admin", "/..", "/%2e%2e/admin", "/../basement", "/x/../../y", "@evil/", ".evil.example/", ":1/"] {
        assert!(matches!(base.beneath(rest), Err(TargetError::Escapes { .. })), "{rest}");
    }
    assert_eq!(base.beneath("/..%2fadmin"), Err(TargetError::Ambiguous));
    assert_eq!(base.beneath("/x#y"), Err(TargetError::Fragment));
    let root = parse("http://a");
    assert_eq!(root.beneath("/../x").unwrap().to_string(), "http://a/x");
    assert_eq!(root.beneath("//b/c").unwrap().to_string(), "http://a//b/c");
    let slash = parse("http://a/base/");
    assert_eq!(slash.beneath("/x").unwrap().to_string(), "http://a/base/x");
    assert!(matches!(slash.beneath("/.."), Err(TargetError::Escapes { .. })));
}

#[test]
fn a_prefix_ends_at_a_segment_border() {
    for (path, prefix, within) in [
        ("/v1", "/v1", true),
        ("/v1/", "/v1", true),
        ("/v1/x", "/v1", true),
        ("/v10", "/v1", false),
        ("/v1", "/v1/", false),
        ("/v1/", "/v1/", true),
        ("/v1/x", "/v1/", true),
        ("/", "/", true),
        ("/x", "/", true),
        ("*", "/", false),
        ("", "/", false),
    ] {
        assert_eq!(within_prefix(path, prefix), within, "{path} in {prefix}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "(https?://)?[a-z%./:@\\[\\]?#;\\\\\u{0}-\u{ff}]{0,60}") {
        let _ = parse_absolute(&text);
        let _ = parse_authority(&text);
        let _ = normal_path(&text);
    }

    #[test]
    fn what_is_parsed_parses_again_to_the_same(path in "(/[a-zA-Z0-9.%25;~é\"-]{0,6}){0,6}", query in "(\\?[!-~]{0,20})?") {
        if let Ok(target) = parse_absolute(&format!("http://Host.example:8080{path}{query}")) {
            prop_assert_eq!(parse_absolute(&target.to_string()), Ok(target.clone()));
            prop_assert!(target.path_and_query.parse::<http::uri::PathAndQuery>().is_ok(), "{}", target.path_and_query);
            prop_assert_eq!(normal_path(&target.path), Ok(target.path.clone()));
            prop_assert!(!target.path.split('/').any(|segment| matches!(segment, "." | "..")));
        }
    }
}
