//! How a stream ends: the FIN of a whole body, and the codes of RESET_STREAM and STOP_SENDING (wire format §9).
//!
//! Invariant: a body counts as whole only when length and digest of its FIN match what arrived (`body`). Codes this
//! program does not know count as [`code::INTERNAL`]. The bytes are `wire`'s. Test to read first:
//! `an_unknown_code_counts_as_internal`.

pub use wire::record::Fin;

/// Why a stream ended before its FIN. Written as varint.
pub mod code {
    /// Nothing is wrong: the rest is not needed.
    pub const NONE: u64 = 0;
    /// The caller went away or cancelled.
    pub const CANCELLED: u64 = 1;
    /// The body was cut short at its source.
    pub const INCOMPLETE: u64 = 2;
    /// Refused before any effect: safe to repeat.
    pub const REFUSED: u64 = 3;
    /// A fault of this program.
    pub const INTERNAL: u64 = 4;
    /// The deadline passed.
    pub const EXPIRED: u64 = 5;
    /// The body exceeds what the receiver allows.
    pub const TOO_LARGE: u64 = 6;
    /// A record of the stream is malformed.
    pub const MALFORMED: u64 = 7;

    /// The word for logs and metrics.
    #[must_use]
    pub const fn name(code: u64) -> &'static str {
        match code {
            NONE => "none",
            CANCELLED => "cancelled",
            INCOMPLETE => "incomplete",
            REFUSED => "refused",
            EXPIRED => "expired",
            TOO_LARGE => "too_large",
            MALFORMED => "malformed",
            _ => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_counts_as_internal() {
        assert_eq!(code::name(code::REFUSED), "refused");
        assert_eq!(code::name(1 << 40), code::name(code::INTERNAL));
    }
}
