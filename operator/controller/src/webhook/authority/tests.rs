//! Decisions by table, and certificates verified as the API server would.

use super::*;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use std::sync::Arc;

const DAY: Duration = Duration::from_hours(24);
/// Life of a CA in these tests.
const LIFE: Duration = Duration::from_hours(90 * 24);

pub(crate) fn day(days: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + days * 86_400).unwrap()
}

/// Does the API server, trusting `bundle`, accept `leaf` for `name` at `now`?
pub(crate) fn accepts(
    bundle: &str,
    leaf: &CertificateDer<'_>,
    name: &str,
    now: Timestamp,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(leaf, &[], &name, &[], now).map(drop)
}

/// A CA without a certificate: for decisions.
fn stub(made: i64, end: i64, key: bool, signs_from: Option<i64>) -> Authority {
    Authority {
        name: format!("made on day {made}"),
        certificate: format!("<{made}>"),
        key: key.then(|| SecretText(Zeroizing::new("key".to_owned()))),
        made_at: day(made),
        not_after: day(end),
        signs_from: signs_from.map(day),
    }
}

fn signer_at(authorities: &Authorities, at: i64) -> Option<i64> {
    let signer = authorities.signer(day(at))?;
    Some((signer.made_at.as_second() - day(0).as_second()) / 86_400)
}

#[test]
fn who_signs_and_who_is_trusted() {
    let old = || stub(0, 90, true, Some(0));
    let new = |signs_from| stub(60, 150, true, signs_from);
    for (what, authorities, at, signer, bundle) in [
        ("none", vec![], 0, None, ""),
        ("the first, before it is settled", vec![stub(0, 90, true, None)], 0, Some(0), "<0>"),
        ("one", vec![old()], 50, Some(0), "<0>"),
        ("a new one that nobody was told of", vec![old(), new(None)], 60, Some(0), "<0><60>"),
        ("a new one whose time has not come", vec![old(), new(Some(61))], 60, Some(0), "<0><60>"),
        ("a new one", vec![old(), new(Some(61))], 61, Some(60), "<0><60>"),
        ("a retired one", vec![stub(0, 90, false, Some(0)), new(Some(61))], 60, Some(60), "<0><60>"),
        ("the old one ended", vec![old(), new(Some(61))], 90, Some(60), "<60>"),
        ("the old one ended, and nobody was told", vec![old(), new(None)], 90, Some(60), "<60>"),
        ("all ended", vec![old()], 90, None, ""),
    ] {
        let authorities = Authorities(authorities);
        assert_eq!(signer_at(&authorities, at), signer, "{what}");
        assert_eq!(authorities.bundle(day(at)), bundle, "{what}");
    }
}

#[test]
fn another_is_made_at_two_thirds_of_the_newest_ones_life() {
    let old = || stub(0, 90, true, Some(0));
    for (what, authorities, at, lifetime, due) in [
        ("none", vec![], 0, LIFE, true),
        ("young", vec![old()], 59, LIFE, false),
        ("two thirds", vec![old()], 60, LIFE, true),
        ("already replaced", vec![old(), stub(60, 150, true, None)], 61, LIFE, false),
        ("ended", vec![old()], 95, LIFE, true),
        ("without a key", vec![stub(0, 90, false, Some(0))], 1, LIFE, true),
        ("to live shorter by now", vec![old()], 10, DAY * 15, true),
        ("to live longer by now", vec![old()], 59, LIFE * 9, false),
    ] {
        assert_eq!(Authorities(authorities).is_due(day(at), lifetime), due, "{what}");
    }
}

#[test]
fn settling_and_retiring_happen_once() {
    let mut authorities = Authorities(vec![stub(0, 90, true, Some(0)), stub(60, 150, true, None)]);
    assert!(!authorities.retire(day(60)), "the old one still signs");
    assert!(authorities.settle(day(61)));
    assert!(!authorities.settle(day(99)), "what is settled stays");
    assert_eq!(authorities.0[1].signs_from, Some(day(61)));
    assert!(authorities.retire(day(61)), "the old key goes");
    assert!(authorities.0[0].key.is_none() && authorities.0[1].key.is_some());
    assert!(!authorities.retire(day(62)));
    assert!(authorities.retire(day(90)), "the old certificate goes");
    assert_eq!(authorities.0.len(), 1);
}

