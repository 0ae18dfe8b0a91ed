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
        ],
    });
    for method in METHODS {
        item[method] = call(method);
    }
    vec![("/to/{route}/{path}".to_owned(), item)]
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
