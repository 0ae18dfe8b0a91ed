//! Engines of pods: named by the environment, with one file for all of them, and gone when their pod is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sidecar_config::{ConfigFile, EndpointKind};

use crate::harness::{Engine, Line, Options, destination, inbound, outbound};
use crate::process::{eventually, hoft};
use crate::upstream::Upstream;

pub(crate) const UIDS: [&str; 2] = ["0b5c1f7e-58a1-4a52-8f6e-0d3f9a6f7c11", "7d2a9b40-93c6-4e0b-b1d5-5f1e0c8a2e37"];

fn beat(file: &mut ConfigFile) {
    file.heartbeat.interval = Some(Duration::from_secs(1));
    file.heartbeat.loss_timeout = Some(Duration::from_secs(5));
}

/// A line whose far side has no gateway, only a pod; the pod calls. All engines beat like this.
pub(crate) fn start(upstream: &Arc<Upstream>, beat: fn(&mut ConfigFile)) -> Line {
    let (port, url) = (upstream.port, upstream.url("/"));
    let options = Options {
        near: Box::new(move |file| {
            beat(file);
            file.inbound.allow.push(inbound("up", destination("http", "127.0.0.1", port)));
        }),
        far: Box::new(move |file| {
            beat(file);
            file.local.kind = EndpointKind::Pod;
            file.local.endpoint = UIDS[0].to_owned();
            file.outbound.allow.push(outbound("up", destination("http", "127.0.0.1", port), Some(url.clone())));
        }),
        ..Options::default()
    };
    Line::start_with(&options, Arc::clone(upstream))
}

/// Another pod of side `south`, which the environment names.
pub(crate) fn another_pod(line: &Line, beat: fn(&mut ConfigFile)) -> Engine {
    let place: &Path = line.folder.path();
    std::fs::create_dir_all(place.join("south-1/state")).unwrap();
    let (port, url) = (line.upstream.port, line.upstream.url("/"));
    let variables = vec![("HOFT_KIND", "pod".to_owned()), ("HOFT_ENDPOINT", UIDS[1].to_owned())];
    Engine::start_with(place, "south-1", "north", variables, &move |file| {
        beat(file);
        file.local.name = "south".to_owned();
        file.identity.secret_file = Some("../south/south.key".into());
        file.folders.outbox = "../south/out".into();
        file.folders.inbox = "../south/in".into();
        file.mirror.expected_latency = Duration::from_millis(200);
        file.mirror.quiet_min = Duration::from_millis(200);
        file.outbound.allow.push(outbound("up", destination("http", "127.0.0.1", port), Some(url.clone())));
    })
}

/// Waits until the near engine says this of its peers, in any order.
#[track_caller]
fn assert_diagnoses(line: &Line, wanted: &[&str]) {
    let what = format!("the near side says {wanted:?}");
    eventually(&what, || {
        let status = line.near.statusz();
        let peers = status["peers"].as_array().unwrap();
        let mut names: Vec<_> = peers.iter().filter_map(|peer| peer["diagnosis_name"].as_str()).collect();
        names.sort_unstable();
        (names == wanted).then_some(())
    });
}

#[test]
fn an_endpoint_that_never_came_and_a_pod_that_is_gone_are_no_trouble_of_the_others() {
    let upstream = Upstream::start();
    let line = start(&upstream, beat);
    let call = |engine: &Engine, name: &str| {
        let answer = engine.door().post(&line.url(&format!("/echo/{name}")), b"x").expect_status(200);
        assert_eq!(answer.text(), "x");
    };
    call(&line.far, "first");
    assert_diagnoses(&line, &["healthy", "never_seen"]);
    let second = another_pod(&line, beat);
    call(&second, "second");
    assert_diagnoses(&line, &["healthy", "healthy", "never_seen"]);
    line.far.kill();
    assert_diagnoses(&line, &["healthy", "never_seen", "peer_silent"]);
    call(&second, "third");
    let status = second.statusz();
    assert_eq!(status["peers"][0]["diagnosis_name"], "healthy", "{status}");
}

#[test]
fn status_says_who_the_engine_is_and_what_is_open() {
    let upstream = Upstream::start();
    let line = start(&upstream, beat);
    let second = another_pod(&line, beat);
    let status = second.statusz();
    assert_eq!((status["kind"].as_str(), status["endpoint_name"].as_str()), (Some("pod"), Some(UIDS[1])));
    assert_eq!((status["side"].as_str(), status["started"].as_bool()), (Some("south"), Some(true)));
    let token = std::fs::read_to_string(line.folder.path().join("south/south.pub")).unwrap();
    assert_eq!(status["public_key"], token.trim());
    assert!(status["fingerprint"].as_str().is_some_and(|text| !text.is_empty()), "{status}");
    assert_eq!((&status["log_failure"], &status["log_full"]), (&Value::Null, &Value::Bool(false)));
    assert_eq!((&status["open_operations"], &status["open_operations_total"]), (&Value::Array(vec![]), &0.into()));
    // A call that waits is shown by its id and route, never by what is called.
    let waiting = second.door().call("POST", "/to/up/gate/open?token=secret").body(b"x").begin().unwrap();
    upstream.gates.wait_for_arrivals("open", 1);
    let status = second.statusz();
    assert_eq!(status["open_operations_total"], 1, "{status}");
    let open = status["open_operations"][0].as_object().unwrap();
    assert_eq!(open.keys().map(String::as_str).collect::<Vec<_>>(), ["age_ms", "id", "route", "state"]);
    assert_eq!((open["route"].as_str(), open["age_ms"].is_u64()), (Some("up"), true), "{open:?}");
    let text = status.to_string();
    assert!(!text.contains("gate/open") && !text.contains("token="), "{text}");
    upstream.gates.open("open");
    waiting.answer().unwrap().expect_status(200);
    assert_eq!(second.statusz()["open_operations_total"], 0);
}

#[test]
fn variables_that_are_wrong_are_named() {
    let upstream = Upstream::start();
    let line = start(&upstream, beat);
    let refused = |variables: &[(&str, &str)], words: &[&str]| {
        for subcommand in [&["sidecar", "--config"][..], &["config", "check"]] {
            let mut command = hoft();
            command.args(subcommand).arg(line.near.config()).envs(variables.iter().copied());
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            for word in words {
                assert!(said.contains(word), "`{word}` is not said:\n{said}");
            }
        }
    };
    refused(&[("HOFT_KIND", "sidecar")], &["HOFT_KIND (--kind): `sidecar`", "write gateway or pod"]);
    refused(&[("HOFT_KIND", "pod")], &["HOFT_ENDPOINT (--endpoint): is missing", "metadata.uid"]);
    refused(&[("HOFT_ENDPOINT", "x")], &["HOFT_ENDPOINT (--endpoint): `x`"]);
    refused(
        &[("HOFT_NAMESPACE", "A"), ("HOFT_SERVICE_ACCOUNT", "a/b")],
        &["2 problems", "HOFT_NAMESPACE (--namespace)", "HOFT_SERVICE_ACCOUNT (--service-account)"],
    );
}
