//! Reading of files: what is accepted, and what every refusal says.

mod interception;
mod tunnels;

use std::{fs, path::PathBuf, time::Duration};

mod callbacks;

use super::*;

mod near_side;
use crate::{
    config::Mode,
    file::Destination,
    rule::{HostPattern, Retry, Scheme},
    section::{EndpointKind, Folders, Layout, Profile, PublishSync},
};

const LEAST: &str = "version: 1
local: {name: north}
remote: {name: south, keys: [hoft1AAAA]}
identity: {secretFile: north.key}
folders: {outbox: out, inbox: in}
state: {folder: state}
";

fn read_here(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, "north.yaml", Path::new("/etc/hoft"))
}

/// The smallest file with one section more.
fn with(section: &str) -> String {
    format!("{LEAST}{section}\n")
}

/// The smallest file with a line replaced.
fn instead(of: &str, line: &str) -> String {
    assert!(LEAST.contains(of));
    LEAST.replace(of, line)
}

fn inbound(rule: &str) -> String {
    with(&format!("inbound: {{allow: [{{name: crm, {rule}}}]}}"))
}

fn destination(fields: &str) -> String {
    inbound(&format!("destinations: [{{{fields}}}]"))
}

fn outbound(fields: &str) -> String {
    with(&format!("outbound: {{allow: [{{name: erp, {fields}}}]}}"))
}

#[test]
fn the_smallest_file_is_enough() {
    let config = read_here(LEAST).unwrap();
    assert_eq!(config.local.name.as_str(), "north");
    assert_eq!((config.local.endpoint.as_str(), config.local.kind), ("0", EndpointKind::Gateway));
    assert_eq!(config.remote.keys, ["hoft1AAAA"]);
    assert_eq!(config.realm, "");
    assert_eq!(config.identity.secret_file.as_deref(), Some(Path::new("/etc/hoft/north.key")));
    assert!(!config.identity.allow_readable);
    assert_eq!((config.modes.send, config.modes.accept.as_slice()), (Mode::Sealed, &[Mode::Sealed][..]));
    assert_eq!(config.folders.inbox, Path::new("/etc/hoft/in"));
    assert_eq!(config.outbound.allow, []);
    assert_eq!(config.inbound.allow, []);
}

#[test]
fn an_empty_section_has_the_documented_defaults() {
    let sections = "mirror: {}\nlisten: {}\nheartbeat: {}\nlimits: {}\nlog: {}\nmodes: {}\noutbound: {}\ninbound: {}";
    let config = read_here(&with(sections)).unwrap();
    assert_eq!(config, read_here(LEAST).unwrap());

    assert_eq!((config.folders.layout, config.folders.publish_sync), (Layout::Tree, PublishSync::Auto));
    assert_eq!(config.state.send_log.as_u64(), 1 << 30);
    assert_eq!(config.state.receive_pool.as_u64(), 256 << 20);
    assert_eq!(config.state.results.as_u64(), 256 << 20);
    assert_eq!(config.state.result_ttl, Duration::from_secs(86_400));
    assert_eq!(config.mirror.profile, Profile::Copy);
    assert_eq!(config.mirror.expected_latency, Duration::from_secs(15));
    assert_eq!(config.mirror.max_file_size.as_u64(), 500_000_000);
    assert_eq!(config.mirror.packet_size.as_u64(), 64_000_000);
    assert_eq!(config.mirror.poll_max(), Duration::from_millis(1_875));
    assert_eq!(config.listen.proxy.to_string(), "127.0.0.1:8470");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:9470");
    assert_eq!(config.heartbeat.interval, None);
    assert_eq!(config.heartbeat.loss_timeout(Duration::from_secs(1)), Duration::from_secs(120));
    assert_eq!(config.heartbeat.loss_timeout(Duration::from_secs(60)), Duration::from_secs(480));
    assert_eq!(config.remote.forget_after, Duration::from_secs(86_400));
    let slow = read_here(&with("mirror: {expectedLatency: 2h}")).unwrap();
    assert_eq!(slow.remote.forget_after, Duration::from_secs(4 * 8 * 2 * 3_600), "late is not gone");
    assert_eq!(config.limits.body_max.as_u64(), 256 << 20);
    assert_eq!(config.limits.header_bytes.as_u64(), 64 << 10);
}

