//! An API server's judgement without one: defaults, then the schema, then the rules, as a real one does it.
//!
//! Invariant: rules are judged only when the schema is satisfied. The tests against a real API server apply the same
//! objects, so what differs here shows there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kube_cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use regex::Regex;
use serde_json::Value;

use super::structural;

pub(super) fn schema() -> Value {
    let crd = serde_json::to_value(crate::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Why an object is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The place in the object.
    pub(super) place: String,
    /// The bound or the rule.
    pub(super) bound: String,
    /// What is said about it.
    pub(super) message: String,
}

/// The definition, ready to judge.
pub(super) struct Judge {
    pub(super) schema: Value,
    rules: CompiledSchema,
    patterns: BTreeMap<String, Regex>,
}

impl Judge {
    pub(super) fn new() -> Self {
        let schema = schema();
        let rules = compile_schema(&schema);
        let mut patterns = BTreeMap::new();
        structural::patterns(&schema, &mut patterns);
        Self { schema, rules, patterns }
    }

    /// Everything that speaks against writing `object` over `before`.
    pub(super) fn refusals(&self, object: &Value, before: Option<&Value>) -> Vec<Refusal> {
        let object = apply_defaults(&self.schema, object);
        let found = structural::check(&self.schema, &self.patterns, &object);
        if !found.is_empty() {
            return found;
        }
        let before = before.map(|before| apply_defaults(&self.schema, before));
        match Validator::new().validate_compiled(&self.rules, &object, before.as_ref()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .into_iter()
                .map(|error| Refusal { place: error.field_path, bound: error.rule, message: error.message })
                .collect(),
        }
    }
}
