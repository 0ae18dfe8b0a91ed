//! The line that most tests share, with one rule for each thing that a call may meet.
//!
//! | rule | leads to |
//! |---|---|
//! | `up` | the upstream; the route has the same name |
//! | `tls` | the HTTPS upstream as `localhost`, whose authority the far side was given |
//! | `wrong-name` | the HTTPS upstream as 127.0.0.1, which its certificate does not name |
//! | `closed` | a port on which nobody listens |
//! | `metadata` | 169.254.169.254, allowed by the rule but not as an address |
//! | `unlisted` | `localhost`, with another loopback address listed |
//! | `near-only` | `elsewhere.example`, which only the near side allows |
//! | `hasty` | the upstream as `localhost`, by a route whose caller is held for one second |
//!
//! Invariant: no test changes the line: engines that are killed belong to `crash.rs`. Read first: [`line`].

use std::sync::OnceLock;
use std::time::Duration;

use crate::harness::{Line, Options, SharedLine, destination, free_port, inbound, outbound};
use crate::upstream::Upstream;

/// Ports behind the rules.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) tls: u16,
    pub(crate) closed: u16,
    pub(crate) unlisted: u16,
}

/// The shared line; it is started by the first who asks.
pub(crate) fn line() -> SharedLine {
    SharedLine(&started().0)
}

/// Its ports.
pub(crate) fn places() -> Places {
    started().1
}

fn started() -> &'static (Line, Places) {
    static LINE: OnceLock<(Line, Places)> = OnceLock::new();
    LINE.get_or_init(start)
}

fn start() -> (Line, Places) {
    let upstream = Upstream::start();
    let authority = Authority::new();
    let tls = Upstream::start_tls(&authority.leaf, &authority.leaf_key);
    let ca_folder = crate::process::folder().keep();
    let ca_file = ca_folder.join("ca.pem");
    std::fs::write(&ca_file, authority.pem).unwrap();
    let places = Places { tls: tls.port, closed: free_port(), unlisted: free_port() };
    let up = upstream.port;
    let options = Options {
        near: Box::new(move |file| {
            let mut hasty = outbound("hasty", destination("http", "localhost", up), None);
            hasty.target = Some(format!("http://localhost:{up}/"));
            hasty.timeout = Duration::from_secs(1);
            file.outbound.allow.extend([
                outbound("tls", destination("https", "localhost", places.tls), None),
                outbound("wrong-name", destination("https", "127.0.0.1", places.tls), None),
                outbound("closed", destination("http", "127.0.0.1", places.closed), None),
                outbound("metadata", destination("http", "169.254.169.254", 80), None),
                outbound("unlisted", destination("http", "localhost", places.unlisted), None),
                outbound("near-only", destination("http", "elsewhere.example", 80), None),
                hasty,
            ]);
        }),
        far: Box::new(move |file| {
            let mut own = inbound("tls", destination("https", "localhost", places.tls));
            own.destinations.push(destination("https", "127.0.0.1", places.tls));
            own.tls.ca_file = Some(ca_file.clone());
            let mut metadata = inbound("metadata", destination("http", "169.254.169.254", 80));
            metadata.addresses = vec!["169.254.0.0/16".to_owned()];
            let mut unlisted = inbound("unlisted", destination("http", "localhost", places.unlisted));
            unlisted.addresses = vec!["127.9.9.9".to_owned()];
            file.inbound.allow.extend([
                own,
                inbound("closed", destination("http", "127.0.0.1", places.closed)),
                metadata,
                unlisted,
                inbound("hasty", destination("http", "localhost", up)),
            ]);
        }),
        ..Options::default()
    };
    (Line::start_with(&options, upstream), places)
}

/// A certificate authority of our own, and a server certificate of it for `localhost`.
pub(crate) struct Authority {
    pub(crate) pem: String,
    pub(crate) leaf: rcgen::Certificate,
    pub(crate) leaf_key: rcgen::KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        Self { pem: issuer.pem(), leaf, leaf_key }
    }
}
