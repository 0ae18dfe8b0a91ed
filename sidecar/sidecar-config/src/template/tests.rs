//! The template: that it is a good file, complete, and documented.

use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::{
    config::{Config, Mode},
    file::{Caller, ConfigFile, Destination, InboundRule, OutboundRule, Tls},
    read::parse,
    rule::Retry,
    section::{EndpointKind, Folders, Layout, PublishSync},
};

const CONFIGURATION_MD: &str = include_str!("../../../../docs/configuration.md");

fn north() -> Template {
    Template::new("north", "south").unwrap()
}

/// The template with its commented-out fields in force.
fn in_full(text: &str) -> String {
    let set = text.replace("heartbeat: {}", "heartbeat:");
    set.lines()
        .map(|line| {
            let inner = line.trim_start();
            match inner.strip_prefix('#') {
                Some(field) if field.starts_with(|c: char| c.is_ascii_lowercase()) => {
                    format!("{}{field}\n", &line[..line.len() - inner.len()])
                }
                _ => format!("{line}\n"),
            }
        })
        .collect()
}

/// A file with every optional field present, so that its YAML names every field there is.
fn everything() -> ConfigFile {
    let folders =
        Folders { outbox: "out".into(), inbox: "in".into(), layout: Layout::Tree, publish_sync: PublishSync::Auto };
    let mut file = ConfigFile::new("north", "south", folders, "state".into());
    file.local.kind = EndpointKind::Gateway;
    file.local.namespace = Some("orders".to_owned());
    file.local.service_account = Some("billing".to_owned());
    file.local.weight = 2;
    file.remote.keys = vec!["hoft1AAAA".to_owned()];
    file.remote.key_files = vec!["south.pub".into()];
    file.remote.revoked_keys = vec!["0123456789abcdef".to_owned()];
    file.remote.forget_after = Some(crate::parse_duration("24h").unwrap());
    file.realm = "production".to_owned();
    file.identity.secret_file = Some("north.key".into());
    file.identity.retired_files = vec!["north-2025.key".into()];
    file.modes.accept = Some(vec!["Sealed".to_owned()]);
    file.outbox.files_per_second = Some(10);
    file.outbox.bytes_per_second = Some(crate::ByteSize::mb(10));
    file.outbox.files_max = Some(10_000);
    file.outbox.bytes_max = Some(crate::ByteSize::gb(10));
    file.mirror.poll_max = Some(crate::parse_duration("1s").unwrap());
    file.heartbeat.interval = Some(crate::parse_duration("15s").unwrap());
    file.heartbeat.loss_timeout = Some(crate::parse_duration("2m").unwrap());
    let destination = Destination {
        schemes: vec!["https".to_owned()],
        host: "erp.example".to_owned(),
        port: Some(443),
        methods: vec!["GET".to_owned()],
        paths: vec!["/".to_owned()],
    };
    file.outbound.allow = vec![OutboundRule {
        name: "erp".to_owned(),
        destinations: vec![destination.clone()],
        callers: vec![Caller { service_account: "billing".to_owned() }],
        target: Some("https://erp.example/".to_owned()),
        timeout: crate::parse_duration("60s").unwrap(),
        // What a beginner need not know is in docs/cache-and-quotas.md.
        ..OutboundRule::new("erp", Vec::new())
    }];
    file.inbound.allow = vec![InboundRule {
        name: "crm".to_owned(),
        destinations: vec![destination],
        callers: vec!["orders".to_owned()],
        target: Some("https://crm-2.example".to_owned()),
        addresses: vec!["10.0.0.0/8".to_owned()],
        timeout: crate::parse_duration("60s").unwrap(),
        retry: Retry::Idempotent,
        max_body: Some(crate::ByteSize::mib(64)),
        tls: Tls { ca_file: Some("ca.pem".into()) },
        // What a beginner need not know is in docs/far-side.md.
        ..InboundRule::new("crm", Vec::new())
    }];
    file
}

/// The names of all fields in a YAML text.
fn field_names(yaml: &str) -> BTreeSet<String> {
    yaml.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let (name, _) = line.trim_start().trim_start_matches("- ").split_once(':')?;
            name.bytes().all(|b| b.is_ascii_alphabetic()).then(|| name.to_owned())
        })
        .collect()
}

