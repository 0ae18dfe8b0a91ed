//! `/v1/operations` and `/v1/events`.

use serde_json::{Value, json};

use super::{read, responses};

/// Its paths.
pub(super) fn paths() -> Vec<(String, Value)> {
    vec![
        ("/v1/operations".to_owned(), read(&list())),
        ("/v1/operations/{id}".to_owned(), one()),
        ("/v1/operations/{id}/result".to_owned(), result()),
        (
            "/v1/operations/{id}/events".to_owned(),
            with_id(events("followOperation", "The states of one operation, as it reaches them")),
        ),
        ("/v1/events".to_owned(), events("followOperations", "The states of all operations, as they reach them")),
    ]
}

fn list() -> Value {
    let schema = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Operation" } });
    json!({
        "operationId": "listOperations", "tags": ["operations"],
        "summary": "The operations that are known here, newest first",
        "parameters": [
            {
                "name": "state", "in": "query", "required": false, "style": "form", "explode": true,
                "description": "Only operations in one of these states",
                "schema": { "type": "array", "items": { "$ref": "#/components/schemas/State" } },
            },
            {
                "name": "limit", "in": "query", "required": false, "description": "At most so many",
                "schema": { "type": "integer", "minimum": 1, "maximum": 1000 },
            },
        ],
        "responses": responses(json!({
            "200": {
                "description": "At most a thousand of them", "content": { "application/json": { "schema": schema } },
            },
        }), &STOPPING),
    })
}

fn one() -> Value {
    let get = json!({
        "operationId": "showOperation", "tags": ["operations"], "summary": "How far an operation has come",
        "responses": responses(json!({
            "200": {
                "description": "What is known of it",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Report" } } },
            },
        }), &[STOPPING[0], UNKNOWN]),
    });
    let mut item = read(&get);
    item["delete"] = cancel();
    with_id(item)
}

fn cancel() -> Value {
    let view = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Operation" } } });
    json!({
        "operationId": "cancelOperation", "tags": ["operations"], "summary": "Ends an operation that nobody wants any more",
        "description": "Before the far side began the call, it is not made; after, the upstream call is broken off. `executed` \
                        says what is known of it. As often as wanted.",
        "responses": responses(json!({
            "200": { "description": "It is cancelled", "content": view },
            "202": { "description": "The far side is asked how far it came", "content": view },
        }), &[STOPPING[0], UNKNOWN, (409, "It had ended by itself")]),
    })
}

fn events(id: &str, summary: &str) -> Value {
    json!({ "get": {
        "operationId": id, "tags": ["operations"], "summary": summary,
        "description": "Server-sent events: their id is a number that only rises, their data the JSON of an event. One stream of one \
                        operation ends with it.",
        "parameters": [{
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "The number after which to go on, over restarts of the engine too",
            "schema": { "type": "integer", "minimum": 0 },
        }],
        "responses": responses(json!({
            "200": { "description": "What was missed, then what happens", "content": { "text/event-stream": {} } },
        }), &[STOPPING[0], UNKNOWN]),
    } })
}

fn result() -> Value {
    let get = json!({
        "operationId": "fetchResult", "tags": ["operations"],
        "summary": "The stored response of an operation, as often as wanted, whole or in part",
        "responses": responses(json!({
            // Of any media type, or of none, as the upstream gave it: there is no word for that in `content`.
            "default": {
                "description": "The response as the upstream gave it, whatever its status and type; or a problem of hoft's",
                "headers": { "Hoft-Operation-Id": { "$ref": "#/components/headers/OperationId" } },
            },
            "206": { "description": "The part that Range selects; or the upstream answered so" },
            "304": { "description": "The copy that If-None-Match names is this one; or the upstream answered so" },
            "416": { "description": "Range selects nothing; or the upstream answered so" },
            "404": { "description": "The operation is not known here; or the upstream answered so" },
            "409": { "description": "No response yet: ask again after Retry-After seconds; or the upstream answered so" },
            "410": { "description": "The response is not kept any more; or the upstream answered so" },
        }), &[]),
    });
    let mut item = read(&get);
    for method in ["get", "head"] {
        for status in ["400", "403", "405", "421", "431"] {
            // An upstream may have answered with any status, and in any form.
            if let Some(responses) = item[method]["responses"].as_object_mut() {
                responses.remove(status);
            }
        }
    }
    with_id(item)
}

/// Problems of an engine that ends.
const STOPPING: [(u16, &str); 1] = [(503, "The engine is stopping; ask again")];

const UNKNOWN: (u16, &str) = (404, "It is not known here: it was never accepted, or it ended long ago");

fn with_id(mut item: Value) -> Value {
    item["parameters"] = json!([{ "$ref": "#/components/parameters/id" }]);
    item
}
