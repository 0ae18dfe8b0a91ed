//! Words in any order, replayed and forged; and who gets the calls.

use super::*;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

const SEC: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
const ALL: fn(&EndpointId) -> bool = |_| true;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn id(n: u64) -> EndpointId {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    EndpointId::from_bytes(bytes)
}

fn life(n: u8) -> Incarnation {
    Incarnation { generation: 0, random: [n + 1; 8] }
}

fn presence(role: u64, weight: u64, seconds: u64) -> Presence {
    Presence { role, weight, valid_ms: seconds * 1_000, ticket: [0; 16] }
}

const EXECUTES: u64 = Presence::ROLE_EXECUTES;
const DRAINS: u64 = Presence::ROLE_EXECUTES | Presence::ROLE_DRAINING;

fn say(members: &mut Members, now: Timestamp, server: u64, of: Incarnation, pn: u64, presence: &Presence) -> News {
    let name = EndpointName { kind: "gateway".into(), name: server.to_string() };
    members.announced(now, &Word { sender: id(server), name: &name, incarnation: of, pn, presence, proved: None })
}

/// Servers that were heard just now and said that they execute calls.
fn live(now: Timestamp, servers: impl IntoIterator<Item = (u64, u64)>) -> Members {
    let mut members = Members::new(PATIENCE);
    for (server, weight) in servers {
        say(&mut members, now, server, life(0), 1, &presence(EXECUTES, weight, 90));
        members.heard(now, id(server), life(0), 1);
    }
    members
}

fn spread(members: &Members, now: Timestamp, keys: u64) -> BTreeMap<EndpointId, u64> {
    let mut calls = BTreeMap::new();
    for key in 0..keys {
        *calls.entry(members.choose(now, call_key(&id(999), &key.to_string()), ALL).unwrap()).or_default() += 1;
    }
    calls
}

#[test]
fn nobody_is_chosen_before_a_word() {
    let mut members = Members::new(PATIENCE);
    assert_eq!(members.choose(at(0), 7, ALL), None);
    members.heard(at(0), id(1), life(0), 5);
    assert_eq!((members.choose(at(0), 7, ALL), members.poll_timeout(at(0))), (None, None), "a caller is no server");
    say(&mut members, at(0), 1, life(0), 1, &presence(0, 1, 90));
    assert_eq!((members.choose(at(0), 7, ALL), members.standing(at(0), &id(1))), (None, None));
}

#[test]
fn a_replayed_presence_names_a_candidate_at_most() {
    let mut members = Members::new(PATIENCE);
    let word = presence(EXECUTES, 1, 30);
    assert_eq!(say(&mut members, at(0), 1, life(0), 7, &word), News::Taken);
    assert_eq!(members.standing(at(0), &id(1)), Some(Standing::Candidate));
    assert_eq!(say(&mut members, at(20), 1, life(0), 7, &word), News::Old);
    assert_eq!(say(&mut members, at(20), 1, life(0), 6, &word), News::Old, "overtaken");
    assert_eq!(members.standing(at(30), &id(1)), Some(Standing::Silent), "a replay renews nothing");
    assert_eq!(say(&mut members, at(30), 1, life(0), 8, &word), News::Taken);
    assert_eq!(members.standing(at(30), &id(1)), Some(Standing::Candidate));
    members.heard(at(31), id(1), life(0), 900);
    assert_eq!(members.standing(at(31), &id(1)), Some(Standing::Live));
    assert_eq!(members.standing(at(60), &id(1)), Some(Standing::Live), "it was heard");
    members.heard(at(60), id(1), life(0), 900);
    assert_eq!(members.standing(at(61), &id(1)), Some(Standing::Silent), "the same packet again");
}

#[test]
fn a_candidate_that_does_not_answer_makes_way_for_others() {
    let mut members = Members::new(PATIENCE);
    for pn in 1..=20 {
        // Somebody kept all the words of a server that is gone, and plays them one by one.
        say(&mut members, at(10 * pn), 1, life(0), pn, &presence(EXECUTES, 1, 30));
        members.asked(at(10 * pn), id(1));
    }
    assert_eq!(members.standing(at(200), &id(1)), Some(Standing::Silent));
    assert_eq!(members.choose(at(200), 7, ALL), Some(id(1)), "there is nobody else");
    say(&mut members, at(200), 2, life(0), 1, &presence(EXECUTES, 1, 30));
    assert!((0..50).all(|key| members.choose(at(200), key, ALL) == Some(id(2))));
    members.heard(at(201), id(1), life(0), 1);
    assert_eq!(members.standing(at(201), &id(1)), Some(Standing::Live));
}

