//! Things that are no packets, and names that are no files.

use std::fs::File;
use std::os::unix::fs::symlink;

use super::super::report::Verdict;
use super::super::source::PacketFile;
use super::*;

fn named(path: &Path) -> Report {
    look(path, &Keyring::default(), 0).0
}

#[test]
fn nothing_but_files_is_opened() {
    let placed = placed(&packet(Suite::Signed));
    let folder = placed.folder.path();
    let (link, pipe, socket) = (folder.join("link"), folder.join("pipe"), folder.join("socket"));
    symlink(&placed.path, &link).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, word) in [
        (link.as_path(), "link"),
        (pipe.as_path(), "pipe"),
        (socket.as_path(), "socket"),
        (folder, "folder"),
        (Path::new("/dev/zero"), "device"),
    ] {
        let report = named(path);
        assert_eq!((report.verdict, report.reject), (Verdict::Unreadable, Some("not_regular")), "{word}");
        assert!(report.findings[0].contains(word), "{:?}", report.findings);
        assert_eq!(status(&report), 2);
        assert!(why_not(&report, &Suite::ALL).is_some());
    }
    let missing = named(&folder.join("nothing"));
    assert_eq!((missing.verdict, missing.reject, status(&missing)), (Verdict::Unreadable, None, 2));
}

#[test]
fn garbage_and_foreign_files_are_no_packets() {
    let noise: Vec<u8> = text(100_000);
    for bytes in [&b"x"[..], b"hoft", &[0; 300], &[0xff; 256], b"%PDF-1.7", &noise] {
        let report = seen(bytes, &Keyring::default());
        assert_verdict(&report, Verdict::NoPacket, &format!("{} bytes", bytes.len()));
        assert!(!report.findings.is_empty() && report.header.is_none());
    }
}

#[test]
fn a_packet_that_was_transferred_as_text_is_told() {
    let mangled: Vec<u8> = packet(Suite::Signed)
        .into_iter()
        .flat_map(|byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] })
        .collect();
    let report = seen(&mangled, &Keyring::default());
    assert_verdict(&report, Verdict::Damaged, "mangled");
    assert!(report.findings[0].contains("as text"), "{:?}", report.findings);
}

/// A header that announces 2^40 bytes in a sparse file as long: nothing is allocated for it, and holes are not read.
#[test]
fn a_huge_claim_in_a_sparse_file_costs_little() {
    let mut header = Header::parse(&packet(Suite::Sealed)).unwrap();
    header.total_len = 1 << 40;
    let placed = placed(&header.encode());
    let file = File::options().write(true).open(&placed.path).unwrap();
    file.set_len(if file.set_len(1 << 40).is_ok() { 1 << 40 } else { 1 << 32 }).unwrap();
    let report = named(&placed.path);
    assert_ne!(report.verdict, Verdict::Whole);
    assert_eq!(report.zeros.unwrap().at, 256);
}

#[test]
fn zeros_are_found_from_the_end() {
    for (len, last) in
        [(0_usize, None), (1, None), (1, Some(0)), (3 << 20, Some(5)), (3 << 20, Some(1 << 20)), ((1 << 20) + 1, None)]
    {
        let mut bytes = vec![0; len];
        if let Some(at) = last {
            bytes[at] = 1;
        }
        let placed = placed(&bytes);
        let file = PacketFile::open(&placed.path).unwrap();
        let expected = last.map_or(0, |at| at as u64 + 1);
        assert_eq!(file.zeros_from(len as u64).unwrap(), expected, "{len} {last:?}");
        assert_eq!(file.zeros_from(u64::MAX).unwrap(), expected, "{len} {last:?}");
    }
}

#[test]
fn names_cannot_move_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a\u{1b}[2Jb\nc\u{202e}.hft");
    std::fs::write(&path, b"x").unwrap();
    let mut shown = Vec::new();
    super::super::text::print(&named(&path), true, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    assert!(shown.lines().next().unwrap().contains("c\\u{202e}.hft"), "{shown:?}");
}
