//! Tests of `sender`: each name says what holds.

use super::*;
use wire::record::kind;

fn head(seq: u64) -> RecordHeader {
    RecordHeader {
        seq: Seq::new(seq),
        stream: StreamId::request(1),
        offset: seq * 10,
        raw_len: 10,
        stored_len: 10,
        kind: kind::DATA,
        flags: 0,
    }
}

fn log_of(count: u64) -> SendLog {
    let mut log = SendLog::default();
    log.bind([7; 32]);
    for seq in 1..=count {
        log.append(head(seq), [seq as u8; 32], true);
        log.durable(seq);
    }
    log
}

fn chain_of(log: &SendLog, cum: u64) -> [u8; 16] {
    let chain = if cum == 0 { [7; 32] } else { log.get(cum).unwrap().chain };
    *chain.first_chunk().unwrap()
}

#[test]
fn a_chain_mismatch_never_releases() {
    let mut log = log_of(5);
    for cum in 0..=5 {
        let mut chain = chain_of(&log, cum);
        chain[15] ^= 1;
        assert_eq!(log.acknowledge(cum, &chain).unwrap_err(), Alarm::ChainMismatch { cum: Seq::new(cum) });
        assert_eq!((log.una(), log.len()), (0, 5));
    }
    let chain = chain_of(&log, 3);
    assert_eq!(log.acknowledge(3, &chain).unwrap().len(), 3);
    assert_eq!(
        log.acknowledge(3, &[0; 16]).unwrap_err(),
        Alarm::ChainMismatch { cum: Seq::new(3) },
        "the last released one is still checked"
    );
    assert_eq!(log.acknowledge(1, &[0; 16]).unwrap().len(), 0, "an older ack proves nothing and says nothing");
}

#[test]
fn an_ack_of_what_was_never_written_is_a_rollback() {
    let mut log = log_of(5);
    log.append(head(6), [6; 32], true);
    assert_eq!(
        log.acknowledge(6, &[0; 16]).unwrap_err(),
        Alarm::LogRolledBack { claimed: Seq::new(6), next: Seq::new(6) },
        "6 is not durable, so nobody can have it"
    );
    assert_eq!(log.acknowledge_selectively(&RangeSet::from_iter([9])).unwrap_err().name(), "log_rolled_back");
}

#[test]
fn a_selective_ack_suppresses_but_never_releases() {
    let mut log = log_of(9);
    assert_eq!(log.acknowledge_selectively(&[3, 4, 7].into_iter().collect()), Ok(alloc::vec![3, 4, 7]));
    assert_eq!(log.acknowledge_selectively(&[3, 4, 5, 7].into_iter().collect()), Ok(alloc::vec![5]));
    assert_eq!((log.una(), log.len()), (0, 9));
    assert!(log.is_held(4) && !log.is_held(6));
}

#[test]
fn binding_later_gives_the_same_chain() {
    let mut early = SendLog::default();
    for seq in 1..=4 {
        early.append(head(seq), [seq as u8; 32], true);
        early.durable(seq);
    }
    early.bind([7; 32]);
    assert_eq!(chain_of(&early, 4), chain_of(&log_of(4), 4));
}

#[test]
fn a_peer_that_went_back_is_sent_again_what_it_no_longer_holds() {
    let mut log = log_of(9);
    log.acknowledge_selectively(&[2, 3, 4, 7].into_iter().collect()).unwrap();
    assert_eq!(log.reneged(None), [], "1 is missing anyhow: the list may be older than this");
    let chain = chain_of(&log, 1)[..16].try_into().unwrap();
    log.acknowledge(1, &chain).unwrap();
    // Whoever holds everything up to 1 and 2 as well would say 2.
    assert_eq!(log.reneged(Some(&RangeSet::from_iter([4]))), [2, 3, 7]);
    assert!(!log.is_held(2) && log.is_held(4) && !log.is_held(7));
    assert_eq!(log.reneged(Some(&RangeSet::from_iter([4]))), []);
}
