//! Packet numbers: reserved durably in blocks before use, never used twice (wire format §3).
//!
//! Invariant: every number handed out lies below a durable reservation, so a start begins at the first number that was not reserved.
//! Test to read first: `a_number_is_used_only_from_a_durable_block`.

use crate::limits::{PN_BLOCK, PN_BLOCK_LOW};
use crate::mutation::{Mutation, mutated};
use wire::PacketNumber;

/// The next packet number, and how far numbers may go.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    next: u64,
    reserved_below: u64,
    requested_below: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next: 1, reserved_below: 1, requested_below: 1 }
    }
}

impl Numbers {
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// A reservation to make durable, if few numbers are left.
    pub(crate) const fn request(&mut self) -> Option<u64> {
        if self.next + PN_BLOCK_LOW <= self.requested_below {
            return None;
        }
        self.requested_below += PN_BLOCK;
        Some(self.requested_below)
    }

    /// A reservation is durable.
    pub(crate) fn reserved(&mut self, below: u64) {
        self.reserved_below = self.reserved_below.max(below);
        self.requested_below = self.requested_below.max(below);
    }

    /// Numbers below this may have been used before the start.
    pub(crate) fn restore(&mut self, below: u64) {
        self.reserved(below);
        if !mutated(Mutation::PnReused) {
            self.next = self.next.max(below);
        }
    }

    /// Everything below is reserved, or on its way to the disk.
    pub(crate) const fn requested_below(&self) -> u64 {
        self.requested_below
    }

    /// Whether a number may be used.
    pub(crate) const fn is_available(&self) -> bool {
        self.next < self.reserved_below
    }

    /// The next number, used up by this.
    pub(crate) fn take(&mut self) -> Option<PacketNumber> {
        let pn = PacketNumber::new(self.next).filter(|_| self.is_available())?;
        self.next += 1;
        Some(pn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_only_from_a_durable_block() {
        let mut numbers = Numbers::default();
        let below = numbers.request().unwrap();
        assert_eq!((numbers.request(), numbers.take()), (None, None));
        numbers.reserved(below);
        let mut used = 0;
        while numbers.take().is_some() {
            used += 1;
        }
        assert_eq!(used, PN_BLOCK);
        let next = numbers.request().unwrap();
        assert_eq!(next, below + PN_BLOCK);
        assert_eq!(numbers.take(), None);

        let mut restarted = Numbers::default();
        restarted.restore(below);
        restarted.restore(next);
        restarted.reserved(restarted.clone().request().unwrap());
        assert_eq!(restarted.take().map(PacketNumber::get), Some(next));
    }
}
