//! The two sides: their folders, keys and configurations.
//!
//! Invariants: `north` calls and `south` executes; only `out` and `in` are mirrored; the near side allows more than the far
//! side, so that some calls are refused only there. Test to read first: `the_configurations_pass_their_own_check`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use sidecar_config::file::{Destination, InboundRule, OutboundRule};
use sidecar_config::{ByteSize, ConfigFile, Folders, Layout, PublishSync};

use super::call::ROUTE;
use crate::commands::keygen;
use crate::mirror::FaultLevel;

/// The side that calls.
pub(super) const NEAR: &str = "north";
/// The side that executes.
pub(super) const FAR: &str = "south";

/// What a stage is made from.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// Where everything lies.
    pub(crate) folder: &'a Path,
    /// Where the upstream listens.
    pub(crate) upstream: SocketAddr,
    /// How bad the mirrors are.
    pub(crate) faults: FaultLevel,
    /// Seed of the run.
    pub(crate) seed: u64,
}

/// The ports of both sides: local port and admin port of each.
pub(super) type Ports = [(SocketAddr, SocketAddr); 2];

/// The word of the command line.
pub(super) fn fault_word(faults: FaultLevel) -> String {
    faults.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// How long the mirrors take one way, as a person would write it down.
const fn expected_latency(faults: FaultLevel) -> Duration {
    match faults {
        FaultLevel::None => Duration::from_millis(100),
        FaultLevel::Mild => Duration::from_millis(200),
        FaultLevel::Harsh => Duration::from_millis(500),
    }
}

/// Makes the folders and keys of both sides.
///
/// # Errors
/// When something cannot be written.
pub(super) fn make_sides(folder: &Path) -> Result<()> {
    for side in [NEAR, FAR] {
        let home = folder.join(side);
        for name in ["out", "in", "state"] {
            let path = home.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        }
        keygen::write_keys(side, &home.join("secret.key"), Some(&home.join("public.token")))?;
    }
    Ok(())
}

/// What a configuration is changed by before it is written.
pub(crate) type Adjust<'a> = &'a (dyn Fn(&mut ConfigFile) + Sync);

/// Writes the configurations of both sides, with ports that nobody used a moment ago.
///
/// # Errors
/// When there is no free port, or a file cannot be written.
pub(super) fn write_configurations(setting: &Setting<'_>, adjust: Adjust<'_>) -> Result<Ports> {
    let ports = free_ports()?;
    for ((side, other), (proxy, admin)) in [(NEAR, FAR), (FAR, NEAR)].into_iter().zip(ports) {
        let mut file = configuration(setting, side, other);
        adjust(&mut file);
        file.listen.proxy = proxy.to_string();
        file.listen.admin = admin.to_string();
        let path = setting.folder.join(side).join("hoft.yaml");
        let text = file.to_yaml()?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ports)
}

/// Four ports that nobody used a moment ago.
fn free_ports() -> Result<Ports> {
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on 127.0.0.1")?);
    }
    let address = |place: usize| held[place].local_addr().context("a port that was just opened");
    Ok([(address(0)?, address(1)?), (address(2)?, address(3)?)])
}

fn configuration(setting: &Setting<'_>, side: &'static str, other: &str) -> ConfigFile {
    let home = setting.folder.join(side);
    let folders = Folders {
        outbox: home.join("out"),
        inbox: home.join("in"),
        layout: Layout::default(),
        publish_sync: PublishSync::default(),
    };
    let mut file = ConfigFile::new(side, other, folders, home.join("state"));
    file.remote.key_files = vec![setting.folder.join(other).join("public.token")];
    file.identity.secret_file = Some(home.join("secret.key"));
    file.mirror.expected_latency = expected_latency(setting.faults);
    file.mirror.poll_max = Some(Duration::from_millis(20));
    file.mirror.quiet_min = Duration::from_millis(300);
    file.mirror.packet_size = ByteSize::mb(4);
    file.heartbeat.interval = Some(Duration::from_secs(2));
    if side == NEAR {
        file.outbound.allow.push(OutboundRule {
            target: Some(format!("http://{}/", setting.upstream)),
            timeout: Duration::from_secs(30),
            ..OutboundRule::new(ROUTE, vec![destination(setting.upstream, &["/open", "/guarded"])])
        });
    } else {
        file.inbound.allow.push(InboundRule {
            addresses: vec!["127.0.0.1/32".to_owned()],
            timeout: Duration::from_secs(30),
            ..InboundRule::new(ROUTE, vec![destination(setting.upstream, &["/open"])])
        });
    }
    file
}

fn destination(upstream: SocketAddr, paths: &[&str]) -> Destination {
    Destination {
        schemes: vec!["http".to_owned()],
        host: upstream.ip().to_string(),
        port: Some(upstream.port()),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_pass_their_own_check() {
        let folder = tempfile::tempdir().unwrap();
        for faults in [FaultLevel::None, FaultLevel::Mild, FaultLevel::Harsh] {
            let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, 4321));
            let home = folder.path().join(fault_word(faults));
            let setting = Setting { folder: &home, upstream, faults, seed: 1 };
            make_sides(setting.folder).unwrap();
            let ports = write_configurations(&setting, &|_| {}).unwrap();
            let all: std::collections::BTreeSet<_> = ports.iter().flat_map(|(proxy, admin)| [proxy, admin]).collect();
            assert_eq!(all.len(), 4);
            for side in [NEAR, FAR] {
                let config = sidecar_config::load(&setting.folder.join(side).join("hoft.yaml")).unwrap();
                assert_eq!(config.local.name.as_str(), side);
                assert_eq!(config.outbound.allow.len() + config.inbound.allow.len(), 1);
            }
        }
    }
}
