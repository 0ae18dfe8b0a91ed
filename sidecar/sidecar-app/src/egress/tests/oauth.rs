//! Tokens: a token endpoint that does what each test says, and a server that takes the tokens it is told to take.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layer2_http::addresses::Networks;
use layer2_http::operation::Executed;
use sidecar_config::far_side::{ClientAuth, TokenEndpoint};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::driver::{After, Seen, harness};
use super::server::{Server, closed_port, read_request};
use super::{egress_on, head};
use crate::egress::connector::Reach;
use crate::egress::far_side::FarSide;
use crate::egress::oauth::TokenSource;
use crate::egress::{Egress, execution, tls};

/// A token endpoint that keeps what it was asked.
struct Endpoint {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    /// Answers the nth question, from 1, with what `answer` gives: status, content.
    async fn start(answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (journal, answer) = (Arc::clone(&asked), Arc::new(answer));
        let server = Server::start(move |_, mut stream| {
            let (journal, answer) = (Arc::clone(&journal), Arc::clone(&answer));
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    let number = {
                        let mut journal = journal.lock().unwrap();
                        journal.push(request);
                        journal.len()
                    };
                    let (status, content) = answer(number);
                    // A moment in which others may ask too.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    respond(&mut stream, status, &content).await;
                }
            }
        })
        .await;
        Self { server, asked }
    }

    /// A token `tN` for the Nth question, which lives for `life` seconds.
    async fn good(life: u32) -> Self {
        Self::start(move |number| (200, token(&format!("t{number}"), life))).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn token(token: &str, life: u32) -> String {
    format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{life}}}")
}

async fn respond(stream: &mut TcpStream, status: u16, content: &str) {
    let text =
        format!("HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: {}\r\n\r\n{content}", content.len());
    let _ = stream.write_all(text.as_bytes()).await;
}

/// A server that answers 401 to tokens it does not know, and counts its calls.
struct Guarded {
    server: Server,
    known: Arc<Mutex<BTreeSet<String>>>,
    calls: Arc<AtomicUsize>,
}

