//! The end of an association, over the bench.

use disk::log::{Fault, MemStorage};
use layer1_replication::Config as ReplicationConfig;
use layer2_http::body::BodyCheck;
use layer2_http::head::RequestHead;
use wire::record::kind;

use super::*;
use crate::command::{Command, Outgoing, ReadReply};
use crate::driver::DriverError;
use crate::driver::testbench::{Bench, Caller, DEFAULT, Far, File, operation};

/// A life of the far side that lost what the ones before knew.
fn far(life: u8) -> Far {
    Far::with_life(DEFAULT, life, life, 1)
}

/// A bench that has an association with the far side.
fn associated(storage: &MemStorage) -> (Bench, Far) {
    let mut bench = Bench::start(storage);
    let mut first = far(1);
    bench.talk(&mut first);
    assert!(bench.associated(&first));
    (bench, first)
}

/// The numbers of the operations that the far side was asked for, whole, each once; and what they hold.
fn asked(far: &Far) -> Vec<u8> {
    let mut numbers = Vec::new();
    for asked in far.asked() {
        let number = (1..=9).find(|n| operation(*n) == asked.operation).unwrap();
        assert_eq!(asked.content, Some(vec![number; 100]), "operation {number}");
        assert!(!numbers.contains(&number), "operation {number} goes by two streams");
        numbers.push(number);
    }
    numbers.sort_unstable();
    numbers
}

fn answer_all(far: &mut Far) {
    for asked in far.asked() {
        far.answer(asked.stream, format!("{} by life {:?}", asked.operation, far.life.random[0]).as_bytes());
    }
}

fn answer_of(n: u8, life: u8) -> Vec<u8> {
    format!("{} by life {life:?}", operation(n)).into_bytes()
}

/// A GET, a plain POST, a POST with a key, all sent; then, when the far side is about to be met in its second life, a POST that
/// never was. Gives what the second life says next.
fn calls(bench: &mut Bench, first: &mut Far, second: &mut Far) -> ([Caller; 4], Vec<File>) {
    let get = bench.call(1, "GET", None, false);
    let post = bench.call(2, "POST", None, false);
    let keyed = bench.call(3, "POST", Some("k"), true);
    bench.talk(first);
    assert_eq!(asked(first), [1, 2, 3]);
    let opening = bench.meet(second);
    // A packet for somebody else is being built: what is appended now does not leave.
    bench.driver.publishing = true;
    ([get, post, keyed, bench.call(4, "POST", None, false)], opening)
}

/// The second life of the far side shows that it is alive.
fn open(bench: &mut Bench, opening: &[File]) -> Result<(), DriverError> {
    bench.try_receive(opening)?;
    bench.driver.publishing = false;
    Ok(())
}

#[test]
fn what_may_be_made_again_is_and_what_was_never_sent() {
    let (mut bench, mut first) = associated(&MemStorage::new());
    let mut second = far(2);
    let ([get, post, keyed, unsent], opening) = calls(&mut bench, &mut first, &mut second);
    let mut waiting = bench.ask(get.response, 0, false);
    let mut unknown = bench.ask(post.response, 0, false);
    open(&mut bench, &opening).unwrap();
    bench.talk(&mut second);
    assert_eq!(asked(&second), [1, 3, 4]);
    assert!(matches!(unknown.try_recv(), Ok(ReadReply::Gone)));
    let view = bench.view(post.operation);
    assert_eq!((view.state, view.executed), (State::Unknown, Some(Executed::Maybe)));
    assert!(waiting.try_recv().is_err(), "it goes on waiting");
    answer_all(&mut second);
    bench.talk(&mut second);
    let reply = waiting.try_recv().unwrap();
    assert_eq!(bench.content(get.response, reply), answer_of(1, 2));
    assert_eq!(bench.response(unsent.response), Some(answer_of(4, 2)));
    assert_eq!(bench.result(keyed.operation), Some(answer_of(3, 2)));
    // The readers go, and with them every trace of the moves.
    drop((get, post, keyed, unsent));
    bench.take_commands();
    bench.talk(&mut second);
    let slot = &bench.driver.slots[&DEFAULT];
    assert!(slot.near_calls.is_empty() && slot.writing.is_empty() && bench.driver.lanes.is_empty());
}

