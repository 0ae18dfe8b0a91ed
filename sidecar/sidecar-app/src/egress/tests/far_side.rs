//! What a rule drops, adds and keeps: whole executions against a server that says what it got.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use layer2_http::envelope::Caller;
use layer2_http::field_filter::FieldFilter;
use layer2_http::head::RequestHead;
use layer2_http::operation::Executed;
use sidecar_config::far_side::Injected;
use tokio::io::AsyncWriteExt;

use super::driver::{After, Seen, harness};
use super::server::{Server, read_request};
use super::{egress_on, head};
use crate::egress::cookies::Jars;
use crate::egress::credentials::Credentials;
use crate::egress::far_side::FarSide;
use crate::egress::{Egress, execution};
use wire::EndpointId;

/// Answers with the request as it came, two cookies, and a trailer.
async fn mirror() -> Server {
    Server::start(|_, mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let head = "HTTP/1.1 200 OK\r\nset-cookie: session=abc; Path=/\r\nset-cookie: b=2; Path=/\r\nserver: x/1\r\n\
                x-inner: 1\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, x-inner\r\n\r\n";
            let content = format!("{:x}\r\n{request}\r\n0\r\nx-sum: 1\r\nx-inner: 2\r\n\r\n", request.len());
            stream.write_all(format!("{head}{content}").as_bytes()).await.unwrap();
        }
    })
    .await
}

fn with(server: &Server, far: FarSide) -> Arc<Egress> {
    let mut egress = egress_on(&["127.0.0.0/8"], &[server.port], None);
    egress.upstreams.get_mut("erp").unwrap().far = far;
    Arc::new(egress)
}

async fn run(egress: &Arc<Egress>, head: &RequestHead) -> Seen {
    let harness = harness(head, &[], After::Fin, true);
    execution::run(Arc::clone(egress), harness.exchange).await;
    let driver = harness.driver;
    tokio::task::spawn_blocking(|| driver.join().unwrap()).await.unwrap()
}

