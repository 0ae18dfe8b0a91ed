//! Rules for named callers: the near side leaves out what is not for its service account, the far side asks what is stated.

use sidecar_config::file::{Caller, Destination};

use crate::harness::{Line, Options, destination, inbound, outbound};
use crate::upstream::Upstream;

/// A path of the upstream under a name that the usual rule does not cover.
fn at(port: u16, path: &str) -> Destination {
    Destination { paths: vec![path.to_owned()], ..destination("http", "localhost", port) }
}

fn start(variables: &[(&'static str, &str)]) -> Line {
    let upstream = Upstream::start();
    let port = upstream.port;
    let options = Options {
        near: Box::new(move |file| {
            for (rule, caller) in [("mine", "billing"), ("theirs", "orders")] {
                let target = Some(format!("http://localhost:{port}/echo/{rule}"));
                let mut rule = outbound(rule, at(port, &format!("/echo/{rule}")), target);
                rule.callers = vec![Caller { service_account: caller.to_owned() }];
                file.outbound.allow.push(rule);
            }
            file.outbound.allow.push(outbound("far", at(port, "/echo/far"), None));
        }),
        far: Box::new(move |file| {
            file.inbound.allow.push(inbound("all", at(port, "/echo/mine")));
            for (rule, caller) in [("far-mine", "billing"), ("far-theirs", "orders")] {
                let mut rule = inbound(rule, at(port, &format!("/echo/far/{rule}")));
                rule.callers = vec![caller.to_owned()];
                file.inbound.allow.push(rule);
            }
        }),
        near_variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        ..Options::default()
    };
    Line::start_with(&options, upstream)
}

#[test]
fn a_rule_with_callers_is_for_those_callers_only() {
    let line = start(&[("HOFT_NAMESPACE", "shop"), ("HOFT_SERVICE_ACCOUNT", "billing")]);
    let url = |path: &str| format!("http://localhost:{}{path}", line.upstream.port);
    line.door().get(&url("/echo/mine/x")).expect_status(200);
    line.door().get("/to/mine/x").expect_status(200);
    for target in [url("/echo/theirs/x"), "/to/theirs/x".to_owned()] {
        let answer = line.door().get(&target);
        let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
        assert!(answer.get("proxy-status").unwrap().starts_with("hoft-north;"), "{:?}", answer.fields);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("\"theirs\" is for named callers") && detail.contains("billing"), "{detail}");
    }
    line.door().get(&url("/echo/far/far-mine")).expect_status(200);
    let answer = line.door().get(&url("/echo/far/far-theirs"));
    let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
    assert!(answer.get("proxy-status").unwrap().starts_with("hoft-south;"), "{:?}", answer.fields);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("service account billing") && !detail.contains("orders"), "{detail}");
    line.assert_works();
}

#[test]
fn a_caller_that_is_not_named_has_no_rule_with_callers() {
    let line = start(&[]);
    let url = |path: &str| format!("http://localhost:{}{path}", line.upstream.port);
    for path in ["/echo/mine/x", "/echo/theirs/x", "/echo/far/far-mine", "/echo/far/far-theirs"] {
        let problem = line.door().get(&url(path)).expect_problem(403, "route-denied", "http_request_denied");
        assert!(problem["detail"].as_str().unwrap().contains("states no service account"), "{problem}");
    }
    line.assert_works();
}