#[test]
fn a_call_follows_the_far_side_through_several_lives() {
    let (mut bench, mut first) = associated(&MemStorage::new());
    let get = bench.call(1, "GET", None, false);
    bench.talk(&mut first);
    let mut waiting = bench.ask(get.response, 0, false);
    for life in 2..6 {
        let mut next = far(life);
        bench.talk(&mut next);
        assert_eq!(asked(&next), [1]);
        if life == 5 {
            answer_all(&mut next);
            bench.talk(&mut next);
        }
    }
    let reply = waiting.try_recv().unwrap();
    assert_eq!(bench.content(get.response, reply), answer_of(1, 5));
}

#[test]
fn an_acknowledged_record_is_not_taken_for_one_that_was_never_sent() {
    let (mut bench, mut first) = associated(&MemStorage::new());
    let post = bench.call(2, "POST", None, false);
    let files = bench.send();
    first.receive(&files);
    // The acknowledgement and the first packet of the next life are read in one turn.
    let acks = first.send();
    for file in &acks {
        let now = bench.driver.host.now();
        let slot = bench.driver.slots.get_mut(&DEFAULT).unwrap();
        slot.peer.handle_packet(now, &file.header, &file.control);
    }
    bench.talk(&mut far(2));
    assert_eq!(bench.view(post.operation).state, State::Unknown);
}

#[test]
fn a_call_that_moved_is_not_touched_by_an_execution_of_the_same_number() {
    let (mut bench, mut first) = associated(&MemStorage::new());
    let mut second = far(2);
    let ([get, ..], opening) = calls(&mut bench, &mut first, &mut second);
    open(&mut bench, &opening).unwrap();
    let present = bench.driver.present(get.response);
    assert_ne!(present, get.response);
    // Whoever answers a call of the far side writes a stream that may have the number of one that is read here.
    bench.driver.handle_command(Command::Abort { lane: get.response, code: 1 });
    assert_eq!(bench.driver.present(get.response), present, "the caller is still led to where its call is");
    bench.talk(&mut second);
    answer_all(&mut second);
    bench.talk(&mut second);
    let ReadReply::Records(records) = bench.ask(get.response, 0, false).try_recv().unwrap() else {
        panic!("the response of the call that moved is not there")
    };
    assert!(!records.is_empty());
}

#[test]
fn an_upload_that_may_be_made_again_goes_on_where_its_caller_is() {
    let (mut bench, mut first) = associated(&MemStorage::new());
    let (put, post) = (bench.begin(1, "PUT", None, false), bench.begin(2, "POST", None, false));
    let mut bodies = [put.body(), post.body()];
    bench.write(&put, &[1; 40], &mut bodies[0]);
    bench.write(&post, &[2; 40], &mut bodies[1]);
    bench.talk(&mut first);
    let mut second = far(2);
    bench.talk(&mut second);
    assert_eq!(bench.view(post.operation).state, State::Unknown);
    bench.write(&put, &[1; 60], &mut bodies[0]);
    bench.append(put.request, Outgoing::fin(&bodies[0]));
    bench.talk(&mut second);
    assert_eq!(asked(&second), [1]);
    assert!(!bench.driver.lanes.contains_key(&put.request), "nobody writes any more");
}

