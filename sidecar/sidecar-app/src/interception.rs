//! The certificate authority by which the near side ends the TLS of its own callers, and the certificates it makes.
//!
//! Opt-in. The authority's certificate is constrained to the names of the outbound https rules (RFC 5280 §4.2.1.10), so whoever
//! trusts it trusts it for those alone, even if its key is lost; where a constraint is coarser than a rule (it cannot mean one
//! host without what is below it), the rules decide.
//!
//! Invariants: no certificate is made for a host that no outbound https rule names; the authority's key is in a file of mode
//! 0600 and in no message; a certificate is good for [`LEAF_DAYS`] and made anew well before. It answers no connection:
//! `ingress::intercept` does. Test to read first: `a_certificate_is_made_only_for_a_host_of_a_rule`.

mod files;
mod names;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sidecar_config::Config;

pub use names::Names;

/// How long a host's certificate is good.
const LEAF_DAYS: u64 = 30;
/// When it is made anew, before that.
const LEAF_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Clocks of callers may be behind.
const BACKDATE: Duration = Duration::from_secs(86_400);
/// Hosts whose certificates are kept: a rule for a suffix names any number of them.
const LEAVES_MAX: usize = 1024;

/// The authority, with the certificates it made.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    names: Names,
    leaf_key: KeyPair,
    leaves: Mutex<BTreeMap<String, Leaf>>,
}

struct Leaf {
    made: SystemTime,
    config: Arc<ServerConfig>,
}

/// Why there is no certificate for a host.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// No rule names it.
    #[error("no outbound https rule names {host}")]
    NotNamed {
        /// The host.
        host: String,
    },
    /// It could not be made.
    #[error("no certificate for {host} could be made")]
    Made {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
}

impl Authority {
    /// The authority of this engine, if interception is switched on: the configured one, or its own, which is made at the first
    /// start and again when the rules name other hosts.
    ///
    /// # Errors
    /// When its files cannot be used, and when a new one cannot be made.
    pub fn open(config: &Config) -> Result<Option<Self>> {
        if !config.interception.enabled {
            return Ok(None);
        }
        let names = Names::of(config);
        let (pem, key) = match (&config.interception.ca_file, &config.interception.key_file) {
            (Some(certificate), Some(key)) => files::given(certificate, key).context("interception")?,
            _ => files::own(&config.state.folder, &names, config.local.name.as_str())
                .context("interception: the engine's own authority")?,
        };
        Self::with(pem, &key, names).map(Some)
    }

