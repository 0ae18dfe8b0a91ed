//! What the operator itself wrote last, for the moments in which its cache has not heard of it yet.
//!
//! A cache lags behind a write by some milliseconds; a plan made from the older status would generate keys twice. So the
//! status written last stands in until the cache is as new (resource versions are compared as numbers, KEP-5504).
//! Test to read first: `tests::a_lagging_cache_does_not_hide_what_was_written`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crd_types::{IdentityStatus, TunnelPeering, TunnelPeeringStatus};
use kube::ResourceExt;

/// Unchanged children are applied again after this time, in case somebody changed them.
const REAPPLY_AFTER: Duration = Duration::from_mins(1);

/// Memories by the UID of the peering.
#[derive(Debug, Default)]
pub struct Memory {
    by_uid: Mutex<BTreeMap<String, Remembered>>,
}

/// A status write.
#[derive(Debug)]
struct Written {
    /// The resource version that it made.
    version: u64,
    /// What stood afterwards: others' fields beside ours.
    standing: TunnelPeeringStatus,
    /// What was written.
    wanted: TunnelPeeringStatus,
}

#[derive(Debug, Default)]
struct Remembered {
    written: Option<Written>,
    applied: Option<([u8; 32], Instant)>,
    failure: Option<String>,
    identity: Option<IdentityStatus>,
}

impl Memory {
    /// Puts the status that was written last into a peering from the cache, if the cache is older.
    pub fn refresh(&self, peering: &mut TunnelPeering) {
        let uid = peering.uid().unwrap_or_default();
        if let Some(written) = self.lock().get(&uid).and_then(|one| one.written.as_ref())
            && resource_version(peering).is_some_and(|cached| cached < written.version)
        {
            peering.status = Some(written.standing.clone());
        }
    }

    /// Takes what the API server answered to a write of the status `wanted`.
    pub fn wrote(&self, peering: &TunnelPeering, wanted: &TunnelPeeringStatus) {
        if let (Some(uid), Some(version), Some(standing)) =
            (peering.uid(), resource_version(peering), peering.status.clone())
        {
            let written = Written { version, standing, wanted: wanted.clone() };
            self.lock().entry(uid).or_default().written = Some(written);
        }
    }

    /// Whether this very status was the last one written, and nobody changed the object since: where somebody else's
    /// fields stand beside ours, what stands never equals what is wanted.
    #[must_use]
    pub fn is_written(&self, peering: &TunnelPeering, wanted: &TunnelPeeringStatus) -> bool {
        let uid = peering.uid().unwrap_or_default();
        let version = resource_version(peering);
        self.lock()
            .get(&uid)
            .and_then(|one| one.written.as_ref())
            .is_some_and(|last| version.is_some_and(|version| version <= last.version) && last.wanted == *wanted)
    }

    /// Whether children with this digest must be applied.
    #[must_use]
    pub fn must_apply(&self, uid: &str, digest: &[u8; 32], now: Instant) -> bool {
        self.lock()
            .get(uid)
            .and_then(|one| one.applied.as_ref())
            .is_none_or(|(applied, at)| applied != digest || now.duration_since(*at) >= REAPPLY_AFTER)
    }

    /// Children with this digest were applied.
    pub fn applied(&self, uid: &str, digest: [u8; 32], now: Instant) {
        let mut memory = self.lock();
        let one = memory.entry(uid.to_owned()).or_default();
        one.applied = Some((digest, now));
        one.failure = None;
    }

    /// Children could not be applied.
    pub fn apply_failed(&self, uid: &str, cause: String) {
        let mut memory = self.lock();
        let one = memory.entry(uid.to_owned()).or_default();
        one.applied = None;
        one.failure = Some(cause);
    }

    /// Why the children could not be applied last time.
    #[must_use]
    pub fn failure(&self, uid: &str) -> Option<String> {
        self.lock().get(uid).and_then(|one| one.failure.clone())
    }

    /// Children must be applied again: one of them was changed or deleted by somebody else.
    pub fn disturb(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.applied = None;
        }
    }

    /// Keys that were made for a peering and may not stand in its status yet.
    #[must_use]
    pub fn identity(&self, uid: &str) -> Option<IdentityStatus> {
        self.lock().get(uid).and_then(|one| one.identity.clone())
    }

    /// Keys were made for a peering: they are used until its status names them, however often that fails.
    pub fn made(&self, uid: &str, identity: &IdentityStatus) {
        self.lock().entry(uid.to_owned()).or_default().identity = Some(identity.clone());
    }

    /// Forgets peerings that are not among `uids`.
    pub fn retain(&self, uids: &std::collections::BTreeSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resource_version(peering: &TunnelPeering) -> Option<u64> {
    peering.metadata.resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    //! Lag and repetition.
    use super::*;

    fn peering(version: &str) -> TunnelPeering {
        let mut peering: TunnelPeering = serde_yaml::from_str(
            "apiVersion: hoft.dev/v1alpha1\nkind: TunnelPeering\nmetadata: {name: p, namespace: n, uid: u}
spec: {local: {name: a}, remote: {name: b}, gateway: {}, volume: {outbox: {claimName: m, subPath: o}, inbox: {claimName: m, subPath: i}}}",
        )
        .unwrap();
        peering.metadata.resource_version = Some(version.to_owned());
        peering
    }

    #[test]
    fn a_lagging_cache_does_not_hide_what_was_written() {
        let memory = Memory::default();
        let mut written = peering("1000");
        let identity = Some(IdentityStatus { key_id: "k".into(), ..IdentityStatus::default() });
        written.status = Some(TunnelPeeringStatus { identity: identity.clone(), ..TunnelPeeringStatus::default() });
        let wanted = TunnelPeeringStatus::default();
        memory.wrote(&written, &wanted);
        assert!(memory.is_written(&peering("1000"), &wanted), "somebody else's field stands beside ours");
        assert!(!memory.is_written(&peering("1001"), &wanted), "somebody changed the object since");
        assert!(!memory.is_written(&written, written.status.as_ref().unwrap()), "another status is wanted");

        let mut older = peering("999");
        memory.refresh(&mut older);
        assert_eq!(older.status.unwrap().identity, identity, "the cache is older");

        let mut newer = peering("1001");
        memory.refresh(&mut newer);
        assert_eq!(newer.status, None, "the cache is newer: somebody removed the status");
    }

    #[test]
    fn unchanged_children_are_applied_again_only_after_a_while_or_when_disturbed() {
        let memory = Memory::default();
        let now = Instant::now();
        assert!(memory.must_apply("u", &[1; 32], now));
        memory.applied("u", [1; 32], now);
        assert!(!memory.must_apply("u", &[1; 32], now));
        assert!(memory.must_apply("u", &[2; 32], now), "they changed");
        assert!(memory.must_apply("u", &[1; 32], now + REAPPLY_AFTER), "a while passed");
        memory.disturb("u");
        assert!(memory.must_apply("u", &[1; 32], now));
        memory.apply_failed("u", "forbidden".into());
        assert!(memory.must_apply("u", &[1; 32], now), "a failure is tried again");
        assert_eq!(memory.failure("u").as_deref(), Some("forbidden"));
    }
}