#[test]
fn a_rule_is_read_with_its_defaults() {
    let config = read_here(&destination("host: CRM.example, methods: [GET, GET]")).unwrap();
    let rule = &config.inbound.allow[0];
    assert_eq!((rule.timeout, rule.retry), (Duration::from_secs(60), Retry::Idempotent));
    assert_eq!(rule.max_body, config.limits.body_max);
    let destination = &rule.destinations[0];
    assert_eq!(destination.schemes, [Scheme::Https]);
    assert_eq!(destination.host, HostPattern::Exact("crm.example".to_owned()));
    assert_eq!(destination.port, 443);
    assert_eq!(destination.methods, ["GET"]);
    assert_eq!(destination.paths, ["/"]);

    let text = "destinations: [{schemes: [http], host: \"*.south.svc\", methods: [\"*\"], paths: [/base/v1]}], target: http://ERP.south.svc/base";
    let config = read_here(&outbound(text)).unwrap();
    let rule = &config.outbound.allow[0];
    assert_eq!(rule.destinations[0].port, 80);
    assert_eq!(rule.target.as_ref().unwrap().as_str(), "http://erp.south.svc/base/");
}

#[test]
fn a_checksum_peering_needs_no_keys() {
    let text = "version: 1\nlocal: {name: a, endpoint: 3}\nremote: {name: b}\nmodes: {send: Checksum}\nallowUnauthenticated: true\nfolders: {outbox: out, inbox: in}\nstate: {folder: state}\n";
    let config = read_here(text).unwrap();
    assert_eq!(config.modes.accept, [Mode::Checksum]);
    assert_eq!(config.local.endpoint, "3");
    assert_eq!(config.identity.secret_file, None);
}

#[test]
fn the_window_of_a_stream_is_at_most_the_pool() {
    let config = read_here(&instead("{folder: state}", "{folder: state, receivePool: 8Mi}")).unwrap();
    assert_eq!(config.limits.stream_window.as_u64(), 8 << 20);
}

/// The text of a file, and the field and words its one problem must have.
type Contradiction = (String, &'static str, &'static str);

fn contradictions_of_sides() -> Vec<Contradiction> {
    let pod = |uid: &str| instead("{name: north}", &format!("{{name: north, kind: pod, endpoint: {uid}}}"));
    let keys = |keys: &str| instead("keys: [hoft1AAAA]", keys);
    let checksum = "allowUnauthenticated";
    vec![
        (instead("name: south", "name: north"), "remote.name", "the name of this side"),
        (instead("{name: north}", "{name: North}"), "local.name", "write `north`"),
        (instead("name: south", "name: so.uth"), "remote.name", "write `so-uth`"),
        (instead("{name: north}", "{name: north, endpoint: \"1024\"}"), "local.endpoint", "below 1024"),
        (instead("{name: north}", "{name: north, endpoint: \"07\"}"), "local.endpoint", "leading zeros"),
        (instead("{name: north}", "{name: north, endpoint: x}"), "local.endpoint", "ordinal"),
        (pod("0A0B"), "local.endpoint", "write `0a0b`"),
        (instead("{name: north}", "{name: north, namespace: a.b}"), "local.namespace", "name of a namespace"),
        (instead("{name: north}", "{name: north, serviceAccount: \"\"}"), "local.serviceAccount", "is empty"),
        (keys("keys: []"), "remote.keys", "is empty"),
        (keys("keys: [hoft2AAAA]"), "remote.keys[0]", "does not begin with `hoft1`"),
        (keys("keys: [\"hoft1 AAAA\"]"), "remote.keys[0]", "without line breaks"),
        (keys("keys: [hoft1AAAA, hoft1AAAA]"), "remote.keys[1]", "listed twice"),
        (keys("keyFiles: [north.key]"), "remote.keyFiles[0]", "own secret file"),
        (keys("keyFiles: [\"\"]"), "remote.keyFiles[0]", "is empty"),
        (keys("keys: [hoft1AAAA], revokedKeys: [\"0123\"]"), "remote.revokedKeys[0]", "16 hex digits"),
        (keys("keys: [hoft1AAAA], revokedKeys: [\"+123456789abcdef\"]"), "remote.revokedKeys[0]", "16 hex digits"),
        (
            instead("{secretFile: north.key}", "{secretFile: n.key, retiredFiles: [\"\"]}"),
            "identity.retiredFiles[0]",
            "is empty",
        ),
        (
            instead("{secretFile: north.key}", "{secretFile: n.key, retiredFiles: [out/o.key]}"),
            "identity.retiredFiles[0]",
            "carry the secret keys away",
        ),
        (
            instead("{secretFile: north.key}", "{retiredFiles: [o.key]}")
                + "modes: {send: Checksum}\nallowUnauthenticated: true\n",
            "identity.retiredFiles",
            "identity.secretFile",
        ),
        (instead("{secretFile: north.key}", "{}"), "identity.secretFile", "is missing"),
        (with("realm: Big Corp"), "realm", "write `big-corp`"),
        (with("modes: {send: Plain}"), "modes.send", "write Sealed, Signed or Checksum"),
        (with("modes: {send: sealed}"), "modes.send", "write Sealed"),
        (with("modes: {accept: [Sealed, None]}"), "modes.accept[1]", "is not a mode"),
        (with("modes: {accept: []}"), "modes.accept", "is empty"),
        (with("modes: {send: Checksum}"), "modes.send", checksum),
        (with("modes: {accept: [Sealed, Checksum]}"), "modes.accept", checksum),
    ]
}

