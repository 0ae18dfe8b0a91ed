//! The process: starts every part, ties them together, and ends them in the right order.
//!
//! Order of the end: reconciling stops; the Lease is given back, so that another replica goes on at once; the webhook
//! answers a little longer, until no API server calls this replica any more. Invariants: what fails at the start says what
//! to do; a cluster without the CRD, and an API server that is away, are waited for. Test to read first:
//! `tests::a_missing_crd_is_waited_for`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use crd_types::TunnelPeering;
use futures_util::future::try_join_all;
use kube::api::ListParams;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::cause::cause;
use crate::cli::Args;
use crate::lease::{Elector, GRACE, Timing, while_leading};
use crate::metrics::Metrics;
use crate::reconcile::{self, Scope};
use crate::webhook::Webhook;
use crate::webhook::certificate::{self, Keeper};
use crate::webhook::server::{self, Served};

/// Pause between two looks for the CRD.
const CRD_RETRY: Duration = Duration::from_secs(5);
/// How long one look may take.
const CRD_PATIENCE: Duration = Duration::from_secs(10);
/// How long the webhook goes on after the end began: the network forgets this replica not at once.
const LINGER: Duration = Duration::from_secs(5);

/// Runs the operator until the process is told to stop.
///
/// # Errors
/// It cannot start, or a part of it broke off.
pub async fn run(args: Args) -> Result<()> {
    let stop = stop_on_signal()?;
    let client = connect().await?;
    let metrics = Arc::new(Metrics::new());
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let identity = args.identity.clone().map_or_else(made_up_identity, Ok)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace, identity, "the operator starts");

    let (leads, leading) = watch::channel(false);
    let end = CancellationToken::new();
    let mut parts = tokio::task::JoinSet::new();
    let served = args.webhook.then(Arc::<Served>::default);
    let admin = Admin { metrics: Arc::clone(&metrics), served: served.clone(), stop: stop.clone() };
    let listener = bind(args.admin_address, "--admin-address").await?;
    let admin_end = end.clone();
    parts.spawn(async move {
        admin.serve(listener, admin_end).await;
        Ok(())
    });
    if let Some(served) = served {
        let listener = bind(args.webhook_address, "--webhook-address").await?;
        let keeper = Keeper::new(client.clone(), keeping(&args, &namespace), Arc::clone(&served), Arc::clone(&metrics));
        let (keeper_leading, keeper_end) = (leading.clone(), end.clone());
        parts.spawn(async move {
            keeper.run(keeper_leading, keeper_end).await;
            Ok(())
        });
        let webhook = Webhook::new(client.clone(), Arc::clone(&metrics));
        let server = server::serve(listener, webhook, served, end.clone());
        parts.spawn(async move { server.await.context("the webhook cannot be served") });
    }
    let elector = Elector::new(client.clone(), &namespace, &args.lease_name, &identity, Timing::default());
    parts.spawn(lead(elector, leads, leading, client, args.clone(), metrics, stop.clone()));

    // The first part to end is the leader's when told to stop; any other broke off.
    let first = parts.join_next().await;
    let stopped = stop.is_cancelled();
    if stopped && args.webhook {
        sleep(LINGER).await;
    }
    stop.cancel();
    end.cancel();
    let mut ended: Vec<_> = first.into_iter().collect();
    while let Some(part) = parts.join_next().await {
        ended.push(part);
    }
    for part in ended {
        part.context("a part of the operator broke off")??;
    }
    if !stopped {
        bail!("a part of the operator ended by itself");
    }
    tracing::info!("the operator ends");
    Ok(())
}

