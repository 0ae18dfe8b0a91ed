//! Byte streams: CONNECT and the upgrade to WebSocket, by bare sockets and by programs that nobody here wrote.
//!
//! Invariant: an upstream that counts its connections is the witness that none is opened twice. Read first:
//! `both_directions_of_a_tunnel_end_by_themselves`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use sidecar_config::Tunnels;
use sidecar_config::file::Destination;

use crate::client::Door;
use crate::harness::{Line, Options, SharedLine, destination, free_port, inbound, outbound};
use crate::process::{Process, eventually};
use crate::programs::{is_there, output_of, program, pyclients};
use crate::shared::Authority;

/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

fn connectable(port: u16) -> Destination {
    Destination { methods: vec!["CONNECT".to_owned()], ..destination("http", "127.0.0.1", port) }
}

/// Options of a line whose rule `stream` allows CONNECT to the ports on 127.0.0.1, with these tunnels on both sides.
fn options(ports: Vec<u16>, tunnels: Tunnels) -> Options {
    let inbound_tunnels = Tunnels { even_if_slow: false, ..tunnels.clone() };
    let inbound_ports = ports.clone();
    Options {
        near: Box::new(move |file| {
            let mut rule = outbound("stream", connectable(0), None);
            rule.destinations = ports.iter().map(|port| connectable(*port)).collect();
            rule.tunnels = tunnels.clone();
            file.outbound.allow.push(rule);
        }),
        far: Box::new(move |file| {
            let mut rule = inbound("stream", connectable(0));
            rule.destinations = inbound_ports.iter().map(|port| connectable(*port)).collect();
            rule.tunnels = inbound_tunnels.clone();
            file.inbound.allow.push(rule);
        }),
        ..Options::default()
    }
}

/// What the shared line leads to.
struct Places {
    /// Accepted by the tests themselves, one port each.
    bare: [u16; 4],
    /// Nobody listens.
    closed: u16,
    /// A WebSocket server of Python, by the rule and route `ws`, and by CONNECT.
    websocket: u16,
    /// An HTTPS server for git.
    git: u16,
    /// Allowed only by the near side.
    near_only: u16,
    /// Allowed by both sides, to an address that the far side does not list.
    unlisted: u16,
}

fn shared() -> (SharedLine, &'static Places) {
    static LINE: OnceLock<(Line, Places)> = OnceLock::new();
    let (line, places) = LINE.get_or_init(|| {
        let port = free_port;
        let places = Places {
            bare: [port(), port(), port(), port()],
            closed: port(),
            websocket: port(),
            git: port(),
            near_only: port(),
            unlisted: port(),
        };
        let upstream = crate::upstream::Upstream::start();
        let mut ports = places.bare.to_vec();
        ports.extend([places.closed, places.websocket, upstream.port]);
        let usual = options(ports, Tunnels::default());
        let (websocket, git, near_only, unlisted) = (places.websocket, places.git, places.near_only, places.unlisted);
        let listed = || Tunnels { upgrades: vec!["websocket".to_owned()], ..Tunnels::default() };
        let to_git =
            move || Destination { methods: vec!["CONNECT".to_owned()], ..destination("https", "localhost", git) };
        let options = Options {
            near: Box::new(move |file| {
                (usual.near)(file);
                let mut ws = outbound("ws", destination("http", "127.0.0.1", websocket), None);
                (ws.target, ws.tunnels) = (Some(format!("http://127.0.0.1:{websocket}/")), listed());
                let mut plain = outbound("plain", destination("http", "localhost", websocket), None);
                plain.tunnels = listed();
                let more = [connectable(near_only), connectable(unlisted)]
                    .map(|to| outbound(&format!("n{}", to.port.unwrap_or(0)), to, None));
                file.outbound.allow.extend([ws, plain, outbound("git", to_git(), None)].into_iter().chain(more));
            }),
            far: Box::new(move |file| {
                (usual.far)(file);
                let mut ws = inbound("ws", destination("http", "127.0.0.1", websocket));
                ws.tunnels = listed();
                let mut other = inbound("unlisted", connectable(unlisted));
                other.target = Some(format!("http://localhost:{unlisted}"));
                other.addresses = vec!["127.9.9.9".to_owned(), "::1".to_owned()];
                let plain = inbound("plain", destination("http", "localhost", websocket));
                file.inbound.allow.extend([ws, other, plain, inbound("git", to_git())]);
            }),
            ..Options::default()
        };
        (Line::start_with(&options, upstream), places)
    });
    (SharedLine(line), places)
}

