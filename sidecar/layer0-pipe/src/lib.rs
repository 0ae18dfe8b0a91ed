//! Layer 0, the file pipe: packets as files in a folder that an unreliable mirror copies to the other side.
//!
//! The [`Outbox`] turns a plan of records into one file that appears whole under a name of its own; the [`Inbox`]
//! finds files, waits for those that grow, verifies them, and hands over every frame that survived. Both work on a
//! [`disk::dir::Dir`], block, and take time as an argument.
//!
//! Invariants: a published file is never changed and a name never used again; nothing of a file counts before a
//! signature by a pinned key verified over it; frames verify one by one, so a cut file loses only what lies after
//! the cut; memory is bounded by named limits and does not grow with packets.
//! What this room does not do: know about associations, acknowledgements, HTTP, threads or clocks.
//! Specification: wire format §2, §5, §8, §11, §13; protocol §1, §3 "Garbage collection", §6.
//! Read first: the test `every_suite_and_shape_goes_round` in `inbox/tests/round_trip.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking"))]

mod compress;
mod framing;
mod inbox;
mod limits;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
mod outbox;
mod poll;

#[cfg(test)]
mod testkit;

pub use compress::{InflateError, compress, inflate};
pub use inbox::{
    Alarm, Arrival, CUT_POSITIONS, Closure, Counters, FileId, Inbox, InboxOptions, Local, Profile, ScanCost,
    ScanReport, Sink, Verdict,
};
pub use outbox::{
    Held, Layout, Outbox, OutboxOptions, Pace, PaceOptions, PacketFloor, PacketPlan, Payloads, PlannedRecord,
    PublishError, PublishSync, Published, SweepReport,
};
pub use poll::{POLL_MIN, poll_bound};
