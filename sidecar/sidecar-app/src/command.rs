//! What the doors ask of the driver, and what it answers.
//!
//! Every request that waits carries its own reply; a dropped reply means that the engine stops. Nothing here does I/O.

use bytes::Bytes;
use disk::log::Position;
use layer2_http::callbacks::Wanted;
use layer2_http::envelope::Priority;
use layer2_http::keys::{Holder, KeyClaim};
use layer2_http::near::ShownOperation;
use layer2_http::operation::{OperationId, OperationView};
use tokio::sync::oneshot;
use wire::digest::Digest;
use wire::record::RecordHeader;
use wire::{EndpointId, StreamId};

use crate::callbacks::CallbackAsk;
use crate::exchange::NearExchange;

/// One stream of one peer's association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The remote endpoint.
    pub peer: EndpointId,
    /// The stream.
    pub stream: StreamId,
    /// Which association with the peer this belongs to: stream ids begin anew with each.
    pub epoch: u32,
}

/// A record on its way into the log.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Record kind (`wire::record::kind`).
    pub kind: u8,
    /// Record flags.
    pub flags: u8,
    /// Octets before compression; what the record occupies of its stream.
    pub raw_len: u32,
    /// SHA-256 of the stored payload.
    pub pd: Digest,
    /// The stored payload.
    pub payload: Bytes,
}

/// A call to begin.
#[derive(Clone, Debug)]
pub struct BeginCall {
    /// The operation, chosen by the caller or made here.
    pub operation: OperationId,
    /// True when the caller chose the id: the response is then kept to be picked up.
    pub retain: bool,
    /// The encoded HEAD payload.
    pub head: Bytes,
    /// For the list of operations.
    pub method: String,
    /// For the list of operations: the absolute target.
    pub target: String,
    /// The route, where one was named.
    pub route: Option<String>,
    /// When its time is over: Unix ms by this side's clock.
    pub deadline_ms: Option<i64>,
    /// What else the caller asks of this engine.
    pub asked: Box<Asked>,
}

/// What a caller may ask besides the call itself.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Make the call only if nobody has this key.
    pub key: Option<KeyClaim>,
    /// Tell of it.
    pub callbacks: Option<Wanted>,
}

/// Who has the Idempotency-Key of a call, and when it is worth asking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInUse {
    /// Who has it.
    pub holder: Holder,
    /// Seconds.
    pub retry_after_s: u64,
}

/// Why a call was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The operation id is in use.
    #[error("this operation id is in use")]
    Duplicate(Box<OperationView>),
    /// The Idempotency-Key belongs to another operation.
    #[error("this Idempotency-Key is in use")]
    KeyInUse(Box<KeyInUse>),
    /// The send log has no room.
    #[error("the log has no room for another request; it empties as the peer acknowledges")]
    LogFull,
    /// The volume of the state folder is full.
    #[error(
        "the volume of the engine's state folder is full: what was promised still fits, and nothing new is taken; free space on it"
    )]
    DiskFull,
    /// The pair is halted by an alarm.
    #[error("the pair is halted: {0}")]
    Halted(String),
    /// The engine stops.
    #[error("the engine is stopping")]
    Stopping,
}

/// The engine stops, so what it knows of an operation cannot be told. This is not the same as knowing nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine is stopping")]
pub struct Stopping;

/// Why a record was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The reader at the other end does not want more of this stream.
    #[error("the peer stopped this stream with code {code}")]
    Stopped {
        /// a code of `layer2_http::fin::code`.
        code: u64,
    },
    /// The stream is gone: its association closed.
    #[error("the stream is gone: the peer lost its state")]
    Gone,
    /// The engine stops.
    #[error("the engine is stopping")]
    Stopping,
}

/// A received record and where its payload lies.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The record's header.
    pub head: RecordHeader,
    /// Digest of its stored payload.
    pub pd: Digest,
    /// The log entry that holds it.
    pub position: Position,
    /// Its credit was given back already: it is a stored result.
    pub credited: bool,
}

/// What a reader is told.
#[derive(Clone, Debug)]
pub enum ReadReply {
    /// The record at the offset asked for and those that follow it, at least one.
    Records(Vec<Found>),
    /// The stream was reset by its sender.
    Reset {
        /// a code of `layer2_http::fin::code`.
        code: u64,
    },
    /// The stream is not known (any more).
    Gone,
}

/// The stored response of an operation.
#[derive(Clone, Debug)]
pub enum StoredResult<T> {
    /// It can be read, at least its head.
    Ready(T),
    /// No response yet.
    Pending(OperationView),
    /// Ended without a response that is kept.
    Gone(OperationView),
    /// No such operation here.
    Unknown,
}

