//! Objects of any kind: applied from YAML, read and deleted by kind and name.
//!
//! Every apply is a forced server-side apply under the field manager [`MANAGER`], so scenarios do not collide with the
//! operator's own managers. What a scenario makes outside its namespaces is noted and removed after it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Resource, discovery};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::handle::Cluster;

/// The field manager of everything a scenario applies.
pub const MANAGER: &str = "hoft-e2e";

/// How long a kind may take to be served after its CRD was applied.
const KIND_PATIENCE: Duration = Duration::from_secs(10);

/// An object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its kind.
    pub resource: ApiResource,
    /// Its namespace; none for objects of the whole cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Subject {
    /// An object of a kind that k8s-openapi or `crd-types` knows; the namespace is empty for the whole cluster's.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Self {
        Self::new(ApiResource::erase::<K>(&()), namespace, name)
    }

    /// An object by the words of its manifest: `("hoft.dev/v1alpha1", "TunnelPeering", "orders", "north")`.
    #[must_use]
    pub fn named(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)), namespace, name)
    }

    fn new(resource: ApiResource, namespace: &str, name: &str) -> Self {
        let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
        Self { resource, namespace, name: name.to_owned() }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        write!(f, "{} {namespace}{}", self.resource.kind, self.name)
    }
}

impl Cluster {
    /// Applies every document of a YAML text (lists too); gives the objects as the API server has them.
    ///
    /// # Errors
    /// A document is no object, its kind is not served, or the API server refuses it (the message is its own).
    pub async fn apply_yaml(&self, yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
        let documents: Vec<Value> = serde_yaml::from_multiple(yaml).context("the manifest is no YAML")?;
        let mut applied = Vec::new();
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            match document.get("items").and_then(Value::as_array) {
                Some(items) => {
                    for item in items {
                        applied.push(self.apply(item).await?);
                    }
                }
                None => applied.push(self.apply(&document).await?),
            }
        }
        ensure!(!applied.is_empty(), "the manifest holds no object");
        Ok(applied)
    }

    /// Applies one object given as JSON.
    ///
    /// # Errors
    /// As [`Self::apply_yaml`].
    pub async fn apply(&self, object: &Value) -> anyhow::Result<DynamicObject> {
        let word =
            |name: &str| object[name].as_str().map(str::to_owned).with_context(|| format!("{object} has no {name}"));
        let (api_version, kind) = (word("apiVersion")?, word("kind")?);
        let name = object["metadata"]["name"].as_str().with_context(|| format!("a {kind} has no metadata.name"))?;
        let (resource, namespaced) = self.kind(&api_version, &kind).await?;
        let namespace = match object["metadata"]["namespace"].as_str() {
            _ if !namespaced => "",
            Some(namespace) => namespace,
            None => "default",
        };
        let subject = Subject::new(resource, namespace, name);
        let parameters = PatchParams::apply(MANAGER).force();
        let applied = self.api(&subject).patch(name, &parameters, &Patch::Apply(object)).await;
        let applied = applied.with_context(|| format!("cluster {}: cannot apply {subject}", self.name()))?;
        if !namespaced {
            self.note(subject);
        }
        Ok(applied)
    }

    /// Creates one object given as JSON (`generateName` works): for what must not exist yet, such as Jobs and reviews.
    ///
    /// # Errors
    /// Its kind is not served, or the API server refuses it.
    pub async fn create(&self, object: &Value) -> anyhow::Result<DynamicObject> {
        let word =
            |name: &str| object[name].as_str().map(str::to_owned).with_context(|| format!("{object} has no {name}"));
        let (resource, namespaced) = self.kind(&word("apiVersion")?, &word("kind")?).await?;
        let namespace = object["metadata"]["namespace"].as_str().filter(|_| namespaced).unwrap_or_default();
        let parsed: DynamicObject = serde_json::from_value(object.clone())?;
        let subject = Subject::new(resource, namespace, parsed.metadata.name.as_deref().unwrap_or("*"));
        let created = self.api(&subject).create(&kube::api::PostParams::default(), &parsed).await;
        created.with_context(|| format!("cluster {}: cannot create {subject}", self.name()))
    }

    /// The object as JSON, if it exists.
    ///
    /// # Errors
    /// The API server does not answer, or does not serve the kind.
    pub async fn object(&self, subject: &Subject) -> anyhow::Result<Option<Value>> {
        let found = self.api(subject).get_opt(&subject.name).await;
        let found = found.with_context(|| format!("cluster {}: cannot read {subject}", self.name()))?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    /// It does not exist, or the API server refuses the change.
    pub async fn merge(&self, subject: &Subject, patch: &Value) -> anyhow::Result<DynamicObject> {
        let patched = self.api(subject).patch(&subject.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.with_context(|| format!("cluster {}: cannot change {subject}", self.name()))
    }

    /// Asks for an object's deletion; it is no error if it does not exist. [`Self::wait_gone`] waits for it.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn delete(&self, subject: &Subject) -> anyhow::Result<()> {
        match self.api(subject).delete(&subject.name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop).with_context(|| format!("cluster {}: cannot delete {subject}", self.name())),
        }
    }

    /// The API that serves the subject's kind.
    #[must_use]
    pub fn api(&self, subject: &Subject) -> Api<DynamicObject> {
        match &subject.namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &subject.resource),
            None => Api::all_with(self.client(), &subject.resource),
        }
    }

    /// Notes something to be removed after the scenario.
    pub(crate) fn note(&self, subject: Subject) {
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !made.contains(&subject) {
            made.push(subject);
        }
    }

    /// The kind as the API server knows it, and if its objects live in namespaces. A fresh CRD's kind is waited for.
    async fn kind(&self, api_version: &str, kind: &str) -> anyhow::Result<(ApiResource, bool)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let began = Instant::now();
        loop {
            let error = match discovery::pinned_kind(&self.client(), &gvk).await {
                Ok((resource, capabilities)) => {
                    return Ok((resource, capabilities.scope == discovery::Scope::Namespaced));
                }
                Err(error) => error,
            };
            if began.elapsed() > KIND_PATIENCE {
                bail!("cluster {} does not serve {api_version} {kind}: {error}", self.name());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
