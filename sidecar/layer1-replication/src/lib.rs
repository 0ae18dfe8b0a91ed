//! Replication: the protocol core between this endpoint and one other, sans I/O (RFC 9000 and 9002 are its nearest relatives).
//!
//! A [`Peer`] is a plain struct: no clock, thread, file, socket, global or randomness inside. Packets, records, time and completed
//! writes go in by `handle_*`; verbs come from the application; entries to be made durable, packets to be published, events and the next
//! deadline come out of `poll_*`. One mutation, then drain every `poll_*` until `poll_timeout`, then wait.
//! Map: [`peer`] glues; `association` decides which packets count; `sender` and `sent` own my log and my packets, `scheduler` what
//! goes next; `receiver` owns the peer's log, `report` its packets; `credit`, `rtt`, `pressure`, `timers` are what they say; `suspicion`
//! and `offset` judge the peer's silence and its clock, for display; `journal` is durability;
//! [`entry`] the durable bytes; [`limits`] every bound. Beside the peers, [`membership`] knows which of them
//! execute calls.
//! It does not frame, sign, read or write anything, and knows nothing of HTTP: payloads of kinds ≥ 32 are opaque.
//! Test to read first: `sim::tests::records_cross_a_bad_mirror_exactly_once`.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod entry;
pub mod limits;
pub mod membership;
pub mod peer;

mod alarm;
mod association;
mod config;
mod credit;
mod event;
mod inbound;
mod journal;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
mod numbers;
mod offset;
mod pressure;
mod receiver;
mod report;
mod rtt;
mod scheduler;
mod sender;
mod sent;
mod status;
mod suspicion;
mod time;
mod timers;

#[cfg(test)]
mod sim;

pub use alarm::Alarm;
pub use config::{Config, Ids};
pub use entry::{Entry, EntryError, PeerJoin, ReceivedMeta};
pub use event::{AppendError, Closure, PeerEvent, Persist, PersistToken, Transmit, Verdict};
pub use peer::Peer;
pub use pressure::level_of as pressure_level;
pub use status::PeerStatus;
pub use time::{Duration, Timestamp};

/// The code of a [`PeerEvent::StreamReset`] that was caused by a tombstone; above every code on the wire.
pub const TOMBSTONED: u64 = u64::MAX;