    fn with(pem: String, key: &str, names: Names) -> Result<Self> {
        let key = KeyPair::from_pem(key).context("the authority's key is no private key in PEM (PKCS#8)")?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).context("the authority's certificate cannot be read")?;
        let leaf_key = KeyPair::generate().context("no key for certificates could be made")?;
        Ok(Self { pem, issuer, names, leaf_key, leaves: Mutex::default() })
    }

    /// Its certificate, for the callers' trust stores.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether an https rule that this caller has names the place.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        self.names.cover(host, Some(port))
    }

    /// What ends a caller's TLS in the name of `host`.
    ///
    /// # Errors
    /// When no rule names the host, or its certificate cannot be made.
    pub fn server(&self, host: &str) -> Result<Arc<ServerConfig>, LeafError> {
        if !self.names.cover(host, None) {
            return Err(LeafError::NotNamed { host: host.to_owned() });
        }
        let now = SystemTime::now();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |leaf: &&Leaf| now.duration_since(leaf.made).is_ok_and(|age| age < LEAF_AGE_MAX);
        if let Some(leaf) = leaves.get(host).filter(fresh) {
            return Ok(Arc::clone(&leaf.config));
        }
        let made = self.make(host, now).map_err(|source| LeafError::Made { host: host.to_owned(), source })?;
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(host.to_owned(), Leaf { made: now, config: Arc::clone(&made) });
        Ok(made)
    }

    fn make(&self, host: &str, now: SystemTime) -> Result<Arc<ServerConfig>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let mut params = CertificateParams::new(vec![bare.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        // At most 64 characters may stand there; what counts is the alternative name.
        params.distinguished_name.push(DnType::CommonName, bare.chars().take(64).collect::<String>());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, Duration::from_secs(LEAF_DAYS * 86_400));
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Good from a day before `now` to `length` after it.
fn set_validity(params: &mut CertificateParams, now: SystemTime, length: Duration) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since.saturating_sub(BACKDATE);
    params.not_after = epoch + since.saturating_add(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authority of an engine with these outbound https destinations, in a folder of its own.
    fn authority(hosts: &[&str]) -> (Authority, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (open(hosts, folder.path()), folder)
    }

    fn open(hosts: &[&str], folder: &std::path::Path) -> Authority {
        let to: Vec<_> = hosts.iter().map(|host| format!("{{host: \"{host}\", methods: [GET]}}")).collect();
        let text = format!(
            "version: 1\nlocal: {{name: north}}\nremote: {{name: south, keys: [hoft1AAAA]}}\nidentity: {{secretFile: n.key}}\n\
             folders: {{outbox: out, inbox: in}}\nstate: {{folder: .}}\ninterception: {{enabled: true}}\n\
             outbound: {{allow: [{{name: a, destinations: [{{schemes: [http], host: plain.test, methods: [GET]}}, {}]}}]}}\n",
            to.join(", ")
        )
        .replace("state: {folder: .}", &format!("state: {{folder: {}/state}}", folder.display()));
        std::fs::create_dir_all(folder.join("state")).unwrap();
        let config = sidecar_config::parse(&text, "north.yaml", folder).unwrap();
        Authority::open(&config).unwrap().unwrap()
    }

    #[test]
    fn a_certificate_is_made_only_for_a_host_of_a_rule() {
        let (authority, _folder) = authority(&["erp.test", "*.south.svc", "10.1.2.3"]);
        for host in ["erp.test", "a.south.svc", "a.b.south.svc", "10.1.2.3"] {
            assert!(authority.server(host).is_ok() && authority.covers(host, 443), "{host}");
            assert!(!authority.covers(host, 8443), "{host}");
        }
        for host in ["x.erp.test", "south.svc", "erp.test.evil", "plain.test", "10.1.2.4", "", "erp.test\0.evil"] {
            assert!(matches!(authority.server(host), Err(LeafError::NotNamed { .. })), "{host}");
        }
        assert!(Arc::ptr_eq(&authority.server("erp.test").unwrap(), &authority.server("erp.test").unwrap()));
    }

    #[test]
    fn the_authority_stays_while_the_rules_name_the_same_hosts() {
        use std::os::unix::fs::PermissionsExt;
        let (first, folder) = authority(&["erp.test", "*.south.svc"]);
        let again = open(&["*.south.svc", "erp.test"], folder.path());
        assert_eq!(first.pem(), again.pem());
        let key = folder.path().join("state").join(files::KEY);
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        let other = open(&["erp.test"], folder.path());
        assert_ne!(first.pem(), other.pem());
    }

    #[test]
    fn the_constraints_bind_verifiers_that_know_no_rule() {
        let (authority, _folder) = authority(&["erp.test"]);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(
            authority.pem().as_bytes(),
        ) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let verify = |host: &str| {
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            // As a thief of the key would make it.
            let leaf = params.signed_by(&authority.leaf_key, &authority.issuer).unwrap();
            let name = rustls::pki_types::ServerName::try_from(host.to_owned()).unwrap();
            let now = rustls::pki_types::UnixTime::now();
            rustls::client::danger::ServerCertVerifier::verify_server_cert(&*verifier, leaf.der(), &[], &name, &[], now)
        };
        assert!(verify("erp.test").is_ok(), "{:?}", verify("erp.test"));
        for host in ["evil.test", "127.0.0.1", "::1"] {
            assert!(verify(host).is_err(), "{host}");
        }
    }
}