fn contradictions_of_folders() -> Vec<Contradiction> {
    let folders = |folders: &str| instead("{outbox: out, inbox: in}", folders);
    let state = |state: &str| instead("{folder: state}", state);
    let secret = |path: &str| instead("north.key", path);
    vec![
        (folders("{outbox: out, inbox: ./x/../out/}"), "folders.inbox", "is the same folder as folders.outbox"),
        (folders("{outbox: out, inbox: out/in}"), "folders.inbox", "lies inside folders.outbox"),
        (folders("{outbox: m/out, inbox: /etc/hoft/m}"), "folders.inbox", "contains folders.outbox"),
        (folders("{outbox: out, inbox: \"\"}"), "folders.inbox", "is empty"),
        (state("{folder: out/state}"), "state.folder", "lies inside folders.outbox"),
        (state("{folder: in}"), "state.folder", "is the same folder as folders.inbox"),
        (state("{folder: \"a\\0b\"}"), "state.folder", "NUL"),
        (secret("out/north.key"), "identity.secretFile", "carry the secret keys away"),
        (secret("in/north.key"), "identity.secretFile", "lies inside folders.inbox"),
        (state("{folder: state, sendLog: 0}"), "state.sendLog", "is zero"),
        (state("{folder: state, receivePool: 1000}"), "state.receivePool", "at least 1Mi"),
        (state("{folder: state, results: 0}"), "state.results", "is zero"),
        (state("{folder: state, resultTtl: 0s}"), "state.resultTtl", "is zero"),
        (state("{folder: state, resultTtl: 40000d}"), "state.resultTtl", "100 years"),
    ]
}

fn contradictions_of_bounds() -> Vec<Contradiction> {
    let mirror = |fields: &str| with(&format!("mirror: {{{fields}}}"));
    let heartbeat = |fields: &str| with(&format!("heartbeat: {{{fields}}}"));
    let remote = |fields: &str| instead("keys: [hoft1AAAA]", &format!("keys: [hoft1AAAA], {fields}"));
    let limits = |fields: &str| with(&format!("limits: {{{fields}}}"));
    let listen = |fields: &str| with(&format!("listen: {{{fields}}}"));
    vec![
        (mirror("packetSize: 501M"), "mirror.packetSize", "larger than mirror.maxFileSize"),
        (mirror("packetSize: 0"), "mirror.packetSize", "is zero"),
        (mirror("packetSize: 1k"), "mirror.packetSize", "at least 64Ki"),
        (mirror("maxFileSize: 100k, packetSize: 64Ki"), "mirror.maxFileSize", "at least 512Ki"),
        (mirror("maxFileSize: 2Ti"), "mirror.maxFileSize", "at most 1Ti"),
        (mirror("expectedLatency: 0s"), "mirror.expectedLatency", "is zero"),
        (mirror("pollMax: 0s"), "mirror.pollMax", "is zero"),
        (mirror("quietMin: 0s"), "mirror.quietMin", "is zero"),
        (mirror("quietMin: 61m"), "mirror.quietMin", "at most 1h"),
        (mirror("packetLifetime: 59s"), "mirror.packetLifetime", "at least 1m"),
        (heartbeat("interval: 0s"), "heartbeat.interval", "is zero"),
        (heartbeat("interval: 99ms"), "heartbeat.interval", "flood"),
        (heartbeat("interval: 15s, lossTimeout: 44s"), "heartbeat.lossTimeout", "at least 45s"),
        (heartbeat("interval: 1s, lossTimeout: 14s"), "heartbeat.lossTimeout", "at least 15s"),
        (heartbeat("lossTimeout: 20s"), "heartbeat.lossTimeout", "shorter heartbeat.interval"),
        (heartbeat("lossTimeout: 0s"), "heartbeat.lossTimeout", "is zero"),
        (remote("forgetAfter: 0s"), "remote.forgetAfter", "is zero"),
        (remote("forgetAfter: 479s"), "remote.forgetAfter", "at least 8m"),
        (limits("bodyMax: 0"), "limits.bodyMax", "is zero"),
        (limits("headerBytes: 2Mi"), "limits.headerBytes", "at most 1Mi"),
        (limits("headerBytes: 1"), "limits.headerBytes", "at least 1Ki"),
        (limits("connections: 0"), "limits.connections", "is 0"),
        (limits("maxInFlight: 0"), "limits.maxInFlight", "is 0"),
        (limits("maxInFlight: 65537"), "limits.maxInFlight", "at most 65536"),
        (limits("streamWindow: 1Ki"), "limits.streamWindow", "at least 1Mi"),
        (listen("proxy: 0.0.0.0:8470"), "listen.proxy", "allowRemote"),
        (listen("proxy: \"[::]:8470\""), "listen.proxy", "allowRemote"),
        (listen("proxy: 10.0.0.1:8470"), "listen.proxy", "reached from other machines"),
        (listen("admin: 127.0.0.1:8470"), "listen.admin", "clashes"),
        (listen("admin: 0.0.0.0:8470"), "listen.admin", "clashes"),
        (listen("proxy: \":8471\""), "listen.proxy", "write 127.0.0.1:8471"),
        (listen("proxy: 8471"), "listen.proxy", "write 127.0.0.1:8471"),
        (listen("proxy: 127.0.0.1"), "listen.proxy", "an IP address and a port"),
        (listen("admin: example.com:80"), "listen.admin", "not an address"),
        (instead("local: {name: north}", "local: {name: north, weight: 1001}"), "local.weight", "0 to 1000"),
        (listen("names: [\"http://a\"]"), "listen.names[0]", "is a URL"),
        (listen("names: [a, \"*\"]"), "listen.names[1]", "`*`"),
    ]
}

