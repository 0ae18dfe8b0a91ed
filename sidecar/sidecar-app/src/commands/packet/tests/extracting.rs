//! Bodies written out of packets.

use wire::record::kind;

use super::super::extract::extract;
use super::*;

fn out(bytes: &[u8], bytes_max: u64) -> (tempfile::TempDir, anyhow::Result<Vec<PathBuf>>) {
    let placed = placed(bytes);
    let (_, readable) = look(&placed.path, &ring(&["--key", &token("north")]), 0);
    let folder = tempfile::tempdir().unwrap();
    let result = extract(&readable.unwrap(), "packet-7", folder.path(), bytes_max);
    (folder, result)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bodies_come_out_in_order_whatever_the_order_of_the_frames() {
    let mut frames = frames();
    frames.swap(1, 2);
    let (folder, result) = out(&packet_with(Suite::Signed, &control(), &frames), u64::MAX);
    assert_eq!(result.unwrap().len(), 2);
    assert_eq!(names(folder.path()), ["packet-7-stream-2-offset-17.body", "packet-7-stream-4-offset-18.body"]);
    assert!(std::fs::read(folder.path().join("packet-7-stream-2-offset-17.body")).unwrap() == text(5_001));
    assert!(std::fs::read(folder.path().join("packet-7-stream-4-offset-18.body")).unwrap() == text(700));
}

#[test]
fn a_gap_begins_another_file_and_bad_frames_give_nothing() {
    let mut file = packet(Suite::Signed);
    let at = boundaries(&file)[7];
    file[at] ^= 1;
    let (folder, result) = out(&file, u64::MAX);
    result.unwrap();
    assert_eq!(names(folder.path()), ["packet-7-stream-2-offset-3017.body", "packet-7-stream-4-offset-18.body"]);
    assert!(std::fs::read(folder.path().join("packet-7-stream-2-offset-3017.body")).unwrap() == text(5_001)[3_000..]);
}

#[test]
fn compressed_records_are_inflated_within_bounds() {
    let raw = b"again and again ".repeat(1_000);
    let packed = layer0_pipe::compress(&raw).unwrap();
    let record = Record::compressed(Seq::new(1), StreamId::new(2).unwrap(), 0, kind::DATA, 16_000, packed);
    let file = packet_with(Suite::Signed, &control(), &[vec![record]]);
    let (folder, result) = out(&file, 16_000);
    result.unwrap();
    assert!(std::fs::read(folder.path().join("packet-7-stream-2-offset-0.body")).unwrap() == raw);
    let (folder, result) = out(&file, 15_999);
    assert!(result.unwrap_err().to_string().contains("16000 bytes"));
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn nothing_is_overwritten_and_no_link_followed() {
    let placed = placed(&packet(Suite::Signed));
    let (_, readable) = look(&placed.path, &Keyring::default(), 0);
    let readable = readable.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("packet-7-stream-4-offset-18.body");
    let target = folder.path().join("target");
    for make in [&|| std::fs::write(&there, b"mine").unwrap(), &|| std::os::unix::fs::symlink(&target, &there).unwrap()]
        as [&dyn Fn(); 2]
    {
        make();
        let error = extract(&readable, "packet-7", folder.path(), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("not overwritten"), "{error}");
        assert!(!target.exists());
        for name in names(folder.path()) {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
