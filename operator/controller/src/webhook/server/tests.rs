//! The port on loopback, called as the API server calls it.

use super::*;
use crate::fake_api::{Failure, FakeApi};
use crate::metrics::Metrics;
use crate::webhook::certificate::{Keeper, Settings};
use crate::webhook::review::tests::{peering, pod, question};
use hyper::client::conn::{http1, http2};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/hoft-inject";
const PEERING: &str = "/apis/hoft.dev/v1alpha1/namespaces/shop/tunnelpeerings/south";
const DAY: Duration = Duration::from_hours(24);

/// A webhook at work in a cluster with one peering, and the keeper of its certificate.
struct Running {
    api: FakeApi,
    metrics: Arc<Metrics>,
    keeper: Keeper,
    served: Arc<Served>,
    address: SocketAddr,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), rustls::Error>>,
}

impl Running {
    async fn start(now: Timestamp) -> Self {
        let api = FakeApi::default();
        api.set_object(CONFIGURATION, Some(json!({
            "metadata": {"name": "hoft-inject"},
            "webhooks": [{"name": "pods.hoft.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {}}],
        })));
        api.set_object(PEERING, Some(serde_json::to_value(peering()).unwrap()));
        let (metrics, served) = (Arc::new(Metrics::new()), Arc::<Served>::default());
        let settings = Settings {
            namespace: "hoft-system".to_owned(),
            secret: "hoft-webhook-ca".to_owned(),
            configuration: "hoft-inject".to_owned(),
            service: "hoft-webhook".to_owned(),
            ca_lifetime: DAY * 30,
            certificate_lifetime: DAY * 29,
        };
        let keeper = Keeper::new(api.client(), settings, Arc::clone(&served), Arc::clone(&metrics));
        keeper.turn(true, now).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let webhook = Webhook::new(api.client(), Arc::clone(&metrics));
        let serving = tokio::spawn(serve(listener, webhook, Arc::clone(&served), stop.clone()));
        Self { api, metrics, keeper, served, address, stop, serving }
    }

    /// A TLS connection, made by one who trusts what the API server is told now.
    async fn connect(&self, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let configuration = self.api.object(CONFIGURATION).unwrap();
        let bundle: ByteString =
            serde_json::from_value(configuration["webhooks"][0]["clientConfig"]["caBundle"].clone()).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle.0) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("hoft-webhook.hoft-system.svc").unwrap();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.connect(b"h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Asks about a pod over a connection of its own.
    async fn ask(&self, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
        post(&mut self.http2().await, body).await
    }
}

fn served_to(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("https://hoft-webhook.hoft-system.svc:443{path}?timeout=5s");
    Request::builder().method(method).uri(uri).body(Full::new(body.into())).unwrap()
}

async fn post(sender: &mut http2::SendRequest<Full<Bytes>>, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
    let response = sender.send_request(request(Method::POST, "/mutate", body)).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

fn body(pod: &Value) -> Vec<u8> {
    serde_json::to_vec(&question(pod)).unwrap()
}

fn verdict(body: &[u8]) -> (bool, String) {
    let review: Value = serde_json::from_slice(body).unwrap();
    let response = &review["response"];
    (response["allowed"].as_bool().unwrap(), response["status"]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_rotation_spares_open_connections_and_serves_the_new_certificate() {
    // The CA was made so long ago that it is to be replaced today.
    let today = Timestamp::now();
    let running = Running::start(today.saturating_sub(DAY * 20).unwrap()).await;
    let before = served_to(&running.connect(b"h2").await.unwrap());
    let mut open = running.http2().await;
    assert!(verdict(&post(&mut open, body(&pod())).await.1).0);
    let old_ca = running.served.term().unwrap().authority;

    running.keeper.turn(true, today).await.unwrap();
    running.keeper.turn(true, today.saturating_add(Duration::from_secs(61)).unwrap()).await.unwrap();

    assert_ne!(running.served.term().unwrap().authority, old_ca);
    assert!(verdict(&post(&mut open, body(&pod())).await.1).0, "the open connection goes on");
    let after = served_to(&running.connect(b"h2").await.unwrap());
    assert_ne!(before, after, "a new connection gets the new certificate");
    running.stop.cancel();
    running.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn pods_are_judged_by_their_peering() {
    let running = Running::start(Timestamp::now()).await;
    let (status, answer) = running.ask(body(&pod())).await;
    assert_eq!(status, StatusCode::OK);
    let review: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(review["response"]["patchType"], "JSONPatch");

    let mut plain = pod();
    plain["metadata"]["labels"] = json!({"app": "x"});
    let asked = running.api.log().len();
    assert_eq!(verdict(&running.ask(body(&plain)).await.1), (true, String::new()));
    assert_eq!(running.api.log().len(), asked, "the API server is asked for labelled pods only");

    running.api.fail(Some(Failure::Status(500)));
    let (allowed, message) = verdict(&running.ask(body(&pod())).await.1);
    assert!(!allowed && message.contains("shop/south could not be read"), "{message}");
    running.api.fail(None);

    running.api.set_object(PEERING, None);
    let (allowed, message) = verdict(&running.ask(body(&pod())).await.1);
    assert!(!allowed && message.contains("TunnelPeering shop/south does not exist"), "{message}");

    let writes =
        running.api.log().iter().filter(|line| line.contains("tunnelpeerings") && !line.starts_with("GET ")).count();
    assert_eq!(writes, 0, "it changes nothing");
    let metrics = running.metrics.encode();
    for result in ["injected", "unchanged", "failed", "denied"] {
        assert!(
            metrics.contains(&format!("hoft_operator_webhook_requests_total{{result=\"{result}\"}} 1\n")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn what_is_no_question_is_refused() {
    let running = Running::start(Timestamp::now()).await;
    let mut sender = running.http2().await;
    for (what, request, expected) in [
        ("another path", request(Method::POST, "/", body(&pod())), 404),
        ("another method", request(Method::GET, "/mutate", ""), 405),
        ("garbage", request(Method::POST, "/mutate", "garbage"), 400),
        ("nothing", request(Method::POST, "/mutate", ""), 400),
        ("too much", request(Method::POST, "/mutate", vec![b' '; BODY_BYTES_MAX + 1]), 413),
        ("a question", request(Method::POST, "/mutate", body(&pod())), 200),
    ] {
        assert_eq!(sender.send_request(request).await.unwrap().status(), expected, "{what}");
    }
    assert!(running.metrics.encode().contains("hoft_operator_webhook_requests_total{result=\"malformed\"} 2\n"));
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_all_the_same() {
    let running = Running::start(Timestamp::now()).await;
    let mut stream = running.connect(b"http/1.1").await.unwrap();
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..=BODY_BYTES_MAX >> 20 {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        stream.write_all(&chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    let mut answer = vec![0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), "HTTP/1.1 413");
}

#[tokio::test]
async fn http_1_works_too() {
    let running = Running::start(Timestamp::now()).await;
    let stream = running.connect(b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = request(Method::POST, "/mutate", body(&pod()));
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("hoft-webhook.hoft-system.svc"));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_tls_and_no_certificate_end_the_connection_only() {
    let running = Running::start(Timestamp::now()).await;
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut rest).await;
    running.served.0.store(None);
    assert!(running.connect(b"h2").await.is_err(), "nothing to serve");
    running.keeper.turn(true, Timestamp::now()).await.unwrap();
    assert!(running.connect(b"h2").await.is_ok());
}
