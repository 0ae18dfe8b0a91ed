//! What is remembered of packet numbers: salts, which frames were handed over, and the floor below which all is closed.
//!
//! Invariants: only packets whose signature verified get an entry; a number keeps one salt; a frame is handed over
//! once however many copies of its packet there are; per life of a sender the newest 4,096 numbers are kept, and when all
//! lives together have too many, the oldest of the life that has the most goes first, so that no sender costs the others theirs.
//! Of a life that is over one packet a minute still reaches the driver: somebody may live it, and has to be told.
//! What this file does not do: touch files. Specification: wire format §3 (pn), §11 checks 8, 9 and 13.
//! Read first: `a_number_with_another_salt_is_a_twin`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::{EndpointId, Header, Incarnation, PacketNumber};

use crate::limits::{PACKETS_KEPT_MAX, PRESENCE_KEPT, SALTS_KEPT, SENDER_LIVES_MAX, STALE_SHOWN_EVERY};

/// One space of packet numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) recipient: EndpointId,
    pub(crate) sender: EndpointId,
    pub(crate) incarnation: Incarnation,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PacketKey {
    pub(crate) life: Life,
    pub(crate) pn: PacketNumber,
}

impl PacketKey {
    pub(crate) fn of(header: &Header) -> Self {
        let life = Life { recipient: header.recipient, sender: header.sender, incarnation: header.sender_incarnation };
        Self { life, pn: header.pn }
    }
}

/// Where a packet is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Wanted; frames are outstanding.
    Open,
    /// Closed: nothing more can come.
    Complete,
    /// Closed, but missing frames may still turn up.
    Partial,
    /// Closed: rejected by checks 14 to 17.
    Unopenable,
    /// Closed: the driver did not want it.
    Ignored,
    /// A presence packet that was shown.
    Presence,
}

/// Frames of one packet that are finished with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FrameSet {
    bits: Vec<u64>,
    total: u32,
    finished: u32,
    spoiled: u32,
}

impl FrameSet {
    fn new(total: u32) -> Self {
        Self { bits: vec![0; (total as usize).div_ceil(64)], total, finished: 0, spoiled: 0 }
    }

    pub(crate) fn contains(&self, index: u32) -> bool {
        self.bits.get(index as usize / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Marks a frame as finished; `spoiled` if it verified and can nevertheless never be used.
    pub(crate) fn insert(&mut self, index: u32, spoiled: bool) {
        if index >= self.total || self.contains(index) {
            return;
        }
        if let Some(word) = self.bits.get_mut(index as usize / 64) {
            *word |= 1 << (index % 64);
            self.finished += 1;
            self.spoiled += u32::from(spoiled);
        }
    }

    /// The first frame at or after `from` that is not finished.
    pub(crate) fn first_missing(&self, from: u32) -> Option<u32> {
        (from..self.total).find(|index| !self.contains(*index))
    }

    /// Nothing is asked of single frames any more.
    fn let_go(&mut self) {
        self.bits = Vec::new();
    }

    pub(crate) const fn all_finished(&self) -> bool {
        self.finished == self.total
    }

    pub(crate) const fn none_spoiled(&self) -> bool {
        self.spoiled == 0
    }
}

/// What is remembered of one packet.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) salt: [u8; 32],
    pub(crate) status: Status,
    pub(crate) frames: FrameSet,
    /// The longest file of this packet that was looked at, in bytes.
    pub(crate) longest: u64,
}

/// What is known about a packet number before the signature is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    New,
    /// Below the floor: closed and forgotten.
    BelowFloor,
    /// Of a life that is closed for good, and another one was shown to the driver a short time ago.
    Stale,
    /// The same packet, and nothing new can come from it.
    Closed,
    /// The same packet, of which frames are missing.
    Unfinished,
    /// The same number with another salt: a twin, if the signature is good.
    Twin,
}

#[derive(Debug, Default)]
struct Numbers {
    packets: BTreeMap<PacketNumber, Packet>,
    used: u64,
}

