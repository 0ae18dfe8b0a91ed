//! Servers that nobody here wrote behind the far side: nginx, httpbin, and an authorization server of Authlib.
//!
//! A program that is missing is skipped with a message; `HOFT_REQUIRE=nginx,pyclients` makes that a failure. Read first:
//! [`httpbin_answers_through_the_line_as_it_does_directly`].

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sidecar_config::far_side::{ClientAuth, OAuth};

use crate::client::{Answer, Door};
use crate::far_side::found_in;
use crate::harness::{Line, Options, destination, free_port, inbound, outbound};
use crate::process::{Process, eventually, folder};
use crate::programs::{program, pyclients};
use crate::upstream::Upstream;

/// A line to whatever listens on this port of loopback.
fn line_to(port: u16) -> Line {
    let options = Options {
        near: Box::new(move |file| {
            file.outbound.allow.push(outbound("theirs", destination("http", "127.0.0.1", port), None))
        }),
        far: Box::new(move |file| file.inbound.allow.push(inbound("theirs", destination("http", "127.0.0.1", port)))),
        ..Options::default()
    };
    Line::start(&options)
}

/// Starts a server and waits until it answers.
fn serve(command: Command, log: &Path, port: u16, path: &str) -> Process {
    let mut process = Process::start(command, log);
    eventually("the server answers", || {
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(process.ended().is_none(), "the server ended: {}", log());
        Door::at(port).call("GET", path).try_send().ok()
    });
    process
}

