//! Keeps the webhook's certificates: the CAs in a Secret, the API server's trust in them, and the certificate that this
//! replica serves.
//!
//! One turn reads the Secret and, at the leader, makes what is missing; tells the API server which CAs to trust; agrees
//! when a new CA begins to sign; at every replica, issues a certificate when there is none or it is due. Turns repeat, so
//! a failure is repaired by the next. The Secret is polled, because the right to watch one Secret is the right to list all.
//!
//! Invariants: a write carries the `resourceVersion` that was read; the bundle is applied before a new CA signs, and only
//! this operator's part of the configuration is applied, never by force; what cannot be read is never overwritten. Verbs:
//! get, create, patch on the one Secret; get, patch on the one configuration. Test to read first:
//! `tests::a_leader_makes_the_ca_tells_the_api_server_and_serves`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crd_types::names;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::{Zeroize, Zeroizing};

use super::authority::{Authorities, Authority, issue};
use super::server::Served;
use crate::cause::cause;
use crate::metrics::Metrics;

/// Name of the webhook in its configuration.
pub const WEBHOOK: &str = "pods.hoft.dev";
/// Key of the CAs in the Secret.
const DATA_KEY: &str = "authorities.json";
/// Longest time between two turns.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Shortest time between two turns.
const TURN_MIN: Duration = Duration::from_secs(1);
/// How long a turn may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long every API server gets to hear of a new CA before it signs.
const SPREAD_MAX: Duration = Duration::from_secs(60);

/// What is kept, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the MutatingWebhookConfiguration.
    pub configuration: String,
    /// Name of the webhook's Service.
    pub service: String,
    /// How long a CA is good.
    pub ca_lifetime: Duration,
    /// How long a certificate is good.
    pub certificate_lifetime: Duration,
}

