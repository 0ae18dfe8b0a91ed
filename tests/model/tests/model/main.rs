//! The searches. Each prints its states; `HOFT_MODEL_DEPTH=1` raises the bounds.

mod association;
mod handover;
mod log;
mod nonce;
mod tickets;
