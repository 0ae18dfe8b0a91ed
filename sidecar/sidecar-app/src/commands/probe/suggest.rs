//! The configuration that fits what was measured: a part of an engine's own file.
//!
//! Invariants: only fields that an engine reads, with values it takes; what was not measured is left out, so that the default
//! stands. Test to read first: `what_is_suggested_is_what_an_engine_reads`.

use std::time::Duration;

use serde::Serialize;
use sidecar_config::{ByteSize, Layout, Mirror, Profile, PublishSync, format_duration, format_size};

use super::findings::{Crossing, Findings};
use super::rows::{PATH_BYTES, cut_at, profile};

/// A sync that takes longer is not worth it: the log can send again.
const SYNC_MS_MAX: f64 = 500.0;
/// The least packet size an engine takes.
const PACKET_BYTES_MIN: u64 = 64 << 10;
/// The least largest file an engine takes.
const FILE_BYTES_MIN: u64 = 512 << 10;
/// A quiet time of so many pauses of a growing file, as the engine itself has it.
const QUIET_PAUSES: u32 = 4;

/// One suggested field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    /// Its path, such as `mirror.profile`.
    pub(super) field: &'static str,
    /// Its value, as it is written.
    pub(super) value: String,
    /// Why that.
    pub(super) why: String,
}

/// The fields that were found out.
pub(super) fn fields(findings: &Findings) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |field, value: String, why: &str| fields.push(Field { field, value, why: why.to_owned() });
    let (layout, why) = layout(findings);
    add("folders.layout", layout_word(layout).to_owned(), why);
    let (sync, why) = sync(findings);
    add("folders.publishSync", sync_word(sync).to_owned(), why);
    let Some(way) = findings.mirror.as_ref().filter(|way| way.whole > 0) else { return fields };
    if let Some(profile) = profile(way) {
        let (word, why) = match profile {
            Profile::Copy => ("Copy", "neither side's deletions are carried over"),
            Profile::Move => ("Move", "files leave the near folder"),
            Profile::Sync => ("Sync", "a near deletion is carried over"),
        };
        add("mirror.profile", word.to_owned(), why);
    }
    let latency = latency(way);
    add("mirror.expectedLatency", format_duration(latency), "a little more than the median on the way");
    let quiet = quiet(way);
    let why = if way.growth_pause_ms.is_some() {
        "four times the longest pause of a file that grew"
    } else {
        "the default: files appear whole"
    };
    add("mirror.quietMin", format_duration(quiet), why);
    let usual = Mirror::default();
    let (largest, packet, why) = sizes(way);
    add(
        "mirror.maxFileSize",
        format_size(largest),
        if largest < usual.max_file_size { "files are cut there" } else { "the default: nothing against it was seen" },
    );
    add("mirror.packetSize", format_size(packet), why);
    if usual.packet_lifetime < latency * 4 {
        add("mirror.packetLifetime", format_duration(latency * 8), "at least four times the latency");
    }
    fields
}

/// The fields as YAML, one section each, with the reasons behind.
pub(super) fn yaml(fields: &[Field]) -> String {
    let mut text = String::new();
    let mut open = "";
    let width = fields.iter().map(|field| last(field).len() + field.value.len()).max().unwrap_or(0);
    for field in fields {
        let section = field.field.split('.').next().unwrap_or_default();
        if section != open {
            text.push_str(&format!("{section}:\n"));
            open = section;
        }
        let pair = format!("{}: {}", last(field), field.value);
        text.push_str(&format!("  {pair:<width$}  # {}\n", field.why, width = width + 2));
    }
    text
}

fn last(field: &Field) -> &str {
    field.field.rsplit('.').next().unwrap_or_default()
}

fn layout(findings: &Findings) -> (Layout, &'static str) {
    let way = findings.mirror.as_ref();
    if way.is_some_and(|way| way.subfolders == Some(false)) {
        (Layout::Flat, "the mirror does not carry subfolders")
    } else if findings.folder.path_bytes_max.is_some_and(|path| path < PATH_BYTES) {
        (Layout::Flat, "paths are too short for subfolders")
    } else if way.is_some_and(|way| way.subfolders == Some(true)) {
        (Layout::Tree, "the mirror carries subfolders")
    } else {
        (Layout::Tree, "the default; `flat` if the mirror does not carry subfolders")
    }
}

fn sync(findings: &Findings) -> (PublishSync, &'static str) {
    if findings.folder.network == Some(true) && findings.folder.sync_file_ms.is_some_and(|cost| cost > SYNC_MS_MAX) {
        (PublishSync::Never, "a sync is slow here, and the log can always send again")
    } else {
        (PublishSync::Auto, "syncs on network file systems only")
    }
}

fn latency(way: &Crossing) -> Duration {
    let median = Duration::from_millis(way.delay_ms_median.unwrap_or(0));
    // Rounded up to two digits: it is a first guess, and the engine measures.
    let ms = u64::try_from((median * 5 / 4).as_millis()).unwrap_or(u64::MAX).max(50);
    let step = match ms {
        0..100 => 10,
        100..1_000 => 50,
        1_000..10_000 => 500,
        10_000..120_000 => 5_000,
        _ => 60_000,
    };
    Duration::from_millis(ms.div_ceil(step).saturating_mul(step))
}

