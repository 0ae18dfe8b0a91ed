//! The allow rules of the configuration as layer 2 reads them.

use anyhow::{Context, Result};
use layer2_http::policy::{HostPattern, Policy, Retry, Rule};
use sidecar_config::{Config, Destination};

/// What local programs may call on the far side.
///
/// # Errors
/// When a rule contradicts itself.
pub fn outbound(config: &Config) -> Result<Policy> {
    let mut rules = Vec::new();
    for allow in &config.outbound.allow {
        for destination in &allow.destinations {
            rules.push(Rule {
                callers: allow.callers.clone(),
                timeout: allow.timeout,
                ..rule(allow.name.as_str(), destination)
            });
        }
    }
    Policy::new(rules).context("outbound.allow")
}

/// What the far side may call here.
///
/// # Errors
/// When a rule contradicts itself.
pub fn inbound(config: &Config) -> Result<Policy> {
    let mut rules = Vec::new();
    for allow in &config.inbound.allow {
        for destination in &allow.destinations {
            rules.push(Rule {
                callers: allow.callers.clone(),
                max_body: Some(allow.max_body.as_u64()),
                addresses: allow.addresses.clone(),
                timeout: allow.timeout,
                retry: match allow.retry {
                    sidecar_config::Retry::Idempotent => Retry::Idempotent,
                    sidecar_config::Retry::Safe => Retry::Always,
                    sidecar_config::Retry::Never => Retry::Never,
                },
                ..rule(allow.name.as_str(), destination)
            });
        }
    }
    Policy::new(rules).context("inbound.allow")
}

fn rule(name: &str, destination: &Destination) -> Rule {
    let host = match &destination.host {
        sidecar_config::HostPattern::Exact(host) => HostPattern::Exact(host.clone()),
        sidecar_config::HostPattern::Suffix(suffix) => HostPattern::Suffix(suffix.clone()),
    };
    Rule {
        name: name.to_owned(),
        schemes: destination.schemes.iter().map(|scheme| scheme.as_str().to_owned()).collect(),
        hosts: vec![host],
        ports: vec![destination.port],
        path_prefixes: destination.paths.clone(),
        methods: destination.methods.clone(),
        callers: Vec::new(),
        max_body: None,
        addresses: Vec::new(),
        timeout: std::time::Duration::from_secs(60),
        retry: Retry::default(),
    }
}
