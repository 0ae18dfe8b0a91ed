//! The condition VolumeReady.

use crd_types::ConditionType::{Ready, VolumeReady};

use super::scene::Scene;

const RWO: &str = "{metadata: {name: mirror}, spec: {accessModes: [ReadWriteOnce]}, status: {phase: Bound, accessModes: [ReadWriteOnce]}}";
const ROX: &str = "{metadata: {name: mirror}, spec: {accessModes: [ReadOnlyMany]}, status: {phase: Bound}}";
const PENDING: &str = "{metadata: {name: mirror}, spec: {accessModes: [ReadWriteMany]}, status: {phase: Pending}}";
const FRESH: &str = "{metadata: {name: mirror}, spec: {accessModes: [ReadWriteMany]}}";

#[test]
fn claims_are_judged_by_what_the_engines_need() {
    let apart = "volume: {outbox: {claimName: departures}, inbox: {claimName: mirror, readOnly: true}, mirror: {propagatesDeletes: true}}";
    let bound = "{spec: {accessModes: [ReadWriteMany]}, status: {phase: Bound}}";
    for (case, scene, expected) in [
        ("as it should be", Scene::sidecar(), "True/Bound"),
        ("not bound", Scene::sidecar().claim("mirror", PENDING), "False/ClaimNotBound"),
        ("without a status", Scene::sidecar().claim("mirror", FRESH), "False/ClaimNotBound"),
        ("one node only, engines everywhere", Scene::sidecar().claim("mirror", RWO), "False/AccessMode"),
        ("one node only, one engine", Scene::gateway().claim("mirror", RWO), "True/Bound"),
        ("one node only, both", Scene::gateway().spec("injection: {}").claim("mirror", RWO), "False/AccessMode"),
        (
            "read-only for reading",
            Scene::sidecar().spec(apart).claim("mirror", ROX).claim("departures", bound),
            "True/Bound",
        ),
        ("read-only for writing", Scene::sidecar().claim("mirror", ROX), "False/AccessMode"),
        ("logs nowhere", Scene::sidecar().spec("volume: {state: {claimName: logs}}"), "False/ClaimMissing"),
        (
            "logs on one node",
            Scene::sidecar().spec("volume: {state: {claimName: logs}}").claim("logs", RWO),
            "False/AccessMode",
        ),
    ] {
        let plan = scene.plan();
        assert_eq!(plan.says(VolumeReady), expected, "{case}: {}", plan.message(VolumeReady));
        if expected != "True/Bound" {
            assert!(plan.message(VolumeReady).contains("spec.volume."), "{case}: {}", plan.message(VolumeReady));
            assert_eq!(plan.says(Ready), expected);
        }
    }
}

#[test]
fn a_missing_claim_is_named() {
    let mut scene = Scene::sidecar();
    scene.claims.clear();
    let plan = scene.plan();
    assert_eq!(plan.says(VolumeReady), "False/ClaimMissing");
    assert!(plan.message(VolumeReady).contains("PersistentVolumeClaim mirror"), "{}", plan.message(VolumeReady));
    assert!(plan.status.injection.is_some(), "a claim may come later, and some are bound by the first pod only");
}

#[test]
fn an_engine_that_cannot_write_packets_makes_the_volume_unready() {
    let scene =
        Scene::sidecar().settle().pod("a").says(|report| report.outbox_failure = Some("No space left".to_owned()));
    let plan = scene.plan();
    assert_eq!(plan.says(VolumeReady), "False/OutboxFailing");
    assert!(plan.message(VolumeReady).contains("pod a: No space left"), "{}", plan.message(VolumeReady));
}
