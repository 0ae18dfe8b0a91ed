//! The shell around the planner: reads what a plan needs, plans, applies, and comes back when something changed.
//!
//! Invariants: one reconcile of a peering at a time; everything decided is decided in `plan/`; losing the lease stops this
//! and nothing else. A failure is tried again with growing pauses and is shown in the status where it can be.
//! Test to read first: the cluster tests in `tests/e2e`; the pieces have their own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use crd_types::{ConditionStatus, ConditionType, TunnelPeering, names};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use kube_runtime::controller::{Action, Config, Controller};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::plan::{Event, Plan, Settings, World, plan};
use crate::poll::Poller;
use crate::reports::Reports;
use crate::{apply, keys, pods, stranded};

/// A peering is looked at again after this time even if nothing was heard of it: times in its status go on.
const RECONCILE_PERIOD: Duration = Duration::from_secs(30);
/// The same while something is missing that is not watched (a claim, a Service).
const RECONCILE_PERIOD_INCOMPLETE: Duration = Duration::from_secs(3);
/// What is still missing after this time is looked for as seldom as the rest.
const INCOMPLETE_MAX: SignedDuration = SignedDuration::from_mins(10);
/// With more peerings than this a second, each is looked at less often. Of those that wait for their turn the next is picked
/// without regard to their age: where the same ones came again before all had theirs, some would wait for ever.
const PEERINGS_PER_SECOND_MAX: f64 = 16.0;
/// Changes that come together are dealt with together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Peerings dealt with at once: most of a reconcile is waiting for the API server.
const CONCURRENCY: u16 = 8;
/// Pause after the first failure, doubled with each.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const RETRY_MAX: Duration = Duration::from_mins(1);

/// What reconciling needs.
struct Context {
    scope: String,
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    recorder: Recorder,
    memory: Memory,
    reports: Arc<Reports>,
    peerings: Store<TunnelPeering>,
    pods: Vec<Store<Pod>>,
    failures: std::sync::Mutex<HashMap<ObjectRef<TunnelPeering>, u32>>,
}

/// Which namespaces are looked after.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All.
    Cluster,
    /// One.
    Namespace(String),
}

impl Scope {
    fn name(&self) -> &str {
        match self {
            Self::Cluster => "",
            Self::Namespace(name) => name,
        }
    }

    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// Looks after the peerings of a scope until `stop`.
///
/// # Errors
/// None that could be mended by trying again; those are tried again.
pub async fn run(
    client: Client,
    scope: Scope,
    settings: Settings,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<()> {
    // Whatever ends this, a panic too, ends the tasks that it began.
    let stop = stop.child_token();
    let _ended = stop.clone().drop_guard();
    let (changed, wake) = mpsc::unbounded_channel();
    let reports = Arc::new(Reports::default());
    let injected = watch_pods(&scope, &client, names::LABEL_INJECT.to_owned(), &reports, &changed, &stop);
    let gateways = watch_pods(
        &scope,
        &client,
        // A pod is watched once: one that wears both labels counts as a sidecar.
        format!("{}={},!{}", names::LABEL_ROLE, names::ROLE_GATEWAY, names::LABEL_INJECT),
        &reports,
        &changed,
        &stop,
    );
    let pods = vec![injected, gateways];

    let controller = Controller::new(scope.api::<TunnelPeering>(&client), watcher::Config::default())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .owns(scope.api::<StatefulSet>(&client), watcher::Config::default().labels(names::LABEL_PEERING))
        .reconcile_on(tokio_stream(wake))
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    let peerings = controller.store();

    let poller = Poller {
        pods: pods.clone(),
        peerings: peerings.clone(),
        reports: Arc::clone(&reports),
        changed,
        metrics: Arc::clone(&metrics),
    };
    tokio::spawn(poller.run(stop.clone()));

    let reporter = Reporter { controller: names::MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let context = Arc::new(Context {
        scope: scope.name().to_owned(),
        recorder: Recorder::new(client.clone(), reporter),
        client,
        settings,
        metrics,
        memory: Memory::default(),
        reports,
        peerings,
        pods,
        failures: std::sync::Mutex::default(),
    });
    // A plan made before the pods are known would say that no engine runs.
    for store in &context.pods {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ready = store.wait_until_ready() => ready.context("the pods' cache ended")?,
        }
    }
    controller
        .run(reconcile, on_failure, Arc::clone(&context))
        .for_each(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "the controller met an error");
            }
            std::future::ready(())
        })
        .await;
    Ok(())
}

