//! Objects that go just beyond one bound of the schema each.
//!
//! Invariant: an object differs from an accepted one in one place only, which the error must name. It changes no rule's
//! premise on purpose, but a rule may refuse the object as well. Test to read first:
//! `every_bound_refuses_what_is_beyond_it` in `tests/bounds.rs`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// An object beyond one bound.
#[derive(Clone, Debug)]
pub struct Beyond {
    /// The place in the object, as an error names it: `spec.inbound.allow[0].name`.
    pub place: String,
    /// The bound, as the schema calls it: `maxLength`.
    pub bound: String,
    /// The object.
    pub object: Value,
}

/// For every bound of `schema` that one of `objects` reaches: the first such object, changed to go beyond it.
/// Ordered by the place in the schema and the bound.
#[must_use]
pub fn every_bound(schema: &Value, objects: &[Value]) -> Vec<Beyond> {
    let mut found = BTreeMap::new();
    for object in objects {
        let mut walk = Walk { object, found: &mut found };
        let spec = &schema["properties"]["spec"];
        walk.at(spec, &object["spec"], "/spec".to_owned(), "spec".to_owned(), "spec".to_owned());
    }
    found.into_values().collect()
}

struct Walk<'a> {
    object: &'a Value,
    found: &'a mut BTreeMap<(String, String), Beyond>,
}

impl Walk<'_> {
    /// `pointer` and `place` lead to `value` in the object, `kind` to `schema` in the definition.
    fn at(&mut self, schema: &Value, value: &Value, pointer: String, place: String, kind: String) {
        for (bound, wrong) in beyond(schema, value) {
            let Some(bound) = self.wanted(&kind, bound) else { continue };
            let mut object = self.object.clone();
            if let Some(target) = object.pointer_mut(&pointer) {
                *target = wrong;
            }
            self.found.insert((kind.clone(), bound.clone()), Beyond { place: place.clone(), bound, object });
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(bound) = self.wanted(&kind, format!("required {name}")) else { continue };
            let mut object = self.object.clone();
            let fields = object.pointer_mut(&pointer).and_then(Value::as_object_mut);
            if fields.is_some_and(|fields| fields.remove(name).is_some()) {
                let place = format!("{place}.{name}");
                self.found.insert((kind.clone(), bound.clone()), Beyond { place, bound, object });
            }
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let known = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                    let next = |path: &str, dot: &str| format!("{path}{dot}{name}");
                    self.at(known, field, next(&pointer, "/"), next(&place, "."), next(&kind, "."));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let (pointer, place) = (format!("{pointer}/{index}"), format!("{place}[{index}]"));
                    self.at(&schema["items"], item, pointer, place, format!("{kind}[]"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn wanted(&self, kind: &str, bound: impl Into<String>) -> Option<String> {
        let bound = bound.into();
        if self.found.contains_key(&(kind.to_owned(), bound.clone())) { None } else { Some(bound) }
    }
}

/// For each bound of `schema` a value beyond it, made from `value`.
fn beyond(schema: &Value, value: &Value) -> Vec<(&'static str, Value)> {
    let length = |name: &str| schema[name].as_u64().and_then(|length| usize::try_from(length).ok());
    let mut wrong = Vec::new();
    for bound in ["type", "x-kubernetes-int-or-string"] {
        if schema.get(bound).is_some() {
            wrong.push((bound, if value.is_boolean() { json!("yes") } else { json!(true) }));
        }
    }
    if let Some(most) = schema["maximum"].as_f64() {
        wrong.push(("maximum", whole(most + 1.0)));
    }
    if let Some(least) = schema["minimum"].as_f64() {
        wrong.push(("minimum", whole(least - 1.0)));
    }
    if let Some(most) = length("maxLength") {
        let letter = if value.as_str().is_some_and(|text| text.starts_with('/')) { "/" } else { "1" };
        let start = value.as_str().unwrap_or_default();
        wrong.push((
            "maxLength",
            json!(format!("{start}{}", letter.repeat((most + 1).saturating_sub(start.chars().count())))),
        ));
    }
    if let Some(least) = length("minLength").and_then(|least| least.checked_sub(1)) {
        wrong.push(("minLength", json!("1".repeat(least))));
    }
    if schema.get("pattern").is_some() {
        wrong.push(("pattern", json!("no match!")));
    }
    if schema.get("enum").is_some() {
        wrong.push(("enum", json!("Nonsense")));
    }
    if let (Some(most), Some(item)) = (length("maxItems"), value.get(0)) {
        wrong.push(("maxItems", Value::Array(vec![item.clone(); most + 1])));
    }
    if length("minItems").is_some() {
        wrong.push(("minItems", json!([])));
    }
    if let (Some(most), Some(item)) = (length("maxProperties"), value.as_object().and_then(|map| map.values().next())) {
        let many = (0..=most).map(|index| (format!("property-{index}"), item.clone()));
        wrong.push(("maxProperties", Value::Object(many.collect())));
    }
    wrong
}

fn whole(number: f64) -> Value {
    format!("{number:.0}").parse::<i64>().map_or(Value::Null, Value::from)
}