fn contradictions_of_destinations() -> Vec<Contradiction> {
    let at = "inbound.allow[0].destinations[0]";
    let field = |field: &str| -> &'static str { Box::leak(format!("{at}.{field}").into_boxed_str()) };
    let host = |host: &str| destination(&format!("host: \"{host}\", methods: [GET]"));
    let more = |fields: &str| destination(&format!("host: a.example, {fields}"));
    vec![
        (host("*"), field("host"), "every host"),
        (host(""), field("host"), "is empty"),
        (host("https://a.example"), field("host"), "is a URL"),
        (host("a.example:443"), field("host"), "names a port"),
        (host("u@a.example"), field("host"), "no host name has"),
        (host("a%2eexample"), field("host"), "no host name has"),
        (host("a.*.example"), field("host"), "only at the beginning"),
        (host("127.0.0.1"), field("host"), "add 127.0.0.1/32"),
        (host("localhost"), field("host"), "add 127.0.0.0/8"),
        (host("[fd00::1]"), field("host"), "add fd00::1/128"),
        (host("169.254.169.254"), field("host"), "every call would be refused"),
        (more("methods: [GET], port: 0"), field("port"), "is 0"),
        (more("methods: [GET], schemes: [http, https]"), field("port"), "one destination for each scheme"),
        (more("methods: [GET], schemes: []"), field("schemes"), "allows nothing"),
        (more("methods: [GET], schemes: [ftp]"), field("schemes[0]"), "http or https"),
        (more("paths: [/]"), field("methods"), "allows nothing"),
        (more("methods: [get]"), field("methods[0]"), "write GET"),
        (more("methods: [GET, FETCH]"), field("methods[1]"), "is not a method"),
        (more("methods: [\"*\", GET]"), field("methods"), "beside other methods"),
        (more("methods: [GET], paths: []"), field("paths"), "allows nothing"),
        (more("methods: [GET], paths: [v1/]"), field("paths[0]"), "does not begin with `/`"),
        (more("methods: [GET], paths: [/v1/../admin]"), field("paths[0]"), "`..`"),
        (more("methods: [GET], paths: [/v1/.%2E/admin]"), field("paths[0]"), "`..`"),
        (more("methods: [GET], paths: [/v1/..;x/admin]"), field("paths[0]"), "`..`"),
        (more("methods: [GET], paths: [/a%2Fb]"), field("paths[0]"), "encoded slash"),
        (more("methods: [GET], paths: [/a%252Fb]"), field("paths[0]"), "percent"),
        (more("methods: [GET], paths: [/a%zz]"), field("paths[0]"), "percent"),
        (more("methods: [GET], paths: [\"/v1/*\"]"), field("paths[0]"), "wildcards"),
        (more("methods: [GET], paths: [\"/v1?x=1\"]"), field("paths[0]"), "without query"),
    ]
}

