//! Tests of `bhttp`: the examples of RFC 9292 §5, the bounds, round trips.

use super::*;
use crate::fields::tests::any_fields;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// RFC 9292 §5.1: the request, indeterminate-length, with 10 bytes of padding.
const REQUEST_EXAMPLE: &str = "0203474554056874747073000a2f68656c6c6f2e7478740a757365722d6167656e74346375726c2f372e31362e\
33206c69626375726c2f372e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e322e3304686f73740f7777772e6578616d706c652e\
636f6d0f6163636570742d6c616e677561676506656e2c206d6900000000000000000000000000";

/// RFC 9292 §5.2: the response with two informational ones before it.
const RESPONSE_EXAMPLE: &str = "0340660772756e6e696e670a22736c65657020313522004067046c696e6b233c2f7374796c652e6373733e3b2072\
656c3d7072656c6f61643b2061733d7374796c65046c696e6b243c2f7363726970742e6a733e3b2072656c3d7072656c6f61643b2061733d73637269\
70740040c804646174651d4d6f6e2c203237204a756c20323030392031323a32383a353320474d5406736572766572064170616368650d6c6173742d\
6d6f6469666965641d5765642c203232204a756c20323030392031393a31353a353620474d5404657461671422333461613338372d642d3135363865\
623030220d6163636570742d72616e6765730562797465730e636f6e74656e742d6c656e67746802353104766172790f4163636570742d456e636f64\
696e670c636f6e74656e742d747970650a746578742f706c61696e003348656c6c6f20576f726c6421204d7920636f6e74656e7420696e636c756465\
73206120747261696c696e672043524c462e0d0a0000";

#[test]
fn the_request_of_rfc_9292_decodes_and_encodes_to_its_bytes() {
    let example = bytes(REQUEST_EXAMPLE);
    let mut input = &example[..];
    let (control, fields) = decode_request(&mut input, SectionLimit::default()).unwrap();
    assert_eq!((control.method.as_str(), control.scheme.as_str()), ("GET", "https"));
    assert_eq!((control.authority.as_str(), control.path.as_str()), ("", "/hello.txt"));
    let lines: Vec<_> = fields.iter().map(|(name, value)| (name, &value[..])).collect();
    assert_eq!(
        lines,
        [
            ("user-agent", &b"curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"[..]),
            ("host", b"www.example.com"),
            ("accept-language", b"en, mi"),
        ]
    );
    // What is left is the empty content, the empty trailer section and the padding.
    assert_eq!(input, [0; 12]);
    let mut out = Vec::new();
    encode_request(&control, &fields, &mut out);
    assert_eq!(out, example[..example.len() - 12]);
}

#[test]
fn the_response_of_rfc_9292_decodes_and_encodes_to_its_bytes() {
    let example = bytes(RESPONSE_EXAMPLE);
    let mut input = &example[..];
    let limit = SectionLimit::default();
    let (processing, fields) = decode_response(&mut input, limit).unwrap();
    assert_eq!((processing, fields.get("running")), (102, Some(&b"\"sleep 15\""[..])));
    let (hints, links) = decode_status(&mut input, limit).unwrap();
    assert_eq!((hints, links.get_all("link").count()), (103, 2));
    let (status, header) = decode_status(&mut input, limit).unwrap();
    assert_eq!((status, header.len()), (200, 8));
    assert_eq!(header.get("etag"), Some(&b"\"34aa387-d-1568eb00\""[..]));
    assert_eq!(input.len(), 1 + 51 + 1 + 1);
    assert!(input[1..].starts_with(b"Hello World!"));
    let mut interim = Vec::new();
    encode_response(processing, &fields, &mut interim);
    assert!(example.starts_with(&interim));
    let mut last = Vec::new();
    encode_response(status, &header, &mut last);
    assert!(example.windows(last.len() - 1).any(|window| window == &last[1..]));
}

#[test]
fn the_trailers_of_rfc_9292_are_a_section() {
    // RFC 9292 §5.2: "trailer: text".
    let mut payload = bytes("07747261696c65720474657874");
    payload.push(0);
    let fields = decode_trailers(&payload, SectionLimit::default()).unwrap();
    assert_eq!(fields.get("trailer"), Some(&b"text"[..]));
    assert_eq!(encode_trailers(&fields), payload);
}

#[test]
fn every_cut_of_a_message_is_refused() {
    let example = bytes(REQUEST_EXAMPLE);
    let whole = example.len() - 12;
    for len in 0..whole {
        let refused = decode_request(&mut &example[..len], SectionLimit::default());
        assert_eq!(refused, Err(BhttpError::Cut), "{len}");
    }
}

#[test]
fn another_framing_is_refused() {
    for found in [0, 1, 3, 4] {
        let refused = decode_request(&mut &[found][..], SectionLimit::default());
        assert_eq!(refused, Err(BhttpError::Framing { found: u64::from(found), expected: 2 }));
    }
    assert!(matches!(decode_response(&mut &[1][..], SectionLimit::default()), Err(BhttpError::Framing { .. })));
}