/// A request to the driver.
#[derive(Debug)]
pub enum Command {
    /// Begin an exchange.
    Begin {
        /// The call.
        call: BeginCall,
        /// Answered when durable. Whoever drops the exchange unread cancels it.
        reply: oneshot::Sender<Result<Box<NearExchange>, BeginError>>,
    },
    /// Append a record.
    Append {
        /// The stream.
        lane: Lane,
        /// The record.
        outgoing: Outgoing,
        /// Answered when there was room and the log took it.
        reply: oneshot::Sender<Result<(), AppendError>>,
    },
    /// Say how urgent a stream of ours is (RFC 9218); what is not said is 3 of 0 to 7.
    Prioritize {
        /// The stream.
        lane: Lane,
        /// How urgent.
        priority: Priority,
    },
    /// Reset a stream of ours.
    Abort {
        /// The stream.
        lane: Lane,
        /// Why.
        code: u64,
    },
    /// Read the record at an offset; what lies before is given up unless kept.
    Read {
        /// The stream.
        lane: Lane,
        /// Where in the stream.
        offset: u64,
        /// At most so many records.
        records_max: usize,
        /// Leave what lies before.
        keep: bool,
        /// Answered when the record is there.
        reply: oneshot::Sender<ReadReply>,
    },
    /// Find the record of a stored result that holds an octet of the stream, or the last one before it. Nothing is found while the
    /// result is not whole.
    Look {
        /// The stream.
        lane: Lane,
        /// Where in the stream.
        offset: u64,
        /// The answer.
        reply: oneshot::Sender<Option<Found>>,
    },
    /// The reader of a stream is gone.
    ReaderDropped {
        /// The stream.
        lane: Lane,
        /// Whether it had read to the end.
        ended: bool,
    },
    /// The reader of a response waits no longer, but the response is to be kept.
    Detach {
        /// The response's stream.
        lane: Lane,
    },
    /// Make a dispatch mark durable.
    Dispatch {
        /// The request's stream.
        lane: Lane,
        /// Which attempt begins.
        attempt: u32,
        /// Answered when durable.
        reply: oneshot::Sender<()>,
    },
    /// The content of an operation's request came to its end, which follows.
    RequestBody {
        /// The operation.
        id: OperationId,
        /// SHA-256 of the content.
        digest: Digest,
    },
    /// Look an operation up.
    Operation {
        /// Which.
        id: OperationId,
        /// The answer.
        reply: oneshot::Sender<Option<OperationView>>,
    },
    /// List operations.
    Operations {
        /// At most so many.
        limit: usize,
        /// The answer, newest first.
        reply: oneshot::Sender<Vec<OperationView>>,
    },
    /// Show operations of every state.
    NewestOperations {
        /// At most so many of each.
        of_each_state: usize,
        /// The answer, newest first.
        reply: oneshot::Sender<Vec<ShownOperation>>,
    },
    /// Find a stored response.
    StoredResult {
        /// Of which operation.
        id: OperationId,
        /// The answer.
        reply: oneshot::Sender<StoredResult<Lane>>,
    },
    /// How long a round trip to the server takes that a call would go to.
    RoundTrip {
        /// The call.
        call: BeginCall,
        /// The smoothed measurement in microseconds, once there is one.
        reply: oneshot::Sender<Option<u64>>,
    },
    /// Describe the engine's state.
    Status {
        /// The answer.
        reply: oneshot::Sender<crate::status::EngineStatus>,
    },
    /// About callbacks.
    Callbacks(CallbackAsk),
    /// Tell what is known of operations, or end one.
    Ask(crate::ask::Ask),
}

impl Command {
    /// The stream it is about, where that belongs to an association.
    pub fn lane(&self) -> Option<Lane> {
        match self {
            Self::Append { lane, .. }
            | Self::Prioritize { lane, .. }
            | Self::Abort { lane, .. }
            | Self::Read { lane, .. }
            | Self::Look { lane, .. }
            | Self::ReaderDropped { lane, .. }
            | Self::Detach { lane }
            | Self::Dispatch { lane, .. } => Some(*lane),
            Self::Begin { .. }
            | Self::RequestBody { .. }
            | Self::Callbacks(_)
            | Self::Operation { .. }
            | Self::Operations { .. }
            | Self::NewestOperations { .. }
            | Self::StoredResult { .. }
            | Self::RoundTrip { .. }
            | Self::Status { .. }
            | Self::Ask(_) => None,
        }
    }

    /// The same about another stream.
    #[must_use]
    pub fn about(mut self, other: Lane) -> Self {
        match &mut self {
            Self::Append { lane, .. }
            | Self::Prioritize { lane, .. }
            | Self::Abort { lane, .. }
            | Self::Read { lane, .. }
            | Self::Look { lane, .. }
            | Self::ReaderDropped { lane, .. }
            | Self::Detach { lane }
            | Self::Dispatch { lane, .. } => *lane = other,
            Self::Begin { .. }
            | Self::RequestBody { .. }
            | Self::Callbacks(_)
            | Self::Operation { .. }
            | Self::Operations { .. }
            | Self::NewestOperations { .. }
            | Self::StoredResult { .. }
            | Self::RoundTrip { .. }
            | Self::Status { .. }
            | Self::Ask(_) => {}
        }
        self
    }

    /// Tells whoever waits that the stream is gone.
    pub fn refuse(self) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(AppendError::Gone))),
            Self::Read { reply, .. } => drop(reply.send(ReadReply::Gone)),
            // A dropped reply says no.
            _ => {}
        }
    }
}