fn call(server: &Server) -> RequestHead {
    let mut head = head("GET", &server.url("/v1/x"));
    for (name, value) in
        [("authorization", "Bearer own"), ("cookie", "own=1"), ("accept", "text/plain"), ("x-a", "1"), ("x-key", "own")]
    {
        head.fields.push(name, value).unwrap();
    }
    head
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn key(folder: &tempfile::TempDir, field: &str) -> Credentials {
    let file = folder.path().join("key");
    std::fs::write(&file, "hunter2\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let prefix = String::new();
    Credentials::new(&[Injected { field: field.to_owned(), file, prefix }], false).unwrap()
}

#[tokio::test]
async fn a_rule_without_more_passes_everything() {
    let server = mirror().await;
    let seen = run(&with(&server, FarSide::default()), &call(&server)).await;
    for line in ["authorization: Bearer own", "cookie: own=1", "accept: text/plain", "x-a: 1"] {
        assert!(seen.content().contains(&format!("\r\n{line}\r\n")), "{line}\n{}", seen.content());
    }
    let fields = &seen.head().fields;
    assert_eq!((fields.get_all("set-cookie").count(), fields.contains("server")), (2, true));
}

#[tokio::test]
async fn only_listed_fields_pass_in_either_direction() {
    let server = mirror().await;
    let far = FarSide {
        request: Arc::new(FieldFilter::Only(names(&["accept", "x-k*"]))),
        response: Arc::new(FieldFilter::AllBut(names(&["set-cookie", "x-inner"]))),
        ..FarSide::default()
    };
    let seen = run(&with(&server, far), &call(&server)).await;
    let got = seen.content();
    for line in ["accept: text/plain", "x-key: own", "via: 1.1 hoft-south", "cdn-loop: hoft-south"] {
        assert!(got.contains(&format!("\r\n{line}\r\n")), "{line}\n{got}");
    }
    for name in ["authorization:", "cookie:", "x-a:"] {
        assert!(!got.contains(name), "{name}\n{got}");
    }
    let fields = &seen.head().fields;
    assert!(fields.contains("server") && !fields.contains("set-cookie") && !fields.contains("x-inner"));
    let trailers = seen.records.iter().find(|(kind, _)| *kind == wire::record::kind::TRAILERS).unwrap();
    let limit = layer2_http::bhttp::SectionLimit::default();
    let trailers = layer2_http::bhttp::decode_trailers(&trailers.1, limit).unwrap();
    assert!(trailers.contains("x-sum") && !trailers.contains("x-inner"), "{trailers:?}");
}

#[tokio::test]
async fn a_rule_that_adds_fields_drops_what_its_caller_sent() {
    let (server, folder) = (mirror().await, tempfile::tempdir().unwrap());
    let adding = |drops_own| FarSide { credentials: key(&folder, "x-key"), drops_own, ..FarSide::default() };
    let got = run(&with(&server, adding(true)), &call(&server)).await.content();
    assert!(got.contains("\r\nx-key: hunter2\r\n") && got.matches("x-key:").count() == 1, "{got}");
    assert!(!got.contains("authorization:") && !got.contains("cookie:"), "{got}");
    let got = run(&with(&server, adding(false)), &call(&server)).await.content();
    assert!(got.contains("x-key: hunter2") && got.contains("Bearer own") && got.contains("own=1"), "{got}");
    // In the place of the caller's own, even where that may pass.
    let far = FarSide { credentials: key(&folder, "authorization"), ..FarSide::default() };
    let got = run(&with(&server, far), &call(&server)).await.content();
    assert!(got.contains("authorization: hunter2") && !got.contains("Bearer own"), "{got}");
}

#[tokio::test]
async fn a_credential_that_is_gone_makes_no_call() {
    let (server, folder) = (mirror().await, tempfile::tempdir().unwrap());
    let far = FarSide { credentials: key(&folder, "x-key"), drops_own: true, ..FarSide::default() };
    let egress = with(&server, far);
    std::fs::remove_file(folder.path().join("key")).unwrap();
    let seen = run(&egress, &call(&server)).await;
    assert_eq!((seen.head().status, seen.problem().as_deref()), (502, Some("credentials-missing")));
    assert_eq!(seen.head().envelope.executed, Some(Executed::No));
    assert!(!seen.dispatched && seen.content().contains("`erp`"), "{}", seen.content());
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn cookies_stay_with_the_caller_that_got_them() {
    let server = mirror().await;
    let egress = with(&server, FarSide { jars: Some(Jars::default()), ..FarSide::default() });
    let by = |account: &str| {
        let mut head = call(&server);
        head.envelope.caller = Some(Caller { service_account: Some(account.to_owned()), ..Caller::default() });
        head
    };
    let first = run(&egress, &by("billing")).await;
    assert!(!first.content().contains("cookie:"), "{}", first.content());
    assert!(!first.head().fields.contains("set-cookie"));
    let second = run(&egress, &by("billing")).await.content();
    assert!(second.contains("session=abc") && second.contains("b=2") && !second.contains("own=1"), "{second}");
    let other = run(&egress, &by("stock")).await.content();
    assert!(!other.contains("session=abc"), "{other}");
}

#[test]
fn what_a_rule_adds_is_set_up_from_the_configuration_and_a_missing_secret_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1
local: {name: south}
remote: {name: north, keys: [hoft1AAAA]}
identity: {secretFile: south.key}
folders: {outbox: out, inbox: in}
state: {folder: state}
inbound:
  denyAddresses: [10.96.0.0/12]
  allow:
    - name: erp
      destinations: [{host: erp.test, methods: [GET]}]
      addresses: [10.0.0.0/8]
      requestHeaders: {allow: [accept]}
      responseHeaders: {deny: [server]}
      credentials: {x-key: {file: key}}
      oauth: {tokenUrl: \"https://login.test/token\", clientId: c, clientSecretFile: client}
      cookies: jar
      tls: {caFile: ca.pem}
";
    let started = || {
        let config = sidecar_config::parse(text, "south.yaml", folder.path()).unwrap();
        let policy = crate::policies::inbound(&config).unwrap();
        Egress::new(&config, policy, "hoft-south".to_owned(), EndpointId::from_bytes([1; 16]))
    };
    let secret = |name: &str| {
        std::fs::write(folder.path().join(name), "hunter2").unwrap();
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let authority = rcgen::generate_simple_self_signed(vec!["erp.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.cert.pem()).unwrap();
    for (missing, field) in [("key", "credentials.x-key.file"), ("client", "oauth.clientSecretFile")] {
        let error = format!("{:#}", started().err().unwrap());
        assert!(error.contains("rule `erp`") && error.contains(field) && error.contains("does not exist"), "{error}");
        secret(missing);
    }
    let egress = started().unwrap();
    let upstream = &egress.upstreams["erp"];
    let far = &upstream.far;
    assert!(far.oauth.is_some() && far.jars.is_some() && far.drops_own);
    assert!(far.request.passes("accept") && !far.request.passes("x") && !far.response.passes("server"));
    assert!(upstream.networks.check("10.1.2.3".parse().unwrap()).is_ok());
    assert!(upstream.networks.check("10.96.0.1".parse().unwrap()).is_err());
}
