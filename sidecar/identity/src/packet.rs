//! Building and opening the cryptographic part of packets, in all three suites.
//!
//! The prefix of a packet (everything before its frames) is built and opened whole; frames are
//! sealed and opened one at a time, so memory is bounded by one frame, never by the packet.
//! Invariants: nothing is opened under keys the commitment does not confirm; a key seals exactly
//! one table and one content per frame index; hashes are over the bytes of the file, never over a
//! header encoded again. It knows no files, no packet state, and no meaning of control and records.
//! Spec: wire format §2, §4, §5, §11 rows 12, 14, 15 and 19. Read `vectors.rs` first.

mod aead;
mod build;
mod frames;
mod open;

pub use build::{BuiltPrefix, PrefixInput, SealError, build_prefix, build_prefix_with};
pub use frames::{FrameOpener, FrameSealer};
pub use open::{OpenedPrefix, open_prefix, verify_prefix};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
