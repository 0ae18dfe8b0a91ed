//! A driver that gives the records of one request and keeps those of its response.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use disk::log::{Log, LogOptions, MemStorage};
use layer2_http::body::BodyCheck;
use layer2_http::head::{RequestHead, ResponseHead};
use tokio_util::sync::CancellationToken;
use wire::record::{RecordHeader, kind};
use wire::{EndpointId, Seq, StreamId};

use crate::command::{Command, Found, Lane, Outgoing, ReadReply};
use crate::driver::Event;
use crate::entry::RECEIVED;
use crate::exchange::{DriverHandle, FarExchange, far_exchange};

/// What follows the records a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Its FIN.
    Fin,
    /// A reset with this code.
    Reset(u64),
    /// Nothing yet.
    Silence,
}

/// What a driver saw of one execution.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Kinds and payloads of the response's records.
    pub(super) records: Vec<(u8, Bytes)>,
    /// The code by which the response was reset.
    pub(super) aborted: Option<u64>,
    /// Was the call dispatched?
    pub(super) dispatched: bool,
    /// Was the request read to its end?
    pub(super) read_to_end: bool,
}

impl Seen {
    pub(super) fn head(&self) -> ResponseHead {
        assert_eq!(self.records[0].0, kind::HEAD);
        ResponseHead::decode(&self.records[0].1).unwrap()
    }

    pub(super) fn content(&self) -> String {
        let data = self.records.iter().filter(|(kind, _)| *kind == kind::DATA);
        data.map(|(_, payload)| String::from_utf8(payload.to_vec()).unwrap()).collect()
    }

    pub(super) fn finished(&self) -> bool {
        self.records.last().is_some_and(|(kind, _)| *kind == kind::FIN)
    }

    /// Slug of the problem in the response's place.
    pub(super) fn problem(&self) -> Option<String> {
        self.head().envelope.problem
    }
}

/// An execution to run and the driver behind it.
pub(super) struct Harness {
    pub(super) exchange: FarExchange,
    pub(super) cancelled: CancellationToken,
    pub(super) driver: JoinHandle<Seen>,
}

/// A request of `head`, `content` (a record each) and what comes `after`. With `may_dispatch` false the driver stops when
/// it is asked for the mark.
pub(super) fn harness(head: &RequestHead, content: &[&str], after: After, may_dispatch: bool) -> Harness {
    raw_harness(head.encode().unwrap(), content, after, may_dispatch)
}

/// As [`harness`], with a head whose payload may be anything.
pub(super) fn raw_harness(head: Bytes, content: &[&str], after: After, may_dispatch: bool) -> Harness {
    let mut outgoing = vec![Outgoing::plain(kind::HEAD, head)];
    let mut body = BodyCheck::new();
    for piece in content {
        let record = Outgoing::data(Bytes::copy_from_slice(piece.as_bytes()), false);
        body.on_data(record.raw_len, &record.pd);
        outgoing.push(record);
    }
    if after == After::Fin {
        outgoing.push(Outgoing::fin(&body));
    }
    let storage = Arc::new(MemStorage::new());
    let (mut log, _) = Log::open_on(storage, [0; 16], LogOptions::default()).unwrap();
    let stream = StreamId::request(1);
    let mut offset = 0;
    let mut request = Vec::new();
    for (seq, record) in outgoing.iter().enumerate() {
        let position = log.append(RECEIVED, &[&record.payload]).unwrap();
        let head = RecordHeader {
            seq: Seq::new(seq as u64),
            stream,
            offset,
            raw_len: record.raw_len,
            stored_len: record.payload.len() as u32,
            kind: record.kind,
            flags: record.flags,
        };
        offset += u64::from(record.raw_len);
        request.push(Found { head, pd: record.pd, position, credited: false });
    }
    log.commit().unwrap();
    let (events, queue) = channel();
    let handle = DriverHandle::new(events, log.reader());
    let cancelled = CancellationToken::new();
    let peer = EndpointId::from_bytes([2; 16]);
    let exchange = far_exchange(&handle, Lane { peer, stream, epoch: 0 }, 1, cancelled.clone());
    let driver = std::thread::spawn(move || {
        let seen = serve(&queue, &request, after, may_dispatch);
        drop(log);
        seen
    });
    Harness { exchange, cancelled, driver }
}

fn serve(queue: &Receiver<Event>, request: &[Found], after: After, may_dispatch: bool) -> Seen {
    let mut seen = Seen::default();
    // Replies that are never given must not be dropped: that would mean that the engine stops.
    let mut silent = Vec::new();
    while let Ok(event) = queue.recv() {
        let Event::Command(command) = event else { continue };
        match command {
            Command::Read { offset, records_max, reply, .. } => {
                let wanted = request.iter().filter(|found| found.head.offset >= offset).take(records_max.min(2));
                let found: Vec<_> = wanted.copied().collect();
                match after {
                    _ if !found.is_empty() => drop(reply.send(ReadReply::Records(found))),
                    After::Reset(code) => drop(reply.send(ReadReply::Reset { code })),
                    After::Fin | After::Silence => silent.push(reply),
                }
            }
            Command::Append { outgoing, reply, .. } => {
                seen.records.push((outgoing.kind, outgoing.payload));
                let _ = reply.send(Ok(()));
            }
            Command::Abort { code, .. } => seen.aborted = Some(code),
            Command::Dispatch { reply, .. } => {
                seen.dispatched = may_dispatch;
                if may_dispatch {
                    let _ = reply.send(());
                }
            }
            Command::ReaderDropped { ended, .. } => seen.read_to_end = ended,
            _ => {}
        }
    }
    seen
}
