//! Starts from logs whose last entries were cut off: a driver without threads over a log in memory.

use disk::log::{LogOptions, MemStorage};
use layer1_replication::Config as ReplicationConfig;
use layer2_http::near::Begun;
use layer2_http::policy::Policy;
use tokio::sync::mpsc::unbounded_channel;
use wire::Seq;
use wire::record::RecordHeader;

use super::*;
use crate::driver::System;
use crate::exchange::DriverHandle;
use crate::status::EngineFacts;

const ME: EndpointId = EndpointId::from_bytes([1; 16]);
const PEER: EndpointId = EndpointId::from_bytes([2; 16]);

fn settings() -> Settings {
    let hour = std::time::Duration::from_secs(3_600);
    Settings {
        me: ME,
        facts: EngineFacts::of_test(),
        my_name: wire::control::EndpointName { kind: "gateway".to_owned(), name: "0".to_owned() },
        default_peer: PEER,
        peer_name: "south".to_owned(),
        membership: None,
        replication: ReplicationConfig::default(),
        result_ttl: hour,
        results_bytes_max: 1 << 20,
        loss_timeout: hour,
        gather_max: std::time::Duration::ZERO,
        forget_after: hour,
        inbound: Policy::default(),
        pseudonym: "hoft-north".to_owned(),
    }
}

fn recover(storage: &MemStorage) -> Driver {
    let (log, recovered) = Log::open_on(Arc::new(storage.clone()), *ME.as_bytes(), LogOptions::default()).unwrap();
    let (outbox, inbox, events) =
        (std::sync::mpsc::channel().0, std::sync::mpsc::channel().0, std::sync::mpsc::channel().0);
    let handle = DriverHandle::new(events, log.reader());
    let outlets = Outlets { egress: unbounded_channel().0, outbox, inbox, handle };
    Driver::recover(settings(), log, recovered, outlets, Arc::new(System::start())).unwrap()
}

/// A record of mine as the log holds it.
fn sent(seq: u64, stream: StreamId, kind: u8) -> (u8, Vec<u8>) {
    let head = RecordHeader { seq: Seq::new(seq), stream, offset: 0, raw_len: 1, stored_len: 1, kind, flags: 0 };
    let entry = Entry::Sent { head, payload_digest: wire::digest::sha256(&[&[0]]), charged: false };
    let mut body = PEER.as_bytes().to_vec();
    entry.encode(&mut body);
    body.push(0);
    (entry.kind(), body)
}

fn begun(id: OperationId, stream: StreamId) -> (u8, Vec<u8>) {
    let entry = NearEntry::Begun(Begun {
        id,
        peer: PEER,
        stream,
        retain: false,
        method: "GET".to_owned(),
        target: "http://up.example/".to_owned(),
        route: None,
        begun_ms: 0,
        number: None,
        deadline_ms: None,
    });
    let mut body = Vec::new();
    entry.encode(&mut body);
    (entry.kind(), body)
}

/// Both sides number their exchanges from 1: what ends a stream of the peer does not begin mine of the same number.
#[test]
fn a_call_without_its_head_is_forgotten_beside_a_stopped_stream_of_the_same_number() {
    let operation = OperationId::v7(1, &[7; 10]);
    for (kind, known) in [(kind::STOP_SENDING, false), (kind::HEAD, true)] {
        let storage = MemStorage::new();
        drop(recover(&storage));
        let (mut log, recovered) =
            Log::open_on(Arc::new(storage.clone()), *ME.as_bytes(), LogOptions::default()).unwrap();
        drop(recovered);
        for (kind, body) in [sent(1, StreamId::request(1), kind), begun(operation, StreamId::request(1))] {
            log.append(kind, &[&body]).unwrap();
        }
        log.commit().unwrap();
        drop(log);
        let driver = recover(&storage);
        assert_eq!(driver.near.get(operation).is_some(), known, "kind {kind}");
    }
}