#[test]
fn no_call_waits_for_a_candidate_while_a_server_is_live() {
    let mut members = live(at(0), [(1, 1)]);
    say(&mut members, at(0), 2, life(0), 1, &presence(EXECUTES, 1, 90));
    assert_eq!(spread(&members, at(0), 50), BTreeMap::from([(id(1), 50)]));
    let key = (0..50).find(|key| members.wanted(at(0), *key, ALL) == Some(id(2))).unwrap();
    assert!((0..50).any(|key| members.wanted(at(0), key, ALL).is_none()), "some prefer the live one");
    members.asked(at(0), id(2));
    members.heard(at(1), id(2), life(0), 1);
    assert_eq!((members.choose(at(1), key, ALL), members.wanted(at(1), key, ALL)), (Some(id(2)), None));
}

#[test]
fn an_old_life_does_not_displace_the_one_that_was_proved() {
    let mut members = live(at(0), [(1, 5)]);
    say(&mut members, at(1), 1, life(3), 99, &presence(DRAINS, 1, 90));
    let status = &members.status(at(1))[0];
    assert_eq!((status.standing, status.incarnation, status.weight), (Standing::Live, life(0), 5));
    let mut later = Members::new(PATIENCE);
    let generation = |n| Incarnation { generation: n, random: [1; 8] };
    say(&mut later, at(0), 1, generation(5), 1, &presence(EXECUTES, 1, 90));
    later.heard(at(0), id(1), generation(5), 1);
    assert_eq!(say(&mut later, at(1), 1, generation(4), 9, &presence(EXECUTES, 1, 90)), News::Old);
    assert_eq!(say(&mut later, at(1), 1, generation(6), 1, &presence(EXECUTES, 9, 90)), News::Taken);
    assert_eq!(later.status(at(1))[0].weight, 1, "the next life has to be proved");
    later.heard(at(2), id(1), generation(6), 1);
    assert_eq!(later.status(at(2))[0].weight, 9);
}

#[test]
fn a_server_that_lost_its_state_is_a_candidate_again() {
    let mut members = live(at(0), [(1, 1)]);
    say(&mut members, at(80), 1, life(1), 1, &presence(EXECUTES, 2, 90));
    assert_eq!(members.standing(at(89), &id(1)), Some(Standing::Live));
    assert_eq!(members.standing(at(90), &id(1)), Some(Standing::Candidate));
    members.heard(at(91), id(1), life(1), 1);
    assert_eq!(members.status(at(91))[0].incarnation, life(1));
    // Its association may be heard before its word.
    members.heard(at(92), id(1), life(2), 1);
    assert_eq!(members.standing(at(92), &id(1)), Some(Standing::Live));
    let (name, next) = (EndpointName { kind: "gateway".into(), name: "1".into() }, presence(EXECUTES, 7, 90));
    let word = Word { sender: id(1), name: &name, incarnation: life(2), pn: 1, presence: &next, proved: None };
    assert_eq!(members.announced(at(93), &word), News::Taken);
    assert_eq!((members.status(at(93))[0].weight, members.standing(at(93), &id(1))), (7, Some(Standing::Live)));
}

#[test]
fn an_association_that_was_heard_before_the_first_word_proves_it() {
    let (name, said) = (EndpointName { kind: "gateway".into(), name: "1".into() }, presence(EXECUTES, 1, 90));
    for (proved, standing) in [(Some(life(0)), Standing::Live), (Some(life(1)), Standing::Candidate)] {
        let mut members = Members::new(PATIENCE);
        let word = Word { sender: id(1), name: &name, incarnation: life(0), pn: 1, presence: &said, proved };
        members.announced(at(0), &word);
        assert_eq!(members.standing(at(0), &id(1)), Some(standing));
    }
}

