//! The chart's copy of the custom resource definition.

use serde_json::{Value, json};

use crate::programs::text_of;
use crate::render::Helm;

const SOURCE: &str = "crds/tunnelpeerings.yaml";
const COPY: &str = "charts/hoft/definitions/tunnelpeerings.yaml";

#[test]
fn the_chart_has_the_definition_of_the_repository() {
    assert!(
        text_of(SOURCE) == text_of(COPY),
        "{COPY} is not {SOURCE}: run `cargo run -p crd-types --bin crdgen charts/hoft/definitions`"
    );
}

#[test]
fn the_definition_is_installed_whole_and_stays_when_the_release_goes() {
    let Some(helm) = Helm::find() else { return };
    let mut expected: Value = serde_yaml::from_str(&text_of(SOURCE)).unwrap();
    let objects = helm.objects(&[], &[]);
    let mut rendered = objects.one("CustomResourceDefinition", "tunnelpeerings.hoft.dev").clone();
    assert_eq!(rendered["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
    let metadata = rendered["metadata"].as_object_mut().unwrap();
    metadata.remove("annotations");
    metadata.remove("labels");
    assert_eq!(rendered, expected);
    // The operator must be able to own no part of it: no conversion, no status.
    assert!(expected["spec"]["conversion"].take().is_null() && rendered["status"].is_null());
    let without = helm.objects(&["crds.install=false"], &[]);
    assert!(without.find("CustomResourceDefinition", "tunnelpeerings.hoft.dev").is_none());
}
