//! Keepers against an API server in memory, over years of its time.

use super::*;
use crate::fake_api::{Failure, FakeApi};
use crate::webhook::authority::tests::{accepts, day};
use jiff::SignedDuration;
use serde_json::Value;

const SECRET: &str = "/api/v1/namespaces/hoft-system/secrets/hoft-webhook-ca";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hoft-inject";
const NAME: &str = "hoft-webhook.hoft-system.svc";

fn settings() -> Settings {
    Settings {
        namespace: "hoft-system".to_owned(),
        secret: "hoft-webhook-ca".to_owned(),
        configuration: "hoft-inject".to_owned(),
        service: "hoft-webhook".to_owned(),
        ca_lifetime: Duration::from_hours(90 * 24),
        certificate_lifetime: Duration::from_hours(30 * 24),
    }
}

fn keeper(api: &FakeApi) -> Keeper {
    Keeper::new(api.client(), settings(), Arc::default(), Arc::default())
}

/// A cluster where the chart installed the configuration.
fn cluster() -> FakeApi {
    let api = FakeApi::default();
    api.set_object(
        CONFIGURATION,
        Some(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "hoft-inject"},
            "webhooks": [{
                "name": "pods.hoft.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": {"name": "hoft-webhook", "namespace": "hoft-system", "path": "/mutate"}},
            }],
        })),
    );
    api
}

fn trusted(api: &FakeApi) -> String {
    let configuration = api.object(CONFIGURATION).unwrap();
    let bundle: ByteString =
        serde_json::from_value(configuration["webhooks"][0]["clientConfig"]["caBundle"].clone()).unwrap();
    String::from_utf8(bundle.0).unwrap()
}

fn is_accepted(api: &FakeApi, keeper: &Keeper, now: Timestamp) -> Result<(), rustls::Error> {
    accepts(&trusted(api), &keeper.served.certificate().unwrap(), NAME, now)
}

fn authorities(api: &FakeApi) -> usize {
    let secret = api.object(SECRET).unwrap();
    let text: ByteString = serde_json::from_value(secret["data"][DATA_KEY].clone()).unwrap();
    serde_json::from_slice::<Vec<Value>>(&text.0).unwrap().len()
}

#[tokio::test]
async fn a_leader_makes_the_ca_tells_the_api_server_and_serves() {
    let api = cluster();
    let keeper = keeper(&api);
    keeper.turn(true, day(0)).await.unwrap();
    is_accepted(&api, &keeper, day(0)).unwrap();
    let apply = "fieldManager=hoft-operator-webhook";
    let log = api.log();
    let expected = [
        ("GET", SECRET, ""),
        ("PATCH", SECRET, apply),
        ("GET", CONFIGURATION, ""),
        ("PATCH", CONFIGURATION, apply),
        ("PATCH", SECRET, apply),
    ];
    assert_eq!(log.len(), expected.len(), "{log:?}");
    for (line, (method, path, query)) in log.iter().zip(expected) {
        assert!(line.starts_with(&format!("{method} {path}")) && line.contains(query), "{line} is not {method} {path}");
        assert!(!line.contains("force=true"), "{line}");
    }
    let configuration = api.object(CONFIGURATION).unwrap();
    assert_eq!(configuration["webhooks"].as_array().unwrap().len(), 1);
    assert_eq!(configuration["webhooks"][0]["clientConfig"]["service"]["path"], "/mutate", "the chart's part stays");

    keeper.turn(true, day(1)).await.unwrap();
    let log = api.log();
    assert_eq!(log[5..], [format!("GET {SECRET}"), format!("GET {CONFIGURATION}")], "nothing to do, nothing written");
    let text = keeper.metrics.encode();
    let expiry = format!("hoft_operator_webhook_certificate_expiry_timestamp_seconds{{}} {}", day(30).as_second());
    assert!(text.contains(&expiry), "{text}");
}

