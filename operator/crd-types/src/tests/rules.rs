//! Every rule of the definition accepts some objects and refuses others, with the message that people read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::offline::{Judge, fixtures};
use crate::testing::fixtures::load;

/// Every rule with the place of its schema, `[]` for the items of a list.
fn rules(schema: &Value, place: &str, found: &mut BTreeSet<(String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found.insert((place.to_owned(), rule["rule"].as_str().unwrap().to_owned()));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        rules(field, format!("{place}.{name}").trim_start_matches('.'), found);
    }
    if let Some(items) = schema.get("items") {
        rules(items, &format!("{place}[]"), found);
    }
}

fn without_indexes(place: &str) -> String {
    let mut text = String::new();
    for part in place.split_inclusive('[') {
        text.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    text
}

#[test]
fn every_rule_accepts_some_objects_and_refuses_others() {
    let judge = Judge::new();
    let mut refused_by = BTreeSet::new();
    for fixture in load(&fixtures()).unwrap() {
        let name = &fixture.name;
        if let Some(before) = &fixture.before {
            let found = judge.refusals(before, None);
            assert!(found.is_empty(), "{name}: `before` is refused: {found:?}");
        }
        for object in &fixture.accepts {
            let found = judge.refusals(object, fixture.before.as_ref());
            assert!(found.is_empty(), "{name}: {object} is refused: {found:?}");
        }
        for object in &fixture.refuses {
            let found = judge.refusals(object, fixture.before.as_ref());
            assert!(!found.is_empty(), "{name}: {object} is accepted");
            let Some(rule) = &fixture.rule else { continue };
            let said =
                found.iter().find(|refusal| &refusal.bound == rule && refusal.message.contains(&fixture.message));
            let said = said.unwrap_or_else(|| panic!("{name}: {object} is refused by something else: {found:?}"));
            refused_by.insert((without_indexes(&said.place), rule.clone()));
        }
        assert!(!fixture.accepts.is_empty() && !fixture.refuses.is_empty(), "{name} has both sides");
    }
    let mut all = BTreeSet::new();
    rules(&judge.schema, "", &mut all);
    assert_eq!(refused_by, all, "left: the rules that a fixture saw refuse; right: the rules of the definition");
}

#[test]
fn a_message_names_the_field_and_what_to_do() {
    let text = crate::crd_yaml().unwrap();
    let definition: Value = serde_yaml::from_str(&text).unwrap();
    let mut messages = Vec::new();
    collect(&definition, &mut messages);
    assert!(messages.len() >= 25, "{messages:?}");
    for message in messages {
        let names = ["spec.", "metadata.name", "inbound.allow[]", "destinations[]", "resources"];
        assert!(names.iter().any(|name| message.starts_with(name)), "names no field first: {message}");
        assert!(!message.ends_with('.'), "{message}");
    }
}

fn collect(value: &Value, messages: &mut Vec<String>) {
    for rule in value["x-kubernetes-validations"].as_array().into_iter().flatten() {
        messages.push(rule["message"].as_str().unwrap().to_owned());
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, messages)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, messages)),
        _ => {}
    }
}
