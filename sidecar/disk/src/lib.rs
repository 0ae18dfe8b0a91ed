//! The only room that touches the file system: folders ([`dir`]), the durable log ([`log`]) and key files
//! ([`secret`]).
//!
//! Everything here blocks; callers that must not wait use a thread of their own. Nothing here knows packets,
//! records or HTTP.

pub mod dir;
pub mod log;
#[cfg(feature = "mutations")]
pub mod mutation;
#[cfg(not(feature = "mutations"))]
mod mutation;
pub mod secret;
mod who;
