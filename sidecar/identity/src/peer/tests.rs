//! The import rules of tokens and the key questions asked of what was imported.

use wire::token::PublicKey;

use super::*;
use crate::Identity;

const SEALED: &[Suite] = &[Suite::Sealed];
const SIGNED: &[Suite] = &[Suite::Signed];

fn side(name: &str, seed: u8) -> Identity {
    Identity::from_seeds(name, &[seed; 32], &[seed; 32], &[seed; 32]).unwrap()
}

fn token(seed: u8, version: u32, not_before_ms: i64, not_after_ms: i64) -> String {
    side("south", seed).bundle(version, not_before_ms, not_after_ms).to_token().unwrap()
}

fn without(algs: &[u16]) -> String {
    let mut bundle = side("south", 1).bundle(1, 0, 0);
    bundle.keys.retain(|key| !algs.contains(&key.alg));
    bundle.to_token().unwrap()
}

fn with_key(alg: u16, bytes: Vec<u8>) -> String {
    let mut bundle = side("south", 1).bundle(1, 0, 0);
    for key in &mut bundle.keys {
        if key.alg == alg {
            key.bytes.clone_from(&bytes);
        }
    }
    bundle.to_token().unwrap()
}

fn import(tokens: &[&str], suites: &[Suite], now_ms: i64) -> Result<PeerKeys, PeerKeysError> {
    PeerKeys::from_tokens(tokens, "south", suites, now_ms)
}

fn refused(tokens: &[&str], suites: &[Suite]) -> PeerKeysError {
    import(tokens, suites, 100).unwrap_err()
}

#[test]
fn a_complete_token_is_pinned_with_its_ids() {
    let south = side("south", 1);
    let keys = import(&[&format!("  {}\n", token(1, 1, 0, 0))], SEALED, 100).unwrap();
    assert_eq!(keys.fingerprints(), [south.fingerprint()]);
    assert_eq!(keys.signing_ids(), [south.signing_id()]);
    assert_eq!(keys.kem_ids(), [south.kem_id()]);
    assert_eq!(keys.newest_kem_id(), Some(south.kem_id()));
    assert!(keys.pinned(south.signing_id()) && !keys.pinned([0; 8]));
    assert_eq!(keys.bundles().count(), 1);
    assert!(format!("{keys:?}").contains(&south.fingerprint()));
}

#[test]
fn each_refusal_names_the_token_and_the_remedy() {
    let good = token(1, 1, 0, 0);
    let north = side("north", 1).bundle(1, 0, 0).to_token().unwrap();
    let cut = &good[..good.len() - 1];
    let mut small_order = vec![0; 32];
    small_order[0] = 1;
    let cases: [(PeerKeysError, &[&str]); 10] = [
        (refused(&[], SEALED), &["\"south\"", "paste"]),
        (refused(&[&good, cut], SEALED), &["token 2", "copy the whole token"]),
        (refused(&[&north], SEALED), &["token 1", "\"north\"", "\"south\"", "remote name"]),
        (refused(&[&without(&[1])], SIGNED), &["token 1", "Ed25519", "complete token"]),
        (refused(&[&without(&[2])], SEALED), &["token 1", "ML-DSA-65", "complete token"]),
        (refused(&[&without(&[3])], SEALED), &["token 1", "X-Wing", "complete token"]),
        (refused(&[&with_key(1, small_order)], SIGNED), &["token 1", "small order", "new keys"]),
        (refused(&[&with_key(3, vec![0xff; 1216])], SIGNED), &["token 1", "X-Wing key is invalid"]),
        (refused(&[&token(1, 1, 0, 99)], SEALED), &["token 1", "expired", "99", "current token"]),
        (refused(&[&token(1, 1, 101, 0)], SEALED), &["token 1", "101", "wait"]),
    ];
    for (error, words) in cases {
        let shown = error.to_string();
        for word in words {
            assert!(shown.contains(word), "{shown:?} lacks {word:?}");
        }
    }
}

#[test]
fn the_error_of_a_bad_token_among_good_ones_is_of_that_token() {
    let (good, foreign) = (token(1, 1, 0, 0), side("west", 2).bundle(1, 0, 0).to_token().unwrap());
    let error = refused(&[&good, &good, &foreign], SEALED);
    assert!(matches!(error, PeerKeysError::OtherSide { number: 3, .. }));
}

#[test]
fn a_secret_key_file_is_no_token() {
    let text = side("south", 1).encode_secret();
    let error = refused(&[&text], SEALED);
    assert!(matches!(error, PeerKeysError::Malformed { number: 1, .. }));
    assert!(!error.to_string().contains("0101"), "secrets are not repeated");
}

#[test]
fn a_kem_key_is_needed_only_where_sealing_is_accepted() {
    let token = without(&[3]);
    let keys = import(&[&token], &[Suite::Signed, Suite::Checksum], 100).unwrap();
    assert_eq!((keys.newest_kem_id(), keys.kem_ids()), (None, Vec::new()));
    let both = refused(&[&token], &[Suite::Signed, Suite::Sealed]);
    assert!(matches!(both, PeerKeysError::NoKemKey { number: 1, .. }));
}

