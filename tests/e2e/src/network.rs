//! The network of a cluster: a namespace of its own, with one link to this machine and a way to nowhere else.
//!
//! Invariants: no default route inside; this machine forwards nothing that comes from the link, whatever its own
//! forwarding says. So nothing inside one cluster has a way to the other, and the isolation test can say so.
//! Removing the namespace removes its links, addresses, routes, nftables and connections with it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cluster::Layout;
use crate::process::run;

/// Makes the namespace, the link and the routes.
///
/// # Errors
/// A command of `ip` failed, or the kernel refuses a setting.
pub fn create(layout: &Layout) -> anyhow::Result<()> {
    let (namespace, link) = (layout.namespace(), layout.link());
    let (host, node) = (format!("{}/24", layout.host_address()), format!("{}/24", layout.node_address()));
    ip(&["netns", "add", &namespace])?;
    ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
    ip(&["addr", "add", &host, "dev", &link])?;
    ip(&["link", "set", &link, "up"])?;
    forbid_forwarding(&link)?;
    inside(&namespace, &["addr", "add", &node, "dev", "eth0"])?;
    inside(&namespace, &["link", "set", "eth0", "up"])?;
    inside(&namespace, &["link", "set", "lo", "up"])?;
    // Without any route the node itself cannot reach a ClusterIP: the lookup fails before the address is rewritten.
    inside(&namespace, &["route", "add", &layout.service_range(), "via", &layout.host_address().to_string()])?;
    let mut sysctl = in_namespace(layout, "sh");
    sysctl.args(["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
    run(&mut sysctl).context("cannot let the node forward between its pods")?;
    Ok(())
}

/// Removes the namespace and the link, as far as they exist.
///
/// # Errors
/// What exists cannot be removed.
pub fn remove(layout: &Layout) -> anyhow::Result<()> {
    if Path::new("/sys/class/net").join(layout.link()).exists() {
        ip(&["link", "delete", &layout.link()])?;
    }
    if layout.namespace_file().exists() {
        ip(&["netns", "delete", &layout.namespace()])?;
    }
    Ok(())
}

/// A command that runs inside the cluster's network, as its node: `nsenter` and not `ip netns exec`, which would mount
/// a fresh /sys without the cgroups.
#[must_use]
pub fn in_namespace(layout: &Layout, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", layout.namespace_file().display())).arg("--").arg(program);
    command
}

/// Connects as the cluster's node would: the socket belongs to its network, whoever uses it.
///
/// # Errors
/// There is no way, nobody listens, or nobody answers in time.
pub fn connect(layout: &Layout, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let namespace = File::open(layout.namespace_file())?;
    // A thread of its own: it alone changes its network, and ends.
    let connecting = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpStream::connect_timeout(&address, patience)
    });
    connecting.join().unwrap_or_else(|_| Err(io::Error::other("the connecting thread panicked")))
}

/// What an HTTP server inside the cluster's network answers to a GET: the status and the body.
///
/// # Errors
/// It cannot be reached, or its answer is none of HTTP.
pub fn http_get(layout: &Layout, address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let patience = Duration::from_secs(5);
    let mut stream = connect(layout, address, patience).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{address}{path} broke off"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{address}{path} answers no HTTP"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.with_context(|| format!("{address}{path} answers no status"))?, body.to_owned()))
}

/// Packets from the clusters end at this machine even where it is a router otherwise (Docker makes it one).
fn forbid_forwarding(link: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
    fs::write(&path, "0").with_context(|| format!("cannot write {path}"))
}

fn inside(namespace: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut all = vec!["-n", namespace];
    all.extend_from_slice(arguments);
    ip(&all)
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments)).map(drop)
}
