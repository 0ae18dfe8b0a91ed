//! The list of hostile targets, asked of two running engines: whatever the near side lets through, the far side refuses.
//!
//! The near side allows every host of the list that a configuration can name; so does the far side, as far as its own
//! configuration lets it, with wide networks listed. The list with its columns is `src/egress/tests/ssrf.txt`, and what a near
//! side of ours never sends is in the test beside it. Read first: [`no_hostile_target_is_connected_to`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sidecar_config::file::Destination;
use sidecar_config::{HostPattern, IpNet};

use crate::harness::{Line, Options, destination, inbound, outbound};
use crate::process::{HOFT, Process, eventually};
use crate::upstream::Upstream;

const LIST: &str = include_str!("../../src/egress/tests/ssrf.txt");
const WIDE: [&str; 6] = ["169.254.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "10.0.0.0/8", "fd00::/8", "64:ff9b::/96"];
const DENIED: [&str; 2] = ["10.96.0.0/12", "10.244.0.0/16"];
/// Calls under way at once.
const CALLERS: usize = 12;

fn targets(port: u16) -> Vec<String> {
    let lines = LIST.lines().filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()));
    let targets = lines.filter(|line| !line.starts_with("address-denied\t")).map(|line| {
        let target = line.split('\t').nth(1).unwrap().replace("{port}", &port.to_string());
        let target = target.replace("\\t", "\t").replace("\\r", "\r").replace("\\n", "\n").replace("\\\\", "\\");
        target.replace("\\u{ad}", "\u{ad}")
    });
    targets.collect()
}

/// Listens wherever this machine reaches itself, and counts.
fn snare() -> (u16, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let any = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = any.local_addr().unwrap().port();
    for listener in std::iter::once(any).chain(TcpListener::bind((Ipv6Addr::LOCALHOST, port))) {
        let counter = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
    }
    (port, connections)
}

/// Can a rule of the far side name this host without listing it by itself?
fn nameable_there(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => WIDE.iter().any(|net| net.parse::<IpNet>().unwrap().contains(&ip)),
        // Nor a name that the Internet knows: nobody there need be asked.
        Err(_) => host != "localhost" && ![".localhost", ".io", ".net"].iter().any(|end| host.ends_with(end)),
    }
}

#[test]
fn no_hostile_target_is_connected_to() {
    let (port, connections) = snare();
    let targets = targets(port);
    assert!(targets.len() >= 60, "{}", targets.len());
    let parsed = targets.iter().filter_map(|target| layer2_http::target::parse_absolute(target).ok());
    let hosts: BTreeSet<String> = parsed.map(|target| target.host).collect();
    let hosts: Vec<String> = hosts.into_iter().filter(|host| HostPattern::parse(host).is_ok()).collect();
    let below = |host: &String| Destination { paths: vec!["/v1/".to_owned()], ..destination("http", host, port) };
    let near: Vec<_> = hosts.iter().map(below).collect();
    let far: Vec<_> = hosts.iter().filter(|host| nameable_there(host)).map(below).collect();
    assert!(near.len() > 60 && far.len() > 20, "{} {}", near.len(), far.len());
    let options = Options {
        near: Box::new(move |file| {
            let mut rule = outbound("all", near[0].clone(), None);
            rule.destinations.clone_from(&near);
            file.outbound.allow.push(rule);
        }),
        far: Box::new(move |file| {
            let mut rule = inbound("all", far[0].clone());
            rule.destinations.clone_from(&far);
            rule.addresses = WIDE.map(str::to_owned).to_vec();
            file.inbound.allow.push(rule);
            file.inbound.deny_addresses = DENIED.map(str::to_owned).to_vec();
        }),
        ..Options::default()
    };
    let line = Line::start(&options);
    let (left, problems) = (Mutex::new(targets), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let Some(target) = left.lock().unwrap().pop() else { return };
                    // A request line that is none may be answered by closing the connection.
                    let Ok(answer) = line.door().call("GET", &target).try_send() else { continue };
                    assert!(answer.status >= 400, "{target:?}: {}", answer.status);
                    if answer.get("content-type") == Some("application/problem+json") {
                        let problem = answer.json();
                        let executed = problem.get("executed").and_then(|word| word.as_str());
                        assert!(matches!(executed, None | Some("no")), "{target:?}: {problem}");
                        problems.lock().unwrap().insert(problem["type"].as_str().unwrap().to_owned());
                    }
                }
            });
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    let problems = problems.into_inner().unwrap();
    for slug in ["address-denied", "route-denied", "bad-request"] {
        assert!(problems.contains(&format!("urn:hoft:problem:{slug}")), "{problems:?}");
    }
    line.assert_works();
}

fn may_mount() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let able = root && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    let required = std::env::var("HOFT_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "root"));
    assert!(able || !required, "HOFT_REQUIRE names root, and no mount namespace can be made");
    if !able {
        println!("SKIPPED: no mount namespace can be made here, so no engine got a hosts file of its own");
    }
    able
}

#[test]
fn a_name_that_is_rebound_after_a_good_call_leads_nowhere_else() {
    if !may_mount() {
        return;
    }
    let upstream = Upstream::start();
    let port = upstream.port;
    // What a rebound name would lead to: another server on the same port.
    let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
    other.set_nonblocking(true).unwrap();
    const NAMES: [&str; 3] = ["good.test", "mixed.test", "rebound.test"];
    let options = Options {
        near: Box::new(move |file| {
            for name in NAMES {
                let rule = name.trim_end_matches(".test");
                file.outbound.allow.push(outbound(rule, destination("http", name, port), None));
            }
        }),
        far: Box::new(move |file| {
            for name in NAMES {
                let mut rule = inbound(name.trim_end_matches(".test"), destination("http", name, port));
                rule.addresses = vec!["127.0.0.1".to_owned()];
                file.inbound.allow.push(rule);
            }
        }),
        ..Options::default()
    };
    let line = Line::start_with(&options, upstream);
    let hosts = line.folder.path().join("hosts");
    let good = "127.0.0.1 localhost good.test mixed.test\n127.0.0.2 mixed.test\n";
    std::fs::write(&hosts, format!("{good}127.0.0.1 rebound.test\n")).unwrap();
    assert!(line.far.stop().success());
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/hosts && exec \"$2\" sidecar --config \"$3\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&hosts).arg(HOFT).arg(line.far.config());
    let mut engine = Process::start(command, &line.far.log());
    eventually("the far engine is ready with its own hosts file", || {
        assert!(engine.ended().is_none(), "{}", line.logs());
        line.far.admin().call("GET", "/readyz").try_send().ok().filter(|answer| answer.status == 200)
    });
    let call = |name: &str, path: &str| line.door().get(&format!("http://{name}:{port}{path}"));
    call("good.test", "/fixed/3").expect_status(200);
    let problem = call("mixed.test", "/fixed/3").expect_problem(502, "address-denied", "destination_ip_prohibited");
    assert_eq!(problem["executed"], "no");
    call("rebound.test", "/fixed/3").expect_status(200);
    // The connection that is there goes where it went; it is closed, so that the next call looks the name up again.
    let cut = line.door().call("GET", &format!("http://rebound.test:{port}/cut/10")).try_send();
    assert!(cut.is_err() || cut.is_ok_and(|answer| answer.status == 502));
    std::fs::write(&hosts, format!("{good}127.0.0.2 rebound.test\n")).unwrap();
    call("rebound.test", "/fixed/3").expect_problem(502, "address-denied", "destination_ip_prohibited");
    assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
