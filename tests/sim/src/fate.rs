//! What becomes of one file on its way: the states in which its reader sees it, one after the other.
//!
//! Invariants: a fate is drawn once, when the file appears; the lengths of cuts and zero tails are multiples of 16 octets or fall
//! into content, so that random octets of a packet never decide what happens. Test to read first: `every_course_ends`.

use std::sync::Arc;
use std::time::Duration;

use crate::faults::Fault;
use crate::options::FileFaults;
use crate::rng::Rng;

/// What a reader sees of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// Its beginning, for the reason given.
    Cut(u64, Fault),
    /// Its beginning, and zeros up to its length.
    Zeros(u64, Fault),
    /// One bit of it is another.
    Flipped(u64),
}

impl Shape {
    /// The octets, and the fault that this is.
    #[must_use]
    pub fn of(self, bytes: &Arc<Vec<u8>>) -> (Vec<u8>, Option<Fault>) {
        let len = bytes.len();
        let at = |at: u64| usize::try_from(at).unwrap_or(len).min(len);
        match self {
            Self::Whole => (bytes.to_vec(), None),
            Self::Cut(end, fault) => (bytes[..at(end)].to_vec(), Some(fault)),
            Self::Zeros(end, fault) => {
                let mut content = bytes[..at(end)].to_vec();
                content.resize(len, 0);
                (content, Some(fault))
            }
            Self::Flipped(bit) => {
                let mut content = bytes.to_vec();
                if let Some(byte) = content.get_mut(at(bit / 8)) {
                    *byte ^= 1 << (bit % 8);
                }
                (content, Some(Fault::BitFlip))
            }
        }
    }
}

/// What becomes of a file.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// It never arrives.
    pub lost: bool,
    /// It arrives under another name.
    pub renamed: bool,
    /// It arrives twice.
    pub twice: bool,
    cut: bool,
    zeros: bool,
    slow: bool,
    late: bool,
    flipped: bool,
}

impl Fate {
    /// Nothing befalls it.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// Draws.
    #[must_use]
    pub fn draw(rng: &mut Rng, faults: &FileFaults) -> Self {
        Self {
            lost: rng.per_mille(faults.loss),
            renamed: rng.per_mille(faults.rename),
            twice: rng.per_mille(faults.duplicate),
            cut: rng.per_mille(faults.cut),
            zeros: rng.per_mille(faults.zero_tail),
            slow: rng.per_mille(faults.slow),
            late: rng.per_mille(faults.late),
            flipped: rng.per_mille(faults.flip),
        }
    }

    /// The states of a file of this length, and when each is there after the first may be.
    #[must_use]
    pub fn course(&self, rng: &mut Rng, len: u64, quiet_min: Duration) -> Vec<(u64, Shape)> {
        let quiet_us = u64::try_from(quiet_min.as_micros()).unwrap_or(u64::MAX);
        if self.flipped {
            return vec![(0, Shape::Flipped(rng.below(len * 8)))];
        }
        if self.late {
            // Long enough to be given up before.
            let at = rng.between(quiet_us * 2, quiet_us * 12);
            let first = if rng.percent(50) {
                Shape::Cut(rng.below(len), Fault::LateGrowth)
            } else {
                Shape::Zeros(rng.below(len) / 16 * 16, Fault::LateGrowth)
            };
            return vec![(0, first), (at, Shape::Whole)];
        }
        let mut course = Vec::new();
        if self.slow {
            let pieces = rng.between(2, 4);
            for piece in 1..pieces {
                let gap = rng.below(quiet_us.max(2) * 2 / 3);
                let before = course.last().map_or(0, |(at, _)| *at);
                course.push((before + gap, Shape::Cut(len * piece / pieces, Fault::SlowGrowth)));
            }
        }
        let at = course.last().map_or(0, |(at, _)| *at) + u64::from(self.slow) * rng.below(quiet_us.max(2) * 2 / 3);
        course.push((at, self.end(rng, len)));
        course
    }

    fn end(&self, rng: &mut Rng, len: u64) -> Shape {
        if self.zeros {
            return Shape::Zeros(rng.below(len) / 16 * 16, Fault::ZeroTail);
        }
        if !self.cut {
            return Shape::Whole;
        }
        // Every unit that fits is as likely as any octet.
        let units = [(1 << 20, Fault::Cut1Mib), (64 << 10, Fault::Cut64Kib), (4 << 10, Fault::Cut4Kib)];
        let fitting: Vec<_> = units.into_iter().filter(|(unit, _)| len > *unit).collect();
        let choice = rng.below(fitting.len() as u64 + 1);
        match fitting.get(usize::try_from(choice).unwrap_or(usize::MAX)) {
            Some((unit, fault)) => Shape::Cut(rng.below((len - 1) / unit + 1) * unit, *fault),
            None => Shape::Cut(rng.below(len), Fault::CutAnywhere),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_course_ends() {
        let mut rng = Rng::new(1);
        let all = FileFaults { cut: 300, zero_tail: 200, slow: 300, late: 200, flip: 100, ..FileFaults::default() };
        for _ in 0..2_000 {
            let fate = Fate::draw(&mut rng, &all);
            let len = rng.between(400, 3 << 20);
            let course = fate.course(&mut rng, len, Duration::from_secs(1));
            assert!(course.is_sorted_by_key(|(at, _)| *at) && !course.is_empty());
            if fate.late {
                assert!(fate.flipped || course.last().is_some_and(|(_, shape)| *shape == Shape::Whole));
            }
        }
        let plain = Fate::plain().course(&mut rng, 10, Duration::from_secs(1));
        assert_eq!(plain, [(0, Shape::Whole)]);
    }
}
