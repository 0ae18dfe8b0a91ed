//! Where the authority lies: files of its owner, or the engine's own in the state folder.
//!
//! Invariants: the key is written with mode 0600 and before the certificate, and what was left by a start that was cut off is
//! made again. Test to read first: `interception::tests::the_authority_stays_while_the_rules_name_the_same_hosts`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use disk::secret::{read_secret_file, write_new_file, write_secret_file};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

use super::{Names, set_validity};

/// The certificate.
const CERTIFICATE: &str = "interception-ca.pem";
/// Its key.
pub(super) const KEY: &str = "interception-ca.key";
/// The hosts that it was made for.
const HOSTS: &str = "interception-ca.hosts";
/// How long it is good: whoever trusts it had to be told.
const AUTHORITY_DAYS: u64 = 3650;

/// Certificate and key of somebody else's authority.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn given(certificate: &Path, key: &Path) -> Result<(String, Zeroizing<String>)> {
    let pem = std::fs::read_to_string(certificate)
        .with_context(|| format!("caFile: {} cannot be read", certificate.display()))?;
    Ok((pem, secret(key, true).context("keyFile")?))
}

/// Certificate and key of the engine's own authority, for these names; made if there is none for them.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn own(folder: &Path, names: &Names, side: &str) -> Result<(String, Zeroizing<String>)> {
    let place = |name: &str| folder.join(name);
    let same = std::fs::read_to_string(place(HOSTS)).is_ok_and(|hosts| hosts == names.text());
    if same && let (Ok(pem), Ok(key)) = (std::fs::read_to_string(place(CERTIFICATE)), secret(&place(KEY), false)) {
        return Ok((pem, key));
    }
    // Its last file is what makes it whole, so that goes first.
    for name in [HOSTS, CERTIFICATE, KEY] {
        match std::fs::remove_file(place(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be replaced", place(name).display()));
            }
            _ => {}
        }
    }
    let (pem, key) = make(names, side)?;
    write_secret_file(&place(KEY), key.as_bytes())?;
    write_new_file(&place(CERTIFICATE), pem.as_bytes(), 0o644)?;
    write_new_file(&place(HOSTS), names.text().as_bytes(), 0o644)?;
    tracing::info!(
        file = %place(CERTIFICATE).display(),
        "an authority for interception was made for the hosts of the outbound https rules; callers have to trust it"
    );
    Ok((pem, key))
}

fn make(names: &Names, side: &str) -> Result<(String, Zeroizing<String>)> {
    let key = KeyPair::generate().context("no key could be made")?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "hoft");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("hoft interception at {side}").chars().take(64).collect::<String>());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(names.constraints());
    set_validity(&mut params, SystemTime::now(), Duration::from_secs(AUTHORITY_DAYS * 86_400));
    let certificate = params.self_signed(&key).context("the certificate could not be made")?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

/// The text of a file that only its owner may read, unless `readable`.
fn secret(path: &Path, readable: bool) -> Result<Zeroizing<String>> {
    let bytes = read_secret_file(path, readable)?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is no PEM", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}
