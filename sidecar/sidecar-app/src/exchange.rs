//! The two ends of an exchange as the async doors see them: writers and readers of records, backed by the driver.
//!
//! A [`RecordWriter`] turns a head, content, trailers and an end into records of one stream; a [`RecordReader`] gives
//! the records of one stream back in order, content inflated and checked against the FIN. Both hold at most one record
//! in memory, whatever the body's size: a writer waits until the log took its record, a reader asks for the next one
//! when it is wanted.
//!
//! Invariants: a writer that is dropped before [`RecordWriter::finish`] resets its stream, so a body that was cut short
//! never looks complete; a reader never reports [`Incoming::End`] unless length and digest match.
//! It does not know HTTP: heads and trailers are opaque payloads here. Test to read first: `tests/line`.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use layer2_http::body::BodyCheck;
use layer2_http::envelope::Priority;
use layer2_http::event::OperationEvent;
use layer2_http::fin::Fin;
use layer2_http::near::ShownOperation;
use layer2_http::operation::{OperationId, OperationView};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;
use wire::EndpointId;
use wire::digest::Digest;

use crate::ask::Ask;
use crate::command::{
    AppendError, BeginCall, BeginError, Command, Found, Lane, Outgoing, ReadReply, Stopping, StoredResult,
};
use crate::driver::Event;
use crate::mutation::{Mutation, mutated};
use crate::record::{self, Incoming, ReadError};

/// Where the doors send what they want of the driver. Cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    events: Sender<Event>,
    log: disk::log::LogReader,
    news: broadcast::Sender<OperationEvent>,
}

/// Events that a listener may be behind before it is cut off.
const NEWS_KEPT: usize = 1024;

impl DriverHandle {
    /// A handle that sends to the driver's queue and reads payloads straight from the log.
    pub fn new(events: Sender<Event>, log: disk::log::LogReader) -> Self {
        Self { events, log, news: broadcast::channel(NEWS_KEPT).0 }
    }

    /// What happens to operations from now on, each event once it is durable and in the order of their numbers. A listener that
    /// is more than 1,024 events behind is told so (`RecvError::Lagged`): [`Self::events_since`] has what it missed. To miss
    /// nothing and get nothing twice: subscribe, then ask for what is before, then pass over what has a number not above that.
    pub fn subscribe_events(&self) -> broadcast::Receiver<OperationEvent> {
        self.news.subscribe()
    }

    /// Somebody listens.
    pub(crate) fn has_listeners(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// Tells those who listen.
    pub(crate) fn tell(&self, event: OperationEvent) {
        // Nobody may listen.
        let _ = self.news.send(event);
    }

    /// What happened to an operation after the event of that number (0: from its beginning), as far as it is durable; `None` if
    /// the operation is not known.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn events_since(&self, id: OperationId, after: u64) -> Result<Option<Vec<OperationEvent>>, Stopping> {
        self.ask(|reply| Ask::EventsSince { id, after, reply }).await
    }

    /// As [`Self::events_since`], of all operations: the newest `limit` events.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn all_events_since(&self, after: u64, limit: usize) -> Result<Vec<OperationEvent>, Stopping> {
        self.ask(|reply| Ask::AllEventsSince { after, limit, reply }).await
    }

    /// Asks about operations.
    pub(crate) async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask(question(reply)));
        answer.await.map_err(|_| Stopping)
    }

    pub(crate) fn send(&self, command: Command) {
        // A driver that is gone is noticed by whoever waits for its reply.
        let _ = self.events.send(Event::Command(command));
    }

    /// Begins an exchange as its caller: returns once the request's head is durable.
    ///
    /// # Errors
    /// Says why nothing was accepted; then nothing was sent either.
    pub async fn begin(&self, call: BeginCall) -> Result<NearExchange, BeginError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Begin { call, reply });
        answer.await.unwrap_or(Err(BeginError::Stopping)).map(|exchange| *exchange)
    }

    /// The content of an operation's request came to its end, of which nothing was said to the driver yet.
    pub fn request_body(&self, id: OperationId, digest: Digest) {
        self.send(Command::RequestBody { id, digest });
    }

    /// What is known of an operation, if it is known.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn operation(&self, id: OperationId) -> Result<Option<OperationView>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Operation { id, reply });
        answer.await.map_err(|_| Stopping)
    }

    /// The operations known here, newest first, at most `limit`.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn operations(&self, limit: usize) -> Result<Vec<OperationView>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Operations { limit, reply });
        answer.await.map_err(|_| Stopping)
    }

    /// The newest operations of each state, newest first, at most so many of each. `None` when the driver is gone.
    pub async fn newest_operations(&self, of_each_state: usize) -> Option<Vec<ShownOperation>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::NewestOperations { of_each_state, reply });
        answer.await.ok()
    }

    /// A reader of the stored response of an operation. It may be read while it still arrives, and again.
    ///
    /// # Errors
    /// The driver is gone.
    pub async fn stored_result(&self, id: OperationId) -> Result<StoredResult<RecordReader>, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::StoredResult { id, reply });
        Ok(match answer.await.map_err(|_| Stopping)? {
            StoredResult::Ready(lane) => StoredResult::Ready(RecordReader::new(self.clone(), lane, true)),
            StoredResult::Pending(view) => StoredResult::Pending(view),
            StoredResult::Gone(view) => StoredResult::Gone(view),
            StoredResult::Unknown => StoredResult::Unknown,
        })
    }

    /// How long a round trip takes to the server that this call would go to; `None` before the first measurement.
    pub async fn round_trip(&self, call: &BeginCall) -> Option<std::time::Duration> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::RoundTrip { call: call.clone(), reply });
        answer.await.ok().flatten().map(std::time::Duration::from_micros)
    }

    /// Asks the driver for its state, for `/statusz` and the metrics. `None` when it does not answer.
    pub async fn status(&self) -> Option<crate::status::EngineStatus> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Status { reply });
        answer.await.ok()
    }
}

