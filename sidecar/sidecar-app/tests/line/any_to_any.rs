//! Several gateways of one side over the same folders: calls spread over those that are there, and go elsewhere when
//! one is not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sidecar_config::{ConfigFile, Profile};

use crate::harness::{Engine, Line, Options, destination, inbound, outbound};
use crate::process::eventually;

/// Calls that a gateway allows at once.
const FAR_LIMIT: usize = 8;
/// Routes to the same upstream: each is a key of its own.
const ROUTES: u32 = 12;

fn beat(file: &mut ConfigFile) {
    file.heartbeat.interval = Some(Duration::from_millis(700));
    file.heartbeat.loss_timeout = Some(Duration::from_secs(6));
}

fn route(n: u32) -> String {
    format!("up-{n}")
}

/// One caller on side `north`, two gateways on side `south`.
fn start(profile: Profile) -> (Line, Engine) {
    let upstream = crate::upstream::Upstream::start();
    let (port, url) = (upstream.port, upstream.url("/"));
    let near = move |file: &mut ConfigFile| {
        beat(file);
        for n in 0..ROUTES {
            file.outbound.allow.push(outbound(&route(n), destination("http", "127.0.0.1", port), Some(url.clone())));
        }
    };
    let far = |file: &mut ConfigFile| {
        beat(file);
        file.limits.max_in_flight = FAR_LIMIT as u32;
    };
    let options = Options { near: Box::new(near), far: Box::new(far), profile, ..Options::default() };
    let line = Line::start_with(&options, upstream);
    let second = another_gateway(&line, profile);
    (line, second)
}

/// Gateway 1 of side `south`, over the folders of gateway 0.
fn another_gateway(line: &Line, profile: Profile) -> Engine {
    let place: &Path = line.folder.path();
    std::fs::create_dir_all(place.join("south-1/state")).unwrap();
    let port = line.upstream.port;
    let variables = vec![("HOFT_ENDPOINT", "1".to_owned())];
    Engine::start_with(place, "south-1", "north", variables, &move |file| {
        beat(file);
        file.local.name = "south".to_owned();
        file.identity.secret_file = Some("../south/south.key".into());
        file.folders.outbox = "../south/out".into();
        file.folders.inbox = "../south/in".into();
        file.mirror.profile = profile;
        file.mirror.expected_latency = Duration::from_millis(200);
        file.mirror.quiet_min = Duration::from_millis(200);
        file.limits.max_in_flight = FAR_LIMIT as u32;
        file.inbound.allow.push(inbound("up", destination("http", "127.0.0.1", port)));
    })
}

/// What the caller says of the servers, by ordinal.
fn servers(caller: &Engine) -> Vec<Value> {
    let mut servers = caller.statusz()["servers"].as_array().unwrap().clone();
    servers.sort_by_key(|server| server["name"].as_str().map(str::to_owned));
    servers
}

#[track_caller]
fn wait_for(caller: &Engine, standings: [&str; 2]) -> Vec<Value> {
    eventually(&format!("the servers are {standings:?}"), || {
        let servers = servers(caller);
        let found: Vec<_> = servers.iter().filter_map(|server| server["standing"].as_str()).collect();
        (found == standings).then_some(servers)
    })
}

/// A call by every route; each must be answered.
fn call_all(caller: &Engine, name: &str) {
    for n in 0..ROUTES {
        let answer = caller.door().post(&format!("/to/{}/echo/{name}/{n}/", route(n)), b"x").expect_status(200);
        assert_eq!(answer.text(), "x");
    }
}

/// Both gateways are known, got asked, and answered.
fn warm_up(caller: &Engine, name: &str) {
    eventually("both gateways announced themselves", || (servers(caller).len() == 2).then_some(()));
    call_all(caller, name);
    wait_for(caller, ["live", "live"]);
}

fn calls(server: &Value) -> u64 {
    server["calls"].as_u64().unwrap()
}

/// Every call of a round was executed once.
#[track_caller]
fn assert_once(line: &Line, name: &str) {
    for n in 0..ROUTES {
        assert_eq!(line.upstream.calls(&format!("/echo/{name}/{n}/")).len(), 1, "{name}/{n}");
    }
}

/// Presence files below a folder.
fn presence_files(root: &Path, side: &str, other: &str) -> Vec<String> {
    let address = wire::side_id("", side, other).as_address().to_hex32();
    let mut found = Vec::new();
    let mut folders = vec![root.join(address)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path.display().to_string()),
            }
        }
    }
    found.retain(|path| path.ends_with(".hft") && !path.contains("/."));
    found
}

#[test]
fn calls_spread_over_two_gateways_and_go_to_the_other_when_one_is_killed() {
    let (line, second) = start(Profile::Copy);
    warm_up(&line.near, "first");
    assert_once(&line, "first");
    let counts = |servers: Vec<Value>| -> [u64; 2] { [calls(&servers[0]), calls(&servers[1])] };
    let begun = counts(servers(&line.near));
    call_all(&line.near, "both");
    let both = counts(servers(&line.near));
    let share = [both[0] - begun[0], both[1] - begun[1]];
    assert!(share[0] > 0 && share[1] > 0, "{share:?}");
    assert_eq!(share[0] + share[1], u64::from(ROUTES));
    // A route stays with its server.
    call_all(&line.near, "again");
    assert_eq!(counts(servers(&line.near)), [both[0] + share[0], both[1] + share[1]]);

    second.kill();
    wait_for(&line.near, ["live", "silent"]);
    let before = servers(&line.near);
    call_all(&line.near, "alone");
    assert_once(&line, "alone");
    let after = servers(&line.near);
    assert_eq!((calls(&after[1]), calls(&after[0])), (calls(&before[1]), calls(&before[0]) + u64::from(ROUTES)));

    second.start_again();
    wait_for(&line.near, ["live", "live"]);
    call_all(&line.near, "back");
    assert_once(&line, "back");
    let back = servers(&line.near);
    assert!(calls(&back[1]) > calls(&after[1]), "it gets its calls again: {back:?}");
}

