//! What the application asks for: appending, consuming, ending streams.

use super::Peer;
use crate::alarm::Alarm;
use crate::entry::Entry;
use crate::event::AppendError;
use crate::inbound::Pace;
use crate::journal::Promise;
use crate::scheduler::{Priority, Uncharged, is_small};
use crate::sender::{LogRecord, RECORD_OVERHEAD};
use crate::time::{Duration, Timestamp};
use bytes::Bytes;
use wire::control::feature;
use wire::digest::sha256;
use wire::limits::{MAX_RECORD_LEN, MIN_MAX_FRAME};
use wire::record::{FIRST_STORED_KIND, encode_code, kind};
use wire::{Digest, Record, RecordHeader, Seq, StreamId};

impl Peer {
    /// The request stream of a new exchange. It is durable through the first append: without one, a restart gives the same id again.
    /// It may lie beyond what the peer allows: then the first append is refused until it is not. Reset or close it if it is not used.
    pub fn open_exchange(&mut self) -> StreamId {
        self.pair.streams.open_exchange()
    }

    /// The peer's answer to an exchange of mine is to something else than was asked there: after my log went back in time, or beside a
    /// copy of me, the number was given to two. Nothing of the pair can be told apart any more, and it halts.
    pub fn answers_another(&mut self, now: Timestamp, request: StreamId) {
        self.tick(now);
        if self.halted.is_none() {
            self.alarm(Alarm::AnswersAnother { exchange: request.exchange() });
        }
        self.settle();
    }

    /// Appends a record of kind ≥ 32 to my log; its sequence number and offset are given here. `raw_len` is the length before compression,
    /// `payload_digest` SHA-256 of `payload`. Allowed before any association exists, but then only to streams of my own exchanges. The record is
    /// accepted once its entry is durable.
    ///
    /// # Errors
    /// If nothing was appended: see [`AppendError`]. After `Full` and `Credit` an event `Writable` follows; so call it even if
    /// [`Self::append_room`] looks short.
    #[allow(clippy::too_many_arguments, reason = "a record has that many parts, and the caller has them apart")]
    pub fn append(
        &mut self,
        now: Timestamp,
        stream: StreamId,
        kind: u8,
        flags: u8,
        raw_len: u32,
        payload_digest: Digest,
        payload: Bytes,
    ) -> Result<Seq, AppendError> {
        self.tick(now);
        let head = self.head_for(stream, kind, flags, raw_len, &payload)?;
        if head.end() > self.stream_max(stream) || self.is_beyond_exchanges(stream) {
            self.pair.recovery.starved = true;
            self.settle();
            return Err(AppendError::Credit(stream));
        }
        if self.log_room() < u64::from(head.stored_len) {
            self.pair.recovery.starved = true;
            return Err(AppendError::Full);
        }
        let seq = self.push(head, payload_digest, payload);
        self.settle();
        Ok(seq)
    }

    fn head_for(
        &self,
        stream: StreamId,
        kind: u8,
        flags: u8,
        raw_len: u32,
        payload: &Bytes,
    ) -> Result<RecordHeader, AppendError> {
        if self.halted.is_some() {
            return Err(AppendError::Halted);
        }
        if kind < FIRST_STORED_KIND {
            return Err(AppendError::Kind(kind));
        }
        let offset = self.writable_offset(stream)?;
        let seq = Seq::new(self.pair.log.next());
        let stored_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let head = RecordHeader { seq, stream, offset, raw_len, stored_len, kind, flags };
        let max = self.record_max();
        if u64::from(raw_len) > max || !head.is_known() || head.check().is_err() {
            return Err(AppendError::Length { raw_len, max });
        }
        Ok(head)
    }

    /// Where the next record of a stream begins.
    fn writable_offset(&self, stream: StreamId) -> Result<u64, AppendError> {
        let open = self.pair.streams.open.get(&stream);
        if open.is_some_and(|open| open.reset) {
            return Err(AppendError::StreamReset(stream));
        }
        let n = stream.exchange();
        let mine = stream == StreamId::NO_EXCHANGE || self.pair.streams.is_own_request(stream);
        // A response may be written once the request began to arrive.
        let theirs = !stream.is_request() && n > 0 && self.pair.inbound.open.contains_key(&StreamId::request(n));
        match mine || theirs {
            true => Ok(open.map_or(0, |open| open.offset)),
            false => Err(AppendError::UnknownStream(stream)),
        }
    }

