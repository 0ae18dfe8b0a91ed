//! The verdict over made-up runs.

use layer2_http::operation::OperationId;

use super::super::mix::{Kind, Plan, mix};
use super::*;

fn attempt(plan: &Plan, number: u32) -> Attempt {
    Attempt {
        marker: format!("{}-{number}", plan.number),
        operation: OperationId::v7(1, &[1; 10]),
        begun_ms: 100,
        ended_ms: Some(200),
        failed_with: None,
    }
}

fn execution(plan: &Plan, number: u32) -> Execution {
    Execution {
        marker: format!("{}-{number}", plan.number),
        method: plan.method().to_string(),
        path: "/open".to_owned(),
        body: Some(plan.request().map_or_else(|| Mark::of(b""), |content| content.mark())),
    }
}

/// A run in which everything went well.
fn good_run() -> Evidence {
    let plans: Vec<Plan> = mix(1, 40).into_iter().filter(|plan| plan.content.size < super::super::mix::LARGE).collect();
    let records =
        plans.iter().map(|plan| Record { plan: *plan, attempts: vec![attempt(plan, 0)], outcome: Outcome::Right });
    let executions = plans.iter().filter(|plan| !plan.refused()).map(|plan| execution(plan, 0));
    Evidence {
        planned: plans.len() as u64,
        records: records.collect(),
        executions: executions.collect(),
        ..Evidence::default()
    }
}

/// The good run with one call of `kind` changed, and the place of that call.
fn changed(kind: Kind, change: impl FnOnce(&mut Record, &mut Vec<Execution>)) -> Evidence {
    let mut evidence = good_run();
    let record = evidence.records.iter_mut().find(|record| record.plan.kind == kind).unwrap();
    change(record, &mut evidence.executions);
    evidence
}

fn kill(from_ms: u64, to_ms: u64) -> Kill {
    Kill { side: "south", from_ms, to_ms, in_flight: 3 }
}

/// ok short of all calls, lost, doubled, mismatched, unknown.
fn counts(evidence: &Evidence) -> (u64, u64, u64, u64, u64) {
    let verdict = judge(evidence, 7);
    let Verdict { calls, ok, lost, doubled, mismatched, unknown, .. } = verdict;
    assert_eq!(ok + unknown + lost + mismatched, calls);
    (calls - ok, lost, doubled, mismatched, unknown)
}

#[test]
fn a_run_without_trouble_is_good() {
    let verdict = judge(&good_run(), 7);
    assert!(verdict.good(), "{:?}", verdict.findings);
    assert_eq!((verdict.ok, verdict.seed), (verdict.calls, 7));
}

#[test]
fn a_call_that_was_executed_twice_is_doubled_unless_it_may_be() {
    let twice = |kind| changed(kind, |record, executions| executions.push(execution(&record.plan, 0)));
    assert_eq!(counts(&twice(Kind::Echo)), (0, 0, 1, 0, 0));
    assert_eq!(counts(&twice(Kind::Get)), (0, 0, 0, 0, 0));
    assert!(!judge(&twice(Kind::Echo), 7).good());
}

#[test]
fn half_an_execution_counts_for_doubling() {
    let evidence = changed(Kind::Failing, |record, executions| {
        executions.push(Execution { body: None, ..execution(&record.plan, 0) });
    });
    assert_eq!(counts(&evidence), (0, 0, 1, 0, 0));
}

#[test]
fn a_call_that_was_said_not_to_be_executed_but_was_is_doubled() {
    let evidence = changed(Kind::Echo, |record, executions| {
        record.attempts.push(attempt(&record.plan, 1));
        executions.push(execution(&record.plan, 1));
    });
    assert_eq!(counts(&evidence), (0, 0, 1, 0, 0));
}