#[test]
fn draining_servers_and_those_of_no_weight_get_calls_only_if_nobody_else_is_known() {
    let mut members = live(at(0), [(1, 1), (2, 1), (3, 0)]);
    say(&mut members, at(1), 1, life(0), 2, &presence(DRAINS, 1, 90));
    assert_eq!(members.standing(at(1), &id(1)), Some(Standing::Draining));
    assert!(members.is_there(at(1), &id(1)) && !members.is_there(at(91), &id(1)) && !members.is_there(at(1), &id(9)));
    assert_eq!(spread(&members, at(1), 50), BTreeMap::from([(id(2), 50)]));
    assert_eq!(spread(&members, at(10_000), 50), BTreeMap::from([(id(2), 50)]), "silent, but it never said no");
    let others = |endpoint: &EndpointId| *endpoint != id(2);
    assert!(members.choose(at(1), 7, others).is_some_and(|chosen| chosen != id(2)));
    assert_eq!(members.choose(at(1), 7, |_| false), None);
    say(&mut members, at(2), 1, life(0), 3, &presence(EXECUTES, 1, 90));
    assert_eq!(members.standing(at(2), &id(1)), Some(Standing::Live), "it goes on after a restart");
}

#[test]
fn keys_follow_the_weights() {
    let calls = spread(&live(at(0), [(1, 1), (2, 1), (3, 2), (4, 4)]), at(0), 8_000);
    for (server, share) in [(1, 1_000), (2, 1_000), (3, 2_000), (4, 4_000)] {
        let got = calls[&id(server)];
        assert!(got.abs_diff(share) < share / 8, "server {server} got {got} of {share}");
    }
}

#[test]
fn a_server_that_goes_or_comes_moves_only_its_own_keys() {
    let all = live(at(0), (1..=5).map(|server| (server, 1)));
    let without = |endpoint: &EndpointId| *endpoint != id(3);
    let mut moved = 0;
    for key in 0..1_000 {
        let (before, after) = (all.choose(at(0), key, ALL), all.choose(at(0), key, without));
        assert!(before == after || before == Some(id(3)));
        moved += u32::from(before != after);
    }
    assert!((150..250).contains(&moved), "{moved}");
}

#[test]
fn an_outage_that_silences_everybody_moves_nothing() {
    let members = live(at(0), (1..=5).map(|server| (server, 1)));
    assert_eq!(members.standing(at(1_000), &id(1)), Some(Standing::Silent));
    assert!((0..100).all(|key| members.choose(at(0), key, ALL) == members.choose(at(1_000), key, ALL)));
}

#[test]
fn a_flood_of_signed_words_is_bounded_and_unseats_nobody_who_was_proved() {
    let mut members = live(at(0), [(1, 1)]);
    let word = presence(EXECUTES, u64::MAX, u64::MAX / 1_000);
    for server in 2..10_000 {
        let news = say(&mut members, at(1), server, life(0), 1, &word);
        assert_eq!(news == News::Taken, server <= SERVERS_MAX as u64, "server {server}");
    }
    assert_eq!(members.status(at(1)).len(), SERVERS_MAX);
    assert_eq!(members.standing(at(1), &id(1)), Some(Standing::Live));
    assert!(members.status(at(1)).iter().all(|server| server.weight <= WEIGHT_MAX));
    assert!(members.status(at(1)).iter().all(|server| server.valid_for <= PRESENCE_VALID_MAX));
    // Once their time is over they make room, and who was proved does so last.
    let later = at(1).after(PRESENCE_VALID_MAX);
    for server in 20_000..20_000 + SERVERS_MAX as u64 - 1 {
        assert_eq!(say(&mut members, later, server, life(0), 1, &presence(EXECUTES, 1, 30)), News::Taken);
    }
    assert_eq!(members.standing(later, &id(1)), Some(Standing::Silent));
    assert_eq!(members.status(later).len(), SERVERS_MAX);
    members.forget_silent(later.after(3_630 * SEC), 3_600 * SEC);
    assert_eq!(members.status(later).len(), 0);
}

