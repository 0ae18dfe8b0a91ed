//! Whether a spec can be carried out, beside the other peerings: the condition Accepted.
//!
//! Invariants: what this version cannot do is refused by the field's name, never ignored; the configuration is judged by
//! the engine's own reader; of two peerings that want one folder the older has it, on both of them. It does not look at
//! what runs. Test to read first: `tests/accepted.rs`.

use std::path::Path;

use crd_types::{Compression, Folder, InjectionMode, Reason, TunnelPeering, TunnelPeeringSpec};
use kube::ResourceExt;

use super::config::{CONFIG_DIR, Rendered};
use super::keys::Keys;
use super::verdict::Verdict;
use super::world::World;

/// Most problems that are listed.
const PROBLEMS_MAX: usize = 16;
/// Folder on a shared claim below which every peering has one for its engines' logs.
const STATE_ROOT: &str = "hoft-state";

pub(super) fn verdict(world: &World<'_>, keys: &Keys, config: &Rendered) -> Verdict {
    let spec = &world.peering.spec;
    let mut found: Vec<(Reason, String)> = Vec::new();
    found.extend(unsupported(spec).into_iter().map(|text| (Reason::Unsupported, text)));
    found.extend(unknown_class(spec).map(|text| (Reason::UnknownClass, text)));
    found.extend(folder_conflicts(world).into_iter().map(|text| (Reason::FolderConflict, text)));
    found.extend(invalid_name(world.peering).map(|text| (Reason::InvalidConfig, text)));
    found.extend(own_folders_overlap(world.peering).map(|text| (Reason::InvalidConfig, text)));
    found.extend(config.problems.iter().map(|text| (Reason::InvalidConfig, text.clone())));
    found.extend(refused_by_the_engine(spec, config).into_iter().map(|text| (Reason::InvalidConfig, text)));
    found.extend(services(world));
    found.extend(keys.invalid.iter().map(|text| (Reason::InvalidKey, text.clone())));
    if keys.usable.is_empty() {
        found.extend(keys.ended.iter().map(|text| (Reason::InvalidKey, text.clone())));
    }
    let Some((reason, _)) = found.first() else {
        return Verdict::holds(Reason::Accepted, "The spec can be carried out.");
    };
    let mut texts: Vec<&str> = found.iter().take(PROBLEMS_MAX).map(|(_, text)| text.as_str()).collect();
    if found.len() > PROBLEMS_MAX {
        texts.push("and more");
    }
    Verdict::fails(*reason, texts.join("\n"))
}

/// Fields with no effect in this version.
fn unsupported(spec: &TunnelPeeringSpec) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    let mut add = |asked: bool, text: &str| {
        if asked {
            fields.push(format!("This version cannot do {text}."));
        }
    };
    let identity = spec.identity.as_ref();
    add(
        identity.is_some_and(|identity| identity.rotation.is_some()),
        "spec.identity.rotation: remove it; keys are changed by hand, as docs/kubernetes.md shows",
    );
    let gateway = spec.gateway.as_ref();
    add(gateway.is_some_and(|gateway| gateway.replicas > 1), "spec.gateway.replicas above 1: write 1");
    add(
        gateway.is_some_and(|gateway| gateway.pdb.is_some()),
        "spec.gateway.pdb: remove it; one engine can always be drained",
    );
    let injection = spec.injection.as_ref();
    add(
        injection.is_some_and(|injection| injection.mode == InjectionMode::Forward),
        "spec.injection.mode Forward: write Engine, or remove spec.injection and let apps run without an engine of their own",
    );
    let packet = &spec.packet;
    add(packet.min_size.is_some(), "spec.packet.minSize: remove it");
    add(packet.flush_interval.is_some(), "spec.packet.flushInterval: remove it");
    add(
        packet.compression != Compression::Zstd,
        "spec.packet.compression None: write Zstd; it is used where it pays only",
    );
    add(packet.redundancy > 0, "spec.packet.redundancy: write 0; what is lost is sent again");
    add(
        spec.limits.as_ref().is_some_and(|limits| limits.bandwidth.is_some()),
        "spec.limits.bandwidth: remove it; bound what the mirroring service carries instead",
    );
    fields
}

fn unknown_class(spec: &TunnelPeeringSpec) -> Option<String> {
    let class = spec.class_ref.as_ref()?;
    Some(format!(
        "spec.classRef: there is no class `{}`, because this version has no classes: remove the field.",
        class.name
    ))
}

/// Names of Services are stricter than those of peerings.
fn invalid_name(peering: &TunnelPeering) -> Option<String> {
    let name = peering.name_any();
    let good = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains('.');
    (peering.spec.gateway.is_some() && !good).then(|| {
        format!(
            "metadata.name `{name}` cannot name a Service, which spec.gateway needs: make the peering anew under a name that \
             begins with a letter and has no dot, or remove spec.gateway."
        )
    })
}

