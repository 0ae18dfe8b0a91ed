//! Quotas and caches of outbound rules.
//!
//! Invariant: nothing that binds is zero, and a part is not larger than its whole. Test to read first:
//! `contradictions_of_quotas_and_caches_are_caught` in `read/near_side.rs`.

use bytesize::ByteSize;

use super::bounds::size_within;
use crate::{cache::Cache, problem::Problems, quantity::format_size, quota::Quota};

/// Fewer bytes a second would let one piece of a body rest for hours.
const RATE_MIN: ByteSize = ByteSize::kib(1);
/// A day that is over after one small call is a mistake.
const DAY_MIN: ByteSize = ByteSize::kib(1);
/// Larger responses are not for the memory.
const BODY_MAX: ByteSize = ByteSize::mib(1);
const BODY_MIN: ByteSize = ByteSize::kib(1);

pub(super) fn quota(field: &str, quota: &Quota, in_flight_max: u32, problems: &mut Problems) {
    for (name, count) in [("requestsPerMinute", quota.requests_per_minute), ("maxInFlight", quota.max_in_flight)] {
        if count == Some(0) {
            problems.add(
                format!("{field}.{name}"),
                "is 0: no call could be made",
                "write at least 1, or remove the field for no bound",
            );
        }
    }
    if let Some(count) = quota.max_in_flight
        && count > in_flight_max
    {
        problems.add(
            format!("{field}.maxInFlight"),
            format!("{count} is more than limits.maxInFlight, {in_flight_max}: it would bind nothing"),
            format!("write at most {in_flight_max}, or remove the field"),
        );
    }
    for (name, size, min) in
        [("bytesPerSecond", quota.bytes_per_second, RATE_MIN), ("bytesPerDay", quota.bytes_per_day, DAY_MIN)]
    {
        if let Some(size) = size {
            size_within(&format!("{field}.{name}"), size, min, None, problems);
        }
    }
}

pub(super) fn cache(field: &str, cache: &Cache, total: ByteSize, problems: &mut Problems) {
    size_within(&format!("{field}.bodyMax"), cache.body_max, BODY_MIN, Some(BODY_MAX), problems);
    size_within(&format!("{field}.bytesMax"), cache.bytes_max, BODY_MIN, None, problems);
    if cache.body_max > cache.bytes_max {
        problems.add(
            format!("{field}.bodyMax"),
            format!("{} is larger than bytesMax: it would never be kept", format_size(cache.body_max)),
            format!("write at most {}", format_size(cache.bytes_max)),
        );
    }
    if cache.enabled && cache.bytes_max > total {
        problems.add(
            format!("{field}.bytesMax"),
            format!("{} is larger than limits.cacheBytes, {}", format_size(cache.bytes_max), format_size(total)),
            format!("write at most {}, or raise limits.cacheBytes", format_size(total)),
        );
    }
}