#[test]
fn the_next_change_is_foretold() {
    let mut members = live(at(0), [(1, 1)]);
    assert_eq!(members.poll_timeout(at(0)), Some(at(90)));
    say(&mut members, at(0), 2, life(0), 1, &presence(EXECUTES, 1, 300));
    members.asked(at(5), id(2));
    assert_eq!(members.poll_timeout(at(0)), Some(at(65)));
    assert_eq!(members.poll_timeout(at(300)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Say { server: u64, life: u8, pn: u64, role: u64, weight: u64, seconds: u64 },
    Hear { server: u64, life: u8, pn: u64 },
    Ask(u64),
    Replay(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..60u64).prop_map(Step::Wait),
        (0..5u64, 0..3u8, 1..40u64, 0..4u64, 0..4u64, 0..100u64).prop_map(
            |(server, life, pn, role, weight, seconds)| Step::Say { server, life, pn, role, weight, seconds }
        ),
        (0..5u64, 0..3u8, 1..40u64).prop_map(|(server, life, pn)| Step::Hear { server, life, pn }),
        (0..5u64).prop_map(Step::Ask),
        (0..100usize).prop_map(Step::Replay),
    ]
}

/// What must be true of a table whatever was said to it.
fn assert_sound(members: &Members, now: Timestamp, heard: &BTreeMap<(u64, u8), u64>) {
    let status = members.status(now);
    for server in &status {
        let was_heard = heard.keys().any(|(n, l)| id(*n) == server.endpoint && life(*l) == server.incarnation);
        assert!(server.standing != Standing::Live || was_heard, "only an association proves: {server:?}");
        assert!(server.standing != Standing::Live || !server.valid_for.is_zero(), "{server:?}");
        assert!(server.valid_for <= 100 * SEC, "its word counts no longer than it says: {server:?}");
    }
    let best = status.iter().filter(|server| server.role & EXECUTES != 0).map(|server| server.standing.tier()).min();
    for key in 0..4 {
        let chosen = members.choose(now, key, ALL);
        let tier = chosen.and_then(|chosen| members.standing(now, &chosen)).map(Standing::tier);
        assert_eq!(tier, best);
    }
}

proptest! {
    #[test]
    fn whatever_is_said_only_associations_prove_and_replays_change_nothing(steps in prop::collection::vec(step(), 1..80)) {
        let mut members = Members::new(PATIENCE);
        let (mut now, mut said, mut heard) = (at(0), vec![], BTreeMap::new());
        for step in steps {
            match step {
                Step::Wait(seconds) => now = now.after(Duration::from_secs(seconds)),
                Step::Say { server, life: l, pn, role, weight, seconds } => {
                    let word = presence(role, weight, seconds);
                    if say(&mut members, now, server, life(l), pn, &word) == News::Taken {
                        said.push((server, l, pn, word));
                    }
                }
                Step::Hear { server, life: l, pn } => {
                    members.heard(now, id(server), life(l), pn);
                    heard.insert((server, l), pn);
                }
                Step::Ask(server) => members.asked(now, id(server)),
                Step::Replay(n) if !said.is_empty() => {
                    let (server, l, pn, word) = &said[n % said.len()];
                    let before = members.status(now);
                    let proved = |s: &ServerStatus| {
                        s.endpoint == id(*server) && s.incarnation == life(*l) && s.standing == Standing::Live
                    };
                    let proved = before.iter().any(proved);
                    let news = say(&mut members, now, *server, life(*l), *pn, word);
                    prop_assert!(!proved || news == News::Old);
                    // Another life's word makes a candidate at most.
                    let live = |list: &[ServerStatus]| -> Vec<EndpointId> {
                        list.iter().filter(|s| s.standing == Standing::Live).map(|s| s.endpoint).collect()
                    };
                    prop_assert_eq!(live(&before), live(&members.status(now)));
                    if news == News::Old {
                        prop_assert_eq!(before, members.status(now));
                    }
                }
                Step::Replay(_) => {}
            }
            assert_sound(&members, now, &heard);
        }
        let gone = now.after(100 * SEC);
        prop_assert!(members.status(gone).iter().all(|s| matches!(s.standing, Standing::Silent | Standing::Draining)));
    }

    #[test]
    fn the_order_of_words_of_one_life_does_not_matter(order in Just((1..12u64).collect::<Vec<_>>()).prop_shuffle()) {
        let mut members = live(at(0), [(1, 99)]);
        for pn in order {
            say(&mut members, at(1), 1, life(0), pn + 1, &presence(EXECUTES, pn, 90));
        }
        prop_assert_eq!(members.status(at(1))[0].weight, 11);
    }
}