#[test]
fn a_whole_response_stays_and_a_half_one_is_never_delivered() {
    let storage = MemStorage::new();
    let (mut bench, mut first) = associated(&storage);
    let kept = bench.call(1, "POST", None, true);
    let reading = bench.call(2, "POST", None, false);
    let half_get = bench.call(3, "GET", None, false);
    let half_post = bench.call(4, "POST", None, true);
    let given = bench.call(5, "GET", None, false);
    bench.talk(&mut first);
    for asked in first.asked() {
        match (1..=5).find(|n| operation(*n) == asked.operation).unwrap() {
            1 | 2 => first.answer(asked.stream, format!("{} by life 1", asked.operation).as_bytes()),
            _ => first.begin_answer(asked.stream, 200),
        }
    }
    bench.talk(&mut first);
    assert!(matches!(bench.ask(given.response, 0, false).try_recv(), Ok(ReadReply::Records(_))));
    let (mut second, mut third) = (far(2), far(3));
    bench.talk(&mut second);
    assert_eq!(asked(&second), [3], "it is asked for again; of 5 its caller had the head");
    for (call, state) in [(&half_post, State::Failed), (&given, State::Failed)] {
        let view = bench.view(call.operation);
        assert_eq!((view.state, view.problem.as_deref()), (state, Some("response-incomplete")));
    }
    assert_eq!(bench.response(reading.response), Some(answer_of(2, 1)));
    // The numbers of its stream are used again.
    answer_all(&mut second);
    bench.talk(&mut second);
    assert_eq!(bench.result(kept.operation), Some(answer_of(1, 1)));
    assert_eq!(bench.response(half_get.response), Some(answer_of(3, 2)));
    bench.talk(&mut third);
    assert_eq!(bench.result(kept.operation), Some(answer_of(1, 1)));
    // Over restarts, from the log and from a checkpoint.
    for _ in 0..3 {
        drop(bench);
        bench = Bench::start(&storage);
        assert_eq!(bench.result(kept.operation), Some(answer_of(1, 1)));
        assert_eq!(bench.view(kept.operation).state, State::Done);
        bench.driver.checkpoint().unwrap();
    }
    bench.driver.drop_result(kept.operation);
    bench.driver.checkpoint().unwrap();
    drop(bench);
    assert_eq!(Bench::start(&storage).result(kept.operation), None);
}

/// How the far side refuses a request: by an answer, or by a reset alone.
fn refuse(far: &mut Far, request: StreamId, answers: bool) {
    if !answers {
        far.peer.reset_stream(far.now, request.response_of(), code::REFUSED);
        return;
    }
    far.begin_refusal(request);
    far.append(request.response_of(), kind::FIN, Outgoing::fin(&BodyCheck::new()).payload);
}

#[test]
fn a_call_that_was_sent_before_is_not_said_to_be_unexecuted_because_it_is_refused_now() {
    for answers in [true, false] {
        for restart in [false, true] {
            let storage = MemStorage::new();
            let (mut bench, mut first) = associated(&storage);
            let mut second = far(2);
            let (callers, opening) = calls(&mut bench, &mut first, &mut second);
            open(&mut bench, &opening).unwrap();
            bench.talk(&mut second);
            let asked = second.asked();
            let attempts = asked.iter().map(|asked| {
                let (_, head) = &second.received[&asked.stream][&0];
                (asked.operation, RequestHead::decode(head).unwrap().envelope.attempt)
            });
            let expected = [(1, Some(2)), (3, Some(2)), (4, None)].map(|(n, attempt)| (operation(n), attempt));
            assert_eq!(attempts.collect::<Vec<_>>(), expected);
            if restart {
                drop((callers, bench));
                bench = Bench::start(&storage);
            }
            for asked in asked {
                refuse(&mut second, asked.stream, answers);
            }
            bench.talk(&mut second);
            let place = format!("answers {answers}, restart {restart}");
            for n in [1, 3] {
                let view = bench.view(operation(n));
                assert_eq!((view.state, view.executed), (State::Unknown, Some(Executed::Maybe)), "{place}: {n}");
            }
            let unsent = bench.view(operation(4));
            assert_eq!((unsent.state, unsent.executed), (State::Failed, Some(Executed::No)), "{place}");
        }
    }
}

