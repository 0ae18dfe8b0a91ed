//! The admin port over a real loopback connection, in front of a driver that is only played.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, channel};

use disk::log::{Log, LogOptions};
use layer1_replication::PeerStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use wire::EndpointId;

use super::*;
use crate::command::Command;
use crate::driver::Event;
use crate::page::Facts;
use crate::status::{EngineFacts, PeerView};

/// Answers status commands as a driver with one peer would.
fn play_driver(events: &Receiver<Event>) {
    for event in events {
        if let Event::Command(Command::NewestOperations { reply, .. }) = event {
            let _ = reply.send(Vec::new());
            continue;
        }
        if let Event::Command(Command::Status { reply }) = event {
            let mut status = EngineStatus::new(&EngineFacts::of_test(), 1_000, 61_000);
            let peer = PeerStatus { backlog_records: 2, next: wire::Seq::new(3), ..PeerStatus::default() };
            status.peers.push(PeerView::new(
                EndpointId::from_bytes([2; 16]),
                Some("south".to_owned()),
                &peer,
                Duration::from_secs(120),
            ));
            let _ = reply.send(status);
        }
    }
}

struct Port {
    address: SocketAddr,
    health: Arc<Health>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
    _log: Log,
}

impl Port {
    /// A port whose driver is `driver`, which runs on a thread of its own.
    async fn open(driver: impl FnOnce(Receiver<Event>) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(folder.path().join("log"), [1; 16], LogOptions::default()).unwrap();
        let (events, queue) = channel();
        std::thread::spawn(move || driver(queue));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, stop) = (Arc::new(Health::default()), CancellationToken::new());
        let driver = DriverHandle::new(events, log.reader());
        let before = EngineStatus { started: false, ..EngineStatus::new(&EngineFacts::of_test(), 1_000, 1_000) };
        let page = Page::start(Facts::of_test(), driver.clone(), Arc::clone(&health), before.clone(), stop.clone());
        let admin = Admin::new(driver, Arc::clone(&health), before, page, Duration::from_millis(200));
        let task = tokio::spawn(admin.run(listener, stop.clone()));
        Self { address, health, stop, task, _folder: folder, _log: log }
    }

    async fn started() -> Self {
        let port = Self::open(|queue| play_driver(&queue)).await;
        port.health.set_started();
        port.health.set_ready(true);
        port
    }

    /// Sends a request as it stands and returns the status and the whole answer.
    async fn exchange(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    async fn call(&self, method: &str, target: &str, host: &str) -> (u16, String) {
        self.exchange(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.call("GET", path, &self.address.to_string()).await
    }
}

fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn every_listed_path_answers() {
    let port = Port::started().await;
    let (status, index) = port.get("/").await;
    assert_eq!(status, 200);
    let paths: Vec<&str> = content(&index).lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(paths, ["/startedz", "/livez", "/readyz", "/statusz", "/metrics"]);
    for path in paths {
        let (status, answer) = port.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer.contains("cache-control: no-store") && answer.contains("nosniff"), "{answer}");
    }
    assert_eq!(port.get("/livez?verbose").await.0, 200);
}

#[tokio::test]
async fn a_browser_gets_the_page_and_others_the_list_of_paths() {
    let port = Port::started().await;
    let ask = |method: &str, path: &str, host: &str, accept: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
    };
    let html = "text/html,application/xhtml+xml";
    let (status, answer) = port.exchange(&ask("GET", "/?state=done", "localhost", html)).await;
    assert_eq!(status, 200);
    for part in
        ["content-type: text/html", "content-security-policy: default-src 'none'", "x-frame-options: DENY", "/statusz"]
    {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert!(port.exchange(&ask("GET", "/", "localhost", "*/*")).await.1.contains("/startedz  200"));
    assert_eq!(port.exchange(&ask("GET", "/?state=nothing", "localhost", html)).await.0, 400);
    for path in ["/", "/v1/page-events"] {
        assert_eq!(port.exchange(&ask("GET", path, "evil.example", html)).await.0, 421, "{path}");
        let (status, answer) = port.exchange(&ask("POST", path, "localhost", html)).await;
        assert!(status == 405 && answer.contains("allow: GET, HEAD"), "{answer}");
    }
    let (status, answer) = port.exchange(&ask("HEAD", "/v1/page-events", "localhost", html)).await;
    assert!(status == 200 && answer.contains("text/event-stream"), "{answer}");
}