    /// The longest record the peer takes.
    fn record_max(&self) -> u64 {
        let told = self.pair.heard.limits.map_or(self.pair.heard.kept.max_frame, |limits| limits.max_frame);
        told.clamp(MIN_MAX_FRAME, u64::from(MAX_RECORD_LEN))
    }

    /// Whether the peer does not allow this exchange of mine yet. What is in the log may always be sent: one that may not would hold up
    /// everything behind it.
    fn is_beyond_exchanges(&self, stream: StreamId) -> bool {
        stream.is_request() && stream.exchange() > self.pair.credit.given.max_exchanges
    }

    fn stream_max(&self, stream: StreamId) -> u64 {
        let own = self.pair.streams.open.get(&stream).map_or(0, |stream| stream.credit);
        own.max(self.pair.credit.given.max_stream_bytes)
    }

    pub(super) fn log_room(&self) -> u64 {
        self.config.send_log_bytes_max.saturating_sub(self.pair.log.bytes().saturating_add(RECORD_OVERHEAD))
    }

    /// Bytes of content that a stream should append for now: what the peer's stream credit and the quota of the send log leave.
    #[must_use]
    pub fn append_room(&self, stream: StreamId) -> u64 {
        match self.writable_offset(stream) {
            Ok(offset) if self.halted.is_none() && !self.is_beyond_exchanges(stream) => {
                self.stream_max(stream).saturating_sub(offset).min(self.log_room())
            }
            Ok(_) | Err(_) => 0,
        }
    }

    /// Gives up writing a stream of mine. What was appended is still sent. If nothing was, the exchange never was.
    pub fn reset_stream(&mut self, now: Timestamp, stream: StreamId, code: u64) {
        self.tick(now);
        if self.pair.streams.give_back(stream) {
            return;
        }
        if let (None, Ok(offset)) = (self.halted, self.writable_offset(stream)) {
            self.push_code(stream, offset, kind::RESET_STREAM, code);
        }
    }

    /// Gives up a stream of mine and what of it was not acknowledged: it is reset if it was not, and once that is durable a tombstone goes in
    /// place of each record, if the peer takes those; [`crate::PeerEvent::TombstonesTaken`] tells which of them it took. What is on its way
    /// may arrive all the same. Say it before [`Self::close_stream`]. That it was cancelled is not durable, only that it was reset:
    /// after a restart records go as they were written, until this is said again.
    pub fn cancel_stream(&mut self, now: Timestamp, stream: StreamId, code: u64) {
        self.reset_stream(now, stream, code);
        let is_reset = self.pair.streams.open.get(&stream).is_some_and(|open| open.reset);
        if self.halted.is_none() && is_reset {
            match self.pair.log.pending_reset(stream) {
                Some(seq) => {
                    self.pair.cancelling.insert(seq, stream);
                }
                None => self.entomb(stream),
            }
            self.settle();
        }
    }

    /// Nothing of a stream that was not acknowledged goes as it was written.
    fn entomb(&mut self, stream: StreamId) {
        for seq in self.pair.log.cancel(stream) {
            if let Some(record) = self.pair.log.get(seq)
                && self.pair.scheduler.forget(&record.head)
            {
                self.make_ready(seq);
            }
        }
    }

    /// Whether a tombstone goes in place of this record.
    pub(super) fn is_entombed(&self, record: &LogRecord) -> bool {
        record.cancelled && self.pair.heard.features & feature::TOMBSTONES != 0
    }

    /// Asks the peer to give up writing a stream of its own: the response of an exchange of mine, or a request of its own.
    pub fn stop_sending(&mut self, now: Timestamp, peer_stream: StreamId, code: u64) {
        self.tick(now);
        // Stream 1 does not exist; no peer takes a record about it.
        if self.halted.is_none() && peer_stream.get() != 1 {
            self.push_code(peer_stream, 0, kind::STOP_SENDING, code);
        }
    }

    fn push_code(&mut self, stream: StreamId, offset: u64, kind: u8, code: u64) {
        let payload = encode_code(code.min(wire::limits::COUNTER_END - 1));
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let seq = Seq::new(self.pair.log.next());
        let head = RecordHeader { seq, stream, offset, raw_len: len, stored_len: len, kind, flags: 0 };
        self.push(head, sha256(&[&payload]), payload);
        self.settle();
    }