#[test]
fn checksum_alone_needs_no_token() {
    let keys = import(&[], &[Suite::Checksum], 100).unwrap();
    assert!(keys.signing_ids().is_empty());
    assert!(matches!(refused(&[], &[Suite::Checksum, Suite::Signed]), PeerKeysError::NoToken(_)));
}

#[test]
fn unknown_keys_of_a_later_version_do_no_harm() {
    let mut bundle = side("south", 1).bundle(1, 0, 0);
    bundle.keys.push(PublicKey { alg: 900, usage: 1, bytes: vec![1; 10] });
    let keys = import(&[&bundle.to_token().unwrap()], SEALED, 100).unwrap();
    assert_eq!(keys.signing_ids(), [side("south", 1).signing_id()]);
}

#[test]
fn the_bounds_of_a_bundle_are_inclusive_and_zero_is_open() {
    for (not_before, not_after, valid) in
        [(0, 0, true), (100, 100, true), (101, 0, false), (0, 99, false), (-5, 100, true), (99, 101, true)]
    {
        let found = import(&[&token(1, 1, not_before, not_after)], SEALED, 100);
        assert_eq!(found.is_ok(), valid, "{not_before}..{not_after}");
    }
}

#[test]
fn during_a_rotation_both_keys_verify_and_the_newest_valid_one_is_sealed_to() {
    let (old, new) = (token(1, 1, 0, 200), token(2, 2, 150, 0));
    let (old_id, new_id) = (side("south", 1).kem_id(), side("south", 2).kem_id());
    let keys = import(&[&new, &old], SEALED, 100).unwrap();
    assert_eq!(keys.newest_kem_id(), Some(old_id), "the new one is not yet valid");
    assert_eq!(keys.kem_at(149).map(|(id, _)| *id), Some(old_id));
    assert_eq!(keys.kem_at(150).map(|(id, _)| *id), Some(new_id));
    assert_eq!(keys.kem_at(300).map(|(id, _)| *id), Some(new_id));
    let (old_sig, new_sig) = (side("south", 1).signing_id(), side("south", 2).signing_id());
    assert_eq!(keys.check_signing_key(old_sig, 200), Ok(()));
    assert_eq!(keys.check_signing_key(old_sig, 201), Err(Reject::KeyUnknown));
    assert_eq!(keys.check_signing_key(new_sig, 149), Err(Reject::KeyUnknown));
    assert_eq!(keys.check_signing_key(new_sig, 201), Ok(()));
    assert_eq!(keys.check_signing_key([0; 8], 201), Err(Reject::KeyUnknown));
}

#[test]
fn of_several_dead_tokens_the_most_useful_is_named() {
    let expired = [token(1, 1, 0, 50), token(2, 2, 0, 90)];
    let error = refused(&[&expired[0], &expired[1]], SEALED);
    assert!(matches!(error, PeerKeysError::Expired { number: 2, not_after_ms: 90, .. }));
    let error = refused(&[&expired[0], &token(2, 2, 400, 0), &token(3, 3, 300, 0)], SEALED);
    assert!(matches!(error, PeerKeysError::NotYetValid { number: 3, not_before_ms: 300, .. }));
}

#[test]
fn a_revoked_pair_is_refused_and_nothing_is_sealed_to_its_bundle() {
    let (bad, good) = (side("south", 1), side("south", 2));
    let keys = import(&[&token(1, 5, 0, 0), &token(2, 1, 0, 0)], SEALED, 100).unwrap();
    assert_eq!(keys.newest_kem_id(), Some(bad.kem_id()));
    let keys = keys.with_revoked(&[bad.signing_id(), [7; 8]]);
    assert_eq!(keys.check_signing_key(bad.signing_id(), 100), Err(Reject::KeyRevoked));
    assert_eq!(keys.verify(bad.signing_id(), b"m", &[]), Err(Reject::KeyRevoked));
    assert!(!keys.pinned(bad.signing_id()) && keys.pinned(good.signing_id()));
    assert_eq!(keys.newest_kem_id(), Some(good.kem_id()));
    assert_eq!(keys.kem_ids(), [good.kem_id()]);
    assert_eq!(keys.signing_ids(), [good.signing_id()]);
}

#[test]
fn a_new_kem_key_may_come_with_the_old_signing_pair() {
    let old = Identity::from_seeds("south", &[1; 32], &[1; 32], &[1; 32]).unwrap();
    let new = Identity::from_seeds("south", &[1; 32], &[1; 32], &[2; 32]).unwrap();
    let tokens = [old.bundle(1, 0, 0).to_token().unwrap(), new.bundle(2, 0, 0).to_token().unwrap()];
    let keys = import(&[&tokens[0], &tokens[1]], SEALED, 100).unwrap();
    assert_eq!(keys.signing_ids(), [old.signing_id()]);
    assert_eq!(keys.kem_ids(), [old.kem_id(), new.kem_id()]);
    assert_eq!(keys.newest_kem_id(), Some(new.kem_id()));
}
