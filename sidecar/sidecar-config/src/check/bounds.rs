//! Sizes, counts and durations: none is zero, and none contradicts another.
//!
//! Invariant: after these checks the engine may divide by, clamp between and allocate up to any of these values.
//! It does not know how much disk or memory there is. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::time::Duration;

use bytesize::ByteSize;

use crate::{
    problem::Problems,
    quantity::{format_duration, format_size},
    section::{Heartbeat, Limits, Mirror, Outbox, State},
};

/// Smallest quota of state: one credit of the protocol.
const QUOTA_MIN: ByteSize = ByteSize::mib(1);
/// Smallest packet worth a file.
const PACKET_MIN: ByteSize = ByteSize::kib(64);
/// Smallest file size limit of a mirror that one piece of a body, 256 KiB with its envelope, fits into.
const FILE_MIN: ByteSize = ByteSize::kib(512);
/// Most exchanges at once.
const IN_FLIGHT_MAX: u32 = 65_536;
/// Largest packet of the wire format (§14).
const PACKET_MAX: ByteSize = ByteSize::tib(1);
/// Bounds of a header section (wire format §14).
const HEADER_MIN: ByteSize = ByteSize::kib(1);
const HEADER_MAX: ByteSize = ByteSize::mib(1);
/// Smallest cache that holds a response.
const CACHE_MIN: ByteSize = ByteSize::kib(64);
/// Window of a stream before the peer has announced one.
const STREAM_WINDOW_MIN: ByteSize = ByteSize::mib(1);
/// A mirror is not asked to carry more files than this for an idle engine.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest quiet time: longer than the gaps of any mirror.
const QUIET_MAX: Duration = Duration::from_secs(3600);
/// Silence after which an endpoint is forgotten, unless the file says otherwise.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Longest duration that still can be added to a clock, 100 years.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Fewer bytes a second would let one packet rest for hours.
const RATE_MIN: ByteSize = ByteSize::kib(1);

pub(super) fn outbox(outbox: &Outbox, problems: &mut Problems) {
    let zero =
        [("outbox.filesPerSecond", outbox.files_per_second.map(u64::from)), ("outbox.filesMax", outbox.files_max)];
    for (field, _) in zero.into_iter().filter(|(_, count)| *count == Some(0)) {
        problems.add(field, "is 0: nothing could be sent", "write at least 1, or remove the field for no bound");
    }
    if let Some(rate) = outbox.bytes_per_second {
        size_within("outbox.bytesPerSecond", rate, RATE_MIN, None, problems);
    }
    if let Some(most) = outbox.bytes_max {
        size_within("outbox.bytesMax", most, PACKET_MIN, None, problems);
    }
}

pub(super) fn state(state: &State, problems: &mut Problems) {
    for (field, size) in
        [("state.sendLog", state.send_log), ("state.receivePool", state.receive_pool), ("state.results", state.results)]
    {
        size_within(field, size, QUOTA_MIN, None, problems);
    }
    duration("state.resultTtl", state.result_ttl, problems);
}

pub(super) fn mirror(mirror: &Mirror, problems: &mut Problems) {
    duration("mirror.expectedLatency", mirror.expected_latency, problems);
    let max = Some(PACKET_MAX);
    size_within("mirror.maxFileSize", mirror.max_file_size, FILE_MIN, max, problems);
    size_within("mirror.packetSize", mirror.packet_size, PACKET_MIN, max, problems);
    if mirror.packet_size > mirror.max_file_size {
        let (packet, file) = (format_size(mirror.packet_size), format_size(mirror.max_file_size));
        problems.add(
            "mirror.packetSize",
            format!("{packet} is larger than mirror.maxFileSize, {file}: the mirror would refuse or cut the packets"),
            format!("write at most {file}"),
        );
    }
    if let Some(poll_max) = mirror.poll_max {
        duration("mirror.pollMax", poll_max, problems);
    }
    duration("mirror.quietMin", mirror.quiet_min, problems);
    if mirror.quiet_min > QUIET_MAX {
        problems.add(
            "mirror.quietMin",
            format!("{} is longer than 1h", format_duration(mirror.quiet_min)),
            "write at most 1h",
        );
    }
    duration("mirror.packetLifetime", mirror.packet_lifetime, problems);
    let journey = mirror.expected_latency.saturating_mul(4);
    if mirror.packet_lifetime < journey {
        problems.add(
            "mirror.packetLifetime",
            format!(
                "{} is shorter than four times mirror.expectedLatency: packets would be deleted on their way",
                format_duration(mirror.packet_lifetime)
            ),
            format!("write at least {}", format_duration(journey)),
        );
    }
}