fn tokio_stream(
    mut wake: mpsc::UnboundedReceiver<ObjectRef<TunnelPeering>>,
) -> impl futures_util::Stream<Item = ObjectRef<TunnelPeering>> + Send {
    futures_util::stream::poll_fn(move |context| wake.poll_recv(context))
}

/// Keeps a store of the pods with a label, and wakes the peering of every pod that changes.
fn watch_pods(
    scope: &Scope,
    client: &Client,
    selector: String,
    reports: &Arc<Reports>,
    changed: &mpsc::UnboundedSender<ObjectRef<TunnelPeering>>,
    stop: &CancellationToken,
) -> Store<Pod> {
    let (store, writer) = reflector::store();
    let stream = watcher(scope.api::<Pod>(client), watcher::Config::default().labels(&selector))
        .default_backoff()
        .modify(slim)
        .reflect(writer)
        .touched_objects();
    let (reports, changed, stop) = (Arc::clone(reports), changed.clone(), stop.clone());
    tokio::spawn(async move {
        let each = stream.for_each(|pod| {
            match pod {
                Ok(pod) => {
                    if let Some(subject) = pods::subject(&pod) {
                        if let (Some(words), Some(uid)) = (pods::last_words(&pod), pod.uid()) {
                            reports.put_last_words(&uid, &subject, Timestamp::now(), words);
                        }
                        // Nobody listens any more only while stopping.
                        let _ = changed.send(subject.peering);
                    }
                }
                Err(error) => tracing::warn!(%selector, %error, "pods cannot be watched; it is tried again"),
            }
            std::future::ready(())
        });
        tokio::select! {
            () = stop.cancelled() => {}
            () = each => {}
        }
    });
    store
}

/// Drops what no plan looks at: many pods are kept in memory.
fn slim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(spec) = &mut pod.spec {
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            container.env = None;
            container.command = None;
            container.args = None;
            container.volume_mounts = None;
        }
        spec.volumes = None;
    }
}

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct ReconcileError(#[from] anyhow::Error);

async fn reconcile(peering: Arc<TunnelPeering>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    let name = ObjectRef::from_obj(&*peering);
    let result = one(&peering, &context).await;
    context.metrics.reconciled(result.is_ok(), began.elapsed());
    if result.is_ok() {
        context.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&name);
    }
    Ok(Action::requeue(result?))
}

fn on_failure(peering: Arc<TunnelPeering>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let mut failures = context.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = failures.entry(ObjectRef::from_obj(&*peering)).or_default();
    let pause = RETRY_MIN.saturating_mul(2_u32.saturating_pow(*count)).min(RETRY_MAX);
    *count = count.saturating_add(1);
    tracing::warn!(
        namespace = peering.namespace().unwrap_or_default(), peering = %peering.name_any(), %error,
        retry_in_s = pause.as_secs(), "a peering could not be reconciled"
    );
    Action::requeue(pause)
}

/// Reconciles one peering; returns when to look at it again.
async fn one(cached: &TunnelPeering, context: &Context) -> Result<Duration> {
    if cached.metadata.deletion_timestamp.is_some() {
        // Its children go by their owner references.
        return Ok(RECONCILE_PERIOD);
    }
    let mut peering = cached.clone();
    context.memory.refresh(&mut peering);
    forget_the_gone(context);
    stranded::tell(&context.recorder, &peering, &context.pods, &context.reports).await;

    let uid = peering.uid().unwrap_or_default();
    let mut known = Known::read(&peering, context).await?;
    let mut planned = known.plan(&peering, context);
    if planned.generate_identity {
        match own_keys(&peering, context).await {
            Ok(identity) => peering.status.get_or_insert_default().identity = Some(identity),
            Err(error) => context.memory.apply_failed(&uid, format!("{error:#}")),
        }
        known.apply_failure = context.memory.failure(&uid);
        planned = known.plan(&peering, context);
        // The keys' name must stand before anything else can fail, or others would be generated.
        let (status, events) = (planned.status.clone(), planned.events.clone());
        write_status(context, &mut peering, cached, &status).await?;
        tell_all(context, &peering, &events).await;
        anyhow::ensure!(status.identity.is_some(), "keys cannot be made: {}", known.apply_failure.unwrap_or_default());
        planned = known.plan(&peering, context);
    }
    if known.gateway_was_changed(&planned) {
        context.memory.disturb(&uid);
    }
    let applied = apply::children(&context.client, &context.memory, &peering, &planned).await;
    if let Err(error) = &applied {
        context.memory.apply_failed(&uid, format!("{error:#}"));
        known.apply_failure = context.memory.failure(&uid);
        planned = known.plan(&peering, context);
    }
    let events = planned.events.clone();
    let status = planned.status.clone();
    write_status(context, &mut peering, cached, &status).await?;
    tell_all(context, &peering, &events).await;
    let shown = apply::pod_conditions(&context.client, &peering.namespace().unwrap_or_default(), &planned.pods).await;
    count_conditions(context);
    applied?;
    shown?;
    Ok(period(settled(&planned, Timestamp::now()), context.peerings.len()))
}