#[test]
fn calls_that_wait_for_a_killed_gateway_go_to_the_other_and_none_is_lost_or_doubled() {
    let (line, second) = start(Profile::Copy);
    warm_up(&line.near, "warm");
    // A route of the second gateway: its count rises.
    let of_second = |n: &u32| {
        let before = calls(&servers(&line.near)[1]);
        line.near.door().post(&format!("/to/{}/echo/probe/", route(*n)), b"x").expect_status(200);
        calls(&servers(&line.near)[1]) > before
    };
    let n = (0..ROUTES).find(of_second).expect("the second gateway has a route");
    second.kill();
    // Far more than the far side allows at once: the rest waits for room.
    let begun: Vec<_> = (0..40)
        .map(|call| {
            let path = format!("/to/{}/echo/wait/{call}/", route(n));
            line.near.door().call("POST", &path).body(b"x").begin().unwrap()
        })
        .collect();
    let others =
        |line: &Line| (0..40).filter(|call| !line.upstream.calls(&format!("/echo/wait/{call}/")).is_empty()).count();
    wait_for(&line.near, ["live", "silent"]);
    eventually("those that waited were made by the other one", || (others(&line) >= 40 - FAR_LIMIT).then_some(()));
    assert!(others(&line) < 40, "what was sent stays where it is");
    second.start_again();
    for exchange in begun {
        exchange.answer().unwrap().expect_status(200);
    }
    for call in 0..40 {
        assert_eq!(line.upstream.calls(&format!("/echo/wait/{call}/")).len(), 1, "{call}");
    }
}

#[test]
fn a_gateway_that_is_stopped_and_started_fails_no_call() {
    let (line, second) = start(Profile::Copy);
    warm_up(&line.near, "warm");
    let line = Arc::new(line);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..ROUTES)
        .map(|n| {
            let (line, stop) = (Arc::clone(&line), Arc::clone(&stop));
            thread::spawn(move || {
                let mut made = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    let path = format!("/to/{}/echo/run/{n}/{made}/", route(n));
                    line.near.door().post(&path, b"x").expect_status(200);
                    made += 1;
                }
                made
            })
        })
        .collect();
    thread::sleep(Duration::from_secs(2));
    assert!(second.stop().success());
    wait_for(&line.near, ["live", "draining"]);
    let drained = calls(&servers(&line.near)[1]);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(calls(&servers(&line.near)[1]), drained, "it gets no new calls");
    second.start_again();
    wait_for(&line.near, ["live", "live"]);
    eventually("it gets calls again", || (calls(&servers(&line.near)[1]) > drained).then_some(()));
    stop.store(true, Ordering::Relaxed);
    for (n, caller) in callers.into_iter().enumerate() {
        let made = caller.join().expect("no call fails");
        assert!(made > 0);
        for call in 0..made {
            assert_eq!(line.upstream.calls(&format!("/echo/run/{n}/{call}/")).len(), 1, "{n}/{call}");
        }
    }
}

/// Under each profile several engines read the same presence files; nobody removes them from under another.
#[test]
fn presence_is_read_by_every_engine_whatever_the_mirror_does_with_files() {
    for profile in [Profile::Copy, Profile::Move, Profile::Sync] {
        let (line, _second) = start(profile);
        let place = line.folder.path();
        // Another caller comes later, over the folders of the first.
        std::fs::create_dir_all(place.join("north-1/state")).unwrap();
        wait_for_files(&line);
        let (port, url) = (line.upstream.port, line.upstream.url("/"));
        let later = Engine::start_with(
            place,
            "north-1",
            "south",
            vec![("HOFT_ENDPOINT", "1".to_owned())],
            &move |file: &mut ConfigFile| {
                beat(file);
                file.local.name = "north".to_owned();
                file.identity.secret_file = Some("../north/north.key".into());
                file.folders.outbox = "../north/out".into();
                file.folders.inbox = "../north/in".into();
                file.mirror.profile = profile;
                file.mirror.expected_latency = Duration::from_millis(200);
                file.mirror.quiet_min = Duration::from_millis(200);
                for n in 0..ROUTES {
                    let up = destination("http", "127.0.0.1", port);
                    file.outbound.allow.push(outbound(&route(n), up, Some(url.clone())));
                }
            },
        );
        for (caller, name) in [(&line.near, "near"), (&later, "later")] {
            warm_up(caller, name);
            assert_once(&line, name);
        }
        wait_for_files(&line);
        // Callers announce nothing.
        assert_eq!(presence_files(&place.join("north/out"), "south", "north"), Vec::<String>::new());
        assert!(line.far.statusz()["servers"].as_array().unwrap().is_empty());
    }
}

/// The newest two of each gateway stay: in the inbox of the callers, and where the mirror leaves them in the outbox.
fn wait_for_files(line: &Line) {
    let place = line.folder.path();
    eventually("two presence files of each gateway are there, and not many more", || {
        let inbox = presence_files(&place.join("north/in"), "north", "south");
        let outbox = presence_files(&place.join("south/out"), "north", "south");
        let senders: BTreeSet<_> =
            inbox.iter().filter_map(|path| path.split('/').rev().nth(3).map(str::to_owned)).collect();
        (senders.len() == 2 && (4..=8).contains(&inbox.len()) && outbox.len() <= 6).then_some(())
    });
}