fn contradictions_of_rules() -> Vec<Contradiction> {
    let good = "destinations: [{host: a.example, methods: [GET], paths: [/v1/]}]";
    let rule = |fields: &str| inbound(&format!("{good}, {fields}"));
    let target = |url: &str| outbound(&format!("{good}, target: \"{url}\""));
    let server = |url: &str| rule(&format!("target: \"{url}\""));
    let route = "outbound.allow[0].target";
    let twice = format!("outbound: {{allow: [{{name: a, {good}}}, {{name: b, {good}}}, {{name: a, {good}}}]}}");
    vec![
        (with(&twice), "outbound.allow[2].name", "also the name of outbound.allow[0]"),
        (with(&twice.replace("outbound", "inbound")), "inbound.allow[2].name", "inbound.allow[0]"),
        (inbound("timeout: 1s"), "inbound.allow[0].destinations", "allows nothing"),
        (outbound("destinations: []"), "outbound.allow[0].destinations", "allows nothing"),
        (outbound(&format!("{good}, timeout: 0s")), "outbound.allow[0].timeout", "is zero"),
        (rule("timeout: 0s"), "inbound.allow[0].timeout", "is zero"),
        (rule("maxBody: 0"), "inbound.allow[0].maxBody", "is zero"),
        (rule("maxBody: 257Mi"), "inbound.allow[0].maxBody", "larger than limits.bodyMax, 256Mi"),
        (rule("addresses: [0.0.0.0/0]"), "inbound.allow[0].addresses[0]", "every address"),
        (rule("addresses: [\"::/0\"]"), "inbound.allow[0].addresses[0]", "every address"),
        (rule("addresses: [10.1.2.3/8]"), "inbound.allow[0].addresses[0]", "write 10.0.0.0/8"),
        (rule("addresses: [localhost]"), "inbound.allow[0].addresses[0]", "neither a network"),
        (
            inbound("destinations: [{schemes: [http], host: a, methods: [GET]}], tls: {caFile: ca.pem}"),
            "inbound.allow[0].tls.caFile",
            "has no use",
        ),
        (rule("callers: [a/b]"), "inbound.allow[0].callers[0]", "name alone"),
        (rule("callers: [\"*\"]"), "inbound.allow[0].callers[0]", "remove the list"),
        (
            outbound(&format!("{good}, callers: [{{serviceAccount: billing}}, {{serviceAccount: B}}]")),
            "outbound.allow[0].callers[1].serviceAccount",
            "not the name of a service account",
        ),
        (server("ftp://a.example"), "inbound.allow[0].target", "neither http nor https"),
        (server("a.example:80"), "inbound.allow[0].target", "neither http nor https"),
        (server("http://a.example/v1"), "inbound.allow[0].target", "has a path"),
        (server("http://a.example/?x"), "inbound.allow[0].target", "query"),
        (server("http://u:secret@a.example"), "inbound.allow[0].target", "credentials"),
        (server("http://10.0.0.1"), "inbound.allow[0].target", "add 10.0.0.1/32"),
        (server("http://localhost:1"), "inbound.allow[0].target", "127.0.0.0/8"),
        (rule("target: http://b.example, tls: {caFile: ca.pem}"), "inbound.allow[0].tls.caFile", "called by http"),
        (target("ftp://a.example/"), route, "neither http nor https"),
        (target("a.example/v1"), route, "is not a URL"),
        (target("https://u:secret@a.example/v1"), route, "credentials"),
        (target("https://a.example/v1?x"), route, "query"),
        (target("https://a.example:0/v1"), route, "port 0"),
        (target("https://a.example/v1/%2fadmin"), route, "encoded slash"),
        (target("https://b.example/v1"), route, "not covered"),
        (target("http://a.example:443/v1"), route, "not covered"),
        (target("https://a.example:444/v1"), route, "port 444"),
        (target("https://a.example/v2"), route, "not covered"),
        (target("https://a.example/v10"), route, "not covered"),
    ]
}

#[test]
fn every_contradiction_is_caught() {
    let all = [
        contradictions_of_sides(),
        contradictions_of_folders(),
        contradictions_of_bounds(),
        contradictions_of_destinations(),
        contradictions_of_rules(),
    ];
    for (text, path, words) in all.into_iter().flatten() {
        let errors = read_here(&text).expect_err(&text);
        let [problem] = errors.problems() else { unreachable!("{text}\n{errors}") };
        assert_eq!(problem.path, path, "{text}\n{errors}");
        assert!(errors.to_string().contains(words), "{words}\n{text}\n{errors}");
        assert!(!problem.remedy.is_empty(), "{errors}");
        assert!(problem.place.is_some(), "{text}\n{errors}");
    }
}

