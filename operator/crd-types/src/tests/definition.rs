//! The committed definition, and the habits every definition of ours keeps.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use regex::Regex;
use serde_json::Value;

use super::offline::schema;
use crate::{ConditionType, Reason};

#[test]
fn the_committed_files_are_what_the_types_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["crds", "charts/hoft/definitions"] {
        let committed = std::fs::read_to_string(root.join(folder).join("tunnelpeerings.yaml")).unwrap_or_default();
        assert!(
            committed == crate::crd_yaml().unwrap(),
            "{folder}/tunnelpeerings.yaml is not what the types say: run `{}`",
            crate::definition::COMMAND
        );
    }
}

#[test]
fn the_yaml_reads_back_as_the_definition() {
    let read: CustomResourceDefinition = serde_yaml::from_str(&crate::crd_yaml().unwrap()).unwrap();
    assert_eq!(read, crate::crd());
}

/// Calls `with` for every schema below `schema`, with its place.
fn each(schema: &Value, place: &str, with: &mut impl FnMut(&Value, &str)) {
    with(schema, place);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        each(field, &format!("{place}.{name}"), with);
    }
    for (key, end) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            each(inner, &format!("{place}{end}"), with);
        }
    }
}

#[test]
fn every_field_is_explained() {
    each(&schema(), "", &mut |schema, place| {
        // `kubectl explain` shows a list of plain values with the list's own sentence.
        if place.ends_with("[]") && schema["type"] != "object" {
            return;
        }
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(text.ends_with('.') || text.ends_with("...`)"), "{place}: no sentence describes it: `{text}`");
        assert!(schema.get("title").is_none(), "{place}");
    });
}

#[test]
fn every_text_list_and_map_is_bounded() {
    each(&schema(), "", &mut |schema, place| {
        let has = |key: &str| schema.get(key).is_some();
        match schema["type"].as_str() {
            Some("string") => assert!(has("maxLength") || has("enum"), "{place} has no maxLength"),
            Some("array") => assert!(has("maxItems"), "{place} has no maxItems"),
            Some("integer") if place.starts_with(".spec") => {
                assert!(has("minimum") && has("maximum"), "{place} has no range");
            }
            Some("object") if has("additionalProperties") => assert!(has("maxProperties"), "{place}"),
            Some("object" | "integer" | "boolean") => {}
            None => assert!(has("x-kubernetes-int-or-string"), "{place} has no type"),
            Some(other) => panic!("{place}: {other}"),
        }
        assert!(schema.get("nullable").is_none(), "{place}: rules would read null as a value");
        let format = schema["format"].as_str();
        assert!(format.is_none_or(|format| ["int32", "int64", "date-time"].contains(&format)), "{place}: {format:?}");
    });
}

#[test]
fn every_pattern_is_anchored() {
    each(&schema(), "", &mut |schema, place| {
        if let Some(pattern) = schema["pattern"].as_str() {
            Regex::new(pattern).unwrap();
            assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{place}: {pattern}");
        }
    });
}

#[test]
fn every_condition_of_ours_fits_its_schema() {
    let schema = schema();
    let condition = &schema["properties"]["status"]["properties"]["conditions"]["items"]["properties"];
    let pattern = |field: &str| Regex::new(condition[field]["pattern"].as_str().unwrap()).unwrap();
    let (kinds, reasons) = (pattern("type"), pattern("reason"));
    for kind in ConditionType::ALL {
        assert!(kinds.is_match(kind.as_str()), "{kind}");
    }
    for reason in Reason::ALL {
        assert!(reasons.is_match(reason.as_str()), "{}", reason.as_str());
    }
}

#[test]
fn whole_numbers_are_written_whole() {
    let text = crate::crd_yaml().unwrap();
    assert!(text.contains("maximum: 65535\n"));
    assert!(!Regex::new(r"(?m)(imum|Length|Items): [0-9]+\.").unwrap().is_match(&text));
}
