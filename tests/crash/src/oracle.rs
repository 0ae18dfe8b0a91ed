//! The verdict: what callers were told against what the upstream ran.
//!
//! Invariants: a pure function of the records and the journal. A call that was answered was run, with the body that was sent;
//! one that is not idempotent was run at most once, whatever was told; one said not to have been run was not; one said to
//! have been run was; whatever was accepted got an end. An unknown outcome is an end, but for a GET.
//! Test to read first: `each_broken_promise_is_found`.

use std::collections::BTreeMap;
use std::fmt;

use crate::upstream::Run;

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// GET: may be run again.
    Get,
    /// POST with an idempotency key: the engine may run it again; its caller repeats it until it has an end.
    Keyed,
    /// POST: run at most once; its answer is waited for on the connection.
    Post,
    /// POST with an operation id: run at most once; its outcome is asked for until there is one.
    Operation,
}

impl Kind {
    /// May it be run more than once?
    #[must_use]
    pub fn repeatable(self) -> bool {
        matches!(self, Self::Get | Self::Keyed)
    }
}

/// How a call ended for its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the upstream's answer, octet for octet.
    Answered,
    /// It was said not to have been run.
    NotRun(String),
    /// It was said to have been run, and its answer is lost.
    Ran(String),
    /// It was said to be unknown, or the connection broke.
    Unknown(String),
    /// With an answer that is not the upstream's.
    Wrong(String),
    /// It has no end, or what was known of it is not known any more.
    Lost(String),
}

/// A call and its end.
#[derive(Clone, Debug)]
pub struct Record {
    /// Names the call to the upstream.
    pub marker: String,
    /// Its kind.
    pub kind: Kind,
    /// Digest of the body that was sent.
    pub body: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// The figures of a run, and whatever is wrong.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Calls that were made.
    pub calls: u64,
    /// Calls with the upstream's answer.
    pub answered: u64,
    /// Calls refused without having been run.
    pub refused: u64,
    /// Calls with an unknown outcome or a lost answer, told as such.
    pub unknown: u64,
    /// Calls that were lost.
    pub lost: u64,
    /// Calls that were run twice and must not be.
    pub doubled: u64,
    /// Calls with a wrong answer, or that arrived otherwise than they were sent.
    pub mismatched: u64,
    /// How often which problem was told.
    pub problems: BTreeMap<String, u64>,
    /// Everything that is wrong, in words.
    pub findings: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, answered, refused, unknown, lost, doubled, mismatched, .. } = self;
        write!(
            f,
            "{calls} calls: {answered} answered, {refused} refused, {unknown} unknown, {lost} lost, {doubled} doubled, \
             {mismatched} mismatched"
        )?;
        for (problem, count) in &self.problems {
            write!(f, "; {count} {problem}")?;
        }
        Ok(())
    }
}

/// Judges a run.
#[must_use]
pub fn judge(records: &[Record], journal: &[Run]) -> Verdict {
    let mut runs: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in journal {
        runs.entry(&run.marker).or_default().push(run);
    }
    let mut verdict = Verdict { calls: records.len() as u64, ..Verdict::default() };
    for record in records {
        let runs = runs.remove(record.marker.as_str()).unwrap_or_default();
        judge_one(record, &runs, &mut verdict);
    }
    for marker in runs.keys() {
        verdict.mismatched += 1;
        verdict.findings.push(format!("the upstream ran a call {marker} that nobody made"));
    }
    verdict
}

fn judge_one(record: &Record, runs: &[&Run], verdict: &mut Verdict) {
    let mut find = |what: String| verdict.findings.push(format!("{:?} {}: {what}", record.kind, record.marker));
    let method = if record.kind == Kind::Get { "GET" } else { "POST" };
    if let Some(other) = runs.iter().find(|run| run.body != record.body || run.method != method) {
        verdict.mismatched += 1;
        find(format!("it arrived otherwise than it was sent: {other:?}"));
        return;
    }
    if runs.len() > 1 && !record.kind.repeatable() {
        verdict.doubled += 1;
        find(format!("it was run {} times, and {:?} was told", runs.len(), record.outcome));
        return;
    }
    if let Outcome::NotRun(said) | Outcome::Ran(said) | Outcome::Unknown(said) = &record.outcome {
        let problem = said.split(':').next().unwrap_or_default().to_owned();
        *verdict.problems.entry(problem).or_default() += 1;
    }
    let ran = !runs.is_empty();
    match &record.outcome {
        Outcome::Answered if ran => verdict.answered += 1,
        Outcome::NotRun(_) if !ran => verdict.refused += 1,
        Outcome::Ran(_) if ran && record.kind != Kind::Get => verdict.unknown += 1,
        Outcome::Unknown(_) if record.kind != Kind::Get => verdict.unknown += 1,
        Outcome::Wrong(why) => {
            verdict.mismatched += 1;
            find(why.clone());
        }
        other => {
            verdict.lost += 1;
            find(format!("run {} times, and {other:?} was told", runs.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, outcome: Outcome, runs: usize) -> Verdict {
        let record = Record { marker: "m".to_owned(), kind, body: "b".to_owned(), outcome };
        let method = if kind == Kind::Get { "GET" } else { "POST" };
        let run = Run { marker: "m".to_owned(), method: method.to_owned(), body: "b".to_owned() };
        judge(&[record], &vec![run; runs])
    }

    fn why() -> String {
        "because".to_owned()
    }

    #[test]
    fn each_broken_promise_is_found() {
        let broken = [
            told(Kind::Post, Outcome::Answered, 0),
            told(Kind::Post, Outcome::Answered, 2),
            told(Kind::Operation, Outcome::Unknown(why()), 2),
            told(Kind::Operation, Outcome::NotRun(why()), 1),
            told(Kind::Operation, Outcome::Ran(why()), 0),
            told(Kind::Operation, Outcome::Lost(why()), 1),
            told(Kind::Post, Outcome::Wrong(why()), 1),
            told(Kind::Get, Outcome::Unknown(why()), 1),
            told(Kind::Get, Outcome::Answered, 0),
        ];
        for verdict in broken {
            assert_eq!(verdict.findings.len(), 1, "{verdict}");
            assert_eq!(verdict.lost + verdict.doubled + verdict.mismatched, 1, "{verdict}");
        }
        let elsewhere = Run { marker: "x".to_owned(), method: "POST".to_owned(), body: "b".to_owned() };
        assert_eq!(judge(&[], &[elsewhere]).findings.len(), 1);
    }

    #[test]
    fn a_body_that_arrived_otherwise_is_found() {
        let record =
            Record { marker: "m".to_owned(), kind: Kind::Keyed, body: "b".to_owned(), outcome: Outcome::Answered };
        let run = Run { marker: "m".to_owned(), method: "POST".to_owned(), body: "c".to_owned() };
        assert_eq!(judge(&[record], &[run]).mismatched, 1);
    }

    #[test]
    fn what_is_allowed_is_no_finding() {
        let fine = [
            told(Kind::Get, Outcome::Answered, 3),
            told(Kind::Post, Outcome::Answered, 1),
            told(Kind::Post, Outcome::Unknown(why()), 0),
            told(Kind::Post, Outcome::Unknown(why()), 1),
            told(Kind::Operation, Outcome::NotRun(why()), 0),
            told(Kind::Operation, Outcome::Ran(why()), 1),
        ];
        for verdict in fine {
            assert!(verdict.findings.is_empty(), "{verdict} {:?}", verdict.findings);
        }
    }
}
