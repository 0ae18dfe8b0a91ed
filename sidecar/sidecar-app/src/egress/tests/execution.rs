//! Whole executions: records in, records out.

use std::sync::Arc;
use std::time::Duration;

use layer2_http::fin::code;
use layer2_http::head::RequestHead;
use layer2_http::operation::{Executed, OperationId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::driver::{After, Harness, Seen, harness};
use super::server::{Server, read_request};
use super::{egress_on, head};
use crate::egress::{Egress, execution};

const LOOPBACK: &[&str] = &["127.0.0.0/8"];

fn for_server(server: &Server) -> Arc<Egress> {
    Arc::new(egress_on(LOOPBACK, &[server.port], None))
}

async fn run(egress: &Arc<Egress>, harness: Harness) -> Seen {
    let Harness { exchange, driver, .. } = harness;
    execution::run(Arc::clone(egress), exchange).await;
    // The upstream's connection may hold the request's reader a moment longer.
    tokio::task::spawn_blocking(|| driver.join().unwrap()).await.unwrap()
}

fn post(url: &str, length: Option<usize>) -> RequestHead {
    let mut head = head("POST", url);
    if let Some(length) = length {
        head.fields.push("content-length", length.to_string()).unwrap();
    }
    head
}

#[tokio::test]
async fn a_call_is_answered_with_what_the_upstream_said() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let server = Server::start(move |_, mut stream| {
        let tell = tell.lock().unwrap().take();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            tell.unwrap().send(request).unwrap();
            let response = "HTTP/1.1 201 Created\r\nContent-Length: 5\r\nETag: \"x\"\r\nConnection: close\r\n\r\nworld";
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    })
    .await;
    let egress = for_server(&server);
    let operation = OperationId::v7(1, &[3; 10]);
    let mut head = post(&server.url("/v1/orders?q=%7e"), Some(6));
    head.envelope.operation = Some(operation);
    head.fields.push("user-agent", "app/1").unwrap();
    let seen = run(&egress, harness(&head, &["hel", "lo!"], After::Fin, true)).await;
    let request = told.await.unwrap();
    assert!(request.starts_with("POST /v1/orders?q=%7e HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nhello!"), "{request}");
    for line in ["user-agent: app/1", "via: 1.1 hoft-south", "cdn-loop: hoft-south", "content-length: 6"] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", server.port)), "{request}");
    assert!(!request.contains("transfer-encoding"), "{request}");
    let answer = seen.head();
    assert_eq!((answer.status, seen.content().as_str()), (201, "world"));
    assert_eq!(answer.fields.get("etag"), Some(&b"\"x\""[..]));
    assert_eq!(answer.fields.get("via"), Some(&b"1.1 hoft-south"[..]));
    assert!(!answer.fields.contains("connection"));
    assert_eq!((answer.envelope.operation, answer.envelope.executed), (Some(operation), Some(Executed::Yes)));
    assert!(answer.envelope.timings.unwrap().connect_ms.is_some());
    assert!(seen.dispatched && seen.finished() && seen.read_to_end && seen.aborted.is_none());
    assert_eq!(egress.counts().answered, 1);
}

#[tokio::test]
async fn a_request_without_content_has_no_framing() {
    let server = Server::start(|_, mut stream| async move {
        let request = read_request(&mut stream).await.unwrap();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len());
        stream.write_all(response.as_bytes()).await.unwrap();
    })
    .await;
    let seen = run(&for_server(&server), harness(&head("GET", &server.url("/v1/x")), &[], After::Fin, true)).await;
    assert!(!seen.content().contains("content-length") && !seen.content().contains("transfer-encoding"));
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_not_followed() {
    let server = Server::canned("HTTP/1.1 302 Found\r\nlocation: /v1/other\r\ncontent-length: 0\r\n\r\n").await;
    let seen = run(&for_server(&server), harness(&head("GET", &server.url("/v1/x")), &[], After::Fin, true)).await;
    assert_eq!((seen.head().status, server.connections()), (302, 1));
    assert_eq!(seen.head().fields.get("location"), Some(&b"/v1/other"[..]));
}

