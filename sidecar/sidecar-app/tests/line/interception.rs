//! Https interception: unchanged https clients that trust the engine's authority make single calls.
//!
//! The rule `erp` is for `https://erp.test` and everything below `*.south.test` on a port of its own; the far side leads it to the
//! HTTPS upstream `localhost`. Read first: `an_https_client_makes_calls_that_the_engine_sees`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use sidecar_config::file::Destination;

use crate::harness::{Line, Options, SharedLine, destination, inbound, outbound};
use crate::process::{Process, eventually};
use crate::programs::{is_there, output_of, program, pyclients};
use crate::shared::Authority;
use crate::upstream::Upstream;

struct Place {
    upstream: Arc<Upstream>,
    ca: PathBuf,
}

fn erp(methods: &[&str]) -> Destination {
    Destination {
        methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        paths: vec!["/fields/".to_owned(), "/echo".to_owned()],
        ..destination("https", "erp.test", 443)
    }
}

fn intercepting() -> (SharedLine, &'static Place) {
    static LINE: OnceLock<(Line, Place)> = OnceLock::new();
    let (line, place) = LINE.get_or_init(|| {
        let authority = Authority::new();
        let upstream = Upstream::start_tls(&authority.leaf, &authority.leaf_key);
        let folder = crate::process::folder().keep();
        let ca_file = folder.join("upstream-ca.pem");
        std::fs::write(&ca_file, authority.pem).unwrap();
        let target = format!("https://localhost:{}", upstream.port);
        let south = || Destination { host: "*.south.test".to_owned(), ..erp(&["GET"]) };
        let options = Options {
            near: Box::new(move |file| {
                file.interception.enabled = true;
                let mut rule = outbound("erp", erp(&["GET", "POST"]), None);
                rule.destinations.push(south());
                rule.tunnels.upgrades = vec!["websocket".to_owned()];
                let stream = Destination { host: "stream.test".to_owned(), ..erp(&["GET", "CONNECT"]) };
                file.outbound.allow.extend([rule, outbound("stream", stream, None)]);
            }),
            far: Box::new(move |file| {
                let mut rule = inbound("erp", erp(&["GET", "POST"]));
                rule.destinations.push(south());
                rule.target = Some(target.clone());
                rule.tls.ca_file = Some(ca_file.clone());
                file.inbound.allow.push(rule);
            }),
            ..Options::default()
        };
        let line = Line::start(&options);
        let pem = line.door().get("/v1/ca.pem").expect_status(200);
        assert_eq!(pem.get("content-type"), Some("application/pem-certificate-chain"));
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, pem.body).unwrap();
        (line, Place { upstream, ca })
    });
    (SharedLine(line), place)
}

fn curl(line: &Line, place: &Place) -> Command {
    let mut curl = program("curl");
    curl.args(["--silent", "--show-error", "--max-time", "150", "--cacert"]).arg(&place.ca);
    curl.env("https_proxy", format!("http://127.0.0.1:{}", line.door().port));
    curl
}

#[test]
fn an_https_client_makes_calls_that_the_engine_sees() {
    if !is_there("curl", "curl") {
        return;
    }
    let (line, place) = intercepting();
    for (version, said) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut posting = curl(&line, place);
        let path = format!("https://erp.test/echo?{said}");
        posting.args([version, "--fail", "-w", "|%{http_version}", "--data-binary", "a secret", &path]);
        assert_eq!(output_of(&mut posting), format!("a secret|{said}"));
        let calls = place.upstream.calls(&format!("/echo?{said}"));
        assert_eq!(calls.len(), 1);
        let via: Vec<_> = calls[0].fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("via")).collect();
        assert_eq!(via.len(), 2, "it crossed as a call: {calls:?}");
        assert!(
            calls[0].fields.iter().any(|(name, value)| name.eq_ignore_ascii_case("host") && value == "erp.test"),
            "{calls:?}"
        );
    }
    let mut below = curl(&line, place);
    let report = output_of(below.args(["--fail", "https://a.b.south.test/fields/below"]));
    assert!(report.contains("a.b.south.test"), "{report}");
    // Rules by path and method hold inside.
    for (method, path) in [("GET", "/secret"), ("DELETE", "/fields/x")] {
        let mut denied = curl(&line, place);
        denied.args(["-X", method, "-w", "|%{http_code}", &format!("https://erp.test{path}")]);
        let said = output_of(&mut denied);
        assert!(said.ends_with("|403") && said.contains("route-denied"), "{said}");
    }
}

#[test]
fn requests_calls_through_https_proxy() {
    let Some(mut python) = pyclients() else { return };
    let (line, place) = intercepting();
    let script = "import sys, requests\n\
        session = requests.Session()\n\
        session.trust_env = False\n\
        session.proxies, session.verify = {'https': sys.argv[1]}, sys.argv[2]\n\
        for n in range(3):\n\
        \x20   print(session.post('https://erp.test/echo', data=f'{n} by requests;', timeout=150).text, end='')\n";
    let door = format!("http://127.0.0.1:{}", line.door().port);
    python.args(["-c", script, &door]).arg(&place.ca);
    assert_eq!(output_of(&mut python), "0 by requests;1 by requests;2 by requests;");
}

