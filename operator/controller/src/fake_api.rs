//! For tests: an API server of a few objects in memory, behind a mocked client.
//!
//! It knows GET, POST, PUT and server-side apply; refuses a stale `resourceVersion` with 409; merges the webhooks of a
//! configuration by name; keeps a log of who asked what; and fails or falls silent on demand. It checks no schema and
//! tracks no field managers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// How requests go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Every answer has this status.
    Status(u16),
    /// No answer comes.
    Silence,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    log: Vec<String>,
    failure: Option<Failure>,
}

/// The server. Clones share the objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let api = self.clone();
        handle.allow(u64::MAX);
        tokio::spawn(async move {
            while let Some((request, reply)) = handle.next_request().await {
                match api.answer(request).await {
                    Some(response) => reply.send_response(response),
                    // Dropping the reply would be an error, not silence.
                    None => std::mem::forget(reply),
                }
            }
        });
        Client::new(service, "default")
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Puts an object there, or takes it away.
    pub(crate) fn set_object(&self, path: &str, object: Option<Value>) {
        let mut state = self.0.lock().unwrap();
        match object {
            Some(object) => drop(state.store(path, object)),
            None => drop(state.objects.remove(path)),
        }
    }

    pub(crate) fn fail(&self, failure: Option<Failure>) {
        self.0.lock().unwrap().failure = failure;
    }

    /// Every request so far: `METHOD path?query`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Option<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut state = self.0.lock().unwrap();
        state.log.push(format!("{} {}", parts.method, parts.uri.path_and_query().unwrap()));
        match state.failure {
            Some(Failure::Silence) => return None,
            Some(Failure::Status(code)) => return Some(refusal(code, "InternalError")),
            None => {}
        }
        let sent: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Some(state.answer(&parts.method, parts.uri.path(), sent))
    }
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, sent: Value) -> Response<Body> {
        match *method {
            Method::GET => self.objects.get(path).map_or_else(|| refusal(404, "NotFound"), |object| reply(200, object)),
            Method::POST => {
                let name = sent["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("{path}/{name}");
                if self.objects.contains_key(&path) {
                    return refusal(409, "AlreadyExists");
                }
                reply(201, &self.store(&path, sent))
            }
            Method::PUT | Method::PATCH => {
                let before = self.objects.get(path).cloned();
                let expected = &sent["metadata"]["resourceVersion"];
                let found = before.as_ref().map(|object| &object["metadata"]["resourceVersion"]);
                if !expected.is_null() && found != Some(expected) {
                    return refusal(409, "Conflict");
                }
                match (method, before) {
                    (&Method::PUT, None) => refusal(404, "NotFound"),
                    (&Method::PUT, Some(_)) => reply(200, &self.store(path, sent)),
                    (_, None) => reply(201, &self.store(path, sent)),
                    (_, Some(mut object)) => {
                        merge(&mut object, sent);
                        reply(200, &self.store(path, object))
                    }
                }
            }
            _ => refusal(405, "MethodNotAllowed"),
        }
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) if from.iter().all(|item| item["name"].is_string()) => {
            for item in from {
                match into.iter_mut().find(|have| have["name"] == item["name"]) {
                    Some(have) => merge(have, item),
                    None => into.push(item),
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn reply(code: u16, object: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(object).unwrap()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn refusal(code: u16, reason: &str) -> Response<Body> {
    reply(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}),
    )
}
