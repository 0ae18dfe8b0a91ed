//! Tests of `entry`: each name says what holds.

use super::*;
use alloc::vec;
use wire::Seq;

fn head() -> RecordHeader {
    RecordHeader {
        seq: Seq::new(70_000),
        stream: StreamId::request(9),
        offset: 1 << 40,
        raw_len: 300,
        stored_len: 20,
        kind: 33,
        flags: 1,
    }
}

fn one_of_each() -> Vec<Entry> {
    let life = Incarnation { generation: 7, random: [3; 8] };
    let stream = StreamId::response(5);
    let ranges: RangeSet = [1, 2, 3, 9, 100].into_iter().collect();
    vec![
        Entry::Associated { my_incarnation: life, peer_incarnation: life, confirmations: 3 },
        Entry::Sent { head: head(), payload_digest: [5; 32], charged: true },
        Entry::Received(ReceivedMeta {
            head: head(),
            link_digest: [6; 32],
            link_kind: 33,
            link_flags: 1,
            charged: 364,
        }),
        Entry::Acked { una: 12, chain: [1; 32] },
        Entry::PeerJoin(PeerJoin {
            srtt_us: 1,
            rttvar_us: 2,
            max_log_bytes: 3,
            max_exchanges: 4,
            max_stream_bytes: 5,
            max_frame: 6,
            ack_delay_ms: 7,
            association_pn: 8,
        }),
        Entry::PnBlock { reserved_below: 4097, floor: 1 },
        Entry::Granted { max_log_bytes: 1 << 30, max_exchanges: 256, max_stream_bytes: 1 << 24 },
        Entry::StreamGranted { stream, max: 1 << 25 },
        Entry::StreamClosed { stream },
        Entry::Consumed { stream, offset: 17, raw_len: 4 },
        Entry::Charged { seqs: ranges.clone() },
        Entry::Dissociated { peer_incarnation: life },
        Entry::AssociationState {
            my_incarnation: life,
            peer_incarnation: None,
            confirmations: 2,
            closed: vec![life, life],
        },
        Entry::SendBase { una: 5, chain: [2; 32], charged: 99, next_exchange: 4 },
        Entry::ReceiveBase { cum: 5, chain: [2; 32], charged: 99, consumed: 98, tombs: ranges.clone() },
        Entry::SendStream { stream, offset: 77, reset: true },
        Entry::ReceiveStream {
            stream,
            granted: 9,
            final_length: Some(0),
            cost: 8,
            consumed_cost: 7,
            received: ranges.clone(),
            consumed: RangeSet::new(),
        },
        Entry::ClosedExchanges { mine: ranges.clone(), theirs: ranges },
        Entry::Unreleased { head: head(), payload_digest: [5; 32], charged: false },
        Entry::Held(ReceivedMeta { head: head(), link_digest: [6; 32], link_kind: 2, link_flags: 0, charged: 65 }),
    ]
}

#[test]
fn every_entry_survives_its_bytes() {
    for entry in one_of_each() {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(Entry::decode(entry.kind(), &bytes), Ok(entry.clone()));
        assert!((16..64).contains(&entry.kind()));
        bytes.extend(b"payload");
        assert_eq!(Entry::decode_prefix(entry.kind(), &bytes), Ok((entry.clone(), b"payload".as_slice())));
        assert_eq!(Entry::decode(entry.kind(), &bytes), Err(EntryError::Malformed(entry.kind())));
    }
}

#[test]
fn a_cut_entry_is_refused() {
    for entry in one_of_each() {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(
                Entry::decode(entry.kind(), &bytes[..len]),
                Err(EntryError::Malformed(entry.kind())),
                "{entry:?} cut at {len}"
            );
        }
    }
}

#[test]
fn a_kind_of_a_later_version_is_refused_by_name() {
    for kind in (0..16).chain(28..32).chain(40..=255) {
        assert_eq!(Entry::decode(kind, &[0; 64]), Err(EntryError::UnknownKind(kind)));
    }
}