/// Asks for a tunnel: the client's end, and the head of the answer.
fn ask(door: Door, port: u16) -> (TcpStream, String) {
    let mut client = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    write!(client, "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
    let head = head(&mut client);
    (client, head)
}

/// Opens a tunnel: the client's end.
fn open(door: Door, port: u16) -> TcpStream {
    let (client, head) = ask(door, port);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(
        !lower.contains("content-length")
            && !lower.contains("transfer-encoding")
            && lower.contains("hoft-operation-id"),
        "{head}"
    );
    client
}

fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        assert_eq!(client.read(&mut octet).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(octet[0]);
    }
    String::from_utf8(head).unwrap()
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn expect(from: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    from.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

/// Closes a connection by a reset.
fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap();
}

/// The connection must end, and not as if all had come.
#[track_caller]
fn expect_cut(from: &mut TcpStream) {
    let mut rest = Vec::new();
    let error = from.read_to_end(&mut rest).expect_err("a stream that was cut looks complete");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

fn no_further_connection(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let again = listener.accept();
    assert!(again.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "opened again: {again:?}");
}

#[test]
fn both_directions_of_a_tunnel_end_by_themselves() {
    let (line, places) = shared();
    let listener = listen(places.bare[0]);
    let mut client = open(line.door(), places.bare[0]);
    let mut server = accept(&listener);
    // Small writes go at once, in both directions.
    for round in 0..5 {
        let (ping, pong) = (format!("ping {round}"), format!("pong {round}"));
        client.write_all(ping.as_bytes()).unwrap();
        expect(&mut server, &ping);
        server.write_all(pong.as_bytes()).unwrap();
        expect(&mut client, &pong);
    }
    // More than any window of a socket, both ways at once.
    let large = crate::upstream::fixed(3_000_000);
    std::thread::scope(|scope| {
        for mut to in [client.try_clone().unwrap(), server.try_clone().unwrap()] {
            let large = &large;
            scope.spawn(move || to.write_all(large).unwrap());
        }
        for from in [&mut client, &mut server] {
            let mut got = vec![0; large.len()];
            from.read_exact(&mut got).unwrap();
            assert!(got == large);
        }
    });
    // The client is done writing, and still gets an answer.
    client.write_all(b"the last of it").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    server.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "the last of it");
    server.write_all(b"a late answer").unwrap();
    drop(server);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "a late answer");
    no_further_connection(&listener);
}

#[test]
fn the_server_may_end_its_direction_first() {
    let (line, places) = shared();
    let listener = listen(places.bare[1]);
    let mut client = open(line.door(), places.bare[1]);
    let mut server = accept(&listener);
    server.write_all(b"all I have").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "all I have");
    client.write_all(b"thank you").unwrap();
    drop(client);
    let mut rest = String::new();
    server.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "thank you");
}

#[test]
fn a_reset_of_either_end_reaches_the_other_as_a_reset() {
    let (line, places) = shared();
    let listener = listen(places.bare[2]);
    for client_goes in [true, false] {
        let mut client = open(line.door(), places.bare[2]);
        let mut server = accept(&listener);
        client.write_all(b"begun").unwrap();
        expect(&mut server, "begun");
        let (gone, mut left) = if client_goes { (client, server) } else { (server, client) };
        reset(gone);
        expect_cut(&mut left);
    }
    line.assert_works();
}

