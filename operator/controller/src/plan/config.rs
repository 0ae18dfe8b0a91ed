//! The engines' configuration file, made from a spec.
//!
//! Invariants: whatever the spec says is in the file or in `problems`, nothing is dropped; the same spec gives the same
//! bytes. It does not judge what the engine judges: `check` lets the engine's own reader do that. Test to read first:
//! `tests/config.rs`.

use std::path::PathBuf;
use std::time::Duration;

use crd_types::{Mode, Scheme, StateVolume, Target, TunnelPeering, TunnelPeeringSpec, names};
use kube::ResourceExt;
use sha2::{Digest, Sha256};
use sidecar_config::file::{self, ConfigFile};
use sidecar_config::{
    ByteSize, Folders, Layout, LogFormat, LogLevel, Profile, PublishSync, Quota, parse_duration, parse_size,
};

use super::keys::{Keys, hex};
use super::world::World;

/// Where the configuration lies in an engine's container.
pub(super) const CONFIG_DIR: &str = "/etc/hoft";
/// Where the secret keys lie.
pub(super) const IDENTITY_DIR: &str = "/etc/hoft-identity";
/// Where the authorities of targets lie, each in a folder named by its rule.
pub(super) const AUTHORITIES_DIR: &str = "/etc/hoft-authorities";
/// Where the mirrored folders and the state lie.
pub(super) const OUTBOX_DIR: &str = "/var/lib/hoft/out";
pub(super) const INBOX_DIR: &str = "/var/lib/hoft/in";
pub(super) const STATE_DIR: &str = "/var/lib/hoft/state";
/// Size of a gateway engine's claim, and what the engines' quotas are made for.
pub(super) const STATE_BYTES: ByteSize = ByteSize::gib(2);

/// A configuration, and what cannot be said in one.
#[derive(Debug)]
pub(super) struct Rendered {
    /// The file's text.
    pub(super) yaml: String,
    /// Its SHA-256, in hex.
    pub(super) sha256: String,
    /// What is wrong with the spec, each with its remedy.
    pub(super) problems: Vec<String>,
}

/// Secrets with authorities of targets: (rule, Secret).
pub(super) fn authorities(spec: &TunnelPeeringSpec) -> Vec<(&str, &str)> {
    let rules = spec.inbound.iter().flat_map(|inbound| &inbound.allow);
    rules
        .filter_map(|rule| {
            let secret = rule.target.as_ref()?.tls.as_ref()?.ca_secret_ref.as_ref()?;
            (!secret.name.is_empty()).then_some((rule.name.as_str(), secret.name.as_str()))
        })
        .collect()
}

pub(super) fn render(world: &World<'_>, keys: &Keys) -> Rendered {
    let mut problems = Vec::new();
    let file = config_file(world, keys, &mut problems);
    let yaml = file.to_yaml().unwrap_or_else(|error| {
        problems.push(error.to_string());
        String::new()
    });
    let sha256 = hex(&Sha256::digest(yaml.as_bytes()));
    Rendered { yaml, sha256, problems }
}

fn config_file(world: &World<'_>, keys: &Keys, problems: &mut Vec<String>) -> ConfigFile {
    let spec = &world.peering.spec;
    let folders = Folders {
        outbox: PathBuf::from(OUTBOX_DIR),
        inbox: PathBuf::from(INBOX_DIR),
        layout: Layout::default(),
        publish_sync: PublishSync::default(),
    };
    let mut file = ConfigFile::new(&spec.local.name, &spec.remote.name, folders, PathBuf::from(STATE_DIR));
    file.remote.keys = keys.usable.iter().map(|(_, token)| token.clone()).collect();
    file.identity.secret_file = Some(PathBuf::from(IDENTITY_DIR).join(names::SECRET_KEY));
    // A mounted Secret is a link to a file that everyone in the container may read.
    file.identity.allow_readable = true;
    file.modes.send = mode(spec.mode).to_owned();
    if !spec.accept_modes.is_empty() {
        file.modes.accept = Some(spec.accept_modes.iter().map(|each| mode(*each).to_owned()).collect());
    }
    file.allow_unauthenticated = spec.allow_unauthenticated;
    let port = spec.injection.as_ref().map_or(names::PORT_PROXY, |injection| injection.port);
    file.listen.proxy = format!("127.0.0.1:{port}");
    file.listen.admin = format!("0.0.0.0:{}", names::PORT_ADMIN);
    let heartbeat = &spec.heartbeat;
    file.heartbeat.interval = duration("spec.heartbeat.interval", &heartbeat.interval, problems);
    file.heartbeat.loss_timeout = duration("spec.heartbeat.lossTimeout", &heartbeat.loss_timeout, problems);
    mirror(&mut file, spec, problems);
    quotas(&mut file, spec, problems);
    file.outbound.allow = outbound(spec, problems);
    file.inbound.allow = inbound(world, problems);
    (file.log.level, file.log.format) = log(&world.settings.log_level);
    file
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Checksum => "Checksum",
        Mode::Signed => "Signed",
        Mode::Sealed => "Sealed",
    }
}

