//! Large answers whose near engine is killed in the middle: the result is whole, or plainly not.

use wire::digest::{hex, sha256};

use super::{assert_problem, ended, restart};
use crate::client::Exchange;
use crate::harness::{Line, Options, operation_id};
use crate::process::eventually;
use crate::upstream::Content;

const LENGTH: u64 = 24_000_000;

fn digest() -> String {
    let mut content = Content::new(LENGTH);
    while content.next_piece().is_some() {}
    content.digest()
}

/// Reads the head of a good answer and so many octets of its body.
fn read_at_least(exchange: &mut Exchange, octets: usize) {
    let (head, mut body) = exchange.head().unwrap();
    assert_eq!(head.status(), 200);
    let mut got = 0;
    while got < octets {
        got += body.next(&mut exchange.conn).unwrap().unwrap().len();
    }
}

#[test]
fn a_large_answer_is_cut_by_the_near_engines_death_and_looks_whole() {
    let line = Line::start(&Options::default());
    let url = line.url(&format!("/source/{LENGTH}"));
    let wanted = digest();
    // Octets that the caller has read when the engine is killed.
    for read in [0, 1, 2_000_000, 12_000_000, 23_999_999] {
        let id = operation_id();
        let mut exchange = line.door().call("GET", &url).field("Hoft-Operation-Id", &id).begin().unwrap();
        if read == 0 {
            line.near.operation_when(&id, "accepted", |_| true);
        } else {
            read_at_least(&mut exchange, read);
        }
        restart(&line.near);
        drop(exchange);
        let result = line.near.result(&id);
        let view = ended(&line.near, &id);
        if result.status == 200 {
            assert_eq!(result.body.len() as u64, LENGTH);
            assert_eq!(hex(&sha256(&[&result.body])), wanted, "after {read} octets");
            assert_eq!(view["state"], "done", "{view}");
            let again = line.near.result(&id).expect_status(200);
            assert!(again.body == result.body);
        } else {
            assert_problem(&result);
            assert_ne!(view["state"], "done", "{view}");
            println!("after {read} octets the operation ended as {view}");
        }
        line.assert_works();
    }
}

#[test]
fn a_large_answer_nobody_named_stays_open_after_the_near_engines_death() {
    let line = Line::start(&Options::default());
    let url = line.url(&format!("/source/{LENGTH}"));
    for read in [0, 1, 12_000_000] {
        let mut exchange = line.door().call("GET", &url).begin().unwrap();
        if read > 0 {
            read_at_least(&mut exchange, read);
        }
        restart(&line.near);
        drop(exchange);
        line.assert_works();
    }
    eventually("every operation has an end", || {
        let list = line.door().get("/v1/operations").expect_status(200).json();
        list.as_array()?.iter().all(|view| !view["ended_ms"].is_null()).then_some(())
    });
    super::assert_idle(&line.far);
}
