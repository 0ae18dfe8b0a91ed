//! Packets that somebody made up: whoever writes suite checksum can put anything behind a good checksum.

use wire::header::{HEADER_LEN, set_crc};
use wire::packet::checksum_signature;

use super::super::extract::extract;
use super::*;

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Changes some bytes between the header's lengths and the checksum, and makes CRC and checksum good again.
fn made_up(numbers: &mut Numbers, genuine: &[u8]) -> Vec<u8> {
    let mut file = genuine.to_vec();
    let layout = Header::parse(&file).unwrap().layout();
    for _ in 0..=numbers.below(3) {
        // Anywhere but in the magic, and often in the table, whose fields are least restricted.
        let (from, to) = if numbers.below(2) == 0 { (layout.table_at, layout.table_end) } else { (12, layout.sig_at) };
        let at = from + numbers.below(to - from);
        file[at] = match numbers.below(3) {
            0 => 0xff,
            1 => 0,
            _ => numbers.next() as u8,
        };
    }
    let mut head: [u8; HEADER_LEN] = file[..HEADER_LEN].try_into().unwrap();
    set_crc(&mut head);
    file[..HEADER_LEN].copy_from_slice(&head);
    let sum = checksum_signature(&file[..layout.sig_at]);
    file[layout.signature()].copy_from_slice(&sum);
    file
}

#[test]
fn made_up_packets_get_a_verdict_and_extract_within_bounds() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut refused) = (0, 0);
    let genuine = packet(Suite::Checksum);
    for round in 0..400 {
        let file = made_up(&mut numbers, &genuine);
        let report = seen(&file, &Keyring::default());
        assert!(status(&report) <= 1, "{round}: {report:?}");
        if report.verdict == Verdict::Whole {
            accepted += 1
        } else {
            refused += 1
        }
        let placed = placed(&file);
        let (_, readable) = look(&placed.path, &Keyring::default(), 0);
        let Some(readable) = readable else { continue };
        let folder = tempfile::tempdir().unwrap();
        let _ = extract(&readable, "x", folder.path(), 1 << 20);
        let written: u64 =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(written <= 1 << 20, "{round}: {written} bytes");
    }
    assert!(accepted > 5 && refused > 200, "the changes are too tame or too wild: {accepted}, {refused}");
}

#[test]
fn every_kind_of_bytes_gets_a_verdict() {
    let mut numbers = Numbers(7);
    let (genuine, ring) = (Suite::ALL.map(packet), ring(&["--key", &token("north")]));
    for round in 0..300 {
        let genuine = &genuine[round % 3];
        let mut file = genuine.clone();
        let len = numbers.below(file.len());
        let from = numbers.below(file.len());
        for byte in file.iter_mut().skip(from).take(len) {
            *byte = numbers.next() as u8;
        }
        file.truncate(numbers.below(file.len() + 1));
        let report = seen(&file, &ring);
        assert!(why_not(&report, &Suite::ALL).is_some() || file == *genuine, "{round}");
    }
}