fn mirror(file: &mut ConfigFile, spec: &TunnelPeeringSpec, problems: &mut Vec<String>) {
    let promised = &spec.volume.mirror;
    let mirror = &mut file.mirror;
    mirror.profile = if promised.propagates_deletes { Profile::Sync } else { Profile::Copy };
    if let Some(latency) = duration("spec.volume.mirror.expectedLatency", &promised.expected_latency, problems) {
        mirror.expected_latency = latency;
    }
    if let Some(size) = size("spec.volume.mirror.maxFileSize", &promised.max_file_size, problems) {
        mirror.max_file_size = size;
    }
    if let Some(size) = size("spec.packet.maxSize", &spec.packet.max_size, problems) {
        mirror.packet_size = size;
    }
    // A mirror that takes days must not find its packets deleted on the way.
    mirror.packet_lifetime = mirror.packet_lifetime.max(mirror.expected_latency.saturating_mul(4));
}

/// Size of the volume that the log is on, where it is known.
pub(super) fn state_bytes(spec: &TunnelPeeringSpec) -> Option<ByteSize> {
    let state = spec.volume.state.as_ref();
    if state.is_some_and(|state| state.claim_name.is_some()) {
        return None;
    }
    let given = state.and_then(|state: &StateVolume| parse_size(state.size.as_ref()?).ok());
    given.or_else(|| spec.gateway.is_some().then_some(STATE_BYTES))
}

/// The bounds. The defaults fill three quarters of 2Gi; on a smaller volume they shrink with it.
fn quotas(file: &mut ConfigFile, spec: &TunnelPeeringSpec, problems: &mut Vec<String>) {
    let limits = spec.limits.clone().unwrap_or_default();
    let state = &mut file.state;
    let volume = state_bytes(spec);
    if let Some(volume) = volume {
        let part = |divisor: u64| ByteSize::b(volume.as_u64() / divisor);
        state.send_log = state.send_log.min(part(2));
        state.receive_pool = state.receive_pool.min(part(8));
        state.results = state.results.min(part(8));
    }
    if let Some(size) = limits.max_backlog.and_then(|text| size("spec.limits.maxBacklog", &text, problems)) {
        state.send_log = size;
    }
    let sum = [state.send_log, state.receive_pool, state.results]
        .iter()
        .fold(0_u64, |sum, size| sum.saturating_add(size.as_u64()));
    if let Some(volume) = volume
        && sum > volume.as_u64()
    {
        problems.push(format!(
            "spec.limits.maxBacklog {} and what arrives ({}) do not fit into spec.volume.state.size {}: write a larger size, \
             or a smaller maxBacklog",
            sidecar_config::format_size(state.send_log),
            sidecar_config::format_size(ByteSize::b(sum - state.send_log.as_u64())),
            sidecar_config::format_size(volume)
        ));
    }
    if let Some(ttl) = limits.request_ttl.and_then(|text| duration("spec.limits.requestTTL", &text, problems)) {
        state.result_ttl = ttl;
    }
    if let Some(size) = limits.max_body_size.and_then(|text| size("spec.limits.maxBodySize", &text, problems)) {
        file.limits.body_max = size;
    }
    if let Some(count) = limits.max_in_flight {
        file.limits.max_in_flight = u32::try_from(count).unwrap_or(0);
    }
}

