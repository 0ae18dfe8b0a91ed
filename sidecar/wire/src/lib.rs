//! The bytes of the wire format: every codec, hash and name of it, pure.
//!
//! Invariants: nothing here reads a file, a clock or a random source, or holds a secret longer than a call; no parser panics, whatever it is
//! given, or allocates more than the limits of the format allow; whoever follows the format byte for byte understands what is written here.
//! It does not sign, encrypt, keep state or decide policy: `identity` has the keys, `layer1-replication` the protocol.
//! Map: [`header`], [`tlv`], [`control`], [`table`], [`record`] and [`packet`] are the parts of a packet; [`schedule`], [`chain`], [`digest`]
//! and [`kmac`] its hashes; [`token`] the public keys of a side; [`name`] file names; [`reject`] why something was not used.
//! Test to read first: `packet::tests::checksum_packet_of_the_specification`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod chain;
pub mod control;
pub mod digest;
pub mod header;
pub mod ids;
pub mod kmac;
pub mod limits;
pub mod name;
pub mod packet;
pub mod ranges;
pub mod record;
pub mod reject;
pub mod schedule;
pub mod suite;
pub mod table;
pub mod tlv;
pub mod token;
pub mod varint;

pub use control::Control;
pub use digest::Digest;
pub use header::{Header, Layout};
pub use ids::{EndpointId, Incarnation, PacketNumber, Seq, SideId, StreamId, endpoint_id, side_id, valid_name};
pub use name::PacketName;
pub use packet::PacketParts;
pub use ranges::RangeSet;
pub use record::{Record, RecordHeader};
pub use reject::Reject;
pub use suite::Suite;
pub use table::FrameEntry;
pub use token::Bundle;