/// Competes for the Lease, reconciles while it is held, and gives it back once that ended.
async fn lead(
    elector: Elector,
    leads: watch::Sender<bool>,
    leading: watch::Receiver<bool>,
    client: Client,
    args: Args,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<()> {
    let resign = CancellationToken::new();
    let electing = tokio::spawn(elector.run(leads, resign.clone()));
    let settings = args.settings();
    let namespaces = args.watch_namespaces();
    while_leading(leading, stop, GRACE, move |ending| {
        let (client, settings, namespaces) = (client.clone(), settings.clone(), namespaces.clone());
        let term = LeaderTerm::begin(&metrics);
        async move {
            if !wait_for_crd(&client, &namespaces, &ending).await {
                return Ok(());
            }
            term.0.set_working(true);
            let scopes = if namespaces.is_empty() {
                vec![Scope::Cluster]
            } else {
                namespaces.into_iter().map(Scope::Namespace).collect()
            };
            try_join_all(scopes.into_iter().map(|scope| {
                reconcile::run(client.clone(), scope, settings.clone(), Arc::clone(&term.0), ending.clone())
            }))
            .await?;
            Ok(())
        }
    })
    .await;
    resign.cancel();
    electing.await.context("the competition for the Lease broke off")
}

/// While it lives, the metrics show a leader.
struct LeaderTerm(Arc<Metrics>);

impl LeaderTerm {
    fn begin(metrics: &Arc<Metrics>) -> Self {
        metrics.set_leader(true);
        tracing::info!("this replica holds the Lease and reconciles");
        Self(Arc::clone(metrics))
    }
}

impl Drop for LeaderTerm {
    fn drop(&mut self) {
        self.0.set_leader(false);
        tracing::info!("this replica no longer reconciles");
    }
}

/// Waits until peerings can be listed. False if told to stop before.
async fn wait_for_crd(client: &Client, namespaces: &[String], stop: &CancellationToken) -> bool {
    let apis: Vec<Api<TunnelPeering>> = if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    let mut said = String::new();
    loop {
        let one = ListParams::default().limit(1);
        let looks = try_join_all(apis.iter().map(|api| api.list(&one)));
        let trouble = match stop.run_until_cancelled(timeout(CRD_PATIENCE, looks)).await {
            None => return false,
            Some(Ok(Ok(_))) => return true,
            Some(Ok(Err(error))) => why_not_listed(&error),
            Some(Err(_)) => "the API server does not answer".to_owned(),
        };
        if trouble != said {
            tracing::warn!(%trouble, retry_in_s = CRD_RETRY.as_secs(), "peerings cannot be listed; trying again");
            said = trouble;
        }
        if stop.run_until_cancelled(sleep(CRD_RETRY)).await.is_none() {
            return false;
        }
    }
}

fn why_not_listed(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            "the CustomResourceDefinition tunnelpeerings.hoft.dev is not installed, or not in version v1alpha1: install \
             the chart, or `kubectl apply --server-side -f crds/`"
                .to_owned()
        }
        kube::Error::Api(status) if status.code == 403 => format!(
            "the operator's ServiceAccount may not list tunnelpeerings.hoft.dev: its ClusterRole or Role must allow get, \
             list and watch ({})",
            status.message
        ),
        other => cause(other),
    }
}

async fn connect() -> Result<Client> {
    let config = Config::infer().await.context(
        "no way to an API server: set KUBECONFIG to a kubeconfig file, or run in a pod whose ServiceAccount token is mounted",
    )?;
    let address = config.cluster_url.clone();
    Client::try_from(config).with_context(|| format!("no client for the API server at {address}"))
}

async fn bind(address: std::net::SocketAddr, option: &str) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on: choose another address by {option}, or free it"))
}

fn keeping(args: &Args, namespace: &str) -> certificate::Settings {
    certificate::Settings {
        namespace: namespace.to_owned(),
        secret: args.webhook_ca_secret.clone(),
        configuration: args.webhook_configuration.clone(),
        service: args.webhook_service.clone(),
        ca_lifetime: args.webhook_ca_lifetime,
        certificate_lifetime: args.webhook_certificate_lifetime,
    }
}

/// Two processes of one name would both believe that they hold the Lease.
fn made_up_identity() -> Result<String> {
    let mut dice = [0; 4];
    getrandom::fill(&mut dice).context("no random numbers for the name of this replica: give it by --identity")?;
    Ok(format!("hoft-operator-{:08x}", u32::from_be_bytes(dice)))
}

/// A token that SIGTERM or SIGINT cancels.
fn stop_on_signal() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("signals cannot be waited for")?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            tracing::info!("told to stop");
            stop.cancel();
        });
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    //! The start, against an API server in memory.
    use super::*;
    use crate::fake_api::FakeApi;
    use serde_json::json;

    #[tokio::test]
    async fn a_missing_crd_is_waited_for() {
        const PATH: &str = "/apis/hoft.dev/v1alpha1/namespaces/shop/tunnelpeerings";
        let api = FakeApi::default();
        let stop = CancellationToken::new();
        let namespaces = ["shop".to_owned()];
        let client = api.client();
        let waiting = wait_for_crd(&client, &namespaces, &stop);
        tokio::pin!(waiting);
        let early = timeout(Duration::from_millis(50), waiting.as_mut()).await;
        assert!(early.is_err(), "404 is no reason to go on or to give up");
        stop.cancel();
        assert!(!waiting.await, "told to stop");

        let list = json!({"apiVersion": "hoft.dev/v1alpha1", "kind": "TunnelPeeringList", "metadata": {}, "items": []});
        api.set_object(PATH, Some(list));
        assert!(wait_for_crd(&client, &namespaces, &CancellationToken::new()).await);
        assert!(api.log().iter().all(|line| line.starts_with("GET ")), "{:?}", api.log());
    }

    #[test]
    fn what_keeps_peerings_from_being_listed_comes_with_a_remedy() {
        let refusal =
            |code: u16| kube::Error::Api(Box::new(kube::core::Status { code, ..kube::core::Status::default() }));
        assert!(why_not_listed(&refusal(404)).contains("install the chart"));
        assert!(why_not_listed(&refusal(403)).contains("must allow get, list and watch"));
    }

    #[test]
    fn replicas_without_a_name_get_different_ones() {
        assert_ne!(made_up_identity().unwrap(), made_up_identity().unwrap());
    }

    #[test]
    fn the_metrics_show_a_leader_for_as_long_as_it_works() {
        let metrics = Arc::new(Metrics::new());
        let term = LeaderTerm::begin(&metrics);
        assert!(metrics.is_leader());
        drop(term);
        assert!(!metrics.is_leader());
    }
}
