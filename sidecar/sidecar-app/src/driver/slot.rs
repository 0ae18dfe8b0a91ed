//! One remote endpoint as the driver sees it: its protocol state, its indexes, and who waits for what.
//!
//! Invariants: every place in `sent` and every record in `spool` pins its log segment once; a stream in `writing` may be
//! appended to, one that is not there is over. Layer 1 says what happens; this only keeps what it does not: places.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use disk::log::{LogError, Position};
use layer0_pipe::{FileId, PacketPlan, PlannedRecord};
use layer1_replication::{AppendError as Refusal, Entry, Peer, PersistToken, ReceivedMeta, Timestamp, Transmit};
use layer2_http::operation::OperationId;
use layer2_http::problem::Problem;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wire::digest::sha256;
use wire::record::{Bound, FIRST_STORED_KIND, Fin, Record, RecordHeader, kind};
use wire::{EndpointId, Incarnation, PacketNumber, Seq, StreamId};

use super::closing::Moving;
use super::far_time::Asked;
use super::forget::Silence;
use super::journal::Journal;
use super::kept::{Kept, KeptRequest, own_head};
use super::progress::Tally;
use crate::command::{AppendError, Found, Lane, Outgoing, ReadReply};
use crate::entry::{EngineEntry, SentPlace};
use crate::pipe::PublishJob;
use crate::spool::{Lookup, Spool};

/// One remote endpoint.
pub(super) struct Slot {
    pub(super) peer: Peer,
    /// Where the payloads of my unreleased records lie.
    pub(super) sent: BTreeMap<Seq, SentPlace>,
    /// Rises with every association: what belongs to an earlier one is told apart by it.
    pub(super) epoch: u32,
    pub(super) spool: Spool,
    /// Received records that are in the log but not reported durable yet.
    arriving: BTreeMap<Seq, Found>,
    /// Files whose packets are not durable yet.
    pub(super) files: BTreeMap<(Incarnation, PacketNumber), FileId>,
    /// Streams of mine that have not ended.
    pub(super) writing: BTreeMap<StreamId, Writing>,
    /// Whoever waits for a record; a stored result may have several readers.
    readers: BTreeMap<StreamId, Vec<Reader>>,
    /// Calls begun here, by their request stream.
    pub(super) near_calls: BTreeMap<StreamId, NearCall>,
    /// Calls executed here, by their request stream.
    pub(super) far_calls: BTreeMap<StreamId, FarCall>,
    /// Executions that are over while their request may still arrive.
    pub(super) far_over: BTreeSet<StreamId>,
    /// The operations whose request or response ends with a record of mine.
    pub(super) fins: BTreeMap<Seq, Ending>,
    /// Records of requests that the far side may not hold yet, with the octets of content in each.
    pub(super) unacked: BTreeMap<Seq, (StreamId, u32)>,
    last_token: Option<PersistToken>,
    pub(super) silence: Silence,
    /// The disk is full: nothing new is taken in.
    pub(super) tight: bool,
    /// The last alarm, in words for a person.
    pub(super) alarm: Option<String>,
}

/// Records that wait for room, with whoever waits for that.
pub(super) type Parked = VecDeque<(Outgoing, oneshot::Sender<Result<(), AppendError>>)>;

/// A stream of mine that is being written.
#[derive(Default)]
pub(super) struct Writing {
    /// The peer does not want more.
    pub(super) stopped: Option<u64>,
    /// Nobody writes: what is to be copied is all there is.
    pub(super) copy_only: bool,
    parked: Parked,
}

pub(super) struct Reader {
    offset: u64,
    records_max: usize,
    reply: oneshot::Sender<ReadReply>,
}

/// How far a stream got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for more, or for room.
    Waits,
    /// It got its FIN.
    Finished,
    /// It cannot be copied to its end.
    Broken,
}

/// What a FIN of mine ends.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// The request of a call begun here.
    Request(OperationId),
    /// The response of a call executed here.
    Response(OperationId),
}

