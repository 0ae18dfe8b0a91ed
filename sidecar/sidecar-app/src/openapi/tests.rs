//! The document against the code that it describes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layer2_http::operation::{Executed, OperationId, OperationView};
use layer2_http::problem::{Problem, ProblemKind};

use super::*;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|end| end == "rs") && !entry.ends_with("tests.rs") {
            found.push(entry);
        }
    }
    found
}

/// What stands between `before` and the next quotation mark.
fn literals<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let starts = text.match_indices(before).map(|(at, found)| at + found.len());
    starts.filter_map(|at| text.get(at..)?.split('"').next()).collect()
}

/// Doors are paths within quotation marks in the source of the port, and words in `operations*.rs` that follow an id.
#[test]
fn every_door_in_the_source_is_described() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let described: Vec<String> = paths().into_iter().map(|(path, _)| path).collect();
    let is_described = |door: &str| {
        let beneath =
            |path: &String| path.strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        described.iter().any(beneath)
    };
    let mut doors = BTreeSet::from(["/".to_owned(), "/to".to_owned()]);
    for file in sources(&source.join("ingress")).into_iter().chain([source.join("page/mod.rs")]) {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        doors.extend(literals(text, "\"/v1/").into_iter().map(|rest| format!("/v1/{}", rest.trim_end_matches('/'))));
        if file.display().to_string().contains("/ingress/operations") {
            doors.extend(literals(text, "Some(\"").into_iter().map(|part| format!("/v1/operations/{{id}}/{part}")));
        }
    }
    doors.insert(PATH.to_owned());
    assert!(doors.contains("/v1/operations/{id}/result") && doors.contains("/v1/page-events"), "{doors:?}");
    let missing: Vec<_> = doors.iter().filter(|door| door.as_str() != "/" && !is_described(door)).collect();
    assert!(missing.is_empty(), "described nowhere in src/openapi: {missing:?}");
}

#[test]
fn every_field_of_an_operation_and_a_problem_is_described() {
    let id = OperationId::parse(components::ID).unwrap();
    let view = OperationView {
        id,
        state: layer2_http::State::Done,
        method: "GET".to_owned(),
        target: "http://a.example/".to_owned(),
        route: None,
        peer: components::ID.to_owned(),
        begun_ms: 1,
        ended_ms: None,
        status: None,
        executed: None,
        problem: None,
        result: false,
    };
    let problem = Problem::new(ProblemKind::Internal, "why").of(id).executed(Executed::No).retry_after(1);
    let problem: Value = serde_json::from_slice(&problem.to_json()).unwrap();
    let document = value();
    for (name, written) in [("Operation", serde_json::to_value(view).unwrap()), ("Problem", problem)] {
        let properties = &document["components"]["schemas"][name]["properties"];
        for field in written.as_object().unwrap().keys() {
            assert!(properties.get(field).is_some(), "{name}.{field} is not described");
        }
        for field in properties.as_object().unwrap().keys() {
            assert!(written.get(field).is_some(), "{name}.{field} is described and not written");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_ids_are_used_once() {
    let document = value();
    let text = document.to_string();
    for reference in literals(&text, "\"$ref\":\"#") {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let ids = literals(&text, "\"operationId\":\"");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

#[test]
fn methods_are_those_of_the_path_that_is_described() {
    assert_eq!(methods_of("/"), ["get", "head"]);
    assert_eq!(methods_of("/v1/operations/x"), ["get", "head", "delete"]);
    assert_eq!(methods_of("/to/erp/x").len(), METHODS.len());
    for path in ["", "/v1", "/v1/operations/", "/v1/operations/x/y", "/x"] {
        assert!(methods_of(path).is_empty(), "{path}");
    }
}

#[test]
fn the_tag_changes_with_the_document_only() {
    let (first, second) = (document(), document());
    assert_eq!(first.etag, second.etag);
    assert!(first.etag.len() == 34 && first.etag.starts_with('"') && first.etag.ends_with('"'), "{}", first.etag);
    let json: Value = serde_json::from_str(&first.json).unwrap();
    assert_eq!(json["openapi"], "3.1.0");
}
