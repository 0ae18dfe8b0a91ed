//! The key file as a promise: old files stay readable, damaged ones never give other keys.

use proptest::prelude::*;

use super::*;

const FIXTURE: &str = include_str!("../../fixtures/secret-v1.key");

fn north() -> Identity {
    Identity::from_seeds("north", &[1; 32], &[2; 32], &[3; 32]).unwrap()
}

fn refused(text: &str) -> SecretError {
    Identity::parse_secret(text).map(|_| ()).unwrap_err()
}

#[test]
fn the_committed_key_file_still_opens_and_is_written_the_same() {
    let read = Identity::parse_secret(FIXTURE).unwrap();
    assert_eq!(read.side(), "north");
    assert_eq!(read.signing_id(), north().signing_id());
    assert_eq!(read.kem_id(), north().kem_id());
    assert_eq!(read.local_key(), north().local_key());
    assert_eq!(north().encode_secret().as_str(), FIXTURE);
    assert_eq!(read.encode_secret().as_str(), FIXTURE);
}

#[test]
fn the_document_shows_the_committed_file() {
    let document = include_str!("../../../../docs/key-file.md");
    assert!(document.contains(FIXTURE));
}

#[test]
fn generated_keys_survive_the_file() {
    let made = Identity::generate("a-2").unwrap();
    let text = made.encode_secret();
    let read = Identity::parse_secret(&text).unwrap();
    assert_eq!(read.side(), "a-2");
    assert_eq!(read.bundle(1, 0, 0).to_token().unwrap(), made.bundle(1, 0, 0).to_token().unwrap());
    assert!(!text.starts_with("hoft1"));
}

#[test]
fn white_space_line_ends_and_comments_do_not_matter() {
    let crlf = FIXTURE.replace('\n', "\r\n");
    let spaced = FIXTURE.replace(": ", "  :\t ").replace('\n', " \n\n  # note\n");
    let bare: Vec<&str> = FIXTURE.lines().filter(|line| !line.starts_with('#')).collect();
    for text in [crlf, spaced, bare.join("\n"), format!("{FIXTURE}\n\n# end")] {
        let read = Identity::parse_secret(&text).unwrap();
        assert_eq!(read.encode_secret().as_str(), FIXTURE);
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let text = FIXTURE.replacen("v1", "v2", 1);
    assert_eq!(refused(&text), SecretError::UnknownVersion("v2".into()));
    assert!(refused(&text).to_string().contains("v2"));
    let odd = FIXTURE.replacen("v1", "0123456789abcdef", 1);
    assert_eq!(refused(&odd), SecretError::NotSecretKey, "not repeated: it might be a secret");
}

#[test]
fn a_token_or_any_other_text_is_told_apart() {
    assert_eq!(refused(&north().bundle(1, 0, 0).to_token().unwrap()), SecretError::PublicToken);
    assert_eq!(refused("\n hoft1abc"), SecretError::PublicToken);
    for text in ["", "\0\0\0\0", "-----BEGIN PRIVATE KEY-----", "# comment\nhoft-secret-key v1"] {
        assert_eq!(refused(text), SecretError::NotSecretKey);
    }
    assert_eq!(refused(&"x".repeat(16_385)), SecretError::TooLong(16_385));
}

#[test]
fn each_malformed_line_is_named() {
    let swap = |from: &str, to: &str| refused(&FIXTURE.replacen(from, to, 1));
    assert_eq!(swap("side: north\n", ""), SecretError::Line { line: 5, expected: "side" });
    assert_eq!(swap("ed25519: ", "ed25519 "), SecretError::Line { line: 6, expected: "ed25519" });
    assert_eq!(swap("ml-dsa-65", "ml-dsa-87"), SecretError::Line { line: 7, expected: "ml-dsa-65" });
    assert!(matches!(swap("north", "No"), SecretError::Value { line: 5, field: "side", .. }));
    assert!(matches!(swap("0101", "01"), SecretError::Value { line: 6, field: "ed25519", .. }));
    assert!(matches!(swap("0303", "030G"), SecretError::Value { line: 8, field: "x-wing", .. }));
    let twice = format!("{FIXTURE}checksum: 0011223344556677\n");
    assert_eq!(refused(&twice), SecretError::Trailing(10));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for len in 0..FIXTURE.len() - 1 {
        let error = refused(&FIXTURE[..len]);
        assert!(!matches!(error, SecretError::Checksum | SecretError::Keys(_)), "{len}: {error}");
    }
    assert_eq!(refused(FIXTURE.split("x-wing").next().unwrap()), SecretError::Missing("x-wing"));
}

#[test]
fn a_changed_character_never_gives_other_keys() {
    for at in 0..FIXTURE.len() {
        for change in [b'0', b'7', b'a', b' ', b'\n'] {
            let mut bytes = FIXTURE.as_bytes().to_vec();
            bytes[at] = change;
            let text = String::from_utf8(bytes).unwrap();
            let in_comment = FIXTURE[..at].lines().last().is_some_and(|line| line.starts_with('#'));
            if in_comment && change != b'\n' {
                continue;
            }
            if let Ok(read) = Identity::parse_secret(&text) {
                assert_eq!(read.encode_secret().as_str(), FIXTURE, "byte {at}");
            }
        }
    }
}

#[test]
fn no_error_repeats_a_secret() {
    let made = Identity::generate("north").unwrap();
    let text = made.encode_secret();
    let seeds: Vec<String> = text.lines().skip(5).take(3).map(|l| l.split(": ").nth(1).unwrap().to_owned()).collect();
    for at in 0..text.len() {
        for cut in [text[..at].to_owned(), text[at..].to_owned(), text.replace(&text[at..=at], "")] {
            let Err(error) = Identity::parse_secret(&cut) else { continue };
            let shown = format!("{error} {error:?}");
            for seed in &seeds {
                let leaked =
                    seed.as_bytes().windows(9).any(|part| shown.as_bytes().windows(9).any(|window| window == part));
                assert!(!leaked, "{shown}");
            }
        }
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC*", tail in ".*") {
        let _ = Identity::parse_secret(&text);
        let _ = Identity::parse_secret(&format!("hoft-secret-key v1\n{tail}"));
        let _ = Identity::parse_secret(&format!("hoft-secret-key v1\nside: a\ned25519: {text}"));
    }
}
