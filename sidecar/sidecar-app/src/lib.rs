//! The program `hoft`: one driver loop with its doors, the admin port, the mirror, the demo and the command line.
//!
//! Only here do the layers meet. Read `driver` first; `ARCHITECTURE.md` draws the whole line.

mod access;
pub mod admin;
pub mod ask;
pub mod bench;
pub mod body;
pub mod callbacks;
pub mod canary;
pub mod cli;
pub mod command;
pub mod commands;
pub mod demo;
pub mod driver;
pub mod egress;
pub mod engine;
pub mod entry;
pub mod exchange;
pub mod habits;
pub mod ingress;
pub mod interception;
pub mod logging;
pub mod metrics;
pub mod mirror;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
pub mod openapi;
pub mod page;
pub mod pipe;
pub mod policies;
pub mod preflight;
pub mod record;
pub mod shares;
pub mod spool;
pub mod status;
pub mod tunnel;
pub mod watch;