#[test]
fn what_is_not_a_contradiction_passes() {
    let good = "destinations: [{host: a.example, methods: [GET], paths: [/v1/]}]";
    for text in [
        with("listen: {proxy: 0.0.0.0:8470, allowRemote: true}"),
        with("listen: {proxy: localhost:8470, admin: \"[::1]:9470\", names: [Gate.Example, 10.0.0.1, gate.example]}"),
        with("listen: {proxy: 127.0.0.1:0, admin: 127.0.0.1:0}"),
        with("listen: {admin: 0.0.0.0:9470}"),
        with("modes: {send: Signed, accept: [Sealed, Signed, Signed]}"),
        with("realm: a-1"),
        with("mirror: {packetSize: 500M, expectedLatency: 2h, quietMin: 1h, pollMax: 1ms}"),
        with("heartbeat: {interval: 15s, lossTimeout: 45s}"),
        instead("keys: [hoft1AAAA]", "keys: [hoft1AAAA], forgetAfter: 8m"),
        instead("{name: north}", "{name: north, kind: pod, endpoint: 0b5c1f7e-58a1-4a52-8f6e-0d3f9a6f7c11}"),
        instead("north.key", "outer/north.key"),
        instead("keys: [hoft1AAAA]", "keys: [\"  hoft1AAAA\\n\"], keyFiles: [a.pub, b.pub]"),
        inbound(
            "destinations: [{host: localhost, methods: [GET]}, {host: 127.0.0.1, methods: [GET]}], addresses: [127.0.0.0/8]",
        ),
        inbound("destinations: [{host: 10.1.2.3, methods: [GET]}], addresses: [10.1.2.3]"),
        inbound(
            "destinations: [{schemes: [http], host: 10.1.2.3, methods: [GET]}], target: https://a.example:8443, tls: {caFile: ca.pem}",
        ),
        inbound(
            "destinations: [{host: a, methods: [GET]}], target: \"http://[fd00::1]:80/\", addresses: [\"fd00::1\"]",
        ),
        instead("{name: north}", "{name: north, namespace: orders, serviceAccount: billing.v2}"),
        destination("host: 93.184.216.34, methods: [GET, CONNECT, PROPFIND]"),
        destination(
            "host: a, port: 8080, schemes: [http, https, http], methods: [\"*\"], paths: [/a//b, \"/%C3%BC/...\"]",
        ),
        outbound(&format!("{good}, target: https://a.example/v1")),
        outbound(&format!("{good}, target: https://a.example/v1/deep/er")),
        outbound(&format!("{good}, target: https://a.example")),
        with(
            "inbound: {allow: [{name: a, destinations: [{host: a, methods: [GET]}]}]}\noutbound: {allow: [{name: a, destinations: [{host: a, methods: [GET]}]}]}",
        ),
    ] {
        read_here(&text).unwrap_or_else(|errors| unreachable!("{text}\n{errors}"));
    }
    let names = read_here(&with("listen: {names: [Gate.Example, gate.example]}")).unwrap();
    assert_eq!(names.listen.names, ["gate.example"]);
}

#[test]
fn all_contradictions_are_reported_together_with_their_lines() {
    let text = "version: 1
local: {name: north}
remote: {name: north}
folders:
  outbox: ./m
  inbox: ./m
state: {folder: state}
inbound:
  allow:
    - name: crm
      destinations:
        - host: \"*\"
          methods: [GET]
          paths: [v1]
";
    let errors = read_here(text).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "north.yaml: 6 problems
  remote.name: is `north`, the name of this side (line 3, column 16)
    remedy: give the two sides different names; the far side's file has the same two, swapped
  identity.secretFile: is missing: Signed and Sealed need this side's secret keys
    remedy: make keys once and name their file
  remote.keys: is empty, and so is remote.keyFiles: no packet of the far side could be verified (line 3, column 1)
    remedy: paste the far side's public key token into remote.keys, or name its file in remote.keyFiles
  folders.inbox: is the same folder as folders.outbox (line 6, column 10)
    remedy: name two folders, neither inside the other: packets must not come back to their sender
  inbound.allow[0].destinations[0].host: `*` would allow every host (line 12, column 17)
    remedy: name the hosts, or write `*.` and a suffix such as `*.south.svc`
  inbound.allow[0].destinations[0].paths[0]: `v1` does not begin with `/` (line 14, column 19)
    remedy: write the beginning of a path, such as /v1/"
    );
}