#[tokio::test]
async fn the_events_of_the_page_end_with_the_engine() {
    let port = Port::started().await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(b"GET /v1/page-events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("data: {") {
        let mut piece = [0; 4096];
        let count = timeout(Duration::from_secs(30), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    port.stop.cancel();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(b"0\r\n\r\n"), "the stream was cut, not ended");
}

#[tokio::test]
async fn an_engine_that_starts_is_alive_but_neither_started_nor_ready() {
    let port = Port::open(|queue| play_driver(&queue)).await;
    assert_eq!(port.get("/livez").await.0, 200);
    for path in ["/startedz", "/readyz", "/metrics"] {
        let (status, answer) = port.get(path).await;
        assert_eq!(status, 503, "{path}");
        assert!(content(&answer).contains("starting"), "{answer}");
    }
    let started = |answer: &str| serde_json::from_str::<serde_json::Value>(content(answer)).unwrap()["started"].clone();
    let (status, answer) = port.get("/statusz").await;
    assert_eq!((status, started(&answer)), (200, serde_json::json!(false)), "{answer}");
    assert!(answer.contains("01010101-0101"), "who it is should be known before: {answer}");
    port.health.set_started();
    assert_eq!(started(&port.get("/statusz").await.1), true);
    assert_eq!(port.get("/startedz").await.0, 200);
    assert_eq!(port.get("/readyz").await.0, 503);
    port.health.set_ready(true);
    assert_eq!(port.get("/readyz").await.0, 200);
    port.health.set_ready(false);
    assert_eq!(port.get("/readyz").await.0, 503);
}

#[tokio::test]
async fn livez_fails_when_the_driver_does_not_answer() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let port = Port::open(move |queue| {
        // A commit that never returns: commands pile up unanswered.
        let mut held = Vec::new();
        for event in queue {
            counter.fetch_add(1, Ordering::SeqCst);
            held.push(event);
        }
    })
    .await;
    port.health.set_started();
    let probes = ["/livez", "/statusz", "/metrics", "/livez", "/livez", "/livez"].map(|path| port.get(path));
    for (status, answer) in futures_join(probes).await {
        assert_eq!(status, 503);
        assert!(content(&answer).contains("did not answer within 0.2 s"), "{answer}");
    }
    assert!(
        asked.load(Ordering::SeqCst) <= 2,
        "questions to a stuck driver gather: one of the probes, one of the page"
    );
    assert_eq!(port.get("/startedz").await.0, 200);
}

async fn futures_join<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}

#[tokio::test]
async fn livez_recovers_when_the_driver_answers_again() {
    let port = Port::open(|queue| {
        let first = queue.recv();
        std::thread::sleep(Duration::from_millis(600));
        if let Ok(Event::Command(Command::Status { reply })) = first {
            let _ = reply.send(EngineStatus { log_bytes: 1, ..EngineStatus::default() });
        }
        play_driver(&queue);
    })
    .await;
    port.health.set_started();
    assert_eq!(port.get("/livez").await.0, 503);
    sleep(Duration::from_millis(800)).await;
    assert_eq!(port.get("/livez").await.0, 200);
    let (_, answer) = port.get("/statusz").await;
    assert!(answer.contains("\"log_bytes\": 0"), "an old answer was shown: {answer}");
}

#[tokio::test]
async fn livez_fails_when_the_driver_has_ended() {
    let port = Port::open(drop).await;
    port.health.set_started();
    let (status, answer) = port.get("/livez").await;
    assert_eq!((status, content(&answer)), (503, "the driver has ended\n"));
}

#[tokio::test]
async fn statusz_is_json_with_ages_and_diagnoses() {
    let port = Port::started().await;
    let (_, answer) = port.get("/statusz").await;
    assert!(answer.contains("content-type: application/json"), "{answer}");
    let json: serde_json::Value = serde_json::from_str(content(&answer)).unwrap();
    assert_eq!(json["endpoint"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(json["peers"][0]["alive"], "never_seen");
    assert_eq!(json["peers"][0]["diagnosis_name"], "never_seen");
    assert!(json["peers"][0]["oldest_unacknowledged_ms"].is_u64());
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let port = Port::started().await;
    let (_, answer) = port.get("/metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{answer}");
    assert!(content(&answer).contains("hoft_build_info{version=") && answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn a_foreign_host_is_refused() {
    let port = Port::started().await;
    for host in ["evil.example", "evil.example:9470", "localhost.evil.example", "127.0.0.1.evil.example"] {
        let (status, answer) = port.call("GET", "/statusz", host).await;
        assert_eq!(status, 421, "{host}");
        assert!(!answer.contains("peers"), "{answer}");
    }
    let (status, _) = port.call("GET", "http://evil.example/statusz", "localhost").await;
    assert_eq!(status, 421);
    for host in ["", "a b", "user@localhost", "localhost:x"] {
        assert_eq!(port.call("GET", "/livez", host).await.0, 400, "{host}");
    }
    for request in [
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(port.exchange(request).await.0, 400, "{request}");
    }
}

#[tokio::test]
async fn only_addresses_and_localhost_are_hosts() {
    let port = Port::started().await;
    for host in ["localhost", "LOCALHOST:9470", "localhost.", "10.1.2.3", "10.1.2.3:9470", "[::1]:9470", "[fd00::7]"] {
        assert_eq!(port.call("GET", "/livez", host).await.0, 200, "{host}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let port = Port::started().await;
    for path in ["/nothing", "/livez/", "//livez", "/LIVEZ", "/../etc/passwd", "/statusz%2f"] {
        assert_eq!(port.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let port = Port::started().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let (status, answer) = port.call(method, "/livez", "localhost").await;
        assert_eq!(status, 405, "{method}");
        assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    }
    let (status, answer) = port.call("HEAD", "/statusz", "localhost").await;
    assert_eq!((status, content(&answer)), (200, ""));
    assert!(answer.contains("content-length: ") && !answer.contains("content-length: 0"), "{answer}");
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let port = Port::started().await;
    let request = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    // The rest of what was sent may be answered by a reset after the response.
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(port.get("/livez").await.0, 200);
}

#[tokio::test]
async fn the_port_closes_when_told_to_stop() {
    let port = Port::started().await;
    let mut idle = TcpStream::connect(port.address).await.unwrap();
    assert_eq!(port.get("/livez").await.0, 200);
    port.stop.cancel();
    timeout(Duration::from_secs(5), port.task).await.unwrap().unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let port = Port::started().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        idle.push(TcpStream::connect(port.address).await.unwrap());
    }
    let late = timeout(Duration::from_millis(300), port.get("/livez")).await;
    assert!(late.is_err(), "one connection too many was served");
    idle.truncate(CONNECTIONS_MAX / 2);
    assert_eq!(port.get("/livez").await.0, 200);
}
