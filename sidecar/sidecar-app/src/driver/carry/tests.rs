//! A driver without threads over a log in memory with small segments: what is live stays readable, whatever becomes of its
//! segment, and segments go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use disk::log::{Fault, Log, LogOptions, LogReader, MemStorage};
use layer1_replication::{Entry, ReceivedMeta};
use layer2_http::operation::OperationId;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use wire::digest::sha256;
use wire::record::{RecordHeader, kind};

use super::*;
use crate::command::{BeginCall, BeginError, Found};
use crate::driver::testbench::{DEFAULT, ME, settings};
use crate::driver::{Event, Outlets, RecoverError};
use crate::entry::{EngineEntry, RECEIVED, record_payload};
use crate::exchange::DriverHandle;
use crate::pipe::{InboxCommand, OutboxJob};

const SEGMENT: u64 = 32 << 10;
const RESULT: &[u8] = b"the stored result of a call that was made long ago";
const HEAD: &[u8] = b"the head of a request that nobody acknowledges";

pub(in crate::driver) struct Bench {
    pub(in crate::driver) driver: Driver,
    reader: LogReader,
    _queues: (Receiver<OutboxJob>, Receiver<InboxCommand>, Receiver<Event>),
}

impl Bench {
    fn start(storage: &MemStorage) -> Result<Self, RecoverError> {
        Self::start_with(storage, 0)
    }

    /// With so much space set aside.
    pub(in crate::driver) fn start_with(storage: &MemStorage, aside: u64) -> Result<Self, RecoverError> {
        let options = LogOptions { segment_bytes: SEGMENT };
        let (mut log, recovered) = Log::open_on(Arc::new(storage.clone()), *ME.as_bytes(), options)?;
        if aside > 0 {
            log.set_aside(aside)?;
        }
        let ((outbox, jobs), (inbox, commands), (events, queue)) = (channel(), channel(), channel());
        let reader = log.reader();
        let handle = DriverHandle::new(events, reader.clone());
        let outlets = Outlets { egress: unbounded_channel().0, outbox, inbox, handle };
        let driver = Driver::recover(settings(), log, recovered, outlets, Arc::new(crate::driver::System::start()))?;
        Ok(Self { driver, reader, _queues: (jobs, commands, queue) })
    }

    /// Begins a call; what the caller is told if it is refused.
    pub(in crate::driver) fn begin(&mut self, n: u8) -> Result<(), BeginError> {
        let call = BeginCall {
            operation: operation(n),
            retain: true,
            head: Bytes::from_static(HEAD),
            method: "GET".to_owned(),
            target: "http://south/".to_owned(),
            route: None,
            deadline_ms: None,
            asked: Default::default(),
        };
        let (reply, mut answer) = oneshot::channel();
        self.driver.begin(call, reply);
        // What cannot be written stops the driver, and the caller is told nothing.
        let _ = self.driver.settle();
        answer.try_recv().map_or(Ok(()), |answer| answer.map(drop))
    }

    /// A call whose head is not acknowledged, and whose response is a stored result.
    pub(in crate::driver) fn call(&mut self) -> Result<(), DriverError> {
        let call = BeginCall {
            operation: operation(9),
            retain: true,
            head: Bytes::from_static(HEAD),
            method: "GET".to_owned(),
            target: "http://south/".to_owned(),
            route: None,
            deadline_ms: None,
            asked: Default::default(),
        };
        self.driver.begin(call, oneshot::channel().0);
        self.driver.settle()?;
        let stream = StreamId::request(1).response_of();
        let len = RESULT.len() as u32;
        let (seq, kind) = (Seq::new(1), kind::HEAD);
        let head = RecordHeader { seq, stream, offset: 0, raw_len: len, stored_len: len, kind, flags: 0 };
        let link_digest = sha256(&[RESULT]);
        let meta = ReceivedMeta { head, link_digest, link_kind: kind, link_flags: 0, charged: u64::from(len) };
        let mut body = DEFAULT.as_bytes().to_vec();
        Entry::Received(meta).encode(&mut body);
        let position = self.driver.journal.append(RECEIVED, &[&body, RESULT], true)?;
        self.driver.journal.pin(position);
        let slot = self.driver.open_slot(DEFAULT);
        assert!(slot.spool.add(Found { head, pd: link_digest, position, credited: false }).is_none());
        self.driver.settle()
    }

    /// Traffic that nothing of is needed later.
    pub(in crate::driver) fn traffic(&mut self, bytes: usize) -> Result<(), DriverError> {
        let ended = EngineEntry::RequestEnded { peer: DEFAULT, stream: StreamId::request(1) };
        let padding = [0; 4096];
        for _ in 0..bytes / padding.len() {
            self.driver.journal.append(ended.kind(), &[&ended.encode(), &padding], true)?;
            self.driver.settle()?;
        }
        Ok(())
    }

