//! Tests of the token. Its check values need secret keys; room `identity` has them.

use super::*;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

fn key(alg: u16, usage: u8, len: usize) -> PublicKey {
    PublicKey { alg, usage, bytes: (0..len).map(|i| (i as u8).wrapping_mul(7).wrapping_add(alg as u8)).collect() }
}

fn bundle() -> Bundle {
    Bundle {
        version: 1,
        not_before_ms: 0,
        not_after_ms: 0,
        side: "north".into(),
        keys: vec![key(1, 1, 32), key(2, 1, 1952), key(3, 2, 1216)],
    }
}

/// A token of any payload, well-formed or not.
fn token_of(payload: &[u8]) -> String {
    format!("hoft1{}", URL_SAFE_NO_PAD.encode([payload, &check_sum(payload)].concat()))
}

/// The bundle's payload with one change.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Bundle, TokenError> {
    let mut payload = bundle().payload().unwrap();
    change(&mut payload);
    parse_token(&token_of(&payload))
}

#[test]
fn sizes_of_the_specification() {
    assert_eq!(bundle().payload().unwrap().len(), 3_256);
    assert_eq!(bundle().to_token().unwrap().len(), 4_352);
}

#[test]
fn a_token_comes_back() {
    let token = bundle().to_token().unwrap();
    assert_eq!(parse_token(&token), Ok(bundle()));
    assert_eq!(parse_token(&format!(" \r\n{token}\n\t")), Ok(bundle()));
    assert_eq!(token.parse(), Ok(bundle()));
}

#[test]
fn ids_are_hashes_over_algorithms_and_keys() {
    let b = bundle();
    let digest = sha256(&[b"hoft1 key", &[1, 0], &b.keys[0].bytes, &[2, 0], &b.keys[1].bytes]);
    assert_eq!(b.signing_id().unwrap(), digest[..8]);
    let digest = sha256(&[b"hoft1 key", &[3, 0], &b.keys[2].bytes]);
    assert_eq!(b.kem_id().unwrap(), digest[..8]);
    let only_ed25519 = Bundle { keys: vec![key(1, 1, 32)], ..bundle() };
    assert_eq!((only_ed25519.signing_id(), only_ed25519.kem_id()), (None, None));
}

#[test]
fn a_fingerprint_is_six_groups_of_four() {
    let text = bundle().fingerprint().unwrap();
    assert_eq!(text.len(), 29);
    assert!(text.split('-').all(|group| group.len() == 4) && text.split('-').count() == 6, "{text}");
    // The same bits, read one by one.
    let digest = sha256(&[b"hoft1 fingerprint", &bundle().payload().unwrap()]);
    let bits: Vec<u8> = digest[..15].iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)).collect();
    let digits = bits.chunks(5).map(|five| five.iter().fold(0, |n, bit| n << 1 | bit));
    let expected: String =
        digits.map(|d: u8| char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[usize::from(d)])).collect();
    assert_eq!(text.replace('-', ""), expected);
}

#[test]
fn texts_that_are_no_token_say_why() {
    let token = bundle().to_token().unwrap();
    assert_eq!(parse_token(" \n"), Err(TokenError::Empty));
    assert_eq!(parse_token(&token[1..]), Err(TokenError::Prefix));
    assert_eq!(parse_token(&token.to_uppercase()), Err(TokenError::Prefix));
    assert_eq!(parse_token(&format!("{}\n{}", &token[..100], &token[100..])), Err(TokenError::WhiteSpace { at: 100 }));
    assert_eq!(parse_token(&format!("{token} {token}")), Err(TokenError::WhiteSpace { at: 4_352 }));
    assert!(matches!(parse_token(&format!("{token}=")), Err(TokenError::Base64 { .. })));
    assert!(matches!(parse_token(&token.replacen(&token[50..51], "+", 1)), Err(TokenError::Base64 { .. })));
    assert_eq!(parse_token("hoft1"), Err(TokenError::CheckSum));
    assert_eq!(parse_token("hoft1AAAA"), Err(TokenError::CheckSum));
    let long = format!("hoft1{}", "A".repeat(16_380));
    assert_eq!(parse_token(&long), Err(TokenError::TooLong { len: 16_385 }));
}

#[test]
fn a_cut_token_is_refused_at_every_length() {
    let token = bundle().to_token().unwrap();
    for len in 0..token.len() {
        assert!(parse_token(&token[..len]).is_err(), "{len}");
    }
}

