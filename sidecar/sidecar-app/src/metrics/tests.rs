//! The metrics as a scraper reads them, and the document as a person does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use layer1_replication::PeerStatus;
use wire::EndpointId;

use super::*;
use crate::status::{EngineFacts, FolderView, PeerView, RefusedView, ServerView, count_states};

fn status() -> EngineStatus {
    let mut status = EngineStatus::new(&EngineFacts::of_test(), 1_700_000_000_500, 1_700_000_010_500);
    status.operations = count_states([layer2_http::State::Queued]);
    status.inbox.rejects.insert("forked", 3);
    status.calls_made = Some(crate::status::CallsMade {
        ended: BTreeMap::from([("answered", 2), ("address-denied", 1)]),
        tokens_got: 1,
        tokens_failed: 2,
    });
    let server =
        ServerView { name: "1".to_owned(), executes: true, standing: "live", calls: 4, ..ServerView::default() };
    status.servers.push(server);
    status.folders = vec![FolderView { folder: "outbox", took_ms: Some(2.5), checks_bad: 3, ..FolderView::default() }];
    status.near_side.quota_refused = vec![RefusedView { rule: "erp".to_owned(), bound: "bytes_per_day", calls: 5 }];
    status.near_side.cache_outcomes.insert("hit", 6);
    for (id, name) in [(2, Some("south \"1\"\n")), (3, None)] {
        let heard = PeerStatus {
            last_heard_us_ago: Some(2_500_000),
            srtt_us: Some(30_000),
            packets_sent: 7,
            packets_received: 8,
            backlog_bytes: 1 << 40,
            credit_log: (10, 4),
            ..PeerStatus::default()
        };
        let endpoint = EndpointId::from_bytes([id; 16]);
        status.peers.push(PeerView::new(endpoint, name.map(str::to_owned), &heard, Duration::from_secs(10)));
    }
    status
}

/// The name under which a family's samples are read.
fn exposed(family: &Family) -> String {
    let unit = family.unit.map_or_else(String::new, |unit| format!("_{}", unit.unit().as_str()));
    let total = if family.kind == Kind::Counter { "_total" } else { "" };
    format!("{PREFIX}_{}{unit}{total}", family.name)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Splits `name{labels} value`; label values may hold anything, so the braces are found from the outside.
fn sample(line: &str) -> (String, String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    assert!(is_name(name), "{line}");
    (name.to_owned(), labels.to_owned(), value.parse().unwrap())
}

#[test]
fn every_line_is_a_sample_of_a_described_metric() {
    let text = render(&status());
    let body = text.strip_suffix("# EOF\n").unwrap();
    let (mut help, mut kinds, mut series) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').unwrap();
            assert!(help.insert(name.to_owned()), "HELP twice: {line}");
            assert!(text.ends_with('.') && !text.ends_with(".."), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            let (name, labels, value) = sample(line);
            let family = match kinds.get(name.strip_suffix("_total").unwrap_or(&name)) {
                Some(kind) if kind == "counter" => name.strip_suffix("_total").unwrap(),
                _ => name.as_str(),
            };
            assert!(help.contains(family) && kinds.contains_key(family), "not described: {line}");
            assert!(value >= 0.0, "{line}");
            assert!(series.insert(format!("{name}{{{labels}}}")), "twice: {line}");
        }
    }
    assert_eq!(help.len(), FAMILIES.len());
}

#[test]
fn values_are_in_base_units() {
    let text = render(&status());
    let peer = r#"peer="02020202-0202-0202-0202-020202020202",name="south \"1\"\n""#;
    for line in [
        "hoft_start_time_seconds 1700000000.5".to_owned(),
        "hoft_operations{state=\"queued\"} 1".to_owned(),
        "hoft_inbox_rejects_total{reason=\"forked\"} 3".to_owned(),
        "hoft_volume_probe_seconds{folder=\"outbox\"} 0.0025".to_owned(),
        "hoft_volume_probes_total{folder=\"outbox\",result=\"bad\"} 3".to_owned(),
        "hoft_volume_condition{folder=\"outbox\",condition=\"unchecked\"} 1".to_owned(),
        format!("hoft_peer_alive{{{peer}}} 1"),
        format!("hoft_peer_last_heartbeat_timestamp_seconds{{{peer}}} 1700000008.0"),
        format!("hoft_round_trip_seconds{{{peer}}} 0.03"),
        format!("hoft_packets_total{{{peer},direction=\"received\"}} 8"),
        format!("hoft_backlog_bytes{{{peer}}} 1099511627776"),
        format!("hoft_log_credit_bytes{{{peer},by=\"peer\",part=\"used\"}} 4"),
        format!("hoft_peer_diagnosis{{{peer},diagnosis=\"associating\"}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn what_was_never_measured_is_absent_instead_of_zero() {
    let mut status = status();
    status.peers =
        vec![PeerView::new(EndpointId::from_bytes([2; 16]), None, &PeerStatus::default(), Duration::from_secs(10))];
    let text = render(&status);
    assert!(!text.contains("hoft_round_trip_seconds"));
    assert!(!text.contains("hoft_peer_last_heartbeat_timestamp_seconds"));
    assert!(text.contains("hoft_peer_alive{"));
}

#[test]
fn the_first_scrape_has_the_series_that_alerts_count_from() {
    let text = render(&EngineStatus::default());
    for reject in wire::Reject::ALL {
        let line = format!("hoft_inbox_rejects_total{{reason=\"{}\"}} 0", reject.name());
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn the_document_describes_every_metric() {
    let document = include_str!("../../../../docs/metrics.md");
    let expected: Vec<String> = FAMILIES
        .iter()
        .map(|family| {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
            format!("| `{}` | {kind} | {} | {} |", exposed(family), labels.join(", "), family.help)
        })
        .collect();
    let found: Vec<&str> = document.lines().filter(|line| line.starts_with("| `hoft_")).collect();
    assert_eq!(found, expected, "the table of docs/metrics.md should be:\n{}\n", expected.join("\n"));
}