/// The caller's end: the request to write, the response to read. Dropping it cancels the call, so a caller that goes
/// away while it begins leaves nothing behind.
pub struct NearExchange {
    /// The request, whose head is written already.
    pub request: RecordWriter,
    /// The response.
    pub response: RecordReader,
}

impl std::fmt::Debug for NearExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NearExchange").field("response", &self.response.lane).finish_non_exhaustive()
    }
}

/// The caller's end of an exchange whose `head` is written to `request` already.
pub fn near_exchange(driver: &DriverHandle, request: Lane, response: Lane, head: &WrittenHead) -> NearExchange {
    NearExchange {
        request: RecordWriter::new(driver.clone(), request, Some(head)),
        response: RecordReader::new(driver.clone(), response, false),
    }
}

/// The executing end: the request to read, the response to write.
pub struct FarExchange {
    /// The endpoint that calls.
    pub peer: EndpointId,
    /// The request; its first record is the head.
    pub request: RecordReader,
    /// The response.
    pub response: RecordWriter,
    /// To be committed before the first upstream byte.
    pub dispatch: DispatchMark,
    /// 1 for the first try; a restart may try again, and so may a caller who does not know whether it arrived.
    pub attempt: u32,
    /// Cancelled when the caller does not want the response any more.
    pub cancelled: CancellationToken,
}

/// The right to call the upstream once: journalled before the first byte leaves, so that a crash cannot repeat it silently.
pub struct DispatchMark {
    driver: DriverHandle,
    lane: Lane,
    attempt: u32,
}

impl DispatchMark {
    /// A mark for the request stream `lane`.
    pub fn new(driver: DriverHandle, lane: Lane, attempt: u32) -> Self {
        Self { driver, lane, attempt }
    }

    /// Makes the mark durable. Returns false when the engine stops; then nothing may be sent.
    #[must_use]
    pub async fn commit(self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.driver.send(Command::Dispatch { lane: self.lane, attempt: self.attempt, reply });
        answer.await.is_ok()
    }
}

/// A head that the driver wrote before the writer began.
#[derive(Clone, Copy, Debug)]
pub struct WrittenHead {
    /// Its octets of the stream.
    pub raw_len: u32,
    /// Digest of its payload.
    pub pd: Digest,
}

/// Writes the records of one stream.
pub struct RecordWriter {
    driver: DriverHandle,
    lane: Lane,
    body: BodyCheck,
    offset: u64,
    finished: bool,
    /// Records on their way into the log: a few, so that one fsync covers them together.
    pending: VecDeque<oneshot::Receiver<Result<(), AppendError>>>,
}

/// Records of one stream that may be on their way into the log, and read ahead from it.
const PIPELINE_RECORDS_MAX: usize = 8;

impl RecordWriter {
    /// A writer whose stream already holds its head, or nothing.
    pub fn new(driver: DriverHandle, lane: Lane, head: Option<&WrittenHead>) -> Self {
        let mut body = BodyCheck::new();
        if let Some(head) = head {
            body.on_head(&head.pd);
        }
        let offset = head.map_or(0, |head| u64::from(head.raw_len));
        Self { driver, lane, body, offset, finished: false, pending: VecDeque::new() }
    }

