//! `/to/{route}/{path}`: calls by the name of a route.

use serde_json::{Value, json};

use super::METHODS;

/// Its paths.
pub(super) fn paths() -> Vec<(String, Value)> {
    let mut item = json!({
        "parameters": [
            {
                "name": "route", "in": "path", "required": true,
                "description": "The name of a rule of outbound.allow that has a target",
                "schema": { "type": "string", "minLength": 1 }, "example": "erp",
            },
            {
                "name": "path", "in": "path", "required": true,
                "description": "Appended to the target's path. It may be empty and have any number of segments, whatever is \
                                described here, and a query may follow; dot segments and encoded slashes are refused",
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$" }, "example": "orders",
            },
            { "$ref": "#/components/parameters/chosenId" },
            wish("Prefer", "`respond-async`: 202 once the call is durable; `wait=SECONDS`: how long to wait (RFC 7240)", text()),
            wish("Idempotency-Key", "A repeat with this key is answered from what is known, never executed again", text()),
            wish("Hoft-Deadline", "Seconds after which nobody wants it any more", seconds()),
            wish("Hoft-Callback", "Where the result is sent; a rule of callbacks.allow must list it", url()),
            wish("Hoft-Events", "Where the states are sent; a rule of callbacks.allow must list it", url()),
        ],
    });
    for method in METHODS {
        item[method] = call(method);
    }
    vec![("/to/{route}/{path}".to_owned(), item)]
}

/// A field by which a caller says what it wants.
fn wish(name: &str, what: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "header", "required": false, "description": what, "schema": schema })
}

fn text() -> Value {
    json!({ "type": "string", "pattern": "^[!-~]{1,255}$" })
}

/// A year at most.
fn seconds() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 31_622_400 })
}

fn url() -> Value {
    json!({ "type": "string", "format": "uri" })
}

fn call(method: &str) -> Value {
    let mut call = json!({
        "operationId": format!("{method}ByRoute"), "tags": ["calls"],
        "summary": format!("A {} call to a route's target, made by the far side", method.to_uppercase()),
        "description": "The answer is the upstream's own, or a problem of hoft's: 403 `route-denied` where no rule allows it, \
                        404 `unknown-route`, 409 `duplicate-operation` where the chosen id is in use, 413, 431, 502 where the \
                        far side could not make the call or its outcome is unknown, 503 where there is no room, 504 where \
                        nobody answered in time. Then the call goes on, and Location says where to ask.",
        "responses": {
            "default": {
                // Of any media type, or of none: there is no word for that in `content`.
                "description": "The response of the upstream, whatever its status and type; or a problem of hoft's",
                "headers": { "Hoft-Operation-Id": { "$ref": "#/components/headers/OperationId" } },
            },
        },
    });
    if ["post", "put", "patch"].contains(&method) {
        call["requestBody"] = json!({
            "description": "Carried as it is, of any size",
            "content": { "*/*": {}, "application/octet-stream": {}, "text/plain": { "schema": { "type": "string" } } },
        });
    }
    call
}
