//! Forgetting, over the bench.

use disk::log::{Fault, MemStorage};
use layer0_pipe::Verdict as FileVerdict;
use layer1_replication::Alarm;
use layer2_http::operation::OperationId;
use tokio_util::sync::CancellationToken;
use wire::StreamId;

use super::*;
use crate::driver::slot::FarCall;
use crate::driver::testbench::{Bench, DEFAULT, Far, LOSS_TIMEOUT, SEC, id, settings};

impl Bench {
    /// As if so much time had gone by in which others were heard.
    fn pass(&mut self, time: Duration) {
        self.driver.watch.heard(self.driver.host.now());
        self.driver.count_silence(Duration::ZERO);
        self.driver.count_silence(time);
    }

    fn pass_and_forget(&mut self, time: Duration) {
        self.pass(time);
        self.driver.watch.due = self.driver.host.now();
        self.driver.forget_gone().unwrap();
    }
}

#[test]
fn only_time_in_which_others_are_heard_counts() {
    let mut silence = Silence::default();
    assert!(silence.judged(Verdict::Wait, 7));
    silence.pass(SEC, true);
    assert_eq!(silence.total, Duration::ZERO, "it was heard since the last time");
    silence.pass(SEC, true);
    silence.pass(1_000 * SEC, false);
    assert_eq!(silence.total, SEC, "an outage makes nobody gone");
    assert!(!silence.judged(Verdict::Wait, 7) && !silence.judged(Verdict::Wait, 6), "the same files again");
    silence.pass(SEC, true);
    assert_eq!(silence.total, 2 * SEC);
    assert!(silence.judged(Verdict::Use, 3) && silence.judged(Verdict::Wait, 1));
    silence.pass(SEC, true);
    assert_eq!(silence.total, Duration::ZERO);
}

#[test]
fn who_goes_first() {
    let candidate =
        |n, silent: u32, standing| Candidate { endpoint: id(n), silent: SEC * silent, standing, busy: false };
    let table = [
        candidate(0, 1_300, Standing::Settled),
        candidate(1, 1_199, Standing::Settled),
        candidate(2, 9_999, Standing::Unsettled),
        candidate(3, 120, Standing::Stranger),
        candidate(4, 119, Standing::Stranger),
    ];
    assert_eq!(room(&table, LOSS_TIMEOUT, SEC), BTreeSet::from([id(0), id(2), id(3)]));
    assert_eq!(
        room(&table, LOSS_TIMEOUT, SEC * 10_000),
        BTreeSet::from([id(0), id(3)]),
        "its packets may still arrive"
    );
    let busy = Candidate { busy: true, ..table[0] };
    assert!(room(&[busy], LOSS_TIMEOUT, SEC).is_empty());
    assert_eq!(overdue(&[busy], SEC * 1_250, SEC), BTreeSet::from([id(0)]));
    assert_eq!(overdue(&table, SEC * 1_250, SEC * 10_000), BTreeSet::from([id(0)]));
    assert_eq!(overdue(&table, SEC * 1_250, SEC * 9_999), BTreeSet::from([id(0), id(2)]));
    let many: Vec<_> = (0..200).map(|n| candidate(n, 2_000 + n as u32, Standing::Settled)).collect();
    assert_eq!(room(&many, LOSS_TIMEOUT, SEC), (200 - ROOM_BATCH..200).map(id).collect(), "the longest-silent ones");
}

#[test]
fn the_newest_of_more_than_the_table_holds_is_served() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut settled = Far::new(id(0), 3, 1);
    bench.talk(&mut settled);
    assert!(bench.associated(&settled));
    let room = ENDPOINTS_PER_SIDE_MAX - bench.driver.slots.len();
    for n in 1..=room {
        let hello = Far::new(id(n), 3, 1).send();
        bench.driver.judge_packet(&hello[0].header, &hello[0].control).unwrap();
    }
    let mut newest = Far::new(id(5_000), 3, 1);
    let hello = newest.send();
    assert_eq!(bench.receive(&hello), [FileVerdict::Ignore], "nobody is gone yet");
    assert!(!bench.knows(&newest));
    bench.pass(LOSS_TIMEOUT);
    bench.talk(&mut newest);
    assert!(bench.associated(&newest) && newest.associated());
    assert!(bench.associated(&settled), "strangers go first");
    assert!(bench.driver.slots.contains_key(&DEFAULT));
    assert_eq!(bench.driver.slots.len(), ENDPOINTS_PER_SIDE_MAX - ROOM_BATCH + 1);
}

#[test]
fn a_forgotten_endpoint_is_gone_from_log_and_folders_and_a_restart_agrees() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut pod = Far::new(id(0), 3, 1);
    bench.talk(&mut pod);
    let (before, recipient) = (bench.driver.life.clone(), pod.id);
    // The time of their talk counts as well.
    bench.pass_and_forget(settings().forget_after - 60 * SEC);
    assert!(bench.knows(&pod));
    bench.pass_and_forget(settings().forget_after);
    assert!(!bench.knows(&pod));
    assert!(bench.driver.slots.contains_key(&DEFAULT), "the default peer was as silent");
    bench.driver.settle().unwrap();
    let jobs: Vec<_> = bench.outbox.try_iter().collect();
    assert!(jobs.iter().any(|job| matches!(job, OutboxJob::Forget(of) if *of == recipient)));
    assert!(bench.inbox.try_iter().any(|command| matches!(command, InboxCommand::Forget(of) if of == recipient)));
    let life = bench.driver.life.clone();
    assert_eq!(life.incarnation, before.incarnation);
    assert_ne!(life.nonce_secret, before.nonce_secret);
    assert!(life.first_pn > before.first_pn);
    drop(bench);
    let bench = Bench::start(&storage);
    assert_eq!(bench.driver.life, life);
    assert_eq!(bench.driver.slots.keys().collect::<Vec<_>>(), [&DEFAULT]);
}