    fn push(&mut self, head: RecordHeader, payload_digest: Digest, payload: Bytes) -> Seq {
        let seq = head.seq;
        let charged = self.may_charge_at_once(&head);
        match charged {
            true => self.charge(&head),
            false => self.pair.scheduler.appended_uncharged(&head),
        }
        self.pair.streams.note(&head);
        self.pair.log.append(head, payload_digest, charged);
        self.journal.urgent(Entry::Sent { head, payload_digest, charged }, payload, Promise::Sent(seq.get()));
        seq
    }

    fn may_charge_at_once(&self, head: &RecordHeader) -> bool {
        self.pair.credit.admits(head.cost(), head.kind)
            && !self.pair.scheduler.must_queue(head)
            && (is_small(head) || self.has_room_ahead(head))
    }

    /// Bulk is charged at most one packet ahead of being sent, so that later small records find credit. More urgent bulk does not wait
    /// for less urgent.
    fn has_room_ahead(&self, head: &RecordHeader) -> bool {
        let (ahead, cost) = (self.pair.scheduler.ahead_of(head.stream), head.cost());
        let fits = ahead == 0 || ahead.saturating_add(cost) <= self.config.packet_bytes_target;
        fits && self.pair.pressure.admits_bulk(ahead.saturating_add(self.pair.packets.open().bytes), cost)
    }

    fn charge(&mut self, head: &RecordHeader) {
        self.pair.credit.charge(head.cost());
        self.pair.scheduler.run_ahead(head);
    }

    /// The entry of a record of mine is durable.
    pub(super) fn record_durable(&mut self, seq: u64) {
        self.pair.log.durable(seq);
        let Some(record) = self.pair.log.get_mut(seq) else { return };
        record.durable = true;
        match record.charged {
            true => self.make_ready(seq),
            false => self.wait_for_credit(seq),
        }
        if let Some(stream) = self.pair.cancelling.remove(&seq) {
            self.entomb(stream);
        }
    }

    /// A record that is durable and charged may be sent.
    pub(super) fn make_ready(&mut self, seq: u64) {
        if let Some(record) = self.pair.log.get(seq).filter(|record| !record.sacked) {
            let head = match self.is_entombed(record) {
                true => Record::tombstone(&record.head, &record.payload_digest, 0).head,
                false => record.head,
            };
            self.pair.scheduler.ready(self.now, &head, record.losses);
        }
    }

    /// A record that is durable waits for credit of the log.
    fn wait_for_credit(&mut self, seq: u64) {
        if let Some(record) = self.pair.log.get(seq) {
            self.pair.scheduler.wait_for_credit(&record.head);
        }
    }

    /// Charges what waits for log credit, as far as it goes; it is sent once that is durable.
    pub(super) fn charge_more(&mut self) {
        let mut seqs = wire::RangeSet::new();
        while let Some((which, head)) = self.next_to_charge() {
            self.pair.scheduler.charged(which, &head);
            self.charge(&head);
            if let Some(record) = self.pair.log.get_mut(which.seq) {
                record.charged = true;
            }
            seqs.insert(which.seq);
        }
        if !seqs.is_empty() {
            self.journal.urgent(Entry::Charged { seqs: seqs.clone() }, Bytes::new(), Promise::Charged(seqs));
        }
    }

    /// The next record that waits for credit and finds it.
    fn next_to_charge(&mut self) -> Option<(Uncharged, RecordHeader)> {
        let (first, instead) = self.pair.scheduler.first_uncharged();
        [first, instead].into_iter().flatten().find_map(|which| {
            let head = self.pair.log.get(which.seq)?.head;
            let fits = self.pair.credit.admits(head.cost(), head.kind) && (!which.bulk || self.has_room_ahead(&head));
            fits.then_some((which, head))
        })
    }

    /// How urgent a stream of mine is: 0 (most) to 7, 3 if nothing is said, and whether parts of it are of use by themselves (RFC 9218).
    /// It orders bulk only: small records go first anyway. More urgent streams go first, though a twentieth is left to the least
    /// urgent; equally urgent ones take turns. Not durable: after a restart every stream is as if nothing was said.
    pub fn set_priority(&mut self, now: Timestamp, stream: StreamId, urgency: u8, incremental: bool) {
        self.tick(now);
        if self.writable_offset(stream).is_ok() {
            self.pair.scheduler.set_priority(stream, Priority::new(urgency, incremental));
            self.settle();
        }
    }

