//! A pod that is gone is forgotten; its old packets do nothing; if it comes back after all, it begins a new life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sidecar_config::ConfigFile;

use crate::harness::{Engine, operation_id};
use crate::pods::{another_pod, start};
use crate::process::eventually;
use crate::upstream::Upstream;

/// The shortest that a busy machine does not take for death.
fn beat(file: &mut ConfigFile) {
    file.heartbeat.interval = Some(Duration::from_millis(500));
    file.heartbeat.loss_timeout = Some(Duration::from_secs(3));
    file.remote.forget_after = Some(Duration::from_secs(12));
}

/// Keeps a copy of every packet that comes up below a folder.
struct Recorder {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Recorder {
    fn start(root: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut kept = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    for path in packets(&root) {
                        let name = path.strip_prefix(&root).unwrap().to_owned();
                        // It may be removed meanwhile.
                        if !kept.contains_key(&name)
                            && let Ok(bytes) = std::fs::read(&path)
                        {
                            kept.insert(name, bytes);
                        }
                    }
                    thread::sleep(Duration::from_millis(2));
                }
                kept
            }
        });
        Self { stop, thread }
    }

    fn stop(self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn packets(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => packets(&path),
            path => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|end| end == "hft"))
        .filter(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')))
        .collect()
}

/// What `engine` says of one endpoint of the far side, if it knows it.
fn peer(engine: &Engine, endpoint: &str) -> Option<Value> {
    let status = engine.statusz();
    status["peers"].as_array().unwrap().iter().find(|peer| peer["endpoint"] == endpoint).cloned()
}

#[test]
fn a_pod_that_is_gone_is_forgotten_and_begins_a_new_life_if_it_comes_back() {
    let upstream = Upstream::start();
    let line = start(&upstream, beat);
    let second = another_pod(&line, beat);
    let id = |engine: &Engine| engine.statusz()["endpoint"].as_str().unwrap().to_owned();
    let (gateway, pod) = (id(&line.near), id(&line.far));
    let hex = |id: &str| id.replace('-', "");
    let below = format!("{}/{}", hex(&gateway), hex(&pod));
    let recorder = Recorder::start(line.folder.path().join("south/out").join(&below));
    let call = |engine: &Engine, name: &str| {
        engine.door().post(&line.url(&format!("/echo/{name}")), b"x").expect_status(200);
    };
    let once = |name: &str| assert_eq!(upstream.calls(&format!("/echo/{name}")).len(), 1, "{name}");
    call(&line.far, "first");
    call(&second, "other");
    // Its answer is never taken.
    let held = operation_id();
    let call_held = line.far.door().call("POST", &line.url("/gate/held")).field("Hoft-Operation-Id", &held).body(b"x");
    let waiting = call_held.begin().unwrap();
    upstream.gates.wait_for_arrivals("held", 1);
    eventually("the pod's engine heard that its call arrived", || {
        let view = line.far.statusz();
        (view["peers"][0]["backlog_records"] == 0).then_some(())
    });
    thread::sleep(Duration::from_secs(2));
    line.far.kill();
    drop(waiting);
    upstream.gates.open("held");
    let to_the_pod = line.folder.path().join("north/out").join(hex(&pod));
    eventually("the answer waits for the pod", || {
        (peer(&line.near, &pod)?["backlog_records"].as_u64()? > 0).then_some(())
    });
    assert!(to_the_pod.exists());

    eventually("the pod is forgotten", || peer(&line.near, &pod).is_none().then_some(()));
    eventually("the packets to it are removed", || (!to_the_pod.exists()).then_some(()));
    let metrics = line.near.admin().get("/metrics").expect_status(200).text();
    assert!(!metrics.contains(&pod), "{metrics}");
    assert!(peer(&line.near, &id(&second)).is_some());
    call(&second, "after");

    let old = recorder.stop();
    assert!(old.len() > 3, "{:?}", old.keys());
    let replay = || {
        for (name, bytes) in &old {
            let path = line.folder.path().join("north/in").join(&below).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    };
    replay();
    // What was read is not remembered over a restart: now only the rules of association keep them out.
    line.near.kill();
    replay();
    line.near.start_again();
    eventually("the old packets are read again", || {
        let waiting = line.near.statusz()["inbox"]["packets_waiting"].as_u64()?;
        (waiting > 0 && peer(&line.near, &pod).is_some()).then_some(())
    });
    thread::sleep(Duration::from_secs(3));
    let stranger = peer(&line.near, &pod).unwrap();
    assert_eq!((&stranger["incarnation"], &stranger["received_up_to"]), (&Value::Null, &0.into()), "{stranger}");
    call(&second, "meanwhile");

    // It was not gone, only away for long: its state is what it was. The answer that arrived meanwhile is lost.
    for path in packets(&line.folder.path().join("south/in").join(hex(&pod))) {
        std::fs::remove_file(path).unwrap();
    }
    line.far.start_again();
    // It hears that it was forgotten, and takes a new incarnation by itself.
    eventually("the pod begins a new life", || {
        let answer = line.far.door().call("POST", &line.url("/echo/back")).body(b"x").try_send().ok()?;
        (answer.status == 200).then_some(())
    });
    assert!(peer(&line.near, &pod).is_some_and(|view| view["incarnation"].is_string()));
    assert_eq!(line.far.statusz()["peers"][0]["halted"], Value::Null);
    once("first");
    assert_eq!(upstream.gates.arrivals("held"), 1, "made again");
    call(&second, "last");
}
