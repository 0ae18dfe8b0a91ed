//! Tests of `envelope`.

use super::*;
use minicbor::Encoder;
use proptest::option::of;
use proptest::prelude::*;

fn id() -> OperationId {
    OperationId::v7(0x0189_0a5d_ac96, &[0xab; 10])
}

fn full() -> Envelope {
    let text = |text: &str| Some(text.to_owned());
    Envelope {
        operation: Some(id()),
        route: text("erp"),
        target: text("https://erp.south.svc/v1/"),
        attempt: Some(2),
        deadline_ms: Some(1_700_000_000_000),
        idempotency_key: text("\"8e03978e\""),
        callback: text("http://localhost/done"),
        caller: Some(Caller { namespace: text("shop"), service_account: text("billing"), name: None }),
        forwarded: Some(vec!["for=127.0.0.1;proto=http".to_owned()]),
        traceparent: text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        tracestate: text("vendor=1"),
        priority: Some(Priority { urgency: 1, incremental: true }),
        protocol: text("websocket"),
        event_mask: Some(1 << 5),
        retention_ms: Some(86_400_000),
        executed: Some(Executed::Maybe),
        problem: text("outcome-unknown"),
        next_hop: text("10.0.0.1:443"),
        timings: Some(Timings { wait_ms: Some(1), connect_ms: None, first_byte_ms: Some(3) }),
        event_state: Some(State::Executing),
        event_ms: Some(-1),
    }
}

#[test]
fn an_empty_envelope_is_an_empty_map() {
    assert_eq!(Envelope::default().encode().unwrap(), [0xa0]);
    assert_eq!(Envelope::decode(&[0xa0]).unwrap(), Envelope::default());
}

#[test]
fn bytes_are_the_specified_ones() {
    let mut expected = vec![0xa1, 1, 0x50];
    expected.extend_from_slice(id().as_bytes());
    assert_eq!(Envelope::claim(id()).encode().unwrap(), expected);
    let priority = Envelope { priority: Some(Priority { urgency: 5, incremental: false }), ..Envelope::default() };
    assert_eq!(priority.encode().unwrap(), [0xa1, 12, 0x82, 5, 0xf4]);
    let event = Envelope::event(id(), State::Executing, 1000).encode().unwrap();
    assert_eq!(event[0], 0xa3);
    assert_eq!(event[19..], [20, 5, 21, 0x19, 0x03, 0xe8]);
}

#[test]
fn a_full_envelope_reads_back_as_written_and_is_deterministic() {
    let bytes = full().encode().unwrap();
    assert_eq!(cbor::check(&bytes), Ok(()));
    assert_eq!(Envelope::decode(&bytes), Ok(full()));
    assert_eq!(full().encode().unwrap(), bytes);
}

#[test]
fn unknown_keys_are_ignored_and_not_written_again() {
    let mut e = Encoder::new(Vec::new());
    e.map(5).unwrap();
    e.u8(2).unwrap().str("erp").unwrap();
    e.u8(22).unwrap().array(2).unwrap().map(1).unwrap().u8(1).unwrap().bytes(b"x").unwrap().bool(true).unwrap();
    e.u16(4000).unwrap().str("later").unwrap();
    e.i8(-1).unwrap().f64(1.5).unwrap();
    e.i32(-70_000).unwrap().null().unwrap();
    let envelope = Envelope::decode(e.writer()).unwrap();
    assert_eq!(envelope, Envelope { route: Some("erp".to_owned()), ..Envelope::default() });
    assert_eq!(envelope.encode().unwrap(), [0xa1, 2, 0x63, b'e', b'r', b'p']);
}

#[test]
fn what_is_not_deterministic_is_refused() {
    let cases: [(&[u8], CborError); 5] = [
        (&[0xa1, 0x18, 2, 0x60], CborError::NotShortest),
        (&[0xa2, 2, 0x60, 2, 0x60], CborError::KeyOrder),
        (&[0xa2, 4, 1, 2, 0x60], CborError::KeyOrder),
        (&[0xbf, 0xff], CborError::Reserved),
        (&[0xa0, 0], CborError::Rest),
    ];
    for (bytes, error) in cases {
        assert_eq!(Envelope::decode(bytes), Err(EnvelopeError::Cbor(error)), "{bytes:02x?}");
    }
}

#[test]
fn a_known_key_with_another_shape_is_refused() {
    let cases: [&[u8]; 7] = [
        &[0x80],
        &[0xa1, 1, 0x41, 0],
        &[0xa1, 1, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xa1, 2, 0x41, 0x61],
        &[0xa1, 4, 0x20],
        &[0xa1, 16, 3],
        &[0xa1, 20, 14],
    ];
    for bytes in cases {
        assert!(matches!(Envelope::decode(bytes), Err(EnvelopeError::Shape { .. })), "{bytes:02x?}");
    }
}