/// Why a turn did not do all it should.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The Secret cannot be read.
    #[error("Secret {name} cannot be read; the operator's Role must allow get on it: {}", cause(source))]
    Read {
        /// Namespace and name.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The Secret is not there, and this replica does not make it.
    #[error("Secret {name} is not there yet; the replica that holds the Lease makes it")]
    Absent {
        /// Namespace and name.
        name: String,
    },
    /// The Secret holds something else.
    #[error("Secret {name} does not hold what the operator writes ({source}); delete it and a new one is made")]
    Garbage {
        /// Namespace and name.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The Secret cannot be written.
    #[error(
        "Secret {name} cannot be written; the operator's Role must allow create and patch on it: {}",
        cause(source)
    )]
    Write {
        /// Namespace and name.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The API server could not be told which CAs to trust.
    #[error(
        "the caBundle of MutatingWebhookConfiguration {name} cannot be read or applied; the operator's ClusterRole must \
         allow get and patch on it, and nothing else may set it: {}",
        cause(source)
    )]
    Tell {
        /// Name of the configuration.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// No API server calls the webhook.
    #[error("MutatingWebhookConfiguration {name} is not there: install it, or run without --webhook")]
    NobodyToTell {
        /// Name of the configuration.
        name: String,
    },
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A certificate cannot be served.
    #[error("the new certificate cannot be served: {0}")]
    Serve(#[from] rustls::Error),
}

/// Keeps the certificates of one replica.
#[derive(Debug)]
pub struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    settings: Settings,
    served: Arc<Served>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    /// Keeps what `served` serves.
    #[must_use]
    pub fn new(client: Client, settings: Settings, served: Arc<Served>, metrics: Arc<Metrics>) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &settings.namespace),
            configurations: Api::all(client),
            settings,
            served,
            metrics,
        }
    }

    /// Turns until told to stop; at once when the Lease changes hands.
    pub async fn run(self, mut leading: watch::Receiver<bool>, stop: CancellationToken) {
        let mut said = String::new();
        loop {
            let leads = *leading.borrow_and_update();
            let Some(turned) = stop.run_until_cancelled(timeout(PATIENCE, self.turn(leads, Timestamp::now()))).await
            else {
                return;
            };
            let trouble = match turned {
                Ok(Ok(())) => String::new(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the API server did not answer within {} s", PATIENCE.as_secs()),
            };
            if trouble != said && !trouble.is_empty() {
                tracing::warn!(%trouble, "the webhook's certificates could not be kept; trying again");
            }
            said = trouble;
            let pause = self.pause();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leading.changed() => if changed.is_err() { sleep(pause).await },
                () = sleep(pause) => {}
            }
        }
    }

    /// How long until the next turn: a small part of whatever lives shortest. A certificate may end long before the settings
    /// say, under a CA of a replica that was given another lifetime; before the first one no pod can be injected.
    fn pause(&self) -> Duration {
        let Some(term) = self.served.term() else { return TURN_MIN };
        let life = term.not_after.duration_since(term.made_at).unsigned_abs();
        let shortest = life.min(self.settings.ca_lifetime).min(self.settings.certificate_lifetime);
        (shortest / 30).clamp(TURN_MIN, TURN_MAX)
    }

    /// One turn. What can be done is done, even if something else failed.
    ///
    /// # Errors
    /// [`KeepError`]: what failed first.
    pub async fn turn(&self, leads: bool, now: Timestamp) -> Result<(), KeepError> {
        let (mut authorities, version) = self.read().await?;
        if leads {
            let maintained = self.maintain(&mut authorities, version, now).await;
            self.serve(&authorities, now)?;
            return maintained;
        }
        if version.is_none() {
            return Err(KeepError::Absent { name: self.secret_name() });
        }
        self.serve(&authorities, now)
    }

    /// The leader's part: the Secret and the API server's trust. Leaves in `authorities` what the Secret holds.
    async fn maintain(
        &self,
        authorities: &mut Authorities,
        version: Option<String>,
        now: Timestamp,
    ) -> Result<(), KeepError> {
        let mut wanted = authorities.clone();
        let due = wanted.is_due(now, self.settings.ca_lifetime);
        if due {
            wanted.add(Authority::make(now, self.settings.ca_lifetime)?);
        }
        let mut version = version;
        if wanted.retire(now) || due {
            version = self.write(&wanted, version).await?;
            authorities.clone_from(&wanted);
            tracing::info!(secret = self.secret_name(), made = due, "wrote the webhook's CAs");
        }
        let told = self.tell(&wanted.bundle(now)).await;
        if !matches!(told, Ok(()) | Err(KeepError::NobodyToTell { .. })) {
            return told;
        }
        let spread = SPREAD_MAX.min(self.settings.ca_lifetime / 10);
        if wanted.settle(now.saturating_add(spread).unwrap_or(now)) {
            self.write(&wanted, version).await?;
            *authorities = wanted;
        }
        told
    }

    /// The CAs, and the version of the Secret; `None` if there is none.
    async fn read(&self) -> Result<(Authorities, Option<String>), KeepError> {
        let found = self.secrets.get_opt(&self.settings.secret).await;
        let Some(mut secret) = found.map_err(|source| KeepError::Read { name: self.secret_name(), source })? else {
            return Ok((Authorities::default(), None));
        };
        let version = Some(secret.metadata.resource_version.take().unwrap_or_default());
        let mut values = secret.data.take().unwrap_or_default();
        if values.is_empty() {
            // As the chart makes it, so that it goes with the release.
            return Ok((Authorities::default(), version));
        }
        let text = Zeroizing::new(values.remove(DATA_KEY).unwrap_or_default().0);
        values.into_values().for_each(|mut value| value.0.zeroize());
        let authorities =
            Authorities::parse(&text).map_err(|source| KeepError::Garbage { name: self.secret_name(), source })?;
        Ok((authorities, version))
    }

    /// Writes the CAs over the version that was read, and returns the new version.
    async fn write(&self, authorities: &Authorities, version: Option<String>) -> Result<Option<String>, KeepError> {
        let name = self.secret_name();
        let text = authorities.to_json().map_err(|source| KeepError::Garbage { name: name.clone(), source })?;
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.settings.secret.clone()),
                namespace: Some(self.settings.namespace.clone()),
                resource_version: version,
                // No labels: those are the chart's.
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(DATA_KEY.to_owned(), ByteString(text.to_vec()))])),
            ..Secret::default()
        };
        let params = PatchParams::apply(names::MANAGER_WEBHOOK);
        let written = self.secrets.patch(&self.settings.secret, &params, &Patch::Apply(&secret)).await;
        wipe(&mut secret);
        let mut written = written.map_err(|source| KeepError::Write { name, source })?;
        wipe(&mut written);
        Ok(written.metadata.resource_version)
    }

    /// Makes the API server trust the CAs in the bundle.
    async fn tell(&self, bundle: &str) -> Result<(), KeepError> {
        let name = &self.settings.configuration;
        let failed = |source| KeepError::Tell { name: name.clone(), source };
        let Some(configuration) = self.configurations.get_opt(name).await.map_err(failed)? else {
            return Err(KeepError::NobodyToTell { name: name.clone() });
        };
        let mut webhooks = configuration.webhooks.iter().flatten();
        let told = webhooks
            .find(|webhook| webhook.name == WEBHOOK)
            .and_then(|webhook| webhook.client_config.ca_bundle.as_ref());
        if told.is_some_and(|told| told.0 == bundle.as_bytes()) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": ByteString(bundle.as_bytes().to_vec())}}],
        });
        let params = PatchParams::apply(names::MANAGER_WEBHOOK);
        self.configurations.patch(name, &params, &Patch::Apply(patch)).await.map_err(failed)?;
        tracing::info!(name, "told the API server which CAs of the webhook to trust");
        Ok(())
    }

    /// Issues a certificate if one is due. Nothing can be served while there is no CA.
    fn serve(&self, authorities: &Authorities, now: Timestamp) -> Result<(), KeepError> {
        let Some(signer) = authorities.signer(now) else { return Ok(()) };
        if self.served.term().is_some_and(|term| !term.is_due(signer, now)) {
            return Ok(());
        }
        let (service, namespace) = (&self.settings.service, &self.settings.namespace);
        let names = vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}")];
        let leaf = issue(signer, names, now, self.settings.certificate_lifetime)?;
        let key = CertifiedKey::from_der(vec![leaf.certificate], leaf.key, &aws_lc_rs::default_provider())?;
        self.metrics.set_webhook_certificate_expiry(leaf.term.not_after);
        tracing::info!(authority = leaf.term.authority, not_after = %leaf.term.not_after, "the webhook serves a new certificate");
        self.served.set(leaf.term, Arc::new(key));
        Ok(())
    }

    fn secret_name(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.secret)
    }
}

fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}

#[cfg(test)]
mod tests;
