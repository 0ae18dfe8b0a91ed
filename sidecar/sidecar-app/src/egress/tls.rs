//! Which certificates an upstream may show.
//!
//! Invariants: TLS 1.2 and 1.3 only, certificates are always verified, and a rule with a file of authorities trusts only
//! those. A machine without a store of authorities is no error at the start: plain HTTP works, and a call by https then
//! ends as a problem that says so. There are no client certificates. Test to read first:
//! `a_file_without_certificates_is_refused`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hyper_rustls::ConfigBuilderExt;
use rustls::client::{ClientConfig, WantsClientCert};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier};

/// The machine's own authorities, read once and only if a rule needs them.
#[derive(Default)]
pub(super) struct SystemRoots(Option<ClientConfig>);

impl SystemRoots {
    /// A configuration that trusts the machine's authorities.
    ///
    /// # Errors
    /// When the cryptographic provider has no suitable cipher suite.
    pub(super) fn config(&mut self) -> Result<ClientConfig> {
        if let Some(config) = &self.0 {
            return Ok(config.clone());
        }
        let builder = builder()?;
        let verified = builder.clone().with_native_roots().unwrap_or_else(|error| {
            tracing::warn!(%error, "no certificate authorities on this machine: calls by https will fail; install \
                ca-certificates, or name tls.caFile in the inbound rules");
            builder.with_root_certificates(RootCertStore::empty())
        });
        let config = finish(verified);
        self.0 = Some(config.clone());
        Ok(config)
    }

    /// A configuration that trusts nobody, for rules that allow no https.
    ///
    /// # Errors
    /// As [`Self::config`].
    pub(super) fn without_roots(&self) -> Result<ClientConfig> {
        Ok(finish(builder()?.with_root_certificates(RootCertStore::empty())))
    }
}

/// A configuration that trusts only the authorities in a PEM file.
///
/// # Errors
/// When the file cannot be read, or a certificate in it cannot, or there is none.
pub(super) fn trusting(file: &Path) -> Result<ClientConfig> {
    let pem = std::fs::read(file).with_context(|| format!("tls.caFile: {} cannot be read", file.display()))?;
    let roots = authorities(&pem).with_context(|| format!("tls.caFile: {}", file.display()))?;
    Ok(finish(builder()?.with_root_certificates(roots)))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.context("it is not PEM")?;
        roots.add(certificate).with_context(|| format!("certificate {} in it cannot be used", roots.len() + 1))?;
    }
    if roots.is_empty() {
        bail!(
            "it holds no certificate; write the authority's certificate between BEGIN CERTIFICATE and END CERTIFICATE"
        );
    }
    Ok(roots)
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().context("TLS cannot be set up")
}

fn finish(verified: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig {
    verified.with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(authorities(b"").unwrap_err().to_string().contains("no certificate"));
        assert!(authorities(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }

    #[test]
    fn every_certificate_of_the_file_is_trusted() {
        let pem = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem();
        assert_eq!(authorities(format!("{}{}", pem("a.test"), pem("b.test")).as_bytes()).unwrap().len(), 2);
    }
}
