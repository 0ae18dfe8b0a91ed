//! The status page, its events, and this document.

use serde_json::{Value, json};

use super::{CONTENT_TYPE, PATH, read, responses};
use crate::page::{self, Filter};

/// Their paths.
pub(super) fn paths() -> Vec<(String, Value)> {
    vec![
        (page::PATH.to_owned(), with_filter(read(&status_page()))),
        (page::EVENTS_PATH.to_owned(), with_filter(read(&events()))),
        (PATH.to_owned(), read(&document())),
    ]
}

fn status_page() -> Value {
    json!({
        "operationId": "showPage", "tags": ["pages"], "summary": "The status page, for people",
        "responses": responses(json!({
            "200": {
                "description": "It works without scripts, and loads nothing",
                "content": { "text/html": { "schema": { "type": "string" } } },
            },
        }), &[]),
    })
}

fn events() -> Value {
    json!({
        "operationId": "followPage", "tags": ["pages"], "summary": "The parts of the page that change, as they change",
        "description": "Server-sent events, one a second at most. Their data is for the page: it may change with any version.",
        "responses": responses(json!({
            "200": {
                "description": "It goes on until the engine ends",
                "content": { "text/event-stream": {} },
            },
        }), &[(503, "Too many pages listen already")]),
    })
}

fn document() -> Value {
    json!({
        "operationId": "showDocument", "tags": ["pages"], "summary": "This document",
        "parameters": [{
            "name": "If-None-Match", "in": "header", "required": false,
            "description": "Entity tags of copies that are there already",
            "schema": { "type": "string" },
        }],
        "responses": responses(json!({
            "200": {
                "description": "The document",
                "headers": { "ETag": { "schema": { "type": "string" }, "description": "Changes with the document" } },
                "content": { CONTENT_TYPE: { "schema": { "type": "object" } } },
            },
            "304": { "description": "A copy that is there already is this one" },
        }), &[]),
    })
}

fn with_filter(mut item: Value) -> Value {
    let mut states = Filter::words();
    states.insert(0, "");
    item["parameters"] = json!([{
        "name": "state", "in": "query", "required": false, "description": "Which operations are shown; all if empty",
        "schema": { "type": "string", "enum": states }, "example": "running",
    }]);
    item
}
