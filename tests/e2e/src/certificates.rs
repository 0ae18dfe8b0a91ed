//! The certificates, keys, tokens and kubeconfigs of one cluster, new for every start.
//!
//! Invariant: each component has a name and a token of its own, so the audit log tells them apart; every private file
//! is 0600. The certificates live as long as rcgen's default, longer than any run.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::cluster::Layout;

/// Users of the API server: file name of the kubeconfig, user name, groups.
fn users(layout: &Layout) -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("admin", "hoft-e2e:admin".to_owned(), "system:masters"),
        ("kubelet", format!("system:node:{}", layout.node_name()), "system:nodes"),
        ("controller-manager", "system:kube-controller-manager".to_owned(), ""),
        ("scheduler", "system:kube-scheduler".to_owned(), ""),
        ("proxy", "system:kube-proxy".to_owned(), ""),
        // coredns reads Services, EndpointSlices, Pods and Namespaces everywhere; no bootstrap role grants just that.
        ("dns", "hoft-e2e:dns".to_owned(), "system:masters"),
    ]
}

/// Writes all of it into the cluster's `pki` folder.
///
/// # Errors
/// A file cannot be written, or the machine has no randomness.
pub fn create(layout: &Layout) -> anyhow::Result<()> {
    let ca = authority()?;
    let pki = layout.pki();
    public_file(&pki.join("ca.crt"), &ca.pem())?;
    private_file(&pki.join("ca.key"), &ca.key().serialize_pem())?;

    let mut server = CertificateParams::new(vec![
        "localhost".to_owned(),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        "kubernetes.default.svc.cluster.local".to_owned(),
    ])?;
    let addresses = [layout.node_address(), IpAddr::from([127, 0, 0, 1]), layout.api_service_address()];
    server.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    signed(&pki, "apiserver", server, ExtendedKeyUsagePurpose::ServerAuth, &ca)?;

    // Without a certificate of its own the API server may not read logs from the kubelet or run commands there.
    let mut client = CertificateParams::new(Vec::<String>::new())?;
    client.distinguished_name.push(DnType::OrganizationName, "system:masters");
    client.distinguished_name.push(DnType::CommonName, "kube-apiserver-kubelet-client");
    signed(&pki, "kubelet-client", client, ExtendedKeyUsagePurpose::ClientAuth, &ca)?;

    let tokens_key = KeyPair::generate()?;
    private_file(&pki.join("service-accounts.key"), &tokens_key.serialize_pem())?;
    public_file(&pki.join("service-accounts.pub"), &tokens_key.public_key_pem())?;

    let mut tokens = String::new();
    for (file, user, groups) in users(layout) {
        let token = random_token()?;
        tokens.push_str(&format!("{token},{user},{user},\"{groups}\"\n"));
        private_file(&layout.kubeconfig(file), &kubeconfig(layout, &user, &token))?;
    }
    private_file(&pki.join("tokens.csv"), &tokens)
}

fn authority() -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "hoft-e2e-ca");
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn signed(
    pki: &Path,
    name: &str,
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
    ca: &CertifiedIssuer<'_, KeyPair>,
) -> anyhow::Result<()> {
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    public_file(&pki.join(format!("{name}.crt")), &certificate.pem())?;
    private_file(&pki.join(format!("{name}.key")), &key.serialize_pem())
}

/// A kubeconfig with the CA's file by path: it is used on this machine only.
fn kubeconfig(layout: &Layout, user: &str, token: &str) -> String {
    let (name, server, ca) = (&layout.name, layout.server(), layout.pki().join("ca.crt"));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {name}\n\
         clusters:\n- name: {name}\n  cluster: {{server: \"{server}\", certificate-authority: \"{}\"}}\n\
         users:\n- name: \"{user}\"\n  user: {{token: \"{token}\"}}\n\
         contexts:\n- name: {name}\n  context: {{cluster: {name}, user: \"{user}\"}}\n",
        ca.display()
    )
}

fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn private_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn public_file(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
