//! Asks every engine how it is: `GET /statusz` on its pod's address, every heartbeat interval, jittered.
//!
//! Invariants: one question to a pod at a time; answers are bounded in size and time; a change that matters wakes the
//! reconciler of its peering. It writes nothing to the API server. Test to read first:
//! `tests::an_answer_is_read_and_a_flood_is_refused`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crd_types::TunnelPeering;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cause::chain;
use crate::metrics::Metrics;
use crate::observe::EngineStatus;
use crate::pods;
use crate::reports::Reports;

/// Longest time between two questions to an engine.
pub const PERIOD_MAX: Duration = Duration::from_secs(15);
/// Shortest time between two questions to an engine.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// How long an engine may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most questions at once.
const QUESTIONS_MAX: usize = 16;
/// How often the pods are looked through for due questions.
const TICK: Duration = Duration::from_millis(250);

/// Asks the engines of the pods in a store until it is stopped.
#[derive(Debug)]
pub struct Poller {
    /// The pods.
    pub pods: Vec<Store<Pod>>,
    /// The peerings, for their heartbeat intervals.
    pub peerings: Store<TunnelPeering>,
    /// Where answers go.
    pub reports: Arc<Reports>,
    /// Who is told of changes.
    pub changed: mpsc::UnboundedSender<ObjectRef<TunnelPeering>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Poller {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let client: HttpClient<HttpConnector, Empty<Bytes>> =
            HttpClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        let questions = Arc::new(Semaphore::new(QUESTIONS_MAX));
        let mut due: BTreeMap<String, Instant> = BTreeMap::new();
        let this = Arc::new(self);
        while !stop.is_cancelled() {
            let pods: Vec<Arc<Pod>> = this.pods.iter().flat_map(Store::state).collect();
            let running: BTreeSet<String> = pods.iter().filter_map(|pod| pod.uid()).collect();
            due.retain(|uid, _| running.contains(uid));
            this.reports.retain(|uid, subject| running.contains(uid) || this.peerings.get(&subject.peering).is_some());
            for pod in pods {
                let (Some(address), Some(uid), Some(subject)) = (pods::address(&pod), pod.uid(), pods::subject(&pod))
                else {
                    continue;
                };
                // Anybody may label a pod; only peerings that exist have engines.
                if this.peerings.get(&subject.peering).is_none() {
                    continue;
                }
                let now = Instant::now();
                let period = this.period(&subject.peering, pod.metadata.deletion_timestamp.is_some());
                // A pod that began to end is asked at once: its last answer names the calls that it leaves behind.
                let at = due.entry(uid.clone()).or_insert(now);
                if *at > now && *at - now <= period {
                    continue;
                }
                let Ok(permit) = Arc::clone(&questions).try_acquire_owned() else { break };
                *at = now + jittered(period, &uid, now);
                let (client, this) = (client.clone(), Arc::clone(&this));
                tokio::spawn(async move {
                    let answer = ask(&client, &address).await;
                    drop(permit);
                    this.metrics.polled(answer.is_ok());
                    if this.reports.put(&uid, &subject, Timestamp::now(), answer) {
                        // Nobody listens any more only while stopping.
                        let _ = this.changed.send(subject.peering);
                    }
                });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn period(&self, peering: &ObjectRef<TunnelPeering>, terminating: bool) -> Duration {
        if terminating {
            return PERIOD_MIN;
        }
        self.peerings
            .get(peering)
            .and_then(|peering| sidecar_config::parse_duration(&peering.spec.heartbeat.interval).ok())
            .map_or(PERIOD_MAX, |interval| interval.clamp(PERIOD_MIN, PERIOD_MAX))
    }
}

/// Between 80 and 100 % of a period, so that many engines are not asked in step.
fn jittered(period: Duration, uid: &str, now: Instant) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let dice = RandomState::new().hash_one((uid, now));
    period - period.mul_f64(f64::from(u8::try_from(dice % 20).unwrap_or(0)) / 100.0)
}

async fn ask(client: &HttpClient<HttpConnector, Empty<Bytes>>, address: &str) -> Result<EngineStatus, String> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    ask_at(client, &format!("{host}:{}", crd_types::names::PORT_ADMIN)).await
}

async fn ask_at(client: &HttpClient<HttpConnector, Empty<Bytes>>, authority: &str) -> Result<EngineStatus, String> {
    let uri = format!("http://{authority}/statusz").parse().map_err(|error| format!("{authority}: {error}"))?;
    let question = async {
        let response = client.get(uri).await.map_err(|error| chain(&error))?;
        if !response.status().is_success() {
            return Err(format!("answered {}", response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| format!("is no status: {error}"))
    };
    tokio::time::timeout(ANSWER_MAX, question)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_MAX.as_secs())))
        .map_err(|cause| format!("/statusz at {authority}: {cause}"))
}

#[cfg(test)]
mod tests {
    //! Against a server of our own on loopback.
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn serve(answer: Vec<u8>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(&answer).await;
        });
        address
    }

    fn client() -> HttpClient<HttpConnector, Empty<Bytes>> {
        HttpClient::builder(TokioExecutor::new()).build_http()
    }

    #[tokio::test]
    async fn an_answer_is_read_and_a_flood_is_refused() {
        let body = br#"{"started":true,"peers":[{"alive":"alive","new_field":1}]}"#;
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        let status = ask_at(&client(), &serve(answer).await).await.unwrap();
        assert!(status.started);
        assert_eq!(status.peers[0].alive, "alive");

        let mut flood = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n".to_vec();
        flood.resize(2_000_100, b' ');
        let refused = ask_at(&client(), &serve(flood).await).await.unwrap_err();
        assert!(refused.contains("length limit exceeded"), "{refused}");
    }

    #[tokio::test]
    async fn garbage_and_a_closed_port_name_the_address() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\noops".to_vec();
        let address = serve(answer).await;
        let refused = ask_at(&client(), &address).await.unwrap_err();
        assert!(refused.contains(&address) && refused.contains("is no status"), "{refused}");
        let refused = ask_at(&client(), &address).await.unwrap_err();
        assert!(refused.contains("refused") || refused.contains("closed"), "{refused}");
    }
}
