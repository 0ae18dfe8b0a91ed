//! Where each field of a file stands: from path to line and back.
//!
//! Invariant: only for messages; nothing is decided by it, and a text it cannot follow merely has no places.
//! Test to read first: `a_field_is_found_by_path_and_by_place`.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_yaml::{Location, Spanned};

use crate::{problem::Place, read::options};

/// The fields of one text, in its order.
#[derive(Debug, Default)]
pub(crate) struct Places(Vec<Field>);

#[derive(Debug)]
struct Field {
    path: String,
    key: Place,
    value: Place,
    scalar: bool,
}

impl Places {
    /// The places of a text; none if it is no YAML.
    pub(crate) fn of(text: &str) -> Self {
        let mut places = Self::default();
        let mut options = options();
        // A field given twice is refused elsewhere; here both have a place.
        options.duplicate_keys = serde_yaml::DuplicateKeyPolicy::PassThrough;
        if let Ok(root) = serde_yaml::from_str_with_options::<Spanned<Tree>>(text, options) {
            let at = place(root.referenced);
            places.note(String::new(), at, at, &root.value);
        }
        places
    }

    /// Where a field stands; if it is not in the text, where its section does.
    pub(crate) fn find(&self, path: &str) -> Option<Place> {
        let mut wanted = path;
        while !wanted.is_empty() {
            if let Some(field) = self.0.iter().find(|field| field.path == wanted) {
                return Some(if field.scalar { field.value } else { field.key });
            }
            wanted = &wanted[..wanted.rfind(['.', '[']).unwrap_or(0)];
        }
        None
    }

    /// The field whose name or value stands at a place.
    pub(crate) fn field_at(&self, place: Place) -> Option<&str> {
        // A section begins where its first field does; the field is meant.
        let at = |field: &&Field| field.key == place || (field.scalar && field.value == place);
        let innermost = self.0.iter().rev().find(at);
        let section = || self.0.iter().find(|field| field.value == place);
        innermost.or_else(section).map(|field| field.path.as_str())
    }

    /// The section whose first field stands at a place; empty for the whole file.
    pub(crate) fn section_at(&self, place: Place) -> Option<&str> {
        let section = |field: &Field| !field.scalar && field.value == place;
        let found = self.0.iter().find(|field| section(field) || field.key == place)?;
        if section(found) {
            return Some(&found.path);
        }
        let end = found.path.rfind(['.', '[']).unwrap_or(0);
        Some(&found.path[..end])
    }

    fn note(&mut self, path: String, key: Place, value: Place, tree: &Tree) {
        self.0.push(Field { path: path.clone(), key, value, scalar: matches!(tree, Tree::Scalar) });
        match tree {
            Tree::Scalar => {}
            Tree::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let at = place(item.referenced);
                    self.note(format!("{path}[{index}]"), at, at, &item.value);
                }
            }
            Tree::Map(fields) => {
                for (name, field) in fields {
                    let inner = join(&path, &name.value);
                    self.note(inner, place(name.referenced), place(field.referenced), &field.value);
                }
            }
        }
    }
}

/// The path of a field of a section; the section of the whole file is empty.
pub(crate) fn join(section: &str, field: &str) -> String {
    if section.is_empty() { field.to_owned() } else { format!("{section}.{field}") }
}

/// A place as the YAML reader gives it.
pub(crate) fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// Any YAML, reduced to its shape.
#[derive(Debug)]
enum Tree {
    Scalar,
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> de::Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = from.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# comment\na: 1\nb:\n  c: x\n  list:\n    - {d: 2,\n       e: 3}\n    - d: 4\n";

    #[test]
    fn a_field_is_found_by_path_and_by_place() {
        let places = Places::of(TEXT);
        for (path, line, column) in [
            ("a", 2, 4),
            ("b", 3, 1),
            ("b.c", 4, 6),
            ("b.list[0]", 6, 7),
            ("b.list[0].e", 7, 11),
            ("b.list[1].d", 8, 10),
        ] {
            let place = Place { line, column };
            assert_eq!(places.find(path), Some(place), "{path}");
            assert_eq!(places.field_at(place), Some(path), "{place:?}");
        }
        assert_eq!(places.field_at(Place { line: 8, column: 7 }), Some("b.list[1].d"));
        assert_eq!(places.section_at(Place { line: 4, column: 3 }), Some("b"));
        assert_eq!(places.section_at(Place { line: 2, column: 1 }), Some(""));
        assert_eq!(places.section_at(Place { line: 6, column: 8 }), Some("b.list[0]"));
    }

    #[test]
    fn a_missing_field_is_placed_at_its_section() {
        let places = Places::of(TEXT);
        assert_eq!(places.find("b.list[1].missing"), places.find("b.list[1]"));
        assert_eq!(places.find("b.x.y.z"), Some(Place { line: 3, column: 1 }));
        assert_eq!(places.find("nowhere"), None);
    }

    #[test]
    fn a_text_that_is_no_yaml_has_no_places() {
        assert_eq!(Places::of("a: [").find("a"), None);
    }
}
