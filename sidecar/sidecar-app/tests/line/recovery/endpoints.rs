//! A second endpoint of the far side: same keys and folders, a state folder of its own.

use sidecar_config::Layout;

use super::{assert_calls, assert_idle, both_ways_to, in_parallel, lose_state, restart};
use crate::harness::{Engine, Line, Options, destination, operation_id, outbound};
use crate::upstream::Upstream;

/// Starts endpoint "1" of side `south` on a line.
fn second_endpoint(line: &Line, layout: Layout) -> Engine {
    let place = line.folder.path();
    std::fs::create_dir_all(place.join("south-1/state")).unwrap();
    let (port, url) = (line.upstream.port, line.upstream.url("/"));
    Engine::start(place, "south-1", "north", &move |file| {
        file.local.name = "south".to_owned();
        file.local.endpoint = "1".to_owned();
        file.identity.secret_file = Some("../south/south.key".into());
        file.folders.outbox = "../south/out".into();
        file.folders.inbox = "../south/in".into();
        file.folders.layout = layout;
        file.mirror.expected_latency = std::time::Duration::from_millis(200);
        file.mirror.quiet_min = std::time::Duration::from_millis(200);
        file.log.level = sidecar_config::LogLevel::Debug;
        file.outbound.allow.push(outbound("up", destination("http", "127.0.0.1", port), Some(url.clone())));
    })
}

fn check(layout: Layout) {
    let upstream = Upstream::start();
    let options = Options { layout, ..both_ways_to(&upstream) };
    let line = Line::start_with(&options, upstream);
    let second = second_endpoint(&line, layout);
    let engines = [&line.near, &line.far, &second];
    for engine in engines {
        assert_calls(engine, &line.upstream);
    }
    in_parallel(9, |caller| {
        for number in 0..5 {
            let body = format!("{caller}-{number}").repeat(1000);
            let answer = engines[caller % 3].door().post(&line.url("/echo"), body.as_bytes()).expect_status(200);
            assert_eq!(answer.text(), body);
        }
    });
    // A call of each endpoint outlives the engine that executes it, and one its own.
    let id = operation_id();
    let call = second.door().call("POST", &line.url("/gate/second")).field("Hoft-Operation-Id", &id).body(b"x");
    let exchange = call.begin().unwrap();
    line.upstream.gates.wait_for_arrivals("second", 1);
    restart(&second);
    drop(exchange);
    line.upstream.gates.open("second");
    assert_eq!(second.result(&id).expect_status(200).text(), "the gate was opened");
    restart(&line.near);
    for engine in engines {
        assert_calls(engine, &line.upstream);
    }
    lose_state(&second);
    for engine in engines {
        assert_calls(engine, &line.upstream);
    }
    assert_eq!(line.near.statusz()["peers"].as_array().unwrap().len(), 2);
    assert_idle(&line.near);
}

#[test]
fn a_second_endpoint_cannot_call_through_folders_of_the_tree_layout() {
    check(Layout::Tree);
}

#[test]
fn a_second_endpoint_cannot_call_through_a_flat_folder() {
    check(Layout::Flat);
}