fn quiet(way: &Crossing) -> Duration {
    let pause = Duration::from_millis(way.growth_pause_ms.unwrap_or(0)) * QUIET_PAUSES;
    let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
    Duration::from_secs(seconds.clamp(1, 3_600))
}

/// Largest file and packet size, and why the latter.
fn sizes(way: &Crossing) -> (ByteSize, ByteSize, &'static str) {
    let usual = Mirror::default();
    if let Some(cut) = cut_at(way) {
        let fits = cut & !0xffff;
        let (largest, packet) = (fits.max(FILE_BYTES_MIN), fits.max(PACKET_BYTES_MIN));
        return (ByteSize::b(largest), ByteSize::b(packet), "the largest file that is carried");
    }
    let Some(first) = way.large.first() else {
        return (usual.max_file_size, usual.packet_size, "the default: no large file was tried");
    };
    if way.large.iter().all(|file| file.whole) {
        return (usual.max_file_size, usual.packet_size, "the default: large files arrived whole");
    }
    let half = ((first.bytes / 2) & !0xffff).max(PACKET_BYTES_MIN);
    let smaller = usual.packet_size.min(ByteSize::b(half));
    (usual.max_file_size, smaller, "what was larger did not arrive whole")
}

const fn layout_word(layout: Layout) -> &'static str {
    match layout {
        Layout::Tree => "tree",
        Layout::Flat => "flat",
    }
}

const fn sync_word(sync: PublishSync) -> &'static str {
    match sync {
        PublishSync::Auto => "auto",
        PublishSync::Always => "always",
        PublishSync::Never => "never",
    }
}

#[cfg(test)]
mod tests {
    //! Suggestions are read back by the reader of the engine's file.
    use sidecar_config::parse;

    use super::super::findings::{Folder, Large};
    use super::*;

    const REST: &str = "\
version: 1
local: {name: north}
remote: {name: south, keyFiles: [south.pub]}
identity: {secretFile: north.key}
state: {folder: ./state}
";

    fn read(findings: &Findings) -> sidecar_config::Config {
        let text = yaml(&fields(findings)).replace("folders:\n", "folders:\n  outbox: ./out\n  inbox: ./in\n");
        parse(&format!("{REST}{text}"), "a test", std::path::Path::new("/tmp"))
            .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
    }

    fn arrived() -> Crossing {
        Crossing { sent: 9, whole: 9, delay_ms_median: Some(800), moved: Some(false), ..Crossing::default() }
    }

    #[test]
    fn what_is_suggested_is_what_an_engine_reads() {
        let config = read(&Findings::default());
        assert_eq!((config.folders.layout, config.mirror), (Layout::Tree, Mirror::default()));
        let large = Large { bytes: 8 << 20, arrived_bytes: Some(5_000_000), whole: false, delay_ms: None };
        let way = Crossing {
            delete_carried: Some(true),
            subfolders: Some(false),
            growth_pause_ms: Some(700),
            large: vec![large, large],
            ..arrived()
        };
        let folder = Folder { network: Some(true), sync_file_ms: Some(900.0), ..Folder::default() };
        let config = read(&Findings { folder, mirror: Some(way), ..Findings::default() });
        assert_eq!((config.folders.layout, config.folders.publish_sync), (Layout::Flat, PublishSync::Never));
        assert_eq!(config.mirror.profile, Profile::Sync);
        assert_eq!(config.mirror.expected_latency, Duration::from_secs(1));
        assert_eq!(config.mirror.quiet_min, Duration::from_secs(3));
        assert_eq!(config.mirror.max_file_size, ByteSize::b(5_000_000 & !0xffff));
        assert_eq!(config.mirror.packet_size, config.mirror.max_file_size);
    }

    #[test]
    fn slow_and_tiny_mirrors_get_values_that_are_allowed() {
        for median in [0, 49, 99, 999, 15_000, 3_600_000, 30 * 86_400_000] {
            for bytes in [1, 100_000, 1 << 30] {
                let large = Large { bytes, arrived_bytes: None, whole: false, delay_ms: None };
                let cut = Large { bytes, arrived_bytes: Some(bytes / 2), whole: false, delay_ms: None };
                for large in [vec![large], vec![cut, cut]] {
                    let way = Crossing { delay_ms_median: Some(median), large, ..arrived() };
                    let config = read(&Findings { mirror: Some(way), ..Findings::default() });
                    assert!(config.mirror.expected_latency >= Duration::from_millis(median));
                }
            }
        }
    }

    #[test]
    fn the_profile_follows_from_what_was_seen() {
        for (moved, carried, word) in [(true, None, "Move"), (false, Some(true), "Sync"), (false, Some(false), "Copy")]
        {
            let way = Crossing { moved: Some(moved), delete_carried: carried, ..arrived() };
            let fields = fields(&Findings { mirror: Some(way), ..Findings::default() });
            assert!(fields.iter().any(|field| field.field == "mirror.profile" && field.value == word), "{fields:?}");
        }
    }
}
