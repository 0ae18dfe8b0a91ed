//! A hostile near side: heads that no near side of ours would write, and names whose addresses change.
//!
//! `ssrf.txt` is the list. Every row goes through a whole execution, from the bytes of its head on, with a server that
//! listens where a check that failed would lead. Read first: [`every_hostile_target_is_refused_before_a_connection`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use layer2_http::addresses::Networks;
use layer2_http::bhttp::{self, RequestControl};
use layer2_http::envelope::Envelope;
use layer2_http::fields::Fields;
use layer2_http::operation::Executed;
use layer2_http::policy::{HostPattern, Policy, Rule};
use layer2_http::target;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::driver::{After, Seen, raw_harness};
use super::server::read_request;
use super::{TIMEOUT, egress_on};
use crate::egress::connector::{OpeningTimes, Reach};
use crate::egress::resolver::{Looking, Lookup};
use crate::egress::upstream::Upstream;
use crate::egress::{Egress, execution, tls};

const LIST: &str = include_str!("ssrf.txt");
const WIDE: [&str; 6] = ["169.254.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "10.0.0.0/8", "fd00::/8", "64:ff9b::/96"];
const DENIED: [&str; 2] = ["10.96.0.0/12", "10.244.0.0/16"];
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct Row {
    problem: &'static str,
    /// Also of a rule that lists wide networks.
    always: bool,
    target: String,
    answers: Vec<IpAddr>,
    line: &'static str,
}

fn rows(port: u16) -> Vec<Row> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [problem, target, answers, why, source] = columns[..] else { panic!("not five columns: {line}") };
        assert!(!why.is_empty() && !source.is_empty(), "{line}");
        let answers = answers.split(',').filter(|answer| *answer != "-").map(|answer| answer.parse().unwrap());
        Row {
            problem: problem.trim_end_matches('+'),
            always: problem != "address-denied",
            target: unescape(target).replace("{port}", &port.to_string()),
            answers: answers.collect(),
            line,
        }
    });
    rows.collect()
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (letter, tail) = rest[at + 1..].split_at(1);
        rest = tail;
        match letter {
            "t" => out.push('\t'),
            "n" => out.push('\n'),
            "r" => out.push('\r'),
            "\\" => out.push('\\'),
            "u" => {
                let (code, tail) = rest.strip_prefix('{').unwrap().split_once('}').unwrap();
                out.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
                rest = tail;
            }
            other => panic!("\\{other} means nothing"),
        }
    }
    out + rest
}

/// The payload of a HEAD record as whoever writes it likes; nothing in it is checked.
fn payload(method: &str, target: &str) -> Bytes {
    let (scheme, rest) = target.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let control = [method, scheme, authority, path].map(str::to_owned);
    let [method, scheme, authority, path] = control;
    let envelope = Envelope::default().encode().unwrap();
    let mut out = u32::try_from(envelope.len()).unwrap().to_le_bytes().to_vec();
    out.extend_from_slice(&envelope);
    bhttp::encode_request(&RequestControl { method, scheme, authority, path }, &Fields::new(), &mut out);
    out.into()
}

/// A resolver whose answers change from one question to the next; the last one stays.
#[derive(Default)]
struct Answers {
    of: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

impl Answers {
    fn new(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let parsed = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
        let of = BTreeMap::from([(name.to_owned(), parsed.collect())]);
        Arc::new(Self { of: Mutex::new(of), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Answers {
    fn lookup(&self, name: &str) -> Looking {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut of = self.of.lock().unwrap();
        let answer = of.get_mut(&name.to_lowercase()).and_then(|answers| match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        });
        drop(of);
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// An egress whose rule `erp` allows `hosts` besides erp.test, lists `listed`, and resolves by `lookup`.
fn egress(port: u16, hosts: &[String], listed: &[&str], lookup: Arc<Answers>) -> Arc<Egress> {
    let mut egress = egress_on(&[], &[port], None);
    let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().unwrap()).collect();
    let hosts = hosts.iter().map(String::as_str).chain(["erp.test"]);
    let hosts: Vec<_> = hosts.map(|host| HostPattern::parse(host).unwrap()).collect();
    let rules = egress.policy.rules().iter().cloned().map(|rule| Rule { hosts: hosts.clone(), ..rule }).collect();
    egress.policy = Policy::new(rules).unwrap();
    let times = OpeningTimes { connect_max: TIMEOUT / 2, ..OpeningTimes::default() };
    let reach = Reach { networks: Arc::new(Networks::new(nets(listed), nets(&DENIED))), lookup, times };
    let tls = tls::SystemRoots::default().without_roots().unwrap();
    egress.upstreams.insert("erp".to_owned(), Upstream::with(&reach, None, 1000, egress.section, tls));
    Arc::new(egress)
}

async fn run(egress: &Arc<Egress>, payload: Bytes) -> Seen {
    let harness = raw_harness(payload, &[], After::Fin, true);
    execution::run(Arc::clone(egress), harness.exchange).await;
    let driver = harness.driver;
    tokio::task::spawn_blocking(|| driver.join().unwrap()).await.unwrap()
}

/// Listens wherever this machine is reached by itself: every row that is connected to is counted.
async fn snare() -> (u16, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let any = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = any.local_addr().unwrap().port();
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await;
    for listener in std::iter::once(any).chain(v6) {
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    while read_request(&mut stream).await.is_some() {
                        stream.write_all(OK).await.unwrap();
                    }
                });
            }
        });
    }
    (port, connections)
}

