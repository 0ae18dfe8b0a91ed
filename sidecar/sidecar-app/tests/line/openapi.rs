//! The OpenAPI document of a real engine: as served, against what the port does, and under a schema-driven fuzzer.
//!
//! The fuzzer (schemathesis) and the schema of OpenAPI come with the packages of `requirements.txt`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::client::Door;
use crate::harness::{Line, Options, destination, operation_id, outbound};
use crate::process::folder;
use crate::programs::{output_of, pyclients};
use crate::shared::line;
use crate::upstream::Upstream;

const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

fn document(door: Door) -> Value {
    door.get("/v1/openapi.json").expect_status(200).json()
}

#[test]
fn the_document_is_served_with_its_type_and_not_again_while_it_is_the_same() {
    let line = line();
    let first = line.door().get("/v1/openapi.json").expect_status(200);
    assert_eq!(first.get("content-type"), Some("application/openapi+json;version=3.1"));
    let etag = first.get("etag").unwrap();
    let again = |tags: &str| line.door().call("GET", "/v1/openapi.json").field("If-None-Match", tags).send();
    for tags in [etag.to_owned(), format!("\"x\", W/{etag}"), "*".to_owned()] {
        let same = again(&tags);
        assert_eq!((same.status, same.body.len(), same.get("etag")), (304, 0, Some(etag)), "{tags}");
    }
    assert_eq!(again("\"x\"").status, 200);
    let head = line.door().call("HEAD", "/v1/openapi.json").send().expect_status(200);
    assert_eq!(head.get("content-length"), Some(first.body.len().to_string().as_str()));
    assert!(head.body.is_empty());
    let rebound = line.door().call("GET", "/v1/openapi.json").field("Host", "evil.example").send();
    rebound.expect_problem(421, "foreign-host", "http_request_denied");
}

#[test]
fn what_is_described_is_served_and_other_methods_are_refused_by_name() {
    let line = line();
    let id = operation_id();
    line.door().call("GET", &line.url("/fixed/3")).field("Hoft-Operation-Id", &id).send().expect_status(200);
    let document = document(line.door());
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template
            .replace("{id}", &id)
            .replace("{route}", "up")
            .replace("{path}", "fixed/3")
            .replace("{letter}", "none");
        for method in METHODS {
            // A chosen id may be used once, and the events go on without end.
            let endless = ["/v1/page-events", "/v1/events"].contains(&template.as_str()) && method == "get";
            if template.starts_with("/to/") || endless {
                continue;
            }
            let answer = line.door().call(&method.to_uppercase(), &path).send();
            if item.get(method).is_some() {
                // There is no dead letter, no authority, and the operation has ended.
                let absent = template.contains("{letter}") || template == "/v1/ca.pem";
                let expected = if absent {
                    404
                } else if method == "delete" {
                    409
                } else {
                    200
                };
                assert_eq!(answer.status, expected, "{method} {path}: {answer:?}");
            } else {
                assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
                let allowed: Vec<_> = answer.get("allow").unwrap().split(", ").map(str::to_lowercase).collect();
                let described = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str()));
                assert_eq!(described.filter(|key| !allowed.contains(key)).count(), 0, "{path}: {allowed:?}");
            }
        }
    }
    line.door().get("/to/up/fixed/3").expect_status(200);
}

#[test]
fn the_document_is_valid_openapi() {
    let Some(mut python) = pyclients() else { return };
    let line = line();
    let script = "import json, sys, urllib.request\n\
        import jsonschema_rs\n\
        from schemathesis.specs.openapi.definitions import OPENAPI_31\n\
        document = json.load(urllib.request.urlopen(sys.argv[1]))\n\
        errors = [str(error) for error in jsonschema_rs.validator_for(OPENAPI_31).iter_errors(document)]\n\
        for name, schema in document['components']['schemas'].items():\n    \
            jsonschema_rs.meta.validate(schema)\n    \
            whole = {**schema, 'components': document['components']}\n    \
            for example in schema.get('examples', []):\n        \
                errors += [f'{name}: {error}' for error in jsonschema_rs.validator_for(whole).iter_errors(example)]\n\
        print(errors or 'valid')\n";
    let url = format!("http://localhost:{}/v1/openapi.json", line.door().port);
    assert_eq!(output_of(python.args(["-c", script, &url])).trim(), "valid");
}

