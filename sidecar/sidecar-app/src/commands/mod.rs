//! The small subcommands: keys, configuration and a look at the log.

pub mod config;
pub mod given;
pub mod keygen;
pub mod log;
