//! The objects made of the README's peerings, byte for byte: a change to them restarts engines, so it is to be seen.
//!
//! `HOFT_GOLDEN=write cargo test -p controller golden` writes the files anew.

use std::path::PathBuf;

use serde::Serialize;

use super::scene::Scene;

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/plan/golden").join(name);
    if std::env::var("HOFT_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} differs from what is made. If that is meant: HOFT_GOLDEN=write. Made:\n{text}");
}

fn in_yaml(of: &impl Serialize) -> String {
    // By way of JSON, as it goes over the wire.
    serde_yaml::to_string(&serde_json::to_value(of).unwrap()).unwrap()
}

#[test]
fn what_is_put_into_an_apps_pod() {
    let injection = Scene::sidecar().plan().status.injection;
    compare("injection.yaml", &in_yaml(&injection));
}

#[test]
fn the_gateway() {
    let plan = Scene::gateway().plan();
    compare("gateway.yaml", &in_yaml(&plan.stateful_set));
    compare("service.yaml", &in_yaml(&plan.service));
}

#[test]
fn the_configurations() {
    for (name, scene) in [("sidecar-hoft.yaml", Scene::sidecar()), ("gateway-hoft.yaml", Scene::gateway())] {
        compare(name, &scene.plan().config_map.unwrap().data.unwrap()["hoft.yaml"]);
    }
}
