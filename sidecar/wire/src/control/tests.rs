//! Tests of the control block.

use super::*;
use crate::ids::side_id;
use crate::limits::{MAX_CONTROL_LEN, MAX_RANGES};
use crate::tlv::{Tlv, TlvWriter, walk};
use crate::varint;
use alloc::string::ToString;
use alloc::vec;
use proptest::collection::vec as many;
use proptest::option::of;
use proptest::prelude::*;

fn set(values: &[u64]) -> RangeSet {
    values.iter().copied().collect()
}

/// A block with every TLV.
fn full() -> Control {
    Control {
        hello: Some([1; 16]),
        endpoint: Some(EndpointName { kind: "gateway".into(), name: "0".into() }),
        echo: Some([2; 16]),
        reset: Some(ResetReason::Forked),
        log: Some(LogState { next: 900, oldest: 3, pn_floor: 70 }),
        ack: Some(Ack { cum: 10, chain: [3; 16], una_seen: 9 }),
        sack: Some(set(&[12, 13, 20])),
        packets: Some(PacketReport {
            largest: 99,
            echo_pn: 98,
            hold_us: 1_500,
            complete: set(&[1, 2, 3, 9]),
            partial: set(&[5]),
            unopenable: RangeSet::new(),
        }),
        credit: Some(Credit { max_log_bytes: 1 << 30, max_exchanges: 64, max_stream_bytes: 1 << 24 }),
        stream_credit: vec![(StreamId::NO_EXCHANGE, 1), (StreamId::request(4), 1 << 40), (StreamId::response(4), 7)],
        ping: true,
        versions: Some(Versions {
            major_min: 1,
            major_max: 1,
            features: feature::TOMBSTONES,
            software: "hoft 0.1.0".into(),
        }),
        limits: Some(Limits { max_frame: 1 << 24, ack_delay_ms: 25, max_packet: 0, heartbeat_ms: 30_000 }),
        keys: Some(KeysTlv { bundle_version: 2, kem: vec![[4; 8], [5; 8]], signing: vec![[6; 8]] }),
        counters: Some(Counters {
            used: 1,
            partial: 2,
            unopenable: 3,
            bad_frames: 4,
            duplicate_records: 5,
            junk_files: 6,
        }),
        cut_histogram: Some(Box::new(core::array::from_fn(|i| (i as u64 * 100, i as u64)))),
        pressure: Some(2),
        presence: None,
        prekey: Some(b"prekey".to_vec()),
        bundle: Some(b"bundle".to_vec()),
        tombs_taken: Some(set(&[4])),
    }
}

fn presence() -> Control {
    Control {
        endpoint: Some(EndpointName { kind: "pod".into(), name: "5f0c".into() }),
        versions: full().versions,
        presence: Some(Presence { role: Presence::ROLE_EXECUTES, weight: 10, valid_ms: 60_000, ticket: [9; 16] }),
        ..Control::default()
    }
}

/// A block of raw TLVs.
fn block(tlvs: &[(u64, &[u8])]) -> Vec<u8> {
    let mut writer = TlvWriter::new();
    for (kind, value) in tlvs {
        writer.put(*kind, value.to_vec());
    }
    writer.finish()
}

fn decode(tlvs: &[(u64, &[u8])]) -> Result<Control, Reject> {
    Control::decode(&block(tlvs), false)
}

fn varints(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        varint::encode(*value, &mut out);
    }
    out
}

fn malformed(kind: u64, value: &[u8]) -> bool {
    decode(&[(kind, value)]) == Err(Reject::ControlMalformed)
}

#[test]
fn a_control_block_comes_back() {
    let bytes = full().encode();
    assert_eq!(bytes.len() % 8, 0);
    assert_eq!(Control::decode(&bytes, false), Ok(full()));
    let types: Vec<u64> = walk(&bytes).unwrap().iter().map(|tlv| tlv.kind).collect();
    assert_eq!(types, [2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21, 23, 25, 27, 29, 31, 37, 39, 43]);
    assert_eq!(Control::decode(&presence().encode(), true), Ok(presence()));
}

