//! The small subcommands: keys and configuration.

pub mod config;
pub mod given;
pub mod keygen;
