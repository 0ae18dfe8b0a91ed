//! A driver without threads over a log in memory, with a clock in the hands of the test.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use disk::log::{Log, LogOptions, MemStorage};
use layer1_replication::Config as ReplicationConfig;
use layer1_replication::membership::Standing;
use layer2_http::operation::OperationId;
use layer2_http::policy::Policy;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;
use wire::StreamId;
use wire::control::{EndpointName, Presence};
use wire::header::HEADER_LEN;

use super::*;
use crate::driver::slot::FarCall;
use crate::driver::{Event, Host, Outlets, Settings};
use crate::exchange::DriverHandle;
use crate::pipe::OutboxEvent;
use crate::status::EngineFacts;

const SEC: Duration = Duration::from_secs(1);
const LOSS_TIMEOUT: Duration = Duration::from_secs(60);

fn north() -> SideId {
    wire::side_id("", "north", "south")
}

fn south() -> SideId {
    wire::side_id("", "south", "north")
}

fn gateway(ordinal: u32) -> EndpointName {
    EndpointName { kind: "gateway".to_owned(), name: ordinal.to_string() }
}

/// A clock that stands still, and randomness that is none.
#[derive(Default)]
struct Clock(AtomicU64);

impl Host for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), getrandom::Error> {
        buffer.fill(7);
        Ok(())
    }
}

struct Bench {
    driver: Driver,
    clock: Arc<Clock>,
    outbox: Receiver<OutboxJob>,
    _events: Receiver<Event>,
}

impl Bench {
    fn start(storage: &MemStorage, weight: Option<u64>) -> Self {
        let me = gateway(0).id(&north());
        let settings = Settings {
            me,
            facts: EngineFacts::of_test(),
            my_name: gateway(0),
            default_peer: gateway(0).id(&south()),
            peer_name: "south".to_owned(),
            membership: Some(MembershipSettings { my_side: north(), remote_side: south(), weight }),
            replication: ReplicationConfig { heartbeat: Some(10 * SEC), ..ReplicationConfig::default() },
            result_ttl: 3_600 * SEC,
            results_bytes_max: 1 << 20,
            loss_timeout: LOSS_TIMEOUT,
            gather_max: Duration::ZERO,
            forget_after: 86_400 * SEC,
            inbound: Policy::default(),
            pseudonym: "hoft-north".to_owned(),
        };
        let (log, recovered) = Log::open_on(Arc::new(storage.clone()), *me.as_bytes(), LogOptions::default()).unwrap();
        let ((outbox_jobs, outbox), (inbox, _), (events, _events)) = (channel(), channel(), channel());
        let handle = DriverHandle::new(events, log.reader());
        let outlets = Outlets { egress: unbounded_channel().0, outbox: outbox_jobs, inbox, handle };
        let clock = Arc::new(Clock::default());
        let mut driver = Driver::recover(settings, log, recovered, outlets, clock.clone()).unwrap();
        driver.settle().unwrap();
        Self { driver, clock, outbox, _events }
    }

    /// So much time goes by.
    fn pass(&mut self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
        let _ = self.driver.turn(None, &mut || None).unwrap();
    }

    /// Announcements that were written, and the numbers of those that were removed.
    fn written(&mut self) -> (Vec<PacketPlan>, Vec<u64>) {
        let (mut plans, mut removed) = (Vec::new(), Vec::new());
        for job in self.jobs() {
            match job {
                OutboxJob::Publish(job) if job.plan.recipient == south().as_address() => plans.push(job.plan),
                OutboxJob::Remove { recipient, pn, .. } if recipient == south().as_address() => removed.push(pn.get()),
                OutboxJob::Publish(_) | OutboxJob::Remove { .. } | OutboxJob::Sweep(_) | OutboxJob::Forget(_) => {}
            }
        }
        (plans, removed)
    }

