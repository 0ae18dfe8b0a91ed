//! Who signed, and who may read: right, wrong, expired and missing keys, in every suite.

use wire::Suite;
use wire::header::{HEADER_LEN, set_crc};

use super::super::keys::OriginResult;
use super::super::report::{Content, Verdict};
use super::*;

fn origin(report: &Report) -> OriginResult {
    report.origin.as_ref().unwrap().result
}

#[test]
fn origin_is_that_of_the_given_key_only() {
    let (north, south) = (ring(&["--key", &token("north")]), ring(&["--key", &token("south")]));
    let both = ring(&["--key", &token("south"), "--key", &token("north")]);
    for suite in [Suite::Signed, Suite::Sealed] {
        let file = packet(suite);
        for good in [&north, &both] {
            let report = seen(&file, good);
            assert_eq!(origin(&report), OriginResult::Verified, "{suite}");
            let found = report.origin.unwrap();
            assert_eq!((found.side.as_deref(), found.own), (Some("north"), false));
            assert_eq!(found.fingerprint, Some(side("north").fingerprint()));
            assert!(passes(&file, good));
        }
        let report = seen(&file, &south);
        assert_eq!(origin(&report), OriginResult::UnknownKey, "{suite}");
        assert_verdict(&report, Verdict::Whole, "of another key");
        assert!(!passes(&file, &south));
        let report = seen(&file, &Keyring::default());
        assert_eq!(origin(&report), OriginResult::NotChecked);
        assert!(!passes(&file, &Keyring::default()));
    }
}

/// Somebody who says that north signed, and did not.
#[test]
fn a_packet_that_names_a_key_that_did_not_sign_it_is_damaged_or_forged() {
    let ring = ring(&["--key", &token("north")]);
    let mut forged = packet(Suite::Signed);
    let sig = boundaries(&forged)[4];
    forged[sig + 3] ^= 1;
    let report = seen(&forged, &ring);
    assert_verdict(&report, Verdict::Damaged, "forged");
    assert_eq!((origin(&report), report.reject), (OriginResult::Bad, Some("signature_ed25519")));
    assert_eq!(good(&report), 3, "the frames still match the table, which nobody vouches for");
    let mut forged = packet(Suite::Sealed);
    let last = boundaries(&forged)[5] - 1;
    forged[last] ^= 1;
    assert_eq!(seen(&forged, &ring).reject, Some("signature_mldsa"));
}

#[test]
fn keys_outside_their_time_verify_nothing() {
    let bundle = |from, to| side("north").bundle(2, from, to).to_token().unwrap();
    for (old, now) in [(bundle(0, 999), 1_000), (bundle(1_001, 0), 1_000)] {
        let ring = ring_at(&["--key", &old], now).unwrap();
        let report = seen(&packet(Suite::Signed), &ring);
        assert_eq!((origin(&report), report.verdict), (OriginResult::OutOfTime, Verdict::Whole));
        assert!(!passes(&packet(Suite::Signed), &ring));
        // Beside a valid one it does no harm.
        assert!(passes(&packet(Suite::Signed), &ring_of(&[&old, &token("north")])));
    }
}

fn ring_of(tokens: &[&str]) -> Keyring {
    let words: Vec<&str> = tokens.iter().flat_map(|token| ["--key", token]).collect();
    ring(&words)
}

#[test]
fn sealed_packets_show_what_is_readable_and_open_for_their_recipient() {
    let file = packet(Suite::Sealed);
    let report = seen(&file, &ring(&["--key", &token("north")]));
    assert_eq!((report.content, report.verdict), (Content::Sealed, Verdict::Whole));
    assert!(report.control.is_none() && report.frames.is_none());
    assert!(report.findings.iter().any(|finding| finding.contains("sealed to KEM key")), "{:?}", report.findings);
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "south", "north");
    let report = seen(&file, &ring(&["--config", config.to_str().unwrap()]));
    assert_eq!((report.content, good(&report)), (Content::Opened, 3));
    let control = report.control.unwrap();
    assert_eq!(control.types, ["HELLO", "ENDPOINT", "LOG"]);
    assert_eq!(control.endpoint.as_deref(), Some("gateway 0"));
    // Its writer cannot open it, but knows its own signature.
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "north", "south");
    let report = seen(&file, &ring(&["--config", config.to_str().unwrap()]));
    assert_eq!((report.content, origin(&report)), (Content::Sealed, OriginResult::Verified));
    assert!(report.origin.unwrap().own);
}

#[test]
fn sealed_packets_whose_signature_is_not_good_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "south", "north");
    let ring = ring(&["--config", config.to_str().unwrap()]);
    let mut file = packet(Suite::Sealed);
    let sig = boundaries(&file)[4];
    file[sig] ^= 1;
    let report = seen(&file, &ring);
    assert_eq!((report.content, origin(&report)), (Content::NotReached, OriginResult::Bad));
    assert!(report.control.is_none() && report.frames.is_none());
}

#[test]
fn a_checksum_proves_nothing_and_passes_only_where_it_is_named() {
    let file = packet(Suite::Checksum);
    let report = seen(&file, &ring(&["--key", &token("north")]));
    assert_eq!((origin(&report), report.verdict), (OriginResult::Unproven, Verdict::Whole));
    assert!(why_not(&report, &[Suite::Signed, Suite::Sealed]).unwrap().contains("not accepted"));
    assert_eq!(why_not(&report, &[Suite::Checksum]), None);
    let sealed = seen(&packet(Suite::Sealed), &ring(&["--key", &token("north")]));
    assert!(why_not(&sealed, &[Suite::Signed]).unwrap().contains("not accepted"));
}

