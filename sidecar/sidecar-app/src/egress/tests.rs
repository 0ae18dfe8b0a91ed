//! Executions against real servers on the loopback: `execution` with a driver that only records, `wire` the call alone.

mod driver;
mod execution;
mod far_side;
mod oauth;
mod server;
mod ssrf;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use layer2_http::addresses::Networks;
use layer2_http::envelope::Envelope;
use layer2_http::fields::Fields;
use layer2_http::head::RequestHead;
use layer2_http::policy::{HostPattern, Policy, Retry, Rule};

use super::connector::{OpeningTimes, Reach};
use super::server::Server;
use super::*;

pub(super) const TIMEOUT: Duration = Duration::from_millis(600);

/// An egress named `hoft-south` whose only rule lets GET, HEAD, POST, PUT and OPTIONS under `/v1/` go to `erp.test`,
/// `10.0.0.1` and this machine, on any of `ports` (80 and 8080 if empty).
pub(super) fn egress_on(addresses: &[&str], ports: &[u16], ca_file: Option<PathBuf>) -> Egress {
    egress_to(None, addresses, ports, ca_file)
}

/// As [`egress_on`], with every call made to `server`.
pub(super) fn egress_to(server: Option<&str>, addresses: &[&str], ports: &[u16], ca_file: Option<PathBuf>) -> Egress {
    let hosts = ["erp.test", "10.0.0.1", "127.0.0.1", "localhost", "nowhere.invalid"];
    let addresses: Vec<ipnet::IpNet> = addresses.iter().map(|net| net.parse().unwrap()).collect();
    let rule = Rule {
        name: "erp".to_owned(),
        schemes: vec!["http".to_owned(), "https".to_owned()],
        hosts: hosts.map(|host| HostPattern::parse(host).unwrap()).to_vec(),
        ports: if ports.is_empty() { vec![80, 8080] } else { ports.to_vec() },
        path_prefixes: vec!["/v1/".to_owned()],
        methods: ["GET", "HEAD", "POST", "PUT", "OPTIONS"].map(str::to_owned).to_vec(),
        callers: Vec::new(),
        max_body: Some(1000),
        addresses: addresses.clone(),
        timeout: TIMEOUT,
        retry: Retry::Idempotent,
    };
    let section = SectionLimit::new(4096);
    let tls = match ca_file {
        Some(file) => tls::trusting(&file).unwrap(),
        None => tls::SystemRoots::default().without_roots().unwrap(),
    };
    let times = OpeningTimes { lookup_max: Duration::from_secs(5), connect_max: TIMEOUT / 2 };
    let server = server.map(|target| Server::new(&target.parse().unwrap()).unwrap());
    let networks = Networks::new(addresses, Vec::new());
    let reach = Reach { times, ..Reach::new(Arc::new(networks)) };
    let upstream = Upstream::with(&reach, server, 1000, section, tls);
    Egress {
        policy: Policy::new(vec![rule]).unwrap(),
        upstreams: BTreeMap::from([("erp".to_owned(), upstream)]),
        tunnels: BTreeMap::new(),
        pseudonym: "hoft-south".to_owned(),
        me: EndpointId::from_bytes([1; 16]),
        section,
        compress: false,
        counters: Arc::default(),
    }
}

pub(super) fn egress(addresses: &[&str]) -> Egress {
    egress_on(addresses, &[], None)
}

/// The head of a request without fields.
pub(super) fn head(method: &str, url: &str) -> RequestHead {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    RequestHead {
        envelope: Envelope::default(),
        method: method.to_owned(),
        scheme: scheme.to_owned(),
        authority: authority.to_owned(),
        path: path.to_owned(),
        fields: Fields::new(),
    }
}

fn configured(folder: &std::path::Path) -> Result<Egress> {
    let text = "version: 1
local: {name: south}
remote: {name: north, keys: [hoft1AAAA]}
identity: {secretFile: south.key}
folders: {outbox: out, inbox: in}
state: {folder: state}
inbound:
  allow:
    - name: plain
      destinations: [{schemes: [http], host: erp.test, methods: [GET]}]
    - name: private
      destinations: [{schemes: [https], host: crm.test, methods: [GET]}]
      tls: {caFile: ca.pem}
";
    let config = sidecar_config::parse(text, "south.yaml", folder)?;
    let policy = crate::policies::inbound(&config)?;
    Egress::new(&config, policy, "hoft-south".to_owned(), EndpointId::from_bytes([1; 16]))
}

#[test]
fn every_rule_of_a_configuration_gets_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let authority = rcgen::generate_simple_self_signed(vec!["crm.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.cert.pem()).unwrap();
    let egress = configured(folder.path()).unwrap();
    assert_eq!(egress.upstreams.keys().collect::<Vec<_>>(), ["plain", "private"]);
    assert!(egress.compress);
    assert_eq!(egress.counts(), Counts::default());
}

#[test]
fn a_missing_file_of_authorities_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let error = format!("{:#}", configured(folder.path()).err().unwrap());
    assert!(error.contains("`private`") && error.contains("tls.caFile") && error.contains("ca.pem"), "{error}");
}
