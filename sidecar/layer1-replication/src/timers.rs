//! The one table of deadlines of a peer. No other module keeps a timer.
//!
//! Invariant: a timer fires once and is then unset; what it means is kept as a wish by the glue, so a deadline that has passed is never
//! reported twice, however long the outbox is full. Test to read first: `the_earliest_timer_fires_once`.

use crate::time::Timestamp;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// First contact is tried again.
    Hello,
    /// An answer to an incarnation that is not confirmed was put off.
    Answer,
    /// An acknowledgement is due.
    Ack,
    /// Small records have gathered long enough.
    FlushSmall,
    /// Bulk has gathered long enough.
    FlushBulk,
    /// A packet is overtaken for too long.
    Loss,
    /// No news of my packets.
    Pto,
    /// Nothing was sent for long.
    Heartbeat,
    /// Publishing failed a moment ago.
    PublishRetry,
    /// Old packets are looked through.
    Sweep,
}

impl Timer {
    const ALL: [Self; 10] = [
        Self::Hello,
        Self::Answer,
        Self::Ack,
        Self::FlushSmall,
        Self::FlushBulk,
        Self::Loss,
        Self::Pto,
        Self::Heartbeat,
        Self::PublishRetry,
        Self::Sweep,
    ];
}

/// The deadlines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Timestamp>; Timer::ALL.len()],
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Sets it unless it is due earlier anyway.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Timestamp) {
        let earlier = self.get(timer).map_or(at, |set| set.min(at));
        self.set(timer, earlier);
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(crate) fn clear(&mut self) {
        self.deadlines = Default::default();
    }

    pub(crate) const fn get(&self, timer: Timer) -> Option<Timestamp> {
        self.deadlines[timer as usize]
    }

    pub(crate) const fn is_set(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Unsets and returns one timer whose time has come.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Option<Timer> {
        let timer = Timer::ALL.into_iter().find(|timer| self.get(*timer).is_some_and(|at| at <= now))?;
        self.cancel(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_timer_fires_once() {
        let mut timers = Timers::default();
        for (n, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, n);
        }
        timers.set(Timer::Ack, Timestamp::from_micros(5));
        timers.set(Timer::Pto, Timestamp::from_micros(9));
        timers.set_earlier(Timer::Pto, Timestamp::from_micros(7));
        timers.set_earlier(Timer::Pto, Timestamp::from_micros(8));
        assert_eq!(timers.next(), Some(Timestamp::from_micros(5)));
        assert_eq!(timers.expire(Timestamp::from_micros(4)), None);
        assert_eq!(timers.expire(Timestamp::from_micros(7)), Some(Timer::Ack));
        assert_eq!(timers.expire(Timestamp::from_micros(7)), Some(Timer::Pto));
        assert_eq!(timers.expire(Timestamp::from_micros(7)), None);
        assert_eq!(timers.next(), None);
    }
}