#[test]
fn whose_call_is_under_way_makes_no_room_and_is_forgotten_in_time() {
    let mut bench = Bench::start(&MemStorage::new());
    let mut pod = Far::new(id(0), 3, 1);
    bench.talk(&mut pod);
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
    let request = StreamId::request(1);
    bench.driver.slots.get_mut(&pod.id).unwrap().far_calls.insert(request, call);
    bench.pass(settings().loss_timeout * GONE_AFTER);
    let (loss_timeout, mpl) = (settings().loss_timeout, settings().replication.mpl);
    assert!(room(&bench.driver.candidates(), loss_timeout, mpl).is_empty(), "it may only be slow");
    assert!(bench.associated(&pod));
    bench.pass_and_forget(settings().forget_after);
    assert!(!bench.knows(&pod), "its caller is gone");
}

#[test]
fn a_crash_while_forgetting_leaves_all_or_nothing() {
    let mut outcomes = [0, 0];
    for call in 0.. {
        let storage = MemStorage::new();
        let mut bench = Bench::start(&storage);
        let mut pod = Far::new(id(0), 3, 1);
        bench.talk(&mut pod);
        let before = bench.driver.life.clone();
        bench.pass(settings().forget_after);
        bench.driver.watch.due = bench.driver.host.now();
        storage.fail_at(storage.calls() + call, Fault::Stop);
        let done = bench.driver.forget_gone().is_ok() && bench.driver.settle().is_ok();
        drop(bench);
        storage.restart();
        let mut bench = Bench::start(&storage);
        let forgotten = !bench.knows(&pod);
        assert_eq!(forgotten, bench.driver.life.nonce_secret != before.nonce_secret, "call {call}");
        assert_eq!(forgotten, bench.driver.life.first_pn > before.first_pn, "call {call}");
        assert_eq!(bench.associated(&pod), !forgotten);
        outcomes[usize::from(forgotten)] += 1;
        if done {
            assert!(forgotten);
            break;
        }
        bench.driver.settle().unwrap();
    }
    assert!(outcomes[0] > 1 && outcomes[1] > 1, "{outcomes:?}");
}

#[test]
fn without_space_for_a_checkpoint_nobody_is_forgotten() {
    for call in 0..20 {
        let storage = MemStorage::new();
        let mut bench = Bench::start(&storage);
        let mut pod = Far::new(id(0), 3, 1);
        bench.talk(&mut pod);
        bench.pass(settings().forget_after);
        bench.driver.watch.due = bench.driver.host.now();
        let before = bench.driver.life.clone();
        storage.fail_at(storage.calls() + call, Fault::Full);
        // Some calls do not fail for want of space; their failure ends the engine.
        let went_on = bench.driver.forget_gone().is_ok();
        if went_on && bench.driver.journal.failure().is_some() {
            assert!(bench.associated(&pod));
            assert_eq!(bench.driver.life, before);
            bench.pass_and_forget(settings().forget_after);
            assert!(bench.knows(&pod), "it is too early to try again");
            bench.driver.journal.put_off_is_over();
            bench.pass_and_forget(settings().forget_after);
            assert!(!bench.knows(&pod));
            return;
        }
    }
    panic!("no call found the disk full");
}

#[test]
fn old_packets_of_a_forgotten_endpoint_open_no_association() {
    let storage = MemStorage::new();
    let mut bench = Bench::start(&storage);
    let mut pod = Far::new(id(0), 3, 1);
    pod.call();
    let old = bench.talk(&mut pod);
    assert!(old.iter().any(|file| !file.records.is_empty() && file.control.echo.is_some()));
    assert!(bench.driver.slots[&pod.id].peer.status(bench.driver.host.now()).granted_log.1 > 0, "it was executed");
    let used_below = numbers_used_below(&bench.driver.slots[&pod.id]);
    bench.pass_and_forget(settings().forget_after.max(settings().replication.mpl));
    assert!(!bench.knows(&pod));
    for restart in [false, true] {
        if restart {
            drop(bench);
            bench = Bench::start(&storage);
        }
        // All of it, twice, in both orders: also behind what its own first contact may have taught.
        for file in old.iter().chain(old.iter().rev()).chain(&old) {
            assert_ne!(bench.receive(std::slice::from_ref(file)), [FileVerdict::Use]);
            assert!(!bench.associated(&pod));
        }
        let slot = &bench.driver.slots[&pod.id];
        assert_eq!(slot.peer.status(bench.driver.host.now()).granted_log.1, 0, "nothing was taken");
        assert_eq!(slot.spool.streams().count() + slot.far_calls.len(), 0);
        let answers: Vec<_> = bench.send().into_iter().filter(|file| file.header.recipient == pod.id).collect();
        assert!(answers.iter().all(|file| file.header.pn.get() >= used_below), "a number is used once");
        if restart {
            // The living one hears that it was forgotten: it does not echo.
            pod.receive(&answers);
            assert_eq!(pod.peer.status(pod.now).halted, Some(Alarm::PeerForgot));
            assert!(pod.send().iter().all(|file| file.control.echo.is_none()));
        }
    }
}
