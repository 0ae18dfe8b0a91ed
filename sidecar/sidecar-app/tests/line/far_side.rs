//! What a far side does to calls, with both engines running: header lists, credentials from files, cookie jars, denied
//! networks, redirects, and an environment full of proxies.
//!
//! One line serves all of it; each rule has a host of its own, which its target stands in for. Read first: [`Yard`].

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use sidecar_config::far_side::{Cookies, Credential, Headers};

use crate::harness::{Line, Options, SharedLine, destination, free_port, inbound, outbound};
use crate::http::field;
use crate::process::folder;
use crate::upstream::Upstream;

/// Connections to the proxy that the environment of both engines names.
static PROXIED: AtomicUsize = AtomicUsize::new(0);

/// | host | its rule |
/// |---|---|
/// | `keyed.example` | lists of fields both ways, and a key from a file |
/// | `passing.example` | a key from a file, and what callers send |
/// | `jar.example` | a cookie jar |
/// | 127.0.0.3 | lists all of loopback, of which `denyAddresses` takes this address out |
struct Yard {
    line: Line,
    key: PathBuf,
    denied: u16,
}

fn secret(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&next, path).unwrap();
}

fn yard() -> &'static Yard {
    static YARD: OnceLock<Yard> = OnceLock::new();
    YARD.get_or_init(start)
}

/// Every way in which programs are told of a proxy; whoever connects to it is counted.
fn proxies() -> Vec<(&'static str, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            PROXIED.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        .map(|name| (name, address.clone()))
        .to_vec()
}

fn start() -> Yard {
    let upstream = Upstream::start();
    let place = folder().keep();
    let key = place.join("key");
    secret(&key, "first-secret\n");
    let (port, denied) = (upstream.port, free_port());
    let credential = Credential { file: key.clone(), prefix: "Token ".to_owned() };
    let options = Options {
        near: Box::new(move |file| {
            for name in ["keyed", "passing", "jar"] {
                let host = format!("{name}.example");
                file.outbound.allow.push(outbound(name, destination("http", &host, 80), None));
            }
            file.outbound.allow.push(outbound("denied", destination("http", "127.0.0.3", denied), None));
        }),
        far: Box::new(move |file| {
            let rule = |name: &str| {
                let mut rule = inbound(name, destination("http", &format!("{name}.example"), 80));
                rule.target = Some(format!("http://127.0.0.1:{port}"));
                rule
            };
            let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
            let mut keyed = rule("keyed");
            keyed.request_headers = Headers { allow: list(&["Accept", "X-Wanted*"]), deny: None };
            keyed.response_headers = Headers { allow: None, deny: list(&["Set-Cookie", "X-Other"]) };
            keyed.credentials.insert("X-Api-Key".to_owned(), credential.clone());
            let mut passing = rule("passing");
            passing.credentials.insert("x-api-key".to_owned(), credential.clone());
            passing.pass_authorization = true;
            let mut jar = rule("jar");
            jar.cookies = Cookies::Jar;
            file.inbound.allow.extend([
                keyed,
                passing,
                jar,
                inbound("denied", destination("http", "127.0.0.3", denied)),
            ]);
            file.inbound.deny_addresses = vec!["127.0.0.3".to_owned()];
        }),
        near_variables: proxies(),
        far_variables: proxies(),
        ..Options::default()
    };
    Yard { line: Line::start_with(&options, upstream), key, denied }
}

/// The call that the upstream saw last under this path.
fn seen(line: &Line, path: &str) -> crate::http::Fields {
    line.upstream.calls(path).pop().unwrap().fields
}

