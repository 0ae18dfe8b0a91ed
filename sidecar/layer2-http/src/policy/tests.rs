//! Tests of `policy`.

use super::*;
use crate::target::parse_absolute;

fn rule() -> Rule {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Rule {
        name: "erp".to_owned(),
        schemes: list(&["https"]),
        hosts: vec![HostPattern::parse("erp.south.svc").unwrap(), HostPattern::parse("*.erp.example").unwrap()],
        ports: vec![443, 8443],
        path_prefixes: list(&["/v1/", "/health"]),
        methods: list(&["GET", "POST"]),
        callers: vec![],
        max_body: Some(1024),
        addresses: vec![],
        timeout: Duration::from_secs(60),
        retry: Retry::default(),
    }
}

fn decide(policy: &Policy, method: &str, url: &str) -> Result<String, Denied> {
    policy.decide(&parse_absolute(url).unwrap().call(method)).map(|rule| rule.name.clone())
}

fn policy(rules: impl IntoIterator<Item = Rule>) -> Policy {
    Policy::new(rules.into_iter().collect()).unwrap()
}

#[test]
fn each_part_of_a_rule_can_refuse() {
    let policy = policy([rule()]);
    assert_eq!(decide(&policy, "GET", "https://erp.south.svc/v1/x"), Ok("erp".to_owned()));
    assert_eq!(decide(&policy, "POST", "https://a.erp.example:8443/health"), Ok("erp".to_owned()));
    for (method, url, reason, remedy) in [
        ("GET", "https://crm.south.svc/v1/x", DenyReason::Host, "would have to allow crm.south.svc"),
        ("GET", "https://erp.example/v1/x", DenyReason::Host, "would have to allow erp.example"),
        ("GET", "https://erp.south.svc:444/v1/x", DenyReason::Port, "port 444"),
        ("GET", "http://erp.south.svc:443/v1/x", DenyReason::Scheme, "scheme http"),
        ("GET", "https://erp.south.svc/v2/x", DenyReason::Path, "prefix of /v2/x"),
        ("GET", "https://erp.south.svc/v1", DenyReason::Path, "prefix of /v1"),
        ("GET", "https://erp.south.svc/v1/../v2", DenyReason::Path, "prefix of /v2"),
        ("PUT", "https://erp.south.svc/v1/x", DenyReason::Method, "method PUT"),
        ("get", "https://erp.south.svc/v1/x", DenyReason::Method, "method get"),
    ] {
        let denied = decide(&policy, method, url).unwrap_err();
        assert_eq!(denied.reason, reason, "{method} {url}");
        assert_eq!(denied.rule.as_deref(), Some("erp"));
        assert!(denied.message.contains(remedy), "{}", denied.message);
    }
}

#[test]
fn a_rule_with_callers_is_theirs_alone() {
    let target = parse_absolute("https://erp.south.svc/v1/x").unwrap();
    let own = policy([Rule { callers: vec!["billing".into(), "orders".into()], ..rule() }]);
    let call = target.call("GET");
    assert_eq!(own.decide(&call.by(Some("orders"))).unwrap().name, "erp");
    assert_eq!(own.decide_route("erp", &call.by(Some("billing"))).unwrap().name, "erp");
    for (caller, words) in [(Some("stock"), "list the service account stock"), (None, "states no service account")] {
        let denied = own.decide(&call.by(caller)).unwrap_err();
        assert_eq!((denied.reason, denied.rule.as_deref()), (DenyReason::Caller, Some("erp")));
        assert!(denied.message.contains(words), "{}", denied.message);
        assert!(!denied.message.contains("billing") && !denied.message.contains("orders"), "{}", denied.message);
        assert_eq!(own.decide_route("erp", &call.by(caller)).unwrap_err().reason, DenyReason::Caller);
    }
    // Another rule may be everybody's.
    let both = policy([Rule { callers: vec!["billing".into()], ..rule() }, Rule { name: "open".into(), ..rule() }]);
    assert_eq!(both.decide(&call.by(Some("stock"))).unwrap().name, "open");
    assert_eq!(both.decide(&call.by(Some("billing"))).unwrap().name, "erp");
    assert_eq!(policy([rule()]).decide(&call.by(Some("stock"))).unwrap().name, "erp");
}

