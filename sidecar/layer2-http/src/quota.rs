//! How much of the line the calls of a rule may use: all of them together, and those of each caller.
//!
//! Calls a minute and bytes a second are counted by the generic cell rate algorithm: one number says when the next
//! one is due, and what was saved up is worth a minute of calls, or a second of bytes, at once. Bytes a day are a sum
//! that begins anew at midnight UTC. Invariants: a call that is refused counts for nothing; one that was accepted is
//! never cut, only its bytes are held back; what began is ended once. It reads no clock, and forgets with the
//! process. Test to read first: `each_bound_refuses_and_says_when_to_come_back`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Callers of one rule that are told apart; more of them share what one may use.
pub const MAX_CALLERS: usize = 4_096;
/// How long bytes may wait before new calls are refused: a body under way is slowed, but calls do not pile up behind
/// it.
const BACKLOG_US_MAX: u64 = 10_000_000;
/// Bytes that are saved up, as the time that they take.
const BURST_US: u64 = 1_000_000;
/// When to ask again for a place: nobody knows when a call ends.
const PLACE_RETRY_S: u64 = 5;
const DAY_S: u64 = 86_400;

/// A moment, by the engine's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// By a clock that never goes back.
    pub mono_us: u64,
    /// By the calendar.
    pub unix_s: u64,
}

/// What may be used; what is not given does not bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Calls a minute.
    pub requests_per_minute: Option<u32>,
    /// Bytes of requests and responses a second.
    pub bytes_per_second: Option<u64>,
    /// Bytes of requests and responses a day.
    pub bytes_per_day: Option<u64>,
    /// Calls that have not ended.
    pub max_in_flight: Option<u32>,
}

impl Bounds {
    /// Does anything bind?
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// One of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Calls a minute.
    RequestsPerMinute,
    /// Bytes a second.
    BytesPerSecond,
    /// Bytes a day.
    BytesPerDay,
    /// Calls that have not ended.
    MaxInFlight,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RequestsPerMinute, Self::BytesPerSecond, Self::BytesPerDay, Self::MaxInFlight];

    /// The field of the configuration.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requestsPerMinute",
            Self::BytesPerSecond => "bytesPerSecond",
            Self::BytesPerDay => "bytesPerDay",
            Self::MaxInFlight => "maxInFlight",
        }
    }

    /// The word for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::BytesPerSecond => "bytes_per_second",
            Self::BytesPerDay => "bytes_per_day",
            Self::MaxInFlight => "max_in_flight",
        }
    }
}

/// A bound that a call would go beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub bound: Bound,
    /// Its value.
    pub limit: u64,
    /// Seconds until the call would pass if nothing else were used; at least 1.
    pub retry_after_s: u64,
    /// It is what one caller may use, not the whole rule.
    pub of_caller: bool,
}

/// What was used of some bounds.
#[derive(Clone, Debug)]
struct Quota {
    bounds: Bounds,
    /// When the next call is due, in nanoseconds.
    call_due_ns: u128,
    /// When the next byte is due.
    byte_due_us: u64,
    day: u64,
    day_bytes: u64,
    in_flight: u32,
}

impl Quota {
    const fn new(bounds: Bounds) -> Self {
        Self { bounds, call_due_ns: 0, byte_due_us: 0, day: 0, day_bytes: 0, in_flight: 0 }
    }