/// When a peering is looked at again, one of so many.
fn period(settled: bool, peerings: usize) -> Duration {
    let turn = u32::try_from(peerings).map_or(f64::from(u32::MAX), f64::from) / PEERINGS_PER_SECOND_MAX;
    let period = if settled { RECONCILE_PERIOD } else { RECONCILE_PERIOD_INCOMPLETE };
    period.max(Duration::from_secs_f64(turn))
}

/// The keys that were made for a peering, or new ones.
async fn own_keys(peering: &TunnelPeering, context: &Context) -> Result<crd_types::IdentityStatus> {
    let uid = peering.uid().unwrap_or_default();
    if let Some(made) = context.memory.identity(&uid) {
        return Ok(made);
    }
    let identity = keys::generate(&context.client, peering).await?;
    context.memory.made(&uid, &identity);
    apply::tell(&context.recorder, peering, &identity_generated(&identity), None).await;
    Ok(identity)
}

async fn tell_all(context: &Context, peering: &TunnelPeering, events: &[Event]) {
    for event in events {
        apply::tell(&context.recorder, peering, event, None).await;
    }
}

async fn write_status(
    context: &Context,
    peering: &mut TunnelPeering,
    cached: &TunnelPeering,
    status: &crd_types::TunnelPeeringStatus,
) -> Result<()> {
    // What stands on the API server is what the cache or the memory says, not what was put in while planning.
    let mut standing = cached.clone();
    context.memory.refresh(&mut standing);
    apply::status(&context.client, &context.memory, &standing, status).await?;
    peering.status = Some(status.clone());
    Ok(())
}

/// This side is done, or has not been for so long that it need not be looked at all the time.
fn settled(plan: &Plan, now: Timestamp) -> bool {
    let ready = plan.status.conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|ready| {
        ready.status == "True" || now.duration_since(ready.last_transition_time.0) >= INCOMPLETE_MAX
    })
}

fn identity_generated(identity: &crd_types::IdentityStatus) -> Event {
    Event {
        warning: false,
        reason: "IdentityGenerated",
        action: "GenerateKeys",
        note: format!(
            "Keys of this side were generated into Secret {}; fingerprint {}. Copy status.identity.publicKey to the far side.",
            identity.secret_name, identity.fingerprint
        ),
    }
}

/// What a plan needs besides the peering.
struct Known {
    siblings: Vec<Arc<TunnelPeering>>,
    claims: BTreeMap<String, PersistentVolumeClaim>,
    services: BTreeMap<String, Service>,
    stateful_set: Option<StatefulSet>,
    instances: Vec<crate::plan::Instance>,
    apply_failure: Option<String>,
}

