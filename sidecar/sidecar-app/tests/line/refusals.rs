//! Calls that are refused, by which side, and what could not be reached: each is a problem with its cause.

use crate::shared::{line, places};

#[test]
fn what_the_near_side_does_not_allow_is_refused_there() {
    let line = line();
    let answer = line.door().get("http://nowhere.example/x");
    let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
    assert_eq!(problem["executed"], "no");
    assert!(answer.get("proxy-status").unwrap().starts_with("hoft-north;"), "{:?}", answer.fields);
}

#[test]
fn what_only_the_near_side_allows_is_refused_by_the_far_side() {
    let line = line();
    let answer = line.door().get("http://elsewhere.example/x");
    let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
    assert_eq!(problem["executed"], "no");
    assert!(answer.get("proxy-status").unwrap().starts_with("hoft-south;"), "{:?}", answer.fields);
    assert!(answer.get("hoft-operation-id").is_some());
}

#[test]
fn a_metadata_address_is_not_connected_to_even_in_an_allowed_network() {
    let line = line();
    let answer = line.door().get("http://169.254.169.254/latest/meta-data/");
    let problem = answer.expect_problem(502, "address-denied", "destination_ip_prohibited");
    assert_eq!(problem["executed"], "no");
}

#[test]
fn a_name_that_resolves_to_an_unlisted_address_is_not_connected_to() {
    let line = line();
    let answer = line.door().get(&format!("http://localhost:{}/", places().unlisted));
    let problem = answer.expect_problem(502, "address-denied", "destination_ip_prohibited");
    assert_eq!(problem["executed"], "no");
}

#[test]
fn a_refused_connection_is_reported_as_not_executed() {
    let line = line();
    let answer = line.door().post(&format!("http://127.0.0.1:{}/", places().closed), b"x");
    let problem = answer.expect_problem(502, "connection-refused", "connection_refused");
    assert_eq!(problem["executed"], "no");
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let line = line();
    let answer = line.door().post(&format!("https://127.0.0.1:{}/echo", places().tls), b"secret");
    let problem = answer.expect_problem(502, "tls-certificate", "tls_certificate_error");
    assert_eq!(problem["executed"], "no");
}

#[test]
fn an_unknown_route_is_refused() {
    let line = line();
    for path in ["/to/nobody/x", "/favicon.ico", "/anything", "/to/", "/to/UP/x"] {
        line.door().get(path).expect_problem(404, "unknown-route", "http_request_denied");
    }
}

#[test]
fn a_path_that_leaves_its_route_or_reads_in_two_ways_is_refused() {
    let line = line();
    for path in ["/to/up/%2e%2e%2fx", "/to/up/a%2Fb", "/to/up/a%5Cb", "/to/up/%00", "/to/up/%zz"] {
        let answer = line.door().get(path);
        assert!(matches!(answer.status, 400 | 403), "{path}: {answer:?}");
    }
    for target in ["http://user:pass@127.0.0.1/", "ftp://127.0.0.1/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/"]
    {
        let answer = line.door().call("GET", target).field("Host", "127.0.0.1").send();
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
    }
    line.assert_works();
}

#[test]
fn a_byte_stream_needs_a_rule_that_names_connect() {
    let line = line();
    let target = format!("127.0.0.1:{}", line.upstream.port);
    let answer = line.door().call("CONNECT", &target).field("Host", &target).send();
    let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
    assert!(problem["detail"].as_str().unwrap().contains("the method CONNECT"), "{problem}");
    assert_eq!(answer.get("connection"), Some("close"), "what follows might be no HTTP");
}

#[test]
fn a_call_that_was_here_before_is_not_sent_round_again() {
    let line = line();
    for (name, value) in [("Via", "1.1 hoft-north"), ("CDN-Loop", "hoft-north")] {
        let answer = line.door().call("GET", &line.url("/fixed/9?round")).field(name, value).send();
        answer.expect_problem(508, "loop-detected", "proxy_loop_detected");
    }
    // One that has passed the far side is recognised there.
    let answer = line.door().call("GET", &line.url("/fixed/9?round")).field("CDN-Loop", "hoft-south").send();
    answer.expect_problem(508, "loop-detected", "proxy_loop_detected");
    assert!(line.upstream.calls("/fixed/9?round").is_empty());
}

#[test]
fn an_upgrade_needs_a_rule_that_lists_it() {
    let line = line();
    let call = |key: &str| {
        let call = line.door().call("GET", &line.url("/fields/websocket")).field("Connection", "Upgrade");
        call.field("Upgrade", "websocket").field("Sec-WebSocket-Version", "13").field("Sec-WebSocket-Key", key).send()
    };
    let problem = call("dGhlIHNhbXBsZSBub25jZQ==").expect_problem(403, "route-denied", "http_request_denied");
    assert!(problem["detail"].as_str().unwrap().contains("tunnels.upgrades"), "{problem}");
    call("short").expect_problem(400, "bad-request", "http_request_error");
    assert!(line.upstream.calls("/fields/websocket").is_empty());
}

#[test]
fn an_upgrade_to_anything_else_is_ignored() {
    let line = line();
    let call = line.door().call("GET", &line.url("/fields/h2c")).field("Connection", "Upgrade, HTTP2-Settings");
    let answer =
        call.field("Upgrade", "h2c").field("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA").send().expect_status(200);
    let seen = answer.text().to_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
    assert_eq!(answer.get("connection"), Some("close"));
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let line = line();
    // Announced: nothing is accepted.
    let call = line.door().call("POST", &line.url("/sink")).field("Content-Length", "99999999999");
    let answer = call.begin().unwrap().answer().unwrap();
    answer.expect_problem(413, "body-too-large", "http_request_error");
    line.assert_works();
}
