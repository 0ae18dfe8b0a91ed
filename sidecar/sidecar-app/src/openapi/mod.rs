//! The OpenAPI 3.1 document of the local API, served at `/v1/openapi.json`.
//!
//! One file for each area, each a function that gives its paths; a new door gets its file (or its path in one of them) and a
//! line in [`paths`]. Invariants: a path or method that the port serves is described, and what is described is served; the
//! words of states and problems are those of the code; what a caller may meet as a problem is named, status by status.
//! It describes and decides nothing, but that a refused method is answered with those that there are ([`methods_of`]).
//! Test to read first: `every_door_in_the_source_is_described`; with a real engine: `tests/line/openapi.rs`.

mod calls;
mod components;
mod letters;
mod operations;
mod pages;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use wire::digest::{hex, sha256};

/// Where the document is.
pub const PATH: &str = "/v1/openapi.json";
/// Its media type.
pub const CONTENT_TYPE: &str = "application/openapi+json;version=3.1";
/// Methods of a path in a document, in the order in which Allow names them.
const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// The document, and the validator of this version of it.
#[derive(Clone, Debug)]
pub struct Document {
    /// As JSON.
    pub json: String,
    /// Its entity tag, quotes included.
    pub etag: String,
}

/// The document.
pub fn document() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let json = format!("{:#}\n", value());
        let digest = hex(&sha256(&[json.as_bytes()]));
        Document { etag: format!("\"{}\"", digest.get(..32).unwrap_or(&digest)), json }
    })
}

/// The methods that are described of the path that this one is an instance of; none for other paths.
#[must_use]
pub fn methods_of(path: &str) -> Vec<&'static str> {
    let item = paths().into_iter().find(|(template, _)| is_instance(path, template));
    let methods = item.map(|(_, item)| METHODS.into_iter().filter(|method| item.get(*method).is_some()).collect());
    methods.unwrap_or_default()
}

/// Is this path one that the template stands for?
fn is_instance(path: &str, template: &str) -> bool {
    let (mut given, mut wanted) = (path.split('/'), template.split('/'));
    loop {
        match (given.next(), wanted.next()) {
            (None, None) => return true,
            (Some(given), Some(wanted)) if wanted.starts_with('{') && !given.is_empty() || given == wanted => {}
            _ => return false,
        }
    }
}

fn value() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hoft: the local API",
            "summary": "HTTP calls over a file transfer, seen from the calling side",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The local port of an engine" }],
        "tags": [
            { "name": "calls", "description": "Calls to the far side by the name of a route" },
            { "name": "operations", "description": "What became of a call, and its stored response" },
            { "name": "callbacks", "description": "Who could not be told" },
            { "name": "pages", "description": "What people and tools read" },
        ],
        "paths": paths().into_iter().collect::<Map<_, _>>(),
        "components": components::components(),
    })
}

const DESCRIPTION: &str = "\
One port for programs of this side. Besides what is described here it is a forward proxy: a request with an absolute \
`http://` or `https://` target is carried to the far side, which makes the call. Every answer to a call has \
`Hoft-Operation-Id`; hoft's own errors are `application/problem+json` with `Proxy-Status`, and errors of the called API pass \
through untouched. Only requests whose Host and Origin are this port's are answered: a foreign Host is refused with 421, a \
foreign Origin with 403.";

/// Every path, with what is described of it.
fn paths() -> Vec<(String, Value)> {
    [pages::paths(), operations::paths(), letters::paths(), calls::paths()].concat()
}

/// A path item that is read with GET, and with HEAD in the same way.
fn read(get: &Value) -> Value {
    let mut head = get.clone();
    if let Some(id) = get["operationId"].as_str() {
        head["operationId"] = format!("{id}Head").into();
    }
    if let Some(responses) = head["responses"].as_object_mut() {
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            // A HEAD has no content, problems included.
            response.remove("content");
        }
    }
    json!({ "get": get, "head": head })
}

/// The responses of a door: its own, and the problems of these statuses. Every door may also refuse who asks.
fn responses(own: Value, problems: &[(u16, &str)]) -> Value {
    let mut all = match own {
        Value::Object(own) => own,
        _ => Map::new(),
    };
    let guard = [
        (400, "The request is malformed"),
        (403, "A page of another site asks"),
        (405, "The path has no such method; Allow names those it has"),
        (421, "The Host is not this port's"),
        (431, "The header section is too large"),
    ];
    for (status, why) in guard.iter().chain(problems) {
        all.insert(status.to_string(), components::problem(why));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests;
