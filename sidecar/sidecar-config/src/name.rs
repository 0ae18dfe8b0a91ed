//! A name that goes into ids, paths and URLs: a side, a rule.
//!
//! Invariant: 1 to 63 characters of `[a-z0-9-]` (wire format §13), so a name needs no quoting anywhere.
//! It does not know what it names. Test to read first: `a_name_is_lower_case_letters_digits_and_hyphens`.

use std::{fmt, str::FromStr};

use crate::problem::Refusal;

/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 63;

/// The name of a side or of a rule: 1 to 63 characters of `[a-z0-9-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Takes a text that is a name already.
    ///
    /// # Errors
    /// What is wrong with the text and what to write instead.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        if is_name(text) {
            return Ok(Self(text.to_owned()));
        }
        let folded: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(NAME_CHARS_MAX)
            .collect();
        let remedy = if is_name(&folded) {
            format!("write `{folded}`, or another name of a-z, 0-9 and -")
        } else {
            "write a name of a-z, 0-9 and -".to_owned()
        };
        let message = if text.is_empty() {
            "is empty".to_owned()
        } else if text.chars().count() > NAME_CHARS_MAX {
            format!("`{text}` is longer than {NAME_CHARS_MAX} characters")
        } else {
            format!("`{text}` has characters other than a-z, 0-9 and -")
        };
        Err(Refusal::new(message, remedy))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::new(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_letters_digits_and_hyphens() {
        for good in ["a", "north", "north-2", "0", &"x".repeat(63)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "North", "a_b", "a.b", "a b", "ü", "a/b", &"x".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_remedy_offers_the_nearest_name() {
        let refusal = Name::new("North_Side").unwrap_err();
        assert!(refusal.remedy.contains("`north-side`"), "{refusal:?}");
    }
}