/// Seed 2040 of the simulator: a refusal of which a part came was taken for the answer of an upstream.
#[test]
fn a_call_whose_refusal_was_cut_off_is_not_said_to_be_executed() {
    let (mut bench, mut first) = associated(&MemStorage::new());
    let (read, unread, reset) =
        (bench.call(1, "POST", None, false), bench.call(2, "POST", None, false), bench.call(3, "POST", None, false));
    bench.talk(&mut first);
    for asked in first.asked() {
        first.begin_refusal(asked.stream);
    }
    bench.talk(&mut first);
    assert_eq!(bench.view(read.operation).executed, Some(Executed::No));
    assert!(matches!(bench.ask(read.response, 0, false).try_recv(), Ok(ReadReply::Records(_))));
    let cut = first.asked().into_iter().find(|asked| asked.operation == reset.operation).unwrap();
    first.peer.reset_stream(first.now, cut.stream.response_of(), code::INCOMPLETE);
    bench.talk(&mut first);
    bench.talk(&mut far(2));
    for call in [&read, &unread, &reset] {
        let view = bench.view(call.operation);
        let end = (view.state, view.problem.as_deref(), view.executed);
        assert_eq!(end, (State::Failed, Some("response-incomplete"), Some(Executed::No)), "{}", call.operation);
    }
}

#[test]
fn every_life_of_the_far_side_learns_the_number_of_the_attempt() {
    let storage = MemStorage::new();
    let (mut bench, mut first) = associated(&storage);
    let put = bench.call(1, "PUT", None, true);
    bench.talk(&mut first);
    for life in 2..6_u8 {
        let mut next = far(life);
        bench.talk(&mut next);
        let asked = next.asked();
        let (_, head) = &next.received[&asked[0].stream][&0];
        assert_eq!(RequestHead::decode(head).unwrap().envelope.attempt, Some(u32::from(life)));
        bench = {
            drop(bench);
            Bench::start(&storage)
        };
    }
    drop(put);
}

#[test]
fn results_of_ended_associations_count_against_the_quota_and_are_dropped_for_it() {
    let storage = MemStorage::new();
    let (mut bench, mut first) = associated(&storage);
    let kept = bench.call(1, "GET", None, true);
    bench.talk(&mut first);
    answer_all(&mut first);
    bench.talk(&mut first);
    let bytes = bench.driver.results_bytes();
    assert!(bytes > 0);
    bench.talk(&mut far(2));
    assert_eq!(bench.driver.results_bytes(), bytes);
    drop(bench);
    let mut bench = Bench::start(&storage);
    assert_eq!(bench.driver.results_bytes(), bytes);
    bench.driver.drop_result(kept.operation);
    assert_eq!(bench.driver.results_bytes(), 0);
    bench.driver.settle().unwrap();
    bench.driver.rest().unwrap();
    drop(bench);
    assert_eq!(Bench::start(&storage).result(kept.operation), None, "it came back");
}

#[test]
fn a_request_beyond_the_first_credit_is_copied_as_the_far_side_gives_more() {
    let storage = MemStorage::new();
    for restart in [false, true] {
        let (mut bench, mut first) = associated(&storage);
        let n = if restart { 2 } else { 1 };
        let put = bench.begin(n, "PUT", None, true);
        let mut body = put.body();
        for _ in 0..30 {
            bench.write(&put, &[n; 100_000], &mut body);
            bench.talk(&mut first);
        }
        bench.append(put.request, Outgoing::fin(&body));
        bench.talk(&mut first);
        let mut second = far(2 + n);
        for _ in 0..2 {
            let files = second.send();
            bench.receive(&files);
            let files = bench.send();
            second.receive(&files);
            bench.host.pass(2 * crate::driver::testbench::SEC);
        }
        bench.driver.checkpoint().unwrap();
        if restart {
            drop(bench);
            bench = Bench::start(&storage);
        }
        for _ in 0..6 {
            bench.talk(&mut second);
        }
        let asked = second.asked();
        let mine = asked.iter().find(|asked| asked.operation == operation(n)).unwrap();
        assert_eq!(mine.content.as_ref().map(Vec::len), Some(3_000_000));
    }
}