pub(super) fn heartbeat(heartbeat: &Heartbeat, expected_latency: Duration, problems: &mut Problems) {
    if let Some(interval) = heartbeat.interval {
        duration("heartbeat.interval", interval, problems);
        if !interval.is_zero() && interval < INTERVAL_MIN {
            problems.add(
                "heartbeat.interval",
                format!("{} would flood the mirror", format_duration(interval)),
                format!("write at least {}", format_duration(INTERVAL_MIN)),
            );
        }
    }
    let Some(loss_timeout) = heartbeat.loss_timeout else {
        return;
    };
    duration("heartbeat.lossTimeout", loss_timeout, problems);
    // The adaptive interval starts from the expected round trip.
    let interval = heartbeat
        .interval
        .unwrap_or_else(|| (expected_latency / 2).clamp(Duration::from_secs(5), Duration::from_secs(300)));
    let least = interval.saturating_mul(3).max(expected_latency);
    if !loss_timeout.is_zero() && loss_timeout < least {
        problems.add(
            "heartbeat.lossTimeout",
            format!(
                "{} is shorter than three heartbeats of {} or than mirror.expectedLatency: a living peer would be shown as lost",
                format_duration(loss_timeout),
                format_duration(interval)
            ),
            format!("write at least {}, or a shorter heartbeat.interval", format_duration(least)),
        );
    }
}

/// How long an endpoint may be silent before it is forgotten.
pub(super) fn forget_after(given: Option<Duration>, loss_timeout: Duration, problems: &mut Problems) -> Duration {
    let least = loss_timeout.saturating_mul(4);
    let Some(forget_after) = given else {
        return FORGET_AFTER.max(least);
    };
    duration("remote.forgetAfter", forget_after, problems);
    if !forget_after.is_zero() && forget_after < least {
        problems.add(
            "remote.forgetAfter",
            format!(
                "{} is shorter than four times the loss timeout of {}: endpoints that are only late would be forgotten",
                format_duration(forget_after),
                format_duration(loss_timeout)
            ),
            format!("write at least {}, or a shorter heartbeat.lossTimeout", format_duration(least)),
        );
    }
    forget_after
}

pub(super) fn limits(limits: &Limits, problems: &mut Problems) {
    size_within("limits.bodyMax", limits.body_max, ByteSize::b(1), None, problems);
    size_within("limits.headerBytes", limits.header_bytes, HEADER_MIN, Some(HEADER_MAX), problems);
    size_within("limits.streamWindow", limits.stream_window, STREAM_WINDOW_MIN, None, problems);
    size_within("limits.cacheBytes", limits.cache_bytes, CACHE_MIN, None, problems);
    for (field, count) in [("limits.connections", limits.connections), ("limits.maxInFlight", limits.max_in_flight)] {
        if count == 0 {
            problems.add(field, "is 0: no call could be made", "write at least 1");
        }
    }
    if limits.max_in_flight > IN_FLIGHT_MAX {
        problems.add(
            "limits.maxInFlight",
            format!("{} is too large", limits.max_in_flight),
            format!("write at most {IN_FLIGHT_MAX}"),
        );
    }
}

/// Refuses zero and what no clock can hold.
pub(super) fn duration(field: &str, value: Duration, problems: &mut Problems) {
    if value.is_zero() {
        problems.add(field, "is zero", "write a duration such as 15s");
    } else if value > DURATION_MAX {
        problems.add(field, "is longer than 100 years", "write a shorter duration");
    }
}

/// Refuses a size outside of its bounds.
pub(super) fn size_within(field: &str, value: ByteSize, min: ByteSize, max: Option<ByteSize>, problems: &mut Problems) {
    let text = format_size(value);
    if value.as_u64() == 0 {
        problems.add(field, "is zero", format!("write at least {}", format_size(min)));
    } else if value < min {
        problems.add(field, format!("{text} is too small"), format!("write at least {}", format_size(min)));
    } else if let Some(max) = max
        && value > max
    {
        problems.add(field, format!("{text} is too large"), format!("write at most {}", format_size(max)));
    }
}