    /// Says how urgent this stream is: of two that compete for the same line, the more urgent goes first.
    pub fn prioritize(&self, priority: Priority) {
        self.driver.send(Command::Prioritize { lane: self.lane, priority });
    }

    /// True when the head of this stream was written.
    pub fn begun(&self) -> bool {
        self.offset > 0
    }

    async fn append(&mut self, outgoing: Outgoing) -> Result<(), AppendError> {
        let length = u64::from(outgoing.raw_len);
        let (reply, answer) = oneshot::channel();
        self.driver.send(Command::Append { lane: self.lane, outgoing, reply });
        self.offset += length;
        self.pending.push_back(answer);
        self.settle(PIPELINE_RECORDS_MAX).await
    }

    /// Waits until at most `left` records are on their way.
    async fn settle(&mut self, left: usize) -> Result<(), AppendError> {
        while self.pending.len() > left {
            let Some(answer) = self.pending.pop_front() else { break };
            answer.await.unwrap_or(Err(AppendError::Stopping))?;
        }
        Ok(())
    }

    /// Writes a head (final or interim).
    ///
    /// # Errors
    /// When the stream ended: the peer stopped it, the association closed, or the engine stops.
    pub async fn head(&mut self, kind: u8, payload: Bytes) -> Result<(), AppendError> {
        let head = Outgoing::plain(kind, payload);
        if kind == wire::record::kind::HEAD {
            self.body.on_head(&head.pd);
        }
        self.append(head).await
    }

    /// Writes content, as records of at most [`record::DATA_LEN_MAX`] octets. Waits while the log or the peer has no room.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn data(&mut self, mut content: Bytes, compress: bool) -> Result<(), AppendError> {
        while !content.is_empty() {
            let piece = content.split_to(content.len().min(record::DATA_LEN_MAX));
            let outgoing = Outgoing::data(piece, compress);
            self.body.on_data(outgoing.raw_len, &outgoing.pd);
            self.append(outgoing).await?;
        }
        Ok(())
    }

    /// Writes trailers.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn trailers(&mut self, payload: Bytes) -> Result<(), AppendError> {
        let trailers = Outgoing::plain(wire::record::kind::TRAILERS, payload);
        self.body.on_trailers(&trailers.pd);
        self.append(trailers).await
    }

    /// What would end the stream now.
    pub fn fin(&self) -> Fin {
        self.body.fin()
    }

    /// Ends the stream: length and digest of its content. Returns when that is in the log.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn finish(mut self) -> Result<(), AppendError> {
        self.append(Outgoing::fin(&self.body)).await?;
        self.settle(0).await?;
        self.finished = true;
        Ok(())
    }

    /// Ends the stream as failed with a code of `layer2_http::fin::code`.
    pub fn abort(mut self, code: u64) {
        self.finished = true;
        self.driver.send(Command::Abort { lane: self.lane, code });
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.driver.send(Command::Abort { lane: self.lane, code: layer2_http::fin::code::INCOMPLETE });
        }
    }
}

/// Reads the records of one stream in order.
pub struct RecordReader {
    driver: DriverHandle,
    lane: Lane,
    offset: u64,
    body: BodyCheck,
    /// A stored result is kept for others; else what was read is given up.
    keep: bool,
    ended: bool,
    /// What is before was passed over, so the content cannot be compared with its end.
    in_part: bool,
    ahead: VecDeque<Found>,
}

impl RecordReader {
    /// A reader from the stream's beginning; with `keep` it leaves the records where they are.
    pub fn new(driver: DriverHandle, lane: Lane, keep: bool) -> Self {
        Self {
            driver,
            lane,
            offset: 0,
            body: BodyCheck::new(),
            keep,
            ended: false,
            in_part: false,
            ahead: VecDeque::new(),
        }
    }

    /// The next record, waiting for it if need be. What was returned before is given up (unless kept).
    ///
    /// # Errors
    /// When the stream was reset, is gone, or its content does not match its FIN.
    pub async fn next(&mut self) -> Result<Incoming, ReadError> {
        let found = self.find().await?;
        let payload = record::stored_payload(&self.driver.log, &found)?;
        self.offset += u64::from(found.head.raw_len);
        let incoming = self.interpret(found.head.kind, found.head.raw_len, &found.pd, found.head.flags, payload)?;
        self.ended = matches!(incoming, Incoming::End);
        Ok(incoming)
    }