#[test]
fn control_characters_are_refused_in_every_text() {
    let evil = || Some("a\r\nx: y".to_owned());
    let caller = |caller| Envelope { caller: Some(caller), ..Envelope::default() };
    let cases = [
        (2, Envelope { route: evil(), ..Envelope::default() }),
        (3, Envelope { target: evil(), ..Envelope::default() }),
        (6, Envelope { idempotency_key: evil(), ..Envelope::default() }),
        (7, Envelope { callback: evil(), ..Envelope::default() }),
        (8, caller(Caller { namespace: evil(), ..Caller::default() })),
        (8, caller(Caller { service_account: evil(), ..Caller::default() })),
        (8, caller(Caller { name: evil(), ..Caller::default() })),
        (9, Envelope { forwarded: Some(vec!["a".to_owned(), "\0".to_owned()]), ..Envelope::default() }),
        (10, Envelope { traceparent: evil(), ..Envelope::default() }),
        (11, Envelope { tracestate: evil(), ..Envelope::default() }),
        (13, Envelope { protocol: evil(), ..Envelope::default() }),
        (17, Envelope { problem: evil(), ..Envelope::default() }),
        (18, Envelope { next_hop: evil(), ..Envelope::default() }),
    ];
    for (key, envelope) in cases {
        assert_eq!(envelope.encode(), Err(EnvelopeError::ControlCharacter { key }));
        let bytes = minicbor::to_vec(&envelope).unwrap();
        assert_eq!(Envelope::decode(&bytes), Err(EnvelopeError::ControlCharacter { key }));
    }
}

#[test]
fn an_urgency_above_7_is_refused() {
    let envelope = Envelope { priority: Some(Priority { urgency: 8, incremental: false }), ..Envelope::default() };
    assert_eq!(envelope.encode(), Err(EnvelopeError::Urgency { urgency: 8 }));
}

#[test]
fn an_envelope_may_have_64_kib_and_no_more() {
    let of = |len: usize| Envelope { tracestate: Some("x".repeat(len)), ..Envelope::default() };
    assert_eq!(of(65_531).encode().unwrap().len(), 65_536);
    assert_eq!(of(65_532).encode(), Err(EnvelopeError::TooLarge { len: 65_537 }));
    assert_eq!(Envelope::decode(&[0; 65_537]), Err(EnvelopeError::TooLarge { len: 65_537 }));
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    let text = || of("[ -~äß€]{0,30}");
    let first = (of(any::<[u8; 16]>()), text(), text(), of(any::<u32>()), of(any::<i64>()), text(), text());
    let second =
        (of(proptest::collection::vec("[ -~]{0,20}", 0..5)), text(), of((0_u8..8, any::<bool>())), of(any::<u64>()));
    let third =
        (of((text(), text(), text())), of(0_usize..14), of((of(any::<u64>()), of(any::<u64>()), of(any::<u64>()))));
    (first, second, third).prop_map(|(first, second, third)| Envelope {
        operation: first.0.and_then(|bytes| OperationId::from_bytes(bytes).ok()),
        route: first.1,
        target: first.2,
        attempt: first.3,
        deadline_ms: first.4,
        idempotency_key: first.5,
        problem: first.6,
        forwarded: second.0,
        traceparent: second.1,
        priority: second.2.map(|(urgency, incremental)| Priority { urgency, incremental }),
        retention_ms: second.3,
        caller: third.0.map(|(namespace, service_account, name)| Caller { namespace, service_account, name }),
        event_state: third.1.map(|number| State::ALL[number]),
        timings: third.2.map(|(wait_ms, connect_ms, first_byte_ms)| Timings { wait_ms, connect_ms, first_byte_ms }),
        ..Envelope::default()
    })
}

proptest! {
    #[test]
    fn envelopes_read_back_as_written(envelope in any_envelope()) {
        let bytes = envelope.encode().unwrap();
        prop_assert_eq!(cbor::check(&bytes), Ok(()));
        prop_assert_eq!(Envelope::decode(&bytes), Ok(envelope));
    }

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::decode(&bytes);
    }

    #[test]
    fn a_flipped_byte_is_refused_or_reads_back_the_same(at: prop::sample::Index, bit in 0_u8..8) {
        let mut bytes = full().encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(envelope) = Envelope::decode(&bytes) {
            let again = envelope.encode().unwrap();
            prop_assert_eq!(Envelope::decode(&again), Ok(envelope));
        }
    }
}