#[test]
fn octets_sent_with_the_connect_are_not_lost() {
    let (line, places) = shared();
    let listener = listen(places.bare[3]);
    let port = places.bare[3];
    let mut client = TcpStream::connect(("127.0.0.1", line.door().port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // What would be a smuggled request, and a head that the guard of the framing would refuse: here it is only octets.
    let early = "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    write!(client, "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n{early}").unwrap();
    let mut server = accept(&listener);
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    expect(&mut server, early);
    client.write_all(early.as_bytes()).unwrap();
    expect(&mut server, early);
}

#[test]
fn what_cannot_be_opened_is_a_problem_with_its_cause() {
    let (line, places) = shared();
    let call = |authority: &str| line.door().call("CONNECT", authority).field("Host", authority).send();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let answer = call(&at(places.closed));
    assert_eq!(answer.expect_problem(502, "connection-refused", "connection_refused")["executed"], "no");
    let answer = call(&at(places.near_only));
    answer.expect_problem(403, "route-denied", "http_request_denied");
    assert!(answer.get("proxy-status").unwrap().starts_with("hoft-south;"), "{:?}", answer.fields);
    let answer = call(&at(places.unlisted));
    assert_eq!(answer.expect_problem(502, "address-denied", "destination_ip_prohibited")["executed"], "no");
    call("nowhere.example:443").expect_problem(403, "route-denied", "http_request_denied");
    let id = call(&at(places.closed)).get("hoft-operation-id").unwrap().to_owned();
    line.near.operation_when(&id, "failed", |view| view["state"] == "failed" && view["method"] == "CONNECT");
    line.door().get(&format!("/v1/operations/{id}/result")).expect_problem(
        502,
        "connection-refused",
        "connection_refused",
    );
    // The far side must opt in too.
    let call =
        line.door().call("GET", &format!("http://localhost:{}/", places.websocket)).field("Connection", "Upgrade");
    let answer = call.field("Upgrade", "websocket").field("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").send();
    let problem = answer.expect_problem(403, "route-denied", "http_request_denied");
    assert!(problem["detail"].as_str().unwrap().contains("far side's inbound rule `plain`"), "{problem}");
    line.assert_works();
}

#[test]
fn curl_calls_through_a_tunnel() {
    if !is_there("curl", "curl") {
        return;
    }
    let (line, _) = shared();
    let proxy = format!("http://127.0.0.1:{}", line.door().port);
    let mut curl = program("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "150",
        "-p",
        "-x",
        &proxy,
        "--data-binary",
        "through",
    ]);
    assert_eq!(output_of(curl.arg(line.url("/echo"))), "through");
    let seen = line.upstream.calls("/echo");
    assert!(
        seen.iter().any(|call| !call.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("via"))),
        "not a call of hoft's"
    );
}

