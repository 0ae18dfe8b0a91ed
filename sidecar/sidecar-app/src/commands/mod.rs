//! The small subcommands: keys, configuration, a probe of a folder, and looks at packets and at the log.

pub mod config;
pub mod given;
pub mod key;
pub mod key_material;
pub mod keygen;
pub mod log;
pub mod packet;
pub mod probe;
pub mod when;
