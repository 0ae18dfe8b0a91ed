//! Which of several operators acts: the one that holds a `Lease`.
//!
//! The rules are those of client-go: a holder renews often and gives up by itself when it could not renew for
//! [`Timing::renew_deadline`]; another takes over when it saw the Lease unchanged for [`Timing::duration`], by its own
//! monotonic clock, so clocks of nodes are never compared. Writes carry the `resourceVersion` that was read, so one of
//! several competitors wins. Verbs: get, create, update; no list, no watch.
//!
//! Invariants: who lost the Lease stops acting before another may begin ([`while_leading`]); losing it, or an API server
//! that is away, ends no process. It is no fence: a request that is on its way when the Lease is lost may still arrive.
//! Test to read first: `tests::a_lease_is_taken_only_after_it_stood_still_for_its_duration`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cause::cause;

/// How long work may take to end when it is told to; shorter than what lies between the deadline and the duration.
pub const GRACE: Duration = Duration::from_secs(4);
/// Pause before work that failed is begun again.
const RESTART: Duration = Duration::from_secs(5);
/// How often a release is tried when the Lease changes meanwhile or the API server does not answer.
const RELEASE_ATTEMPTS: u32 = 3;

/// How often a Lease is renewed, and when it counts as lost.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long others wait for a holder that is silent.
    pub duration: Duration,
    /// When a holder that cannot renew gives up: before `duration`, by more than [`GRACE`].
    pub renew_deadline: Duration,
    /// Time between two attempts, of the holder and of the others.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// One competitor for a Lease.
#[derive(Debug)]
pub struct Elector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// What the Lease last looked like, and since when.
    observed: Option<(LeaseSpec, Instant)>,
    /// What was last said to be wrong, so that it is not said every other second.
    complaint: String,
}