#[tokio::test]
async fn a_response_to_head_keeps_the_length_it_names() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n").await;
    let seen = run(&for_server(&server), harness(&head("HEAD", &server.url("/v1/x")), &[], After::Fin, true)).await;
    assert_eq!(seen.head().fields.get("content-length"), Some(&b"5000"[..]));
    assert!(seen.finished() && seen.content().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_before_the_dispatch_mark_is_durable() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let seen = run(&for_server(&server), harness(&post(&server.url("/v1/x"), None), &["a"], After::Fin, false)).await;
    assert_eq!((server.connections(), seen.records.len()), (0, 0));
}

#[tokio::test]
async fn a_refused_call_is_not_dispatched() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let egress = for_server(&server);
    let seen = run(&egress, harness(&head("GET", &server.url("/admin")), &[], After::Fin, true)).await;
    assert_eq!((seen.head().status, seen.problem().as_deref()), (403, Some("route-denied")));
    assert_eq!(seen.head().envelope.executed, Some(Executed::No));
    assert!(seen.finished() && !seen.dispatched && seen.content().contains("\"executed\":\"no\""));
    assert_eq!(server.connections(), 0);
    assert_eq!(egress.counts().problems, [(layer2_http::problem::ProblemKind::RouteDenied, 1)]);
}

#[tokio::test]
async fn a_response_that_is_cut_short_never_looks_complete() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ncut\r\n",
    ] {
        let server = Server::start(move |_, mut stream| async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(response.as_bytes()).await.unwrap();
        })
        .await;
        let egress = for_server(&server);
        let seen = run(&egress, harness(&head("GET", &server.url("/v1/x")), &[], After::Fin, true)).await;
        assert_eq!((seen.head().status, seen.finished(), seen.aborted), (200, false, Some(code::INCOMPLETE)));
        assert_eq!(egress.counts().cut, 1);
    }
}

#[tokio::test]
async fn a_response_whose_head_cannot_be_carried_is_a_problem_of_an_executed_call() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        let line = format!("x: {}\r\n", "y".repeat(1000));
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(10)).as_bytes()).await;
    })
    .await;
    let seen = run(&for_server(&server), harness(&head("GET", &server.url("/v1/x")), &[], After::Fin, true)).await;
    assert_eq!((seen.head().status, seen.problem().as_deref()), (502, Some("response-invalid")));
    assert_eq!(seen.head().envelope.executed, Some(Executed::Yes));
}

#[tokio::test]
async fn a_response_above_the_bound_is_reset() {
    let server = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        let _ = stream.write_all(&[b'x'; 1001]).await;
    })
    .await;
    let seen = run(&for_server(&server), harness(&head("GET", &server.url("/v1/x")), &[], After::Fin, true)).await;
    assert_eq!((seen.finished(), seen.aborted), (false, Some(code::TOO_LARGE)));
}

#[tokio::test]
async fn a_request_body_above_the_bound_ends_the_call() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let half = "x".repeat(600);
    let harness = harness(&post(&server.url("/v1/x"), None), &[&half, &half], After::Fin, true);
    let seen = run(&for_server(&server), harness).await;
    assert_eq!((seen.head().status, seen.problem().as_deref()), (413, Some("body-too-large")));
    assert_eq!(seen.head().envelope.executed, Some(Executed::Maybe));
}

#[tokio::test]
async fn a_request_body_that_the_caller_breaks_off_is_never_whole_upstream() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let server = Server::start(move |_, mut stream| {
        let tell = tell.lock().unwrap().take();
        async move { tell.unwrap().send(read_request(&mut stream).await).unwrap() }
    })
    .await;
    let harness = harness(&post(&server.url("/v1/x"), Some(6)), &["hel", "lo!"], After::Reset(code::CANCELLED), true);
    let seen = run(&for_server(&server), harness).await;
    assert_eq!((seen.head().status, seen.head().envelope.executed), (400, Some(Executed::Maybe)));
    assert_eq!(told.await.unwrap(), None);
}

