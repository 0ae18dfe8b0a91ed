//! Tests of `head`.

use super::*;
use crate::fields::tests::any_fields;
use crate::operation::OperationId;
use proptest::prelude::*;

fn request() -> RequestHead {
    let mut fields = Fields::new();
    fields.push("host", "erp.south.svc").unwrap();
    fields.push("cookie", "a=1").unwrap();
    fields.push("cookie", "b=2").unwrap();
    RequestHead {
        envelope: Envelope::claim(OperationId::v7(1, &[7; 10])),
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "erp.south.svc:8443".to_owned(),
        path: "/v1/orders?x=%2F".to_owned(),
        fields,
    }
}

fn response(status: u16) -> ResponseHead {
    ResponseHead { envelope: Envelope::default(), status, fields: Fields::new() }
}

#[test]
fn a_request_head_reads_back_as_written() {
    let payload = request().encode().unwrap();
    assert_eq!(RequestHead::decode(&payload), Ok(request()));
}

#[test]
fn a_head_is_laid_out_as_drawn() {
    let head = RequestHead { envelope: Envelope::default(), fields: Fields::new(), ..request() };
    let head = RequestHead { method: "GET".into(), authority: "a".into(), path: "/".into(), ..head };
    let payload = head.encode().unwrap();
    assert_eq!(&payload[..], b"\x01\x00\x00\x00\xa0\x02\x03GET\x05https\x01a\x01/\x00");
    assert_eq!(&response(200).encode().unwrap()[..], b"\x01\x00\x00\x00\xa0\x03\x40\xc8\x00");
}

#[test]
fn every_cut_and_any_rest_is_refused() {
    let payload = request().encode().unwrap();
    for len in 0..payload.len() {
        assert!(RequestHead::decode(&payload[..len]).is_err(), "{len}");
    }
    let longer = [&payload[..], &[0]].concat();
    assert_eq!(RequestHead::decode(&longer), Err(HeadError::Bhttp(BhttpError::Rest { len: 1 })));
    assert_eq!(RequestHead::decode(&[0xff; 100]), Err(HeadError::Cut));
}

/// Encodes without the checks, as a faulty peer would.
fn unchecked(head: &RequestHead) -> Vec<u8> {
    let mut out = begin(&head.envelope, &head.fields).unwrap();
    let RequestHead { method, scheme, authority, path, .. } = head.clone();
    bhttp::encode_request(&RequestControl { method, scheme, authority, path }, &head.fields, &mut out);
    out
}

fn refused(head: &RequestHead) -> HeadError {
    let decoded = RequestHead::decode(&unchecked(head)).unwrap_err();
    assert_eq!(head.encode(), Err(decoded.clone()));
    decoded
}

#[test]
fn control_data_that_could_change_a_request_line_is_refused() {
    for method in ["", "G ET", "GET\r\n", "GET/", &"A".repeat(65)] {
        let head = RequestHead { method: method.to_owned(), ..request() };
        assert!(matches!(refused(&head), HeadError::Method { .. }), "{method:?}");
    }
    for scheme in ["", "HTTPS", "ht tp", "1http", "https\n", "https:"] {
        let head = RequestHead { scheme: scheme.to_owned(), ..request() };
        assert!(matches!(refused(&head), HeadError::Scheme { .. }), "{scheme:?}");
    }
    for authority in ["", "a b", "user@host", "host/path", "host?x", "host#x", "host\r\n", "a,b", "host\\", "%41"] {
        let head = RequestHead { authority: authority.to_owned(), ..request() };
        assert!(matches!(refused(&head), HeadError::Authority { .. }), "{authority:?}");
    }
    for path in ["", "x", "*", "/a b", "/a\tb", "/a\r\nHost: b", "/a\0", "/a#b", "http://b/"] {
        let head = RequestHead { path: path.to_owned(), ..request() };
        assert!(matches!(refused(&head), HeadError::Path { .. }), "{path:?}");
    }
    let long = RequestHead { path: format!("/{}", "x".repeat(MAX_TARGET)), ..request() };
    assert!(matches!(refused(&long), HeadError::Path { .. }));
}

#[test]
fn an_asterisk_is_a_path_for_options_only() {
    let head = RequestHead { method: "OPTIONS".into(), path: "*".into(), ..request() };
    assert_eq!(RequestHead::decode(&head.encode().unwrap()), Ok(head));
}