#[test]
fn spare_bits_that_are_not_zero_are_refused() {
    // 3,259 bytes leave two spare bits in the last character.
    let mut longer = bundle();
    longer.side = "northern".into();
    let token = longer.to_token().unwrap();
    assert_eq!(token.len() % 4, (5 + 4_347 % 4) % 4);
    let last = token.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let changed = format!("{}{next}", &token[..token.len() - 1]);
    assert!(matches!(parse_token(&changed), Err(TokenError::Base64 { .. })));
}

#[test]
fn malformed_payloads_are_refused_by_rule() {
    // Offsets: format 0, class 1, reserved 2, version 4, times 8, name length 24, name 26, count 31, keys 32.
    assert_eq!(changed(|p| p[0] = 2), Err(TokenError::Format { format: 2 }));
    assert_eq!(changed(|p| p[1] = 2), Err(TokenError::Class { class: 2 }));
    assert_eq!(changed(|p| p[3] = 1), Err(TokenError::Reserved));
    assert_eq!(changed(|p| p[4] = 0), Err(TokenError::Version));
    assert_eq!(changed(|p| p[26] = b'N'), Err(TokenError::SideName));
    assert_eq!(changed(|p| p[26] = 0xff), Err(TokenError::SideName));
    assert_eq!(changed(|p| p[31] = 0), Err(TokenError::KeyCount { count: 0 }));
    assert_eq!(changed(|p| p[31] = 9), Err(TokenError::KeyCount { count: 9 }));
    assert_eq!(changed(|p| p[31] = 4), Err(TokenError::Cut { field: "keys" }));
    assert!(matches!(changed(|p| p[31] = 2), Err(TokenError::Trailing { .. })));
    assert_eq!(changed(|p| p[34] = 2), Err(TokenError::KeyUsage { alg: 1, usage: 2 }));
    assert_eq!(changed(|p| p[35] = 1), Err(TokenError::Reserved));
    assert_eq!(changed(|p| p.push(0)), Err(TokenError::Trailing { len: 1 }));
    assert_eq!(changed(|p| p[32] = 2), Err(TokenError::KeyOrder));
    assert_eq!(changed(|p| p[24] = 0xff), Err(TokenError::SideName));
    assert_eq!(changed(|p| p.truncate(40)), Err(TokenError::Cut { field: "keys" }));
}

#[test]
fn a_bundle_that_breaks_a_rule_is_not_written() {
    let cases = [
        (Bundle { version: 0, ..bundle() }, TokenError::Version),
        (Bundle { side: "North".into(), ..bundle() }, TokenError::SideName),
        (Bundle { keys: vec![], ..bundle() }, TokenError::KeyCount { count: 0 }),
        (Bundle { keys: vec![key(3, 2, 1216), key(1, 1, 32)], ..bundle() }, TokenError::KeyOrder),
        (Bundle { keys: vec![key(1, 1, 32), key(1, 1, 32)], ..bundle() }, TokenError::KeyOrder),
        (Bundle { keys: vec![key(3, 1, 1216)], ..bundle() }, TokenError::KeyUsage { alg: 3, usage: 1 }),
        (Bundle { keys: vec![key(3, 2, 1215)], ..bundle() }, TokenError::KeyLength { alg: 3, len: 1215 }),
    ];
    for (bad, error) in cases {
        assert_eq!(bad.to_token(), Err(error));
    }
}

#[test]
fn keys_of_unknown_algorithms_are_kept_and_skipped() {
    let mut with_unknown = bundle();
    with_unknown.keys.push(key(900, 7, 5));
    let back = parse_token(&with_unknown.to_token().unwrap()).unwrap();
    assert_eq!(back, with_unknown);
    assert_eq!(back.signing_id(), bundle().signing_id());
    assert_ne!(back.fingerprint(), bundle().fingerprint());
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(hoft1)?[A-Za-z0-9_-]{0,200}") {
        let _ = parse_token(&text);
    }

    #[test]
    fn any_payload_that_is_read_is_written_the_same(at in 0..64_usize, byte: u8, cut in 0..4_000_usize) {
        let mut payload = bundle().payload().unwrap();
        payload[at] = byte;
        payload.truncate(cut.max(1));
        if let Ok(read) = parse_token(&token_of(&payload)) {
            prop_assert_eq!(read.payload(), Ok(payload));
        }
    }
}