/// What the engine says of its configuration, in the spec's words.
fn refused_by_the_engine(spec: &TunnelPeeringSpec, config: &Rendered) -> Vec<String> {
    if config.yaml.len() > sidecar_config::FILE_BYTES_MAX {
        return vec![format!(
            "The rules of spec.outbound and spec.inbound make a configuration of {} bytes; an engine reads {} at most: write \
             fewer or shorter ones.",
            config.yaml.len(),
            sidecar_config::FILE_BYTES_MAX
        )];
    }
    let Err(errors) = sidecar_config::parse(&config.yaml, "the configuration", Path::new(CONFIG_DIR)) else {
        return Vec::new();
    };
    let problems = errors.problems().iter();
    problems
        // That the far side has no key yet is KeysReady's to say.
        .filter(|problem| problem.path != "remote.keys")
        .map(|problem| {
            let path = named_path(spec, &problem.path);
            in_words_of_the_spec(&format!("{path} {}: {}.", problem.message, problem.remedy))
        })
        .collect()
}

/// A path with rules by their names, and without the numbers of destinations: those are counted differently there.
fn named_path(spec: &TunnelPeeringSpec, path: &str) -> String {
    let named = |prefix: &str, names: Vec<&str>| {
        let (number, rest) = path.strip_prefix(prefix)?.split_once(']')?;
        let name = names.get(number.parse::<usize>().ok()?)?;
        let rest = match rest.strip_prefix(".destinations[").and_then(|rest| rest.split_once(']')) {
            Some((_, field)) => format!(".destinations[]{field}"),
            None => rest.to_owned(),
        };
        Some(format!("{prefix}{name}]{rest}"))
    };
    let outbound = spec.outbound.iter().flat_map(|outbound| &outbound.allow).map(|rule| rule.name.as_str()).collect();
    let inbound = spec.inbound.iter().flat_map(|inbound| &inbound.allow).map(|rule| rule.name.as_str()).collect();
    let found = named("outbound.allow[", outbound).or_else(|| named("inbound.allow[", inbound));
    found.unwrap_or_else(|| path.to_owned())
}

/// Fields of the configuration, and those of the spec that they are made from. Longer ones stand before their beginnings.
const FIELDS: [(&str, &str); 24] = [
    ("local.name", "spec.local.name"),
    ("remote.name", "spec.remote.name"),
    ("remote.keys", "spec.remote.publicKeys"),
    ("modes.send", "spec.mode"),
    ("modes.accept", "spec.acceptModes"),
    ("allowUnauthenticated", "spec.allowUnauthenticated"),
    ("state.sendLog", "spec.limits.maxBacklog"),
    ("state.receivePool", "spec.volume.state.size"),
    ("state.results", "spec.volume.state.size"),
    ("state.resultTtl", "spec.limits.requestTTL"),
    ("mirror.expectedLatency", "spec.volume.mirror.expectedLatency"),
    ("mirror.maxFileSize", "spec.volume.mirror.maxFileSize"),
    ("mirror.packetSize", "spec.packet.maxSize"),
    ("mirror.packetLifetime", "spec.volume.mirror.expectedLatency"),
    ("listen.proxy", "spec.injection.port"),
    ("listen.admin", "spec.injection.port"),
    ("heartbeat.interval", "spec.heartbeat.interval"),
    ("heartbeat.lossTimeout", "spec.heartbeat.lossTimeout"),
    ("limits.bodyMax", "spec.limits.maxBodySize"),
    ("limits.maxInFlight", "spec.limits.maxInFlight"),
    ("folders.outbox", "spec.volume.outbox"),
    ("folders.inbox", "spec.volume.inbox"),
    ("outbound.allow", "spec.outbound.allow"),
    ("inbound.allow", "spec.inbound.allow"),
];

fn in_words_of_the_spec(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 32);
    let mut rest = text;
    let mut at_word_start = true;
    while let Some(c) = rest.chars().next() {
        let field = FIELDS.iter().filter(|_| at_word_start).find(|(field, _)| rest.starts_with(field));
        let taken = match field {
            Some((field, spec)) => {
                words.push_str(spec);
                field.len()
            }
            None => {
                words.push(c);
                c.len_utf8()
            }
        };
        at_word_start = !(c.is_alphanumeric() || c == '.' || c == '/' || c == '-');
        rest = rest.get(taken..).unwrap_or_default();
    }
    words
}