    /// Where in the stream the next record begins.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Another reader of the same stored result, from its beginning.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.driver.clone(), self.lane, true)
    }

    /// The end of a stored result, once all of it is here.
    pub(crate) async fn fin(&self) -> Option<Fin> {
        let found = self.look(u64::MAX).await.filter(|found| found.head.kind == wire::record::kind::FIN)?;
        Fin::decode(&record::stored_payload(&self.driver.log, &found).ok()?).ok()
    }

    /// Goes on with the record of a stored result that holds the octet at `offset` of the stream, without reading what is before;
    /// gives where that record begins. The content that is read from here on is not compared with the end of the stream.
    pub(crate) async fn seek(&mut self, offset: u64) -> Option<u64> {
        let found = self.look(offset).await?;
        (self.offset, self.in_part) = (found.head.offset, true);
        self.ahead.clear();
        Some(found.head.offset)
    }

    async fn look(&self, offset: u64) -> Option<Found> {
        let (reply, answer) = oneshot::channel();
        self.driver.send(Command::Look { lane: self.lane, offset, reply });
        answer.await.ok().flatten()
    }

    /// Ends the reading but not the exchange: what comes is kept as a stored result.
    pub fn detach(self) {
        self.driver.send(Command::Detach { lane: self.lane });
    }

    async fn find(&mut self) -> Result<Found, ReadError> {
        if let Some(found) = self.ahead.pop_front() {
            return Ok(found);
        }
        let (reply, answer) = oneshot::channel();
        self.driver.send(Command::Read {
            lane: self.lane,
            offset: self.offset,
            records_max: PIPELINE_RECORDS_MAX,
            keep: self.keep,
            reply,
        });
        match answer.await {
            Ok(ReadReply::Records(found)) => self.ahead = found.into(),
            Ok(ReadReply::Reset { code }) => return Err(ReadError::Reset { code }),
            Ok(ReadReply::Gone) | Err(_) => return Err(ReadError::Gone),
        }
        self.ahead.pop_front().ok_or(ReadError::Gone)
    }

    fn interpret(
        &mut self,
        kind: u8,
        raw_len: u32,
        pd: &Digest,
        flags: u8,
        payload: Bytes,
    ) -> Result<Incoming, ReadError> {
        use wire::record::kind;
        match kind {
            kind::DATA => {
                self.body.on_data(raw_len, pd);
                Ok(Incoming::Data(record::inflate(payload, raw_len, flags)?))
            }
            kind::FIN => {
                let fin = Fin::decode(&payload).map_err(|_| ReadError::Mismatch)?;
                if !self.in_part && !mutated(Mutation::FinDigest) {
                    self.body.on_fin(&fin).map_err(|_| ReadError::Mismatch)?;
                }
                Ok(Incoming::End)
            }
            kind::HEAD => {
                self.body.on_head(pd);
                Ok(Incoming::Head(payload))
            }
            kind::INTERIM => Ok(Incoming::Interim(payload)),
            kind::TRAILERS => {
                self.body.on_trailers(pd);
                Ok(Incoming::Trailers(payload))
            }
            kind => Ok(Incoming::Other { kind }),
        }
    }
}

impl Drop for RecordReader {
    fn drop(&mut self) {
        if !self.keep {
            self.driver.send(Command::ReaderDropped { lane: self.lane, ended: self.ended });
        }
    }
}

/// Makes the executing end of an exchange for the driver to hand to the egress.
pub fn far_exchange(driver: &DriverHandle, request: Lane, attempt: u32, cancelled: CancellationToken) -> FarExchange {
    let response = Lane { stream: request.stream.response_of(), ..request };
    FarExchange {
        peer: request.peer,
        request: RecordReader::new(driver.clone(), request, false),
        response: RecordWriter::new(driver.clone(), response, None),
        dispatch: DispatchMark::new(driver.clone(), request, attempt),
        attempt,
        cancelled,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use disk::log::{Log, LogOptions, MemStorage};

    use super::*;

    #[tokio::test]
    async fn a_stopping_engine_says_that_an_operation_was_never_accepted() {
        let (log, _) = Log::open_on(Arc::new(MemStorage::new()), [0; 16], LogOptions::default()).unwrap();
        let (events, driver) = channel();
        let handle = DriverHandle::new(events, log.reader());
        drop(driver);
        let id = OperationId::v7(1, &[0; 10]);
        assert_eq!(handle.operation(id).await, Err(Stopping));
        assert_eq!(handle.operations(10).await, Err(Stopping));
        assert!(matches!(handle.stored_result(id).await, Err(Stopping)));
    }
}
