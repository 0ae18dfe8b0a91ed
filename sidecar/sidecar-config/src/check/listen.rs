//! The local ports.
//!
//! Invariant: nobody but this machine reaches the proxy port unless the file says so twice: in the address and in
//! `allowRemote`. It does not bind. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    config::Listen,
    file,
    problem::{Problems, Refusal},
    rule::host_text,
};

pub(super) fn listen(file: &file::Listen, problems: &mut Problems) -> Option<Listen> {
    let proxy = problems.take("listen.proxy", address(&file.proxy));
    let admin = problems.take("listen.admin", address(&file.admin));
    let names = names(&file.names, problems);
    let (proxy, admin) = (proxy?, admin?);
    if !proxy.ip().to_canonical().is_loopback() && !file.allow_remote {
        problems.add(
            "listen.proxy",
            format!("{proxy} can be reached from other machines, and whoever reaches it may call"),
            "listen on 127.0.0.1, or set listen.allowRemote: true",
        );
    }
    if clash(proxy, admin) {
        problems.add(
            "listen.admin",
            format!("{admin} clashes with listen.proxy {proxy}"),
            "give the two different ports",
        );
    }
    Some(Listen { proxy, admin, names, allow_remote: file.allow_remote })
}

fn address(text: &str) -> Result<SocketAddr, Refusal> {
    if let Some(port) = text.strip_prefix("localhost:")
        && let Ok(port) = port.parse()
    {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        let remedy = match text.trim_start_matches(':').parse::<u16>() {
            Ok(port) => format!("write 127.0.0.1:{port}"),
            Err(_) => "write an IP address and a port, such as 127.0.0.1:8470 or [::1]:8470".to_owned(),
        };
        Refusal::new(format!("`{text}` is not an address to listen on"), remedy)
    })
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn names(listed: &[String], problems: &mut Problems) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(listed.len());
    for (index, text) in listed.iter().enumerate() {
        let Some(host) = problems.take(format!("listen.names[{index}]"), host_text(text)) else {
            continue;
        };
        let name = host.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