#[test]
fn without_rules_everything_is_refused() {
    let denied = decide(&Policy::default(), "GET", "http://localhost/").unwrap_err();
    assert_eq!(denied.reason, DenyReason::NoRule);
    assert_eq!(denied.rule, None);
    assert_eq!(denied.to_string(), "GET http://localhost:80/ is not allowed: there is no rule it could match; add one");
}

#[test]
fn a_refusal_becomes_a_problem_that_was_not_executed() {
    let problem = decide(&policy([rule()]), "GET", "https://erp.south.svc/v2").unwrap_err().to_problem();
    assert_eq!((problem.status, problem.kind, problem.executed), (403, ProblemKind::RouteDenied, Some(Executed::No)));
    assert!(problem.detail.contains("rule \"erp\""));
    let long = decide(&policy([rule()]), "GET", &format!("https://erp.south.svc/{}", "x".repeat(30_000))).unwrap_err();
    assert!(long.message.len() < 400);
}

#[test]
fn parts_of_two_rules_do_not_add_up() {
    let other = Rule {
        name: "crm".into(),
        hosts: vec![HostPattern::parse("crm").unwrap()],
        methods: vec!["PUT".into()],
        ..rule()
    };
    let policy = policy([rule(), other]);
    assert_eq!(decide(&policy, "PUT", "https://erp.south.svc/v1/").unwrap_err().reason, DenyReason::Method);
    assert_eq!(decide(&policy, "PUT", "https://crm/v1/"), Ok("crm".to_owned()));
    assert_eq!(policy.rule("crm").unwrap().name, "crm");
    assert_eq!(policy.rule("none"), None);
}

#[test]
fn the_rule_that_came_closest_is_named() {
    let far = Rule { name: "far".into(), hosts: vec![HostPattern::parse("x").unwrap()], ..rule() };
    let policy = policy([far, rule()]);
    let denied = decide(&policy, "DELETE", "https://erp.south.svc/v1/").unwrap_err();
    assert_eq!((denied.reason, denied.rule.as_deref()), (DenyReason::Method, Some("erp")));
}

#[test]
fn a_route_may_be_used_only_as_its_own_rules_allow() {
    let open = Rule { name: "open".into(), path_prefixes: vec!["/".into()], methods: vec!["*".into()], ..rule() };
    let policy = policy([rule(), open]);
    let target = parse_absolute("https://erp.south.svc/v2/").unwrap();
    assert!(policy.decide(&target.call("GET")).is_ok());
    assert!(policy.decide_route("open", &target.call("GET")).is_ok());
    assert_eq!(policy.decide_route("erp", &target.call("GET")).unwrap_err().reason, DenyReason::Path);
    assert_eq!(policy.decide_route("none", &target.call("GET")).unwrap_err().reason, DenyReason::NoRule);
}

#[test]
fn rules_of_one_name_are_alternatives() {
    let read = Rule { methods: vec!["GET".into()], ..rule() };
    let write = Rule { methods: vec!["POST".into()], path_prefixes: vec!["/v1/orders".into()], ..rule() };
    let policy = policy([read, write]);
    assert!(decide(&policy, "POST", "https://erp.south.svc/v1/orders/7").is_ok());
    assert!(decide(&policy, "POST", "https://erp.south.svc/v1/x").is_err());
}

#[test]
fn any_method_is_every_method_but_connect() {
    let any = policy([Rule { methods: vec!["*".into()], ..rule() }]);
    for method in ["GET", "DELETE", "PURGE"] {
        assert!(decide(&any, method, "https://erp.south.svc/v1/").is_ok());
    }
    let connect =
        CallTarget { scheme: "", host: "erp.south.svc", port: 443, path: "", method: "CONNECT", caller: None };
    assert_eq!(any.decide(&connect).unwrap_err().reason, DenyReason::Method);
    let stream = policy([Rule { methods: vec!["CONNECT".into()], ..rule() }]);
    assert!(stream.decide(&connect).is_ok());
    assert_eq!(stream.decide(&CallTarget { port: 22, ..connect }).unwrap_err().reason, DenyReason::Port);
    assert_eq!(stream.decide(&CallTarget { host: "x", ..connect }).unwrap_err().reason, DenyReason::Host);
    assert!(decide(&stream, "GET", "https://erp.south.svc/v1/").is_err());
}