/// A call begun here.
pub(super) struct NearCall {
    pub(super) operation: OperationId,
    pub(super) response: StreamId,
    /// Somebody waits for the response.
    pub(super) reader: bool,
    /// The response is kept to be picked up.
    pub(super) retain: bool,
    /// The request has its FIN or its reset.
    pub(super) request_ended: bool,
    /// Nobody waits for more of the response: it was read, is kept whole, or is not wanted.
    pub(super) response_over: bool,
    /// The far side answered with a problem of its own.
    pub(super) problem: Option<Problem>,
    /// Making the call twice is harmless, by its method or its key.
    pub(super) repeatable: bool,
    /// The caller was given some of the response.
    pub(super) given: bool,
    /// Some of it may have gone by an association before: what the far side says of it is not all there is to know.
    pub(super) sent_before: bool,
    pub(super) tally: Tally,
    /// Its request, as long as it may be needed again.
    pub(super) request: KeptRequest,
}

/// A call of the peer that is being executed.
pub(super) struct FarCall {
    pub(super) operation: OperationId,
    /// The request may be executed again after a crash: it is kept until the response ended.
    pub(super) replayable: bool,
    /// Attempts of which its caller does not know what became, and this log neither.
    pub(super) attempts_before: u32,
    pub(super) cancelled: CancellationToken,
    /// What its envelope asks for.
    pub(super) asked: Asked,
    /// Its dispatch mark stands.
    pub(super) dispatched: bool,
    /// Offset that the egress has read to.
    pub(super) read_to: u64,
    /// The egress gave its reader back.
    pub(super) request_read: bool,
    /// The response has its FIN or its reset.
    pub(super) response_ended: bool,
}

