//! What the engines last said, by pod.
//!
//! Invariants: one writer (the poller), many readers; a report outlives its pod only until [`Reports::take_gone`]. It asks
//! nobody. Test to read first: `tests::a_change_that_matters_is_told_from_one_that_does_not`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crd_types::TunnelPeering;
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use crate::observe::{EngineStatus, OpenOperation};
use crate::pods::LastWords;

/// Whose engine it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The peering.
    pub peering: ObjectRef<TunnelPeering>,
    /// Name of the pod.
    pub pod: String,
    /// The log goes with the pod.
    pub sidecar: bool,
}

/// What is known of one engine.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whose it is.
    pub subject: Subject,
    /// Its last answer, and when it came.
    pub answer: Option<(Timestamp, EngineStatus)>,
    /// Why the last question was not answered.
    pub unreachable: Option<String>,
}

/// The reports of all engines, by the UID of their pods.
#[derive(Debug, Default)]
pub struct Reports {
    by_uid: Mutex<BTreeMap<String, Report>>,
}

impl Reports {
    /// What is known of a pod's engine.
    #[must_use]
    pub fn of(&self, uid: &str) -> Option<Report> {
        self.lock().get(uid).cloned()
    }

    /// Takes an answer or a failure. True if something changed that a person or a program would act on.
    pub fn put(&self, uid: &str, subject: &Subject, now: Timestamp, result: Result<EngineStatus, String>) -> bool {
        let mut reports = self.lock();
        let report = reports.entry(uid.to_owned()).or_insert_with(|| Report {
            subject: subject.clone(),
            answer: None,
            unreachable: None,
        });
        match result {
            Ok(status) => {
                let changed = report.unreachable.take().is_some()
                    || report.answer.as_ref().is_none_or(|(_, before)| gist(before) != gist(&status));
                report.answer = Some((now, status));
                changed
            }
            Err(cause) => report.unreachable.replace(cause).is_none(),
        }
    }

    /// Takes what an engine said at its end: newer than any answer of it.
    pub fn put_last_words(&self, uid: &str, subject: &Subject, now: Timestamp, words: LastWords) {
        let mut reports = self.lock();
        let report = reports.entry(uid.to_owned()).or_insert_with(|| Report {
            subject: subject.clone(),
            answer: None,
            unreachable: None,
        });
        let mut status = report.answer.take().map(|(_, status)| status).unwrap_or_default();
        status.open_operations_total = words.open_operations_total + words.abandoned_operations.len() as u64;
        let ids = words.open_operations.into_iter().chain(words.abandoned_operations);
        status.open_operations = ids.map(|id| OpenOperation { id, ..OpenOperation::default() }).collect();
        report.answer = Some((now, status));
    }

    /// Forgets what `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&str, &Subject) -> bool) {
        self.lock().retain(|uid, report| keep(uid, &report.subject));
    }

    /// Forgets the pods of a peering that are not among `running`, and returns what was known of them.
    pub fn take_gone(&self, peering: &ObjectRef<TunnelPeering>, running: &BTreeSet<String>) -> Vec<Report> {
        let mut reports = self.lock();
        let gone: Vec<String> = reports
            .iter()
            .filter(|(uid, report)| report.subject.peering == *peering && !running.contains(*uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        gone.iter().filter_map(|uid| reports.remove(uid)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Report>> {
        // A panic elsewhere cannot leave a map half written.
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a status whose change is worth a reconcile: words, not numbers.
fn gist(status: &EngineStatus) -> impl PartialEq + '_ {
    (
        status.started,
        status.public_key.as_deref(),
        status.outbox_failure.is_some(),
        status.log_failure.is_some(),
        status.log_full,
        status
            .peers
            .iter()
            .map(|peer| (&peer.endpoint, &peer.alive, &peer.diagnosis_name, &peer.software))
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    //! What counts as a change.
    use super::*;
    use crate::observe::Peer;

    #[test]
    fn a_change_that_matters_is_told_from_one_that_does_not() {
        let reports = Reports::default();
        let now = Timestamp::UNIX_EPOCH;
        let whose = Subject { peering: ObjectRef::new("p").within("n"), pod: "x".into(), sidecar: true };
        let mut status =
            EngineStatus { peers: vec![Peer { alive: "alive".into(), ..Peer::default() }], ..EngineStatus::default() };
        assert!(reports.put("u", &whose, now, Ok(status.clone())), "the first answer");
        status.peers[0].last_heard_ms_ago = Some(12);
        assert!(!reports.put("u", &whose, now, Ok(status.clone())), "a number");
        status.peers[0].alive = "silent".into();
        assert!(reports.put("u", &whose, now, Ok(status.clone())), "a word");
        assert!(reports.put("u", &whose, now, Err("timed out".into())), "no answer");
        assert!(!reports.put("u", &whose, now, Err("refused".into())), "still no answer");
        assert!(reports.of("u").unwrap().answer.is_some(), "the last answer is kept");
        assert!(reports.put("u", &whose, now, Ok(status)), "an answer again");

        let running = BTreeSet::from(["u".to_owned()]);
        assert!(reports.take_gone(&whose.peering, &running).is_empty());
        assert!(reports.take_gone(&ObjectRef::new("other").within("n"), &BTreeSet::new()).is_empty());
        assert_eq!(reports.take_gone(&whose.peering, &BTreeSet::new()).len(), 1);
        assert!(reports.of("u").is_none());
    }
}
