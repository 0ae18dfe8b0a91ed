//! What the YAML reader refuses, said to whoever wrote the file.
//!
//! Invariant: a problem of the file's shape names the field and never the program's own types.
//! Test to read first: `a_file_of_the_wrong_shape_is_explained` in `read/tests.rs`.

use serde_yaml::{Error, MessageFormatter, UserMessageFormatter};

use crate::{
    places::{Places, join, place},
    problem::Problem,
};

/// The reader's refusal of a text, as a problem with its place.
pub(crate) fn explain(error: &Error, text: &str) -> Problem {
    let error = error.without_snippet();
    let at = error.location().map(place);
    let places = Places::of(text);
    let field = at.and_then(|at| places.field_at(at)).unwrap_or_default();
    let (message, remedy) = words(error);
    let path = if let Error::SerdeMissingField { field, .. } = error {
        join(at.and_then(|at| places.section_at(at)).unwrap_or_default(), field)
    } else {
        field.to_owned()
    };
    Problem { path, place: at, message, remedy }
}

fn words(error: &Error) -> (String, String) {
    match error {
        Error::SerdeMissingField { .. } => ("is missing".to_owned(), "add the field; it has no default".to_owned()),
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("`{field}` is not a field of this section"), one_of(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("`{variant}` is not one of its values"), one_of(variant, expected))
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            if unexpected == "unit value" {
                ("is empty".to_owned(), format!("write {expected}, or remove the field"))
            } else {
                (format!("is {unexpected}"), format!("write {expected}"))
            }
        }
        Error::NullIntoString { .. } => ("is empty".to_owned(), "write a text, or remove the field".to_owned()),
        Error::InvalidScalar { ty, .. } => (
            "has a value of the wrong kind".to_owned(),
            match *ty {
                "u16" => "write a whole number from 0 to 65535".to_owned(),
                "u32" => "write a whole number from 0 to 4294967295".to_owned(),
                "bool" | "boolean" => "write true or false".to_owned(),
                other => format!("write a value of kind {other}"),
            },
        ),
        Error::Unexpected { expected, .. } => match *expected {
            "mapping start" => {
                ("is not a section".to_owned(), "write fields with values, each `name: value`, or remove it".to_owned())
            }
            "sequence start" => {
                ("is not a list".to_owned(), "write [a, b], or one item a line, each after `- `".to_owned())
            }
            _ => ("has a value of the wrong kind".to_owned(), "write a single value".to_owned()),
        },
        Error::DuplicateMappingKey { .. } => ("is given twice".to_owned(), "remove one of the two".to_owned()),
        Error::MultipleDocuments { .. } => (
            "holds more than one YAML document".to_owned(),
            "write one document; remove what follows the line `---`".to_owned(),
        ),
        Error::Eof { .. } => {
            ("holds nothing".to_owned(), "write a configuration; `hoft config init` makes one to start from".to_owned())
        }
        Error::Budget { .. } => (
            "is nested deeper or repeated more often than any configuration".to_owned(),
            "begin anew with `hoft config init`".to_owned(),
        ),
        other => (UserMessageFormatter.format_message(other).into_owned(), String::new()),
    }
}

fn one_of(wrong: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|word| (distance(&wrong.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= word.len() / 2)
        .min();
    match near {
        Some((_, word)) => format!("write `{word}`"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("write one of {}", known.join(", ")),
    }
}

/// How many letters must be added, removed or changed to make one word the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut corner = index;
        let mut left = index + 1;
        for (column, target) in other.iter().enumerate() {
            let above = row.get(column + 1).copied().unwrap_or_default();
            let changed = corner + usize::from(letter != *target);
            let best = changed.min(left + 1).min(above + 1);
            corner = above;
            if let Some(cell) = row.get_mut(column) {
                *cell = left;
            }
            left = best;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        for (one, other, letters) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("inbox", "inbox", 0),
            ("inbx", "inbox", 1),
            ("fodlers", "folders", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["folders", "state", "inbound"];
        assert_eq!(one_of("fodlers", &known), "write `folders`");
        assert_eq!(one_of("INBOUND", &known), "write `inbound`");
        assert_eq!(one_of("colour", &known), "write one of folders, state, inbound");
    }
}
