//! Rules with a target: calls go to the rule's server, whatever host they name, and stay as their caller wrote them.

use crate::harness::{Line, Options, destination, inbound, outbound};
use crate::shared::Authority;
use crate::upstream::Upstream;

#[test]
fn a_call_goes_to_the_target_of_its_rule_and_stays_as_it_was_written() {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let tls = Upstream::start_tls(&authority.leaf, &authority.leaf_key);
    let ca_folder = crate::process::folder();
    let ca_file = ca_folder.path().join("ca.pem");
    std::fs::write(&ca_file, &authority.pem).unwrap();
    let (port, tls_port) = (upstream.port, tls.port);
    let options = Options {
        near: Box::new(|file| {
            let call = |name: &str, host: &str, port| outbound(name, destination("https", host, port), None);
            file.outbound.allow.extend([
                call("plain", "erp.example", 443),
                call("tls", "crm.example", 8443),
                call("wrong-name", "hr.example", 443),
                call("unlisted", "it.example", 443),
            ]);
        }),
        far: Box::new(move |file| {
            let rule = |name: &str, host: &str, at: u16, target: String| {
                let mut rule = inbound(name, destination("https", host, at));
                rule.target = Some(target);
                rule
            };
            let plain = rule("plain", "erp.example", 443, format!("http://127.0.0.1:{port}"));
            let mut by_tls = rule("tls", "crm.example", 8443, format!("https://localhost:{tls_port}"));
            by_tls.tls.ca_file = Some(ca_file.clone());
            let mut wrong = rule("wrong-name", "hr.example", 443, format!("https://127.0.0.1:{tls_port}"));
            wrong.tls.ca_file = Some(ca_file.clone());
            let mut unlisted = rule("unlisted", "it.example", 443, format!("http://localhost:{port}"));
            unlisted.addresses = vec!["127.9.9.9".to_owned()];
            file.inbound.allow.extend([plain, by_tls, wrong, unlisted]);
        }),
        ..Options::default()
    };
    let line = Line::start_with(&options, upstream);
    let host_seen = |server: &Upstream, path: &str| {
        let seen = server.calls(path).pop().unwrap();
        assert_eq!(seen.target, format!("{path}?a=1"));
        crate::http::field(&seen.fields, "host").unwrap().to_owned()
    };
    line.door().get("https://erp.example/echo/plain?a=1").expect_status(200);
    assert_eq!(host_seen(&line.upstream, "/echo/plain"), "erp.example");
    line.door().get("https://crm.example:8443/echo/tls?a=1").expect_status(200);
    assert_eq!(host_seen(&tls, "/echo/tls"), "crm.example:8443");
    let answer = line.door().get("https://hr.example/echo/wrong");
    answer.expect_problem(502, "tls-certificate", "tls_certificate_error");
    let answer = line.door().get("https://it.example/echo/unlisted");
    let problem = answer.expect_problem(502, "address-denied", "destination_ip_prohibited");
    assert!(problem["detail"].as_str().unwrap().contains("the target of rule `unlisted`"), "{problem}");
    assert!(tls.calls("/echo/wrong").is_empty() && line.upstream.calls("/echo/unlisted").is_empty());
}
