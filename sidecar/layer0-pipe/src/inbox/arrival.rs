//! What an inbox tells its driver, and what the driver answers.
//!
//! Invariants: [`Arrival::Packet`] comes first for a packet, then its frames in any order, then
//! [`Arrival::Closed`]; frames come at most once per start of the engine, except when the memory of old packet
//! numbers was exceeded. A packet that was closed as partial may later give more frames and another `Closed`.
//! What this file does not do: judge associations, sequence numbers or credit. Specification: wire format §10, §11.
//! Read first: `every_suite_and_shape_goes_round` in the tests of this crate.

use wire::record::Record;
use wire::{Control, EndpointId, Header, Incarnation, PacketNumber};

/// A file in the inbox, for this start of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) u64);

/// What the driver wants done with a verified packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts: go on to its frames.
    Use,
    /// It does not count (stale incarnation, already closed): close and remove the file.
    Ignore,
    /// Not yet (its pair of incarnations is not confirmed): show it again later.
    Wait,
}

/// How a packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closure {
    /// Every frame was used, or is of unknown kind or flags.
    Complete,
    /// The prefix verified; a frame is missing or bad.
    Partial,
    /// The signature is good, checks 14 to 17 reject it.
    Unopenable,
}

/// Something an operator should look at.
#[derive(Debug)]
pub enum Alarm<'a> {
    /// Two packets with good signatures carry the same packet number and differ: the sender has a twin.
    Forked {
        /// Header of the second packet.
        header: &'a Header,
        /// Its path below the inbox root.
        path: &'a str,
    },
}

/// One thing that was read from the folder.
#[derive(Debug)]
pub enum Arrival<'a> {
    /// A packet whose whole prefix verified. The driver's answer decides what happens to it.
    Packet {
        /// The file, for [`crate::Inbox::done`].
        file: FileId,
        /// Its header; `header.recipient` tells which of my addresses it is for.
        header: &'a Header,
        /// Its control block.
        control: &'a Control,
    },
    /// One frame whose digest (and tag) verified, as records with their stored payloads.
    Frame {
        /// The file.
        file: FileId,
        /// The packet's recipient.
        recipient: EndpointId,
        /// The packet's sender.
        sender: EndpointId,
        /// The sender's incarnation.
        sender_incarnation: Incarnation,
        /// The packet's number.
        pn: PacketNumber,
        /// The frame's place in the packet, from 0.
        index: u32,
        /// Its records, seqs ascending.
        records: Vec<Record>,
    },
    /// No more frames are expected, for the time being at least.
    Closed {
        /// The file.
        file: FileId,
        /// The packet's recipient.
        recipient: EndpointId,
        /// The packet's sender.
        sender: EndpointId,
        /// The sender's incarnation.
        sender_incarnation: Incarnation,
        /// The packet's number.
        pn: PacketNumber,
        /// How it ended.
        closure: Closure,
    },
    /// Something is wrong beyond one file.
    Alarm(Alarm<'a>),
}
