//! Reads the API server's audit log: who asked for what, and was it allowed.
//!
//! One line is one finished request at level Metadata. An apply that made its object is logged as `patch` with code
//! 201, so it needed `create` too; one that lacked `create` is logged as *allowed* with code 403.
//! [`AuditLog::rights_used`] knows both. The log lags a request by a moment. Read first: the tests at the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;

/// The log's file, from some place on.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    from: usize,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Who asked, or as whom (`kubectl --as`).
    pub user: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with its subresource as `pods/status`; for anything else the path of the URL.
    pub resource: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The namespace; empty for objects of the whole cluster.
    pub namespace: String,
    /// The object's name; empty for lists and for created objects.
    pub name: String,
    /// The status of the answer.
    pub code: u16,
    /// True if the authorizer allowed it (admission may still have refused it).
    pub allowed: bool,
}

/// A right as a Role grants it: group, resource with subresource, verb, and the namespace it was used in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with its subresource.
    pub resource: String,
    /// The verb.
    pub verb: String,
    /// The namespace; empty for objects of the whole cluster and lists over all namespaces.
    pub namespace: String,
}

impl AuditLog {
    /// The log in this file, from its beginning.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, from: 0 }
    }

    /// The same log from its present end on.
    #[must_use]
    pub fn from_here(mut self) -> Self {
        self.from = fs::metadata(&self.path).map_or(0, |file| usize::try_from(file.len()).unwrap_or(0));
        self
    }

    /// All requests, in the order they ended.
    ///
    /// # Errors
    /// The log cannot be read, or a line of it cannot be understood.
    pub fn requests(&self) -> anyhow::Result<Vec<Request>> {
        let text = fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let text = String::from_utf8_lossy(text.get(self.from..).unwrap_or_default()).into_owned();
        // The last line may be half written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().filter(|line| !line.is_empty()).map(parse).collect()
    }

    /// The requests of a user, such as `system:serviceaccount:hoft-system:hoft-operator`.
    ///
    /// # Errors
    /// As [`Self::requests`].
    pub fn requests_of(&self, user: &str) -> anyhow::Result<Vec<Request>> {
        let mut requests = self.requests()?;
        requests.retain(|request| request.user == user);
        Ok(requests)
    }

    /// The rights a user made use of: what a Role must grant for the same to work again.
    ///
    /// # Errors
    /// As [`Self::requests`].
    pub fn rights_used(&self, user: &str) -> anyhow::Result<BTreeSet<Right>> {
        let mut rights = BTreeSet::new();
        for request in self.requests_of(user)?.into_iter().filter(|request| request.allowed && request.code != 403) {
            let right = |verb: &str| Right {
                group: request.group.clone(),
                resource: request.resource.clone(),
                verb: verb.to_owned(),
                namespace: request.namespace.clone(),
            };
            if request.verb == "patch" && request.code == 201 {
                rights.insert(right("create"));
            }
            rights.insert(right(&request.verb));
        }
        Ok(rights)
    }

    /// The requests of a user that were refused for lack of rights.
    ///
    /// # Errors
    /// As [`Self::requests`].
    pub fn denied(&self, user: &str) -> anyhow::Result<Vec<Request>> {
        let mut requests = self.requests_of(user)?;
        requests.retain(|request| !request.allowed || request.code == 403);
        Ok(requests)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    impersonated_user: Option<User>,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

fn parse(line: &str) -> anyhow::Result<Request> {
    let line: Line = serde_json::from_str(line).with_context(|| format!("the audit log has the line {line}"))?;
    let path = line.request_uri.split('?').next().unwrap_or_default().to_owned();
    let object = line.object_ref.unwrap_or_else(|| ObjectRef { resource: path, ..ObjectRef::default() });
    let resource = match object.subresource.as_str() {
        "" => object.resource,
        subresource => format!("{}/{subresource}", object.resource),
    };
    Ok(Request {
        user: line.impersonated_user.unwrap_or(line.user).username,
        group: object.api_group,
        resource,
        verb: line.verb,
        namespace: object.namespace,
        name: object.name,
        code: line.response_status.map_or(0, |status| status.code),
        allowed: line.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "allow"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: &str, code: u16, decision: &str) -> String {
        format!(
            r#"{{"verb":"{verb}","requestURI":"/apis/apps/v1/namespaces/x/statefulsets/s?fieldManager=m","user":{{"username":"u"}},"objectRef":{{"resource":"statefulsets","namespace":"x","name":"s","apiGroup":"apps"}},"responseStatus":{{"code":{code}}},"annotations":{{"authorization.k8s.io/decision":"{decision}"}}}}"#
        )
    }

    fn log(lines: &[String]) -> (tempfile::TempDir, AuditLog) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        (folder, AuditLog::new(path))
    }

    fn verbs(rights: &BTreeSet<Right>) -> Vec<&str> {
        rights.iter().map(|right| right.verb.as_str()).collect()
    }

    #[test]
    fn an_apply_that_made_its_object_needed_create_too() {
        let (_folder, log) = log(&[line("patch", 201, "allow")]);
        assert_eq!(verbs(&log.rights_used("u").unwrap()), ["create", "patch"]);
    }

    #[test]
    fn an_apply_that_lacked_create_counts_as_denied() {
        let (_folder, log) = log(&[line("patch", 403, "allow"), line("get", 403, "forbid"), line("get", 200, "allow")]);
        assert_eq!(verbs(&log.rights_used("u").unwrap()), ["get"]);
        assert_eq!(log.denied("u").unwrap().len(), 2);
    }

    #[test]
    fn a_half_written_line_is_left_for_later() {
        let (folder, log) = log(&[line("get", 200, "allow")]);
        let text = fs::read_to_string(folder.path().join("audit.log")).unwrap();
        fs::write(folder.path().join("audit.log"), format!("{text}{{\"verb\":")).unwrap();
        assert_eq!(log.requests().unwrap().len(), 1);
    }

    #[test]
    fn from_here_leaves_out_what_was_before() {
        let (_folder, log) = log(&[line("get", 200, "allow")]);
        assert!(log.from_here().requests().unwrap().is_empty());
    }
}