#[test]
fn hosts_beyond_the_rules_are_refused_before_any_handshake() {
    let (line, place) = intercepting();
    for authority in ["evil.test:443", "x.erp.test:443", "south.test:443", "erp.test:8443", "127.0.0.1:443"] {
        let answer = line.door().call("CONNECT", authority).field("Host", authority).send();
        answer.expect_problem(403, "route-denied", "http_request_denied");
    }
    // A rule that names CONNECT lets the octets through as they are; here only the near side has one.
    let answer = line.door().call("CONNECT", "stream.test:443").field("Host", "stream.test:443").send();
    answer.expect_problem(403, "route-denied", "http_request_denied");
    assert!(answer.get("proxy-status").unwrap().starts_with("hoft-south;"), "{:?}", answer.fields);
    if !is_there("curl", "curl") {
        return;
    }
    // Inside, another host is not reached by its name in the request.
    let mut other = curl(&line, place);
    other.args(["-H", "Host: a.south.test", "-w", "|%{http_code}", "https://erp.test/fields/other"]);
    let said = output_of(&mut other);
    assert!(said.ends_with("|400"), "{said}");
    assert!(place.upstream.calls("/fields/other").is_empty());
    // Whoever does not trust the authority is not served.
    let mut distrusting = program("curl");
    distrusting.args([
        "--silent",
        "--max-time",
        "150",
        "--proxy",
        &format!("http://127.0.0.1:{}", line.door().port),
        "https://erp.test/echo",
    ]);
    assert!(!distrusting.output().unwrap().status.success());
    line.assert_works();
}

#[test]
fn the_authority_survives_a_restart_and_is_offered_only_where_it_is_on() {
    let line = crate::shared::line();
    line.door().get("/v1/ca.pem").expect_problem(404, "unknown-route", "http_request_denied");
    let options = Options {
        near: Box::new(|file| {
            file.interception.enabled = true;
            file.outbound.allow.push(outbound("erp", erp(&["GET"]), None));
        }),
        ..Options::default()
    };
    let line = Line::start(&options);
    let before = line.door().get("/v1/ca.pem").expect_status(200).body;
    line.near.kill();
    line.near.start_again();
    assert!(line.door().get("/v1/ca.pem").expect_status(200).body == before);
    line.door().call("GET", "/v1/ca.pem").field("Origin", "http://evil.example").send().expect_status(403);
    line.door().call("POST", "/v1/ca.pem").send().expect_status(405);
}

const WEBSOCKET_SERVER: &str = r#"
import ssl, sys
from websockets.sync.server import serve
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
def echo(socket):
    for message in socket:
        socket.send(message)
with serve(echo, '127.0.0.1', int(sys.argv[1]), ssl=context) as server:
    server.serve_forever()
"#;

const WEBSOCKET_CLIENT: &str = r#"
import ssl, sys
from websockets.sync.client import connect
context = ssl.create_default_context(cafile=sys.argv[2])
options = dict(proxy='http://127.0.0.1:' + sys.argv[1], ssl=context, open_timeout=120, close_timeout=120, ping_timeout=120)
with connect('wss://chat.test/room', **options) as socket:
    assert 'hoft-operation-id' in socket.response.headers, socket.response.headers
    for n in range(3):
        socket.send(f'message {n}')
        assert socket.recv(timeout=120) == f'message {n}'
print(socket.close_code, end='')
"#;

#[test]
fn a_websocket_within_tls_is_opened_by_a_call_and_by_tls_on_the_far_side() {
    let (Some(mut server), Some(mut client)) = (pyclients(), pyclients()) else { return };
    let folder = crate::process::folder();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    for (name, content) in [
        ("upstream-ca.pem", authority.pem),
        ("leaf.pem", authority.leaf.pem()),
        ("key.pem", authority.leaf_key.serialize_pem()),
    ] {
        std::fs::write(path(name), content).unwrap();
    }
    let port = crate::harness::free_port();
    server.args(["-c", WEBSOCKET_SERVER, &port.to_string()]).arg(path("leaf.pem")).arg(path("key.pem"));
    let _server = Process::start(server, &path("server.log"));
    eventually("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let upstream_ca = path("upstream-ca.pem");
    let listed = || vec!["websocket".to_owned()];
    let options = Options {
        near: Box::new(move |file| {
            file.interception.enabled = true;
            let mut rule = outbound("chat", destination("https", "chat.test", 443), None);
            rule.tunnels.upgrades = listed();
            file.outbound.allow.push(rule);
        }),
        far: Box::new(move |file| {
            let mut rule = inbound("chat", destination("https", "chat.test", 443));
            rule.tunnels.upgrades = listed();
            rule.target = Some(format!("https://localhost:{port}"));
            rule.tls.ca_file = Some(upstream_ca.clone());
            file.inbound.allow.push(rule);
        }),
        ..Options::default()
    };
    let line = Line::start(&options);
    std::fs::write(path("ca.pem"), line.door().get("/v1/ca.pem").expect_status(200).body).unwrap();
    client.args(["-c", WEBSOCKET_CLIENT, &line.door().port.to_string()]).arg(path("ca.pem"));
    assert_eq!(output_of(&mut client), "1000");
}