#[test]
fn without_ports_the_default_ports_of_the_schemes_are_allowed() {
    let policy = policy([Rule { ports: vec![], schemes: vec!["http".into(), "https".into()], ..rule() }]);
    assert!(decide(&policy, "GET", "https://erp.south.svc/v1/").is_ok());
    assert!(decide(&policy, "GET", "http://erp.south.svc/v1/").is_ok());
    assert!(decide(&policy, "GET", "http://erp.south.svc:8080/v1/").is_err());
}

#[test]
fn a_suffix_matches_names_beneath_it_and_no_look_alikes() {
    let suffix = HostPattern::parse("*.South.svc").unwrap();
    assert_eq!(suffix, HostPattern::Suffix(".south.svc".to_owned()));
    for (host, matches) in [
        ("erp.south.svc", true),
        ("a.b.south.svc", true),
        ("erp.south.svc.", true),
        ("south.svc", false),
        (".south.svc", false),
        ("evilsouth.svc", false),
        ("erp.south.svc.evil.example", false),
    ] {
        assert_eq!(suffix.matches(host), matches, "{host}");
    }
    assert_eq!(suffix.to_string(), "*.south.svc");
}

#[test]
fn hosts_match_in_canonical_form() {
    for (pattern, url) in [
        ("ERP.South.svc", "https://erp.south.svc./v1/"),
        ("erp.south.svc.", "https://ERP.south.svc/v1/"),
        ("127.0.0.1", "https://0x7f.1/v1/"),
        ("::1", "https://[0:0::1]/v1/"),
        ("[::1]", "https://[::1]/v1/"),
        ("::ffff:10.0.0.1", "https://[::ffff:a00:1]/v1/"),
        ("bücher.example", "https://xn--bcher-kva.example/v1/"),
    ] {
        let policy = policy([Rule { hosts: vec![HostPattern::parse(pattern).unwrap()], ..rule() }]);
        assert!(decide(&policy, "GET", url).is_ok(), "{pattern} {url}");
    }
}

#[test]
fn patterns_that_match_everything_or_nothing_are_refused() {
    for text in ["", "*", "*.", "*.*", "*x", "a*", "*.1.2.3.4", "*.[::1]", "a b", "http://a", "a/b", "a:80", "a@b", "."]
    {
        assert_eq!(HostPattern::parse(text), None, "{text}");
    }
}

#[test]
fn rules_that_cannot_be_one_are_refused() {
    let refused = |rule: Rule| Policy::new(vec![rule]).unwrap_err().problem;
    let empty = |what| RuleProblem::Empty { what };
    assert_eq!(refused(Rule { name: "ERP".into(), ..rule() }), RuleProblem::Name);
    assert_eq!(refused(Rule { schemes: vec![], ..rule() }), empty("scheme"));
    assert_eq!(refused(Rule { hosts: vec![], ..rule() }), empty("host"));
    assert_eq!(refused(Rule { path_prefixes: vec![], ..rule() }), empty("path prefix"));
    assert_eq!(refused(Rule { methods: vec![], ..rule() }), empty("method"));
    let value = |what, value: &str| RuleProblem::Value { what, value: value.to_owned() };
    assert_eq!(refused(Rule { schemes: vec!["ftp".into()], ..rule() }), value("scheme (http or https)", "ftp"));
    assert_eq!(refused(Rule { hosts: vec![HostPattern::Exact(String::new())], ..rule() }), value("host", ""));
    assert_eq!(refused(Rule { hosts: vec![HostPattern::Suffix(".".into())], ..rule() }), value("host", "*."));
    assert_eq!(refused(Rule { ports: vec![80, 0], ..rule() }), value("port", "0"));
    for prefix in ["", "v1", "*", "/a/../b", "/%2e%2e", "/a%2fb", "/%"] {
        let refused = refused(Rule { path_prefixes: vec![prefix.into()], ..rule() });
        assert_eq!(refused, value("path prefix", prefix));
    }
    assert_eq!(refused(Rule { methods: vec!["GET POST".into()], ..rule() }), value("method", "GET POST"));
}

#[test]
fn prefixes_and_paths_meet_in_normal_form() {
    let policy = policy([Rule { path_prefixes: vec!["/%7Eme/caf%c3%a9".into()], ..rule() }]);
    assert!(decide(&policy, "GET", "https://erp.south.svc/~me/caf%C3%A9/x").is_ok());
    assert!(decide(&policy, "GET", "https://erp.south.svc/%7eme/café").is_ok());
}