/// The memory of packet numbers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    lives: BTreeMap<Life, Numbers>,
    floors: BTreeMap<(EndpointId, Incarnation), Floor>,
    uses: u64,
    /// Packets of all lives.
    packets: usize,
    /// Lives by how many packets they have.
    sizes: BTreeSet<(usize, Life)>,
}

/// Below which number a sender's life is closed; `u64::MAX`: for good.
#[derive(Debug, Default)]
struct Floor {
    at: u64,
    used: u64,
    /// When a packet of a life that is closed for good was shown to the driver last.
    shown: Option<Duration>,
}

impl Floor {
    const fn is_final(&self) -> bool {
        self.at == u64::MAX
    }

    /// Whether the driver is to see one more of a life that is over, to answer it.
    fn shows(&self, now: Duration) -> bool {
        self.is_final() && self.shown.is_none_or(|shown| now.saturating_sub(shown) >= STALE_SHOWN_EVERY)
    }
}

impl Memory {
    /// Raises the floor of a sender's life: numbers below it are closed.
    pub(crate) fn set_floor(&mut self, sender: EndpointId, incarnation: Incarnation, floor: u64) {
        self.uses += 1;
        let entry = self.floors.entry((sender, incarnation)).or_default();
        (entry.at, entry.used) = (entry.at.max(floor), self.uses);
        let floor = entry.at;
        if self.floors.len() > SENDER_LIVES_MAX {
            let oldest = self.floors.iter().min_by_key(|(_, floor)| floor.used).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.floors.remove(&oldest);
            }
        }
        let theirs = self.lives.keys().filter(|life| life.sender == sender && life.incarnation == incarnation);
        for life in theirs.copied().collect::<Vec<_>>() {
            self.resize(life, |packets| {
                let below = packets.iter().take_while(|(pn, _)| pn.get() < floor);
                let closed = below.filter(|(_, packet)| packet.status != Status::Presence);
                for pn in closed.map(|(pn, _)| *pn).collect::<Vec<_>>() {
                    packets.remove(&pn);
                }
            });
        }
    }

    /// A packet of a life that is closed for good goes to the driver, which decides anew what that life is.
    pub(crate) fn stale_shown(&mut self, key: &PacketKey, now: Duration) {
        if let Some(floor) = self.floors.get_mut(&(key.life.sender, key.life.incarnation)) {
            floor.shown = Some(now);
        }
    }

    /// Changes how many packets a life has.
    fn resize(&mut self, life: Life, change: impl FnOnce(&mut BTreeMap<PacketNumber, Packet>)) {
        let Some(numbers) = self.lives.get_mut(&life) else { return };
        let before = numbers.packets.len();
        change(&mut numbers.packets);
        let after = numbers.packets.len();
        self.packets = self.packets - before + after;
        self.sizes.remove(&(before, life));
        self.sizes.insert((after, life));
    }

    fn forget_life(&mut self, life: Life) {
        if let Some(numbers) = self.lives.remove(&life) {
            self.packets -= numbers.packets.len();
            self.sizes.remove(&(numbers.packets.len(), life));
        }
    }

    /// The floor of a sender's life; 0 if none was given.
    pub(crate) fn floor(&self, sender: EndpointId, incarnation: Incarnation) -> u64 {
        self.floors.get(&(sender, incarnation)).map_or(0, |floor| floor.at)
    }

    /// The driver wants a packet of this life: it is not closed for good.
    pub(crate) fn reopen(&mut self, key: &PacketKey) {
        let life = (key.life.sender, key.life.incarnation);
        if self.floors.get(&life).is_some_and(Floor::is_final) {
            self.floors.remove(&life);
        }
    }

    /// Checks 8 and 9 for a header that is not yet verified. Presence has no floor.
    pub(crate) fn known(&self, key: &PacketKey, salt: &[u8; 32], presence: bool, now: Duration) -> Known {
        let floor = self.floors.get(&(key.life.sender, key.life.incarnation)).filter(|_| !presence);
        match floor.filter(|floor| key.pn.get() < floor.at) {
            Some(floor) if floor.shows(now) => {}
            Some(floor) if floor.is_final() => return Known::Stale,
            Some(_) => return Known::BelowFloor,
            None => {}
        }
        match self.get(key) {
            None => Known::New,
            Some(packet) if packet.salt != *salt => Known::Twin,
            Some(packet) => match packet.status {
                Status::Open | Status::Partial => Known::Unfinished,
                Status::Complete | Status::Unopenable | Status::Ignored | Status::Presence => Known::Closed,
            },
        }
    }

    pub(crate) fn get(&self, key: &PacketKey) -> Option<&Packet> {
        self.lives.get(&key.life)?.packets.get(&key.pn)
    }

    pub(crate) fn get_mut(&mut self, key: &PacketKey) -> Option<&mut Packet> {
        self.lives.get_mut(&key.life)?.packets.get_mut(&key.pn)
    }

    /// The entry of a verified packet; an existing one keeps its frames.
    pub(crate) fn enter(&mut self, header: &Header, status: Status, len: u64) {
        let key = PacketKey::of(header);
        self.uses += 1;
        let used = self.uses;
        if !self.lives.contains_key(&key.life) && self.lives.len() >= SENDER_LIVES_MAX {
            let oldest = self.lives.iter().min_by_key(|(_, numbers)| numbers.used).map(|(life, _)| *life);
            if let Some(oldest) = oldest {
                self.forget_life(oldest);
            }
        }
        self.lives.entry(key.life).or_default().used = used;
        self.resize(key.life, |packets| {
            if !packets.contains_key(&key.pn) && packets.len() >= SALTS_KEPT {
                packets.pop_first();
            }
            let packet = packets.entry(key.pn).or_insert_with(|| Packet {
                salt: header.salt,
                status,
                frames: FrameSet::new(header.frame_count),
                longest: len,
            });
            packet.status = status;
            packet.longest = packet.longest.max(len);
            if !matches!(status, Status::Open | Status::Partial) {
                packet.frames.let_go();
            }
        });
        if self.packets > PACKETS_KEPT_MAX
            && let Some((_, largest)) = self.sizes.last().copied()
        {
            self.resize(largest, |packets| drop(packets.pop_first()));
        }
    }

    /// Whether it is a presence packet that was shown.
    pub(crate) fn is_shown(&self, key: &PacketKey) -> bool {
        self.get(key).is_some_and(|packet| packet.status == Status::Presence)
    }

    /// Whether two newer presence packets of the same life were shown.
    pub(crate) fn presence_superseded(&self, key: &PacketKey) -> bool {
        self.lives
            .get(&key.life)
            .is_some_and(|numbers| numbers.packets.range(key.pn..).skip(1).take(PRESENCE_KEPT).count() == PRESENCE_KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::header;

    const NOW: Duration = Duration::ZERO;

    fn enter(memory: &mut Memory, pn: u64, salt: u8) {
        let mut header = header(pn);
        header.salt = [salt; 32];
        memory.enter(&header, Status::Complete, 400);
    }

    #[test]
    fn a_number_with_another_salt_is_a_twin() {
        let mut memory = Memory::default();
        enter(&mut memory, 5, 1);
        let key = PacketKey::of(&header(5));
        assert_eq!(memory.known(&key, &[1; 32], false, NOW), Known::Closed);
        assert_eq!(memory.known(&key, &[2; 32], false, NOW), Known::Twin);
        assert_eq!(memory.known(&PacketKey::of(&header(6)), &[1; 32], false, NOW), Known::New);
    }

    #[test]
    fn a_partial_packet_is_unfinished() {
        let mut memory = Memory::default();
        memory.enter(&header(5), Status::Partial, 400);
        assert_eq!(memory.known(&PacketKey::of(&header(5)), &header(5).salt, false, NOW), Known::Unfinished);
    }

    #[test]
    fn the_newest_numbers_are_kept() {
        let mut memory = Memory::default();
        for pn in 1..=(SALTS_KEPT as u64 + 3) {
            enter(&mut memory, pn, 1);
        }
        for pn in 1..=3 {
            assert_eq!(memory.known(&PacketKey::of(&header(pn)), &[1; 32], false, NOW), Known::New);
        }
        assert_eq!(memory.known(&PacketKey::of(&header(4)), &[1; 32], false, NOW), Known::Closed);
    }

    #[test]
    fn the_life_that_has_the_most_gives_first() {
        let mut memory = Memory::default();
        let of = |sender: usize, pn: u64| {
            let mut header = header(pn);
            header.sender_incarnation.random = (sender as u64 + 1).to_be_bytes();
            header
        };
        let all = PACKETS_KEPT_MAX / SALTS_KEPT;
        for sender in 0..all {
            for pn in 1..=SALTS_KEPT as u64 {
                memory.enter(&of(sender, pn), Status::Complete, 400);
            }
        }
        assert_eq!(memory.packets, PACKETS_KEPT_MAX);
        for pn in 1..=100 {
            memory.enter(&of(all, pn), Status::Complete, 400);
        }
        assert_eq!(memory.packets, PACKETS_KEPT_MAX);
        assert_eq!(memory.lives[&PacketKey::of(&of(all, 1)).life].packets.len(), 100, "the newcomer keeps its own");
        assert!(
            memory
                .lives
                .values()
                .all(|numbers| numbers.packets.len() >= SALTS_KEPT - 7 || numbers.packets.len() == 100)
        );
        for sender in 0..=all {
            memory.set_floor(of(sender, 1).sender, of(sender, 1).sender_incarnation, u64::MAX);
        }
        assert_eq!(memory.packets, 0);
    }

    #[test]
    fn below_the_floor_all_is_closed_and_forgotten_except_presence() {
        let mut memory = Memory::default();
        enter(&mut memory, 5, 1);
        let key = PacketKey::of(&header(5));
        memory.set_floor(key.life.sender, key.life.incarnation, 6);
        memory.set_floor(key.life.sender, key.life.incarnation, 2); // a floor never sinks
        assert_eq!(memory.known(&key, &[9; 32], false, NOW), Known::BelowFloor);
        assert_eq!(memory.known(&key, &[9; 32], true, NOW), Known::New);
        assert!(memory.get(&key).is_none());
    }

    #[test]
    fn lives_are_bounded_and_the_least_used_goes_first() {
        let mut memory = Memory::default();
        let life = |n: usize| {
            let mut header = header(1);
            header.sender_incarnation.random = (n as u64 + 1).to_be_bytes();
            header
        };
        for n in 0..=SENDER_LIVES_MAX {
            memory.enter(&life(n), Status::Complete, 400);
        }
        assert_eq!(memory.lives.len(), SENDER_LIVES_MAX);
        assert!(memory.get(&PacketKey::of(&life(0))).is_none());
        assert!(memory.get(&PacketKey::of(&life(SENDER_LIVES_MAX))).is_some());
        for n in 0..=SENDER_LIVES_MAX as u64 {
            memory.set_floor(header(1).sender, Incarnation { generation: n, random: [1; 8] }, 1);
        }
        assert_eq!(memory.floors.len(), SENDER_LIVES_MAX);
    }

    #[test]
    fn a_frame_set_counts_each_frame_once() {
        let mut frames = FrameSet::new(130);
        for index in (0..130).rev() {
            assert!(!frames.all_finished());
            frames.insert(index, index == 7);
            frames.insert(index, true);
        }
        frames.insert(130, false);
        assert!(frames.all_finished());
        assert_eq!(frames.spoiled, 1);
        assert_eq!(frames.first_missing(0), None);
    }

    #[test]
    fn presence_is_superseded_by_two_newer_ones() {
        let mut memory = Memory::default();
        for pn in [3, 9] {
            memory.enter(&header(pn), Status::Presence, 400);
        }
        assert!(!memory.presence_superseded(&PacketKey::of(&header(3))));
        memory.enter(&header(10), Status::Presence, 400);
        assert!(memory.presence_superseded(&PacketKey::of(&header(3))));
        assert!(!memory.presence_superseded(&PacketKey::of(&header(9))));
    }
}