fn nginx_is_there() -> bool {
    let found = Command::new("nginx").arg("-v").output().is_ok_and(|output| output.status.success());
    let required = std::env::var("HOFT_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "nginx"));
    assert!(found || !required, "HOFT_REQUIRE names nginx, which is missing");
    if !found {
        println!("SKIPPED: `nginx` is missing on this machine, so nothing was tested with it");
    }
    found
}

fn nginx(place: &Path, port: u16) -> Command {
    let home = place.display();
    std::fs::create_dir_all(place.join("www")).unwrap();
    let text = format!(
        "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  log_format calls '$connection $connection_requests $request_method $request_uri $status';
  access_log {home}/access.log calls;
  types {{ text/plain txt; application/octet-stream bin; }}
  gzip on; gzip_proxied any; gzip_min_length 100; gzip_types text/plain;
  server {{
    listen 127.0.0.1:{port}; root {home}/www;
    location /moved {{ return 302 http://169.254.169.254/latest/; }}
    location /upload {{ client_max_body_size 50m; dav_methods PUT; }}
  }}
}}
"
    );
    std::fs::write(place.join("nginx.conf"), text).unwrap();
    let mut command = program("nginx");
    command.arg("-p").arg(place).arg("-c").arg(place.join("nginx.conf"));
    command
}

#[test]
fn nginx_serves_files_ranges_validators_and_encodings() {
    if !nginx_is_there() {
        return;
    }
    let (place, port) = (folder(), free_port());
    let command = nginx(place.path(), port);
    // Its worker is another user where the test is root.
    for path in [place.path(), &place.path().join("www")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let www = place.path().join("www");
    let large: Vec<u8> = crate::upstream::fixed(20_000_000);
    std::fs::write(www.join("large.bin"), &large).unwrap();
    std::fs::write(www.join("small.txt"), "small\n".repeat(200)).unwrap();
    let _server = serve(command, &place.path().join("nginx.log"), port, "/small.txt");
    let line = line_to(port);
    let call = |method: &str, path: &str| line.door().call(method, &format!("http://127.0.0.1:{port}{path}"));

    let whole = call("GET", "/large.bin").send().expect_status(200);
    assert!(whole.body == large, "{} octets", whole.body.len());
    let etag = whole.get("etag").unwrap().to_owned();
    let modified = whole.get("last-modified").unwrap().to_owned();
    // Validators: nothing is sent again.
    let same = call("GET", "/large.bin").field("If-None-Match", &etag).send().expect_status(304);
    assert_eq!((same.get("etag"), same.body.len()), (Some(etag.as_str()), 0));
    call("GET", "/large.bin").field("If-Modified-Since", &modified).send().expect_status(304);
    call("GET", "/large.bin").field("If-Match", "\"other\"").send().expect_status(412);
    // Ranges pass, in both directions.
    let part = call("GET", "/large.bin").field("Range", "bytes=1000-1999").send().expect_status(206);
    assert!(part.body == large[1000..2000]);
    assert_eq!(part.get("content-range"), Some("bytes 1000-1999/20000000"));
    let parts = call("GET", "/large.bin").field("Range", "bytes=0-1,5-6").send().expect_status(206);
    assert!(parts.get("content-type").unwrap().starts_with("multipart/byteranges"));
    call("GET", "/large.bin").field("Range", "bytes=90000000-").send().expect_status(416);
    // What nginx encodes comes as it was encoded; that response is chunked.
    let zipped = call("GET", "/small.txt").field("Accept-Encoding", "gzip").send().expect_status(200);
    let direct = Door::at(port).call("GET", "/small.txt").field("Accept-Encoding", "gzip").send();
    assert_eq!((zipped.get("content-encoding"), &zipped.body), (Some("gzip"), &direct.body));
    assert_eq!(direct.get("transfer-encoding"), Some("chunked"));
    let plain = call("GET", "/small.txt").send().expect_status(200);
    assert_eq!((plain.get("content-encoding"), plain.text()), (None, "small\n".repeat(200)));
    let head = call("HEAD", "/large.bin").send().expect_status(200);
    assert_eq!((head.get("content-length"), head.body.len()), (Some("20000000"), 0));
    // A redirect comes back as it is: whoever follows it is held to the rules.
    let moved = call("GET", "/moved").send().expect_status(302);
    assert_eq!(moved.get("location"), Some("http://169.254.169.254/latest/"));
    line.door().get(moved.get("location").unwrap()).expect_problem(403, "route-denied", "http_request_denied");
    call("GET", "/none").send().expect_status(404);
    // One connection carried many calls.
    let log = std::fs::read_to_string(place.path().join("access.log")).unwrap();
    let reused = log.lines().filter(|line| line.split(' ').nth(1).is_some_and(|nth| nth != "1"));
    assert!(reused.count() >= 5, "{log}");
}

#[test]
fn httpbin_answers_through_the_line_as_it_does_directly() {
    let Some(mut python) = pyclients() else { return };
    let (place, port) = (folder(), free_port());
    python.args(["-m", "httpbin.core", "--host", "127.0.0.1", "--port", &port.to_string()]);
    let _server = serve(python, &place.path().join("httpbin.log"), port, "/get");
    let line = line_to(port);
    let call = |method: &str, path: &str| line.door().call(method, &format!("http://127.0.0.1:{port}{path}"));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let mut one = call(method, "/anything/a%20b?x=1&x=2").field("X-Own", "1");
        if method != "GET" {
            one = one.field("Content-Type", "application/json").body(b"{\"a\": [1, 2]}");
        }
        let said = one.send().expect_status(200).json();
        assert_eq!((said["method"].as_str(), &said["args"]["x"]), (Some(method), &serde_json::json!(["1", "2"])));
        assert_eq!(said["headers"]["X-Own"], "1");
        if method != "GET" {
            assert_eq!(said["json"], serde_json::json!({"a": [1, 2]}), "{said}");
        }
    }
    for status in [200, 204, 301, 304, 400, 404, 418, 429, 500, 503] {
        call("GET", &format!("/status/{status}")).send().expect_status(status);
    }
    // Redirects are returned, whatever their target.
    for (path, location) in [
        ("/redirect-to?url=http%3A%2F%2F169.254.169.254%2F&status_code=307", "http://169.254.169.254/"),
        ("/relative-redirect/2", "/relative-redirect/1"),
    ] {
        assert_eq!(call("GET", path).send().get("location"), Some(location), "{path}");
    }
    // Cookies pass where no jar is asked for.
    let set = call("GET", "/cookies/set?a=1&b=2").send().expect_status(302);
    assert_eq!(set.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).count(), 2);
    let said = call("GET", "/cookies").field("Cookie", "a=1; b=2").send().expect_status(200).json();
    assert_eq!(said["cookies"], serde_json::json!({"a": "1", "b": "2"}));
    // Credentials of the caller pass where the rule has none of its own.
    let refused = call("GET", "/basic-auth/u/p").send().expect_status(401);
    assert!(refused.get("www-authenticate").unwrap().starts_with("Basic"));
    call("GET", "/basic-auth/u/p").field("Authorization", "Basic dTpw").send().expect_status(200);
    call("GET", "/bearer").field("Authorization", "Bearer own").send().expect_status(200);
    // Encodings and content are the server's, octet by octet.
    for (path, encoding, magic) in [("/gzip", "gzip", [0x1f, 0x8b]), ("/deflate", "deflate", [0x78, 0x9c])] {
        let answer = call("GET", path).send().expect_status(200);
        assert_eq!(
            (answer.get("content-encoding"), answer.body.get(..2)),
            (Some(encoding), Some(&magic[..])),
            "{path}"
        );
    }
    for path in
        ["/bytes/100000?seed=7", "/stream-bytes/100000?seed=7&chunk_size=999", "/range/5000", "/image/png", "/html"]
    {
        let (there, direct) = (call("GET", path).send(), Door::at(port).get(path));
        assert!(there.status == 200 && there.body == direct.body, "{path}: {}", there.status);
    }
    let lines = call("GET", "/stream/20").send().expect_status(200).text();
    let numbers: Vec<_> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(numbers, (0..20).map(Value::from).collect::<Vec<_>>());
    call("GET", "/delay/1").send().expect_status(200);
    let etag = call("GET", "/etag/abc").field("If-None-Match", "abc").send();
    assert_eq!(etag.status, 304);
}