    /// Where the two records lie.
    fn places(&self) -> Vec<Position> {
        self.driver.items().map(|item| item.from).collect()
    }

    fn payloads(&self, places: &[Position]) -> Vec<Bytes> {
        let read = |place: &Position| {
            let (kind, body) = self.reader.read(*place).unwrap();
            let head = entry::placed_record(kind, &body).unwrap().head;
            record_payload(kind, &body, head.stored_len).unwrap()
        };
        places.iter().map(read).collect()
    }

    #[track_caller]
    pub(in crate::driver) fn assert_both_are_there(&self) {
        let payloads = self.payloads(&self.places());
        // A start resets a request whose caller is gone: one more record.
        assert_eq!([payloads.first(), payloads.last()].map(|one| one.unwrap().as_ref()), [HEAD, RESULT]);
    }
}

fn operation(n: u8) -> OperationId {
    let mut bytes = [n; 16];
    (bytes[6], bytes[8]) = (0x79, 0x89);
    OperationId::from_bytes(bytes).unwrap()
}

fn held(driver: &Driver) -> BTreeMap<u64, u64> {
    driver.journal.segments()
}

#[test]
fn one_stored_result_does_not_keep_its_segment() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage).unwrap();
    bench.call().unwrap();
    let first = bench.places();
    // As many segments as a gibibyte has in real ones, and more.
    bench.traffic(20 * SEGMENT as usize).unwrap();
    let segments = held(&bench.driver);
    assert!(segments.len() <= 3, "{segments:?}");
    assert!(*segments.keys().next().unwrap() > 10, "{segments:?}");
    bench.assert_both_are_there();
    assert_eq!(bench.payloads(&first), [HEAD, RESULT], "who asks for the old place is sent on");
    drop(bench);
    storage.power_cut(0);
    let bench = Bench::start(&storage).unwrap();
    bench.assert_both_are_there();
}

#[test]
fn records_that_fill_their_segment_stay_where_they_are() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage).unwrap();
    bench.call().unwrap();
    let stream = StreamId::request(1).response_of();
    for n in 1..8 {
        let (seq, offset) = (Seq::new(1 + n), n * 4096);
        let head = RecordHeader { seq, stream, offset, raw_len: 4096, stored_len: 4096, kind: kind::DATA, flags: 0 };
        let moved = EngineEntry::Moved { peer: DEFAULT, sent: false, head };
        let position = bench.driver.journal.append(moved.kind(), &[&moved.encode(), &[1; 4096]], true).unwrap();
        bench.driver.journal.pin(position);
        let found = Found { head, pd: [0; 32], position, credited: true };
        assert!(bench.driver.open_slot(DEFAULT).spool.add(found).is_none());
    }
    let before = bench.places();
    bench.traffic(8 * SEGMENT as usize).unwrap();
    assert_eq!(bench.places(), before);
    assert!(held(&bench.driver).contains_key(&1));
}

#[test]
fn a_full_disk_while_carrying_leaves_everything_where_it_is() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage).unwrap();
    bench.call().unwrap();
    for _ in 0..3 * SEGMENT / 4096 {
        if !bench.driver.carry.is_under_way() {
            bench.traffic(4096).unwrap();
        }
    }
    assert!(bench.driver.carry.is_under_way());
    let before = bench.places();
    storage.fail_at(storage.calls(), Fault::Full);
    bench.driver.carry_on().unwrap();
    assert!(!bench.driver.carry.is_under_way());
    assert_eq!(bench.places(), before);
    bench.assert_both_are_there();
    bench.traffic(4 * SEGMENT as usize).unwrap();
    assert_ne!(bench.places(), before, "it is tried again after the next checkpoint");
    bench.assert_both_are_there();
}

#[test]
fn a_crash_at_any_call_while_carrying_loses_nothing() {
    let work = |storage: &MemStorage| -> Result<(), RecoverError> {
        let mut bench = Bench::start(storage)?;
        bench.traffic(4 * SEGMENT as usize).map_err(|error| match error {
            DriverError::Log(error) => error.into(),
            DriverError::NewLife => panic!("nobody asks for a new life here"),
        })
    };
    let prepared = || {
        let storage = MemStorage::new();
        Bench::start(&storage).unwrap().call().unwrap();
        storage
    };
    let storage = prepared();
    let first = storage.calls();
    work(&storage).unwrap();
    let last = storage.calls();
    assert!(last - first > 50, "{first} to {last}");
    for call in first..last {
        let storage = prepared();
        storage.fail_at(call, Fault::Stop);
        assert!(work(&storage).is_err());
        // Every call is the last one once; what it leaves differs.
        match call % 4 {
            0 => storage.restart(),
            1 => storage.power_cut(0),
            2 => storage.power_cut(1),
            _ => storage.power_cut(call),
        }
        let bench = Bench::start(&storage).unwrap();
        bench.assert_both_are_there();
    }
}