impl Guarded {
    async fn start(tokens: &[&str]) -> Self {
        let known = Arc::new(Mutex::new(tokens.iter().map(|token| (*token).to_owned()).collect::<BTreeSet<_>>()));
        let calls = Arc::new(AtomicUsize::new(0));
        let (knows, counter) = (Arc::clone(&known), Arc::clone(&calls));
        let server = Server::start(move |_, mut stream| {
            let (known, calls) = (Arc::clone(&knows), Arc::clone(&counter));
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    calls.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(request.matches("authorization:").count(), 1, "{request}");
                    let shown = request.split("authorization: Bearer ").nth(1).and_then(|rest| rest.lines().next());
                    let good = known.lock().unwrap().contains(shown.unwrap_or_default());
                    let content = request.split_once("\r\n\r\n").unwrap().1;
                    respond(&mut stream, if good { 200 } else { 401 }, content).await;
                }
            }
        })
        .await;
        Self { server, known, calls }
    }

    fn revoke(&self, token: &str) {
        self.known.lock().unwrap().remove(token);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn secret(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn settings(folder: &tempfile::TempDir, port: u16) -> TokenEndpoint {
    TokenEndpoint {
        url: format!("http://127.0.0.1:{port}/token").parse().unwrap(),
        client_id: "engine".to_owned(),
        client_secret_file: Some(secret(folder, "client", "hunter2\n")),
        client_auth: ClientAuth::Basic,
        scope: Some("read write".to_owned()),
        audience: Some("https://erp".to_owned()),
        refresh_token_file: None,
        ca_file: None,
    }
}

fn source(settings: &TokenEndpoint, listed: &[&str]) -> TokenSource {
    let listed = listed.iter().map(|net| net.parse().unwrap()).collect();
    let reach = Reach::new(Arc::new(Networks::new(listed, Vec::new())));
    let tls = tls::SystemRoots::default().without_roots().unwrap();
    TokenSource::new("erp", settings, false, &reach, tls, Arc::default()).unwrap()
}

fn egress_with(server: &Server, source: TokenSource) -> Arc<Egress> {
    let mut egress = egress_on(&["127.0.0.0/8"], &[server.port], None);
    let far = FarSide { oauth: Some(Arc::new(source)), drops_own: true, ..FarSide::default() };
    egress.upstreams.get_mut("erp").unwrap().far = far;
    Arc::new(egress)
}

fn egress(guarded: &Guarded, endpoint: &Endpoint, folder: &tempfile::TempDir) -> Arc<Egress> {
    egress_with(&guarded.server, source(&settings(folder, endpoint.server.port), &["127.0.0.1/32"]))
}

async fn run(egress: &Arc<Egress>, server: &Server, method: &str, content: &[&str]) -> Seen {
    let mut head = head(method, &server.url("/v1/x"));
    head.fields.push("authorization", "Bearer own").unwrap();
    let harness = harness(&head, content, After::Fin, true);
    execution::run(Arc::clone(egress), harness.exchange).await;
    let driver = harness.driver;
    tokio::task::spawn_blocking(|| driver.join().unwrap()).await.unwrap()
}

#[tokio::test]
async fn one_token_serves_many_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (guarded, endpoint) = (Guarded::start(&["t1"]).await, Endpoint::good(3600).await);
    let egress = egress(&guarded, &endpoint, &folder);
    let together = (0..8).map(|_| run(&egress, &guarded.server, "GET", &[]));
    let seen = futures_util::future::join_all(together).await;
    assert!(seen.iter().all(|seen| seen.head().status == 200));
    let asked = endpoint.asked();
    assert_eq!((asked.len(), guarded.calls()), (1, 8));
    // RFC 6749 §4.4.2, with what the rule says besides.
    assert!(asked[0].starts_with("POST /token HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("\r\nauthorization: Basic ZW5naW5lOmh1bnRlcjI=\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{}", asked[0]);
    let form = "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Ferp";
    assert!(asked[0].ends_with(&format!("\r\n\r\n{form}")), "{}", asked[0]);
    // The secret and the token are in no record.
    for (_, payload) in seen.iter().flat_map(|seen| &seen.records) {
        let text = String::from_utf8_lossy(payload);
        assert!(!text.contains("Bearer t1") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced_and_the_call_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (guarded, endpoint) = (Guarded::start(&["t1", "t2"]).await, Endpoint::good(3600).await);
    let egress = egress(&guarded, &endpoint, &folder);
    assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
    guarded.revoke("t1");
    // Not idempotent, with content of one record: the refused call had no effect.
    let seen = run(&egress, &guarded.server, "POST", &["hello"]).await;
    assert_eq!((seen.head().status, guarded.calls(), endpoint.asked().len()), (200, 3, 2));
    assert!(seen.content().contains("hello"), "{}", seen.content());
    // One more time round: content that is gone cannot be sent again, so the refusal passes; the next call has a new token.
    guarded.revoke("t2");
    guarded.known.lock().unwrap().insert("t3".to_owned());
    let seen = run(&egress, &guarded.server, "POST", &["hel", "lo"]).await;
    assert_eq!((seen.head().status, guarded.calls(), endpoint.asked().len()), (401, 4, 2));
    let seen = run(&egress, &guarded.server, "POST", &["hel", "lo"]).await;
    assert_eq!((seen.head().status, guarded.calls(), endpoint.asked().len()), (200, 5, 3));
    assert!(seen.content().contains("hel") && seen.content().contains("lo"), "{}", seen.content());
}

#[tokio::test]
async fn a_server_that_takes_no_token_does_not_make_the_endpoint_work_for_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let (guarded, endpoint) = (Guarded::start(&[]).await, Endpoint::good(3600).await);
    let egress = egress(&guarded, &endpoint, &folder);
    for _ in 0..12 {
        assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 401);
    }
    // The first call tried a new one; the others may not, for a while that grows: seven more would take a minute.
    assert!(endpoint.asked().len() <= 8, "{}", endpoint.asked().len());
    assert!(guarded.calls() <= 12 + 7, "{}", guarded.calls());
}

#[tokio::test]
async fn a_token_that_is_due_is_renewed_while_the_old_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |number| match number {
        2 => (500, String::new()),
        number => (200, token(&format!("t{number}"), 3600)),
    };
    let (guarded, endpoint) = (Guarded::start(&["t1"]).await, Endpoint::start(answer).await);
    let egress = egress(&guarded, &endpoint, &folder);
    let source = Arc::clone(egress.upstreams["erp"].far.oauth.as_ref().unwrap());
    assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
    // The renewal fails, and then does not; neither is waited for, and the old token is the only one that serves.
    for asked in 2..4 {
        source.forget_pause().await;
        source.make_due();
        assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
        while source.counted().0 + source.counted().1 < asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    guarded.known.lock().unwrap().insert("t3".to_owned());
    guarded.revoke("t1");
    assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
    assert_eq!((endpoint.asked().len(), guarded.calls(), source.counted()), (3, 4, (2, 1)));
}

#[tokio::test]
async fn a_token_without_life_serves_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let (guarded, endpoint) = (Guarded::start(&["t1", "t2"]).await, Endpoint::good(0).await);
    let egress = egress(&guarded, &endpoint, &folder);
    for _ in 0..2 {
        assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
    }
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_fails_is_named_and_left_alone_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(&["t1"]).await;
    for (answer, status) in [
        ((500, "<html>hunter2</html>".to_owned()), 503),
        ((200, "<html>please log in</html>".to_owned()), 502),
        ((200, "x".repeat(100_000)), 503),
        ((302, String::new()), 502),
        ((401, "{\"error\":\"invalid_client\",\"error_description\":\"hunter2\"}".to_owned()), 502),
        ((200, "{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}".to_owned()), 502),
    ] {
        let endpoint = Endpoint::start(move |_| answer.clone()).await;
        let egress = egress(&guarded, &endpoint, &folder);
        for _ in 0..6 {
            let seen = run(&egress, &guarded.server, "GET", &[]).await;
            let text = seen.content();
            assert_eq!((seen.problem().as_deref(), seen.head().status), (Some("token-unavailable"), status), "{text}");
            assert_eq!(seen.head().envelope.executed, Some(Executed::No));
            assert!(seen.head().fields.contains("retry-after") && !seen.dispatched);
            let place = format!("token endpoint http://127.0.0.1:{}", endpoint.server.port);
            assert!(text.contains(&place) && text.contains("`erp`") && !text.contains("hunter2"), "{text}");
        }
        // Six questions would take a quarter of a minute.
        assert!(endpoint.asked().len() < 6, "{}", endpoint.asked().len());
        let (got, failed) = egress.upstreams["erp"].far.oauth.as_ref().unwrap().counted();
        assert_eq!((got, failed), (0, endpoint.asked().len() as u64));
    }
    assert_eq!(guarded.calls(), 0);
}

#[tokio::test]
async fn an_endpoint_that_is_down_slow_or_denied_makes_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::start(&["t1"]).await;
    let silent = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let down = source(&settings(&folder, closed_port().await), &["127.0.0.1/32"]);
    let mut slow = source(&settings(&folder, silent.port), &["127.0.0.1/32"]);
    slow.answer_within(Duration::from_millis(300));
    let denied = source(&settings(&folder, silent.port), &[]);
    for (source, words) in [(down, "refused"), (slow, "did not answer in time"), (denied, "loopback address")] {
        let seen = run(&egress_with(&guarded.server, source), &guarded.server, "GET", &[]).await;
        assert_eq!((seen.problem().as_deref(), seen.head().status), (Some("token-unavailable"), 503));
        assert!(seen.content().contains(words), "{words}: {}", seen.content());
        assert_eq!(seen.head().envelope.executed, Some(Executed::No));
    }
    assert_eq!((silent.connections(), guarded.calls()), (1, 0));
}

#[tokio::test]
async fn an_endpoint_that_recovers_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |number| if number == 1 { (503, String::new()) } else { (200, token("t", 60)) };
    let (guarded, endpoint) = (Guarded::start(&["t"]).await, Endpoint::start(answer).await);
    let egress = egress(&guarded, &endpoint, &folder);
    assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 503);
    egress.upstreams["erp"].far.oauth.as_ref().unwrap().forget_pause().await;
    assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
}

