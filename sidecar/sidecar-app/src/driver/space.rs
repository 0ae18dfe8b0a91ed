//! A full disk: what was promised still fits, and nothing new is taken.
//!
//! The log has space set aside for the receive pool (credit is reserved disk) and for checkpoints, acknowledgements and marks.
//! When the disk is full, appends use it. While it is not whole, new calls are refused, writers wait, and no further credit is
//! given; when there is space again it is made whole first, and then everything goes on.
//!
//! Invariant: nothing is refused here that was accepted before. Test to read first:
//! `a_full_disk_refuses_new_calls_and_keeps_what_was_promised`.

use std::time::Duration;

use disk::log::Volume;
use layer1_replication::Timestamp;
use wire::EndpointId;

use super::Driver;

/// How often a full disk is looked at for new space: callers are refused until then.
pub(super) const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// As many times of what is set aside are free on a disk that is under no pressure.
const PLENTY: u64 = 8;

impl Driver {
    /// Makes the space set aside whole again if the disk has some.
    pub(super) fn look_for_space(&mut self, now: Timestamp) {
        if now >= self.space_due {
            self.space_due = now.after(LOOK_PERIOD);
            self.journal.refill();
        }
    }

    /// Tells the peers how full the disk is.
    pub(super) fn feel_pressure(&mut self, now: Timestamp) {
        let Some(volume) = self.journal.volume() else { return };
        let level = pressure_of(volume, self.journal.aside().wanted);
        if std::mem::replace(&mut self.pressure, level) != level {
            tracing::info!(level, free = volume.free, total = volume.total, "pressure of the disk of the state folder");
        }
        for slot in self.slots.values_mut() {
            slot.peer.set_pressure(now, level);
        }
    }

    /// Takes notice of whether the space set aside is whole.
    pub(super) fn watch_space(&mut self) {
        let tight = !self.journal.aside().is_whole();
        if tight == self.tight {
            return;
        }
        self.tight = tight;
        let now = self.host.now();
        for slot in self.slots.values_mut() {
            slot.tight = tight;
            slot.peer.hold_credit(now, tight);
        }
        self.feel_pressure(now);
        match self.lack_of_space() {
            Some(lack) => tracing::warn!("{lack}"),
            None => {
                tracing::info!("there is space on the volume of the state folder again");
                for peer in self.slots.keys().copied().collect::<Vec<EndpointId>>() {
                    self.writable(peer);
                }
            }
        }
    }

    /// What is said while the disk is full.
    pub(super) fn lack_of_space(&self) -> Option<String> {
        let aside = self.journal.aside();
        (!aside.is_whole()).then(|| {
            let (bytes, wanted) = (aside.bytes, aside.wanted);
            format!(
                "the volume of the state folder is full: {bytes} of {wanted} bytes are left of what is set aside; no new calls are \
                 taken until there is space: free some on it"
            )
        })
    }
}

/// The level of pressure. Percentages say little of a large disk: there is none while what is free is many times of what is set
/// aside.
fn pressure_of(volume: Volume, aside: u64) -> u8 {
    if volume.free >= aside.saturating_mul(PLENTY) {
        return 0;
    }
    layer1_replication::pressure_level(volume.total.saturating_sub(volume.free), volume.total)
}

#[cfg(test)]
mod tests {
    //! A driver over a log in memory whose disk is full.
    use disk::log::{Fault, MemStorage};

    use super::*;

    use crate::command::BeginError;
    use crate::driver::carry::tests::Bench;

    #[test]
    fn a_full_disk_refuses_new_calls_and_keeps_what_was_promised() {
        let storage = MemStorage::new();
        let mut bench = Bench::start_with(&storage, 8 << 20).unwrap();
        bench.call().unwrap();
        // The next write finds no space.
        storage.fail_at(storage.calls(), Fault::Full);
        bench.traffic(4096).unwrap();
        bench.driver.settle().unwrap();
        assert!(bench.driver.tight);
        let told = bench.driver.status().log_failure.unwrap();
        assert!(told.contains("is full: 4194304 of 8388608 bytes"), "{told}");
        assert!(matches!(bench.begin(2), Err(BeginError::DiskFull)));
        // What was promised goes on, over checkpoints and a restart on the full disk.
        bench.traffic(200 << 10).unwrap();
        bench.assert_both_are_there();
        drop(bench);
        storage.restart();
        let bench = Bench::start_with(&storage, 0).unwrap();
        bench.assert_both_are_there();
        drop(bench.driver.status());
        drop(bench);
        let mut bench = Bench::start_with(&storage, 8 << 20).unwrap();
        assert!(!bench.driver.tight);
        bench.begin(3).unwrap();
    }

    #[test]
    fn space_that_comes_back_lets_new_calls_in() {
        let storage = MemStorage::new();
        let mut bench = Bench::start_with(&storage, 8 << 20).unwrap();
        storage.fail_at(storage.calls(), Fault::Full);
        bench.traffic(4096).unwrap();
        bench.driver.settle().unwrap();
        assert!(matches!(bench.begin(2), Err(BeginError::DiskFull)));
        bench.driver.journal.refill();
        bench.driver.settle().unwrap();
        assert_eq!(bench.driver.status().log_failure, None);
        bench.begin(2).unwrap();
    }

    /// It was looked for every ten seconds only, and callers were refused that long although there was space again.
    #[test]
    fn a_full_disk_is_looked_at_every_second() {
        let storage = MemStorage::new();
        let mut bench = Bench::start_with(&storage, 8 << 20).unwrap();
        assert!(bench.driver.wait() > LOOK_PERIOD);
        storage.fail_at(storage.calls(), Fault::Full);
        bench.traffic(4096).unwrap();
        bench.driver.settle().unwrap();
        assert!(bench.driver.tight && bench.driver.wait() <= LOOK_PERIOD);
        let due = bench.driver.space_due;
        bench.driver.look_for_space(due);
        bench.driver.settle().unwrap();
        assert!(!bench.driver.tight);
        assert_eq!(bench.driver.space_due, due.after(LOOK_PERIOD));
    }

    #[test]
    fn pressure_is_of_disks_that_are_nearly_full_and_small_for_what_is_promised() {
        let level = |free, total| pressure_of(Volume { free, total }, 10);
        assert_eq!(
            [(31, 100), (29, 100), (14, 100), (4, 100), (0, 0)].map(|(free, total)| level(free, total)),
            [0, 1, 2, 3, 0]
        );
        assert_eq!(level(80, 10_000), 0);
        assert_eq!(level(79, 10_000), 3);
    }

    #[test]
    fn a_failed_sync_stops_the_driver() {
        let storage = MemStorage::new();
        let mut bench = Bench::start_with(&storage, 8 << 20).unwrap();
        storage.fail_at(storage.calls() + 1, Fault::Broken);
        let error = bench.traffic(4096).unwrap_err();
        assert!(format!("{error:?}").contains("memory/0000000000000001.log"), "{error:?}");
    }
}