#[test]
fn values_are_laid_out_as_the_table_says() {
    let bytes = full().encode();
    let value = |kind| walk(&bytes).unwrap().into_iter().find(|tlv: &Tlv<'_>| tlv.kind == kind).unwrap().value.to_vec();
    assert_eq!(value(tlv_type::ENDPOINT), b"\x07gateway0");
    assert_eq!(value(tlv_type::RESET), [2]);
    assert_eq!(value(tlv_type::LOG), [0x43, 0x84, 3, 0x40, 70]);
    assert_eq!(value(tlv_type::ACK), [&[10][..], &[3; 16], &[9]].concat());
    // 20, then 12–13 below six missing numbers.
    assert_eq!(value(tlv_type::SACK), [2, 20, 0, 5, 1]);
    assert_eq!(value(tlv_type::PACKETS), [0x40, 99, 0x40, 98, 0x45, 0xdc, 2, 9, 0, 4, 2, 1, 5, 0, 0]);
    let steps = varints(&[3, 0, 1, 8, 1 << 40, 1, 7]);
    assert_eq!(value(tlv_type::STREAM_CREDIT), steps);
    assert!(value(tlv_type::PING).is_empty());
    assert_eq!(value(tlv_type::VERSIONS), b"\x01\x01\x01hoft 0.1.0");
    assert_eq!(value(tlv_type::KEYS), [&[2, 2][..], &[4; 8], &[5; 8], &[1], &[6; 8]].concat());
    assert_eq!(value(tlv_type::CUT_HISTOGRAM)[..5], [0, 0, 0x40, 100, 1]);
    let presence = presence().encode();
    let tlv = walk(&presence).unwrap().pop().unwrap();
    assert_eq!((tlv.kind, tlv.value), (35, &[&varints(&[1, 10, 60_000])[..], &[9; 16]].concat()[..]));
}

#[test]
fn an_empty_block_holds_a_pad() {
    assert_eq!(Control::default().encode(), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Control::decode(&[1, 0, 0, 0, 0, 0, 0, 0], false), Ok(Control::default()));
    assert_eq!(Control::decode(&[], false), Err(Reject::ControlMalformed));
    assert_eq!(Control::decode(&[0; 8], false), Err(Reject::ControlMalformed));
}

#[test]
fn grease_and_unknown_odd_types_are_skipped() {
    for n in [0, 1, 1_000_000] {
        let bytes = full().encode_with_grease(n, &[0xee; 20]);
        assert_eq!(Control::decode(&bytes, false), Ok(full()));
    }
    assert_eq!(Control::decode(&presence().encode_with_grease(0, b"x"), true), Ok(presence()));
    assert_eq!(decode(&[(41, b"fec"), (45, b""), (9_999, b"later")]), Ok(Control::default()));
}

#[test]
fn unknown_even_types_are_critical() {
    for kind in [22, 24, 34, 44, 10_000] {
        assert_eq!(decode(&[(kind, b"")]), Err(Reject::ControlCritical));
        assert_eq!(Control::decode(&block(&[(kind, b"")]), true), Err(Reject::ControlCritical));
    }
}

#[test]
fn names_come_in_the_order_of_the_checks() {
    // Malformed anywhere, then critical anywhere, then scope.
    assert_eq!(decode(&[(22, b""), (31, b"")]), Err(Reject::ControlMalformed));
    let side = |tlvs: &[(u64, &[u8])]| Control::decode(&block(tlvs), true);
    assert_eq!(side(&[(20, b""), (22, b""), (31, b"")]), Err(Reject::ControlMalformed));
    assert_eq!(side(&[(20, b""), (22, b"")]), Err(Reject::ControlCritical));
    assert_eq!(side(&[(20, b"")]), Err(Reject::ControlScope));
}

#[test]
fn only_presence_types_may_go_to_a_side() {
    let mut everything = full();
    everything.presence = presence().presence;
    let bytes = everything.encode();
    for tlv in walk(&bytes).unwrap() {
        // A SACK cannot stand alone.
        if tlv.kind == tlv_type::SACK {
            continue;
        }
        let alone = Control::decode(&block(&[(tlv.kind, tlv.value)]), true);
        assert_eq!(alone.is_ok(), [3, 21, 35, 37, 39].contains(&tlv.kind), "type {}", tlv.kind);
        assert!(alone.is_ok() || alone == Err(Reject::ControlScope));
    }
    assert!(Control::decode(&block(&[(1, &[0; 6])]), true).is_ok());
}

#[test]
fn presence_to_an_endpoint_is_ignored_but_must_be_well_formed() {
    let bytes = presence().encode();
    assert_eq!(Control::decode(&bytes, false), Ok(Control { presence: None, ..presence() }));
    assert!(malformed(tlv_type::PRESENCE, &[1, 1, 1]));
}

#[test]
fn extra_bytes_after_a_known_value_are_ignored() {
    let bytes = full().encode();
    let mut longer = TlvWriter::new();
    for tlv in walk(&bytes).unwrap() {
        let with_rest =
            [tlv_type::ENDPOINT, tlv_type::VERSIONS, tlv_type::PREKEY, tlv_type::BUNDLE].contains(&tlv.kind);
        let extra: &[u8] = if with_rest { b"" } else { b"later" };
        longer.put(tlv.kind, [tlv.value, extra].concat());
    }
    assert_eq!(Control::decode(&longer.finish(), false), Ok(full()));
}

#[test]
fn known_values_that_are_too_short_are_malformed() {
    let bytes = full().encode();
    let presence = presence().encode();
    for tlv in walk(&bytes).unwrap().into_iter().chain(walk(&presence).unwrap()) {
        let free = [tlv_type::PING, tlv_type::PREKEY, tlv_type::BUNDLE];
        if free.contains(&tlv.kind) {
            continue;
        }
        for len in 0..tlv.value.len() {
            let shorter = &tlv.value[..len];
            let rest_begins = match tlv.kind {
                tlv_type::VERSIONS => 3,
                tlv_type::ENDPOINT => 2 + usize::from(tlv.value[0]),
                _ => usize::MAX,
            };
            if len < rest_begins {
                assert!(malformed(tlv.kind, shorter), "type {} with {len} bytes", tlv.kind);
            }
        }
    }
}

#[test]
fn malformed_values_are_refused() {
    let ack = |cum: u64| [&varints(&[cum])[..], &[0; 16], &[0]].concat();
    let sack = |cum, ranges: &[u64]| decode(&[(10, &ack(cum)), (12, &varints(ranges))]);
    assert!(sack(10, &[1, 12, 0]).is_ok());
    assert_eq!(sack(11, &[1, 12, 0]), Err(Reject::ControlMalformed), "below cum + 2");
    assert_eq!(sack(10, &[1, 20, 9]), Err(Reject::ControlMalformed), "reaches below cum + 2");
    assert_eq!(sack(10, &[0]), Err(Reject::ControlMalformed), "no range");
    assert!(malformed(12, &[1, 12, 0]), "SACK without ACK");
    assert!(malformed(8, &[0, 0, 0]) && malformed(8, &[3, 4, 0]) && malformed(8, &[3, 0, 0]), "LOG out of order");
    assert!(malformed(18, &[0]), "no stream");
    assert!(malformed(18, &[2, 4, 1, 0, 1]), "the same stream twice");
    assert!(malformed(18, &varints(&[1, 1 << 48, 0])), "stream from 2^48 on");
    assert!(malformed(18, &varints(&[2, (1 << 48) - 1, 0, 1, 0])), "second stream from 2^48 on");
    assert!(decode(&[(18, &[2, 0, 1, 1, 1])]).is_ok(), "stream 0 comes first");
    assert!(malformed(21, &[&[1, 1, 0][..], &[b'x'; 65]].concat()), "software too long");
    assert!(malformed(23, &varints(&[(1 << 21) - 1, 0, 0, 0])), "max_frame too small");
    assert!(malformed(25, &varints(&[0, 9])), "too many keys");
    assert!(malformed(3, b"\x08gateway0") && malformed(3, b"\x09gateway0"), "no name");
    assert!(malformed(3, b"\x00gateway0") && malformed(3, b"\x07Gateway0") && malformed(3, b"\x07gateway\xff"));
    assert!(malformed(1, &[1]), "PAD that is not zero");
}

#[test]
fn lists_over_their_bound_are_malformed() {
    let ranges = |count: u64| {
        let mut values = vec![count, 10_000, 0];
        values.extend((1..count).flat_map(|_| [0, 0]));
        varints(&values)
    };
    assert!(decode(&[(43, &ranges(256))]).is_ok());
    assert!(malformed(43, &ranges(257)));
    let report =
        |counts: [u64; 3]| [varints(&[1, 1, 1]), ranges(counts[0]), ranges(counts[1]), ranges(counts[2])].concat();
    assert!(decode(&[(14, &report([256, 256, 256]))]).is_ok());
    for i in 0..3 {
        let mut counts = [1; 3];
        counts[i] = 257;
        assert!(malformed(14, &report(counts)));
    }
    let streams =
        |count: u64| varints(&core::iter::once(count).chain((0..count).flat_map(|_| [1, 5])).collect::<Vec<_>>());
    assert!(decode(&[(18, &streams(1_024))]).is_ok());
    assert!(malformed(18, &streams(1_025)));
}

#[test]
fn what_is_over_a_bound_is_cut_when_written() {
    let wide: RangeSet = (0..400).map(|i| 100 + 2 * i).collect();
    let control = Control {
        ack: Some(Ack { cum: 5, chain: [0; 16], una_seen: 0 }),
        sack: Some(wide.clone()),
        packets: Some(PacketReport {
            complete: wide.clone(),
            partial: wide.clone(),
            unopenable: wide.clone(),
            ..PacketReport::default()
        }),
        stream_credit: (0..1_100).rev().map(|i| (StreamId::request(i), 9)).collect(),
        versions: Some(Versions { major_min: 1, major_max: 1, features: 0, software: "é".repeat(80) }),
        keys: Some(KeysTlv { bundle_version: 0, kem: vec![[1; 8]; 9], signing: vec![[2; 8]; 10] }),
        tombs_taken: Some(wide),
        ..Control::default()
    };
    let back = Control::decode(&control.encode(), false).unwrap();
    assert_eq!(back.sack.as_ref().map(|sack| (sack.len_ranges(), sack.max())), Some((MAX_RANGES, Some(898))));
    assert_eq!(back.packets.map(|p| p.unopenable), back.sack);
    assert_eq!((back.stream_credit.len(), back.stream_credit[0].0), (1_024, StreamId::NO_EXCHANGE));
    assert_eq!(back.versions.map(|v| v.software), Some("?".repeat(64)));
    assert_eq!(back.keys.map(|k| (k.kem.len(), k.signing.len())), Some((8, 8)));
}

#[test]
fn what_would_be_malformed_is_left_out_when_written() {
    let control = Control {
        sack: Some(set(&[5])),
        endpoint: Some(EndpointName { kind: "Pod".into(), name: "1".into() }),
        stream_credit: vec![],
        ..Control::default()
    };
    assert_eq!(Control::decode(&control.encode(), false), Ok(Control::default()));
    let low = Control {
        ack: Some(Ack { cum: 5, chain: [0; 16], una_seen: 0 }),
        sack: Some(set(&[5, 6, 7, 8])),
        ..Control::default()
    };
    assert_eq!(Control::decode(&low.encode(), false).map(|c| c.sack), Ok(Some(set(&[7, 8]))));
}

#[test]
fn software_names_are_printable() {
    let control = decode(&[(21, b"\x01\x01\x00a\x1b[31m\xff~ ")]).unwrap();
    assert_eq!(control.versions.map(|v| v.software), Some("a?[31m?~ ".to_string()));
}

#[test]
fn outside_an_association_only_handshake_values_are_left() {
    let mut control = full();
    control.drop_association_scope();
    let types: Vec<u64> = walk(&control.encode()).unwrap().iter().map(|tlv| tlv.kind).collect();
    assert_eq!(types, [2, 3, 4, 6, 21, 23, 25, 37, 39]);
}

#[test]
fn ping_and_hello_are_ack_eliciting() {
    assert!(!Control { echo: Some([0; 16]), ..Control::default() }.is_ack_eliciting());
    assert!(Control { ping: true, ..Control::default() }.is_ack_eliciting());
    assert!(Control { hello: Some([0; 16]), ..Control::default() }.is_ack_eliciting());
}

#[test]
fn endpoint_is_needed_with_hello_echo_and_presence_and_must_derive() {
    let side = side_id("", "north", "south");
    let sender = endpoint_id(&side, "gateway", "0");
    let check = |control: &Control| control.check_endpoint(&side, &sender).is_ok();
    let (hello, echo) = (Some([0; 16]), Some([0; 16]));
    let gateway = |name: &str| Some(EndpointName { kind: "gateway".into(), name: name.into() });
    assert!(check(&Control::default()));
    for endpoint in [None, gateway("1")] {
        assert!(!check(&Control { hello, endpoint: endpoint.clone(), ..Control::default() }));
        assert!(!check(&Control { echo, endpoint: endpoint.clone(), ..Control::default() }));
        assert!(!check(&Control { endpoint, ..presence() }));
    }
    assert!(!check(&Control { endpoint: gateway("1"), ..Control::default() }));
    assert!(check(&Control { hello, echo, endpoint: gateway("0"), ..Control::default() }));
}

#[test]
fn reset_reasons_come_back() {
    for code in 0..9 {
        assert_eq!(ResetReason::from_code(code).code(), code);
    }
    assert_eq!(ResetReason::from_code(5), ResetReason::Other(5));
}

#[test]
fn buckets_begin_at_a_million_times_roots_of_two() {
    assert_eq!([0, 1_000_000, 1_414_213].map(cut_bucket), [0, 0, 0]);
    assert_eq!([1_414_214, 1_999_999, 2_000_000, 2_828_427, 2_828_428].map(cut_bucket), [1, 1, 2, 2, 3]);
    assert_eq!([1_000_000_u64 << 11, 2_896_309_375, 2_896_309_376, u64::MAX].map(cut_bucket), [22, 22, 23, 23]);
}

#[test]
fn the_largest_block_fits_its_bound() {
    let wide: RangeSet = (0..256).map(|i| (1 << 61) + (1 << 50) * i).collect();
    let mut control = full();
    control.stream_credit = (0..1_024).map(|i| (StreamId::new(i << 38).unwrap(), varint::MAX)).collect();
    control.sack = Some(wide.clone());
    control.packets = Some(PacketReport {
        complete: wide.clone(),
        partial: wide.clone(),
        unopenable: wide.clone(),
        ..PacketReport::default()
    });
    control.tombs_taken = Some(wide);
    let bytes = control.encode();
    assert!(bytes.len() < MAX_CONTROL_LEN as usize / 16, "{}", bytes.len());
    assert_eq!(Control::decode(&bytes, false), Ok(control));
}

fn counter() -> impl Strategy<Value = u64> {
    (0..62_u32, any::<u64>()).prop_map(|(shift, raw)| (raw & varint::MAX) >> shift)
}

fn ranges() -> impl Strategy<Value = RangeSet> {
    many(0..10_000_u64, 0..40).prop_map(|values| values.into_iter().collect())
}

fn handshake() -> impl Strategy<Value = Control> {
    let endpoint = of(("[a-z0-9-]{1,63}", "[a-z0-9-]{1,63}"));
    let versions = of((counter(), counter(), counter(), "[ -~]{0,64}"));
    let limits = of((1_u64 << 21..1 << 30, counter(), counter(), counter()));
    let keys = of((counter(), many(any::<[u8; 8]>(), 0..9), many(any::<[u8; 8]>(), 0..9)));
    (any::<Option<[u8; 16]>>(), any::<Option<[u8; 16]>>(), of(counter()), endpoint, versions, limits, keys).prop_map(
        |(hello, echo, reset, endpoint, versions, limits, keys)| Control {
            hello,
            echo,
            reset: reset.map(ResetReason::from_code),
            endpoint: endpoint.map(|(kind, name)| EndpointName { kind, name }),
            versions: versions.map(|(major_min, major_max, features, software)| Versions {
                major_min,
                major_max,
                features,
                software,
            }),
            limits: limits.map(|(max_frame, ack_delay_ms, max_packet, heartbeat_ms)| Limits {
                max_frame,
                ack_delay_ms,
                max_packet,
                heartbeat_ms,
            }),
            keys: keys.map(|(bundle_version, kem, signing)| KeysTlv { bundle_version, kem, signing }),
            ..Control::default()
        },
    )
}

fn association() -> impl Strategy<Value = Control> {
    let log = of((1..1_000_u64, 0..1_000_u64, counter()));
    let packets = of((counter(), counter(), counter(), ranges(), ranges(), ranges()));
    let streams = proptest::collection::btree_map(0..1_u64 << 48, counter(), 0..20);
    (
        log,
        of((0..100_u64, any::<[u8; 16]>(), counter())),
        ranges(),
        packets,
        of((counter(), counter(), counter())),
        streams,
        any::<bool>(),
        of(ranges()),
    )
        .prop_map(|(log, ack, mut sack, packets, credit, streams, ping, tombs_taken)| {
            sack.remove_below(ack.map_or(u64::MAX, |(cum, ..)| cum + 2));
            Control {
                log: log.map(|(oldest, more, pn_floor)| LogState { next: oldest + more, oldest, pn_floor }),
                ack: ack.map(|(cum, chain, una_seen)| Ack { cum, chain, una_seen }),
                sack: (ack.is_some() && !sack.is_empty()).then_some(sack),
                packets: packets.map(|(largest, echo_pn, hold_us, complete, partial, unopenable)| PacketReport {
                    largest,
                    echo_pn,
                    hold_us,
                    complete,
                    partial,
                    unopenable,
                }),
                credit: credit.map(|(max_log_bytes, max_exchanges, max_stream_bytes)| Credit {
                    max_log_bytes,
                    max_exchanges,
                    max_stream_bytes,
                }),
                stream_credit: streams.into_iter().map(|(id, max)| (StreamId::new(id).unwrap(), max)).collect(),
                ping,
                tombs_taken,
                ..Control::default()
            }
        })
}

proptest! {
    #[test]
    fn every_block_comes_back(shake in handshake(), association in association(), grease in of((any::<u64>(), any::<[u8; 16]>()))) {
        let control = Control {
            log: association.log,
            ack: association.ack,
            sack: association.sack,
            packets: association.packets,
            credit: association.credit,
            stream_credit: association.stream_credit,
            ping: association.ping,
            tombs_taken: association.tombs_taken,
            ..shake
        };
        let bytes = match grease {
            Some((n, noise)) => control.encode_with_grease(n, &noise),
            None => control.encode(),
        };
        prop_assert_eq!(Control::decode(&bytes, false), Ok(control));
    }

    #[test]
    fn whatever_is_encoded_decodes(next: u64, oldest: u64, cum: u64, sacked in many(any::<u64>(), 0..5), max_frame: u64, code: u64) {
        let control = Control {
            log: Some(LogState { next, oldest, pn_floor: next }),
            ack: Some(Ack { cum, chain: [0; 16], una_seen: oldest }),
            sack: Some(sacked.into_iter().filter(|v| *v <= varint::MAX).collect()),
            limits: Some(Limits { max_frame, ack_delay_ms: next, max_packet: oldest, heartbeat_ms: code }),
            reset: Some(ResetReason::Other(code)),
            ..Control::default()
        };
        prop_assert!(Control::decode(&control.encode(), false).is_ok());
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in many(any::<u8>(), 0..200), side: bool) {
        let _ = Control::decode(&bytes, side);
    }

    #[test]
    fn a_changed_block_is_judged_without_panic(at in 0..400_usize, byte: u8) {
        let mut bytes = full().encode();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(control) = Control::decode(&bytes, false) {
            prop_assert_eq!(Control::decode(&control.encode(), false), Ok(control));
        }
    }
}
