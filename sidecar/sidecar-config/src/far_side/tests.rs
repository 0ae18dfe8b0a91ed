//! Reading of the far side's fields of a rule.

use std::path::Path;

use super::*;
use crate::{Config, ConfigErrors, parse};

fn read(fields: &str) -> Result<Config, ConfigErrors> {
    let text = format!(
        "version: 1
local: {{name: south}}
remote: {{name: north, keys: [hoft1AAAA]}}
identity: {{secretFile: south.key}}
folders: {{outbox: out, inbox: in}}
state: {{folder: state}}
inbound:
  denyAddresses: [10.96.0.0/12]
  allow:
    - name: erp
      destinations: [{{host: erp.example, methods: [GET]}}]
{fields}"
    );
    parse(&text, "south.yaml", Path::new("/etc/hoft"))
}

fn far(fields: &str) -> FarSide {
    read(fields).unwrap_or_else(|errors| panic!("{errors}")).inbound.allow.remove(0).far
}

#[test]
fn a_rule_passes_everything_unless_it_says_otherwise() {
    let config = read("").unwrap();
    assert_eq!(config.inbound.allow[0].far, FarSide::default());
    assert_eq!(config.inbound.deny_addresses, ["10.96.0.0/12".parse().unwrap()]);
    assert!(!FarSide::default().injects());
}

