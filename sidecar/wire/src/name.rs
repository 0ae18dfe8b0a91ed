//! Names of packet files (wire format §13).
//!
//! Invariant: a name proves nothing. Reading one only guesses the packet number and the tag, to look at likely files first; all that counts
//! is in the header. Paths are relative to the mirrored folder, with `/`. It touches no file. Test to read first: `path_of_a_packet`.

use crate::digest::hex;
use crate::ids::{EndpointId, Incarnation, PacketNumber};
use alloc::format;
use alloc::string::String;

/// The end of a packet's file name.
pub const SUFFIX: &str = ".hft";
/// Characters of a path, at most.
pub const MAX_PATH: usize = 120;

/// What the name of a packet file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketName {
    /// The endpoint, or for presence the side, it is for.
    pub recipient: EndpointId,
    /// The sending endpoint.
    pub sender: EndpointId,
    /// The random half of the sender's incarnation.
    pub incarnation_random: [u8; 8],
    /// The packet's number.
    pub pn: PacketNumber,
    /// Random, one per start of an engine.
    pub tag: u32,
}

impl PacketName {
    /// The path below the mirrored folder.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.dir(), self.file_name())
    }

    /// The folder of [`Self::path`].
    #[must_use]
    pub fn dir(&self) -> String {
        format!("{}/{}", incarnation_dir(&self.recipient, &self.sender, &self.incarnation_random), shard(self.pn))
    }

    /// The last part of [`Self::path`].
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:016x}-{:08x}{SUFFIX}", self.pn.get(), self.tag)
    }

    /// The name for a mirror that knows no folders: 56 characters.
    #[must_use]
    pub fn flat(&self) -> String {
        let first = |text: String, len: usize| String::from(&text[..len]);
        format!(
            "{}-{}-{}-{:012x}-{:08x}{SUFFIX}",
            first(self.recipient.to_hex32(), 10),
            first(self.sender.to_hex32(), 10),
            first(hex(&self.incarnation_random), 8),
            self.pn.get(),
            self.tag
        )
    }
}

/// The folder of the packets for `recipient`.
#[must_use]
pub fn dir_of(recipient: &EndpointId) -> String {
    recipient.to_hex32()
}

/// The folder of the packets that `sender` wrote for `recipient`.
#[must_use]
pub fn sender_dir(recipient: &EndpointId, sender: &EndpointId) -> String {
    format!("{}/{}", recipient.to_hex32(), sender.to_hex32())
}

/// The folder of the packets that one life of `sender` wrote for `recipient`.
#[must_use]
pub fn incarnation_dir(recipient: &EndpointId, sender: &EndpointId, incarnation_random: &[u8; 8]) -> String {
    format!("{}/{}", sender_dir(recipient, sender), hex(incarnation_random))
}

/// As [`incarnation_dir`], from a whole incarnation.
#[must_use]
pub fn dir_of_incarnation(recipient: &EndpointId, sender: &EndpointId, incarnation: &Incarnation) -> String {
    incarnation_dir(recipient, sender, &incarnation.random)
}

/// The folder, below an incarnation's, of the packets around `pn`: 4,096 in each.
#[must_use]
pub fn shard(pn: PacketNumber) -> String {
    format!("{:x}", pn.get() >> 12)
}

/// The name a file has until it is published.
#[must_use]
pub fn temporary(file_name: &str) -> String {
    format!(".{file_name}.part")
}

/// Whether a reader looks at a file of this name: it ends in `.hft` and does not start with `.` or `~`.
#[must_use]
pub fn considered(file_name: &str) -> bool {
    let end = file_name.len().checked_sub(SUFFIX.len());
    let suffix = end.and_then(|end| file_name.get(end..));
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX)) && !file_name.starts_with(['.', '~'])
}

/// Packet number and tag that a file name, of either form and case, claims; `None` for names that a mirror changed.
#[must_use]
pub fn parse_file_name(file_name: &str) -> Option<(PacketNumber, u32)> {
    if !considered(file_name) {
        return None;
    }
    let stem = file_name.get(..file_name.len() - SUFFIX.len())?;
    let mut parts = stem.rsplit('-');
    let tag = parts.next().filter(|text| text.len() == 8)?;
    let pn = parts.next()?;
    match (pn.len(), parts.next().map(str::len), parts.next().map(str::len), parts.next().map(str::len), parts.next()) {
        (16, None, ..) | (12, Some(8), Some(10), Some(10), None) => {}
        _ => return None,
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !stem.split('-').all(digits) {
        return None;
    }
    Some((PacketNumber::new(u64::from_str_radix(pn, 16).ok()?)?, u32::from_str_radix(tag, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> PacketName {
        PacketName {
            recipient: EndpointId::from_bytes([0x11; 16]),
            sender: EndpointId::from_bytes([0x22; 16]),
            incarnation_random: [0x33; 8],
            pn: PacketNumber::new(0x1234).unwrap(),
            tag: 0xab,
        }
    }

    #[test]
    fn path_of_a_packet() {
        assert_eq!(
            name().path(),
            "11111111111111111111111111111111/22222222222222222222222222222222/3333333333333333/1/0000000000001234-000000ab.hft"
        );
        assert_eq!(name().flat(), "1111111111-2222222222-33333333-000000001234-000000ab.hft");
        assert_eq!(name().flat().len(), 56);
        assert_eq!(temporary(&name().file_name()), ".0000000000001234-000000ab.hft.part");
    }

    #[test]
    fn the_longest_path_is_within_its_bound() {
        let last = PacketName { pn: PacketNumber::MAX, ..name() };
        assert_eq!(last.path().len(), MAX_PATH);
        assert_eq!(shard(PacketNumber::FIRST), "0");
        assert_eq!(shard(PacketNumber::MAX), "fffffff");
    }

    #[test]
    fn both_forms_of_a_name_are_read_in_any_case() {
        let expected = Some((name().pn, name().tag));
        for text in [name().file_name(), name().flat()] {
            assert_eq!(parse_file_name(&text), expected);
            assert_eq!(parse_file_name(&text.to_uppercase()), expected);
        }
    }

    #[test]
    fn changed_names_are_considered_but_say_nothing() {
        for text in
            ["0000000000001234-000000ab (1).hft", "x.hft", "0000000000001234.hft", "+000000000001234-000000ab.hft"]
        {
            assert!(considered(text), "{text}");
            assert_eq!(parse_file_name(text), None, "{text}");
        }
        // Number 0 and numbers above 40 bits are no packet numbers.
        assert_eq!(parse_file_name("0000000000000000-000000ab.hft"), None);
        assert_eq!(parse_file_name("0000010000000000-000000ab.hft"), None);
    }

    #[test]
    fn other_files_are_left_alone() {
        for text in ["", ".hft", ".a.hft", "~a.hft", "a.hft.part", ".a.hft.part", "ahft", "é", "ahfé"] {
            assert!(!considered(text), "{text}");
        }
        assert!(considered("A.HFT"));
    }
}
