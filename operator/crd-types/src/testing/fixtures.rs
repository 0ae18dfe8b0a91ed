//! Reads `fixtures/`: what the API server accepts and refuses, one file for each rule.
//!
//! Invariant: a field that nobody knows is an error, so a misspelt `refuses` cannot pass for an empty one. It judges no
//! object. Test to read first: `every_rule_accepts_some_objects_and_refuses_others` in `tests/rules.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// One file: objects that are accepted, and objects that are refused with one message.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Folder and name of the file, without its ending: `rules/01-name-length`.
    pub name: String,
    /// The rule as it stands in the definition; none where the schema itself refuses.
    pub rule: Option<String>,
    /// A piece of what is answered to every object that is refused.
    pub message: String,
    /// The object that is there already, where the rule is about a change.
    pub before: Option<Value>,
    /// Whole objects that are accepted.
    pub accepts: Vec<Value>,
    /// Whole objects that are refused.
    pub refuses: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Option<String>,
    message: String,
    before: Option<Value>,
    accepts: Vec<Value>,
    refuses: Vec<Value>,
}

/// Reads every file of `rules/` and `schema/` below `folder`, in order, with their patches applied.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn load(folder: &Path) -> Result<Vec<Fixture>, String> {
    let base: Value = read(&folder.join("base.yaml"))?;
    let mut found = Vec::new();
    for part in ["rules", "schema"] {
        for path in files(&folder.join(part))? {
            let file: File = read(&path)?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let before = file.before.map(|patch| merged(&base, &patch));
            let whole = |patches: &[Value]| {
                patches.iter().map(|patch| merged(before.as_ref().unwrap_or(&base), patch)).collect()
            };
            found.push(Fixture {
                name: format!("{part}/{stem}"),
                accepts: whole(&file.accepts),
                refuses: whole(&file.refuses),
                rule: file.rule,
                message: file.message,
                before,
            });
        }
    }
    Ok(found)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_yaml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A JSON merge patch (RFC 7386).
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = target.as_object().cloned().unwrap_or_else(Map::new);
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            let old = fields.get(name).cloned().unwrap_or(Value::Null);
            fields.insert(name.clone(), merged(&old, change));
        }
    }
    Value::Object(fields)
}
