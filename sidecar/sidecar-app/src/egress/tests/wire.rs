//! The call alone: what each way to fail becomes.

use std::io::Write as _;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use layer2_http::operation::Executed;
use layer2_http::problem::{Problem, ProblemKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::server::{Server, closed_port, read_request};
use super::{egress_on, egress_to, head};
use crate::egress::call::{self, Content, Reply};
use crate::egress::{Egress, admission};

const LOOPBACK: &[&str] = &["127.0.0.0/8", "::1/128"];
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn call(egress: &Egress, method: &str, url: &str) -> Result<Reply, Problem> {
    let head = head(method, url);
    call::make(&admission::admit(egress, &head)?, Content::Empty).await
}

async fn outcome(egress: &Egress, method: &str, url: &str) -> (ProblemKind, Executed) {
    let problem = call(egress, method, url).await.unwrap_err();
    (problem.kind, problem.executed.unwrap())
}

/// Reads the content, so that the connection becomes idle.
async fn text(reply: Reply) -> String {
    let content = reply.response.into_body().collect().await.unwrap().to_bytes();
    // The client takes the connection back in a task of its own.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    String::from_utf8(content.to_vec()).unwrap()
}

#[tokio::test]
async fn a_closed_port_refuses_without_effect() {
    let port = closed_port().await;
    let egress = egress_on(LOOPBACK, &[port], None);
    let url = format!("http://127.0.0.1:{port}/v1/x");
    assert_eq!(outcome(&egress, "POST", &url).await, (ProblemKind::ConnectionRefused, Executed::No));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_error_without_effect() {
    let egress = egress_on(LOOPBACK, &[], None);
    let (kind, executed) = outcome(&egress, "POST", "http://nowhere.invalid/v1/x").await;
    assert!(
        matches!(kind, ProblemKind::DnsError | ProblemKind::DnsTimeout | ProblemKind::ConnectionTimeout),
        "{kind:?}"
    );
    assert_eq!(executed, Executed::No);
}

#[tokio::test]
async fn a_name_of_a_denied_address_is_not_connected_to() {
    let server = Server::canned(OK).await;
    let egress = egress_on(&[], &[server.port], None);
    let url = format!("http://localhost:{}/v1/x", server.port);
    assert_eq!(outcome(&egress, "GET", &url).await, (ProblemKind::AddressDenied, Executed::No));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_may_have_executed() {
    let server = Server::start(|_, mut stream| async move { drop(read_request(&mut stream).await) }).await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    for method in ["POST", "GET"] {
        assert_eq!(
            outcome(&egress, method, &server.url("/v1/x")).await,
            (ProblemKind::UpstreamClosed, Executed::Maybe)
        );
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_upstream_that_is_silent_may_have_executed() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let problem = call(&egress, "POST", &server.url("/v1/x")).await.unwrap_err();
    assert_eq!((problem.kind, problem.executed), (ProblemKind::UpstreamTimeout, Some(Executed::Maybe)));
    assert!(problem.detail.contains("0.6 s") && problem.detail.contains("`erp`"), "{}", problem.detail);
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_invalid() {
    let server = Server::canned("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let outcome = outcome(&egress, "GET", &server.url("/v1/x")).await;
    assert_eq!(outcome, (ProblemKind::ResponseInvalid, Executed::Maybe));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_read_for_ever() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(&[b'y'; 4096]).await.is_ok() {}
    })
    .await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let outcome = outcome(&egress, "GET", &server.url("/v1/x")).await;
    assert_eq!(outcome, (ProblemKind::ResponseInvalid, Executed::Maybe));
}

/// The first connection answers once and closes on its second request; later ones answer always.
async fn closes_idle_connections() -> Server {
    Server::start(|n, mut stream| async move {
        let mut answers = if n == 0 { 1 } else { 9 };
        while read_request(&mut stream).await.is_some() && answers > 0 {
            stream.write_all(OK.as_bytes()).await.unwrap();
            answers -= 1;
        }
    })
    .await
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_replaced_for_a_repeatable_call() {
    let server = closes_idle_connections().await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let first = call(&egress, "GET", &server.url("/v1/x")).await.unwrap();
    assert!(first.timings.connect_ms.is_some());
    assert_eq!(text(first).await, "ok");
    assert_eq!(text(call(&egress, "GET", &server.url("/v1/x")).await.unwrap()).await, "ok");
    assert_eq!(server.connections(), 2);
    let third = call(&egress, "GET", &server.url("/v1/x")).await.unwrap();
    assert_eq!((third.timings.connect_ms, server.connections()), (None, 2));
}

#[tokio::test]
async fn a_call_with_an_effect_is_not_made_again() {
    let server = closes_idle_connections().await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    assert_eq!(text(call(&egress, "GET", &server.url("/v1/x")).await.unwrap()).await, "ok");
    assert_eq!(outcome(&egress, "POST", &server.url("/v1/x")).await, (ProblemKind::UpstreamClosed, Executed::Maybe));
    assert_eq!(server.connections(), 1);
}

/// A server's TLS for `localhost`, and a file with the certificate to trust for it.
fn certificate(protocol: &str) -> (TlsAcceptor, tempfile::NamedTempFile) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(certified.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    (TlsAcceptor::from(Arc::new(config)), file)
}

/// Answers by TLS: HTTP/2 with the authority and the Host field it got, or HTTP/1.1 with [`OK`].
async fn tls_server(protocol: &'static str) -> (Server, tempfile::NamedTempFile) {
    let (acceptor, file) = certificate(protocol);
    let server = Server::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if protocol == "h2" {
                let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    let host = request.headers().get("host").cloned();
                    Ok::<_, std::convert::Infallible>(http::Response::new(format!("{} {host:?}", request.uri())))
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            } else if read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (server, file)
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_ends_the_call_before_it_begins() {
    let (server, _file) = tls_server("http/1.1").await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let url = format!("https://localhost:{}/v1/x", server.port);
    assert_eq!(outcome(&egress, "POST", &url).await, (ProblemKind::TlsCertificate, Executed::No));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let (server, file) = tls_server("http/1.1").await;
    let egress = egress_on(LOOPBACK, &[server.port], Some(file.path().to_owned()));
    let url = format!("https://127.0.0.1:{}/v1/x", server.port);
    assert_eq!(outcome(&egress, "GET", &url).await, (ProblemKind::TlsCertificate, Executed::No));
}

#[tokio::test]
async fn the_authority_that_a_rule_names_is_trusted() {
    let (server, file) = tls_server("http/1.1").await;
    let egress = egress_on(LOOPBACK, &[server.port], Some(file.path().to_owned()));
    let url = format!("https://localhost:{}/v1/x", server.port);
    assert_eq!(text(call(&egress, "GET", &url).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn a_target_is_called_in_the_place_of_the_named_host() {
    // By TLS, under the target's name, whatever scheme and host the caller named.
    let (server, file) = tls_server("h2").await;
    let target = format!("https://localhost:{}", server.port);
    let egress = egress_to(Some(&target), LOOPBACK, &[], Some(file.path().to_owned()));
    let reply = call(&egress, "GET", "http://erp.test/v1/x?y=1").await.unwrap();
    assert_eq!(text(reply).await, "https://erp.test/v1/x?y=1 Some(\"erp.test\")");
    // Plain, and the certificate of the called name is not asked for.
    let server = Server::start(|_, mut stream| async move {
        let request = read_request(&mut stream).await.unwrap();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len());
        stream.write_all(response.as_bytes()).await.unwrap();
    })
    .await;
    let egress = egress_to(Some(&server.url("")), LOOPBACK, &[443], None);
    let echoed = text(call(&egress, "GET", "https://erp.test/v1/x?y=1").await.unwrap()).await;
    assert!(echoed.starts_with("GET /v1/x?y=1 HTTP/1.1\r\n"), "{echoed}");
    assert!(echoed.contains("\r\nhost: erp.test\r\n"), "{echoed}");
}

#[tokio::test]
async fn the_name_of_a_target_is_what_its_certificate_must_bear() {
    let (server, file) = tls_server("http/1.1").await;
    let target = format!("https://127.0.0.1:{}", server.port);
    let egress = egress_to(Some(&target), LOOPBACK, &[443], Some(file.path().to_owned()));
    let outcome = outcome(&egress, "GET", "https://localhost/v1/x").await;
    assert_eq!(outcome, (ProblemKind::TlsCertificate, Executed::No));
}

#[tokio::test]
async fn a_target_of_a_denied_address_is_not_connected_to() {
    let server = Server::canned(OK).await;
    let target = format!("http://localhost:{}", server.port);
    let egress = egress_to(Some(&target), &[], &[], None);
    let problem = call(&egress, "GET", "http://erp.test/v1/x").await.unwrap_err();
    assert_eq!((problem.kind, problem.executed), (ProblemKind::AddressDenied, Some(Executed::No)));
    assert!(problem.detail.contains("the target of rule `erp`"), "{}", problem.detail);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn http2_is_used_where_the_upstream_offers_it() {
    let (server, file) = tls_server("h2").await;
    let egress = egress_on(LOOPBACK, &[server.port], Some(file.path().to_owned()));
    let url = format!("https://localhost:{}/v1/x?y=1", server.port);
    let reply = call(&egress, "GET", &url).await.unwrap();
    assert_eq!(reply.response.version(), http::Version::HTTP_2);
    assert_eq!(text(reply).await, format!("{url} None"));
}

#[tokio::test]
async fn a_port_without_tls_is_told_from_a_certificate_that_is_not_trusted() {
    let server = Server::start(|_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        read_request(&mut stream).await;
    })
    .await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let url = format!("https://localhost:{}/v1/x", server.port);
    assert_eq!(outcome(&egress, "POST", &url).await, (ProblemKind::TlsError, Executed::No));
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connection_that_was_late() {
    let server = Server::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let egress = egress_on(LOOPBACK, &[server.port], None);
    let url = format!("https://localhost:{}/v1/x", server.port);
    assert_eq!(outcome(&egress, "POST", &url).await, (ProblemKind::ConnectionTimeout, Executed::No));
}
