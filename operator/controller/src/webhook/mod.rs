//! The admission webhook: copies the engine that the operator rendered into labelled pods.
//!
//! For clusters without a MutatingAdmissionPolicy; with one, the API server does not call here at all, because the policy
//! was first. Both read `status.injection` of the peering and make the same patch. The peering is read from the API
//! server at each request: it is asked for labelled pods only, and what it says is never old.
//!
//! Invariants: it changes nothing itself, so a dry run needs no care; what a caller sends is bounded in size and time and
//! can only be refused; names from it are checked before they become part of a path; a pod that asks for an engine is
//! never let through without one. Files: `review.rs` the question and the answer, `server.rs` TLS and HTTP,
//! `authority.rs` the CAs as data, `certificate.rs` how they are kept. Test to read first:
//! `review::tests::the_patch_is_the_policys`.

pub mod authority;
pub mod certificate;
mod review;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use crd_types::TunnelPeering;
use kube::{Api, Client};
use tokio::time::timeout;

pub use review::Malformed;
use review::{Answer, Wanted};

use crate::cause::cause;
use crate::metrics::{Metrics, WebhookResult};

/// How long the API server may take to say what a peering is; less than what it grants the webhook.
const LOOKUP_MAX: Duration = Duration::from_secs(3);

/// Answers questions of the API server about pods.
#[derive(Clone)]
pub struct Webhook {
    client: Client,
    metrics: Arc<Metrics>,
}

impl Webhook {
    /// Reads peerings with this client.
    #[must_use]
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
    }

    /// Answers one `AdmissionReview` with another.
    ///
    /// # Errors
    /// [`Malformed`]: there is no question in it.
    pub async fn answer(&self, body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let answered = self.review(body).await;
        self.metrics.webhook_answered(answered.as_ref().map_or(WebhookResult::Malformed, |(result, _)| *result));
        answered.map(|(_, body)| body)
    }

    async fn review(&self, body: &[u8]) -> Result<(WebhookResult, Vec<u8>), Malformed> {
        let request = review::parse(body)?;
        let answer = match review::wanted(&request)? {
            Wanted::Nothing => Answer::Unchanged,
            Wanted::Refusal(message) => Answer::Deny(message),
            Wanted::Peering { namespace, name } => match self.peering(namespace, name).await {
                Ok(peering) => review::inject(&request, peering.as_ref(), namespace, name),
                Err(cause) => Answer::Fail(format!(
                    "TunnelPeering {namespace}/{name} could not be read, so no engine can be put into the pod: {cause}. \
                     Try again; a workload's controller does so by itself"
                )),
            },
        };
        if let Answer::Deny(message) | Answer::Fail(message) = &answer {
            tracing::info!(uid = request.uid, message, "refused a pod");
        }
        Ok((answer.result(), review::response(&request, answer)?))
    }

    async fn peering(&self, namespace: &str, name: &str) -> Result<Option<TunnelPeering>, String> {
        let peerings = Api::<TunnelPeering>::namespaced(self.client.clone(), namespace);
        match timeout(LOOKUP_MAX, peerings.get_opt(name)).await {
            Ok(found) => found.map_err(|error| cause(&error)),
            Err(_) => Err(format!("no answer within {} s", LOOKUP_MAX.as_secs())),
        }
    }
}