#[test]
fn a_file_of_the_wrong_shape_is_explained() {
    for (text, path, words) in [
        (with("fodlers: 1"), "fodlers", "write `folders`"),
        (with("log:\n  format: text\n  lvl: info"), "log.lvl", "write `level`"),
        (with("log:\n  colour: red"), "log.colour", "write one of format, level"),
        (with("log: {level: loud}"), "log.level", "write one of error, warn, info, debug, trace"),
        (with("mirror: {profile: copy}"), "mirror.profile", "write `Copy`"),
        (with("mirror: {expectedLatency: 15}"), "mirror.expectedLatency", "write 15s"),
        (with("mirror: {expectedLatency: 15x}"), "mirror.expectedLatency", "`15x` is not a duration"),
        (with("mirror:\n  expectedLatency:"), "mirror.expectedLatency", "is empty"),
        (with("mirror:\n  packetSize: -5"), "mirror.packetSize", "integer `-5`"),
        (with("mirror: {packetSize: many}"), "mirror.packetSize", "`many` is not a size"),
        (destination("host: a, port: 99999, methods: [GET]"), "inbound.allow[0].destinations[0].port", "0 to 65535"),
        (with("limits: {connections: x}"), "limits.connections", "0 to 4294967295"),
        (with("allowUnauthenticated: maybe"), "allowUnauthenticated", "true or false"),
        (with("listen: []"), "listen", "is not a section"),
        (with("listen:"), "listen", "is not a section"),
        (with("listen: {names: abc}"), "listen.names", "is not a list"),
        (with("listen: {proxy: [a]}"), "listen.proxy", "wrong kind"),
        (with("state: {folder: x}"), "state", "is given twice"),
        (instead(", inbox: in", ""), "folders.inbox", "is missing"),
        (instead("folders: {outbox: out, inbox: in}\n", ""), "folders", "is missing"),
        (instead("folders: {outbox: out, inbox: in}", "folders:\n  outbox: out"), "folders.inbox", "is missing"),
        (instead("{outbox: out, inbox: in}", "{}"), "folders.outbox", "is missing"),
        (inbound("destinations: [{methods: [GET]}]"), "inbound.allow[0].destinations[0].host", "is missing"),
        (with("inbound:\n  allow:\n    - destinations: []"), "inbound.allow[0].name", "is missing"),
        (instead("{name: north}", "{name: null}"), "local.name", "is empty"),
        (instead("version: 1\n", ""), "version", "is missing"),
        (format!("{LEAST}---\n{LEAST}"), "", "more than one YAML document"),
        (String::new(), "", "holds nothing"),
        ("# only a comment\n".to_owned(), "", "holds nothing"),
        ("hello".to_owned(), "", "is not a section"),
        ("version: 1\nlocal:\n\tname: x\n".to_owned(), "", "tabs"),
        (with("log: {format: text"), "", "unclosed bracket"),
    ] {
        let errors = read_here(&text).expect_err(&text);
        let [problem] = errors.problems() else { unreachable!("{text}\n{errors}") };
        assert_eq!(problem.path, path, "{text}\n{errors}");
        assert!(problem.place.is_some(), "{errors}");
        let said = errors.to_string();
        assert!(said.contains(words), "{words}\n{text}\n{said}");
        assert!(!said.contains("Options") && !said.contains("u16"), "{said}");
    }
}

#[test]
fn a_type_error_has_line_and_column() {
    let errors = read_here(&with("mirror:\n  expectedLatency: 15x")).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "north.yaml: 1 problem\n  mirror.expectedLatency: `15x` is not a duration: write whole numbers with a unit, such as 500ms, 15s, 5m, 24h, 7d or 1h30m (line 8, column 20)"
    );
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let errors = read_here("version: 2\nquantum: {entangled: true}\n").unwrap_err();
    let said = errors.to_string();
    assert!(said.contains("version: is 2; this program reads version 1 (line 1, column 10)"), "{said}");
}

#[test]
fn secrets_pasted_into_the_wrong_field_are_not_repeated() {
    let errors = read_here(&instead("hoft1AAAA", "SECRETSECRET")).unwrap_err();
    assert!(!errors.to_string().contains("SECRETSECRET"));
    for target in ["https://u:SECRET@a/", "ftp://u:SECRET@a/", "https://u:SECRET@", "u:SECRET@a"] {
        let text = outbound(&format!("destinations: [{{host: a, methods: [GET]}}], target: \"{target}\""));
        assert!(!read_here(&text).unwrap_err().to_string().contains("SECRET"), "{target}");
    }
}

#[test]
fn a_hostile_text_is_refused_and_never_panics() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(10_000),
        format!("version: 1\nx: {}1{}", "[".repeat(5_000), "]".repeat(5_000)),
        "- ".repeat(50_000),
        "a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n".to_owned(),
        "version: 99999999999999999999\n".to_owned(),
        "version: -1\n".to_owned(),
        "version: [1]\n".to_owned(),
        "\u{feff}\u{0}".to_owned(),
        "<<: *x\n".to_owned(),
        "? [a]\n: b\n".to_owned(),
        "!!binary x".to_owned(),
    ] {
        assert!(read_here(&text).is_err());
    }
    // Every prefix of a good file is refused or read, but never more than that.
    let full = crate::template(&crate::Template::new("north", "south").unwrap());
    for end in (0..full.len()).step_by(37).filter(|end| full.is_char_boundary(*end)) {
        let _ = read_here(&full[..end]);
    }
}

