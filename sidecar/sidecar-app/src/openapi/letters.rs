//! `/v1/dead-letters`, and the certificate of the engine's own authority.

use serde_json::{Value, json};

use super::{read, responses};

/// Their paths.
pub(super) fn paths() -> Vec<(String, Value)> {
    vec![
        ("/v1/dead-letters".to_owned(), read(&list())),
        ("/v1/dead-letters/{letter}".to_owned(), with_letter(json!({ "delete": remove() }))),
        ("/v1/dead-letters/{letter}/retry".to_owned(), with_letter(json!({ "post": retry() }))),
        ("/v1/ca.pem".to_owned(), read(&authority())),
    ]
}

fn list() -> Value {
    let schema = json!({ "type": "array", "items": { "$ref": "#/components/schemas/DeadLetter" } });
    json!({
        "operationId": "listDeadLetters", "tags": ["callbacks"], "summary": "Callbacks that were given up, the latest first",
        "responses": responses(json!({
            "200": {
                "description": "At most a thousand of them", "content": { "application/json": { "schema": schema } },
            },
        }), &STOPPING),
    })
}

fn remove() -> Value {
    json!({
        "operationId": "removeDeadLetter", "tags": ["callbacks"], "summary": "Nobody will be told any more",
        "responses": responses(json!({ "204": { "description": "It is removed" } }), &[STOPPING[0], UNKNOWN]),
    })
}

fn retry() -> Value {
    json!({
        "operationId": "retryDeadLetter", "tags": ["callbacks"], "summary": "Tries to deliver it, for the whole time anew",
        "responses": responses(json!({
            "202": { "description": "It is pending again", "content": { "application/json": {} } },
        }), &[STOPPING[0], UNKNOWN]),
    })
}

fn authority() -> Value {
    json!({
        "operationId": "showAuthority", "tags": ["pages"],
        "summary": "The certificate that callers have to trust where the engine ends their TLS",
        "responses": responses(json!({
            "200": { "description": "As PEM", "content": { "application/pem-certificate-chain": {} } },
        }), &[(404, "Interception is off here")]),
    })
}

fn with_letter(mut item: Value) -> Value {
    item["parameters"] = json!([{
        "name": "letter", "in": "path", "required": true, "description": "Its id, as the list says",
        "schema": { "type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9._-]+$" },
    }]);
    item
}

const STOPPING: [(u16, &str); 1] = [(503, "The engine is stopping; ask again")];
const UNKNOWN: (u16, &str) = (404, "There is no such letter");
