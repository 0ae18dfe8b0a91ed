//! Objects drawn by chance: accepted, readable, and covering what can be written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::offline::{Judge, schema};
use crate::{TunnelPeering, testing::sample};

const SEEDS: u64 = 500;

fn objects() -> impl Iterator<Item = Value> {
    (0..SEEDS).map(|seed| sample::object(seed, &["hoft1abc"]))
}

#[test]
fn the_same_seed_draws_the_same_object() {
    for seed in 0..20 {
        assert_eq!(sample::object(seed, &["hoft1abc"]), sample::object(seed, &["hoft1abc"]));
    }
    assert_ne!(sample::object(0, &[])["spec"], sample::object(2, &[])["spec"]);
}

#[test]
fn every_drawn_object_is_accepted() {
    let judge = Judge::new();
    for object in objects() {
        let found = judge.refusals(&object, None);
        assert!(found.is_empty(), "{}: {found:?}\n{object}", object["metadata"]["name"]);
    }
}

#[test]
fn what_the_schema_accepts_can_be_read() {
    let schema = schema();
    for object in objects() {
        let stored = kube_cel::apply_defaults(&schema, &object);
        for form in [object, stored] {
            let read: TunnelPeering = serde_json::from_value(form.clone()).unwrap_or_else(|error| {
                panic!("{}: {error}\n{form}", form["metadata"]["name"]);
            });
            let again: TunnelPeering = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
            assert_eq!(read, again);
        }
    }
}

#[test]
fn the_api_servers_defaults_are_those_of_the_types() {
    let schema = schema();
    for object in objects() {
        let stored = kube_cel::apply_defaults(&schema, &object);
        let (bare, full): (TunnelPeering, TunnelPeering) =
            (serde_json::from_value(object).unwrap(), serde_json::from_value(stored).unwrap());
        assert_eq!(bare, full);
    }
}

/// What of the schema was met: each field and word there, each optional field absent, each limit exactly.
#[derive(Default)]
struct Met(BTreeMap<String, BTreeSet<String>>);

impl Met {
    fn see(&mut self, schema: &Value, value: &Value, place: &str) {
        let seen = self.0.entry(place.to_owned()).or_default();
        seen.insert("there".to_owned());
        if schema.get("enum").is_some() {
            seen.insert(value.to_string());
        }
        let size = match value {
            Value::String(text) => text.chars().count(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        for limit in ["maxLength", "maxItems", "minItems"] {
            if schema[limit].as_u64() == Some(size as u64) {
                seen.insert(limit.to_owned());
            }
        }
        for limit in ["minimum", "maximum"] {
            if schema.get(limit).is_some_and(|bound| bound.as_f64() == value.as_f64()) {
                seen.insert(limit.to_owned());
            }
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            match value.get(name) {
                Some(value) => self.see(field, value, &place),
                None => drop(self.0.entry(place).or_default().insert("absent".to_owned())),
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.see(&schema["items"], item, &format!("{place}[]"));
        }
    }
}

/// What there is to meet.
fn wanted(schema: &Value, place: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let here = found.entry(place.to_owned()).or_default();
    here.insert("there".to_owned());
    here.extend(schema["enum"].as_array().into_iter().flatten().map(ToString::to_string));
    for limit in ["maxItems", "minItems", "minimum", "maximum"] {
        if schema.get(limit).is_some() {
            here.insert(limit.to_owned());
        }
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        if !required.contains(&name.as_str()) {
            found.entry(place.clone()).or_default().insert("absent".to_owned());
        }
        wanted(field, &place, found);
    }
    if let Some(items) = schema.get("items") {
        wanted(items, &format!("{place}[]"), found);
    }
}

#[test]
fn the_draws_reach_every_field_word_and_limit() {
    let schema = schema();
    let spec = &schema["properties"]["spec"];
    let mut met = Met::default();
    for object in objects() {
        met.see(spec, &object["spec"], "spec");
    }
    let mut all = BTreeMap::new();
    wanted(spec, "spec", &mut all);
    let missed: Vec<_> = all
        .iter()
        .flat_map(|(place, what)| what.iter().map(move |what| (place, what)))
        .filter(|(place, what)| !met.0.get(*place).is_some_and(|seen| seen.contains(*what)))
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
