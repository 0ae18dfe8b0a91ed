//! HTTP as it travels: control data, field sections and heads.

use layer2_http::bhttp::{
    SectionLimit, decode_request, decode_response, decode_section, decode_trailers, encode_request, encode_response,
    encode_section, encode_trailers,
};
use layer2_http::head::{RequestHead, ResponseHead};

use crate::bound::within;

/// A message that was taken is written again as the same bytes; a head as one that says the same; sections keep to their limit.
pub fn fuzz_fields(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let limit = SectionLimit::new(1 << (first % 21));
    let bytes_max = 96 * data.len();
    messages(data, limit, bytes_max);
    if let Ok(fields) = within(bytes_max, || decode_trailers(data, limit)) {
        assert_eq!(encode_trailers(&fields), data);
        assert!(data.len() <= limit.bytes());
    }
    if let Ok(head) = within(bytes_max, || RequestHead::decode_within(data, limit)) {
        let _ = head.target();
        let written = head.encode().unwrap();
        assert_eq!(RequestHead::decode_within(&written, limit), Ok(head));
    }
    if let Ok(head) = within(bytes_max, || ResponseHead::decode_within(data, limit)) {
        assert!(!head.is_interim());
        let written = head.encode().unwrap();
        assert_eq!(ResponseHead::decode_within(&written, limit), Ok(head));
    }
    if let Ok(head) = within(bytes_max, || ResponseHead::decode_interim(data, limit)) {
        assert!(head.is_interim());
        let written = head.encode().unwrap();
        assert_eq!(ResponseHead::decode_interim(&written, limit), Ok(head));
    }
}

fn messages(data: &[u8], limit: SectionLimit, bytes_max: usize) {
    let mut out = Vec::new();
    let mut rest = data;
    if let Ok((control, fields)) = within(bytes_max, || decode_request(&mut rest, limit)) {
        encode_request(&control, &fields, &mut out);
        assert_eq!(out, data[..data.len() - rest.len()]);
    }
    (out, rest) = (Vec::new(), data);
    if let Ok((status, fields)) = within(bytes_max, || decode_response(&mut rest, limit)) {
        assert!((100..=599).contains(&status));
        encode_response(status, &fields, &mut out);
        assert_eq!(out, data[..data.len() - rest.len()]);
    }
    (out, rest) = (Vec::new(), data);
    if let Ok(fields) = within(bytes_max, || decode_section(&mut rest, limit)) {
        encode_section(&fields, &mut out);
        assert_eq!(out, data[..data.len() - rest.len()]);
        assert!(out.len() <= limit.bytes());
        if let Ok(map) = fields.to_header_map() {
            assert_eq!(map.len(), fields.len());
        }
    }
}