fn outbound(spec: &TunnelPeeringSpec, problems: &mut Vec<String>) -> Vec<file::OutboundRule> {
    let rules = spec.outbound.iter().flat_map(|outbound| &outbound.allow);
    rules
        .map(|rule| {
            let mut made =
                file::OutboundRule::new(&rule.name, rule.destinations.iter().flat_map(destinations).collect());
            made.callers = rule
                .callers
                .iter()
                .map(|caller| file::Caller { service_account: caller.service_account.clone() })
                .collect();
            made.target = rule.destinations.first().and_then(route);
            let field = format!("spec.outbound.allow[{}].timeout", rule.name);
            if let Some(timeout) = rule.timeout.as_ref().and_then(|text| duration(&field, text, problems)) {
                made.timeout = timeout;
            }
            if let Some(wanted) = &rule.quota {
                made.quota = quota(&format!("spec.outbound.allow[{}].quota", rule.name), wanted, spec, problems);
            }
            made
        })
        .collect()
}

/// What a rule's callers may use of each engine. One that an engine's own bound makes pointless is said here, in the words of the spec.
fn quota(field: &str, wanted: &crd_types::Quota, spec: &TunnelPeeringSpec, problems: &mut Vec<String>) -> Quota {
    let count = |count: Option<i32>| count.and_then(|count| u32::try_from(count).ok());
    let most = count(spec.limits.as_ref().and_then(|limits| limits.max_in_flight))
        .unwrap_or_else(|| sidecar_config::Limits::default().max_in_flight);
    let max_in_flight = count(wanted.max_in_flight);
    if let Some(wanted) = max_in_flight.filter(|wanted| *wanted > most) {
        problems.push(format!(
            "{field}.maxInFlight: {wanted} is more than an engine takes, {most}: write at most that, or raise spec.limits.maxInFlight"
        ));
    }
    Quota {
        requests_per_minute: count(wanted.requests_per_minute),
        bytes_per_second: None,
        bytes_per_day: wanted
            .bytes_per_day
            .as_ref()
            .and_then(|text| size(&format!("{field}.bytesPerDay"), text, problems)),
        max_in_flight: max_in_flight.map(|wanted| wanted.min(most)),
    }
}

/// Where a route leads; a pattern of hosts leads nowhere.
fn route(destination: &crd_types::Destination) -> Option<String> {
    if destination.host.starts_with('*') {
        return None;
    }
    let scheme = destination.schemes.first().copied().unwrap_or(Scheme::Https).as_str();
    let bare = destination.host.contains(':') && !destination.host.starts_with('[');
    let host = if bare { format!("[{}]", destination.host) } else { destination.host.clone() };
    let port = destination.port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{scheme}://{host}{port}/"))
}

/// One destination; two where both schemes are asked for on the port of each.
fn destinations(from: &crd_types::Destination) -> Vec<file::Destination> {
    let schemes: Vec<String> = from.schemes.iter().map(|scheme| scheme.as_str().to_owned()).collect();
    if from.port.is_some() {
        return vec![destination(from, schemes)];
    }
    schemes.into_iter().map(|scheme| destination(from, vec![scheme])).collect()
}

fn destination(from: &crd_types::Destination, schemes: Vec<String>) -> file::Destination {
    let every_path = || vec!["/".to_owned()];
    file::Destination {
        schemes,
        host: from.host.clone(),
        port: from.port,
        methods: from.methods.iter().map(|method| method.as_str().to_owned()).collect(),
        paths: if from.paths.is_empty() { every_path() } else { from.paths.clone() },
    }
}

fn inbound(world: &World<'_>, problems: &mut Vec<String>) -> Vec<file::InboundRule> {
    let rules = world.peering.spec.inbound.iter().flat_map(|inbound| &inbound.allow);
    rules.map(|rule| inbound_rule(world, rule, problems)).collect()
}