/// A configuration says what is accepted, and which ids belong to the peering.
#[test]
fn packets_of_foreign_endpoints_are_refused_with_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "south", "north");
    let ring = ring(&["--config", config.to_str().unwrap()]);
    assert_eq!(ring.accepted, Some(vec![Suite::Sealed, Suite::Sealed]));
    let name = EndpointName { kind: "gateway".to_owned(), name: "1".to_owned() };
    let foreign = packet_with(Suite::Sealed, &Control { endpoint: Some(name), ..control() }, &frames());
    let report = seen(&foreign, &ring);
    assert_verdict(&report, Verdict::Refused, "foreign");
    assert_eq!(report.reject, Some("endpoint"));
    assert!(!passes(&foreign, &ring));
}

/// A header with another number in one of its fields, and a good CRC.
fn header_with(at: usize, value: u16) -> Vec<u8> {
    let mut file = packet(Suite::Signed);
    file[at..at + 2].copy_from_slice(&value.to_le_bytes());
    let mut head: [u8; HEADER_LEN] = file[..HEADER_LEN].try_into().unwrap();
    set_crc(&mut head);
    file[..HEADER_LEN].copy_from_slice(&head);
    file
}

#[test]
fn later_versions_and_other_suites_are_named() {
    for (at, value, reject, word) in [
        (8, 2, "major", "major version 2"),
        (12, 4, "suite_unknown", "suite 4"),
        (12, 6, "suite_unknown", "suite 6"),
        (14, 1, "flags", "0x0001"),
        (20, 9, "length", "lengths"),
    ] {
        let report = seen(&header_with(at, value), &ring(&["--key", &token("north")]));
        assert_verdict(&report, Verdict::Refused, reject);
        assert_eq!(report.reject, Some(reject));
        assert!(report.findings[0].contains(word), "{:?}", report.findings);
    }
}

#[test]
fn keys_that_are_none_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    configured(folder.path(), "south", "north");
    let secret = folder.path().join("south.key");
    for (words, said) in [
        (["--key", "hoft1AAAA"], "token"),
        (["--key", "/no/such/file"], "/no/such/file"),
        (["--key", secret.to_str().unwrap()], "hoft key public"),
        (["--config", "/no/such/file"], "/no/such/file"),
    ] {
        let error = ring_at(&words, 0).err().unwrap();
        let text: String = error.chain().map(|cause| format!("{cause}\n")).collect();
        assert!(text.contains(said), "{text}");
    }
}

/// A configuration of south with these replacements in its text.
fn south_with(folder: &Path, changes: &[(&str, String)]) -> PathBuf {
    let config = configured(folder, "south", "north");
    let mut text = std::fs::read_to_string(&config).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    std::fs::write(&config, text).unwrap();
    config
}

#[test]
fn what_is_sealed_to_a_retired_key_of_the_configuration_opens() {
    let folder = tempfile::tempdir().unwrap();
    let named = ("#retiredFiles: [\"south-2025.key\"]", "retiredFiles: [\"south-2025.key\"]".to_owned());
    let config = south_with(folder.path(), &[named]);
    let (secret, old) = (folder.path().join("south.key"), folder.path().join("south-2025.key"));
    std::fs::rename(&secret, &old).unwrap();
    let new = Identity::generate("south").unwrap();
    disk::secret::write_secret_file(&secret, new.encode_secret().as_bytes()).unwrap();
    let words = ["--config", config.to_str().unwrap()];
    let report = seen(&packet(Suite::Sealed), &ring(&words));
    assert_eq!((report.content, good(&report)), (Content::Opened, 3));
    // It is checked as the file of the keys in use is.
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = ring_at(&words, 0).err().unwrap();
    let text: String = error.chain().map(|cause| format!("{cause}\n")).collect();
    assert!(text.contains("identity.retiredFiles[0]") && text.contains("chmod 600"), "{text}");
}

#[test]
fn a_key_that_the_configuration_revokes_verifies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let id = wire::digest::hex(&side("north").signing_id());
    let revoked = ("#revokedKeys: [\"0123456789abcdef\"]", format!("revokedKeys: [\"{id}\"]"));
    let config = south_with(folder.path(), std::slice::from_ref(&revoked));
    let words = ["--config", config.to_str().unwrap()];
    let error = ring_at(&words, 0).err().unwrap();
    assert!(format!("{error:?}").contains("remote.revokedKeys"), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    let new = Identity::generate("north").unwrap().bundle(2, 0, 0).to_token().unwrap();
    let config = south_with(folder.path(), &[revoked, ("#keys: [hoft1AAAA]", format!("keys: [{new}]"))]);
    let ring = ring(&["--config", config.to_str().unwrap()]);
    let report = seen(&packet(Suite::Sealed), &ring);
    assert_eq!((origin(&report), report.reject), (OriginResult::Revoked, Some("key_revoked")));
    assert_eq!(report.content, Content::NotReached);
    assert!(!passes(&packet(Suite::Sealed), &ring) && !passes(&packet(Suite::Signed), &ring));
}
