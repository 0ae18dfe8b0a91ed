//! The snapshot as its readers see it.

use std::time::Duration;

use layer1_replication::{Alarm, PeerStatus};
use wire::{EndpointId, Incarnation, Seq};

use super::*;

const LOSS_TIMEOUT: Duration = Duration::from_secs(60);

fn view(id: u8, status: &PeerStatus) -> PeerView {
    PeerView::new(EndpointId::from_bytes([id; 16]), Some("south".to_owned()), status, LOSS_TIMEOUT)
}

/// A peer with which all is well.
fn well() -> PeerStatus {
    PeerStatus {
        peer_incarnation: Some(Incarnation { generation: 0, random: [7; 8] }),
        last_heard_us_ago: Some(1_500_000),
        confirmations: 1,
        ..PeerStatus::default()
    }
}

fn silent() -> PeerStatus {
    PeerStatus { last_heard_us_ago: Some(180_000_000), ..well() }
}

/// A snapshot of these peers, diagnosed.
fn engine(peers: &[PeerStatus], change: impl FnOnce(&mut EngineStatus)) -> EngineStatus {
    let mut status = EngineStatus::new(&EngineFacts::of_test(), 5_000, 65_000);
    status.peers = peers.iter().zip(2..).map(|(peer, id)| view(id, peer)).collect();
    change(&mut status);
    status.diagnose();
    status
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn json_is_the_documented_one() {
    let status = engine(&[well()], |status| status.operations = count_states([State::Sent, State::Sent, State::Done]));
    let json = serde_json::to_value(&status).unwrap();
    let mut expected = vec![
        "software",
        "version",
        "endpoint",
        "side",
        "kind",
        "endpoint_name",
        "public_key",
        "fingerprint",
        "started",
        "started_ms",
        "now_ms",
        "log_bytes",
        "log_failure",
        "log_full",
        "results_bytes",
        "publishing",
        "published_bytes",
        "outbox_failure",
        "inbox_alarm",
        "folders",
        "inbox",
        "operations",
        "open_operations",
        "open_operations_total",
        "abandoned_operations",
        "executions",
        "calls_made",
        "callbacks",
        "peers",
        "servers",
        "near_side",
    ];
    expected.sort_unstable();
    let mut found = keys(&json);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(keys(&json["callbacks"]), ["dead", "delivered", "failed", "given_up", "pending"]);
    assert_eq!(json["endpoint"], "01010101-0101-0101-0101-010101010101");
    assert_eq!(json["kind"], "gateway");
    assert_eq!(json["endpoint_name"], "0");
    assert_eq!(json["started"], true);
    assert_eq!(json["public_key"], serde_json::Value::Null);
    assert_eq!(json["log_failure"], serde_json::Value::Null);
    assert_eq!(json["log_full"], false);
    assert_eq!(json["open_operations"], serde_json::json!([]));
    assert_eq!(json["operations"]["sent"], 2);
    assert_eq!(json["operations"]["expired"], 0);
    assert_eq!(json["peers"][0]["alive"], "alive");
    assert_eq!(json["peers"][0]["diagnosis_name"], "healthy");
    assert_eq!(json["peers"][0]["halted"], serde_json::Value::Null);
}

#[test]
fn an_open_operation_shows_neither_target_nor_method() {
    let view = OperationView {
        id: layer2_http::OperationId::v7(1_000, &[7; 10]),
        state: State::Sent,
        method: "POST".to_owned(),
        target: "https://erp.test/v1/orders?token=secret".to_owned(),
        route: Some("erp".to_owned()),
        peer: "p".to_owned(),
        begun_ms: 1_000,
        ended_ms: None,
        status: None,
        executed: None,
        problem: None,
        result: false,
    };
    let id = view.id.to_string();
    let open = OpenOperation::new(view.clone(), 61_000);
    let json = serde_json::to_value(&open).unwrap();
    assert_eq!(json, serde_json::json!({"id": id, "state": "sent", "route": "erp", "age_ms": 60_000}));
    // A clock that was set back makes nothing older than it is.
    assert_eq!(OpenOperation::new(OperationView { route: None, ..view }, 0).age_ms, 0);
}

#[test]
fn a_peer_view_shows_all_of_the_peer_status() {
    let status = PeerStatus {
        my_incarnation: Incarnation { generation: 3, random: [0xab; 8] },
        next: Seq::new(11),
        una: Seq::new(7),
        cum: Seq::new(5),
        una_seen: Seq::new(4),
        peer_next: Seq::new(9),
        srtt_us: Some(12_345),
        rttvar_us: 500,
        pto_count: 1,
        dropped_credit: 2,
        send_log_room: 77,
        unreported_us: Some(2_500_000),
        dropped_other: 3,
        clock_offset_ms: Some((-40, 25)),
        phi: 9.5,
        suspected: true,
        peer_pressure: 2,
        packets_spurious: 6,
        unassociated: 4,
        credit_log: (100, 40),
        granted_exchanges: (256, 8),
        halted: Some(Alarm::Superseded),
        alarms: vec![Alarm::Superseded],
        peer_software: "hoft 9".to_owned(),
        ..well()
    };
    let json = serde_json::to_value(view(2, &status)).unwrap();
    for (field, value) in [
        ("my_incarnation", serde_json::json!("3/abababababababab")),
        ("incarnation", serde_json::json!("0/0707070707070707")),
        ("next", serde_json::json!(11)),
        ("acknowledged", serde_json::json!(7)),
        ("received_up_to", serde_json::json!(5)),
        ("received_up_to_known", serde_json::json!(4)),
        ("peer_next", serde_json::json!(9)),
        ("srtt_ms", serde_json::json!(12.345)),
        ("rttvar_ms", serde_json::json!(0.5)),
        ("last_heard_ms_ago", serde_json::json!(1_500)),
        ("loss_timeout_ms", serde_json::json!(60_000)),
        ("records_dropped_credit", serde_json::json!(2)),
        ("records_dropped_other", serde_json::json!(3)),
        ("packets_unassociated", serde_json::json!(4)),
        ("send_log_room_bytes", serde_json::json!(77)),
        ("unreported_ms", serde_json::json!(2_500)),
        ("clock_offset", serde_json::json!({"least_ms": -40, "most_ms": 25})),
        ("phi", serde_json::json!(9.5)),
        ("suspected", serde_json::json!(true)),
        ("peer_pressure", serde_json::json!(2)),
        ("packets_spurious", serde_json::json!(6)),
        ("credit_log_bytes", serde_json::json!({"limit": 100, "used": 40})),
        ("granted_exchanges", serde_json::json!({"limit": 256, "used": 8})),
        ("software", serde_json::json!("hoft 9")),
    ] {
        assert_eq!(json[field], value, "{field}");
    }
    assert_eq!(json["halted"]["name"], "superseded");
    assert_eq!(json["halted"]["remedy"], Alarm::Superseded.remedy());
    assert_eq!(json["halted"], json["alarms"][0]);
    // Every field of PeerStatus, less those shown under two names: a new one must be shown too.
    let fields = format!("{:#?}", PeerStatus::default())
        .lines()
        .filter(|l| l.starts_with("    ") && !l.starts_with("     "))
        .filter(|l| l.contains(": "))
        .count();
    let own =
        ["endpoint", "name", "alive", "loss_timeout_ms", "diagnosis_name", "diagnosis", "oldest_unacknowledged_ms"];
    assert_eq!(keys(&json).len() - own.len(), fields);
}

#[test]
fn a_peer_is_alive_until_the_loss_timeout_is_over() {
    let alive = |heard| view(2, &PeerStatus { last_heard_us_ago: heard, ..PeerStatus::default() }).alive;
    assert_eq!(alive(None), Liveness::NeverSeen);
    assert_eq!(alive(Some(0)), Liveness::Alive);
    assert_eq!(alive(Some(60_000_000)), Liveness::Alive);
    assert_eq!(alive(Some(60_000_001)), Liveness::Silent);
}

#[test]
fn each_observation_has_its_diagnosis() {
    let poisoned = Alarm::Poisoned { seq: Seq::new(4), losses: 6 };
    let alone = |peer: PeerStatus| engine(&[peer], |_| {}).peers.remove(0).diagnosis_name;
    assert_eq!(alone(well()), Diagnosis::Healthy);
    assert_eq!(alone(PeerStatus { pto_count: 1, ..well() }), Diagnosis::Healthy);
    assert_eq!(alone(PeerStatus { pto_count: 2, ..well() }), Diagnosis::OutboundSilent);
    assert_eq!(alone(PeerStatus { suspended: true, ..well() }), Diagnosis::OutboundSilent);
    assert_eq!(alone(PeerStatus { peer_incarnation: None, ..well() }), Diagnosis::Associating);
    assert_eq!(alone(PeerStatus { alarms: vec![poisoned], backlog_records: 1, ..well() }), Diagnosis::ContentDropped);
    assert_eq!(alone(PeerStatus { alarms: vec![poisoned], ..well() }), Diagnosis::Healthy);
    assert_eq!(alone(PeerStatus { blocked_records: 3, ..well() }), Diagnosis::WaitingForCredit);
    assert_eq!(alone(PeerStatus::default()), Diagnosis::NeverSeen);
    assert_eq!(alone(silent()), Diagnosis::InboundSilent);
    assert_eq!(alone(PeerStatus { halted: Some(Alarm::PeerForgot), ..silent() }), Diagnosis::Halted);
}

#[test]
fn a_folder_that_cannot_be_used_is_the_diagnosis() {
    let said = |peer: PeerStatus, folder, condition| {
        let view = FolderView {
            folder,
            condition,
            detail: "it is so".to_owned(),
            remedy: condition.remedy(),
            ..FolderView::default()
        };
        let peer = engine(&[peer], |status| status.folders = vec![view]).peers.remove(0);
        (peer.diagnosis_name, peer.diagnosis)
    };
    for condition in FolderCondition::ALL {
        let (outbox, sentence) = said(well(), "outbox", condition);
        assert_eq!(outbox == Diagnosis::OutboxFailing, condition.is_bad(), "{condition:?}");
        assert!(
            !condition.is_bad() || sentence.contains("it is so") && sentence.contains(condition.remedy()),
            "{sentence}"
        );
        assert_eq!(condition.remedy().is_empty(), !condition.is_bad());
        assert_eq!(serde_json::to_value(condition).unwrap(), condition.name());
        // Whoever is heard is heard, whatever the folder is like now.
        assert_eq!(said(well(), "inbox", condition).0, Diagnosis::Healthy);
    }
    let (inbox, sentence) = said(silent(), "inbox", FolderCondition::Gone);
    assert_eq!(inbox, Diagnosis::InboundSilent);
    assert!(
        sentence.contains("the inbox folder here cannot be used") && sentence.contains("mount its volume"),
        "{sentence}"
    );
}

#[test]
fn a_peer_that_is_heard_and_never_reports_my_packets_is_one_they_do_not_reach() {
    let out = |seconds: u64, rest: PeerStatus| {
        let status = PeerStatus { unreported_us: Some(seconds * 1_000_000), ..rest };
        engine(&[status], |_| {}).peers.remove(0).diagnosis_name
    };
    assert_eq!(out(60, well()), Diagnosis::Healthy);
    assert_eq!(out(61, well()), Diagnosis::OutboundSilent);
    // News cannot be here before a round trip is over.
    let far = || PeerStatus { srtt_us: Some(600_000_000), rttvar_us: 60_000_000, ..well() };
    assert_eq!(out(899, far()), Diagnosis::Healthy);
    assert_eq!(out(901, far()), Diagnosis::OutboundSilent);
    // Silence of the peer says nothing of the other direction, and reports begin with an association.
    assert_eq!(out(1_000, silent()), Diagnosis::InboundSilent);
    assert_eq!(out(1_000, PeerStatus { peer_incarnation: None, ..well() }), Diagnosis::Associating);
}

#[test]
fn an_endpoint_that_never_came_and_one_that_is_gone_are_no_trouble_of_the_others() {
    // The far gateway was never there; one pod lives, another is gone for good.
    let status = engine(&[PeerStatus::default(), well(), silent()], |status| {
        status.inbox.rejects.insert("key_unknown", 5);
        status.inbox.packets_used = 9;
    });
    let names: Vec<_> = status.peers.iter().map(|peer| peer.diagnosis_name).collect();
    assert_eq!(names, [Diagnosis::NeverSeen, Diagnosis::Healthy, Diagnosis::PeerSilent]);
    assert!(status.peers[0].diagnosis.contains("others are heard"), "{}", status.peers[0].diagnosis);
    // When the last one falls silent the folders are suspected again, whoever never came.
    let status = engine(&[PeerStatus::default(), silent(), silent()], |_| {});
    let names: Vec<_> = status.peers.iter().map(|peer| peer.diagnosis_name).collect();
    assert_eq!(names, [Diagnosis::NeverSeen, Diagnosis::InboundSilent, Diagnosis::InboundSilent]);
}

#[test]
fn silence_of_one_peer_is_told_from_silence_of_all() {
    let names = |peers: &[PeerStatus]| -> Vec<Diagnosis> {
        engine(peers, |_| {}).peers.iter().map(|peer| peer.diagnosis_name).collect()
    };
    assert_eq!(names(&[silent(), well()]), [Diagnosis::PeerSilent, Diagnosis::Healthy]);
    assert_eq!(names(&[silent(), silent()]), [Diagnosis::InboundSilent, Diagnosis::InboundSilent]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_as_the_cause() {
    let status = engine(&[silent()], |status| status.outbox_failure = Some("No space left on device".to_owned()));
    assert_eq!(status.peers[0].diagnosis_name, Diagnosis::OutboxFailing);
    assert!(status.peers[0].diagnosis.contains("No space left on device"));
}

#[test]
fn files_that_never_verify_are_a_key_mismatch_and_not_an_outage() {
    let unknown_key = |used| {
        engine(&[PeerStatus::default()], |status| {
            status.inbox.rejects.insert("key_unknown", 5);
            status.inbox.packets_used = used;
        })
    };
    assert_eq!(unknown_key(0).peers[0].diagnosis_name, Diagnosis::KeyMismatch);
    assert!(unknown_key(0).peers[0].diagnosis.contains("5 so far"));
    assert_eq!(unknown_key(1).peers[0].diagnosis_name, Diagnosis::NeverSeen);
}

#[test]
fn silence_is_called_unknown_and_never_down() {
    let text = engine(&[silent()], |_| {}).peers.remove(0).diagnosis;
    assert!(text.starts_with("Unknown since 3 min ago"), "{text}");
    assert!(!text.contains("down"), "{text}");
}

#[test]
fn silence_in_both_directions_is_said_to_have_no_provable_cause() {
    let text = engine(&[PeerStatus { suspended: true, ..silent() }], |_| {}).peers.remove(0).diagnosis;
    assert!(text.starts_with("Unknown since 3 min ago: silence in both directions"), "{text}");
}

#[test]
fn a_peer_that_is_full_is_named_as_why_bulk_waits() {
    let text = |peer_pressure| {
        let waits = PeerStatus { blocked_records: 3, peer_pressure, ..well() };
        engine(&[waits], |_| {}).peers.remove(0).diagnosis
    };
    assert!(text(3).starts_with("The peer is nearly full") && text(3).contains("3 records"), "{}", text(3));
    assert!(text(2).starts_with("Healthy, but 3 records wait"), "{}", text(2));
}

#[test]
fn every_diagnosis_is_a_sentence_and_has_one_name() {
    for diagnosis in Diagnosis::ALL {
        assert_eq!(serde_json::to_value(diagnosis).unwrap(), diagnosis.name());
        let halted = PeerStatus { halted: Some(Alarm::PeerForgot), ..well() };
        let text = diagnosis::sentence(diagnosis, &view(2, &halted), &Surroundings::default());
        assert!(text.ends_with('.') && !text.contains("  ") && !text.contains(".."), "{text}");
    }
}

/// Shows `next`, `acknowledged` and a backlog at `at_s`, and returns the age in ms.
fn observe(ages: &mut BacklogAges, at_s: u64, next: u64, acknowledged: u64) -> Option<u64> {
    let peer = PeerStatus {
        next: Seq::new(next),
        una: Seq::new(acknowledged),
        backlog_records: next - 1 - acknowledged,
        ..well()
    };
    let mut status = engine(&[peer], |_| {});
    ages.observe(Duration::from_secs(at_s), &mut status);
    status.peers[0].oldest_unacknowledged_ms
}

#[test]
fn age_grows_until_the_record_is_acknowledged() {
    let mut ages = BacklogAges::default();
    assert_eq!(observe(&mut ages, 0, 1, 0), None);
    assert_eq!(observe(&mut ages, 10, 3, 0), Some(0));
    assert_eq!(observe(&mut ages, 20, 3, 0), Some(10_000));
    assert_eq!(observe(&mut ages, 30, 5, 0), Some(20_000));
    assert_eq!(observe(&mut ages, 40, 5, 1), Some(30_000), "record 2 was there at 10 s");
    assert_eq!(observe(&mut ages, 50, 5, 2), Some(20_000), "record 3 came after 10 s");
    assert_eq!(observe(&mut ages, 60, 5, 4), None);
    assert_eq!(observe(&mut ages, 70, 6, 4), Some(0));
}

#[test]
fn age_starts_anew_with_an_association() {
    let mut ages = BacklogAges::default();
    observe(&mut ages, 0, 100, 50);
    assert_eq!(observe(&mut ages, 60, 2, 0), Some(0));
    assert_eq!(observe(&mut ages, 70, 2, 0), Some(10_000));
}

#[test]
fn ages_in_a_long_outage_are_exact_within_one_percent_of_it() {
    let mut ages = BacklogAges::default();
    for second in 0..100_000 {
        assert_eq!(observe(&mut ages, second, second + 2, 0), Some(second * 1_000));
    }
    // Record 50_001 came up at 50_000 s.
    let age = observe(&mut ages, 100_000, 100_002, 50_000).unwrap();
    assert!((49_000_000..=50_000_000).contains(&age), "{age}");
}

#[test]
fn an_age_that_the_driver_knows_is_left_alone() {
    let mut status = engine(&[PeerStatus { next: Seq::new(2), backlog_records: 1, ..well() }], |_| {});
    status.peers[0].oldest_unacknowledged_ms = Some(77);
    BacklogAges::default().observe(Duration::ZERO, &mut status);
    assert_eq!(status.peers[0].oldest_unacknowledged_ms, Some(77));
}

#[test]
fn inbox_counters_are_copied_by_name() {
    let mut counters = Counters::default();
    counters.partial = 4;
    counters.bytes_read = 9;
    let view = InboxView::from(&counters);
    assert_eq!((view.partial, view.read_bytes, view.files_seen), (4, 9, 0));
}