#[test]
fn a_changed_character_anywhere_never_panics() {
    let full = crate::template(&crate::Template::new("north", "south").unwrap());
    let strange = ['\0', '\t', '\n', ' ', '#', '&', '*', '-', '0', ':', '[', '{', '"', '%', '/', '\u{fe0f}'];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..400 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let at = usize::try_from(seed % full.len() as u64).unwrap();
        let letter = strange[usize::try_from((seed >> 32) % 16).unwrap()];
        let text = format!("{}{letter}{}", &full[..at], &full[at + 1..]);
        if let Err(errors) = read_here(&text) {
            assert!(!errors.problems().is_empty());
        }
    }
}

#[test]
fn what_the_operator_writes_the_engine_reads() {
    let folders = Folders {
        outbox: "/mirror/out: #1".into(),
        inbox: "/mirror/in".into(),
        layout: Layout::Flat,
        publish_sync: PublishSync::Always,
    };
    let mut file = ConfigFile::new("north", "south", folders, "/state".into());
    file.local.endpoint = "1".to_owned();
    file.remote.keys = vec!["hoft1AAAA".to_owned()];
    file.identity.secret_file = Some("/keys/secret".into());
    file.identity.allow_readable = true;
    file.mirror.expected_latency = Duration::from_millis(1_500);
    file.mirror.packet_size = crate::ByteSize::b(1_000_001);
    file.heartbeat.interval = Some(Duration::from_secs(30));
    let destination = Destination {
        schemes: vec!["http".to_owned()],
        host: "*.svc".to_owned(),
        port: Some(8080),
        methods: vec!["*".to_owned()],
        paths: vec!["/".to_owned()],
    };
    file.outbound.allow = vec![crate::file::OutboundRule {
        callers: vec![crate::file::Caller { service_account: "billing".to_owned() }],
        ..crate::file::OutboundRule::new("yes", vec![destination.clone()])
    }];
    file.inbound.allow = vec![crate::file::InboundRule {
        name: "no".to_owned(),
        destinations: vec![destination],
        callers: vec!["orders".to_owned(), "orders".to_owned()],
        target: Some("http://crm.north.svc:8080".to_owned()),
        addresses: vec!["10.0.0.0/8".to_owned(), "::1".to_owned()],
        timeout: Duration::from_secs(90),
        retry: Retry::Never,
        max_body: Some(crate::ByteSize::kib(1)),
        tls: crate::file::Tls::default(),
        credentials: [("x-key".to_owned(), crate::far_side::Credential { file: "key".into(), prefix: String::new() })]
            .into(),
        pass_authorization: true,
        cookies: crate::far_side::Cookies::Jar,
        ..crate::file::InboundRule::new("", Vec::new())
    }];
    let yaml = file.to_yaml().unwrap();
    assert_eq!(yaml, file.to_yaml().unwrap());
    let again: ConfigFile = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(again, file, "{yaml}");
    let config = parse(&yaml, "x", Path::new("/")).unwrap();
    assert_eq!(config.folders.outbox, Path::new("/mirror/out: #1"));
    assert_eq!(config.inbound.allow[0].name.as_str(), "no");
    assert_eq!(config.inbound.allow[0].addresses.len(), 2);
    assert_eq!(config.inbound.allow[0].callers, ["orders"]);
    assert_eq!(config.inbound.allow[0].target.as_ref().unwrap().as_str(), "http://crm.north.svc:8080/");
    assert_eq!(config.outbound.allow[0].callers, ["billing"]);
    assert_eq!(config.mirror.packet_size.as_u64(), 1_000_001);
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("north.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_loaded_file_resolves_paths_against_its_folder() {
    let (folder, path) = written(LEAST);
    let config = load(&path).unwrap();
    assert_eq!(config.folders.outbox, folder.path().join("out"));
    assert_eq!(config.state.folder, folder.path().join("state"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (folder, path) = written(&"#".repeat(FILE_BYTES_MAX + 1));
    let said = load(&path).unwrap_err().to_string();
    assert!(said.contains("north.yaml: 1 problem") && said.contains("larger"), "{said}");
    let said = load(&folder.path().join("none.yaml")).unwrap_err().to_string();
    assert!(said.contains("none.yaml") && said.contains("cannot be read"), "{said}");
    assert!(load(folder.path()).is_err());
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("UTF-8"));
}

#[cfg(unix)]
#[test]
fn folders_that_are_one_through_a_link_are_caught() {
    let (folder, path) = written(LEAST);
    fs::create_dir(folder.path().join("out")).unwrap();
    std::os::unix::fs::symlink("out", folder.path().join("in")).unwrap();
    let said = load(&path).unwrap_err().to_string();
    assert!(said.contains("folders.inbox: is the same folder as folders.outbox (line 5, column 31)"), "{said}");

    let text = instead("{outbox: out, inbox: in}", "{outbox: out/new, inbox: in/new/er}");
    fs::write(&path, text).unwrap();
    let said = load(&path).unwrap_err().to_string();
    assert!(said.contains("folders.inbox: lies inside folders.outbox"), "{said}");
}
