//! Every bound of this room, in one place (wire format §14 where it has the number).
//!
//! Invariant: each constant has a test beside its user that reaches it. Nothing here is configurable; a configured
//! limit may only be lower.

/// Attempts at one call, the first included, before its outcome is reported instead.
pub const MAX_ATTEMPTS: u32 = 3;
/// Field lines in one section. A line takes 3 bytes at least, so bytes alone would allow hundreds of thousands.
pub const MAX_FIELD_LINES: usize = 4_096;
/// Bytes of a method.
pub const MAX_METHOD: usize = 64;
/// Bytes of an authority: a host name of 255 bytes and a port.
pub const MAX_AUTHORITY: usize = 262;
/// Bytes of a target URI, or of a path with its query.
pub const MAX_TARGET: usize = 32_768;
/// How deep arrays, maps and tags of an envelope may nest.
pub const MAX_CBOR_DEPTH: usize = 8;
/// Operations the near side remembers, ended ones included.
pub const MAX_OPERATIONS: usize = 65_536;
/// Executions the far side remembers, finished ones included.
pub const MAX_EXECUTIONS: usize = 65_536;
/// Passes of percent-decoding in which a hidden dot segment or separator is looked for.
pub const MAX_DECODE_PASSES: usize = 4;
