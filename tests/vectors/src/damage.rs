//! Packets with changed bytes, made so that the change reaches the check it is for.
//!
//! Invariant: the same packet always gives the same damaged ones; a failure is named by packet and number.
//! Test to read first: `the_second_decoder_agrees_on_damaged_packets`.

use wire::digest::sha256;
use wire::header::{CRC_AT, HEADER_LEN, Header, Layout, MAGIC, set_crc};
use wire::suite::Suite;
use wire::table::FrameEntry;

use crate::packets::sign_again;

/// A small generator: the numbers only have to be spread.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// A byte that is likely to mean something: small, all ones, a flipped bit, or any.
    fn byte(&mut self, old: u8) -> u8 {
        match self.below(4) {
            0 => self.below(4) as u8,
            1 => 0xff,
            2 => old ^ 1 << self.below(8),
            _ => self.roll() as u8,
        }
    }
}

/// `count` damaged forms of a packet of suite 1, with CRC, digests and checksum mended, so that what is behind them is judged.
#[must_use]
pub fn mended(file: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ file.len() as u64);
    let header = Header::parse(file).unwrap();
    (0..count).map(|_| mended_once(file, &header, &mut dice)).collect()
}

fn mended_once(file: &[u8], header: &Header, dice: &mut Dice) -> Vec<u8> {
    let layout = header.layout();
    let mut bytes = file.to_vec();
    let frames = usize::try_from(header.total_len).unwrap() - 16;
    // Lengths decide where everything is: they are changed, but not in most cases.
    let part = match dice.below(10) {
        0 => 8..HEADER_LEN,
        1 | 6 | 7 if layout.ct_at > HEADER_LEN => layout.ext(),
        2 | 3 if layout.table_end > layout.table_at => layout.table(),
        4 | 5 if frames > layout.frames_at => layout.frames_at..frames,
        _ => layout.control(),
    };
    for _ in 0..=dice.below(3) {
        let at = part.start + dice.below(part.len());
        bytes[at] = dice.byte(bytes[at]);
    }
    mend(&mut bytes, header);
    bytes
}

/// Makes digests, CRC and checksum fit, where the layout says that they are.
fn mend(bytes: &mut [u8], header: &Header) {
    let layout = header.layout();
    let mut at = layout.frames_at;
    for place in layout.table().step_by(64) {
        let entry = FrameEntry::decode(bytes[place..].first_chunk().unwrap());
        let end = at.saturating_add(entry.stored_len as usize);
        let Some(frame) = bytes.get(at..end) else { break };
        let digest = sha256(&[frame]);
        bytes[place + 32..place + 64].copy_from_slice(&digest);
        at = end.next_multiple_of(8);
    }
    set_crc(bytes.first_chunk_mut().unwrap());
    sign_again(bytes, &layout.signature());
}

/// A packet of suite 1 with each byte behind the magic one more and one less, and mended: rules are broken at their edges.
#[must_use]
pub fn stepped(file: &[u8]) -> Vec<Vec<u8>> {
    let header = Header::parse(file).unwrap();
    let layout = header.layout();
    let frames = layout.frames_at..usize::try_from(header.total_len).unwrap() - 16;
    let step = |(at, by): (usize, u8)| {
        let mut bytes = file.to_vec();
        bytes[at] = bytes[at].wrapping_add(by);
        mend(&mut bytes, &header);
        bytes
    };
    (8..layout.table_end).chain(frames).flat_map(|at| [(at, 1), (at, 0xff)]).map(step).collect()
}

/// Any bytes as a packet of suite 1 whose checksums fit, if they have a whole prefix of one: lengths that follow from others are set.
#[must_use]
pub fn mended_whole(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len() as u64 & !7;
    let head: &mut [u8; HEADER_LEN] = bytes.first_chunk_mut()?;
    head[..8].copy_from_slice(&MAGIC);
    let word = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().unwrap());
    let places = Layout::new(Suite::Checksum, word(16), word(20), word(24));
    head[28..32].copy_from_slice(&u32::try_from(places.frames_at).ok()?.to_le_bytes());
    head[112..120].copy_from_slice(&len.to_le_bytes());
    set_crc(head);
    let header = Header::parse(head).ok().filter(|header| header.suite() == Ok(Suite::Checksum))?;
    if bytes.len() < places.frames_at {
        return None;
    }
    mend(&mut bytes, &header);
    Some(bytes)
}

/// A packet with one byte changed, once for each of these places, and nothing mended but the CRC where the place is under it.
#[must_use]
pub fn flipped(file: &[u8], places: &[usize]) -> Vec<Vec<u8>> {
    let flip = |at: &usize| {
        let mut bytes = file.to_vec();
        bytes[*at] ^= 0x20;
        if *at < CRC_AT.start {
            set_crc(bytes.first_chunk_mut().unwrap());
        }
        bytes
    };
    places.iter().filter(|at| **at < file.len()).map(flip).collect()
}