impl Elector {
    /// A competitor for the Lease `name` in `namespace`. `identity` must be its own alone.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
            observed: None,
            complaint: String::new(),
        }
    }

    /// Competes until `resign`, and says in `leading` whether it holds the Lease. At the end it gives the Lease back, so
    /// cancel `resign` only after the work ended.
    pub async fn run(mut self, leading: watch::Sender<bool>, resign: CancellationToken) {
        // When the last renewal that succeeded began: others count from later on.
        let mut renewed: Option<Instant> = None;
        while !resign.is_cancelled() {
            let began = Instant::now();
            let attempt = timeout(self.patience(renewed), self.attempt());
            let outcome = tokio::select! {
                () = resign.cancelled() => break,
                outcome = attempt => outcome.unwrap_or_else(|_| Err(AttemptError::Late)),
            };
            renewed = match outcome {
                Ok(held) => {
                    self.complaint.clear();
                    held.then_some(began)
                }
                Err(error) => {
                    self.complain(error.to_string());
                    renewed.filter(|since| since.elapsed() < self.timing.renew_deadline)
                }
            };
            leading.send_if_modified(|was| std::mem::replace(was, renewed.is_some()) != renewed.is_some());
            let pause = match renewed {
                Some(since) => {
                    self.timing.retry.min((since + self.timing.renew_deadline).duration_since(Instant::now()))
                }
                None => self.timing.retry,
            };
            tokio::select! {
                () = resign.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
        leading.send_if_modified(|was| std::mem::replace(was, false));
        if renewed.is_some() {
            self.release().await;
        }
    }

    fn complain(&mut self, trouble: String) {
        if trouble != self.complaint {
            tracing::warn!(%trouble, lease = self.name, "the Lease cannot be read or renewed; trying again");
            self.complaint = trouble;
        }
    }

    /// How long an attempt may take: a request that hangs must leave time for another before the deadline.
    fn patience(&self, renewed: Option<Instant>) -> Duration {
        let half = self.timing.renew_deadline / 2;
        renewed.map_or(half, |since| {
            half.min((since + self.timing.renew_deadline).saturating_duration_since(Instant::now()))
        })
    }

    /// Reads the Lease and renews or takes it where that is right. True if it is held then.
    async fn attempt(&mut self) -> Result<bool, AttemptError> {
        let lease = self.leases.get_opt(&self.name).await?;
        let seen_for = self.observe(lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default());
        let spec = match decide(lease.as_ref().and_then(|lease| lease.spec.as_ref()), &self.identity, seen_for) {
            Decision::Wait => return Ok(false),
            Decision::Hold { acquired, transitions } => self.spec(acquired, transitions),
        };
        let params = PostParams::default();
        let written = match lease {
            Some(mut lease) => {
                lease.spec = Some(spec.clone());
                self.leases.replace(&self.name, &params, &lease).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.leases.create(&params, &Lease { metadata, spec: Some(spec.clone()) }).await
            }
        };
        match written {
            Ok(_) => {
                self.observe(spec);
                Ok(true)
            }
            // Another wrote in between. If it was somebody's harmless edit, the next attempt is in time.
            Err(kube::Error::Api(status)) if status.code == 409 => Err(AttemptError::Overtaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Since when the Lease looks like this.
    fn observe(&mut self, spec: LeaseSpec) -> Duration {
        match &self.observed {
            Some((before, since)) if *before == spec => since.elapsed(),
            _ => {
                self.observed = Some((spec, Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn spec(&self, acquired: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds(self.timing.duration)),
            lease_transitions: Some(transitions),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }

    /// Leaves the Lease without a holder. If it fails, others wait for its end.
    async fn release(&self) {
        for _ in 0..RELEASE_ATTEMPTS {
            match timeout(self.timing.renew_deadline / 2, self.try_release()).await {
                Ok(Ok(())) => {
                    tracing::info!(lease = self.name, "gave the Lease back");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = cause(&error), lease = self.name, "the Lease could not be given back")
                }
                Err(_) => tracing::warn!(lease = self.name, "the Lease could not be given back in time"),
            }
        }
    }

    async fn try_release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return Ok(());
        };
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }
}

/// Why an attempt said nothing about who holds the Lease.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("the API server did not answer in time")]
    Late,
    #[error("it was changed by another at the same moment")]
    Overtaken,
    #[error("{}", cause(.0))]
    Api(#[from] kube::Error),
}

/// What to do about a Lease.
#[derive(Debug, PartialEq)]
enum Decision {
    /// It belongs to another.
    Wait,
    /// Write oneself into it.
    Hold {
        /// Since when it is held, if it is already.
        acquired: Option<MicroTime>,
        /// How often it changed hands, with this time.
        transitions: i32,
    },
}

/// May `me` hold a Lease that looks like this and was seen so for `seen_for`?
fn decide(lease: Option<&LeaseSpec>, me: &str, seen_for: Duration) -> Decision {
    let Some(lease) = lease else { return Decision::Hold { acquired: None, transitions: 0 } };
    let transitions = lease.lease_transitions.unwrap_or(0);
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        return Decision::Hold { acquired: lease.acquire_time.clone(), transitions };
    }
    let duration = Duration::from_secs(u64::try_from(lease.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
    if !holder.is_empty() && seen_for < duration {
        return Decision::Wait;
    }
    Decision::Hold { acquired: None, transitions: transitions.saturating_add(1) }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1)
}

/// Runs `work` whenever `leading` is true, until `stop`. The token that work gets is cancelled when the Lease is lost;
/// work that has not ended after `grace` is aborted, because another may begin.
pub async fn while_leading<W, F>(
    mut leading: watch::Receiver<bool>,
    stop: CancellationToken,
    grace: Duration,
    mut work: W,
) where
    W: FnMut(CancellationToken) -> F,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            turned = leading.wait_for(|leading| *leading) => if turned.is_err() { return },
        }
        let ending = CancellationToken::new();
        let mut running = tokio::spawn(work(ending.clone()));
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            _ = leading.wait_for(|leading| !*leading) => None,
            ended = &mut running => Some(ended),
        };
        match ended {
            None => {
                ending.cancel();
                end(running, grace).await;
            }
            Some(Ok(Ok(()))) => tracing::warn!("the work of the leader ended by itself; it is begun again"),
            Some(Ok(Err(error))) => {
                tracing::error!(error = format!("{error:#}"), "the work of the leader failed; it is begun again")
            }
            Some(Err(error)) => tracing::error!(%error, "the work of the leader broke off; it is begun again"),
        }
        if ending.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(RESTART) => {}
        }
    }
}

async fn end(mut running: JoinHandle<anyhow::Result<()>>, grace: Duration) {
    match timeout(grace, &mut running).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(error = format!("{error:#}"), "the work of the leader ended badly"),
        Ok(Err(error)) => tracing::error!(%error, "the work of the leader broke off"),
        Err(_) => {
            tracing::warn!("the work of the leader did not end in time; it is aborted");
            running.abort();
            let _ = running.await;
        }
    }
}

#[cfg(test)]
mod tests;
