//! HTTP/2 without TLS on the local port: curl and httpx by prior knowledge, and the h2 package of Python for what they do not say.
//!
//! Read first: `curl_and_httpx_speak_http2_to_the_local_port`.

use std::process::Command;

use serde_json::{Value, json};

use crate::programs::{is_there, output_of, program, pyclients};
use crate::shared::line;

/// Sends the requests given as JSON, one connection each, without checking or changing what leaves: a list of
/// `{"fields": [[name, value], …], "body": text, "trailers": [[name, value], …]}`. Prints a list of what came back.
pub(crate) const H2_CLIENT: &str = r#"
import json, socket, sys
import h2.config, h2.connection, h2.events
def call(port, request):
    sock = socket.create_connection(('127.0.0.1', port), timeout=120)
    config = h2.config.H2Configuration(client_side=True, header_encoding='latin-1', validate_outbound_headers=False,
        normalize_outbound_headers=False, validate_inbound_headers=True)
    conn = h2.connection.H2Connection(config)
    conn.initiate_connection()
    body, trailers = request.get('body', '').encode(), request.get('trailers', [])
    octets = lambda fields: [(n.encode('latin-1'), v.encode('latin-1')) for n, v in fields]
    conn.send_headers(1, octets(request['fields']), end_stream=not body and not trailers)
    if body: conn.send_data(1, body, end_stream=not trailers)
    if trailers: conn.send_headers(1, octets(trailers), end_stream=True)
    got = dict(status=None, fields=[], body='', trailers=[], reset=None, closed=False)
    try:
        sock.sendall(conn.data_to_send())
        while True:
            data = sock.recv(65536)
            if not data:
                got['closed'] = True
                return got
            for event in conn.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    got['fields'] = list(event.headers)
                    got['status'] = int(dict(event.headers)[':status'])
                elif isinstance(event, h2.events.DataReceived):
                    conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    got['body'] += event.data.decode('latin-1')
                elif isinstance(event, h2.events.TrailersReceived):
                    got['trailers'] = list(event.headers)
                elif isinstance(event, h2.events.StreamReset):
                    got['reset'] = int(event.error_code)
                    return got
                elif isinstance(event, h2.events.ConnectionTerminated):
                    got['closed'] = True
                    return got
                elif isinstance(event, h2.events.StreamEnded):
                    return got
            sock.sendall(conn.data_to_send())
    except (ConnectionError, h2.exceptions.ProtocolError):
        got['closed'] = True
        return got
    finally:
        sock.close()
print(json.dumps([call(int(sys.argv[1]), request) for request in json.loads(sys.stdin.read())]))
"#;

/// What came back for each request.
#[track_caller]
pub(crate) fn h2_calls(python: &mut Command, port: u16, requests: &Value) -> Vec<Value> {
    use std::io::Write;
    python.args(["-c", H2_CLIENT, &port.to_string()]);
    python.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(requests.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the client failed: its errors are above");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The usual pseudo-fields.
fn request(method: &str, authority: &str, path: &str) -> Vec<[String; 2]> {
    [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
        .map(|(name, value)| [name.to_owned(), value.to_owned()])
        .to_vec()
}

fn with(mut fields: Vec<[String; 2]>, more: &[(&str, &str)]) -> Vec<[String; 2]> {
    fields.extend(more.iter().map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]));
    fields
}

#[test]
fn curl_and_httpx_speak_http2_to_the_local_port() {
    let line = line();
    let here = format!("http://127.0.0.1:{}", line.door().port);
    if is_there("curl", "curl") {
        let silent = ["--silent", "--show-error", "--fail", "--max-time", "150", "--http2-prior-knowledge"];
        let mut get = program("curl");
        get.args(silent).args(["-w", "|%{http_version}"]).arg(format!("{here}/to/up/fixed/5"));
        assert_eq!(output_of(&mut get), "01234|2");
        let file = line.folder.path().join("h2-upload");
        std::fs::write(&file, crate::upstream::fixed(1_000_000)).unwrap();
        let mut post = program("curl");
        post.args(silent).args(["--data-binary", &format!("@{}", file.display())]).arg(format!("{here}/to/up/echo"));
        assert!(output_of(&mut post).as_bytes() == crate::upstream::fixed(1_000_000));
    }
    let Some(mut python) = pyclients() else { return };
    let script = "import sys, httpx\n\
        with httpx.Client(http1=False, http2=True, timeout=150) as client:\n\
        \x20   got = client.post(sys.argv[1] + '/to/up/echo', content=b'by httpx')\n\
        \x20   print(got.http_version, got.text, end='')\n";
    assert_eq!(output_of(python.args(["-c", script, &here])), "HTTP/2 by httpx");
}

#[test]
fn http2_keeps_trailers_and_is_guarded_like_http1() {
    let Some(mut python) = pyclients() else { return };
    let line = line();
    let port = line.door().port;
    let (here, up) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", line.upstream.port));
    let grpc = with(
        request("POST", &here, "/to/up/fields/h2"),
        &[("te", "trailers"), ("content-type", "application/grpc"), ("trailer", "x-checksum")],
    );
    let cookies = with(request("GET", &here, "/to/up/fields/h2"), &[("cookie", "a=1"), ("cookie", "b=2")]);
    let requests = json!([
        {"fields": grpc, "body": "12345", "trailers": [["x-checksum", "abc"]]},
        {"fields": request("GET", &here, "/to/up/chunks/h2/1")},
        {"fields": cookies},
        {"fields": request("GET", &up, "/fixed/7")},
        {"fields": request("GET", "evil.example", "/v1/operations")},
        {"fields": request("GET", &here, "/v1/operations")},
        {"fields": with(request("GET", &here, "/v1/operations"), &[("origin", "http://evil.example")])},
        {"fields": with(request("GET", &up, "/fixed/7"), &[("host", "evil.example")])},
        {"fields": [[":method", "CONNECT"], [":authority", up]]},
        {"fields": with(request("GET", &here, "/to/up/fixed/1"), &[("x-large", &"x".repeat(70_000))])},
        {"fields": request("HEAD", &here, "/to/up/fixed/7")},
    ]);
    let answers = h2_calls(&mut python, port, &requests);
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].as_u64()).collect();
    let expected = [200, 200, 200, 200, 403, 200, 403, 400, 502, 431, 200].map(Some);
    assert_eq!(statuses, expected, "{answers:#?}");
    let report: Value = serde_json::from_str(answers[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(report["trailers"], json!([["x-checksum", "abc"]]), "{report}");
    let seen = |report: &Value, name: &str| -> Vec<String> {
        let fields = report["fields"].as_array().unwrap().iter();
        fields.filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(seen(&report, "te"), ["trailers"]);
    assert_eq!(seen(&report, "via"), ["2 hoft-north", "1.1 hoft-south"]);
    assert_eq!(answers[1]["trailers"], json!([["x-sum", "all of it"]]));
    let report: Value = serde_json::from_str(answers[2]["body"].as_str().unwrap()).unwrap();
    assert_eq!(seen(&report, "cookie"), ["a=1; b=2"]);
    assert_eq!(answers[3]["body"], "0123456");
    assert!(answers[8]["body"].as_str().unwrap().contains("upgrade-failed"), "{}", answers[8]);
    line.assert_works();
}
