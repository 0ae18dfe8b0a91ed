//! The doors: forward proxy and routes, methods, fields, and that a call is carried as it is.

use std::thread;

use serde_json::Value;

use crate::client::Answer;
use crate::http::fields_of;
use crate::shared::line;

/// The fields of that name in what the upstream saw (`/fields`).
fn seen<'a>(report: &'a Value, name: &str) -> Vec<&'a str> {
    let fields = report["fields"].as_array().unwrap();
    let named = fields.iter().filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|field| field[1].as_str().unwrap()).collect()
}

#[track_caller]
fn assert_has_operation_id(answer: &Answer) {
    let ids = fields_of(&answer.fields, "hoft-operation-id");
    assert_eq!(ids.len(), 1, "{:?}", answer.fields);
    assert!(uuid::Uuid::parse_str(ids[0]).is_ok(), "{ids:?}");
}

#[test]
fn a_call_through_the_proxy_reaches_the_upstream_and_comes_back() {
    let line = line();
    let answer = line.door().get(&line.url("/fixed/1000?first")).expect_status(200);
    assert_eq!(answer.body, crate::upstream::fixed(1000));
    assert_eq!(answer.get("content-type"), Some("text/plain"));
    assert_eq!(answer.get("content-length"), Some("1000"));
    assert_has_operation_id(&answer);
    assert_eq!(line.upstream.calls("/fixed/1000?first").len(), 1);
}

#[test]
fn a_route_leads_to_its_target() {
    let line = line();
    let answer = line.door().get("/to/up/fields/beneath?a=1&b=%20").expect_status(200);
    let report = answer.json();
    assert_eq!(report["target"], "/fields/beneath?a=1&b=%20");
    assert_eq!(seen(&report, "host"), [format!("127.0.0.1:{}", line.upstream.port)]);
    assert_has_operation_id(&answer);
}

#[test]
fn any_method_is_carried() {
    let line = line();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN"] {
        let answer = line.door().call(method, &line.url("/fields/method")).send().expect_status(200);
        assert_eq!(answer.json()["method"], method);
    }
}

#[test]
fn bodies_of_all_sizes_come_back_as_they_went() {
    let line = line();
    for size in [0, 1, 255 * 1024, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let body = crate::upstream::fixed(size);
        let call = line.door().call("POST", &line.url("/echo")).field("Content-Type", "text/plain");
        let answer = call.body(&body).send().expect_status(200);
        assert!(answer.body == body, "{size} octets went, {} came back", answer.body.len());
    }
}

#[test]
fn fields_of_the_request_are_carried_and_those_of_one_hop_dropped() {
    let line = line();
    let call = line.door().call("GET", &line.url("/fields/request"));
    let call = call.field("X-Same", "one").field("X-Between", "b").field("X-Same", "two");
    let call = call.field("Authorization", "Bearer t").field("User-Agent", "a test/1").field("Accept-Encoding", "br");
    let call =
        call.field("Connection", "keep-alive, X-Hop").field("X-Hop", "only here").field("Keep-Alive", "timeout=5");
    let call = call.field("Proxy-Authorization", "Basic c2VjcmV0").field("Proxy-Connection", "keep-alive");
    let call = call.field("X-Forwarded-For", "8.8.8.8").field("Forwarded", "for=8.8.8.8").field("Hoft-Anything", "1");
    let report = call.send().expect_status(200).json();
    assert_eq!(seen(&report, "x-same"), ["one", "two"]);
    assert_eq!(seen(&report, "x-between"), ["b"]);
    assert_eq!(seen(&report, "authorization"), ["Bearer t"]);
    assert_eq!(seen(&report, "user-agent"), ["a test/1"]);
    assert_eq!(seen(&report, "accept-encoding"), ["br"]);
    for dropped in
        ["x-hop", "keep-alive", "proxy-authorization", "proxy-connection", "x-forwarded-for", "hoft-anything"]
    {
        assert!(seen(&report, dropped).is_empty(), "{dropped}: {report}");
    }
    let via = seen(&report, "via").join(", ");
    assert!(via.contains("hoft-north") && via.contains("hoft-south"), "Via: {via}");
    let forwarded = seen(&report, "forwarded").join(", ");
    assert!(forwarded.contains("for=") && !forwarded.contains("8.8.8.8"), "Forwarded: {forwarded}");
}

#[test]
fn fields_of_the_response_are_carried_and_those_of_one_hop_dropped() {
    let line = line();
    let answer = line.door().get(&line.url("/fields/response")).expect_status(200);
    assert_eq!(fields_of(&answer.fields, "set-cookie"), ["a=1; Path=/", "b=2; Path=/"]);
    assert_eq!(answer.get("x-other"), Some("between"));
    for dropped in ["x-for-this-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.get(dropped), None, "{:?}", answer.fields);
    }
    let via = fields_of(&answer.fields, "via").join(", ");
    assert!(via.contains("hoft-south") && via.contains("hoft-north"), "Via: {via}");
    assert_eq!(answer.get("proxy-status"), None);
}

#[test]
fn a_path_is_carried_byte_for_byte() {
    let line = line();
    for path in ["/fields/a%20b;c=d/%C3%A9?q=%2F&r=a+b", "/fields/~!$&'()*+,;=:@", "/fields//double//"] {
        let answer = line.door().get(&line.url(path)).expect_status(200);
        assert_eq!(answer.json()["target"], path);
    }
}

#[test]
fn one_connection_carries_several_calls() {
    let line = line();
    let mut conn = line.door().connect().unwrap();
    for number in 0..3 {
        let target = line.url("/echo");
        let host = format!("127.0.0.1:{}", line.upstream.port);
        let body = format!("number {number}");
        let request = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        conn.write(request.as_bytes()).unwrap();
        let head = conn.read_head().unwrap().unwrap();
        assert_eq!(head.status(), 200, "{head:?}");
        let content = head.response_body("POST").rest(&mut conn).unwrap();
        assert_eq!(String::from_utf8(content).unwrap(), body);
    }
}

#[test]
fn many_calls_at_once_are_each_answered_with_their_own() {
    let line = line();
    let (door, url) = (line.door(), line.url("/echo"));
    let callers: Vec<_> = (0..40)
        .map(|number| {
            let url = url.clone();
            thread::spawn(move || {
                let body = format!("caller {number} ").repeat(1 + number * 100);
                let answer = door.post(&url, body.as_bytes()).expect_status(200);
                assert!(answer.body == body.as_bytes(), "caller {number} got something else");
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}

#[test]
fn an_https_upstream_is_called_with_the_authority_the_far_side_was_given() {
    let line = line();
    let port = crate::shared::places().tls;
    let answer = line.door().post(&format!("https://localhost:{port}/echo"), b"over TLS").expect_status(200);
    assert_eq!(answer.text(), "over TLS");
}

#[test]
fn the_admin_port_says_that_all_is_well() {
    let line = line();
    line.assert_works();
    for engine in [&line.near, &line.far] {
        for page in ["/startedz", "/livez", "/readyz", "/metrics"] {
            engine.admin().get(page).expect_status(200);
        }
        let peer = &engine.statusz()["peers"][0];
        assert_eq!(peer["alive"], "alive", "{peer}");
        assert_eq!(peer["halted"], Value::Null, "{peer}");
    }
}