#[test]
fn a_plain_connect_has_neither_scheme_nor_path_and_an_extended_one_has_both() {
    let plain = RequestHead { method: "CONNECT".into(), scheme: String::new(), path: String::new(), ..request() };
    assert_eq!(RequestHead::decode(&plain.encode().unwrap()), Ok(plain.clone()));
    assert!(matches!(refused(&RequestHead { path: "/".into(), ..plain.clone() }), HeadError::Path { .. }));
    assert!(matches!(refused(&RequestHead { scheme: "http".into(), ..plain.clone() }), HeadError::Scheme { .. }));
    let mut extended = RequestHead { scheme: "https".into(), path: "/chat".into(), ..plain };
    extended.envelope.protocol = Some("websocket".to_owned());
    assert_eq!(RequestHead::decode(&extended.encode().unwrap()), Ok(extended));
}

#[test]
fn the_target_of_a_head_is_parsed_from_its_control_data() {
    assert_eq!(request().target().unwrap().to_string(), "https://erp.south.svc:8443/v1/orders?x=%2F");
    let hidden = RequestHead { path: "/v1/..;/admin".into(), ..request() };
    assert_eq!(hidden.target(), Err(TargetError::Ambiguous));
    let server = RequestHead { method: "OPTIONS".into(), path: "*".into(), ..request() }.target().unwrap();
    assert_eq!((server.path_and_query.as_str(), server.path.as_str()), ("*", "/"));
    let stream = RequestHead { method: "CONNECT".into(), scheme: String::new(), path: String::new(), ..request() };
    assert_eq!(stream.target().unwrap().to_string(), "erp.south.svc:8443");
}

#[test]
fn a_field_section_above_the_limit_of_the_reader_or_of_the_format_is_refused() {
    let mut head = request();
    head.fields.push("x", vec![b'x'; 70_000]).unwrap();
    let payload = head.encode().unwrap();
    let refused = RequestHead::decode(&payload);
    assert_eq!(refused, Err(HeadError::Bhttp(BhttpError::TooLarge { limit: 65_536 })));
    assert_eq!(RequestHead::decode_within(&payload, SectionLimit::new(100_000)), Ok(head.clone()));
    head.fields.push("y", vec![b'y'; 1 << 20]).unwrap();
    assert_eq!(head.encode(), Err(HeadError::Bhttp(BhttpError::TooLarge { limit: 1 << 20 })));
}

#[test]
fn final_and_informational_statuses_do_not_stand_in_for_each_other() {
    let limit = SectionLimit::default();
    let interim = response(103).encode().unwrap();
    assert_eq!(ResponseHead::decode(&interim), Err(HeadError::Status { status: 103 }));
    assert_eq!(ResponseHead::decode_interim(&interim, limit), Ok(response(103)));
    let last = response(599).encode().unwrap();
    assert_eq!(ResponseHead::decode(&last), Ok(response(599)));
    assert_eq!(ResponseHead::decode_interim(&last, limit), Err(HeadError::Status { status: 599 }));
}

#[test]
fn statuses_that_cannot_be_carried_are_refused() {
    for status in [0, 99, 101, 600, 999] {
        assert_eq!(response(status).encode(), Err(HeadError::Status { status }));
    }
    let switching = b"\x01\x00\x00\x00\xa0\x03\x40\x65\x00";
    let refused = ResponseHead::decode_interim(switching, SectionLimit::default());
    assert_eq!(refused, Err(HeadError::Status { status: 101 }));
}

proptest! {
    #[test]
    fn heads_read_back_as_written(
        method in "[A-Za-z!#$%&'*+.^_|~-]{1,20}", authority in "[a-z0-9.-]{1,60}(:[0-9]{1,5})?",
        path in "/[!-\"$-~]{0,200}", fields in any_fields(), status in 200_u16..600,
    ) {
        prop_assume!(method != "CONNECT");
        let head = RequestHead { method, authority, path, fields: fields.clone(), ..request() };
        prop_assert_eq!(RequestHead::decode(&head.encode().unwrap()), Ok(head));
        let head = ResponseHead { fields, ..response(status) };
        prop_assert_eq!(ResponseHead::decode(&head.encode().unwrap()), Ok(head));
    }

    #[test]
    fn decoding_never_panics(envelope in 0_u8..4, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let payload = [&[envelope, 0, 0, 0][..], &bytes].concat();
        let _ = RequestHead::decode(&payload);
        let _ = ResponseHead::decode(&payload);
    }
}