/// The fuzzer on some of the paths. One thread each: Python 3.11 does not bear its own parser in several.
fn fuzz(mut python: Command, url: &str, place: &Path, chosen: &[&str]) -> Child {
    python.args(["-m", "schemathesis.cli", "run", url, "--phases", "examples,coverage,fuzzing"]);
    python.args(["--request-timeout", "60", "--suppress-health-check", "all", "--no-shrink", "--warnings", "off"]);
    python.args(chosen).current_dir(place).env("NO_COLOR", "1").env("NO_PROXY", "*");
    python.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it finds is repeated with the seed that it prints.
#[test]
fn a_schema_driven_fuzzer_finds_nothing() {
    let (Some(python), Some(another)) = (pyclients(), pyclients()) else { return };
    let upstream = Upstream::start();
    let (port, target) = (upstream.port, upstream.url("/fields/"));
    // The route of the document's examples.
    let options = Options {
        near: Box::new(move |file| {
            let rule = outbound("erp", destination("http", "127.0.0.1", port), Some(target.clone()));
            file.outbound.allow.insert(0, rule);
        }),
        ..Options::default()
    };
    let line = Line::start_with(&options, upstream);
    for path in ["/fixed/3", "/status/404", "/echo"] {
        let id = operation_id();
        let call = line.door().call("POST", &line.url(path)).field("Hoft-Operation-Id", &id);
        call.body(b"known").send();
    }
    let place = folder();
    // A result that is not kept any more is a good answer to a good request; a route takes any method, those without a word
    // in OpenAPI too.
    let settings = "[checks]\npositive_data_acceptance.expected-statuses = \
                    [\"2xx\", \"3xx\", \"401\", \"403\", \"404\", \"409\", \"410\", \"422\", \"429\", \"503\"]\n\
                    [[operations]]\ninclude-path = \"/to/{route}/{path}\"\nchecks.unsupported_method.enabled = false\n";
    std::fs::write(place.path().join("schemathesis.toml"), settings).unwrap();
    let port = format!("http://localhost:{}", line.door().port);
    let url = format!("{port}/v1/openapi.json");
    // The events have no end.
    let here =
        ["--exclude-path-regex", "^/(to/.*|v1/page-events|v1/events|v1/operations/.*/events)$", "--max-examples", "15"];
    // Other names than that of a route only ever find that there is none.
    let mut described = document(line.door());
    described["paths"]["/to/{route}/{path}"]["parameters"][0]["schema"] = json!({ "enum": ["erp"] });
    // A call that nobody wants any more after a second ends with 504 on a slow machine.
    if let Some(parameters) = described["paths"]["/to/{route}/{path}"]["parameters"].as_array_mut() {
        parameters.retain(|parameter| !["Prefer", "Hoft-Deadline"].contains(&parameter["name"].as_str().unwrap_or("")));
    }
    let file = place.path().join("described.json");
    std::fs::write(&file, described.to_string()).unwrap();
    let ids = ["--include-operation-id", "getByRoute", "--include-operation-id", "postByRoute"];
    let there = [&["--url", &port, "--max-examples", "20"][..], &ids].concat();
    let file = file.display().to_string();
    let runs = [fuzz(python, &url, place.path(), &here), fuzz(another, &file, place.path(), &there)];
    for run in runs {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("No issues found"), "{said}");
    }
    let crossed = line.upstream.calls("/fields/").len();
    assert!(crossed >= 5, "{crossed} calls of the fuzzer crossed");
    line.assert_works();
}