#[tokio::test]
async fn every_hostile_target_is_refused_before_a_connection() {
    let (port, connections) = snare().await;
    let rows = rows(port);
    assert!(rows.len() >= 60, "{}", rows.len());
    for row in &rows {
        let asked = target::parse_absolute(&row.target).ok();
        let hosts: Vec<String> = asked.iter().map(|target| target.host.clone()).collect();
        for listed in [&[][..], &WIDE[..]] {
            if !listed.is_empty() && !row.always {
                continue;
            }
            let lookup = Answers::default();
            for host in &hosts {
                lookup.of.lock().unwrap().insert(host.clone(), VecDeque::from([row.answers.clone()]));
            }
            let egress = egress(port, &hosts, listed, Arc::new(lookup));
            let seen = run(&egress, payload("GET", &row.target)).await;
            assert_eq!(seen.problem().as_deref(), Some(row.problem), "{listed:?} {}\n{}", row.line, seen.content());
            assert_eq!(seen.head().envelope.executed, Some(Executed::No), "{}", row.line);
            assert!(seen.finished(), "{}", row.line);
            assert_eq!(connections.load(Ordering::SeqCst), 0, "connected to: {}", row.line);
        }
    }
    // The same, with nothing wrong: the snare does catch.
    let fine = egress(port, &["127.0.0.1".to_owned()], &["127.0.0.1/32"], Arc::default());
    let seen = run(&fine, payload("GET", &format!("http://127.0.0.1:{port}/v1/x"))).await;
    assert_eq!((seen.head().status, connections.load(Ordering::SeqCst)), (200, 1));
}

#[tokio::test]
async fn byte_streams_to_anywhere_are_refused() {
    let (port, connections) = snare().await;
    let egress = egress(port, &["127.0.0.1".to_owned()], &["127.0.0.0/8"], Arc::default());
    for (method, target) in [("CONNECT", format!("://127.0.0.1:{port}")), ("CONNECT", "://erp.test:22".to_owned())] {
        let seen = run(&egress, payload(method, &target)).await;
        assert_eq!(seen.head().envelope.executed, Some(Executed::No), "{target}");
        assert!(seen.problem().is_some(), "{target}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

/// Two servers of one port, one of which the rule lists.
async fn pair() -> (u16, [Arc<AtomicUsize>; 2]) {
    let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = good.local_addr().unwrap().port();
    let bad = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let counters = [good, bad].map(|listener| {
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    if read_request(&mut stream).await.is_some() {
                        let close = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                        stream.write_all(close).await.unwrap();
                    }
                });
            }
        });
        connections
    });
    (port, counters)
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_at_every_connection() {
    let (port, [good, bad]) = pair().await;
    let answers =
        Answers::new("rebind.test", &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"], &["127.0.0.1", "127.0.0.2"]]);
    let egress = egress(port, &["rebind.test".to_owned()], &["127.0.0.1/32"], Arc::clone(&answers));
    let call = payload("GET", &format!("http://rebind.test:{port}/v1/x"));
    let mut problems = Vec::new();
    for _ in 0..4 {
        problems.push(run(&egress, call.clone()).await.problem());
    }
    let denied = Some("address-denied".to_owned());
    assert_eq!(problems, [None, denied.clone(), None, denied]);
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst)), (2, 0));
    // One question per connection: what was checked is what was connected to.
    assert_eq!(answers.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    let (port, [good, bad]) = pair().await;
    // Whoever asked a second time for the connection would be led to the other server.
    let answers = Answers::new("rebind.test", &[&["127.0.0.1"], &["127.0.0.2"]]);
    let egress = egress(port, &["rebind.test".to_owned()], &["127.0.0.0/8"], Arc::clone(&answers));
    let seen = run(&egress, payload("GET", &format!("http://rebind.test:{port}/v1/x"))).await;
    assert_eq!(seen.problem(), None);
    assert_eq!((good.load(Ordering::SeqCst), bad.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(answers.asked.load(Ordering::SeqCst), 1);
}
