//! What goes in and out of a [`crate::Peer`] besides packets and records: verdicts, events, packets to be written, entries to be made durable.

use crate::alarm::Alarm;
use crate::entry::Entry;
use alloc::vec::Vec;
use bytes::Bytes;
use wire::control::Control;
use wire::{Digest, Incarnation, PacketNumber, RangeSet, Record, RecordHeader, Seq, StreamId};

/// What to do with a packet whose prefix is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its frames count: read them.
    Use,
    /// Nothing of it counts: close the file, and remove it by profile.
    Ignore,
    /// Its pair is not confirmed yet: present the packet again later, until it is older than the maximum packet lifetime.
    Wait,
}

/// How a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closure {
    /// Every frame was used, or was of an unknown kind.
    Complete,
    /// The prefix verified, a frame is missing or bad.
    Partial,
    /// The signature is good, but the packet cannot be opened.
    Unopenable,
}

/// Names a point in the order of [`Persist`] outputs; larger is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistToken(pub(crate) u64);

impl PersistToken {
    /// The number, for maps and logs.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One entry for the durable log.
#[derive(Clone, Debug)]
pub struct Persist {
    /// Hand it to [`crate::Peer::handle_persisted`] once this entry and all before it are durable.
    pub token: PersistToken,
    /// What to write.
    pub entry: Entry,
    /// Payload to write behind a [`Entry::Sent`] or [`Entry::Received`]; empty otherwise.
    pub payload: Bytes,
    /// Something waits for it: commit soon (group commit). A lazy one may wait for the next commit, however late.
    pub urgent: bool,
}

/// One packet to be published.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Its number, never used before.
    pub pn: PacketNumber,
    /// For the header: zero if none is known.
    pub recipient_incarnation: Incarnation,
    /// The control block; the driver may add KEYS and what layer 0 knows.
    pub control: Control,
    /// Records to carry with their payload digests, in ascending order of sequence numbers. Framing is layer 0's.
    pub records: Vec<(RecordHeader, Digest)>,
    /// Records that go whole, in the same order: tombstones of what [`crate::Peer::cancel_stream`] gave up, which are not in the log. Merge
    /// them with `records` by sequence number; a batch frame carries them.
    pub tombstones: Vec<Record>,
}

/// What happened, for the driver and the layer above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// This incarnation of the peer is alive and an association with it is open. During replay: it was opened here.
    Confirmed {
        /// The peer's incarnation.
        peer_incarnation: Incarnation,
    },
    /// The association ended, with everything in both its logs: sequence numbers and streams begin anew.
    AssociationClosed {
        /// The life of the peer it was with.
        old_peer_incarnation: Incarnation,
        /// Records of mine up to here were acknowledged, though not all of them need have been reported as released.
        una: Seq,
        /// Records of mine that were not acknowledged and may have left this endpoint; all others not acknowledged provably never did.
        sent_seqs: Vec<Seq>,
    },
    /// A record of kind ≥ 32 is durable here. Any order; offsets give the order within a stream.
    Received(RecordHeader),
    /// The peer gave up writing a stream of its log.
    StreamReset {
        /// The peer's stream.
        stream: StreamId,
        /// Why; [`crate::TOMBSTONED`] if a record of it was replaced by a tombstone.
        code: u64,
        /// Bytes of the stream that were or will be sent.
        final_length: u64,
    },
    /// The peer does not want more of a stream of mine.
    StopSending {
        /// My stream.
        stream: StreamId,
        /// Why.
        code: u64,
    },
    /// The peer proved by its chain that it holds all records up to here: their payloads may be dropped.
    Released {
        /// The last of them.
        up_to: Seq,
    },
    /// The peer took tombstones in place of these records of mine: it never saw them, and never will. It comes before the `Released` of
    /// the same records; a record that was cancelled and is released without having been named here was taken as it was written. After
    /// a restart the same ones may be named again.
    TombstonesTaken {
        /// Their sequence numbers.
        seqs: RangeSet,
    },
    /// The peer proved that it knows that I hold its records up to here (the ack of the ack).
    AckSeen {
        /// The last of them.
        up_to: Seq,
    },
    /// All usable records of a closed packet are durable: its inbox file may go.
    PacketDurable {
        /// The peer's incarnation.
        sender_incarnation: Incarnation,
        /// The packet.
        pn: PacketNumber,
    },
    /// Packets of the peer below this number need not be read any more.
    PeerFloor {
        /// The peer's incarnation.
        sender_incarnation: Incarnation,
        /// The first number that still counts.
        floor: u64,
    },
    /// An outbox file may go.
    PacketRetired {
        /// The packet.
        pn: PacketNumber,
    },
    /// There is room to append again after an append was refused or room was reported as zero.
    Writable,
    /// Something a person should look at.
    Alarm(Alarm),
}

/// Why a record was not appended. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The pair is halted by an alarm.
    #[error("the peer is halted by an alarm")]
    Halted,
    /// The stream is neither open nor to be opened by this endpoint.
    #[error("stream {0} is not one that this endpoint may write")]
    UnknownStream(StreamId),
    /// The stream was reset.
    #[error("stream {0} was reset")]
    StreamReset(StreamId),
    /// Kinds below 32 are this layer's own.
    #[error("record kind {0} is not for the application")]
    Kind(u8),
    /// Empty, longer than 2^24 − 1 bytes or than the peer takes, or the lengths and flags contradict each other.
    #[error("a record of {raw_len} bytes cannot be sent (the peer takes {max})")]
    Length {
        /// Its raw length.
        raw_len: u32,
        /// What the peer takes.
        max: u64,
    },
    /// The peer takes no more of this stream (or no more exchanges) for now: wait for [`PeerEvent::Writable`].
    #[error("the peer takes no more of stream {0} for now")]
    Credit(StreamId),
    /// The quota of the send log is used up: wait for [`PeerEvent::Writable`].
    #[error("the send log is full")]
    Full,
}
