//! The verdict over a run: every call against the upstream's own journal, every unknown outcome against the kills.
//!
//! Invariants: it is a pure function of what was written down; each call counts once, as ok, unknown, lost or mismatched;
//! whatever does not fit is a finding, and a run with a finding is not good. Test to read first:
//! `a_run_without_trouble_is_good`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::call::{Attempt, Outcome, Record};
use super::content::Mark;
use super::packets::Packets;
use super::upstream::Execution;

/// From just before an engine was killed until it was ready again, in milliseconds since the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// Name of the side.
    pub(super) side: &'static str,
    /// Just before the signal.
    pub(super) from_ms: u64,
    /// When the engine was ready again.
    pub(super) to_ms: u64,
    /// Calls in flight at the signal.
    pub(super) in_flight: u64,
}

impl Kill {
    /// Was this attempt begun and unanswered at some moment of the kill?
    fn explains(&self, attempt: &Attempt) -> bool {
        attempt.begun_ms <= self.to_ms && attempt.ended_ms.is_none_or(|ended_ms| ended_ms >= self.from_ms)
    }
}

/// Everything the verdict is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// Calls that were to be made.
    pub(super) planned: u64,
    /// Calls that were made.
    pub(super) records: Vec<Record>,
    /// The upstream's journal.
    pub(super) executions: Vec<Execution>,
    /// The kills.
    pub(super) kills: Vec<Kill>,
    /// What the mirrors did, both together.
    pub(super) packets: Packets,
    /// What went wrong beside the calls.
    pub(super) findings: Vec<String>,
}

/// How a run ended. Serialises to the object that `--json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// Calls that were to be made.
    pub(super) calls: u64,
    /// Calls with the right answer, which the upstream's journal confirms.
    pub(super) ok: u64,
    /// Calls without an answer that nothing explains, or answered without having been executed.
    pub(super) lost: u64,
    /// Calls executed more than once although their method does not allow it.
    pub(super) doubled: u64,
    /// Calls with a wrong answer, or that arrived otherwise than they were sent.
    pub(super) mismatched: u64,
    /// Calls whose outcome cannot be known, each begun and unanswered at a kill.
    pub(super) unknown: u64,
    /// What the mirrors did.
    pub(super) packets: Packets,
    /// Engines killed and started again.
    pub(super) restarts: u64,
    /// Seed of the run.
    pub(super) seed: u64,
    /// Everything that is wrong, in words.
    #[serde(skip)]
    pub(super) findings: Vec<String>,
}

impl Verdict {
    /// Did the run keep every promise?
    pub(super) fn good(&self) -> bool {
        self.lost == 0
            && self.doubled == 0
            && self.mismatched == 0
            && self.ok + self.unknown == self.calls
            && self.findings.is_empty()
    }
}

/// What one call counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Ok,
    Unknown,
    Lost,
    Mismatched,
}

/// Judges a run.
pub(super) fn judge(evidence: &Evidence, seed: u64) -> Verdict {
    let mut verdict = Verdict {
        calls: evidence.planned,
        ok: 0,
        lost: 0,
        doubled: 0,
        mismatched: 0,
        unknown: 0,
        packets: evidence.packets,
        restarts: evidence.kills.len() as u64,
        seed,
        findings: evidence.findings.clone(),
    };
    let mut by_call = by_call(&evidence.executions, &mut verdict.findings);
    for record in &evidence.records {
        let executions = by_call.remove(&record.plan.number).unwrap_or_default();
        let (class, finding) = classify(record, &executions, &evidence.kills);
        match class {
            Class::Ok => verdict.ok += 1,
            Class::Unknown => verdict.unknown += 1,
            Class::Lost => verdict.lost += 1,
            Class::Mismatched => verdict.mismatched += 1,
        }
        let describe = |what: &str| format!("call {} ({}): {what}", record.plan.number, record.plan.kind.name());
        verdict.findings.extend(finding.as_deref().map(describe));
        if !record.plan.repeatable() && executions.len() > 1 {
            verdict.doubled += 1;
            verdict.findings.push(describe(&format!("executed {} times", executions.len())));
        }
    }
    let missing = evidence.planned.saturating_sub(evidence.records.len() as u64);
    if missing > 0 {
        verdict.lost += missing;
        verdict.findings.push(format!("{missing} calls were never made"));
    }
    for number in by_call.keys() {
        verdict.findings.push(format!("the upstream executed a call {number} that nobody made"));
    }
    verdict
}

/// The executions of each call, by its number.
fn by_call<'a>(executions: &'a [Execution], findings: &mut Vec<String>) -> BTreeMap<u32, Vec<&'a Execution>> {
    let mut by_call: BTreeMap<u32, Vec<&Execution>> = BTreeMap::new();
    for execution in executions {
        let number = execution.marker.split_once('-').and_then(|(number, _)| number.parse().ok());
        match number {
            Some(number) => by_call.entry(number).or_default().push(execution),
            None => findings.push(format!("the upstream was asked for {} by nobody", execution.path)),
        }
    }
    by_call
}

fn classify(record: &Record, executions: &[&Execution], kills: &[Kill]) -> (Class, Option<String>) {
    if let Some(finding) = arrived_otherwise(record, executions) {
        return (Class::Mismatched, Some(finding));
    }
    match &record.outcome {
        Outcome::Right => {
            let Some(last) = record.attempts.last() else {
                return (Class::Lost, Some("answered without having been made".to_owned()));
            };
            let executed =
                executions.iter().any(|execution| execution.marker == last.marker && execution.body.is_some());
            if executed || record.plan.refused() {
                (Class::Ok, None)
            } else {
                (Class::Lost, Some(format!("answered, but attempt {} never reached the upstream", last.marker)))
            }
        }
        Outcome::Wrong(why) => (Class::Mismatched, Some(why.clone())),
        Outcome::Unknown(why) => {
            let explained = record.attempts.last().is_some_and(|last| kills.iter().any(|kill| kill.explains(last)));
            if explained {
                (Class::Unknown, None)
            } else {
                (Class::Lost, Some(format!("its outcome is unknown, and no kill explains it: {why}")))
            }
        }
        Outcome::Lost(why) => (Class::Lost, Some(why.clone())),
    }
}

/// What reached the upstream although it should not, or not as it was sent.
fn arrived_otherwise(record: &Record, executions: &[&Execution]) -> Option<String> {
    if record.plan.refused() && !executions.is_empty() {
        return Some("it is to be refused, but reached the upstream".to_owned());
    }
    let sent = record.plan.request().map_or_else(|| Mark::of(b""), |content| content.mark());
    for execution in executions {
        if !record.attempts.iter().any(|attempt| attempt.marker == execution.marker) {
            return Some(format!("the upstream saw an attempt {} that was not made", execution.marker));
        }
        if execution.method != record.plan.method().as_str() {
            return Some(format!("it reached the upstream as {}", execution.method));
        }
        if let Some(body) = execution.body.as_ref().filter(|body| **body != sent) {
            return Some(format!("its body arrived with {body} instead of {sent}"));
        }
    }
    None
}

#[cfg(test)]
mod tests;
