//! The part of JSON Schema that definitions use: enough to judge an object without an API server.
//!
//! Invariant: a keyword of the schema that is not known here fails the test, instead of being passed over.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::offline::Refusal;

/// Keywords that say nothing about a value, or that are looked after elsewhere in this file.
const SILENT: &[&str] = &[
    "additionalProperties",
    "default",
    "description",
    "format",
    "items",
    "properties",
    "required",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Every pattern below `schema`, compiled once.
pub(super) fn patterns(schema: &Value, found: &mut BTreeMap<String, Regex>) {
    if let Some(pattern) = schema["pattern"].as_str() {
        found.insert(pattern.to_owned(), Regex::new(pattern).unwrap());
    }
    for field in schema["properties"].as_object().into_iter().flat_map(|fields| fields.values()) {
        patterns(field, found);
    }
    for inner in [&schema["items"], &schema["additionalProperties"]] {
        if inner.is_object() {
            patterns(inner, found);
        }
    }
}

pub(super) fn check(schema: &Value, patterns: &BTreeMap<String, Regex>, object: &Value) -> Vec<Refusal> {
    let mut check = Check { patterns, found: Vec::new() };
    check.at(schema, object, "");
    check.found
}

struct Check<'a> {
    patterns: &'a BTreeMap<String, Regex>,
    found: Vec<Refusal>,
}

impl Check<'_> {
    fn refuse(&mut self, place: &str, bound: &str, why: &str) {
        let place = place.trim_start_matches('.').to_owned();
        self.found.push(Refusal { message: format!("{place}: {why}"), bound: bound.to_owned(), place });
    }

    fn at(&mut self, schema: &Value, value: &Value, place: &str) {
        for (keyword, bound) in schema.as_object().unwrap() {
            if !SILENT.contains(&keyword.as_str()) && !self.holds(keyword, bound, value) {
                self.refuse(place, keyword, "Invalid value");
            }
        }
        self.fields(schema, value, place);
        self.items(schema, value, place);
    }

    fn fields(&mut self, schema: &Value, value: &Value, place: &str) {
        let Some(fields) = value.as_object() else { return };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                self.refuse(&format!("{place}.{name}"), &format!("required {name}"), "Required value");
            }
        }
        for (name, field) in fields {
            let place_of_field = format!("{place}.{name}");
            if let Some(known) = schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
                self.at(known, field, &place_of_field);
            } else if !place.is_empty() && schema.get("x-kubernetes-preserve-unknown-fields").is_none() {
                // At the root stand `metadata`, `kind` and `apiVersion`, which are not the definition's.
                self.refuse(&place_of_field, "unknown", "unknown field");
            }
        }
    }

    fn items(&mut self, schema: &Value, value: &Value, place: &str) {
        let Some(items) = value.as_array() else { return };
        for (index, item) in items.iter().enumerate() {
            self.at(&schema["items"], item, &format!("{place}[{index}]"));
        }
        let Some(kind) = schema.get("x-kubernetes-list-type") else { return };
        assert_eq!(kind, "map", "{place}: not known here");
        let keys = schema["x-kubernetes-list-map-keys"].as_array().unwrap();
        let mut seen = BTreeSet::new();
        for item in items {
            let key: Vec<_> = keys.iter().map(|key| item[key.as_str().unwrap()].to_string()).collect();
            if !seen.insert(key) {
                self.refuse(place, "x-kubernetes-list-type", "Duplicate value");
            }
        }
    }

    fn holds(&self, keyword: &str, bound: &Value, value: &Value) -> bool {
        let length = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array().map(|items| items.len() as u64);
        let limit = || bound.as_u64().unwrap();
        let number = || bound.as_f64().unwrap();
        match keyword {
            "type" => match bound.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                other => panic!("the type {other} is not known here"),
            },
            "x-kubernetes-int-or-string" => value.is_i64() || value.is_string(),
            "enum" => bound.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|value| value >= number()),
            "maximum" => value.as_f64().is_none_or(|value| value <= number()),
            "minLength" => length.is_none_or(|length| length >= limit()),
            "maxLength" => length.is_none_or(|length| length <= limit()),
            "pattern" => value.as_str().is_none_or(|text| self.patterns[bound.as_str().unwrap()].is_match(text)),
            "minItems" => items.is_none_or(|items| items >= limit()),
            "maxItems" => items.is_none_or(|items| items <= limit()),
            "maxProperties" => value.as_object().is_none_or(|fields| fields.len() as u64 <= limit()),
            other => panic!("the keyword {other} is not known here"),
        }
    }
}