#[test]
fn a_number_longer_than_needed_is_refused() {
    assert_eq!(decode_request(&mut &[0x40, 2][..], SectionLimit::default()), Err(BhttpError::NotShortest));
    assert_eq!(decode_trailers(&[0x40, 0], SectionLimit::default()), Err(BhttpError::NotShortest));
}

#[test]
fn status_codes_outside_100_to_599_are_refused() {
    for status in [0_u64, 99, 600, 65_736, 1 << 40] {
        let mut message = vec![3];
        varint::encode(status, &mut message);
        message.push(0);
        assert_eq!(decode_response(&mut &message[..], SectionLimit::default()), Err(BhttpError::Status { status }));
    }
}

#[test]
fn malformed_lines_are_refused() {
    let lines: [(&[u8], &[u8]); 6] =
        [(b"Host", b"a"), (b":path", b"/"), (b"a b", b""), (b"a", b"x\r\ny: z"), (b"a", b"x\0"), (b"a", b" x")];
    for (name, value) in lines {
        let mut section = Vec::new();
        put(name, &mut section);
        put(value, &mut section);
        section.push(0);
        let refused = decode_trailers(&section, SectionLimit::default());
        assert!(matches!(refused, Err(BhttpError::Field(_))), "{refused:?}");
    }
}

#[test]
fn control_data_that_is_not_ascii_is_refused() {
    let mut message = vec![2];
    put("GÉT".as_bytes(), &mut message);
    assert_eq!(decode_request(&mut &message[..], SectionLimit::default()), Err(BhttpError::Control));
}

#[test]
fn a_section_may_be_as_large_as_its_limit_and_no_larger() {
    let mut fields = Fields::new();
    fields.push("a", vec![b'x'; 200]).unwrap();
    let size = fields.size_bytes();
    let mut payload = encode_trailers(&fields).to_vec();
    assert_eq!(payload.len(), size);
    assert_eq!(decode_trailers(&payload, SectionLimit::new(size)).as_ref(), Ok(&fields));
    assert_eq!(decode_trailers(&payload, SectionLimit::new(size - 1)), Err(BhttpError::TooLarge { limit: size - 1 }));
    payload.push(0);
    assert_eq!(decode_trailers(&payload, SectionLimit::new(size)), Err(BhttpError::Rest { len: 1 }));
}

#[test]
fn the_default_limit_is_64_kib_and_the_largest_1_mib() {
    assert_eq!(SectionLimit::default().bytes(), 65_536);
    assert_eq!(SectionLimit::new(usize::MAX).bytes(), 1_048_576);
    let large = |len: usize| {
        [&[1, b'a', 0x80, (len >> 16) as u8, (len >> 8) as u8, len as u8][..], &vec![b'x'; len], &[0]].concat()
    };
    let overhead = 7;
    assert!(decode_trailers(&large(65_536 - overhead), SectionLimit::default()).is_ok());
    assert_eq!(
        decode_trailers(&large(65_537 - overhead), SectionLimit::default()),
        Err(BhttpError::TooLarge { limit: 65_536 })
    );
}

#[test]
fn more_lines_than_the_limit_are_refused() {
    let section = [[1, b'a', 0].repeat(crate::limits::MAX_FIELD_LINES + 1), vec![0]].concat();
    let refused = decode_trailers(&section, SectionLimit::default());
    assert_eq!(refused, Err(BhttpError::Field(FieldError::TooMany)));
}

proptest! {
    #[test]
    fn requests_read_back_as_written(
        method in "[!-~]{0,20}", scheme in "[!-~]{0,20}", authority in "[!-~]{0,70}", path in "[!-~]{0,300}",
        fields in any_fields(), rest: Vec<u8>,
    ) {
        let control = RequestControl { method, scheme, authority, path };
        let mut out = Vec::new();
        encode_request(&control, &fields, &mut out);
        out.extend_from_slice(&rest);
        let mut input = &out[..];
        prop_assert_eq!(decode_request(&mut input, SectionLimit::default()), Ok((control, fields)));
        prop_assert_eq!(input, &rest[..]);
    }

    #[test]
    fn responses_read_back_as_written(status in 100_u16..600, fields in any_fields()) {
        let mut out = Vec::new();
        encode_response(status, &fields, &mut out);
        prop_assert_eq!(decode_response(&mut &out[..], SectionLimit::default()), Ok((status, fields)));
    }

    #[test]
    fn the_size_is_that_of_the_section(fields in any_fields()) {
        prop_assert_eq!(encode_trailers(&fields).len(), fields.size_bytes());
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(fields) = decode_trailers(&message, SectionLimit::default()) {
            prop_assert_eq!(&encode_trailers(&fields)[..], &message[..]);
        }
        let mut input = &message[..];
        if let Ok((control, fields)) = decode_request(&mut input, SectionLimit::default()) {
            let mut out = Vec::new();
            encode_request(&control, &fields, &mut out);
            prop_assert_eq!(&out[..], &message[..message.len() - input.len()]);
        }
    }
}