fn inbound_rule(world: &World<'_>, rule: &crd_types::InboundRule, problems: &mut Vec<String>) -> file::InboundRule {
    let field = format!("spec.inbound.allow[{}]", rule.name);
    let remote = &world.peering.spec.remote.name;
    let mut made = file::InboundRule::new(&rule.name, rule.destinations.iter().flat_map(destinations).collect());
    if let Some(other) = rule.from.iter().find(|from| from.peer != *remote) {
        problems.push(format!("{field}.from: `{}` is not the far side of this peering: write {remote}", other.peer));
    }
    if rule.from.iter().all(|from| from.caller.is_some()) {
        made.callers = rule.from.iter().filter_map(|from| from.caller.clone()).collect();
        if made.callers.is_empty() {
            // An empty list would mean everyone.
            problems.push(format!("{field}.from is empty: name {remote}"));
        }
    }
    made.addresses.clone_from(&rule.addresses);
    if let Some(timeout) = rule.timeout.as_ref().and_then(|text| duration(&format!("{field}.timeout"), text, problems))
    {
        made.timeout = timeout;
    }
    if let Some(target) = &rule.target {
        made.target = server(world, target);
        made.addresses.extend(cluster_addresses(world, target));
        if target.tls.is_some() && target.url.as_deref().is_some_and(|url| url.starts_with("http://")) {
            problems.push(format!("{field}.target: tls means https, and url says http: write https://, or remove tls"));
        }
        if target.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref()).is_some_and(|secret| !secret.name.is_empty())
        {
            made.tls.ca_file = Some(PathBuf::from(AUTHORITIES_DIR).join(&rule.name).join("ca.crt"));
        }
    }
    made
}

fn server(world: &World<'_>, target: &Target) -> Option<String> {
    let Some(service) = &target.service_ref else { return target.url.clone() };
    let scheme = if target.tls.is_some() { Scheme::Https } else { Scheme::Http }.as_str();
    let namespace = world.peering.namespace().unwrap_or_default();
    Some(format!("{scheme}://{}.{namespace}.svc:{}", service.name, service.port))
}

/// The Service's own addresses: naming it is permission enough.
fn cluster_addresses(world: &World<'_>, target: &Target) -> Vec<String> {
    let Some(named) = &target.service_ref else { return Vec::new() };
    let Some(spec) = world.services.get(&named.name).and_then(|service| service.spec.as_ref()) else {
        return Vec::new();
    };
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut networks: Vec<String> = Vec::new();
    for address in all.filter_map(|text| text.parse::<std::net::IpAddr>().ok()) {
        let network = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}

/// `info`, `json`, `debug,json`: a level and a format, in any order.
fn log(text: &str) -> (LogLevel, LogFormat) {
    let mut log = (LogLevel::default(), LogFormat::default());
    for word in text.split(|c: char| !c.is_ascii_alphabetic()) {
        match word {
            "error" => log.0 = LogLevel::Error,
            "warn" => log.0 = LogLevel::Warn,
            "info" => log.0 = LogLevel::Info,
            "debug" => log.0 = LogLevel::Debug,
            "trace" => log.0 = LogLevel::Trace,
            "json" => log.1 = LogFormat::Json,
            "text" => log.1 = LogFormat::Text,
            _ => {}
        }
    }
    log
}

fn duration(field: &str, text: &str, problems: &mut Vec<String>) -> Option<Duration> {
    parse_duration(text).map_err(|why| problems.push(format!("{field}: {why}"))).ok()
}

fn size(field: &str, text: &str, problems: &mut Vec<String>) -> Option<ByteSize> {
    parse_size(text).map_err(|why| problems.push(format!("{field}: {why}"))).ok()
}

/// A duration of the spec, or another where it is none.
pub(super) fn duration_or(text: &str, otherwise: Duration) -> Duration {
    parse_duration(text).unwrap_or(otherwise)
}

/// The ConfigMap that every engine made for this configuration reads.
pub(super) fn config_map(peering: &TunnelPeering, config: &Rendered) -> k8s_openapi::api::core::v1::ConfigMap {
    k8s_openapi::api::core::v1::ConfigMap {
        metadata: super::world::child_metadata(peering, names::config_map(&peering.name_any(), &config.sha256)),
        data: Some([(names::CONFIG_KEY.to_owned(), config.yaml.clone())].into()),
        immutable: Some(true),
        ..Default::default()
    }
}