#[test]
fn the_number_kept_is_bounded() {
    let mut authorities = Authorities::default();
    for made in 0..10 {
        authorities.add(stub(made, 90, true, None));
    }
    assert_eq!(authorities.0.len(), AUTHORITIES_MAX);
    assert_eq!(signer_at(&authorities, 10), Some(9));
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_and_when_another_signs() {
    let term = |authority: &str| Term { authority: authority.to_owned(), made_at: day(0), not_after: day(30) };
    let signer = stub(0, 90, true, Some(0));
    for (what, term, at, due) in [
        ("young", term(&signer.name), 19, false),
        ("two thirds", term(&signer.name), 20, true),
        ("another signs", term("other"), 1, true),
    ] {
        assert_eq!(term.is_due(&signer, day(at)), due, "{what}");
    }
}

#[test]
fn what_is_issued_is_accepted_for_its_name_and_time_only() {
    let authority = Authority::make(day(0), LIFE).unwrap();
    let other = Authority::make(day(0), LIFE).unwrap();
    let names = || vec!["hoft-webhook.hoft-system.svc".to_owned(), "hoft-webhook.hoft-system".to_owned()];
    let leaf = issue(&authority, names(), day(1), DAY * 30).unwrap();
    assert_eq!(leaf.term.not_after, day(31));
    for (what, bundle, name, at, fine) in [
        ("its name", &authority.certificate, "hoft-webhook.hoft-system.svc", 1, true),
        ("its other name", &authority.certificate, "hoft-webhook.hoft-system", 30, true),
        ("another name", &authority.certificate, "hoft-webhook.other.svc", 1, false),
        ("too early", &authority.certificate, "hoft-webhook.hoft-system.svc", 0, false),
        ("too late", &authority.certificate, "hoft-webhook.hoft-system.svc", 32, false),
        ("another CA", &other.certificate, "hoft-webhook.hoft-system.svc", 1, false),
    ] {
        assert_eq!(accepts(bundle, &leaf.certificate, name, day(at)).is_ok(), fine, "{what}");
    }
    let both = format!("{}{}", other.certificate, authority.certificate);
    accepts(&both, &leaf.certificate, "hoft-webhook.hoft-system.svc", day(1)).unwrap();
    let last = issue(&authority, names(), day(80), DAY * 30).unwrap();
    assert_eq!(last.term.not_after, authority.not_after, "no certificate outlives its CA");
}

#[test]
fn a_clock_an_hour_behind_accepts_a_new_certificate() {
    let authority = Authority::make(day(0), LIFE).unwrap();
    let leaf = issue(&authority, vec!["a.b.svc".to_owned()], day(0), DAY).unwrap();
    let behind = day(0).saturating_sub(Duration::from_secs(3500)).unwrap();
    accepts(&authority.certificate, &leaf.certificate, "a.b.svc", behind).unwrap();
    let far_behind = day(0).saturating_sub(Duration::from_secs(3700)).unwrap();
    let refused = accepts(&authority.certificate, &leaf.certificate, "a.b.svc", far_behind).unwrap_err();
    assert!(
        matches!(refused, rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_was_written_is_read_and_shows_no_key() {
    let mut authorities = Authorities::default();
    authorities.add(Authority::make(day(0), LIFE).unwrap());
    authorities.settle(day(1));
    let json = authorities.to_json().unwrap();
    assert_eq!(Authorities::parse(&json).unwrap(), authorities);
    assert!(!format!("{authorities:?}").contains("PRIVATE KEY"));
    assert!(std::str::from_utf8(&json).unwrap().contains("PRIVATE KEY"), "it is the Secret");
    for garbage in ["", "{}", "[{}]", "[1]"] {
        assert!(Authorities::parse(garbage.as_bytes()).is_err(), "{garbage:?}");
    }
}

#[test]
fn a_retired_ca_signs_nothing() {
    let mut authority = Authority::make(day(0), LIFE).unwrap();
    authority.key = None;
    assert!(issue(&authority, vec!["a.b.svc".to_owned()], day(0), DAY).is_err());
}

#[test]
fn absurd_times_make_no_panic() {
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let authority = Authority::make(now, Duration::MAX).unwrap();
        let _ = issue(&authority, vec!["a.b.svc".to_owned()], now, Duration::MAX);
        let _ = Authorities(vec![authority]).is_due(now, Duration::ZERO);
    }
}