/// Targets whose Service is missing, or cannot be reached by what is known of it.
fn services(world: &World<'_>) -> Vec<(Reason, String)> {
    let rules = world.peering.spec.inbound.iter().flat_map(|inbound| &inbound.allow);
    rules
        .filter_map(|rule| {
            let named = rule.target.as_ref()?.service_ref.as_ref()?;
            let field = format!("spec.inbound.allow[{}].target.serviceRef", rule.name);
            let Some(service) = world.services.get(&named.name) else {
                let text = format!(
                    "{field}: there is no Service {} in this namespace: make it, or correct the name.",
                    named.name
                );
                return Some((Reason::ServiceMissing, text));
            };
            let spec = service.spec.clone().unwrap_or_default();
            let external = spec.type_.as_deref() == Some("ExternalName");
            let ports: Vec<String> = spec.ports.iter().flatten().map(|port| port.port.to_string()).collect();
            if !external && !ports.contains(&named.port.to_string()) {
                let text =
                    format!("{field}: Service {} has no port {}; it has {}.", named.name, named.port, ports.join(", "));
                return Some((Reason::ServiceMissing, text));
            }
            let headless = spec.cluster_ip.as_deref().is_none_or(|ip| ip.parse::<std::net::IpAddr>().is_err());
            (headless && !external && rule.addresses.is_empty()).then(|| {
                let text = format!(
                    "{field}: Service {} has no address of its own: put the network of its pods into \
                     spec.inbound.allow[{}].addresses.",
                    named.name, rule.name
                );
                (Reason::InvalidConfig, text)
            })
        })
        .collect()
}

/// A folder on a claim; the root is "".
type Place<'a> = (&'a str, String);

/// The folder of an engine's log on a claim that several share; the engine's own is below it.
pub(super) fn shared_state_path(peering: &TunnelPeering) -> String {
    format!("{STATE_ROOT}/{}", peering.name_any())
}

/// The folders that a peering uses: name of the field, and place.
fn places(peering: &TunnelPeering) -> Vec<(&'static str, Place<'_>)> {
    let volume = &peering.spec.volume;
    let place = |folder: &Folder| folder.sub_path.clone().unwrap_or_default();
    let mut places = vec![
        ("spec.volume.outbox", (volume.outbox.claim_name.as_str(), place(&volume.outbox))),
        ("spec.volume.inbox", (volume.inbox.claim_name.as_str(), place(&volume.inbox))),
    ];
    if let Some(claim) = volume.state.as_ref().and_then(|state| state.claim_name.as_deref()) {
        places.push(("spec.volume.state", (claim, shared_state_path(peering))));
    }
    places
}

fn overlap(one: &Place<'_>, other: &Place<'_>) -> bool {
    let inside = |path: &str, folder: &str| {
        folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    one.0 == other.0 && (inside(&one.1, &other.1) || inside(&other.1, &one.1))
}

fn own_folders_overlap(peering: &TunnelPeering) -> Option<String> {
    let places = places(peering);
    places.iter().enumerate().find_map(|(index, (one, place))| {
        let (other, _) = places.iter().skip(index + 1).find(|(_, other)| overlap(place, other))?;
        Some(format!("{one} and {other} are not apart: give each a folder of its own, neither inside the other."))
    })
}

fn folder_conflicts(world: &World<'_>) -> Vec<String> {
    let mine = places(world.peering);
    let mut older: Vec<&TunnelPeering> = world
        .siblings
        .iter()
        .map(|sibling| &**sibling)
        .filter(|sibling| is_other(sibling, world.peering) && is_older(sibling, world.peering))
        .collect();
    older.sort_by_key(|sibling| sibling.name_any());
    let mut conflicts = Vec::new();
    for sibling in older {
        let theirs = places(sibling);
        let pairs = mine.iter().flat_map(|mine| theirs.iter().map(move |theirs| (mine, theirs)));
        if let Some((mine, theirs)) = pairs.into_iter().find(|(mine, theirs)| overlap(&mine.1, &theirs.1)) {
            conflicts.push(format!(
                "{} (claim {}, folder `{}`) overlaps {} of TunnelPeering {}, which is older: give this one a folder of its own.",
                mine.0,
                mine.1.0,
                mine.1.1,
                theirs.0,
                sibling.name_any()
            ));
        }
    }
    conflicts
}

fn is_other(sibling: &TunnelPeering, peering: &TunnelPeering) -> bool {
    sibling.name_any() != peering.name_any() && sibling.namespace() == peering.namespace()
}

/// Both sides of a conflict decide alike: by age, then by name.
fn is_older(sibling: &TunnelPeering, peering: &TunnelPeering) -> bool {
    let rank = |peering: &TunnelPeering| (peering.creation_timestamp(), peering.name_any());
    rank(sibling) < rank(peering)
}