impl Slot {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            sent: BTreeMap::new(),
            epoch: 0,
            spool: Spool::default(),
            arriving: BTreeMap::new(),
            files: BTreeMap::new(),
            writing: BTreeMap::new(),
            readers: BTreeMap::new(),
            near_calls: BTreeMap::new(),
            far_calls: BTreeMap::new(),
            far_over: BTreeSet::new(),
            fins: BTreeMap::new(),
            unacked: BTreeMap::new(),
            last_token: None,
            silence: Silence::default(),
            tight: false,
            alarm: None,
        }
    }

    /// Appends what layer 1 wants durable.
    pub(super) fn append_persists(&mut self, id: EndpointId, journal: &mut Journal) -> Result<(), LogError> {
        let mut body = Vec::new();
        while let Some(persist) = self.peer.poll_persist() {
            body.clear();
            body.extend_from_slice(id.as_bytes());
            persist.entry.encode(&mut body);
            let position = journal.append(persist.entry.kind(), &[&body, &persist.payload], persist.urgent)?;
            match &persist.entry {
                Entry::Sent { head, payload_digest, .. } => {
                    journal.pin(position);
                    self.keep_request(&Found { head: *head, pd: *payload_digest, position, credited: true }, journal);
                    self.place_sent(SentPlace { seq: head.seq, stream: head.stream, kind: head.kind, position });
                }
                Entry::Received(ReceivedMeta { head, link_digest, .. }) if head.kind >= 32 => {
                    journal.pin(position);
                    self.arriving.insert(head.seq, Found { head: *head, pd: *link_digest, position, credited: false });
                }
                _ => {}
            }
            self.last_token = Some(persist.token);
        }
        Ok(())
    }

    /// Keeps a record of a request that may be needed again.
    fn keep_request(&mut self, found: &Found, journal: &mut Journal) {
        if found.head.kind < FIRST_STORED_KIND {
            return;
        }
        let Some(call) = self.near_calls.get_mut(&found.head.stream) else { return };
        let Kept { held, instead_of } = call.request.append(*found);
        if held {
            journal.pin(found.position);
        }
        if let Some(original) = instead_of {
            journal.unpin(original.position);
        }
    }

    pub(super) fn place_sent(&mut self, place: SentPlace) {
        self.sent.insert(place.seq, place);
    }

    /// A record lies elsewhere now; false when it is not held any more.
    pub(super) fn move_record(&mut self, sent: bool, head: &RecordHeader, position: Position) -> bool {
        match self.sent.get_mut(&head.seq) {
            Some(place) if sent => {
                place.position = position;
                true
            }
            _ => !sent && self.spool.move_to(head, position),
        }
    }

    /// Tells layer 1 that everything appended so far is durable.
    pub(super) fn confirm_persisted(&mut self, now: Timestamp) {
        if let Some(token) = self.last_token.take() {
            self.peer.handle_persisted(now, token);
        }
    }

    /// True while a record of mine that ends the stream is not released.
    pub(super) fn has_end(&self, stream: StreamId) -> bool {
        let ends = |place: &&SentPlace| matches!(place.kind, kind::FIN | kind::RESET_STREAM);
        self.sent.values().filter(ends).any(|place| place.stream == stream)
    }

    /// Forgets the places of released records; they are not pinned yet.
    pub(super) fn drop_released(&mut self, una: Seq) {
        self.sent = self.sent.split_off(&una.next());
    }

    /// Received records that layer 1 has not reported yet.
    pub(super) fn arriving(&self) -> impl Iterator<Item = &Found> {
        self.arriving.values()
    }

    /// Gives up what layer 1 took without reporting it: late records of exchanges that are over. Everything reported was
    /// taken out before.
    pub(super) fn drop_silent(&mut self, journal: &mut Journal) {
        if self.last_token.is_none() {
            for found in std::mem::take(&mut self.arriving).into_values() {
                journal.unpin(found.position);
            }
        }
    }

    /// Takes over from layer 1 whether the pair is halted, in words for a person.
    pub(super) fn look_for_alarm(&mut self, now: Timestamp) {
        self.alarm = self.peer.status(now).halted.map(|alarm| format!("{alarm}; {}", alarm.remedy()));
    }

    /// One of this association's streams.
    pub(super) fn lane(&self, peer: EndpointId, stream: StreamId) -> Lane {
        Lane { peer, stream, epoch: self.epoch }
    }

    /// The place of a record that layer 1 reports as durable.
    pub(super) fn arrived(&mut self, seq: Seq) -> Option<Found> {
        self.arriving.remove(&seq)
    }

    /// Appends a record, or parks it until there is room.
    pub(super) fn append(
        &mut self,
        now: Timestamp,
        stream: StreamId,
        outgoing: Outgoing,
        reply: oneshot::Sender<Result<(), AppendError>>,
        journal: &Journal,
    ) -> Progress {
        let Some(writing) = self.writing.get_mut(&stream) else {
            let _ = reply.send(Err(AppendError::Gone));
            return Progress::Waits;
        };
        if let Some(code) = writing.stopped {
            let _ = reply.send(Err(AppendError::Stopped { code }));
            return Progress::Waits;
        }
        writing.parked.push_back((outgoing, reply));
        self.unpark_stream(now, stream, journal)
    }

    /// Appends a record; layer 1 says whether there is room.
    pub(super) fn append_now(&mut self, now: Timestamp, stream: StreamId, out: Outgoing) -> Result<Seq, Refusal> {
        let ends = out.kind == kind::FIN;
        let out = if ends { self.ending(stream, out) } else { out };
        let seq = self.peer.append(now, stream, out.kind, out.flags, out.raw_len, out.pd, out.payload)?;
        self.is_written(seq, stream, out.kind, out.raw_len);
        if ends && stream.is_request() {
            self.fins.extend(self.near_calls.get(&stream).map(|call| (seq, Ending::Request(call.operation))));
        } else if ends {
            let request = StreamId::request(stream.exchange());
            let dispatched = self.far_calls.get(&request).filter(|call| call.dispatched);
            self.fins.extend(dispatched.map(|call| (seq, Ending::Response(call.operation))));
        }
        Ok(seq)
    }

    /// The end of a request, naming the head that went out: that of a further attempt is not the one its caller wrote.
    fn ending(&self, stream: StreamId, out: Outgoing) -> Outgoing {
        let head = self.near_calls.get(&stream).and_then(|call| call.request.head());
        match (Fin::decode(&out.payload), head) {
            (Ok(Fin { bound: Some(bound), content_length, digest }), Some(head)) if bound.head != head => {
                let fin = Fin { content_length, digest, bound: Some(Bound { head, ..bound }) };
                Outgoing::plain(kind::FIN, fin.encode().into())
            }
            _ => out,
        }
    }

    /// Appends what was parked, or is to be copied, as far as there is room; returns the streams that got to an end by it.
    pub(super) fn unpark(&mut self, now: Timestamp, journal: &Journal) -> Vec<(StreamId, Progress)> {
        let copies = |stream: &StreamId| self.near_calls.get(stream).is_some_and(|call| call.request.copies());
        let waits = |(stream, writing): &(&StreamId, &Writing)| !writing.parked.is_empty() || copies(stream);
        let waiting: Vec<StreamId> = self.writing.iter().filter(waits).map(|(stream, _)| *stream).collect();
        let progress = waiting.into_iter().map(|stream| (stream, self.unpark_stream(now, stream, journal)));
        progress.filter(|(_, progress)| *progress != Progress::Waits).collect()
    }

    pub(super) fn unpark_stream(&mut self, now: Timestamp, stream: StreamId, journal: &Journal) -> Progress {
        if self.tight {
            return Progress::Waits;
        }
        match self.copy(now, stream, journal) {
            Ok(true) => {}
            Ok(false) => return Progress::Waits,
            Err(progress) => return progress,
        }
        let mut finished = false;
        while let Some((outgoing, reply)) = self.writing.get_mut(&stream).and_then(|writing| writing.parked.pop_front())
        {
            match self.append_now(now, stream, outgoing.clone()) {
                Ok(_) => {
                    finished |= outgoing.kind == kind::FIN;
                    let _ = reply.send(Ok(()));
                }
                Err(Refusal::Full | Refusal::Credit(_)) => {
                    if let Some(writing) = self.writing.get_mut(&stream) {
                        writing.parked.push_front((outgoing, reply));
                    }
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "a record was not appended");
                    let _ = reply.send(Err(AppendError::Gone));
                }
            }
        }
        if finished { Progress::Finished } else { Progress::Waits }
    }

    /// Appends what is to be copied of a request, as far as there is room. True when that is all of it, and it goes on; an
    /// error when that ends the stream.
    fn copy(&mut self, now: Timestamp, stream: StreamId, journal: &Journal) -> Result<bool, Progress> {
        while let Some(record) = self.near_calls.get_mut(&stream).and_then(|call| call.request.begin_copy()) {
            let Some(payload) = journal.stored_payload(&record) else {
                tracing::error!(position = %record.position, "a record of a request cannot be read");
                return Err(Progress::Broken);
            };
            let sent_before = self.near_calls.get(&stream).is_some_and(|call| call.sent_before);
            let again = match next_attempt(&record, &payload).filter(|_| sent_before) {
                Some(head) => Outgoing::plain(kind::HEAD, head),
                None => Outgoing::again(&record, payload),
            };
            let head = (again.kind == kind::HEAD).then_some(again.pd);
            let copied = self.append_now(now, stream, again);
            let Some(call) = self.near_calls.get_mut(&stream) else { return Err(Progress::Broken) };
            match copied {
                Ok(_) if record.head.kind == kind::FIN => return Err(Progress::Finished),
                Ok(_) => {
                    if let Some(head) = head {
                        call.request.begins_with(head);
                    }
                }
                Err(Refusal::Full | Refusal::Credit(_)) => {
                    call.request.put_back();
                    return Ok(false);
                }
                Err(error) => {
                    tracing::warn!(%error, "a request cannot be sent again");
                    return Err(Progress::Broken);
                }
            }
        }
        Ok(true)
    }

    /// Takes a call out of its streams, with whoever waits at them: it goes on in another association.
    pub(super) fn take_along(&mut self, peer: EndpointId, request: StreamId, mut call: NearCall) -> Moving {
        let writing = self.writing.remove(&request).filter(|writing| !writing.copy_only);
        let writer = writing.map(|writing| (self.lane(peer, request), writing.parked));
        let readers = self.readers.remove(&call.response).unwrap_or_default();
        let follows = call.reader && !call.given;
        let reader = follows.then(|| (self.lane(peer, call.response), readers));
        (call.reader, call.given) = (follows, false);
        Moving { call, writer, reader }
    }

    /// Lets readers wait at another stream than they asked for.
    pub(super) fn wait(&mut self, stream: StreamId, readers: Vec<Reader>) {
        self.readers.entry(stream).or_default().extend(readers);
    }

    /// The peer does not want more of a stream of mine.
    pub(super) fn stop(&mut self, stream: StreamId, code: u64) {
        if let Some(writing) = self.writing.get_mut(&stream) {
            writing.stopped = Some(code);
            for (_, reply) in writing.parked.drain(..) {
                let _ = reply.send(Err(AppendError::Stopped { code }));
            }
        }
    }

    /// Forgets a stream of mine that ended; whoever still waits to write is told that it is gone.
    pub(super) fn end_writing(&mut self, stream: StreamId) -> bool {
        let Some(writing) = self.writing.remove(&stream) else { return false };
        for (_, reply) in writing.parked {
            let _ = reply.send(Err(AppendError::Gone));
        }
        true
    }

    /// Answers a reader, or lets it wait.
    pub(super) fn read(
        &mut self,
        stream: StreamId,
        offset: u64,
        records_max: usize,
        reply: oneshot::Sender<ReadReply>,
    ) {
        self.readers.entry(stream).or_default().push(Reader { offset, records_max, reply });
        self.wake_reader(stream);
    }

    /// Whoever waits at a stream is told that there is nothing more for him.
    pub(super) fn turn_away(&mut self, stream: StreamId, code: u64) {
        for reader in self.readers.remove(&stream).unwrap_or_default() {
            let _ = reader.reply.send(ReadReply::Reset { code });
        }
    }

    /// Answers the readers of a stream for whom there is something.
    pub(super) fn wake_reader(&mut self, stream: StreamId) {
        let Some(readers) = self.readers.remove(&stream) else { return };
        let (mut waiting, mut given) = (Vec::new(), false);
        for reader in readers {
            let answer = match self.spool.lookup(stream, reader.offset, reader.records_max) {
                Lookup::Wait if reader.reply.is_closed() => continue,
                Lookup::Wait => {
                    waiting.push(reader);
                    continue;
                }
                Lookup::Records(records) => ReadReply::Records(records),
                Lookup::Reset(code) => ReadReply::Reset { code },
                Lookup::Gone => ReadReply::Gone,
            };
            let records = matches!(answer, ReadReply::Records(_));
            given |= reader.reply.send(answer).is_ok() && records;
        }
        if given && let Some(call) = self.near_calls.get_mut(&StreamId::request(stream.exchange())) {
            call.given |= !stream.is_request();
        }
        if !waiting.is_empty() {
            self.readers.insert(stream, waiting);
        }
    }

    /// Gives received records up: their log places and their credit.
    pub(super) fn give_up(&mut self, now: Timestamp, records: Vec<Found>, journal: &mut Journal) {
        for found in records {
            journal.unpin(found.position);
            if !found.credited {
                self.peer.consume(now, found.head.stream, &found.head);
            }
        }
    }

    /// Gives up a received stream's records below an offset.
    pub(super) fn take_below(
        &mut self,
        now: Timestamp,
        id: EndpointId,
        stream: StreamId,
        below: u64,
        journal: &mut Journal,
    ) {
        let taken = self.spool.take_below(stream, below);
        if taken.is_empty() {
            return;
        }
        self.give_up(now, taken, journal);
        journal.note_behind(&EngineEntry::Taken { peer: id, stream, below });
    }

    /// Ends every exchange with this peer: its association is gone.
    pub(super) fn end_everything(&mut self, journal: &mut Journal) {
        for stream in self.writing.keys().copied().collect::<Vec<_>>() {
            self.end_writing(stream);
        }
        for call in std::mem::take(&mut self.far_calls).into_values() {
            call.cancelled.cancel();
        }
        for mut call in std::mem::take(&mut self.near_calls).into_values() {
            call.request.give_up(journal);
        }
        self.far_over.clear();
        self.fins.clear();
        self.unacked.clear();
        self.epoch += 1;
        // No marks in the log: that the association ended says all of this.
        for found in std::mem::take(&mut self.spool).records() {
            journal.unpin(found.position);
        }
        for reader in std::mem::take(&mut self.readers).into_values().flatten() {
            let _ = reader.reply.send(ReadReply::Gone);
        }
        for place in std::mem::take(&mut self.sent).into_values() {
            journal.unpin(place.position);
        }
        for found in std::mem::take(&mut self.arriving).into_values() {
            journal.unpin(found.position);
        }
    }

    /// Forgets a received stream.
    pub(super) fn forget_stream(&mut self, now: Timestamp, id: EndpointId, stream: StreamId, journal: &mut Journal) {
        if !self.spool.knows(stream) {
            return;
        }
        let left = self.spool.forget(stream);
        self.give_up(now, left, journal);
        journal.note_behind(&EngineEntry::Forgotten { peer: id, stream });
        self.wake_reader(stream);
    }

    /// My records up to this one are released: their places are not needed any more, but for requests that may have to be
    /// sent again, which are kept within `kept_bytes_max`.
    pub(super) fn release(&mut self, up_to: Seq, kept_bytes_max: u64, journal: &mut Journal) {
        let mut kept_bytes: u64 = self.near_calls.values().map(|call| call.request.released_bytes()).sum();
        let kept = self.sent.split_off(&up_to.next());
        for place in std::mem::replace(&mut self.sent, kept).into_values() {
            journal.unpin(place.position);
            if place.kind < FIRST_STORED_KIND {
                // It may be about a stream of the peer, of the same number.
                continue;
            }
            let Some(call) = self.near_calls.get_mut(&place.stream) else { continue };
            kept_bytes += call.request.released(place.seq).unwrap_or(0);
            if !call.repeatable || kept_bytes > kept_bytes_max {
                kept_bytes = kept_bytes.saturating_sub(call.request.released_bytes());
                call.request.give_appended_up(journal);
            }
        }
    }

    /// A packet to build from what layer 1 wants sent.
    pub(super) fn publish_job(
        &self,
        me: &EndpointId,
        recipient: EndpointId,
        incarnation: Incarnation,
        sent_at_ms: i64,
        transmit: Transmit,
    ) -> PublishJob {
        let places = transmit
            .records
            .iter()
            .filter_map(|(head, _)| Some((head.seq.get(), self.sent.get(&head.seq)?.position)))
            .collect();
        let mut records: Vec<_> = transmit.records.into_iter().map(|(head, pd)| PlannedRecord { head, pd }).collect();
        let mut given = BTreeMap::new();
        for Record { head, payload } in transmit.tombstones {
            records.push(PlannedRecord { head, pd: sha256(&[&payload]) });
            given.insert(head.seq.get(), payload);
        }
        records.sort_unstable_by_key(|record| record.head.seq);
        let plan = PacketPlan {
            sender: *me,
            recipient,
            sender_incarnation: incarnation,
            recipient_incarnation: transmit.recipient_incarnation,
            pn: transmit.pn,
            sent_at_ms,
            control: transmit.control,
            records,
        };
        PublishJob { plan, places, given }
    }
}