#[tokio::test]
async fn a_request_that_is_reset_before_its_content_makes_no_call() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let harness = harness(&post(&server.url("/v1/x"), None), &[], After::Reset(code::CANCELLED), true);
    let seen = run(&for_server(&server), harness).await;
    assert_eq!((seen.aborted, seen.dispatched, server.connections()), (Some(code::CANCELLED), false, 0));
}

#[tokio::test]
async fn a_length_without_content_makes_no_call() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let seen = run(&for_server(&server), harness(&post(&server.url("/v1/x"), Some(6)), &[], After::Fin, true)).await;
    assert_eq!((seen.problem().as_deref(), seen.dispatched), (Some("bad-request"), false));
}

#[tokio::test]
async fn a_cancelled_call_closes_the_upstreams_connection() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let (reached, at_upstream) = oneshot::channel();
    let reached = Arc::new(std::sync::Mutex::new(Some(reached)));
    let server = Server::start(move |_, mut stream| {
        let (tell, reached) = (tell.lock().unwrap().take(), reached.lock().unwrap().take());
        async move {
            read_request(&mut stream).await.unwrap();
            reached.unwrap().send(()).unwrap();
            tell.unwrap().send(stream.read(&mut [0; 1]).await.ok()).unwrap();
        }
    })
    .await;
    let harness = harness(&head("GET", &server.url("/v1/x")), &[], After::Fin, true);
    let cancelled = harness.cancelled.clone();
    tokio::spawn(async move {
        at_upstream.await.unwrap();
        cancelled.cancel();
    });
    let egress = for_server(&server);
    let seen = run(&egress, harness).await;
    assert_eq!((seen.aborted, seen.records.len(), egress.counts().cancelled), (Some(code::CANCELLED), 0, 1));
    assert!(matches!(told.await.unwrap(), Some(0) | None));
}

#[tokio::test]
async fn an_upstream_that_waits_for_content_that_still_crosses_is_not_late() {
    let server = Server::canned("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let harness = harness(&post(&server.url("/v1/x"), None), &["a"], After::Silence, true);
    let cancelled = harness.cancelled.clone();
    tokio::spawn(async move {
        tokio::time::sleep(super::TIMEOUT * 2 + Duration::from_millis(200)).await;
        cancelled.cancel();
    });
    let seen = run(&for_server(&server), harness).await;
    assert_eq!((seen.aborted, seen.records.len()), (Some(code::CANCELLED), 0));
}

#[tokio::test]
async fn an_upgrade_called_another_path_than_its_rule_was_asked_about() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            tell.send(read_request(&mut stream).await.unwrap()).unwrap();
            let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(refusal.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut egress = egress_on(LOOPBACK, &[server.port], None);
    let tunnels = sidecar_config::Tunnels { upgrades: vec!["websocket".to_owned()], ..Default::default() };
    egress.tunnels.insert("erp".to_owned(), tunnels);
    let egress = Arc::new(egress);
    for path in ["/admin/%2e%2e/v1/ws?a=1", "/admin/../v1/ws?a=1", "/v1/ws?a=1"] {
        let mut head = head("CONNECT", &server.url(path));
        head.envelope.protocol = Some("websocket".to_owned());
        let seen = run(&egress, harness(&head, &[], After::Fin, true)).await;
        assert_eq!(seen.head().status, 404, "{path}: {:?}", seen.problem());
        let request = told.recv().await.unwrap();
        assert!(request.starts_with("GET /v1/ws?a=1 HTTP/1.1\r\n"), "{path}: {request}");
    }
}