#[test]
fn an_answer_without_an_execution_is_lost() {
    let evidence = changed(Kind::Get, |record, executions| {
        let marker = format!("{}-0", record.plan.number);
        executions.retain(|execution| execution.marker != marker);
    });
    assert_eq!(counts(&evidence), (1, 1, 0, 0, 0));
}

#[test]
fn an_execution_of_an_earlier_attempt_does_not_stand_for_the_answered_one() {
    let evidence = changed(Kind::Get, |record, _| record.attempts.push(attempt(&record.plan, 1)));
    assert_eq!(counts(&evidence), (1, 1, 0, 0, 0));
}

#[test]
fn an_unknown_outcome_is_allowed_only_if_a_kill_explains_it() {
    let unknown = |kills| {
        let evidence = changed(Kind::Echo, |record, _| record.outcome = Outcome::Unknown("so".to_owned()));
        Evidence { kills, ..evidence }
    };
    // The attempt lasted from 100 to 200.
    assert_eq!(counts(&unknown(vec![kill(150, 160)])), (1, 0, 0, 0, 1));
    assert_eq!(counts(&unknown(vec![kill(200, 900)])), (1, 0, 0, 0, 1));
    assert_eq!(counts(&unknown(vec![kill(10, 100)])), (1, 0, 0, 0, 1));
    assert_eq!(counts(&unknown(vec![kill(10, 99), kill(201, 900)])), (1, 1, 0, 0, 0));
    assert_eq!(counts(&unknown(Vec::new())), (1, 1, 0, 0, 0));
    assert!(judge(&unknown(vec![kill(150, 160)]), 1).good());
}

#[test]
fn a_refused_call_must_not_reach_the_upstream() {
    let evidence = changed(Kind::RefusedFar, |record, executions| executions.push(execution(&record.plan, 0)));
    assert_eq!(counts(&evidence), (1, 0, 0, 1, 0));
}

#[test]
fn a_body_that_arrived_otherwise_is_mismatched() {
    let evidence = changed(Kind::Echo, |record, executions| {
        let marker = format!("{}-0", record.plan.number);
        let found = executions.iter_mut().find(|execution| execution.marker == marker).unwrap();
        found.body = Some(Mark::of(b"something else"));
    });
    assert_eq!(counts(&evidence), (1, 0, 0, 1, 0));
}

#[test]
fn wrong_and_missing_answers_are_counted_as_such() {
    let wrong = changed(Kind::Get, |record, _| record.outcome = Outcome::Wrong("500".to_owned()));
    assert_eq!(counts(&wrong), (1, 0, 0, 1, 0));
    let lost = changed(Kind::Get, |record, _| record.outcome = Outcome::Lost("never".to_owned()));
    assert_eq!(counts(&lost), (1, 1, 0, 0, 0));
    let mut unmade = good_run();
    unmade.planned += 2;
    assert_eq!(counts(&unmade), (2, 2, 0, 0, 0));
}

#[test]
fn what_nobody_asked_for_is_a_finding() {
    for marker in ["9999-0", "", "x"] {
        let mut evidence = good_run();
        let plan = evidence.records[0].plan;
        evidence.executions.push(Execution { marker: marker.to_owned(), ..execution(&plan, 0) });
        assert!(!judge(&evidence, 7).good(), "{marker}");
    }
    let mut evidence = good_run();
    evidence.findings.push("a mirror died".to_owned());
    assert!(!judge(&evidence, 7).good());
}

#[test]
fn the_json_is_the_documented_one() {
    let verdict = judge(&Evidence { kills: vec![kill(1, 2), kill(3, 4)], ..Evidence::default() }, 5);
    assert_eq!(
        serde_json::to_string(&verdict).unwrap(),
        "{\"calls\":0,\"ok\":0,\"lost\":0,\"doubled\":0,\"mismatched\":0,\"unknown\":0,\
         \"packets\":{\"sent\":0,\"lost\":0,\"cut\":0,\"duplicated\":0,\"reordered\":0},\"restarts\":2,\"seed\":5}"
    );
}