/// A request's head as it goes after an attempt that may have arrived: the far side may have forgotten that one.
fn next_attempt(record: &Found, payload: &[u8]) -> Option<Bytes> {
    let mut head = (record.head.kind == kind::HEAD).then(|| own_head(payload))??;
    head.envelope.attempt = Some(head.envelope.attempts_before().saturating_add(2));
    head.encode().ok()
}

impl Writing {
    /// More may be written.
    pub(super) fn is_open(&self) -> bool {
        !self.copy_only && self.stopped.is_none()
    }

    /// Nobody writes: what is to be copied is all of it.
    pub(super) fn copied() -> Self {
        Self { copy_only: true, ..Self::default() }
    }

    /// The caller goes on to write behind what is to be copied.
    pub(super) fn going_on(parked: Parked) -> Self {
        Self { parked, ..Self::default() }
    }
}

impl NearCall {
    pub(super) fn new(operation: OperationId, response: StreamId, retain: bool, repeatable: bool) -> Self {
        Self {
            operation,
            response,
            reader: true,
            retain,
            request_ended: false,
            response_over: false,
            problem: None,
            repeatable,
            given: false,
            sent_before: false,
            tally: Tally::default(),
            request: KeptRequest::default(),
        }
    }
}

#[cfg(test)]
impl Slot {
    /// Nothing is left of any exchange but stored results.
    pub(super) fn assert_empty(&self, what: &str) {
        let left = [
            ("sent", self.sent.len()),
            ("arriving", self.arriving.len()),
            ("files", self.files.len()),
            ("writing", self.writing.len()),
            ("readers", self.readers.len()),
            ("near_calls", self.near_calls.len()),
            ("far_calls", self.far_calls.len()),
            ("far_over", self.far_over.len()),
            ("fins", self.fins.len()),
        ];
        let left: Vec<_> = left.into_iter().filter(|(_, count)| *count > 0).collect();
        assert!(left.is_empty(), "{what}: {left:?}");
        for stream in self.spool.streams() {
            assert!(self.spool.kept(stream), "{what}: stream {stream:?} is in the spool");
        }
    }
}
