//! The CAs of the webhook as data: what stands in the Secret, which of them signs, which the API server must trust, and
//! when there must be another.
//!
//! A CA lives through three stages: *made* (the API server is being told), *signing* (from a moment that is agreed in the
//! Secret), *retired* (a newer one signs; its key is gone, its certificate stays trusted to its end).
//!
//! Invariants: a CA signs only after the API server was told of it, unless there is no other; every CA that a certificate
//! in use may come from is in the bundle; at most [`AUTHORITIES_MAX`] are kept; keys show in no `Debug` and are wiped from
//! memory where this crate holds them. Pure: the time is an argument. It reads and writes nothing. Test to read first:
//! `tests::a_rotation_never_serves_what_is_not_trusted`.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

/// Most CAs that are kept; the oldest gives way.
pub const AUTHORITIES_MAX: usize = 4;
/// Certificates are valid from this long before they are made, for clocks that are behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// A secret text: shows nothing of itself, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// One CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// Its common name; no two are alike.
    pub name: String,
    /// Its certificate, as PEM.
    pub certificate: String,
    /// Its key, as PEM; `None` once it is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretText>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
    /// From when on it signs; `None` until the API server was told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_from: Option<Timestamp>,
}

impl Authority {
    /// Makes a CA.
    ///
    /// # Errors
    /// The random generator or the encoder failed.
    pub fn make(now: Timestamp, lifetime: Duration) -> Result<Self, rcgen::Error> {
        let name = format!("hoft-webhook {:.3}", now);
        let not_after = later(now, lifetime);
        let mut params = issuer_params(&name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        set_validity(&mut params, now, not_after);
        let key = Wiped(KeyPair::generate()?);
        let certificate = params.self_signed(&key)?.pem();
        let key = SecretText(Zeroizing::new(key.0.serialize_pem()));
        Ok(Self { name, certificate, key: Some(key), made_at: now, not_after, signs_from: None })
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        self.key.is_some() && now < self.not_after
    }

    fn signs(&self, now: Timestamp) -> bool {
        self.is_usable(now) && self.signs_from.is_some_and(|from| from <= now)
    }
}

/// All CAs, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authorities(Vec<Authority>);

impl Authorities {
    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut authorities: Self = serde_json::from_slice(json)?;
        authorities.0.sort_by_key(|authority| authority.made_at);
        Ok(authorities)
    }

    /// What stands in the Secret.
    ///
    /// # Errors
    /// None that can happen.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        serde_json::to_vec(self).map(Zeroizing::new)
    }

    /// What the API server must trust: every CA that has not ended, as PEM.
    #[must_use]
    pub fn bundle(&self, now: Timestamp) -> String {
        self.0
            .iter()
            .filter(|authority| now < authority.not_after)
            .map(|authority| authority.certificate.as_str())
            .collect()
    }

    /// Who signs: the newest that may; before any may, the newest there is.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> Option<&Authority> {
        let newest_first = || self.0.iter().rev();
        newest_first()
            .find(|authority| authority.signs(now))
            .or_else(|| newest_first().find(|authority| authority.is_usable(now)))
    }

    /// Must there be another? At two thirds of the life of the newest; earlier if the wanted lifetime became shorter.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, lifetime: Duration) -> bool {
        let newest = self.0.iter().rev().find(|authority| authority.is_usable(now));
        newest
            .is_none_or(|newest| now >= renewal(newest.made_at, newest.not_after.min(later(newest.made_at, lifetime))))
    }

    /// Takes a new one in.
    pub fn add(&mut self, authority: Authority) {
        self.0.push(authority);
        let surplus = self.0.len().saturating_sub(AUTHORITIES_MAX);
        self.0.drain(..surplus);
    }

    /// The API server was told of every one: the newest signs from `at` on, if that was not settled. True if it was not.
    pub fn settle(&mut self, at: Timestamp) -> bool {
        let newest = self.0.last_mut().filter(|newest| newest.signs_from.is_none());
        newest.is_some_and(|newest| newest.signs_from.replace(at).is_none())
    }

    /// Drops what ended, and the keys that nobody signs with any more. True if something changed.
    pub fn retire(&mut self, now: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|authority| now < authority.not_after);
        let mut changed = before != self.0.len();
        let signing = self.0.iter().rposition(|authority| authority.signs(now)).unwrap_or(0);
        for retired in &mut self.0[..signing] {
            changed |= retired.key.take().is_some();
        }
        changed
    }
}

/// A certificate of the webhook.
pub struct Leaf {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// What is known of it.
    pub term: Term,
}

/// Who signed a certificate, and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Name of the CA.
    pub authority: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Its end.
    pub not_after: Timestamp,
}

impl Term {
    /// Must there be another: another CA signs, or two thirds of its life are over?
    #[must_use]
    pub fn is_due(&self, signer: &Authority, now: Timestamp) -> bool {
        self.authority != signer.name || now >= renewal(self.made_at, self.not_after)
    }
}

/// Issues a certificate for these DNS names.
///
/// # Errors
/// The CA has no key, or its key or a name is none.
pub fn issue(
    authority: &Authority,
    dns_names: Vec<String>,
    now: Timestamp,
    lifetime: Duration,
) -> Result<Leaf, rcgen::Error> {
    let text = authority.key.as_ref().ok_or(rcgen::Error::CouldNotParseKeyPair)?;
    let issuer = Issuer::new(issuer_params(&authority.name), Wiped(KeyPair::from_pem(&text.0)?));
    let not_after = later(now, lifetime).min(authority.not_after);
    let mut params = CertificateParams::new(dns_names)?;
    params.distinguished_name = common_name("hoft-webhook");
    set_validity(&mut params, now, not_after);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = Wiped(KeyPair::generate()?);
    let certificate = params.signed_by(&key.0, &issuer)?.der().clone();
    Ok(Leaf {
        certificate,
        key: PrivatePkcs8KeyDer::from(key.0.serialize_der()).into(),
        term: Term { authority: authority.name.clone(), made_at: now, not_after },
    })
}

/// A key pair whose encoded form is wiped when dropped.
struct Wiped(KeyPair);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl rcgen::PublicKeyData for Wiped {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl rcgen::SigningKey for Wiped {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// What a certificate of a CA and those it signs must agree on.
fn issuer_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Two thirds of the way.
fn renewal(made_at: Timestamp, not_after: Timestamp) -> Timestamp {
    let life = not_after.duration_since(made_at);
    made_at.saturating_add(life / 3 * 2).unwrap_or(not_after)
}

fn later(now: Timestamp, lifetime: Duration) -> Timestamp {
    now.saturating_add(lifetime).unwrap_or(Timestamp::MAX)
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now.saturating_sub(BACKDATED).unwrap_or(now));
    params.not_after = epoch + since_epoch(not_after);
}

/// A year after 9999 cannot be written into a certificate, nor one before 1970 be meant.
fn since_epoch(at: Timestamp) -> Duration {
    const END_SECONDS: u64 = 253_402_300_799;
    Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0).min(END_SECONDS))
}

#[cfg(test)]
pub(super) mod tests;
