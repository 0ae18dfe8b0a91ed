//! The metrics of the operator, as OpenMetrics text.
//!
//! Invariants: every name begins with `hoft_`; every label has few values, all written here (never a namespace, a peering
//! or a pod); every counter is there from the start, at zero, so that a first failure shows as a rise. Counting never
//! fails and never waits. Test to read first: `tests::every_metric_is_there_from_the_start`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crd_types::{ConditionStatus, ConditionType};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Peerings by a condition and its status.
pub type Counts = BTreeMap<(ConditionType, ConditionStatus), usize>;

/// What [`Metrics::encode`] writes, for the Content-Type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a reconcile or a question to an engine can end as.
const DONE: [&str; 2] = ["success", "error"];
const STATUSES: [ConditionStatus; 3] = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What became of a request to the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResult {
    /// An engine was put into the pod.
    Injected,
    /// The pod was let through as it is.
    Unchanged,
    /// The pod was refused, and told why.
    Denied,
    /// The peering could not be read, so the pod was refused.
    Failed,
    /// It was no request of an API server.
    Malformed,
}

impl WebhookResult {
    /// Every result.
    pub const ALL: [Self; 5] = [Self::Injected, Self::Unchanged, Self::Denied, Self::Failed, Self::Malformed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
        }
    }
}

/// What the operator counts and shows. One for the process, shared.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Labels<1>, Counter>,
    reconcile_duration: Histogram,
    polls: Family<Labels<1>, Counter>,
    webhook_requests: Family<Labels<1>, Counter>,
    leader: Gauge,
    peerings: Family<Labels<2>, Gauge>,
    /// Without samples until there is a certificate: zero would look like one that ended long ago.
    certificate_expiry: Family<Labels<0>, Gauge>,
    working: AtomicBool,
    scopes: Mutex<BTreeMap<String, Counts>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hoft");
        let metrics = Self {
            registry: Mutex::default(),
            reconciles: Family::default(),
            // 5 ms to 10 s: one apply to a patient retry.
            reconcile_duration: Histogram::new(exponential_buckets(0.005, 2.0, 12)),
            polls: Family::default(),
            webhook_requests: Family::default(),
            leader: Gauge::default(),
            peerings: Family::default(),
            certificate_expiry: Family::default(),
            working: AtomicBool::new(false),
            scopes: Mutex::default(),
        };
        metrics.register(&mut registry);
        metrics.start_at_zero();
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("operator_reconciles", "Reconciles of peerings that ended", self.reconciles.clone());
        registry.register_with_unit(
            "operator_reconcile_duration",
            "Time that reconciles took",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register("operator_polls", "Questions to engines that ended", self.polls.clone());
        registry.register(
            "operator_webhook_requests",
            "Requests to the admission webhook that were answered",
            self.webhook_requests.clone(),
        );
        registry.register(
            "operator_leader",
            "1 while this replica reconciles, 0 while it stands by",
            self.leader.clone(),
        );
        registry.register(
            "operator_peerings",
            "Peerings by condition and its status, at the replica that reconciles",
            self.peerings.clone(),
        );
        registry.register_with_unit(
            "operator_webhook_certificate_expiry_timestamp",
            "End of the certificate that the webhook serves",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        let version = [("version", env!("CARGO_PKG_VERSION")), ("component", "operator")];
        registry.register("build", "What runs", Info::new(version));
    }

    fn start_at_zero(&self) {
        for result in DONE {
            drop(self.reconciles.get_or_create(&[("result", result)]));
            drop(self.polls.get_or_create(&[("result", result)]));
        }
        for result in WebhookResult::ALL {
            drop(self.webhook_requests.get_or_create(&[("result", result.as_str())]));
        }
        self.set_peerings([]);
    }

    /// A reconcile ended.
    pub fn reconciled(&self, success: bool, took: Duration) {
        self.reconciles.get_or_create(&[("result", done(success))]).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A question to an engine ended.
    pub fn polled(&self, answered: bool) {
        self.polls.get_or_create(&[("result", done(answered))]).inc();
    }

    /// A request to the webhook was answered.
    pub fn webhook_answered(&self, result: WebhookResult) {
        self.webhook_requests.get_or_create(&[("result", result.as_str())]).inc();
    }

    /// The webhook serves a certificate that ends then.
    pub fn set_webhook_certificate_expiry(&self, at: jiff::Timestamp) {
        self.certificate_expiry.get_or_create(&[]).set(at.as_second());
    }

    /// This replica holds the Lease, or no longer. What a leader alone knows is forgotten at both turns.
    pub fn set_leader(&self, leading: bool) {
        self.leader.set(i64::from(leading));
        self.set_working(false);
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.set_peerings([]);
    }

    /// Does this replica hold the Lease?
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    /// The leader found peerings readable and reconciles. Asked by its `/readyz`.
    pub fn set_working(&self, working: bool) {
        self.working.store(working, Ordering::Release);
    }

    /// See [`Self::set_working`].
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.working.load(Ordering::Acquire)
    }

    /// How many peerings of a scope have each condition with each status; the sum over all scopes is shown.
    pub fn set_peerings_of(&self, scope: &str, counts: Counts) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.insert(scope.to_owned(), counts);
        let all = scopes.values().flatten();
        let mut sums: Counts = BTreeMap::new();
        for (key, count) in all {
            *sums.entry(*key).or_default() += count;
        }
        self.set_peerings(sums.into_iter().map(|((condition, status), count)| (condition, status, count)));
    }

    /// What is not named is zero.
    fn set_peerings(&self, counts: impl IntoIterator<Item = (ConditionType, ConditionStatus, usize)>) {
        for condition in ConditionType::ALL {
            for status in STATUSES {
                self.peerings.get_or_create(&peering_labels(condition, status)).set(0);
            }
        }
        for (condition, status, count) in counts {
            let gauge = self.peerings.get_or_create(&peering_labels(condition, status));
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// All of it as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut text, &registry).is_err() {
            // Writing into a String does not fail, and no metric here adds a failure of its own.
            tracing::error!("the metrics could not be encoded");
        }
        text
    }
}

const fn done(success: bool) -> &'static str {
    if success { DONE[0] } else { DONE[1] }
}

fn peering_labels(condition: ConditionType, status: ConditionStatus) -> Labels<2> {
    [("condition", condition.as_str()), ("status", status.as_str())]
}

#[cfg(test)]
mod tests;