    /// What the outbox was asked to do; packets are published.
    pub(in crate::driver) fn jobs(&mut self) -> Vec<OutboxJob> {
        let mut jobs = Vec::new();
        while let Ok(job) = self.outbox.try_recv() {
            if let OutboxJob::Publish(job) = &job {
                let (recipient, pn) = (job.plan.recipient, job.plan.pn);
                let published = Event::Outbox(OutboxEvent::Published { recipient, pn, bytes: 5_000 });
                let _ = self.driver.turn(Some(published), &mut || None).unwrap();
            }
            jobs.push(job);
        }
        jobs
    }

    /// The inbox shows a presence packet of this gateway of the far side.
    fn hear(&mut self, ordinal: u32, pn: u64, role: u64) -> FileVerdict {
        let name = gateway(ordinal);
        let header = header(name.id(&south()), north().as_address(), pn);
        let presence = Presence { role, weight: 1, valid_ms: 30_000, ticket: [1; 16] };
        let control = Control { endpoint: Some(name), presence: Some(presence), ..Control::default() };
        self.driver.judge_packet(&header, &control).unwrap()
    }

    fn chosen(&self) -> BTreeSet<EndpointId> {
        (0..40).map(|route| self.driver.choose_server(&call(route, &format!("route-{route}")))).collect()
    }
}

/// A call by a route.
fn call(n: u8, route: &str) -> BeginCall {
    BeginCall {
        operation: OperationId::v7(1, &[n; 10]),
        retain: true,
        head: Bytes::from_static(b"head"),
        method: "GET".to_owned(),
        target: "http://a.example/".to_owned(),
        route: Some(route.to_owned()),
        deadline_ms: None,
        asked: Default::default(),
    }
}

fn header(sender: EndpointId, recipient: EndpointId, pn: u64) -> Header {
    Header {
        minor: 0,
        suite_number: 1,
        flags: 0,
        header_len: HEADER_LEN as u32,
        control_len: 96,
        frame_count: 0,
        frames_at: 384,
        sender,
        recipient,
        sender_incarnation: Incarnation { generation: 0, random: [9; 8] },
        recipient_incarnation: Incarnation::UNKNOWN,
        pn: PacketNumber::new(pn).unwrap(),
        sent_at_ms: 0,
        total_len: 400,
        signing_key: [0; 8],
        kem_key: [0; 8],
        salt: [7; 32],
        commitment: [0; 32],
    }
}

const EXECUTES: u64 = Presence::ROLE_EXECUTES;
const DRAINS: u64 = Presence::ROLE_EXECUTES | Presence::ROLE_DRAINING;

#[test]
fn calls_go_to_the_servers_that_are_there() {
    let mut bench = Bench::start(&MemStorage::new(), None);
    let [zero, one, two] = [0, 1, 2].map(|ordinal| gateway(ordinal).id(&south()));
    assert_eq!(bench.chosen(), BTreeSet::from([zero]), "before any word it is the default peer");
    assert_eq!(bench.hear(1, 5, EXECUTES), FileVerdict::Use);
    assert_eq!(bench.chosen(), BTreeSet::from([one]));
    assert_eq!(bench.hear(2, 5, EXECUTES), FileVerdict::Use);
    assert_eq!(bench.chosen(), BTreeSet::from([one, two]));
    assert_eq!(bench.hear(2, 5, EXECUTES), FileVerdict::Ignore, "a replay");
    assert_eq!(bench.hear(1, 6, DRAINS), FileVerdict::Use);
    assert_eq!(bench.chosen(), BTreeSet::from([two]));
    bench.pass(31 * SEC);
    assert_eq!(bench.hear(1, 7, EXECUTES), FileVerdict::Use);
    assert_eq!(bench.chosen(), BTreeSet::from([one]), "the other one is silent");
    assert!(!bench.driver.slots.contains_key(&one), "an association is opened for the first call");
    let views = bench.driver.server_views();
    assert_eq!(
        views.iter().map(|view| view.standing).collect::<BTreeSet<_>>(),
        BTreeSet::from(["candidate", "silent"])
    );
}

