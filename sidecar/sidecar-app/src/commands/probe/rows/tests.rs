//! Measurements made up, and what is said of them.

use super::super::findings::Large;
use super::*;

fn found(findings: &Findings, name: &str) -> Row {
    let rows = rows(findings);
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} is not in {rows:#?}")).clone()
}

fn of_folder(folder: Folder) -> Findings {
    Findings { folder, ..Findings::default() }
}

fn of_mirror(way: Crossing) -> Findings {
    Findings { mirror: Some(way), ..Findings::default() }
}

fn arrived() -> Crossing {
    Crossing { sent: 20, whole: 20, moved: Some(false), delete_carried: Some(false), ..Crossing::default() }
}

#[test]
fn nothing_measured_is_never_good() {
    for row in rows(&Findings::default()) {
        assert!(row.verdict == Verdict::Unknown || row.verdict == Verdict::Fine, "{row:?}");
    }
}

#[test]
fn each_hostile_folder_has_its_row() {
    let folder = |change: fn(&mut Folder)| {
        let mut folder = Folder::default();
        change(&mut folder);
        of_folder(folder)
    };
    let rename = |no_replace| Some(Rename { replaces: true, atomic: Some(true), no_replace });
    let cases: [(&str, Findings, Verdict, &str); 12] = [
        ("file system", folder(|f| f.network = Some(true)), Verdict::Fine, "polls"),
        ("free space", folder(|f| (f.free_bytes, f.total_bytes) = (Some(0), Some(1 << 30))), Verdict::Bad, "room"),
        (
            "free space",
            folder(|f| (f.free_bytes, f.total_bytes) = (Some(1 << 29), Some(1 << 30))),
            Verdict::Poor,
            "outage",
        ),
        (
            "rename",
            of_folder(Folder { rename: rename(false), hard_links: Some(true), ..Folder::default() }),
            Verdict::Fine,
            "hard link",
        ),
        (
            "rename",
            of_folder(Folder { rename: rename(false), hard_links: Some(false), ..Folder::default() }),
            Verdict::Fine,
            "final names",
        ),
        ("fsync", folder(|f| f.sync_file_ms = Some(900.0)), Verdict::Poor, "never"),
        ("append", folder(|f| f.append = Some(Append { fresh_ms: Some(1), held_ms: None })), Verdict::Fine, "anew"),
        ("new files", folder(|f| (f.open_lag_ms, f.list_lag_ms) = (Some(0), Some(30_000))), Verdict::Fine, "next"),
        ("removing", folder(|f| f.delete_undone = Some(true)), Verdict::Poor, "skipped"),
        ("case", folder(|f| f.case = Some(Case::Changing)), Verdict::Fine, "any case"),
        ("name length", folder(|f| (f.name_bytes_max, f.path_bytes_max) = (Some(60), Some(90))), Verdict::Bad, "62"),
        ("characters", folder(|f| f.refused_own_names = Some(vec![".x.part".to_owned()])), Verdict::Bad, "allow"),
    ];
    for (name, findings, verdict, meaning) in cases {
        let row = found(&findings, name);
        assert!(row.verdict == verdict && row.meaning.contains(meaning), "{row:?}");
    }
}

#[test]
fn each_hostile_mirror_has_its_row() {
    let large = |length| Large { bytes: 8 << 20, arrived_bytes: Some(length), whole: false, delay_ms: None };
    let cases: [(&str, Crossing, Verdict, &str); 10] = [
        (
            "mirror",
            Crossing { sent: 3, lost: 3, ..Crossing::default() },
            Verdict::Bad,
            "none of 3 files arrived in time",
        ),
        ("arrival", Crossing { whole: 15, lost: 3, cut: 2, ..arrived() }, Verdict::Fine, "3 lost, 2 cut short"),
        ("arrival", Crossing { whole: 5, lost: 15, ..arrived() }, Verdict::Poor, "15 lost"),
        ("growth", Crossing { grew: 2, growth_pause_ms: Some(700), ..arrived() }, Verdict::Fine, "700 ms"),
        ("growth", Crossing { filled_late: 1, ..arrived() }, Verdict::Fine, "before their contents"),
        ("large files", Crossing { large: vec![large(4 << 20); 2], ..arrived() }, Verdict::Fine, "cut at 4.0M"),
        ("profile", Crossing { moved: Some(true), ..arrived() }, Verdict::Good, "Move"),
        ("far deletions", Crossing { far_delete_undone: Some(true), ..arrived() }, Verdict::Fine, "come back"),
        ("subfolders", Crossing { subfolders: Some(false), ..arrived() }, Verdict::Fine, "not carried"),
        ("temporary files", Crossing { temporary_carried: Some(true), ..arrived() }, Verdict::Fine, "carried too"),
    ];
    for (name, way, verdict, text) in cases {
        let row = found(&of_mirror(way), name);
        assert!(row.verdict == verdict && row.found.contains(text), "{row:?}");
    }
}

#[test]
fn one_length_of_cuts_is_a_limit_and_two_are_not() {
    let way = |lengths: [Option<u64>; 2]| {
        let large = |length: Option<u64>| Large {
            bytes: 100,
            arrived_bytes: length,
            whole: length == Some(100),
            delay_ms: None,
        };
        Crossing { large: lengths.map(large).to_vec(), ..arrived() }
    };
    assert_eq!(cut_at(&way([Some(60), Some(60)])), Some(60));
    for lengths in [[Some(60), Some(61)], [Some(60), Some(100)], [None, None], [Some(0), Some(0)]] {
        assert_eq!(cut_at(&way(lengths)), None, "{lengths:?}");
    }
}

#[test]
fn times_are_said_with_their_unit() {
    for (time, text) in [
        (Duration::from_nanos(100), "100 ns"),
        (Duration::from_micros(250), "250 µs"),
        (Duration::from_micros(1_250), "1.2 ms"),
        (Duration::from_millis(999), "999 ms"),
        (Duration::from_millis(2_100), "2.1 s"),
        (Duration::from_secs(300), "5 min"),
        (Duration::from_secs(7_300), "2 h"),
    ] {
        assert_eq!(span(time), text);
    }
}