    /// A received payload is not needed any more: its credit goes back to the peer. Doing it again for the same record changes nothing, so
    /// after a restart it may be repeated for everything that is done with.
    pub fn consume(&mut self, now: Timestamp, stream: StreamId, head: &RecordHeader) {
        self.tick(now);
        let cost = if head.occupies() { self.pair.inbound.consume(stream, head.offset, head.raw_len) } else { 0 };
        if cost == 0 {
            return;
        }
        self.pair.grant.consumed = self.pair.grant.consumed.saturating_add(cost);
        self.journal.lazy(Entry::Consumed { stream, offset: head.offset, raw_len: head.raw_len });
        self.raise_stream(stream, false);
        self.raise_grant(false);
        self.settle();
    }

    pub(super) fn raise_stream(&mut self, stream: StreamId, blocked: bool) {
        let stream_max = self.pair.grant.given.max_stream_bytes;
        let pace = Pace {
            now: self.now,
            round_trip: self.rtt.measured_us().0.map_or(Duration::ZERO, Duration::from_micros),
            window: self.config.stream_window_bytes,
            widest: self.config.stream_window_bytes_max,
        };
        if let Some(max) = self.pair.inbound.raise(stream, &pace, stream_max, blocked) {
            self.journal.urgent(
                Entry::StreamGranted { stream, max },
                Bytes::new(),
                Promise::StreamGranted(stream, max),
            );
        }
    }

    /// An exchange ended; `stream` is the *peer's* stream of it: 2n (the request) if the peer opened it, 2n + 1 (the response) if I did. Both
    /// its streams are forgotten, what was not consumed is, and an exchange of the peer gives it credit for another. Records of mine that
    /// are not acknowledged still go. Repeat it after a restart for what had ended: the last ones may have been lost.
    pub fn close_stream(&mut self, stream: StreamId) {
        let Some(cost) = self.forget_exchange(stream) else { return };
        self.pair.grant.consumed = self.pair.grant.consumed.saturating_add(cost);
        self.journal.lazy(Entry::StreamClosed { stream });
        self.raise_grant(false);
        self.settle();
    }

    /// Forgets an exchange: the credit that comes back; `None` if there is no such exchange, or it was closed before.
    pub(super) fn forget_exchange(&mut self, stream: StreamId) -> Option<u64> {
        let (n, pair) = (stream.exchange(), &mut self.pair);
        let theirs = stream.is_request();
        let known = if theirs { n <= pair.grant.exchange_highest } else { n < pair.streams.next_exchange };
        if n == 0 || !known || (!theirs && pair.streams.give_back(StreamId::request(n))) {
            return None;
        }
        let closed = if theirs { &mut pair.inbound.closed } else { &mut pair.streams.closed };
        if !closed.insert(n) {
            return None;
        }
        let mine = if theirs { stream.response_of() } else { StreamId::request(n) };
        pair.streams.open.remove(&mine);
        pair.scheduler.forget_priority(mine);
        pair.grant.exchanges_closed += u64::from(theirs);
        Some(pair.inbound.close(stream))
    }

    /// Whether records of this stream of the peer still count: its exchange was not closed here.
    #[must_use]
    pub fn is_receiving(&self, stream: StreamId) -> bool {
        let (n, pair) = (stream.exchange(), &self.pair);
        if stream.is_request() {
            n > 0 && n <= pair.grant.exchange_highest && !pair.inbound.closed.contains(n)
        } else {
            n > 0 && n < pair.streams.next_exchange && !pair.streams.closed.contains(n)
        }
    }

    /// How full the disk of this side is: 0, 1 (above 70 %), 2 (above 85 %: the peer halves its bulk) or 3 (above 95 %: the peer begins no
    /// bulk). The peer is told the most of this and of how full the pool of what it sends is.
    pub fn set_pressure(&mut self, now: Timestamp, level: u8) {
        self.tick(now);
        self.counts.disk_pressure = level;
        self.settle();
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self) {
        self.wishes.ping |= self.halted.is_none();
    }
}