#[test]
fn only_listed_fields_pass_and_the_key_comes_from_a_file_that_may_change() {
    let yard = yard();
    let line = SharedLine(&yard.line);
    let call = |path: &str| {
        let call = line.door().call("GET", &format!("http://keyed.example{path}"));
        let call =
            call.field("Authorization", "Bearer of-the-caller").field("Cookie", "own=1").field("X-Api-Key", "own");
        call.field("X-Wanted-Too", "1").field("X-Unwanted", "1").field("Accept", "text/plain").send().expect_status(200)
    };
    let answer = call("/fields/first");
    assert_eq!((answer.get("set-cookie"), answer.get("x-other")), (None, None), "{:?}", answer.fields);
    let fields = seen(&line, "/fields/first");
    for (name, value) in [
        ("x-api-key", Some("Token first-secret")),
        ("accept", Some("text/plain")),
        ("x-wanted-too", Some("1")),
        ("x-unwanted", None),
        ("authorization", None),
        ("cookie", None),
        ("user-agent", None),
    ] {
        assert_eq!(field(&fields, name), value, "{name}: {fields:?}");
    }
    assert_eq!(fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-api-key")).count(), 1);
    // As Kubernetes changes a Secret: another file under the name.
    secret(&yard.key, "second-secret");
    call("/echo/second");
    assert_eq!(field(&seen(&line, "/echo/second"), "x-api-key"), Some("Token second-secret"));
    // A rule may let the caller's own pass.
    let call = line.door().call("GET", "http://passing.example/echo/passing");
    call.field("Authorization", "Bearer of-the-caller").field("Cookie", "own=1").send().expect_status(200);
    let fields = seen(&line, "/echo/passing");
    assert_eq!(field(&fields, "authorization"), Some("Bearer of-the-caller"));
    assert_eq!((field(&fields, "cookie"), field(&fields, "x-api-key")), (Some("own=1"), Some("Token second-secret")));
    // The file is gone: no call without its key.
    std::fs::remove_file(&yard.key).unwrap();
    let answer = line.door().get("http://keyed.example/echo/third");
    let problem = answer.expect_problem(502, "credentials-missing", "proxy_configuration_error");
    assert_eq!(problem["executed"], "no");
    assert!(line.upstream.calls("/echo/third").is_empty());
    secret(&yard.key, "third-secret");
    // The near side never had any of it, and no log has; but the first was in what the upstream answered, so it is found.
    assert_eq!(found_in(line.folder.path(), &["second-secret", "third-secret"]), None);
    assert!(found_in(&line.near.folder, &["first-secret"]).is_some());
}

/// The first of these texts that stands in any file of a folder, with that file: logs, state, packets.
pub(crate) fn found_in(place: &Path, texts: &[&str]) -> Option<(String, PathBuf)> {
    const ZEROS: [u8; 4096] = [0; 4096];
    std::fs::read_dir(place).unwrap().flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() {
            return found_in(&path, texts);
        }
        let content = std::fs::read(&path).ok()?;
        // Segments of the log are set aside whole; what was not written yet need not be searched.
        let written = content.chunks(ZEROS.len()).filter(|block| *block != &ZEROS[..block.len()]);
        let written = written.collect::<Vec<_>>().concat();
        let written = String::from_utf8_lossy(&written);
        let found = texts.iter().find(|text| written.contains(**text));
        found.map(|text| ((*text).to_owned(), path))
    })
}

#[test]
fn cookies_of_a_jar_stay_on_the_far_side() {
    let line = SharedLine(&yard().line);
    let call = |path: &str| {
        let call = line.door().call("GET", &format!("http://jar.example{path}"));
        call.field("Cookie", "own=1").send().expect_status(200)
    };
    let answer = call("/fields/jar-first");
    assert_eq!(answer.get("set-cookie"), None, "{:?}", answer.fields);
    assert_eq!(field(&seen(&line, "/fields/jar-first"), "cookie"), None);
    call("/fields/jar-second");
    let sent = seen(&line, "/fields/jar-second");
    let mut cookies: Vec<_> = field(&sent, "cookie").unwrap().split("; ").collect();
    cookies.sort_unstable();
    assert_eq!(cookies, ["a=1", "b=2"]);
    // Another rule, with the same server behind it, has none of them; and there they pass, as ever.
    let answer = line.door().call("GET", &line.url("/fields/no-jar")).send().expect_status(200);
    assert_eq!(answer.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).count(), 2);
    assert_eq!(field(&seen(&line, "/fields/no-jar"), "cookie"), None);
}

#[test]
fn a_denied_address_is_not_connected_to_though_the_rule_lists_its_network() {
    let yard = yard();
    let line = SharedLine(&yard.line);
    let listener = TcpListener::bind(("127.0.0.3", yard.denied)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let answer = line.door().get(&format!("http://127.0.0.3:{}/", yard.denied));
    let problem = answer.expect_problem(502, "address-denied", "destination_ip_prohibited");
    assert_eq!(problem["executed"], "no");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    // What became of calls is counted.
    let metrics = line.far.admin().get("/metrics").expect_status(200).text();
    let count = |outcome: &str| {
        let sample = format!("hoft_executions_ended_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&sample));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    assert!(count("address-denied") >= 1, "{metrics}");
    let before = count("answered");
    line.assert_works();
    let status = line.far.statusz();
    assert!(status["calls_made"]["ended"]["answered"].as_u64().unwrap() > before, "{status}");
}

#[test]
fn no_proxy_of_the_environment_is_asked() {
    let line = SharedLine(&yard().line);
    line.assert_works();
    line.door().get("http://jar.example/fixed/3").expect_status(200);
    assert_eq!(PROXIED.load(Ordering::SeqCst), 0);
}