#[test]
fn a_route_or_an_authority_is_a_key() {
    let mut bench = Bench::start(&MemStorage::new(), None);
    for ordinal in 0..5 {
        bench.hear(ordinal, 1, EXECUTES);
    }
    let to =
        |target: &str| bench.driver.choose_server(&BeginCall { route: None, target: target.to_owned(), ..call(0, "") });
    assert_eq!(authority("https://erp.example:8443/v1?x#y"), "erp.example:8443");
    assert_eq!(authority("http://[::1]:8"), "[::1]:8");
    assert_eq!(to("http://a.example/one"), to("http://a.example/two?x=1"));
    let hosts: BTreeSet<_> = (0..40).map(|host| to(&format!("http://{host}.example/"))).collect();
    assert_eq!(hosts.len(), 5);
}

#[test]
fn a_halted_pair_gets_no_new_calls_while_another_server_is_there() {
    let mut bench = Bench::start(&MemStorage::new(), None);
    let [zero, one] = [0, 1].map(|ordinal| gateway(ordinal).id(&south()));
    bench.hear(0, 1, EXECUTES);
    bench.hear(1, 1, EXECUTES);
    bench.driver.slots.get_mut(&zero).unwrap().alarm = Some("halted".to_owned());
    assert_eq!(bench.chosen(), BTreeSet::from([one]));
    bench.driver.open_slot(one).alarm = Some("halted".to_owned());
    assert_eq!(bench.chosen(), BTreeSet::from([zero]), "the default peer says what is wrong");
}

#[test]
fn a_server_that_announces_itself_is_not_forgotten() {
    let mut bench = Bench::start(&MemStorage::new(), None);
    let one = gateway(1).id(&south());
    bench.driver.open_slot(one);
    let is_listed = |bench: &Bench| {
        let now = bench.driver.host.now();
        bench.driver.membership.as_ref().unwrap().lists(now, &one)
    };
    assert!(!is_listed(&bench));
    bench.hear(1, 1, DRAINS);
    assert!(is_listed(&bench));
    bench.pass(31 * SEC);
    assert!(!is_listed(&bench));
    bench.pass(86_400 * SEC);
    assert!(bench.driver.server_views().is_empty(), "what is silent for so long is forgotten");
}

#[test]
fn announcements_have_numbers_of_their_own_that_no_restart_repeats() {
    let storage = MemStorage::new();
    let mut newest = 0;
    for (start, weight) in [Some(3), Some(3), None, Some(4)].into_iter().enumerate() {
        let mut bench = Bench::start(&storage, weight);
        let mut numbers = Vec::new();
        let mut gone = Vec::new();
        for _ in 0..4 {
            let (plans, removed) = bench.written();
            gone.extend(removed);
            for plan in plans {
                assert_eq!((plan.recipient_incarnation, plan.records.len()), (Incarnation::UNKNOWN, 0));
                assert!(plan.control.endpoint.is_some() && plan.control.versions.is_some());
                let presence = plan.control.presence.unwrap();
                assert_eq!((presence.role, Some(presence.weight), presence.valid_ms), (EXECUTES, weight, 30_000));
                assert_eq!(
                    Control::decode(&plan.control.encode(), true).unwrap(),
                    plan.control,
                    "nothing else is in it"
                );
                numbers.push(plan.pn.get());
            }
            bench.pass(10 * SEC);
        }
        assert_eq!(numbers.len(), if weight.is_some() { 4 } else { 0 });
        assert_eq!(gone, numbers[..numbers.len().saturating_sub(2)], "the two newest stay");
        assert!(numbers.iter().all(|number| *number > newest), "start {start}: {numbers:?} after {newest}");
        newest = numbers.last().copied().unwrap_or(newest);
        if start > 0 {
            bench.driver.checkpoint().unwrap();
        }
    }
}

