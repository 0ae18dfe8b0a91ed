//! What a pair of sides may agree on: protection, the mirror's profile, the layout; and a mirror that fails a lot.

use std::thread;

use sidecar_config::{Layout, Profile};

use crate::harness::{Line, Options, operation_id};

/// Calls enough to use every kind of record, among them a body of many records each way.
fn assert_carries(options: &Options) {
    let line = Line::start(options);
    line.assert_works();
    let body = crate::upstream::fixed(2_000_000);
    let answer = line.door().post(&line.url("/echo"), &body).expect_status(200);
    assert!(answer.body == body);
    line.door().get("http://nowhere.example/").expect_status(403);
    for engine in [&line.near, &line.far] {
        let status = engine.statusz();
        assert!(status["inbox"]["packets_used"].as_u64().unwrap() > 0, "{status}");
        assert_eq!(status["inbox"]["quarantined"], 0, "{status}");
        assert_eq!(status["peers"][0]["halted"], serde_json::Value::Null, "{status}");
    }
}

// Sealed, copy and tree are what the shared line has.

#[test]
fn signed_packets_in_a_flat_folder_that_the_mirror_empties() {
    assert_carries(&Options { mode: "Signed", profile: Profile::Move, layout: Layout::Flat, ..Options::default() });
}

#[test]
fn checksummed_packets_with_a_mirror_that_synchronises() {
    assert_carries(&Options { mode: "Checksum", profile: Profile::Sync, ..Options::default() });
}

#[test]
fn every_call_over_a_harsh_mirror_is_answered() {
    const CALLS: usize = 30;
    let line = Line::start(&Options { faults: "harsh", seed: 11, ..Options::default() });
    let (door, url) = (line.door(), line.url("/echo"));
    let callers: Vec<_> = (0..CALLS)
        .map(|number| {
            let url = format!("{url}/{number}/");
            thread::spawn(move || {
                let body = crate::upstream::fixed(u64::try_from(number * number * 300).unwrap());
                let call = door.call("POST", &url).field("Hoft-Operation-Id", &operation_id());
                match call.body(&body).try_send() {
                    Ok(answer) if answer.status == 200 && answer.body == body => None,
                    Ok(answer) if answer.status == 200 => Some(format!("call {number} got something else")),
                    Ok(answer) => Some(format!("call {number} got {}: {}", answer.status, answer.text())),
                    Err(error) => Some(format!("call {number} got no whole answer: {error}")),
                }
            })
        })
        .collect();
    let failures: Vec<String> = callers.into_iter().filter_map(|caller| caller.join().unwrap()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    for number in 0..CALLS {
        assert_eq!(line.upstream.calls(&format!("/echo/{number}/")).len(), 1, "call {number}");
    }
}
