//! The golden packets: each suite with each shape of content, and what the rules for versions allow a later sender.
//!
//! Invariant: everything but an ML-DSA signature is made again byte for byte from fixed keys and randomness; a signature is hedged, so
//! the committed one is kept and only verified. Three of them are the published packet of the wire's check values.
//! Test to read first: `every_vector_is_made_again_and_says_what_it_said`.

mod blocks;
mod content;

use std::ops::Range;

use identity::{Identity, PrefixInput, build_prefix_with};
use wire::header::{HEADER_LEN, Header, align8_usize, end_marker, set_crc};
use wire::ids::{EndpointId, Incarnation, PacketNumber};
use wire::packet::checksum_signature;
use wire::suite::Suite;

use crate::reader::{north, north_gateway, north_revoked, south_gateway, south_pinned, south_side, stranger};
use content::Frame;

/// The life of north that writes.
pub const NORTH_LIFE: Incarnation = Incarnation { generation: 1, random: [0x11; 8] };
/// The life of south that it writes to.
pub const SOUTH_LIFE: Incarnation = Incarnation { generation: 2, random: [0x22; 8] };

/// A packet as it was made just now.
#[derive(Debug)]
pub struct Packet {
    /// The name of its files.
    pub name: String,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Where its signature is.
    pub signature: Range<usize>,
    /// Whether the signature comes out the same each time.
    pub repeatable: bool,
}

/// What a packet is made from, besides its suite.
struct Shape {
    name: &'static str,
    ext: Vec<u8>,
    control: Vec<u8>,
    frames: Vec<Frame>,
    recipient: EndpointId,
    pn: u64,
    signer: Identity,
}

impl Shape {
    fn new(name: &'static str, control: Vec<u8>, frames: Vec<Frame>) -> Self {
        Self { name, ext: Vec::new(), control, frames, recipient: south_gateway(), pn: 7, signer: north() }
    }

    fn make(&self, suite: Suite) -> Packet {
        let tag_len = suite.tag_len();
        let entries: Vec<_> = self.frames.iter().map(|frame| frame.entry(tag_len)).collect();
        let presence = self.recipient == south_side().as_address();
        let input = PrefixInput {
            suite,
            sender: north_gateway(),
            recipient: self.recipient,
            sender_incarnation: NORTH_LIFE,
            recipient_incarnation: if presence { Incarnation::UNKNOWN } else { SOUTH_LIFE },
            pn: PacketNumber::new(self.pn).unwrap(),
            sent_at_ms: 0,
            ext: &self.ext,
            control: &self.control,
            entries: &entries,
        };
        let built = build_prefix_with(Some(&self.signer), &south_pinned(), &input, &[7; 32]).unwrap();
        let signature = Header::parse(&built.bytes).unwrap().layout().signature();
        let mut bytes = built.bytes;
        for ((index, frame), entry) in (0..).zip(&self.frames).zip(&entries) {
            let mut stored = frame.clear.clone();
            built.frames.seal(index, entry, &mut stored).unwrap();
            bytes.extend_from_slice(&stored);
            bytes.resize(align8_usize(bytes.len()), 0);
        }
        bytes.extend_from_slice(&end_marker(&built.salt));
        let name = format!("{}-{}", suite.name(), self.name);
        Packet { name, bytes, signature, repeatable: !suite.signed() }
    }
}

/// Every golden packet but those that the second implementation wrote.
#[must_use]
pub fn all() -> Vec<Packet> {
    let mut packets: Vec<Packet> = Vec::new();
    for suite in Suite::ALL {
        packets.extend(shapes().iter().chain(&later_shapes()).map(|shape| shape.make(suite)));
    }
    packets.push(reserved());
    for (name, signer) in [("revoked", north_revoked()), ("stranger", stranger())] {
        packets.push(Shape { signer, ..Shape::new(name, blocks::ping(), Vec::new()) }.make(Suite::Signed));
    }
    packets
}

/// Control only, one frame, a batch, three frames; and presence, the one packet to a side.
fn shapes() -> [Shape; 5] {
    [
        Shape { pn: (1 << 40) - 1, ..Shape::new("control", blocks::everything(), Vec::new()) },
        Shape::new("one", blocks::ping(), vec![content::hello()]),
        Shape::new("batch", blocks::handshake(), vec![content::every_kind()]),
        Shape { pn: 0x1_2345, ..Shape::new("three", blocks::association(), content::three()) },
        Shape { recipient: south_side().as_address(), ..Shape::new("presence", blocks::presence(), Vec::new()) },
    ]
}

/// What a later minor version may send: types without meaning, longer values, padding, unknown kinds of frames and records.
fn later_shapes() -> [Shape; 2] {
    [
        Shape { ext: blocks::grease_ext(), ..Shape::new("grease", blocks::later(), vec![content::later_records()]) },
        Shape::new("filler", blocks::ping(), content::unknown_frames()),
    ]
}

/// Reserved bytes, a higher minor version and every advisory flag: in suite 1, whose prefix needs no key to be changed.
fn reserved() -> Packet {
    let mut packet = Shape::new("reserved", blocks::ping(), vec![content::hello()]).make(Suite::Checksum);
    let head: &mut [u8; HEADER_LEN] = packet.bytes.first_chunk_mut().unwrap();
    head[10..12].copy_from_slice(&9_u16.to_le_bytes());
    head[15] = 0xff;
    for (at, byte) in head[200..252].iter_mut().enumerate() {
        *byte = at as u8 + 1;
    }
    set_crc(head);
    sign_again(&mut packet.bytes, &packet.signature);
    packet
}

/// Makes the checksum of a suite-1 packet fit its prefix.
pub fn sign_again(bytes: &mut [u8], signature: &Range<usize>) {
    let checksum = checksum_signature(&bytes[..signature.start]);
    bytes[signature.clone()].copy_from_slice(&checksum);
}
