//! The parts of the schema that derive cannot write, and reading what they let through.
//!
//! Invariants: whatever the schema accepts can be read back, because one object that cannot would take the whole list
//! away from the operator; every text and list is bounded. Test to read first:
//! `what_the_schema_accepts_can_be_read` in `tests/sampled.rs`.

use k8s_openapi::api::core::v1::ResourceRequirements;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::bounds;

/// Requests and limits of a container. The whole type of Kubernetes has claims of devices too, which an engine has no
/// use for.
pub(crate) fn resources(_: &mut SchemaGenerator) -> Schema {
    let quantities = |description: &str| {
        json_schema!({
            "description": description,
            "type": "object",
            "maxProperties": 3,
            "additionalProperties": {
                "description": "A quantity, such as 500m or 64Mi.",
                "x-kubernetes-int-or-string": true,
                "minimum": 0,
                "maximum": 999_999_999,
                "maxLength": 20,
                "pattern": bounds::QUANTITY,
            },
            "x-kubernetes-validations": [{
                "rule": "self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'])",
                "message": "resources has only cpu, memory and ephemeral-storage: remove the others, an engine uses nothing else",
            }],
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "requests": quantities("What is set aside for it."),
            "limits": quantities("What it may use at most."),
        },
    })
}

/// Reads requests and limits. Quantities may be numbers here, as the API server leaves them in a custom resource.
pub(crate) fn read_resources<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ResourceRequirements>, D::Error> {
    let Some(mut value) = Option::<Value>::deserialize(from)? else { return Ok(None) };
    for part in ["requests", "limits"] {
        let quantities = value.get_mut(part).and_then(Value::as_object_mut);
        for quantity in quantities.into_iter().flat_map(|map| map.values_mut()) {
            if quantity.is_number() {
                *quantity = Value::String(quantity.to_string());
            }
        }
    }
    serde_json::from_value(value).map(Some).map_err(D::Error::custom)
}

/// A point in time. `format` alone also lets dates through that cannot be read.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 40, "pattern": bounds::TIME})
}

/// Conditions, with the bounds of `metav1.Condition`.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {
            "description": "One condition.",
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "What it speaks of; good when True.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "description": "Whether it holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, in one word that programs may rely on.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, in words for people, with the remedy.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "Since when.",
                    "type": "string",
                    "format": "date-time",
                    "maxLength": 40,
                    "pattern": bounds::TIME,
                },
                "observedGeneration": {
                    "description": "The generation of the object that it speaks of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}

/// An object that is kept as it is.
pub(crate) fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Objects that are kept as they are.
pub(crate) fn opaque_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"description": "One of them.", "type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}
