//! What several paths share: schemas of an operation and of a problem, parameters, headers.
//!
//! Invariant: every field that the code writes has a property here. Test to read first:
//! `every_field_of_an_operation_and_a_problem_is_described`.

use layer2_http::State;
use layer2_http::problem::{self, ProblemKind};
use serde_json::{Value, json};

/// An id for the examples.
pub(super) const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// All of them.
pub(super) fn components() -> Value {
    json!({
        "schemas": { "Operation": operation(), "Report": report(), "Event": event(), "DeadLetter": dead_letter(), "Problem": problem_schema(), "State": state(), "Executed": executed() },
        "parameters": { "id": id(), "chosenId": chosen_id() },
        "headers": {
            "OperationId": {
                "description": "The operation that the answer belongs to",
                "schema": { "type": "string", "format": "uuid" },
            },
            "ProxyStatus": {
                "description": "Who failed and why, for programs (RFC 9209)",
                "schema": { "type": "string" },
                "example": "hoft-north; error=http_request_denied",
            },
            "RetryAfter": { "description": "Seconds", "schema": { "type": "integer", "minimum": 0 } },
            "Allow": { "description": "Methods of the path", "schema": { "type": "string" }, "example": "GET, HEAD" },
        },
    })
}

/// A response that is a problem.
pub(super) fn problem(why: &str) -> Value {
    json!({
        "description": why,
        "headers": { "Proxy-Status": { "$ref": "#/components/headers/ProxyStatus" } },
        "content": { problem::CONTENT_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn state() -> Value {
    json!({
        "type": "string",
        "description": "How far an operation has come. It only ever goes on; the last five are ends.",
        "enum": State::ALL.map(State::name),
    })
}

fn executed() -> Value {
    json!({ "type": "string", "description": "Was the call made upstream?", "enum": ["no", "yes", "maybe"] })
}

fn operation() -> Value {
    json!({
        "type": "object",
        "description": "A call, from its acceptance to its end",
        "required": ["id", "state", "method", "target", "peer", "begun_ms", "result"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "state": { "$ref": "#/components/schemas/State" },
            "method": { "type": "string" },
            "target": { "type": "string", "description": "Absolute target, without credentials" },
            "route": { "type": ["string", "null"], "description": "The rule by which it was called" },
            "peer": { "type": "string", "format": "uuid", "description": "The endpoint that it was sent to" },
            "begun_ms": { "type": "integer", "description": "When it was accepted: Unix time in ms" },
            "ended_ms": { "type": ["integer", "null"], "description": "When it ended: Unix time in ms" },
            "status": { "type": ["integer", "null"], "description": "Status of its response" },
            "executed": { "anyOf": [{ "$ref": "#/components/schemas/Executed" }, { "type": "null" }] },
            "problem": { "type": ["string", "null"], "description": "The last part of the problem's type" },
            "result": { "type": "boolean", "description": "Is a stored response to be had?" },
        },
        "examples": [{
            "id": ID, "state": "done", "method": "POST", "target": "https://erp.example/v1/orders", "route": "erp",
            "peer": "c56a4180-65aa-42ec-a945-5fd21dec0538", "begun_ms": 1_795_435_200_000_i64,
            "ended_ms": 1_795_435_260_000_i64, "status": 201, "executed": "yes", "problem": null, "result": true,
        }],
    })
}

fn report() -> Value {
    let octets = json!({ "type": "object", "properties": {
        "octets": { "type": ["integer", "null"] }, "acked": { "type": ["integer", "null"] },
    } });
    json!({
        "description": "An operation in full",
        "allOf": [{ "$ref": "#/components/schemas/Operation" }, {
            "type": "object",
            "required": ["history", "cancelling", "request", "response"],
            "properties": {
                "deadline_ms": { "type": ["integer", "null"], "description": "When its time is over: Unix time in ms" },
                "cancelling": { "type": "boolean", "description": "The far side is asked how far it came" },
                "request": octets,
                "response": octets,
                "attempt": { "type": ["integer", "null"], "description": "The attempt that the far side made last" },
                "history": { "type": "array", "items": { "$ref": "#/components/schemas/Event" } },
            },
        }],
    })
}

fn event() -> Value {
    json!({
        "type": "object",
        "description": "An operation reached a state",
        "required": ["number", "state", "at_ms"],
        "properties": {
            "operation": { "type": "string", "format": "uuid" },
            "number": { "type": "integer", "description": "Only rises, over restarts too" },
            "state": { "$ref": "#/components/schemas/State" },
            "at_ms": { "type": "integer", "description": "Unix time in ms" },
        },
    })
}

fn dead_letter() -> Value {
    json!({ "type": "object", "description": "A callback that could not be delivered", "required": ["id"],
            "properties": { "id": { "type": "string" } } })
}

fn problem_schema() -> Value {
    let types: Vec<_> =
        ProblemKind::ALL.iter().map(|kind| format!("{}{}", problem::TYPE_PREFIX, kind.slug())).collect();
    json!({
        "type": "object",
        "description": "What hoft itself has to say (RFC 9457)",
        "required": ["type", "title", "status"],
        "properties": {
            "type": { "type": "string", "enum": types },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What happened, and what helps" },
            "instance": { "type": "string", "description": "Where to ask for the operation" },
            "operation": { "type": "string", "format": "uuid" },
            "executed": { "$ref": "#/components/schemas/Executed" },
            "retry_after_s": { "type": "integer", "minimum": 0 },
        },
        "examples": [{
            "type": "urn:hoft:problem:unknown-operation", "title": "There is no operation of this id", "status": 404,
            "detail": format!("operation {ID} is not known here: it was never accepted, or it ended long ago"),
        }],
    })
}

fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true, "description": "The operation",
        "schema": { "type": "string", "format": "uuid" }, "example": ID,
    })
}

fn chosen_id() -> Value {
    json!({
        "name": "Hoft-Operation-Id", "in": "header", "required": false,
        "description": "An id of the caller's choice, by which the response can be picked up later. It is used once.",
        "schema": { "type": "string", "format": "uuid" },
    })
}