const SECRET: &str = "client-secret-hunter2";
const REFRESH: &str = "refresh-token-hunter3";

/// The rules of a line to an authorization server: by the client's own credentials, by a refresh token, with a wrong secret.
fn oauth_options(place: &Path, port: u16) -> Options {
    let file = |name: &str, text: &str| {
        let path = place.join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (secret, refresh, wrong) = (file("client", SECRET), file("refresh", REFRESH), file("wrong", "wrong-hunter4"));
    Options {
        near: Box::new(|file| {
            for name in ["own", "refreshing", "wrong"] {
                let host = format!("{name}.example");
                file.outbound.allow.push(outbound(name, destination("http", &host, 80), None));
            }
        }),
        far: Box::new(move |file| {
            for (name, secret, refresh, auth) in [
                ("own", &secret, None, ClientAuth::Basic),
                ("refreshing", &secret, Some(refresh.clone()), ClientAuth::Post),
                ("wrong", &wrong, None, ClientAuth::Basic),
            ] {
                let mut rule = inbound(name, destination("http", &format!("{name}.example"), 80));
                rule.target = Some(format!("http://127.0.0.1:{port}"));
                rule.oauth = Some(OAuth {
                    token_url: format!("http://127.0.0.1:{port}/token"),
                    client_id: "engine".to_owned(),
                    client_secret_file: Some(secret.clone()),
                    client_auth: auth,
                    scope: Some("read".to_owned()),
                    audience: None,
                    refresh_token_file: refresh,
                    ca_file: None,
                });
                file.inbound.allow.push(rule);
            }
        }),
        ..Options::default()
    }
}

fn listed(state: &Value, name: &str) -> Vec<String> {
    let list = state[name].as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn tokens_of_an_authorization_server_are_got_renewed_and_replaced_after_revocation() {
    let Some(mut python) = pyclients() else { return };
    let (place, port) = (folder(), free_port());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/line/oauth_server.py");
    // Tokens are due for renewal after two seconds or so.
    python.args([script, &port.to_string(), "3", SECRET, REFRESH]);
    let _server = serve(python, &place.path().join("oauth.log"), port, "/tokens");
    let line = Line::start_with(&oauth_options(place.path(), port), Upstream::start());
    let there = Door::at(port);
    let state = || there.get("/tokens").expect_status(200).json();
    let call = |rule: &str, text: &str| -> Answer {
        let call = line.door().call("POST", &format!("http://{rule}.example/api"));
        call.field("Authorization", "Bearer of-the-caller").body(text.as_bytes()).send()
    };
    // Without a token the resource refuses; so it is ours that counts.
    there.get("/api").expect_status(401);
    assert_eq!(call("own", "first").expect_status(200).json()["said"], "first");
    // Short lives: calls go on working, by other tokens, whatever the clock says in between.
    let renewed = eventually("the token is renewed", || {
        call("own", "again").expect_status(200);
        Some(listed(&state(), "tokens")).filter(|tokens| tokens.len() >= 3)
    });
    assert!(renewed.len() >= 3);
    // Revoked: one 401 inside, none outside.
    there.post("/revoke", b"").expect_status(200);
    let before = listed(&state(), "tokens").len();
    assert_eq!(call("own", "after revocation").expect_status(200).json()["said"], "after revocation");
    assert!(listed(&state(), "tokens").len() > before);
    // A refresh token that is replaced with each use.
    for _ in 0..2 {
        assert_eq!(call("refreshing", "r").expect_status(200).json()["said"], "r");
        there.post("/revoke", b"").expect_status(200);
    }
    assert!(!listed(&state(), "refresh").contains(&REFRESH.to_owned()), "{}", state());
    // A secret that the server does not take.
    let answer = call("wrong", "never");
    let problem = answer.expect_problem(502, "token-unavailable", "destination_unavailable");
    assert_eq!(problem["executed"], "no");
    let detail = problem["detail"].as_str().unwrap();
    for words in ["`wrong`", "invalid_client", &format!("token endpoint http://127.0.0.1:{port}")] {
        assert!(detail.contains(words), "{words}: {detail}");
    }
    assert!(answer.get("retry-after").is_some());
    let metrics = line.far.admin().get("/metrics").expect_status(200).text();
    assert!(!metrics.contains("hoft_token_requests_total{result=\"failed\"} 0"), "{metrics}");
    // Nothing of it is in a log, a state folder or a packet of either side.
    let given = state();
    let given: Vec<String> = listed(&given, "tokens").into_iter().chain(listed(&given, "refresh")).collect();
    let secrets = [SECRET, REFRESH, "wrong-hunter4"].into_iter().chain(given.iter().map(String::as_str));
    assert_eq!(found_in(line.folder.path(), &secrets.collect::<Vec<_>>()), None);
}
