//! The text that Prometheus gets.

use super::*;

fn lines(metrics: &Metrics) -> Vec<String> {
    metrics.encode().lines().map(str::to_owned).collect()
}

#[test]
fn every_metric_is_there_from_the_start() {
    let lines = lines(&Metrics::new());
    for line in [
        "hoft_operator_reconciles_total{result=\"success\"} 0",
        "hoft_operator_reconciles_total{result=\"error\"} 0",
        "hoft_operator_reconcile_duration_seconds_count 0",
        "hoft_operator_polls_total{result=\"success\"} 0",
        "hoft_operator_polls_total{result=\"error\"} 0",
        "hoft_operator_webhook_requests_total{result=\"injected\"} 0",
        "hoft_operator_webhook_requests_total{result=\"malformed\"} 0",
        "hoft_operator_leader 0",
        "hoft_operator_peerings{condition=\"Ready\",status=\"False\"} 0",
        "# EOF",
    ] {
        assert!(lines.iter().any(|have| have == line), "{line} is missing in {lines:#?}");
    }
    let build = format!("hoft_build_info{{version=\"{}\",component=\"operator\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(lines.contains(&build), "{lines:#?}");
    let peerings = lines.iter().filter(|line| line.starts_with("hoft_operator_peerings{")).count();
    assert_eq!(peerings, ConditionType::ALL.len() * STATUSES.len());
    assert!(!lines.iter().any(|line| line.starts_with("hoft_operator_webhook_certificate_expiry_timestamp_seconds{")));
}

#[test]
fn what_is_counted_is_shown() {
    let metrics = Metrics::new();
    metrics.reconciled(true, Duration::from_millis(7));
    metrics.reconciled(false, Duration::from_secs(1));
    metrics.polled(false);
    metrics.webhook_answered(WebhookResult::Denied);
    metrics.set_leader(true);
    metrics.set_peerings_of("", BTreeMap::from([((ConditionType::Ready, ConditionStatus::True), 3)]));
    metrics.set_webhook_certificate_expiry(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    let lines = lines(&metrics);
    for line in [
        "hoft_operator_reconciles_total{result=\"success\"} 1",
        "hoft_operator_reconciles_total{result=\"error\"} 1",
        "hoft_operator_reconcile_duration_seconds_count 2",
        "hoft_operator_reconcile_duration_seconds_bucket{le=\"0.01\"} 1",
        "hoft_operator_polls_total{result=\"error\"} 1",
        "hoft_operator_webhook_requests_total{result=\"denied\"} 1",
        "hoft_operator_leader 1",
        "hoft_operator_peerings{condition=\"Ready\",status=\"True\"} 3",
        "hoft_operator_webhook_certificate_expiry_timestamp_seconds{} 1800000000",
    ] {
        assert!(lines.iter().any(|have| have == line), "{line} is missing in {lines:#?}");
    }
}

#[test]
fn counts_that_are_not_named_again_fall_to_zero() {
    let metrics = Metrics::new();
    metrics.set_peerings_of("", BTreeMap::from([((ConditionType::Ready, ConditionStatus::True), 3)]));
    metrics.set_peerings_of("", BTreeMap::from([((ConditionType::Ready, ConditionStatus::False), 1)]));
    let text = metrics.encode();
    assert!(text.contains("hoft_operator_peerings{condition=\"Ready\",status=\"True\"} 0\n"), "{text}");
    assert!(text.contains("hoft_operator_peerings{condition=\"Ready\",status=\"False\"} 1\n"), "{text}");
}

#[test]
fn who_loses_the_lease_forgets_what_a_leader_knows() {
    let metrics = Metrics::new();
    metrics.set_leader(true);
    metrics.set_working(true);
    metrics.set_peerings_of("", BTreeMap::from([((ConditionType::Ready, ConditionStatus::True), 3)]));
    metrics.set_leader(false);
    assert!(!metrics.is_leader() && !metrics.is_working());
    assert!(metrics.encode().contains("hoft_operator_peerings{condition=\"Ready\",status=\"True\"} 0\n"));
}
