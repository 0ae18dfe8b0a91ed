//! Which header fields a rule lets pass, in one direction.
//!
//! Invariants: fields that frame or describe the content pass whatever a list says, because a message without them would be
//! read as another one; so do the marks by which loops are found, and the fields of one hop, which `hop` takes away after it
//! has read them. Trailers are fields too. Test to read first: `a_list_names_what_passes_or_what_does_not`.

use crate::fields::Fields;

/// What no list drops: framing and description of the content, marks of the way, and what `hop` must see.
const ALWAYS: [&str; 15] = [
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "via",
    "cdn-loop",
    "connection",
    "transfer-encoding",
    "te",
    "keep-alive",
    "upgrade",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
];

/// Which fields pass. Names are in lower case; one that ends in `*` means all that begin so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldFilter {
    /// Every field.
    #[default]
    All,
    /// These only.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

impl FieldFilter {
    /// Does a field of this (lower-case) name pass?
    #[must_use]
    pub fn passes(&self, name: &str) -> bool {
        let listed = |names: &[String]| names.iter().any(|pattern| matches(pattern, name));
        match self {
            Self::All => true,
            Self::Only(names) => ALWAYS.contains(&name) || listed(names),
            Self::AllBut(names) => ALWAYS.contains(&name) || !listed(names),
        }
    }

    /// Does every field pass?
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Drops what does not pass.
    pub fn apply(&self, fields: &mut Fields) {
        if !self.is_all() {
            fields.retain(|name, _| self.passes(name));
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(filter: &FieldFilter) -> Vec<String> {
        let mut fields = Fields::new();
        for name in ["accept", "x-a", "x-b", "x-", "cookie", "content-length", "via", "content-type"] {
            fields.push(name, "1").unwrap();
        }
        filter.apply(&mut fields);
        fields.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_list_names_what_passes_or_what_does_not() {
        let always = ["content-length", "via", "content-type"];
        assert_eq!(left(&FieldFilter::All).len(), 8);
        assert_eq!(left(&FieldFilter::Only(Vec::new())), always);
        assert_eq!(left(&FieldFilter::Only(names(&["accept"]))), ["accept", always[0], always[1], always[2]]);
        let but = left(&FieldFilter::AllBut(names(&["x-*", "cookie"])));
        assert_eq!(but, ["accept", always[0], always[1], always[2]]);
        let but = left(&FieldFilter::AllBut(names(&["x-a"])));
        assert!(but.contains(&"x-b".to_owned()) && !but.contains(&"x-a".to_owned()));
    }

    #[test]
    fn what_frames_a_message_passes_whatever_is_listed() {
        let denying = FieldFilter::AllBut(names(&["content-*", "via", "transfer-encoding"]));
        for name in ALWAYS {
            assert!(denying.passes(name) && FieldFilter::Only(Vec::new()).passes(name), "{name}");
        }
        assert!(!denying.passes("content-location"));
    }
}