    /// Would a call pass that declares so many bytes?
    fn check(&self, now: Moment, declared: u64) -> Result<(), (Bound, u64, u64)> {
        let Bounds { requests_per_minute, bytes_per_second, bytes_per_day, max_in_flight } = self.bounds;
        if let Some(max) = max_in_flight
            && self.in_flight >= max
        {
            return Err((Bound::MaxInFlight, max.into(), PLACE_RETRY_S));
        }
        if let Some(most) = bytes_per_day {
            let used = self.used_today(now);
            // One call may go beyond a whole day's bytes: else it could never be made.
            if used >= most || (used > 0 && used.saturating_add(declared) > most) {
                return Err((Bound::BytesPerDay, most, DAY_S - now.unix_s % DAY_S));
            }
        }
        if let Some(rate) = bytes_per_second {
            let behind_us = self.byte_due_us.saturating_sub(now.mono_us);
            if behind_us > BACKLOG_US_MAX {
                return Err((Bound::BytesPerSecond, rate, (behind_us - BACKLOG_US_MAX).div_ceil(1_000_000)));
            }
        }
        if let Some(calls) = requests_per_minute {
            let now_ns = u128::from(now.mono_us) * 1_000;
            let early_ns = self.next_call_ns(calls, now_ns).saturating_sub(now_ns + saved_ns(calls));
            if early_ns > 0 {
                let retry_s = u64::try_from(early_ns.div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
                return Err((Bound::RequestsPerMinute, calls.into(), retry_s));
            }
        }
        Ok(())
    }

    fn begin(&mut self, now: Moment) {
        self.in_flight += 1;
        if let Some(calls) = self.bounds.requests_per_minute {
            self.call_due_ns = self.next_call_ns(calls, u128::from(now.mono_us) * 1_000);
        }
    }

    fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Counts bytes that pass; how long the next ones have to wait.
    fn took(&mut self, now: Moment, bytes: u64) -> u64 {
        if self.bounds.bytes_per_day.is_some() {
            self.day_bytes = self.used_today(now).saturating_add(bytes);
            self.day = now.unix_s / DAY_S;
        }
        let Some(rate) = self.bounds.bytes_per_second else { return 0 };
        let took_us = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
        let took_us = u64::try_from(took_us).unwrap_or(u64::MAX);
        self.byte_due_us = self.byte_due_us.max(now.mono_us).saturating_add(took_us);
        self.byte_due_us.saturating_sub(now.mono_us).saturating_sub(BURST_US)
    }

    fn used_today(&self, now: Moment) -> u64 {
        if now.unix_s / DAY_S == self.day { self.day_bytes } else { 0 }
    }

    fn next_call_ns(&self, calls: u32, now_ns: u128) -> u128 {
        self.call_due_ns.max(now_ns) + interval_ns(calls)
    }

    /// Forgetting it changes nothing.
    fn at_rest(&self, now: Moment) -> bool {
        self.in_flight == 0
            && self.used_today(now) == 0
            && self.byte_due_us <= now.mono_us
            && self.call_due_ns <= u128::from(now.mono_us) * 1_000
    }
}

/// Between two calls.
fn interval_ns(calls: u32) -> u128 {
    60_000_000_000_u128.div_ceil(u128::from(calls.max(1)))
}

/// What may be saved up: a minute of calls.
fn saved_ns(calls: u32) -> u128 {
    interval_ns(calls) * u128::from(calls.max(1))
}

/// What was used of the quotas of all rules.
#[derive(Debug, Default)]
pub struct Book {
    rules: BTreeMap<String, Page>,
}

#[derive(Debug)]
struct Page {
    whole: Quota,
    each: Bounds,
    callers: BTreeMap<IpAddr, Quota>,
}

/// The caller in whose name those are counted that there is no room to tell apart.
const THE_REST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Book {
    /// Opens a page for a rule; none if nothing binds its calls.
    pub fn add(&mut self, rule: &str, whole: Bounds, each: Bounds) {
        if whole.any() || each.any() {
            let page = Page { whole: Quota::new(whole), each, callers: BTreeMap::new() };
            self.rules.insert(rule.to_owned(), page);
        }
    }

    /// Are the calls of this rule counted?
    #[must_use]
    pub fn counts(&self, rule: &str) -> bool {
        self.rules.contains_key(rule)
    }

    /// Is the number of calls of this rule bounded that have not ended, in all or for each caller?
    #[must_use]
    pub fn bounds_places(&self, rule: &str) -> bool {
        let bounded = |bounds: Bounds| bounds.max_in_flight.is_some();
        self.rules.get(rule).is_some_and(|page| bounded(page.whole.bounds) || bounded(page.each))
    }

    /// Counts a call that begins and declares so many bytes. What is returned names the caller in [`Self::took`] and
    /// [`Self::end`].
    ///
    /// # Errors
    /// When it would go beyond a bound; then it counts for nothing.
    pub fn begin(&mut self, rule: &str, caller: IpAddr, now: Moment, declared: u64) -> Result<IpAddr, Over> {
        let Some(page) = self.rules.get_mut(rule) else { return Ok(caller) };
        let over = |of_caller| {
            move |(bound, limit, retry_s): (Bound, u64, u64)| Over {
                bound,
                limit,
                retry_after_s: retry_s.max(1),
                of_caller,
            }
        };
        page.whole.check(now, declared).map_err(over(false))?;
        let caller = if page.each.any() { page.caller(caller, now) } else { THE_REST };
        if let Some(quota) = page.callers.get_mut(&caller) {
            quota.check(now, declared).map_err(over(true))?;
            quota.begin(now);
        }
        page.whole.begin(now);
        Ok(caller)
    }

    /// Counts bytes of a call that began; for how many microseconds the next ones are to be held back.
    pub fn took(&mut self, rule: &str, caller: IpAddr, now: Moment, bytes: u64) -> u64 {
        let Some(page) = self.rules.get_mut(rule) else { return 0 };
        let of_caller = page.callers.get_mut(&caller).map_or(0, |quota| quota.took(now, bytes));
        page.whole.took(now, bytes).max(of_caller)
    }

    /// A call that began has ended.
    pub fn end(&mut self, rule: &str, caller: IpAddr) {
        let Some(page) = self.rules.get_mut(rule) else { return };
        page.whole.end();
        if let Some(quota) = page.callers.get_mut(&caller) {
            quota.end();
        }
    }

    /// Octets that may pass at once, so that no piece waits for much longer than another.
    #[must_use]
    pub fn piece(&self, rule: &str) -> Option<usize> {
        let page = self.rules.get(rule)?;
        let rate = [page.whole.bounds, page.each].into_iter().filter_map(|bounds| bounds.bytes_per_second).min()?;
        Some(usize::try_from(rate / 4).unwrap_or(usize::MAX).clamp(1_024, 256 * 1_024))
    }
}

impl Page {
    fn is_full(&self) -> bool {
        self.callers.len() - usize::from(self.callers.contains_key(&THE_REST)) >= MAX_CALLERS
    }

    /// The name under which a caller is counted, with its quota made.
    fn caller(&mut self, caller: IpAddr, now: Moment) -> IpAddr {
        let caller = caller.to_canonical();
        if !self.callers.contains_key(&caller) && self.is_full() {
            self.callers.retain(|_, quota| !quota.at_rest(now));
        }
        let caller = if self.is_full() && !self.callers.contains_key(&caller) { THE_REST } else { caller };
        self.callers.entry(caller).or_insert_with(|| Quota::new(self.each));
        caller
    }
}

#[cfg(test)]
mod tests;
