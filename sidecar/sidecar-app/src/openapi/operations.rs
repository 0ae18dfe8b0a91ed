//! `/v1/operations`.

use serde_json::{Value, json};

use super::{read, responses};

/// Its paths.
pub(super) fn paths() -> Vec<(String, Value)> {
    vec![
        ("/v1/operations".to_owned(), read(&list())),
        ("/v1/operations/{id}".to_owned(), one()),
        ("/v1/operations/{id}/result".to_owned(), result()),
    ]
}

fn list() -> Value {
    let schema = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Operation" } });
    json!({
        "operationId": "listOperations", "tags": ["operations"],
        "summary": "The operations that are known here, newest first",
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
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Operation" } } },
            },
        }), &[STOPPING[0], (404, "It is not known here: it was never accepted, or it ended long ago")]),
    });
    with_id(read(&get))
}

fn result() -> Value {
    let get = json!({
        "operationId": "fetchResult", "tags": ["operations"],
        "summary": "The stored response of an operation whose id the caller chose, as often as wanted",
        "responses": responses(json!({
            // Of any media type, or of none, as the upstream gave it: there is no word for that in `content`.
            "default": {
                "description": "The response as the upstream gave it, whatever its status and type; or a problem of hoft's",
                "headers": { "Hoft-Operation-Id": { "$ref": "#/components/headers/OperationId" } },
            },
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

fn with_id(mut item: Value) -> Value {
    item["parameters"] = json!([{ "$ref": "#/components/parameters/id" }]);
    item
}
