//! Why a packet, frame or record was not used: every reject name of wire format §11.
//!
//! Invariant: `name()` is the metric label, is unique, and never changes. Whether an incomplete file is worth waiting
//! for ("wait" in §11) is decided by whoever reads the file; `waits()` only tells which names allow it.
//! Test to read first: `names_are_unique_and_in_the_order_of_the_checks`.

use core::fmt;

macro_rules! rejects {
    ($($(#[$doc:meta])* $variant:ident = $row:literal $name:literal),+ $(,)?) => {
        /// A reject name of wire format §11, in the order of the checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reject {
            $($(#[$doc])* $variant),+
        }

        impl Reject {
            /// Every reject, in the order of the checks.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in wire format §11; the metric label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The number of the check (row of §11) that gives this reject.
            #[must_use]
            pub const fn check(self) -> u8 {
                match self { $(Self::$variant => $row),+ }
            }
        }
    };
}

rejects! {
    /// Not a regular file, or reached through a link.
    NotRegular = 1 "not_regular",
    /// Shorter than a header (wait).
    Short = 1 "short",
    /// The magic differs (wait).
    Magic = 2 "magic",
    /// The header's CRC differs (wait).
    Crc = 2 "crc",
    /// A major version this reader does not speak.
    Major = 3 "major",
    /// A suite this reader does not implement.
    SuiteUnknown = 3 "suite_unknown",
    /// A suite the peering does not accept.
    SuiteRefused = 3 "suite_refused",
    /// An unknown critical flag.
    Flags = 3 "flags",
    /// A length, count, packet number or incarnation out of its range.
    Length = 4 "length",
    /// Not addressed to an endpoint or side of mine in a configured peering.
    Recipient = 5 "recipient",
    /// Sent by an endpoint or side of mine.
    Reflected = 6 "reflected",
    /// The signing key is not pinned for the peering.
    KeyUnknown = 7 "key_unknown",
    /// The signing key is revoked for the peering.
    KeyRevoked = 7 "key_revoked",
    /// The packet number is below the peer's floor.
    PnFloor = 8 "pn_floor",
    /// The packet number is closed.
    PnClosed = 8 "pn_closed",
    /// The sender's incarnation is closed.
    IncarnationStale = 9 "incarnation_stale",
    /// Too many confirmed endpoints of that side.
    EndpointsFull = 10 "endpoints_full",
    /// The prefix is not whole (wait).
    PrefixCut = 11 "prefix_cut",
    /// The checksum of suite 1 differs (wait).
    Checksum = 12 "checksum",
    /// The Ed25519 signature does not verify (wait).
    SignatureEd25519 = 12 "signature_ed25519",
    /// The ML-DSA signature does not verify (wait).
    SignatureMldsa = 12 "signature_mldsa",
    /// The KMAC tag of suites 4 and 5 differs (wait).
    Tag = 12 "tag",
    /// Another packet or record carries the same number: the sender has a twin. An alarm.
    Forked = 13 "forked",
    /// The ext block is malformed.
    ExtMalformed = 14 "ext_malformed",
    /// The ext block has an unknown critical type.
    ExtCritical = 14 "ext_critical",
    /// No KEM key of mine has that id, or decapsulation failed.
    KemKey = 15 "kem_key",
    /// The key commitment differs.
    Commitment = 15 "commitment",
    /// Control and table do not open.
    ControlSeal = 15 "control_seal",
    /// The control block is malformed.
    ControlMalformed = 16 "control_malformed",
    /// The control block has an unknown critical type.
    ControlCritical = 16 "control_critical",
    /// The control block or the frames may not go to a side id.
    ControlScope = 16 "control_scope",
    /// ENDPOINT is missing or does not derive to the sender id.
    Endpoint = 16 "endpoint",
    /// The frame table does not fit the file.
    Table = 17 "table",
    /// Outside a confirmed association: counted, not a fault.
    Unassociated = 18 "unassociated",
    /// The frame is not whole (wait).
    FrameCut = 19 "frame_cut",
    /// The frame does not open.
    FrameSeal = 19 "frame_seal",
    /// The frame's digest differs.
    FrameDigest = 19 "frame_digest",
    /// A frame of unknown kind or flags, or beyond my LIMITS.
    FrameKind = 19 "frame_kind",
    /// The entry's fields or the frame's records are malformed.
    Records = 20 "records",
    /// A record of unknown kind or flags.
    RecordKind = 21 "record_kind",
    /// A record too far above the cumulative ack.
    SeqWindow = 21 "seq_window",
    /// A record beyond the credit given.
    Credit = 21 "credit",
    /// A record that breaks a rule of its stream.
    Stream = 21 "stream",
    /// The payload does not inflate to exactly `raw_len`.
    Inflate = 22 "inflate",
}

impl Reject {
    /// Whether the file may become good while it still grows ("wait" in §11).
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(
            self,
            Self::Short
                | Self::Magic
                | Self::Crc
                | Self::PrefixCut
                | Self::Checksum
                | Self::SignatureEd25519
                | Self::SignatureMldsa
                | Self::Tag
                | Self::FrameCut
                | Self::FrameSeal
                | Self::FrameDigest
        )
    }

    /// Whether it closes the packet number as unopenable and is reported to the sender (checks 14–17).
    #[must_use]
    pub const fn is_unopenable(self) -> bool {
        matches!(self.check(), 14..=17)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Reject {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_in_the_order_of_the_checks() {
        let names: BTreeSet<_> = Reject::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), Reject::ALL.len());
        assert!(Reject::ALL.windows(2).all(|w| w[0].check() <= w[1].check()));
    }

    #[test]
    fn only_checks_14_to_17_close_a_packet_as_unopenable() {
        let names: alloc::vec::Vec<_> = Reject::ALL.iter().filter(|r| r.is_unopenable()).map(|r| r.name()).collect();
        assert_eq!(
            names,
            [
                "ext_malformed",
                "ext_critical",
                "kem_key",
                "commitment",
                "control_seal",
                "control_malformed",
                "control_critical",
                "control_scope",
                "endpoint",
                "table"
            ]
        );
    }
}