/// Serves repositories by `git http-backend`, over TLS: arguments are port, folder, certificate and key.
const GIT_SERVER: &str = r#"
import http.server, os, ssl, subprocess, sys
port, root, cert, key = int(sys.argv[1]), *sys.argv[2:5]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def content(self):
        if self.headers.get('Transfer-Encoding') != 'chunked':
            return self.rfile.read(int(self.headers.get('Content-Length') or 0))
        whole = b''
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole
    def do_GET(self):
        path, _, query = self.path.partition('?')
        body = self.content()
        env = dict(os.environ, GIT_PROJECT_ROOT=root, GIT_HTTP_EXPORT_ALL='1', PATH_INFO=path, QUERY_STRING=query,
            REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get('Content-Type') or '', CONTENT_LENGTH=str(len(body)),
            HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding') or '', REMOTE_USER='somebody', REMOTE_ADDR='127.0.0.1',
            GIT_PROTOCOL=self.headers.get('Git-Protocol') or '')
        out = subprocess.run(['git', 'http-backend'], input=body, env=env, capture_output=True).stdout
        head, _, content = out.partition(b'\r\n\r\n')
        fields = [line.split(': ', 1) for line in head.decode().split('\r\n')]
        self.send_response(next((int(v.split()[0]) for n, v in fields if n == 'Status'), 200))
        for name, value in fields:
            if name != 'Status': self.send_header(name, value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    do_POST = do_GET
server = http.server.ThreadingHTTPServer(('127.0.0.1', port), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

fn git(folder: &Path) -> Command {
    let mut git = program("git");
    git.current_dir(folder).args([
        "-c",
        "user.name=A Test",
        "-c",
        "user.email=test@example.test",
        "-c",
        "init.defaultBranch=main",
    ]);
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
    git
}

#[test]
fn git_clones_and_pushes_over_https_through_a_tunnel() {
    if !is_there("git", "git") || !is_there("python3", "python") {
        return;
    }
    let (line, places) = shared();
    let folder = crate::process::folder();
    let place = folder.path();
    let path = |name: &str| place.join(name).display().to_string();
    let authority = Authority::new();
    for (name, content) in
        [("ca.pem", authority.pem), ("leaf.pem", authority.leaf.pem()), ("key.pem", authority.leaf_key.serialize_pem())]
    {
        std::fs::write(place.join(name), content).unwrap();
    }
    output_of(git(place).args(["init", "--quiet", "work"]));
    std::fs::write(place.join("work/large"), crate::upstream::fixed(300_000)).unwrap();
    output_of(git(&place.join("work")).args(["add", "large"]));
    output_of(git(&place.join("work")).args(["commit", "--quiet", "-m", "something"]));
    output_of(git(place).args(["clone", "--quiet", "--bare", "work", "repos/one.git"]));
    output_of(git(&place.join("repos/one.git")).args(["config", "http.receivepack", "true"]));
    let mut server = program("python3");
    server.args(["-c", GIT_SERVER, &places.git.to_string(), &path("repos"), &path("leaf.pem"), &path("key.pem")]);
    let _server = Process::start(server, &place.join("server.log"));
    eventually("the git server listens", || TcpStream::connect(("127.0.0.1", places.git)).ok());
    let through = |folder: &Path| {
        let mut git = git(folder);
        git.args(["-c", &format!("http.proxy=http://127.0.0.1:{}", line.door().port)]);
        git.env("GIT_SSL_CAINFO", path("ca.pem"));
        git
    };
    let url = format!("https://localhost:{}/one.git", places.git);
    output_of(through(place).args(["clone", "--quiet", &url, "cloned"]));
    assert!(std::fs::read(place.join("cloned/large")).unwrap() == crate::upstream::fixed(300_000));
    let cloned = place.join("cloned");
    std::fs::write(cloned.join("more"), "more").unwrap();
    output_of(git(&cloned).args(["add", "more"]));
    output_of(git(&cloned).args(["commit", "--quiet", "-m", "more"]));
    output_of(through(&cloned).args(["push", "--quiet", "origin", "HEAD"]));
    let pushed = output_of(git(&place.join("repos/one.git")).args(["show", "main:more"]));
    assert_eq!(pushed, "more");
}

const WEBSOCKET_SERVER: &str = r#"
import sys
from websockets.sync.server import serve
def echo(socket):
    if socket.request.path == '/fields':
        socket.send(' '.join(f'{n}={v}' for n, v in socket.request.headers.raw_items()))
    for message in socket:
        socket.send(message)
def check(connection, request):
    if request.path == '/refused':
        return connection.respond(418, 'short and stout')
with serve(echo, '127.0.0.1', int(sys.argv[1]), process_request=check, subprotocols=['chat'], max_size=None) as server:
    server.serve_forever()
"#;

const WEBSOCKET_CLIENT: &str = r#"
import sys
from websockets.sync.client import connect
from websockets.exceptions import InvalidStatus
door, port = sys.argv[1:3]
route, timeout = f'ws://localhost:{door}/to/ws', dict(open_timeout=120, close_timeout=120, ping_timeout=120, max_size=None, subprotocols=['chat'])
def talk(socket):
    for n in range(5):
        socket.send(f'message {n}')
        assert socket.recv(timeout=120) == f'message {n}'
    socket.send(b'x' * 1_000_000)
    assert socket.recv(timeout=120) == b'x' * 1_000_000
    assert socket.ping().wait(120)
with connect(route + '/chat', proxy=None, **timeout) as socket:
    assert socket.subprotocol == 'chat', socket.subprotocol
    assert 'hoft-operation-id' in socket.response.headers, socket.response.headers
    talk(socket)
assert socket.close_code == 1000, socket.close_code
with connect(f'ws://127.0.0.1:{port}/', proxy=f'http://127.0.0.1:{door}', **timeout) as socket:
    assert 'hoft-operation-id' not in socket.response.headers
    talk(socket)
with connect(route + '/fields', proxy=None, **timeout) as socket:
    print(socket.recv(timeout=120).lower())
try:
    connect(route + '/refused', proxy=None, **timeout)
except InvalidStatus as refused:
    print(refused.response.status_code, refused.response.body.decode())
"#;

#[test]
fn websockets_talk_through_a_route_and_through_connect() {
    let (Some(mut server), Some(mut client)) = (pyclients(), pyclients()) else { return };
    let (line, places) = shared();
    server.args(["-c", WEBSOCKET_SERVER, &places.websocket.to_string()]);
    let _server = Process::start(server, &line.folder.path().join("websocket-server.log"));
    eventually("the server listens", || TcpStream::connect(("127.0.0.1", places.websocket)).ok());
    client.args(["-c", WEBSOCKET_CLIENT, &line.door().port.to_string(), &places.websocket.to_string()]);
    let said = output_of(&mut client);
    for field in [
        "connection=upgrade",
        "upgrade=websocket",
        "sec-websocket-version=13",
        "via=1.1 hoft-north",
        "cdn-loop=hoft-south",
    ] {
        assert!(said.contains(field), "{said}");
    }
    assert!(said.contains(&format!("host=127.0.0.1:{}", places.websocket)), "{said}");
    // What is not switched is an ordinary response.
    assert!(said.contains("418 short and stout"), "{said}");
}

#[test]
fn a_tunnel_ends_when_either_engine_is_killed_and_is_never_opened_again() {
    let port = free_port();
    let listener = listen(port);
    let line = Line::start(&options(vec![port], Tunnels::default()));
    for far_dies in [true, false] {
        let mut client = open(line.door(), port);
        let mut server = accept(&listener);
        client.write_all(b"begun").unwrap();
        expect(&mut server, "begun");
        let (engine, mut left) = if far_dies { (&line.far, client) } else { (&line.near, server) };
        engine.kill();
        engine.start_again();
        expect_cut(&mut left);
        line.assert_works();
    }
    no_further_connection(&listener);
}

#[test]
fn a_tunnel_in_which_nothing_passes_is_cut() {
    let port = free_port();
    let listener = listen(port);
    let idle = Tunnels { idle: Duration::from_secs(2), ..Tunnels::default() };
    let line = Line::start(&options(vec![port], idle));
    let mut client = open(line.door(), port);
    let mut server = accept(&listener);
    client.write_all(b"begun").unwrap();
    expect(&mut server, "begun");
    expect_cut(&mut client);
    expect_cut(&mut server);
    line.assert_works();
}

#[test]
fn an_engine_that_is_stopped_ends_its_tunnels() {
    let port = free_port();
    let listener = listen(port);
    let line = Line::start(&options(vec![port], Tunnels::default()));
    let mut client = open(line.door(), port);
    let mut server = accept(&listener);
    client.write_all(b"begun").unwrap();
    expect(&mut server, "begun");
    assert!(line.near.stop().success());
    expect_cut(&mut client);
    line.near.start_again();
    expect_cut(&mut server);
    line.assert_works();
}

#[test]
fn a_slow_line_opens_a_tunnel_only_if_the_rule_says_so() {
    let (port, forced) = (free_port(), free_port());
    let listener = listen(forced);
    let usual = options(vec![port], Tunnels::default());
    let even = options(vec![forced], Tunnels { even_if_slow: true, ..Tunnels::default() });
    let options = Options {
        near: Box::new(move |file| {
            (usual.near)(file);
            (even.near)(file);
            file.outbound.allow.last_mut().unwrap().name = "forced".to_owned();
            file.mirror.expected_latency = Duration::from_secs(3);
        }),
        far: Box::new(move |file| {
            (usual.far)(file);
            (even.far)(file);
            file.inbound.allow.last_mut().unwrap().name = "forced".to_owned();
            file.mirror.expected_latency = Duration::from_secs(3);
        }),
        mirror_arguments: vec!["--delay-ms", "2600..2700"],
        ..Options::default()
    };
    let line = Line::start(&options);
    eventually("the round trip is measured", || {
        line.near.statusz()["peers"][0]["srtt_ms"].as_f64().filter(|ms| *ms > 5000.0)
    });
    let authority = format!("127.0.0.1:{port}");
    let answer = line.door().call("CONNECT", &authority).field("Host", &authority).send();
    let problem = answer.expect_problem(502, "upgrade-failed", "http_upgrade_failed");
    assert_eq!(problem["executed"], "no");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("round trip") && detail.contains("tunnels.evenIfSlow"), "{detail}");
    let mut client = open(line.door(), forced);
    let mut server = accept(&listener);
    client.write_all(b"slow but sure").unwrap();
    expect(&mut server, "slow but sure");
}

#[test]
fn a_tunnel_took_no_place_of_its_rules_quota() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut bounded = options(vec![port], Tunnels::default());
    let near = bounded.near;
    bounded.near = Box::new(move |file| {
        near(file);
        let rule = file.outbound.allow.last_mut().unwrap();
        rule.quota = sidecar_config::Quota { max_in_flight: Some(1), ..sidecar_config::Quota::default() };
    });
    let line = Line::start(&bounded);
    let first = open(line.door(), port);
    let refused = || ask(line.door(), port).1.starts_with("HTTP/1.1 429 ");
    assert!(refused());
    drop((first, listener.accept().unwrap()));
    eventually("the place of a tunnel that ended is free", || (!refused()).then_some(()));
}
