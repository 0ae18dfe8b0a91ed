//! Tests of `fields`.

use super::*;
use proptest::prelude::*;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push(name.to_string(), value.to_string()).unwrap();
    }
    fields
}

#[test]
fn header_map_and_back_keeps_every_value() {
    let mut map = HeaderMap::new();
    map.append("Set-Cookie", HeaderValue::from_static("a=1"));
    map.append("x-bytes", HeaderValue::from_bytes(b"\xff\x80 \t!").unwrap());
    map.append("set-cookie", HeaderValue::from_static("b=2"));
    map.append("x-empty", HeaderValue::from_static(""));
    let fields = Fields::from_header_map(&map).unwrap();
    assert_eq!(fields.get_all("set-cookie").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
    assert_eq!(fields.get("x-bytes"), Some(&b"\xff\x80 \t!"[..]));
    assert_eq!(fields.to_header_map().unwrap(), map);
}

#[test]
fn white_space_around_a_value_of_a_header_map_is_left_out() {
    let mut map = HeaderMap::new();
    map.append("a", HeaderValue::from_static(" \tv \t"));
    assert_eq!(Fields::from_header_map(&map).unwrap(), fields(&[("a", "v")]));
}

#[test]
fn names_that_are_no_lower_case_token_are_refused() {
    for name in ["", "A", "a b", "a:", ":path", "a\r", "a\n", "a\0", "ä", "a\u{7f}", "(a)"] {
        assert!(matches!(Fields::new().push(name.to_owned(), ""), Err(FieldError::Name { .. })), "{name:?}");
    }
}

#[test]
fn values_with_control_bytes_or_white_space_at_an_end_are_refused() {
    for value in ["\r", "a\nb", "a\r\nx: y", "\0", "\u{1}", "\u{7f}", " a", "a ", "\ta", "a\t", " "] {
        let refused = Fields::new().push("a", value.to_owned());
        assert_eq!(refused, Err(FieldError::Value { name: "a".to_owned() }), "{value:?}");
    }
    assert_eq!(Fields::new().push("a", "b\tc d"), Ok(()));
}

#[test]
fn too_many_lines_are_refused() {
    let mut many = Fields::new();
    for _ in 0..MAX_FIELD_LINES {
        many.push("a", "").unwrap();
    }
    assert_eq!(many.push("a", ""), Err(FieldError::TooMany));
    assert_eq!(many.set("b", ""), Err(FieldError::TooMany));
    assert_eq!(many.set("a", "1"), Ok(()));
    assert_eq!(many.len(), 1);
}

#[test]
fn set_replaces_every_line_and_a_bad_value_changes_nothing() {
    let mut some = fields(&[("a", "1"), ("b", "2"), ("a", "3")]);
    assert!(some.set("a", "x\n").is_err());
    assert_eq!(some.len(), 3);
    some.set("a", "4").unwrap();
    assert_eq!(some, fields(&[("b", "2"), ("a", "4")]));
    assert_eq!(some.remove("b"), 1);
    assert!(!some.contains("b"));
}

#[test]
fn members_are_those_of_all_lines_without_empty_ones() {
    let some = fields(&[("connection", "close, X-A ,"), ("connection", ",\tx-b")]);
    assert_eq!(some.members("connection").collect::<Vec<_>>(), [&b"close"[..], b"X-A", b"x-b"]);
}

#[test]
fn a_message_never_shows_raw_bytes_of_an_outsider() {
    let error = Fields::new().push(b"evil\x1b[2J\n".to_vec(), "").unwrap_err();
    assert!(!error.to_string().contains('\x1b'), "{error}");
    let long = Fields::new().push(vec![b'A'; 1 << 20], "").unwrap_err();
    assert!(long.to_string().len() < 200);
}

/// Field lines that are valid.
pub(crate) fn any_fields() -> impl Strategy<Value = Fields> {
    let value = proptest::collection::vec(prop_oneof![0x21_u8..=0x7e, 0x80_u8..=0xff], 0..40);
    proptest::collection::vec(("[a-z0-9!#$%&'*+.^_`|~-]{1,20}", value), 0..20).prop_map(|lines| {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name, value).unwrap();
        }
        fields
    })
}

proptest! {
    #[test]
    fn valid_lines_survive_a_header_map(fields in any_fields()) {
        let map = fields.to_header_map().unwrap();
        let back = Fields::from_header_map(&map).unwrap();
        prop_assert_eq!(back.len(), fields.len());
        for (name, _) in fields.iter() {
            prop_assert!(fields.get_all(name).eq(back.get_all(name)));
        }
    }
}
