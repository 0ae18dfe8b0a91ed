//! Packets cut at every boundary and within every part, filled with zeros, and with single bits flipped.

use wire::Suite;

use super::super::frames::FrameState;
use super::super::keys::OriginResult;
use super::super::report::Verdict;
use super::*;

#[test]
fn a_whole_packet_of_every_suite_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "south", "north");
    let ring = ring(&["--config", config.to_str().unwrap()]);
    for suite in Suite::ALL {
        let report = seen(&packet(suite), &ring);
        assert_verdict(&report, Verdict::Whole, suite.name());
        assert_eq!(good(&report), 3, "{suite}");
        assert_eq!(report.reject, None, "{suite}");
        let parts: u64 = report.parts.iter().map(|part| part.bytes).sum();
        assert_eq!(Some(parts), report.bytes, "{suite}");
        let header = report.header.unwrap();
        assert_eq!((header.packet_number, header.suite), (7, suite.name()));
        assert_eq!(header.sender.name.as_deref(), Some("north gateway 0"));
        assert_eq!(header.recipient.name.as_deref(), Some("south gateway 0"));
        assert_eq!(header.sent_at, "2026-11-23T12:16:36.123Z");
        assert_eq!(header.name_agrees, Some(true));
    }
}

/// Of every length around every boundary, and of many between: the frames before the cut verify, the place is named, and no
/// guard lets it pass.
#[test]
fn a_cut_at_every_boundary_is_told_and_yields_the_whole_frames_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "south", "north");
    let ring = ring(&["--config", config.to_str().unwrap()]);
    for suite in Suite::ALL {
        let file = packet(suite);
        let places = boundaries(&file);
        let frames_at = places[6];
        let mut lengths: Vec<usize> = places.iter().flat_map(|at| [at - 1, *at, at + 1]).collect();
        lengths.extend((256..file.len()).step_by(509));
        for len in lengths.into_iter().filter(|len| (256..file.len()).contains(len)) {
            let report = seen(&file[..len], &ring);
            assert_verdict(&report, Verdict::Cut, &format!("{suite} cut to {len}"));
            let cut = report.cut.clone().unwrap();
            assert_eq!(cut.at, len as u64);
            let part = report.parts.iter().find(|part| part.part == cut.part).unwrap();
            assert!((part.at..part.at + part.bytes).contains(&cut.at), "{suite} cut to {len}: {cut:?}");
            let stored: Vec<usize> =
                report.frames.iter().flat_map(|frames| &frames.list).map(|f| f.stored_bytes as usize).collect();
            let mut begin = frames_at;
            let whole = stored.iter().take_while(|stored| {
                let end = begin + **stored;
                begin += align8_usize(**stored);
                end <= len
            });
            let whole = whole.count() as u64;
            assert_eq!(good(&report), whole, "{suite} cut to {len}");
            let origin = report.origin.as_ref().unwrap().result;
            assert_eq!(origin == OriginResult::Cut, len < frames_at, "{suite} cut to {len}");
            assert!(why_not(&report, &Suite::ALL).is_some(), "{suite} cut to {len} passed");
        }
    }
}

#[test]
fn a_cut_in_the_header_and_files_of_few_bytes() {
    let file = packet(Suite::Sealed);
    for len in 1..256 {
        let report = seen(&file[..len], &Keyring::default());
        assert_verdict(&report, Verdict::Cut, &len.to_string());
        assert_eq!(report.reject, Some("short"));
        assert_eq!(report.cut.unwrap().part, "header");
    }
    let report = seen(b"", &Keyring::default());
    assert_verdict(&report, Verdict::NoPacket, "empty");
}

/// A mirror that sets the space aside first and fills it later.
#[test]
fn zeros_in_place_of_the_end_are_unfilled() {
    let ring = ring(&["--key", &token("north")]);
    for suite in Suite::ALL {
        let file = packet(suite);
        for at in boundaries(&file)
            .into_iter()
            .flat_map(|at| [at - 1, at, at + 1])
            .filter(|at| (256..file.len() - 16).contains(at))
        {
            let mut unfilled = file.clone();
            unfilled[at..].fill(0);
            let report = seen(&unfilled, &ring);
            assert_verdict(&report, Verdict::Unfilled, &format!("{suite} from {at}"));
            let from = report.zeros.as_ref().unwrap().at;
            assert!(from <= at as u64 && from + 64 > at as u64, "{suite} from {at}: {from}");
            assert!(why_not(&report, &Suite::ALL).is_some());
        }
    }
}

/// Every byte of a signed packet counts, the paddings and the end marker included; of a sealed one with its keys, too.
#[test]
fn a_flipped_bit_anywhere_is_never_whole() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "south", "north");
    let ring = ring(&["--config", config.to_str().unwrap()]);
    for suite in Suite::ALL {
        let file = packet(suite);
        let mut places: Vec<usize> = boundaries(&file).into_iter().flat_map(|at| [at - 1, at]).collect();
        places.extend((0..file.len()).step_by(211));
        for at in places.into_iter().filter(|at| *at < file.len()) {
            let mut flipped = file.clone();
            flipped[at] ^= 0x10;
            let report = seen(&flipped, &ring);
            assert_ne!(report.verdict, Verdict::Whole, "{suite} at {at}");
            assert_ne!(status(&report), 0, "{suite} at {at}");
            assert!(why_not(&report, &Suite::ALL).is_some(), "{suite} at {at} passed");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_frame_costs_that_frame_only() {
    let ring = ring(&["--key", &token("north")]);
    let mut file = packet(Suite::Signed);
    let at = boundaries(&file)[7] + 5;
    file[at] ^= 1;
    let report = seen(&file, &ring);
    assert_verdict(&report, Verdict::Damaged, "a frame");
    assert_eq!(report.reject, Some("frame_digest"));
    assert_eq!(report.origin.as_ref().unwrap().result, OriginResult::Verified);
    let states: Vec<FrameState> = report.frames.unwrap().list.iter().map(|frame| frame.state).collect();
    assert_eq!(states, [FrameState::Verified, FrameState::Bad, FrameState::Verified]);
}

#[test]
fn bytes_after_the_end_and_in_paddings_are_told() {
    let ring = ring(&["--key", &token("north")]);
    let mut longer = packet(Suite::Signed);
    longer.extend_from_slice(b"hidden");
    let report = seen(&longer, &ring);
    assert_verdict(&report, Verdict::Damaged, "longer");
    assert_eq!(report.trailing_bytes, 6);
    let mut padded = packet(Suite::Signed);
    let pad = boundaries(&padded)[6] - 1;
    padded[pad] = 1;
    let report = seen(&padded, &ring);
    assert_verdict(&report, Verdict::Damaged, "padding");
    assert_eq!(report.padding_not_zero, 1);
    assert!(!passes(&padded, &ring));
}

#[test]
fn frames_are_described() {
    let report = seen(&packet(Suite::Signed), &Keyring::default());
    let frames = report.frames.as_ref().unwrap();
    let batch = &frames.list[0];
    assert_eq!((batch.kind, batch.seq, batch.seq_last, batch.records), ("batch", Some(1), Some(6), 4));
    assert_eq!(report.kinds().into_iter().collect::<Vec<_>>(), [("DATA", 3), ("FIN", 1), ("HEAD", 2)]);
    let chunk = &frames.list[2];
    assert_eq!((chunk.kind, chunk.seq, chunk.stream, chunk.offset), ("chunk", Some(3), Some(2), Some(3_017)));
    assert_eq!((chunk.raw_bytes, chunk.stored_bytes), (2_001, 2_001));
}