#[tokio::test]
async fn a_standby_waits_for_the_ca_and_writes_nothing() {
    let api = cluster();
    let standby = keeper(&api);
    let refused = standby.turn(false, day(0)).await.unwrap_err();
    assert!(matches!(refused, KeepError::Absent { .. }), "{refused}");
    assert_eq!(standby.served.term(), None);
    keeper(&api).turn(true, day(0)).await.unwrap();
    let before = api.log().len();
    standby.turn(false, day(0)).await.unwrap();
    is_accepted(&api, &standby, day(0)).unwrap();
    assert_eq!(api.log()[before..], [format!("GET {SECRET}")]);
}

/// Two replicas over two years, the API server away now and then: what either serves is what the API server trusts.
#[tokio::test]
async fn rotations_leave_no_moment_without_trust() {
    let api = cluster();
    let (one, two) = (keeper(&api), keeper(&api));
    one.turn(true, day(0)).await.unwrap();
    two.turn(false, day(0)).await.unwrap();
    let mut makers = std::collections::BTreeSet::new();
    for hours in (0..2 * 365 * 24).step_by(13) {
        let now = day(0).saturating_add(Duration::from_hours(hours)).unwrap();
        // The lead changes, one replica is late, and for two days of ten the API server is away.
        let one_leads = (hours / 1001) % 2 == 0;
        api.fail(((hours / 24) % 10 >= 8).then_some(Failure::Status(503)));
        let first = one.turn(one_leads, now).await;
        is_accepted(&api, &one, now).unwrap();
        is_accepted(&api, &two, now).unwrap();
        if (hours / 13) % 3 != 0 {
            let second = two.turn(!one_leads, now).await;
            assert_eq!(first.is_ok(), second.is_ok());
        }
        is_accepted(&api, &one, now).unwrap();
        is_accepted(&api, &two, now).unwrap();
        makers.insert(two.served.term().unwrap().authority);
        api.fail(None);
        assert!(authorities(&api) <= 3);
    }
    assert!(makers.len() >= 11, "a CA each 60 days: {}", makers.len());
}

#[tokio::test]
async fn a_new_ca_signs_only_after_the_api_server_was_told() {
    let api = cluster();
    let keeper = keeper(&api);
    keeper.turn(true, day(0)).await.unwrap();
    let first = keeper.served.term().unwrap().authority;
    let configuration = api.object(CONFIGURATION).unwrap();
    // Nobody may write the bundle: at the time of rotation the old CA goes on to sign.
    let mut broken = configuration.clone();
    broken["webhooks"] = json!("unreadable");
    api.set_object(CONFIGURATION, Some(broken));
    for today in 60..70 {
        let refused = keeper.turn(true, day(today)).await.unwrap_err();
        assert!(matches!(refused, KeepError::Tell { .. }), "{refused}");
        assert_eq!(keeper.served.term().unwrap().authority, first);
    }
    assert_eq!(authorities(&api), 2, "made once");
    api.set_object(CONFIGURATION, Some(configuration));
    keeper.turn(true, day(70)).await.unwrap();
    assert_eq!(keeper.served.term().unwrap().authority, first, "every API server gets a minute to hear of it");
    keeper.turn(true, day(71)).await.unwrap();
    assert_ne!(keeper.served.term().unwrap().authority, first);
    is_accepted(&api, &keeper, day(71)).unwrap();
}

#[tokio::test]
async fn a_leader_that_was_overtaken_overwrites_nothing() {
    let api = cluster();
    let (old, new) = (keeper(&api), keeper(&api));
    old.turn(true, day(0)).await.unwrap();
    let (stale, version) = old.read().await.unwrap();
    new.turn(true, day(60)).await.unwrap();
    let written = api.object(SECRET);
    let refused = old.write(&stale, version).await.unwrap_err();
    assert!(
        matches!(&refused, KeepError::Write { source: kube::Error::Api(status), .. } if status.code == 409),
        "{refused}"
    );
    assert_eq!(api.object(SECRET), written);
}