#[test]
fn every_field_is_read() {
    let far = far("      requestHeaders: {allow: [Accept, X-*]}
      responseHeaders: {deny: [Server]}
      credentials:
        X-Api-Key: {file: key}
        x-other: {file: /run/other, prefix: \"Token \"}
      passAuthorization: true
      cookies: jar
      oauth:
        tokenUrl: https://login.example/token?tenant=1
        clientId: engine
        clientSecretFile: client.secret
        clientAuth: post
        scope: read write
        audience: https://erp.example
        refreshTokenFile: refresh
        caFile: ca.pem
");
    assert_eq!(far.request_headers, FieldList::Only(vec!["accept".to_owned(), "x-*".to_owned()]));
    assert_eq!(far.response_headers, FieldList::AllBut(vec!["server".to_owned()]));
    assert_eq!(far.credentials.len(), 2);
    assert_eq!(
        (far.credentials[0].field.as_str(), far.credentials[0].file.as_path()),
        ("x-api-key", Path::new("/etc/hoft/key"))
    );
    assert_eq!(far.credentials[1].prefix, "Token ");
    assert!(far.pass_authorization && far.injects());
    assert_eq!(far.cookies, Cookies::Jar);
    let files: Vec<_> = far.secret_files().into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        files,
        ["credentials.x-api-key.file", "credentials.x-other.file", "oauth.clientSecretFile", "oauth.refreshTokenFile"]
    );
    let oauth = far.oauth.unwrap();
    assert_eq!((oauth.client_auth, oauth.url.query()), (ClientAuth::Post, Some("tenant=1")));
    assert_eq!(oauth.ca_file.as_deref(), Some(Path::new("/etc/hoft/ca.pem")));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let oauth = |fields: &str| format!("      oauth: {{{fields}}}\n");
    let good = "tokenUrl: https://login.example/t, clientId: c, clientSecretFile: s";
    for (fields, path, words) in [
        ("      requestHeaders: {allow: [a], deny: [b]}\n".to_owned(), "requestHeaders", "both lists"),
        ("      requestHeaders: {allow: [\"a b\"]}\n".to_owned(), "requestHeaders.allow[0]", "not a field name"),
        ("      requestHeaders: {allow: [\"*\"]}\n".to_owned(), "requestHeaders.allow[0]", "not a field name"),
        ("      responseHeaders: {deny: [content-*]}\n".to_owned(), "responseHeaders.deny[0]", "content-length"),
        ("      responseHeaders: {deny: [Via]}\n".to_owned(), "responseHeaders.deny[0]", "via"),
        ("      credentials: {host: {file: f}}\n".to_owned(), "credentials.host", "for the engine"),
        ("      credentials: {hoft-x: {file: f}}\n".to_owned(), "credentials.hoft-x", "for the engine"),
        ("      credentials: {\"a b\": {file: f}}\n".to_owned(), "credentials.a b", "not a field name"),
        ("      credentials: {a: {file: \"\"}}\n".to_owned(), "credentials.a.file", "is empty"),
        ("      credentials: {a: {file: f, prefix: \"\\n\"}}\n".to_owned(), "credentials.a.prefix", "no field value"),
        ("      credentials: {a: {file: f}, A: {file: g}}\n".to_owned(), "credentials", "two spellings"),
        ("      credentials: {a: {file: out/f}}\n".to_owned(), "credentials.a.file", "the mirror would carry"),
        ("      passAuthorization: true\n".to_owned(), "passAuthorization", "no use"),
        (format!("      cookies: jar\n{}", "      credentials: {cookie: {file: f}}\n"), "credentials.cookie", "jar"),
        (
            format!("{}      credentials: {{authorization: {{file: f}}}}\n", oauth(good)),
            "credentials.authorization",
            "token",
        ),
        (oauth("tokenUrl: http://login.example/t, clientId: c, clientSecretFile: s"), "oauth.tokenUrl", "in the clear"),
        (oauth("tokenUrl: ftp://login.example/t, clientId: c, clientSecretFile: s"), "oauth.tokenUrl", "not https"),
        (oauth("tokenUrl: https://u@login.example/t, clientId: c, clientSecretFile: s"), "oauth.tokenUrl", "a user"),
        (
            oauth("tokenUrl: \"https://login.example/t#f\", clientId: c, clientSecretFile: s"),
            "oauth.tokenUrl",
            "fragment",
        ),
        (oauth("tokenUrl: https://10.0.0.1/t, clientId: c, clientSecretFile: s"), "oauth.tokenUrl", "does not list"),
        (
            oauth("tokenUrl: https://login.example/t, clientId: c"),
            "oauth.clientSecretFile",
            "nothing to get a token with",
        ),
        (
            oauth("tokenUrl: https://login.example/t, clientId: \"\", clientSecretFile: s"),
            "oauth.clientId",
            "no client id",
        ),
        (oauth(&format!("{good}, scope: \"\"")), "oauth.scope", "is empty"),
        (oauth(&format!("{good}, audience: 'a\"b'")), "oauth.audience", "cannot have"),
        (
            oauth("tokenUrl: https://login.example/t, clientId: c, clientSecretFile: in/s"),
            "oauth.clientSecretFile",
            "mirror",
        ),
    ] {
        let errors = read(&fields).expect_err(&fields);
        let [problem] = errors.problems() else { panic!("{fields}\n{errors}") };
        assert_eq!(problem.path, format!("inbound.allow[0].{path}"), "{errors}");
        assert!(errors.to_string().contains(words), "{words}\n{fields}\n{errors}");
        assert!(!problem.remedy.is_empty() && problem.place.is_some(), "{errors}");
    }
}

#[test]
fn a_token_endpoint_on_this_machine_may_be_plain() {
    let fields = "      addresses: [127.0.0.1]\n      oauth: {tokenUrl: \"http://127.0.0.1:8080/t\", clientId: c, clientSecretFile: s}\n";
    assert_eq!(far(fields).oauth.unwrap().url.port(), Some(8080));
}

#[test]
fn denied_networks_are_networks() {
    let text = "version: 1\nlocal: {name: a}\nremote: {name: b, keys: [hoft1AAAA]}\nidentity: {secretFile: k}\n\
        folders: {outbox: out, inbox: in}\nstate: {folder: state}\ninbound: {denyAddresses: [10.0.0.1/8]}\n";
    let errors = parse(text, "a.yaml", Path::new("/")).unwrap_err();
    assert_eq!(errors.problems()[0].path, "inbound.denyAddresses[0]");
}
