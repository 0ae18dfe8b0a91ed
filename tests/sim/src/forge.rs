//! Files that nobody sent, or not so: garbage, forged headers, re-addressed, replayed and reflected packets, and records that a
//! scanner eats.
//!
//! Invariants: forgers have no keys, and they have everything that was ever carried; what they make is remembered, so that a
//! checker knows it if an engine ever takes it for genuine. Test to read first: `every_fault_of_the_menu_is_met`.

use std::collections::BTreeSet;

use wire::header::{HEADER_LEN, Header};
use wire::{EndpointId, PacketName, PacketNumber};

use crate::faults::Fault;
use crate::mirror::Carried;
use crate::rng::Rng;
use crate::world::World;

/// Numbers that only forgers use.
pub const FORGED_PN: u64 = 1 << 39;

/// What forgers made.
#[derive(Debug)]
pub struct Forger {
    pub(crate) rng: Rng,
    /// To whom packets were re-addressed, and their salts.
    pub(crate) re_addressed: BTreeSet<(EndpointId, [u8; 32])>,
}

impl Forger {
    /// Has made nothing yet.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { rng, re_addressed: BTreeSet::new() }
    }

    /// True for a packet that no endpoint sent so.
    #[must_use]
    pub fn made(&self, header: &Header) -> bool {
        header.pn.get() >= FORGED_PN || self.re_addressed.contains(&(header.recipient, header.salt))
    }
}

impl World {
    /// A file that nobody sent appears somewhere.
    pub(crate) fn forge(&mut self) {
        let count = self.mirror.carried.len() as u64;
        let choice = self.forger.rng.below(count);
        let Some(carried) = self.mirror.carried.get(usize::try_from(choice).unwrap_or(0)).cloned() else { return };
        let Ok(header) = Header::parse(&carried.bytes) else { return };
        let reader = 1 - carried.from;
        let (fault, planted) = match self.forger.rng.below(6) {
            0 => (Fault::SpoofGarbage, self.plant_garbage(&carried, &header)),
            1 => (Fault::SpoofHeader, self.plant_forged(&carried, header)),
            2 => (Fault::ReAddressed, self.plant_re_addressed(&carried, &header)),
            3 => (Fault::Reflect, self.plant_reflected(&carried, &header)),
            _ => (Fault::Replay, self.mirror.plant(reader, &carried.path, &carried.bytes)),
        };
        if planted {
            self.shared.count(fault);
        }
    }

    fn name(&mut self, header: &Header) -> PacketName {
        PacketName {
            recipient: header.recipient,
            sender: header.sender,
            incarnation_random: header.sender_incarnation.random,
            pn: header.pn,
            tag: u32::try_from(self.forger.rng.below(1 << 32)).unwrap_or(0),
        }
    }

    fn plant_garbage(&mut self, carried: &Carried, header: &Header) -> bool {
        let pn = FORGED_PN + self.forger.rng.below(1 << 20);
        let len = self.forger.rng.between(0, 3_000);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.forger.rng.fill(&mut bytes);
        if self.forger.rng.percent(50) {
            // With a beginning that looks genuine.
            let genuine = carried.bytes.len().min(HEADER_LEN).min(bytes.len());
            bytes[..genuine].copy_from_slice(&carried.bytes[..genuine]);
        }
        let Some(pn) = PacketNumber::new(pn) else { return false };
        let path = PacketName { pn, ..self.name(header) }.path();
        self.mirror.plant(1 - carried.from, &path, &bytes)
    }

    fn plant_forged(&mut self, carried: &Carried, header: Header) -> bool {
        let Some(pn) = PacketNumber::new(FORGED_PN + self.forger.rng.below(1 << 20)) else { return false };
        let forged = Header { pn, ..header };
        let path = self.name(&forged).path();
        let mut bytes = carried.bytes.to_vec();
        bytes[..HEADER_LEN].copy_from_slice(&forged.encode());
        self.mirror.plant(1 - carried.from, &path, &bytes)
    }

    fn plant_re_addressed(&mut self, carried: &Carried, header: &Header) -> bool {
        let reader = 1 - carried.from;
        let others: Vec<EndpointId> = self
            .nodes
            .iter()
            .filter(|node| node.place.side_number == reader && node.place.me != header.recipient)
            .map(|node| node.place.me)
            .collect();
        let choice = self.forger.rng.below(others.len() as u64);
        let Some(recipient) = others.get(usize::try_from(choice).unwrap_or(0)).copied() else { return false };
        let mut bytes = carried.bytes.to_vec();
        let addressed = Header { recipient, ..header.clone() };
        if self.forger.rng.percent(70) {
            bytes[..HEADER_LEN].copy_from_slice(&addressed.encode());
        }
        self.forger.re_addressed.insert((recipient, header.salt));
        let path = self.name(&addressed).path();
        self.mirror.plant(reader, &path, &bytes)
    }

    fn plant_reflected(&mut self, carried: &Carried, header: &Header) -> bool {
        let turned = Header { recipient: header.sender, sender: header.recipient, ..header.clone() };
        let path = self.name(&turned).path();
        self.mirror.plant(carried.from, &path, &carried.bytes)
    }

    /// From now on every file with one of the next records of a pair is eaten, for a while.
    pub(crate) fn poison(&mut self) {
        let now = self.shared.clock.now();
        let count = self.mirror.carried.len() as u64;
        let choice = self.forger.rng.below(count);
        let Some(carried) = self.mirror.carried.get(usize::try_from(choice).unwrap_or(0)) else { return };
        let prefix: String = carried.path.split('/').take(2).collect::<Vec<_>>().join("/");
        let Some(newest) = self.watch.newest_seq(&prefix) else { return };
        let seq = newest + self.forger.rng.below(3);
        let latency = self.shared.options.latency_us;
        let end = self.shared.options.faults_for_us;
        let until = now + self.forger.rng.between(latency * 8, latency * 60);
        // Where nothing else goes wrong there is one poisoned record, to the end.
        let until = if self.shared.options.only_poison { end } else { until.min(end) };
        if !(self.shared.options.only_poison && self.mirror.is_poisoned()) {
            self.mirror.poison(prefix, seq, until);
        }
    }
}