#[test]
fn the_template_is_a_valid_file() {
    let config = parse(&template(&north()), "north.yaml", Path::new("/etc/hoft")).unwrap();
    assert_eq!(config.local.name.as_str(), "north");
    assert_eq!(config.remote.name.as_str(), "south");
    assert_eq!(config.modes.accept, [Mode::Sealed]);
    assert_eq!(config.folders.outbox, Path::new("/etc/hoft/out"));
    assert_eq!(config.outbound.allow.len(), 1);
}

#[test]
fn the_template_is_valid_for_the_other_side_and_other_ports() {
    let side = Template {
        proxy: "[::1]:1".parse().unwrap(),
        admin: "127.0.0.1:0".parse().unwrap(),
        ..Template::new("south", "north").unwrap()
    };
    let config = parse(&template(&side), "south.yaml", Path::new("/etc/hoft")).unwrap();
    assert_eq!(config.local.name.as_str(), "south");
    assert_eq!((config.listen.proxy, config.listen.admin), (side.proxy, side.admin));
}

#[test]
fn the_template_is_valid_for_names_that_yaml_would_read_otherwise() {
    for name in ["null", "true", "no", "123", "0x1f", "1e3", "-", "--", "-a-", &"x".repeat(63)] {
        let side = Template::new(name, "south").unwrap();
        let config = parse(&template(&side), "x.yaml", Path::new("/etc/hoft")).unwrap();
        assert_eq!(config.local.name.as_str(), name);
        let mut file = everything();
        file.local.name = name.to_owned();
        let yaml = file.to_yaml().unwrap();
        assert_eq!(parse(&yaml, "x.yaml", Path::new("/")).unwrap().local.name.as_str(), name);
    }
}

#[test]
fn commented_out_fields_are_valid_too() {
    let full = in_full(&template(&north()));
    let config = parse(&full, "north.yaml", Path::new("/etc/hoft")).unwrap();
    assert_eq!(config.realm, "production");
    assert!(config.heartbeat.interval.is_some());
    assert!(config.inbound.allow[0].ca_file.is_some());
}

#[test]
fn the_template_shows_every_field_and_no_other() {
    let there_are = field_names(&everything().to_yaml().unwrap());
    assert!(there_are.len() > 50, "{there_are:?}");
    assert_eq!(field_names(&in_full(&template(&north()))), there_are);
}

#[test]
fn the_values_of_the_template_are_the_defaults() {
    let shown = parse(&template(&north()), "north.yaml", Path::new("/etc/hoft")).unwrap();
    let least = "version: 1\nlocal: {name: north}\nremote: {name: south, keyFiles: [south.pub]}\n\
        identity: {secretFile: north.key}\nfolders: {outbox: out, inbox: in}\nstate: {folder: state}\n";
    let defaults = parse(least, "north.yaml", Path::new("/etc/hoft")).unwrap();
    let without_rules = Config { outbound: defaults.outbound.clone(), inbound: defaults.inbound.clone(), ..shown };
    assert_eq!(without_rules, defaults);
}

#[test]
fn the_reference_names_every_field_and_its_default() {
    let rows: Vec<&str> = CONFIGURATION_MD.lines().filter(|line| line.starts_with('|')).collect();
    for name in field_names(&everything().to_yaml().unwrap()) {
        let named = |row: &&str| {
            let field = row.split('|').nth(1).unwrap_or_default().trim().trim_matches('`');
            field.rsplit(['.', ']']).next() == Some(name.as_str()) || field == name
        };
        assert!(rows.iter().any(named), "`{name}` has no row in docs/configuration.md");
    }
    for default in ["15s", "500M", "64M", "256Mi", "1Gi", "24h", "64Ki", "127.0.0.1:8470", "127.0.0.1:9470", "168h"] {
        assert!(CONFIGURATION_MD.contains(default), "{default}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    assert!(Template::new("North", "south").is_err());
    assert!(Template::new("north", "north").is_err());
}