impl Known {
    async fn read(peering: &TunnelPeering, context: &Context) -> Result<Self> {
        let namespace = peering.namespace().unwrap_or_default();
        let spec = &peering.spec;
        let mut claims = BTreeMap::new();
        let shared = spec.volume.state.as_ref().and_then(|state| state.claim_name.as_ref());
        let named = [Some(&spec.volume.outbox.claim_name), Some(&spec.volume.inbox.claim_name), shared];
        for name in named.into_iter().flatten().collect::<BTreeSet<_>>() {
            if let Some(claim) = apply::read::<PersistentVolumeClaim>(&context.client, &namespace, name).await? {
                claims.insert(name.clone(), claim);
            }
        }
        let mut services = BTreeMap::new();
        let rules = spec.inbound.iter().flat_map(|inbound| &inbound.allow);
        let named = rules.filter_map(|rule| rule.target.as_ref()?.service_ref.as_ref()).map(|service| &service.name);
        for name in named.collect::<BTreeSet<_>>() {
            if let Some(service) = apply::read::<Service>(&context.client, &namespace, name).await? {
                services.insert(name.clone(), service);
            }
        }
        let gateway = names::gateway(&peering.name_any());
        Ok(Self {
            siblings: siblings(peering, &context.peerings),
            claims,
            services,
            stateful_set: apply::read::<StatefulSet>(&context.client, &namespace, &gateway).await?,
            instances: instances(peering, context),
            apply_failure: context.memory.failure(&peering.uid().unwrap_or_default()),
        })
    }

    /// Whether the gateway is not as it was applied: deleted, scaled or edited by somebody else.
    fn gateway_was_changed(&self, planned: &Plan) -> bool {
        let replicas = |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.replicas);
        match (&planned.stateful_set, &self.stateful_set) {
            (Some(planned), Some(standing)) => {
                replicas(planned) != replicas(standing)
                    || planned.annotations().iter().any(|(key, value)| standing.annotations().get(key) != Some(value))
            }
            (Some(_), None) => true,
            (None, _) => planned.remove_gateway,
        }
    }

    fn plan(&self, peering: &TunnelPeering, context: &Context) -> Plan {
        plan(&World {
            peering,
            siblings: &self.siblings,
            claims: &self.claims,
            services: &self.services,
            stateful_set: self.stateful_set.as_ref(),
            instances: &self.instances,
            apply_failure: self.apply_failure.as_deref(),
            settings: &context.settings,
            now: Timestamp::now(),
        })
    }
}

fn siblings(peering: &TunnelPeering, peerings: &Store<TunnelPeering>) -> Vec<Arc<TunnelPeering>> {
    let me = &peering.metadata;
    let mut siblings = peerings.state();
    siblings.retain(|other| other.metadata.namespace == me.namespace && other.metadata.name != me.name);
    siblings.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    siblings
}

fn instances(peering: &TunnelPeering, context: &Context) -> Vec<crate::plan::Instance> {
    let me = ObjectRef::from_obj(peering);
    let mut instances: Vec<_> = context
        .pods
        .iter()
        .flat_map(Store::state)
        .filter(|pod| pods::peering_of(pod).is_some_and(|of| of.name == me.name && of.namespace == me.namespace))
        .map(|pod| pods::instance(&pod, context.reports.of(&pod.uid().unwrap_or_default()).as_ref()))
        .collect();
    instances.sort_by(|a, b| a.pod.cmp(&b.pod));
    instances
}

fn count_conditions(context: &Context) {
    let mut counts: BTreeMap<(ConditionType, ConditionStatus), usize> = BTreeMap::new();
    let statuses = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
    for peering in context.peerings.state() {
        for condition in peering.status.iter().flat_map(|status| &status.conditions) {
            let kind = ConditionType::ALL.into_iter().find(|kind| kind.as_str() == condition.type_);
            let status = statuses.into_iter().find(|status| status.as_str() == condition.status);
            if let (Some(kind), Some(status)) = (kind, status) {
                *counts.entry((kind, status)).or_default() += 1;
            }
        }
    }
    context.metrics.set_peerings_of(&context.scope, counts);
}

fn forget_the_gone(context: &Context) {
    let uids: BTreeSet<String> = context.peerings.state().iter().filter_map(|peering| peering.uid()).collect();
    context.memory.retain(&uids);
}

#[cfg(test)]
mod tests {
    //! How often.
    use super::*;

    #[test]
    fn many_peerings_are_each_looked_at_less_often() {
        assert_eq!(period(true, 1), RECONCILE_PERIOD);
        assert_eq!(period(false, 40), RECONCILE_PERIOD_INCOMPLETE);
        assert_eq!(period(false, 160), Duration::from_secs(10));
        assert_eq!(period(true, 160), RECONCILE_PERIOD);
        assert_eq!(period(false, 16_000), period(true, 16_000));
    }
}