#[test]
fn more_calls_than_the_far_side_first_allows_wait_for_their_turn() {
    let storage = MemStorage::new();
    let (mut bench, mut first) = associated(&storage);
    let mut callers: Vec<_> = (1..=38).map(|n| bench.call(n, "GET", None, false)).collect();
    callers.push(bench.begin(39, "PUT", None, true));
    callers.push(bench.call(40, "GET", None, false));
    bench.talk(&mut first);
    assert_eq!(first.asked().len(), 40);
    let few = ReplicationConfig { exchanges_max: 16, ..ReplicationConfig::default() };
    let mut second = Far::with_config(DEFAULT, 2, 2, 1, few);
    let opening = bench.meet(&mut second);
    open(&mut bench, &opening).unwrap();
    // Two that give up before their turn: their numbers are free for others.
    bench.driver.handle_command(Command::Abort { lane: callers[38].request, code: code::INCOMPLETE });
    bench.driver.handle_command(Command::ReaderDropped { lane: callers[39].response, ended: false });
    bench.driver.settle().unwrap();
    for caller in &callers[38..] {
        assert_eq!(bench.view(caller.operation).state, State::Cancelled);
    }
    let mut answered = BTreeSet::new();
    for round in 0..6 {
        if round == 4 {
            for n in [41, 42] {
                let _caller = bench.call(n, "GET", None, true);
            }
        }
        bench.talk(&mut second);
        for asked in second.asked() {
            if answered.insert(asked.operation) {
                second.answer(asked.stream, format!("{} by life 2", asked.operation).as_bytes());
                second.peer.close_stream(asked.stream);
            }
        }
        bench.talk(&mut second);
    }
    assert_eq!(answered, (1..=38).chain([41, 42]).map(operation).collect());
    for _ in 0..2 {
        assert_eq!(bench.result(operation(39)), None, "the answer to another call");
        assert_eq!(bench.result(operation(41)), Some(answer_of(41, 2)));
        drop(bench);
        bench = Bench::start(&storage);
    }
}

#[test]
fn acknowledged_requests_are_kept_within_bounds() {
    let mut settings = crate::driver::testbench::settings();
    settings.replication.send_log_bytes_max = 4_000_000;
    let mut bench = Bench::start_with(&MemStorage::new(), settings);
    let mut first = far(1);
    bench.talk(&mut first);
    for n in 1..=2 {
        let put = bench.begin(n, "PUT", None, true);
        let mut body = put.body();
        for _ in 0..7 {
            bench.write(&put, &[n; 100_000], &mut body);
        }
        bench.append(put.request, Outgoing::fin(&body));
        bench.talk(&mut first);
    }
    let slot = &bench.driver.slots[&DEFAULT];
    let kept: u64 = slot.near_calls.values().map(|call| call.request.released_bytes()).sum();
    assert!((700_000..=1_000_000).contains(&kept), "{kept}");
    let mut second = far(2);
    bench.talk(&mut second);
    assert_eq!(second.asked().len(), 1);
    assert_eq!(bench.view(operation(2)).state, State::Unknown);
}

/// What must hold once a second life of the far side was there, whatever happened in between.
fn assert_outcome(bench: &mut Bench, second: &mut Far, place: &str) {
    for _ in 0..2 {
        bench.talk(second);
    }
    let numbers = asked(second);
    // That it was never sent is known until a restart: charged counts as sent there.
    let unsent = bench.view(operation(4));
    assert!(numbers == [1, 3, 4] || numbers == [1, 3] && unsent.state == State::Unknown, "{place}: {numbers:?}");
    assert_eq!(bench.view(operation(2)).state, State::Unknown, "{place}");
    answer_all(second);
    bench.talk(second);
    for n in numbers {
        assert_eq!(bench.result(operation(n)), Some(answer_of(n, 2)), "{place}: operation {n}");
        assert_eq!(bench.view(operation(n)).state, State::Done, "{place}: operation {n}");
    }
}

