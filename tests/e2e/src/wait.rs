//! Waiting for what a cluster does by itself; a wait that fails shows everything that may tell why.
//!
//! Invariant: waits are bounded by the caller's patience and never assert how long something took. A transient error
//! of the API server is a "not yet", shown if it stays.

use std::time::Duration;

use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::handle::Cluster;
use crate::objects::Subject;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The patience for things that take a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer. `what` completes the sentence "waited 60 s until …".
///
/// # Errors
/// There is none in time; the message has the last error, if there was one.
pub async fn eventually<T, F>(what: &str, patience: Duration, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let began = Instant::now();
    loop {
        let last = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if began.elapsed() >= patience {
            match last {
                Some(error) => bail!("waited {} s until {what}; the last look failed: {error:#}", patience.as_secs()),
                None => bail!("waited {} s until {what}", patience.as_secs()),
            }
        }
        sleep(PAUSE).await;
    }
}

impl Cluster {
    /// Waits until the object exists and `holds` says yes of it; gives it as JSON.
    ///
    /// # Errors
    /// It does not in time: the message shows the object, and the pods, Events and logs of its namespace.
    pub async fn wait_for(
        &self,
        subject: &Subject,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let holds = &holds;
        let what = format!("{subject} {what}");
        let waiting = eventually(&what, patience, || async move { Ok(self.object(subject).await?.filter(holds)) });
        self.explained(waiting.await, subject).await
    }

    /// Waits until a condition in the object's `status.conditions` has that status.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn wait_condition(
        &self,
        subject: &Subject,
        condition: &str,
        status: &str,
        patience: Duration,
    ) -> anyhow::Result<Value> {
        self.wait_for(subject, &format!("has {condition}={status}"), patience, |object| {
            condition_of(object, condition).is_some_and(|found| found["status"] == status)
        })
        .await
    }

    /// Waits until a pod is Ready.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn wait_pod_ready(&self, namespace: &str, pod: &str, patience: Duration) -> anyhow::Result<Value> {
        self.wait_condition(&Subject::of::<Pod>(namespace, pod), "Ready", "True", patience).await
    }

    /// Waits until the object is gone.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn wait_gone(&self, subject: &Subject, patience: Duration) -> anyhow::Result<()> {
        let what = format!("{subject} is gone");
        let waiting =
            eventually(&what, patience, || async move { Ok(self.object(subject).await?.is_none().then_some(())) });
        self.explained(waiting.await, subject).await
    }

    /// Waits for anything else about a namespace; a failure shows its pods, Events and logs.
    ///
    /// # Errors
    /// It does not come in time.
    pub async fn wait_until<T, F>(
        &self,
        namespace: &str,
        what: &str,
        patience: Duration,
        ask: impl FnMut() -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        match eventually(what, patience, ask).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                bail!("cluster {}: {error:#}\n{}", self.name(), self.describe_namespace(namespace).await)
            }
        }
    }

    async fn explained<T>(&self, result: anyhow::Result<T>, subject: &Subject) -> anyhow::Result<T> {
        match result {
            Ok(answer) => Ok(answer),
            Err(error) => bail!("cluster {}: {error:#}\n{}", self.name(), self.describe(subject).await),
        }
    }
}

/// The condition of that type in an object's status.
#[must_use]
pub fn condition_of<'a>(object: &'a Value, condition: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|found| found["type"] == condition)
}