#[tokio::test]
async fn the_charts_empty_secret_is_filled_in() {
    let api = cluster();
    let metadata =
        json!({"name": "hoft-webhook-ca", "namespace": "hoft-system", "labels": {"a": "b"}, "resourceVersion": "1"});
    api.set_object(SECRET, Some(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"})));
    let keeper = keeper(&api);
    keeper.turn(false, day(0)).await.unwrap();
    assert_eq!(keeper.served.term(), None, "a standby makes no CA");
    keeper.turn(true, day(0)).await.unwrap();
    is_accepted(&api, &keeper, day(0)).unwrap();
    assert_eq!(authorities(&api), 1);
    assert_eq!(api.object(SECRET).unwrap()["metadata"]["labels"], json!({"a": "b"}), "the chart's part stays");
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let api = cluster();
    for data in [json!({"tls.crt": "eA=="}), json!({DATA_KEY: "eA=="})] {
        api.set_object(SECRET, Some(json!({"metadata": {"name": "hoft-webhook-ca"}, "data": data})));
        let before = api.object(SECRET);
        let refused = keeper(&api).turn(true, day(0)).await.unwrap_err();
        assert!(refused.to_string().contains("delete it"), "{refused}");
        assert_eq!(api.object(SECRET), before);
    }
    api.set_object(SECRET, None);
    let keeper = keeper(&api);
    keeper.turn(true, day(0)).await.unwrap();
    is_accepted(&api, &keeper, day(0)).unwrap();
}

#[tokio::test]
async fn a_deleted_secret_is_a_rotation_at_once() {
    let api = cluster();
    let keeper = keeper(&api);
    keeper.turn(true, day(0)).await.unwrap();
    let first = keeper.served.term().unwrap().authority;
    api.set_object(SECRET, None);
    keeper.turn(true, day(1)).await.unwrap();
    assert_ne!(keeper.served.term().unwrap().authority, first);
    is_accepted(&api, &keeper, day(1)).unwrap();
}

#[tokio::test]
async fn a_bundle_that_somebody_spoilt_is_put_right() {
    let api = cluster();
    let keeper = keeper(&api);
    keeper.turn(true, day(0)).await.unwrap();
    let mut configuration = api.object(CONFIGURATION).unwrap();
    configuration["webhooks"][0]["clientConfig"]["caBundle"] = Value::Null;
    api.set_object(CONFIGURATION, Some(configuration));
    keeper.turn(true, day(1)).await.unwrap();
    is_accepted(&api, &keeper, day(1)).unwrap();
}

#[tokio::test]
async fn without_a_configuration_it_serves_and_says_so() {
    let api = FakeApi::default();
    let keeper = keeper(&api);
    let said = keeper.turn(true, day(0)).await.unwrap_err();
    assert!(said.to_string().contains("hoft-inject is not there"), "{said}");
    assert!(keeper.served.term().is_some());
    assert_eq!(api.object(CONFIGURATION), None, "it makes none");
    assert!(keeper.turn(true, day(61)).await.is_err());
    assert!(keeper.turn(true, day(62)).await.is_err());
    assert_eq!(keeper.served.term().unwrap().made_at, day(62), "with nobody to tell, nobody is waited for");
}

#[tokio::test]
async fn turns_are_frequent_where_the_served_certificate_is_short_lived() {
    let api = cluster();
    let lasting = keeper(&api);
    assert_eq!(lasting.pause(), TURN_MIN, "nothing is served yet");
    lasting.turn(true, day(0)).await.unwrap();
    assert_eq!(lasting.pause(), TURN_MAX);
    // Another replica was given a short lifetime, and is the leader now.
    let settings = Settings { ca_lifetime: Duration::from_secs(30), ..settings() };
    let hasty = Keeper::new(api.client(), settings, Arc::default(), Arc::default());
    let later = day(0).saturating_add(SignedDuration::from_secs(30)).unwrap();
    hasty.turn(true, later).await.unwrap();
    lasting.turn(false, later.saturating_add(SignedDuration::from_secs(4)).unwrap()).await.unwrap();
    assert!(lasting.served.term().unwrap().not_after < day(1), "it serves what the short-lived CA signed");
    assert_eq!(lasting.pause(), TURN_MIN);
}

#[tokio::test]
async fn the_keeper_turns_until_told_to_stop() {
    let api = cluster();
    let keeper = keeper(&api);
    let served = Arc::clone(&keeper.served);
    let (leads, leading) = watch::channel(false);
    let stop = CancellationToken::new();
    let running = tokio::spawn(keeper.run(leading, stop.clone()));
    leads.send_replace(true);
    while served.term().is_none() {
        sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap();
}
