//! Layer 2: what an HTTP exchange means over records. Codecs, allow rules, operations and problems, pure.
//!
//! Invariants: nothing here reads a file, a socket, a clock or a random source: times, random bytes and keys are
//! arguments; no parser panics, whatever it is given, or allocates more than its limit. It moves no bytes:
//! `layer1-replication` carries the records, `sidecar-app` makes and takes the calls.
//! Map: [`fields`], [`bhttp`], [`envelope`], [`head`], [`fin`] and [`body`] are what records hold; [`target`],
//! [`policy`], [`addresses`], [`field_filter`] and [`guard`] say what is allowed, [`quota`] how much; [`freshness`] and [`shelf`] are
//! the cache; [`oauth`] is about tokens;
//! [`prefer`] says what a caller wants; [`hop`] and [`problem`] are HTTP's own rules for intermediaries; [`operation`],
//! [`event`], [`near`] and [`far`] are the state of calls, with [`deadline`], [`range`] and [`report`] for what is asked about
//! them, [`keys`] for repeats of a call, and [`entry`] for what of it is durable; [`callbacks`], [`cloudevent`] and [`webhook`]
//! are who is told of them, what, and how it is signed. Test to read first: `head::tests::a_request_head_reads_back_as_written`.

pub mod addresses;
pub mod bhttp;
pub mod body;
pub mod callbacks;
mod cbor;
pub mod cloudevent;
pub mod deadline;
pub mod entry;
pub mod envelope;
pub mod event;
pub mod far;
pub mod field_filter;
pub mod fields;
pub mod fin;
pub mod freshness;
pub mod guard;
pub mod head;
pub mod hop;
pub mod keys;
pub mod limits;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
pub mod near;
pub mod oauth;
pub mod operation;
pub mod policy;
pub mod prefer;
pub mod problem;
pub mod quota;
pub mod range;
pub mod report;
pub mod shelf;
pub mod target;
pub mod tunnel;
pub mod webhook;

pub use envelope::Envelope;
pub use event::OperationEvent;
pub use fields::Fields;
pub use head::{RequestHead, ResponseHead};
pub use operation::{Executed, OperationId, OperationView, State};
pub use policy::{CallTarget, Policy, Rule};
pub use problem::{Problem, ProblemKind};
pub use target::Target;