#[tokio::test]
async fn a_refresh_token_is_replaced_by_what_the_endpoint_gives() {
    let folder = tempfile::tempdir().unwrap();
    // Of no life, so that every call asks. The third question refuses the rotated token.
    let answer = |number| match number {
        3 => (400, "{\"error\":\"invalid_grant\"}".to_owned()),
        number => {
            let refresh = format!(",\"refresh_token\":\"r{number}\"}}");
            (200, token("t", 0).replace('}', &refresh))
        }
    };
    let (guarded, endpoint) = (Guarded::start(&["t"]).await, Endpoint::start(answer).await);
    let mut settings = settings(&folder, endpoint.server.port);
    settings.client_auth = ClientAuth::Post;
    (settings.scope, settings.audience) = (None, None);
    settings.refresh_token_file = Some(secret(&folder, "refresh", "first"));
    let egress = egress_with(&guarded.server, source(&settings, &["127.0.0.1/32"]));
    for _ in 0..3 {
        assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
    }
    secret(&folder, "refresh", "second");
    assert_eq!(run(&egress, &guarded.server, "GET", &[]).await.head().status, 200);
    let asked = endpoint.asked();
    let tokens: Vec<_> = asked
        .iter()
        .map(|asked| asked.split("refresh_token&refresh_token=").nth(1).unwrap().split('&').next().unwrap())
        .collect();
    assert_eq!(tokens, ["first", "r1", "r2", "first", "second"]);
    assert!(asked[0].ends_with("&client_id=engine&client_secret=hunter2"), "{}", asked[0]);
    assert!(!asked[0].contains("authorization:"), "{}", asked[0]);
}

#[tokio::test]
async fn a_call_that_was_cancelled_took_the_next_refresh_token_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |number| (200, token("t", 0).replace('}', &format!(",\"refresh_token\":\"r{number}\"}}")));
    let endpoint = Endpoint::start(answer).await;
    let mut settings = settings(&folder, endpoint.server.port);
    settings.refresh_token_file = Some(secret(&folder, "refresh", "first"));
    let source = Arc::new(source(&settings, &["127.0.0.1/32"]));
    {
        let mut cancelled = std::pin::pin!(source.token());
        while endpoint.asked().is_empty() {
            let _ = tokio::time::timeout(Duration::from_millis(1), cancelled.as_mut()).await;
        }
    }
    source.token().await.unwrap();
    let asked = endpoint.asked();
    assert!(asked[0].contains("refresh_token=first") && asked[1].contains("refresh_token=r1"), "{asked:?}");
}
