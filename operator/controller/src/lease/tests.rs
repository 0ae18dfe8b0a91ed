//! Decisions by table, and electors against a server in memory.

use super::*;
use crate::fake_api::{Failure, FakeApi};
use serde_json::json;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/hoft-system/leases/hoft-operator";

fn held(holder: Option<&str>, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

fn quick() -> Timing {
    Timing {
        duration: Duration::from_secs(1),
        renew_deadline: Duration::from_millis(600),
        retry: Duration::from_millis(20),
    }
}

fn elector(api: &FakeApi, identity: &str) -> Elector {
    Elector::new(api.client(), "hoft-system", "hoft-operator", identity, quick())
}

/// An elector at work: what it says, and how to make it resign.
struct Running {
    leading: watch::Receiver<bool>,
    resign: CancellationToken,
    task: JoinHandle<()>,
}

fn start(api: &FakeApi, identity: &str) -> Running {
    let (sender, leading) = watch::channel(false);
    let resign = CancellationToken::new();
    let task = tokio::spawn(elector(api, identity).run(sender, resign.clone()));
    Running { leading, resign, task }
}

fn holder(api: &FakeApi) -> Option<String> {
    api.object(PATH)?["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

#[test]
fn a_lease_is_taken_only_after_it_stood_still_for_its_duration() {
    let hold = |transitions| Decision::Hold { acquired: None, transitions };
    let second = Duration::from_secs(1);
    for (what, lease, seen_for, expected) in [
        ("none yet", None, 0, hold(0)),
        ("empty", Some(LeaseSpec::default()), 0, hold(1)),
        ("given back", Some(held(None, 4)), 0, hold(5)),
        ("given back, in the old way", Some(held(Some(""), 4)), 0, hold(5)),
        ("mine", Some(held(Some("me"), 4)), 99, hold(4)),
        ("another's, just seen", Some(held(Some("other"), 4)), 0, Decision::Wait),
        ("another's, nearly over", Some(held(Some("other"), 4)), 14, Decision::Wait),
        ("another's, over", Some(held(Some("other"), 4)), 15, hold(5)),
        (
            "another's, without a duration",
            Some(LeaseSpec { lease_duration_seconds: None, ..held(Some("other"), 4) }),
            0,
            hold(5),
        ),
        (
            "another's, with nonsense",
            Some(LeaseSpec { lease_duration_seconds: Some(-3), ..held(Some("other"), i32::MAX) }),
            0,
            hold(i32::MAX),
        ),
    ] {
        assert_eq!(decide(lease.as_ref(), "me", second * seen_for), expected, "{what}");
    }
}

#[test]
fn a_holder_gives_up_early_enough_to_end_its_work_before_another_begins() {
    let timing = Timing::default();
    assert!(timing.renew_deadline + GRACE < timing.duration);
    assert!(timing.retry * 2 < timing.renew_deadline);
}

#[tokio::test]
async fn a_lease_that_is_given_back_passes_to_the_other_at_once() {
    let api = FakeApi::default();
    let mut first = start(&api, "first");
    first.leading.wait_for(|leading| *leading).await.unwrap();
    let mut second = start(&api, "second");
    first.resign.cancel();
    first.task.await.unwrap();
    assert_ne!(holder(&api).as_deref(), Some("first"), "given back before the end");
    second.leading.wait_for(|leading| *leading).await.unwrap();
    let lease = api.object(PATH).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "second");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    second.resign.cancel();
    second.task.await.unwrap();
    let verbs: std::collections::BTreeSet<String> =
        api.log().iter().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(verbs.into_iter().collect::<Vec<_>>(), ["GET", "POST", "PUT"], "the rights that are needed");
    assert!(
        api.log().iter().filter(|line| line.starts_with("GET")).all(|line| line.ends_with("/hoft-operator")),
        "no list"
    );
}

#[tokio::test]
async fn a_holder_that_died_is_followed_and_one_that_lives_is_not() {
    let api = FakeApi::default();
    let mut first = start(&api, "first");
    first.leading.wait_for(|leading| *leading).await.unwrap();
    let mut second = start(&api, "second");
    let early = timeout(quick().duration * 2, second.leading.wait_for(|leading| *leading)).await.map(|_| ());
    assert!(early.is_err(), "the first renews");
    first.task.abort();
    second.leading.wait_for(|leading| *leading).await.unwrap();
    assert_eq!(holder(&api).as_deref(), Some("second"));
}

#[tokio::test]
async fn an_api_server_that_is_away_costs_the_lease_but_not_the_elector() {
    for failure in [Failure::Status(500), Failure::Silence] {
        let api = FakeApi::default();
        let mut only = start(&api, "only");
        only.leading.wait_for(|leading| *leading).await.unwrap();
        api.fail(Some(failure));
        only.leading.wait_for(|leading| !*leading).await.unwrap();
        assert!(!only.task.is_finished(), "{failure:?}");
        api.fail(None);
        only.leading.wait_for(|leading| *leading).await.unwrap();
        assert_eq!(api.object(PATH).unwrap()["spec"]["leaseTransitions"], 0, "it never changed hands");
    }
}

#[tokio::test]
async fn who_is_written_over_stops_leading() {
    let api = FakeApi::default();
    let mut first = start(&api, "first");
    first.leading.wait_for(|leading| *leading).await.unwrap();
    let mut lease = api.object(PATH).unwrap();
    lease["spec"]["holderIdentity"] = json!("usurper");
    lease["spec"]["leaseDurationSeconds"] = json!(1000);
    api.set_object(PATH, Some(lease));
    first.leading.wait_for(|leading| !*leading).await.unwrap();
    first.resign.cancel();
    first.task.await.unwrap();
    assert_eq!(holder(&api).as_deref(), Some("usurper"), "only the holder gives a Lease back");
}

#[tokio::test]
async fn of_two_who_saw_the_same_lease_one_gets_it() {
    let api = FakeApi::default();
    api.set_object(PATH, Some(json!({"metadata": {"name": "hoft-operator"}, "spec": {}})));
    let (mut one, mut two) = (elector(&api, "one"), elector(&api, "two"));
    let (first, second) = tokio::join!(one.attempt(), two.attempt());
    let winners = [&first, &second].iter().filter(|outcome| matches!(outcome, Ok(true))).count();
    assert_eq!(winners, 1, "{first:?} {second:?}");
}

#[tokio::test]
async fn work_ends_with_the_lease_and_begins_again_with_it() {
    let (sender, leading) = watch::channel(false);
    let stop = CancellationToken::new();
    let (said, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let supervisor = tokio::spawn(while_leading(leading, stop.clone(), GRACE, move |ending| {
        let said = said.clone();
        async move {
            said.send("begun")?;
            ending.cancelled().await;
            said.send("ended")?;
            Ok(())
        }
    }));
    for _ in 0..2 {
        sender.send_replace(true);
        assert_eq!(hears.recv().await, Some("begun"));
        sender.send_replace(false);
        assert_eq!(hears.recv().await, Some("ended"));
    }
    sender.send_replace(true);
    assert_eq!(hears.recv().await, Some("begun"));
    stop.cancel();
    assert_eq!(hears.recv().await, Some("ended"));
    supervisor.await.unwrap();
}

#[tokio::test]
async fn work_that_does_not_end_is_aborted() {
    let (sender, leading) = watch::channel(true);
    let stop = CancellationToken::new();
    let (alive, gone) = tokio::sync::oneshot::channel::<()>();
    let mut alive = Some(alive);
    let supervisor = tokio::spawn(while_leading(leading, stop.clone(), Duration::from_millis(10), move |_| {
        let alive = alive.take();
        async move {
            let _alive = alive;
            std::future::pending().await
        }
    }));
    tokio::task::yield_now().await;
    sender.send_replace(false);
    assert!(gone.await.is_err(), "dropped with its task");
    stop.cancel();
    supervisor.await.unwrap();
}
