//! Identities: what they derive, refuse and hide.

use super::*;

fn north() -> Identity {
    Identity::from_seeds("north", &[1; 32], &[2; 32], &[3; 32]).unwrap()
}

#[test]
fn generated_identities_differ_in_every_key() {
    let (a, b) = (Identity::generate("north").unwrap(), Identity::generate("north").unwrap());
    for (one, other) in a.public.iter().zip(&b.public) {
        assert_ne!(one.bytes, other.bytes);
    }
    assert_ne!(a.signing_id(), b.signing_id());
    assert_ne!(a.kem_id(), b.kem_id());
    assert_ne!(a.local_key(), b.local_key());
}

#[test]
fn each_seed_decides_its_own_key_only() {
    let base = north();
    let seeds = [([9; 32], [2; 32], [3; 32]), ([1; 32], [9; 32], [3; 32]), ([1; 32], [2; 32], [9; 32])];
    for (index, (ed25519, ml_dsa, x_wing)) in seeds.iter().enumerate() {
        let other = Identity::from_seeds("north", ed25519, ml_dsa, x_wing).unwrap();
        for (at, (one, two)) in base.public.iter().zip(&other.public).enumerate() {
            assert_eq!(one.bytes != two.bytes, at == index);
        }
        assert_eq!(base.signing_id() == other.signing_id(), index == 2);
        assert_eq!(base.local_key() == other.local_key(), index == 2);
        assert_eq!(base.kem_id() == other.kem_id(), index != 2);
    }
}

#[test]
fn the_bundle_names_what_the_identity_names() {
    let bundle = north().bundle(3, 5, 7);
    assert_eq!((bundle.version, bundle.not_before_ms, bundle.not_after_ms), (3, 5, 7));
    assert_eq!(bundle.side, north().side());
    assert_eq!(bundle.signing_id(), Some(north().signing_id()));
    assert_eq!(bundle.kem_id(), Some(north().kem_id()));
    assert_ne!(bundle.fingerprint().unwrap(), north().fingerprint());
    assert_eq!(north().bundle(1, 0, 0).fingerprint().unwrap(), north().fingerprint());
}

#[test]
fn debug_prints_ids_and_no_secret() {
    let shown = format!("{:?}", north());
    assert!(shown.contains("north") && shown.contains("7032bfb1bcac6795"), "{shown}");
    for secret in ["0101", "0202", "0303", "1, 1", "2, 2", "3, 3"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn bad_side_names_are_refused() {
    for name in ["", "North", "a b", "nörd", "a/b", &"x".repeat(64)] {
        let refused = Identity::generate(name).map(|_| ()).unwrap_err();
        assert!(matches!(refused, IdentityError::SideName(_)), "{name}");
    }
    assert!(Identity::generate(&"x".repeat(63)).is_ok());
}

#[test]
fn retired_keys_are_of_the_same_side_and_at_most_eight() {
    let numbered = |n: u8| Identity::from_seeds("north", &[n; 32], &[n; 32], &[n; 32]).unwrap();
    let foreign = Identity::from_seeds("south", &[4; 32], &[5; 32], &[6; 32]).unwrap();
    assert!(matches!(north().with_retired(foreign), Err(IdentityError::OtherSide { .. })));
    let same = north().with_retired(north()).unwrap();
    assert_eq!(same.kem_ids(), [same.kem_id()]);
    let full = (10..17).try_fold(north(), |held, n| held.with_retired(numbered(n))).unwrap();
    assert_eq!(full.kem_ids().len(), KEM_KEYS_MAX);
    assert_eq!(full.kem_ids()[0], full.kem_id());
    assert!(matches!(full.with_retired(numbered(99)), Err(IdentityError::TooManyKeys)));
}

#[test]
fn keys_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Identity>();
    shared::<crate::PeerKeys>();
    shared::<crate::FrameSealer>();
    shared::<crate::FrameOpener>();
}