#[test]
fn a_crash_at_any_time_neither_loses_a_call_nor_makes_it_by_two_streams() {
    for checkpoint in [false, true] {
        for seed in [None, Some(0), Some(1), Some(7)] {
            for call in 0.. {
                let storage = MemStorage::new();
                let (mut bench, mut first) = associated(&storage);
                let mut second = far(2);
                let (callers, opening) = calls(&mut bench, &mut first, &mut second);
                if checkpoint {
                    bench.driver.checkpoint().unwrap();
                }
                storage.fail_at(storage.calls() + call, Fault::Stop);
                let outcome = (|| {
                    open(&mut bench, &opening)?;
                    bench.try_talk(&mut second)?;
                    if checkpoint {
                        bench.driver.checkpoint()?;
                    }
                    bench.try_talk(&mut second)
                })();
                let done = outcome.is_ok();
                drop((callers, bench));
                match seed {
                    Some(seed) => storage.power_cut(seed),
                    None => storage.restart(),
                }
                assert!(call < 400, "it goes on");
                let place = format!("call {call}, checkpoint {checkpoint}, power cut {seed:?}");
                let mut bench = Bench::start(&storage);
                assert_outcome(&mut bench, &mut second, &place);
                if done {
                    assert!(call > 5, "{call}");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_second_crash_while_the_first_one_is_recovered_changes_nothing() {
    for first_call in [3, 6, 9, 12, 15] {
        for call in 0.. {
            let storage = MemStorage::new();
            let (mut bench, mut first) = associated(&storage);
            let mut second = far(2);
            let (callers, opening) = calls(&mut bench, &mut first, &mut second);
            storage.fail_at(storage.calls() + first_call, Fault::Stop);
            let _ = open(&mut bench, &opening).and_then(|()| bench.try_talk(&mut second).map(drop));
            drop((callers, bench));
            storage.power_cut(3);
            storage.fail_at(storage.calls() + call, Fault::Stop);
            let settings = crate::driver::testbench::settings();
            let done =
                Bench::try_start(&storage, settings).is_some_and(|mut bench| bench.try_talk(&mut second).is_ok());
            storage.power_cut(5);
            let mut bench = Bench::start(&storage);
            assert_outcome(&mut bench, &mut second, &format!("calls {first_call} and {call}"));
            if done {
                break;
            }
        }
    }
}

#[test]
fn the_fate_of_a_call() {
    let all = [false, true];
    for (repeatable, sent, intact) in all.iter().flat_map(|a| all.iter().flat_map(move |b| all.map(|c| (*a, *b, c)))) {
        let call = Circumstances { repeatable, sent, intact, given: false, answered: None };
        let fate = Fate::of(call);
        assert_eq!(fate == Fate::SentAgain, intact && (repeatable || !sent), "{call:?}");
        if !sent && !intact {
            assert_eq!(fate, Fate::Ends(State::Failed, ProblemKind::PeerSilent, Executed::No));
        }
        if sent && fate != Fate::SentAgain {
            assert_eq!(fate, Fate::Ends(State::Unknown, ProblemKind::OutcomeUnknown, Executed::Maybe));
        }
        for (executed, state) in [
            (Executed::Yes, State::Failed),
            // A problem of the far side: of a call that it refused, or does not know the end of.
            (Executed::No, State::Failed),
            (Executed::Maybe, State::Unknown),
        ] {
            let ends = Fate::Ends(state, ProblemKind::ResponseIncomplete, executed);
            assert_eq!(Fate::of(Circumstances { given: true, answered: Some(executed), ..call }), ends);
            if sent && fate != Fate::SentAgain {
                assert_eq!(Fate::of(Circumstances { answered: Some(executed), ..call }), ends);
            }
        }
    }
}