#[test]
fn draining_is_said_before_it_is_answered_and_what_is_under_way_may_end() {
    let mut bench = Bench::start(&MemStorage::new(), Some(1));
    assert_eq!(bench.written().0.len(), 1);
    let caller = gateway(7).id(&south());
    let call = FarCall {
        operation: OperationId::v7(1, &[1; 10]),
        replayable: false,
        attempts_before: 0,
        asked: crate::driver::far_time::Asked::default(),
        cancelled: CancellationToken::new(),
        dispatched: true,
        read_to: 0,
        request_read: true,
        response_ended: false,
    };
    bench.driver.open_slot(caller).far_calls.insert(StreamId::request(1), call);
    let (reply, mut answer) = oneshot::channel();
    let _ = bench.driver.turn(Some(Event::Drain(reply)), &mut || None).unwrap();
    assert!(answer.try_recv().is_err());
    let said = bench.written().0;
    assert_eq!(said.iter().map(|plan| plan.control.presence.unwrap().role).collect::<Vec<_>>(), [DRAINS]);
    assert!(answer.try_recv().is_err(), "a call is under way");
    bench.driver.slots.get_mut(&caller).unwrap().far_calls.clear();
    bench.pass(SEC);
    assert_eq!(answer.try_recv(), Ok(()));
}

#[test]
fn calls_for_one_server_do_not_wait_for_the_room_of_another() {
    let mut bench = Bench::start(&MemStorage::new(), None);
    bench.hear(0, 1, EXECUTES);
    bench.hear(1, 1, EXECUTES);
    let mut replies = Vec::new();
    // One route has most of the calls.
    let route = |n: u8| if n < 50 { "busy".to_owned() } else { format!("route-{n}") };
    for n in 0..60 {
        let (reply, answer) = oneshot::channel();
        bench.driver.begin(call(n, &route(n)), reply);
        replies.push(answer);
    }
    bench.driver.settle().unwrap();
    let begun = replies.iter_mut().filter_map(|reply| reply.try_recv().ok()).filter(Result::is_ok).count();
    let server = |bench: &Bench, n: u8| bench.driver.choose_server(&call(n, &route(n)));
    let busy = server(&bench, 0);
    let others = (50..60).filter(|n| server(&bench, *n) != busy).count();
    // 16 exchanges are allowed before an association says more.
    assert!(others > 0);
    assert_eq!(begun, 16 + others);
    assert_eq!(bench.driver.waiting_begins.len(), 60 - begun);
    // Once the busy one is silent, what waits for it goes to the other one.
    bench.pass(20 * SEC);
    bench.hear(if busy == gateway(0).id(&south()) { 1 } else { 0 }, 2, EXECUTES);
    bench.pass(20 * SEC);
    assert_eq!(bench.driver.waiting_begins.len(), 60 - 32);
}

#[test]
fn a_candidate_is_asked_while_the_live_one_gets_its_calls() {
    let mut bench = Bench::start(&MemStorage::new(), None);
    let [zero, one] = [0, 1].map(|ordinal| gateway(ordinal).id(&south()));
    bench.hear(0, 1, EXECUTES);
    bench.hear(1, 1, EXECUTES);
    let now = bench.driver.host.now();
    let heard = Incarnation { generation: 0, random: [9; 8] };
    bench.driver.membership.as_mut().unwrap().members.heard(now, zero, heard, 1);
    assert_eq!(bench.chosen(), BTreeSet::from([zero]));
    for n in 0..10 {
        bench.driver.begin(call(n, &format!("route-{n}")), oneshot::channel().0);
    }
    bench.driver.settle().unwrap();
    assert!(bench.driver.slots.contains_key(&one), "an association with it is being opened");
    assert!(bench.driver.slots[&one].near_calls.is_empty());
    bench.pass(20 * SEC);
    bench.hear(1, 2, EXECUTES);
    bench.pass(LOSS_TIMEOUT - 20 * SEC);
    bench.hear(1, 3, EXECUTES);
    let standing =
        |bench: &Bench| bench.driver.membership.as_ref().unwrap().members.standing(bench.driver.host.now(), &one);
    assert_eq!(standing(&bench), Some(Standing::Silent), "it did not answer");
}
