//! The control and ext blocks of the golden packets.
//!
//! Invariant: between them they carry every type that this version knows, each with values that show the width of its fields.

use wire::Control;
use wire::control::{
    Ack, CUT_BUCKETS, Counters, Credit, EndpointName, KeysTlv, Limits, LogState, PacketReport, Presence, ResetReason,
    Versions,
};
use wire::ids::StreamId;
use wire::tlv::{self, TlvWriter};

/// PING alone: the control block of the published packet.
pub(super) fn ping() -> Vec<u8> {
    Control { ping: true, ..Control::default() }.encode()
}

fn gateway() -> Option<EndpointName> {
    Some(EndpointName { kind: "gateway".to_owned(), name: "0".to_owned() })
}

fn versions() -> Option<Versions> {
    Some(Versions { major_min: 1, major_max: 1, features: 1, software: "hoft 0.1.0".to_owned() })
}

fn hands() -> Control {
    Control {
        hello: Some([0xa1; 16]),
        endpoint: gateway(),
        echo: Some([0xb2; 16]),
        versions: versions(),
        limits: Some(Limits { max_frame: 1 << 24, ack_delay_ms: 25, max_packet: 500_000_000, heartbeat_ms: 45_000 }),
        keys: Some(KeysTlv { bundle_version: 1, kem: vec![[0xc3; 8]], signing: vec![[0xd4; 8], [0xe5; 8]] }),
        ..Control::default()
    }
}

/// The block of a first packet.
pub(super) fn handshake() -> Vec<u8> {
    hands().encode()
}

/// What every packet of an association carries.
fn news() -> Control {
    Control {
        log: Some(LogState { next: 6, oldest: 1, pn_floor: 0 }),
        ack: Some(Ack { cum: 63, chain: [0xf6; 16], una_seen: 1 }),
        packets: Some(PacketReport {
            largest: 70,
            echo_pn: 69,
            hold_us: 16_384,
            complete: (1..=40).chain(50..=60).collect(),
            partial: [70].into_iter().collect(),
            unopenable: Default::default(),
        }),
        credit: Some(Credit { max_log_bytes: 1 << 30, max_exchanges: 64, max_stream_bytes: 1 << 20 }),
        ..Control::default()
    }
}

/// A block inside an association.
pub(super) fn association() -> Vec<u8> {
    news().encode()
}

/// Every type that may go to an endpoint.
pub(super) fn everything() -> Vec<u8> {
    let mut histogram = [(0, 0); CUT_BUCKETS];
    for (i, bucket) in (0..).zip(histogram.iter_mut()) {
        *bucket = (i * 1_000, i);
    }
    let all = Control {
        reset: Some(ResetReason::NoRoom),
        log: Some(LogState { next: (1 << 62) - 1, oldest: 1 << 30, pn_floor: (1 << 40) - 1 }),
        sack: Some([65, 66, 70, 1_000_000].into_iter().collect()),
        stream_credit: [(0, 64), (2, 1 << 20), ((1 << 48) - 1, 0)]
            .map(|(id, max)| (StreamId::new(id).unwrap(), max))
            .into(),
        ping: true,
        counters: Some(Counters {
            used: 1,
            partial: 2,
            unopenable: 3,
            bad_frames: 4,
            duplicate_records: 70_000,
            junk_files: 6,
        }),
        cut_histogram: Some(Box::new(histogram)),
        pressure: Some(6),
        tombs_taken: Some((3..=5).chain([9]).collect()),
        ..news()
    };
    let Control { hello, endpoint, echo, versions, limits, keys, .. } = hands();
    Control { hello, endpoint, echo, versions, limits, keys, ..all }.encode()
}

/// The block of presence.
pub(super) fn presence() -> Vec<u8> {
    let word = Presence { role: 3, weight: 100, valid_ms: 135_000, ticket: [0x5a; 16] };
    Control { endpoint: gateway(), versions: versions(), presence: Some(word), ..Control::default() }.encode()
}

/// An ext block with padding and two types that never get a meaning.
pub(super) fn grease_ext() -> Vec<u8> {
    let mut ext = TlvWriter::new();
    ext.put(tlv::PAD, vec![0; 5]);
    ext.put_grease(0, b"ext");
    ext.put_grease(1_000_000, &[0xee; 16]);
    ext.finish()
}

/// A block of a later minor version: padding, types without meaning, odd types not yet named, and longer values of known ones.
pub(super) fn later() -> Vec<u8> {
    let mut block = TlvWriter::new();
    for found in tlv::walk(&everything()).unwrap() {
        let has_rest = matches!(found.kind, wire::control::tlv_type::ENDPOINT | wire::control::tlv_type::VERSIONS);
        let more: &[u8] = if has_rest { b"" } else { b"later" };
        block.put(found.kind, [found.value, more].concat());
    }
    block.put(tlv::PAD, vec![0; 3]);
    block.put_grease(0, b"");
    block.put_grease(7, b"sixteen bytes, 0");
    for reserved in [37, 39, 41, 45, (1 << 62) - 1] {
        block.put(reserved, b"not yet".to_vec());
    }
    block.finish()
}
