//! Tests of `guard`.

use super::*;

fn names() -> Vec<String> {
    vec!["hoft.shop.svc".to_owned(), "Gateway".to_owned()]
}

fn local_api(host: &str, origin: Option<&str>) -> Result<(), GuardError> {
    check(Some(host.as_bytes()), origin.map(str::as_bytes), RequestForm::Origin, &names())
}

fn proxied(host: &str, origin: Option<&str>) -> Result<(), GuardError> {
    let form = RequestForm::Absolute { host: "erp.south.svc" };
    check(Some(host.as_bytes()), origin.map(str::as_bytes), form, &names())
}

#[test]
fn localhost_names_and_configured_names_are_served_on_any_port() {
    for host in [
        "localhost",
        "localhost:8470",
        "LOCALHOST:1",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:8470",
        "127.9.9.9:8470",
        "[::1]",
        "[::1]:8470",
        "hoft.shop.svc",
        "HOFT.shop.svc:8470",
        "gateway",
    ] {
        assert_eq!(local_api(host, None), Ok(()), "{host}");
        assert_eq!(local_api(host, Some(&format!("http://{host}"))), Ok(()), "{host}");
    }
}

#[test]
fn a_rebound_name_is_refused() {
    // The page at evil.example made its own name resolve to 127.0.0.1: Host still says what the browser was told.
    for host in [
        "evil.example",
        "evil.example:8470",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "xlocalhost:8470",
        "0.0.0.0:8470",
        "10.0.0.1",
        "192.168.1.7:8470",
        "[::]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "erp.south.svc",
    ] {
        let refused = local_api(host, None).unwrap_err();
        assert!(matches!(refused, GuardError::ForeignHost { .. }), "{host}");
        assert_eq!(refused.to_problem().status, 421);
    }
}

#[test]
fn a_foreign_page_is_refused_though_it_names_localhost() {
    for origin in [
        "http://evil.example",
        "https://evil.example:8470",
        "null",
        "http://localhost.evil.example",
        "file://",
        "chrome-extension://localhost",
        "http://",
        "http://localhost/",
        "localhost",
        "http://erp.south.svc",
        "http://user@localhost",
        "\u{e9}",
    ] {
        let refused = local_api("localhost:8470", Some(origin)).unwrap_err();
        assert!(matches!(refused, GuardError::ForeignOrigin { .. }), "{origin}");
        assert_eq!(refused.to_problem().status, 403);
    }
}

#[test]
fn the_local_api_needs_a_host() {
    assert_eq!(check(None, None, RequestForm::Origin, &[]), Err(GuardError::MissingHost));
    assert_eq!(GuardError::MissingHost.to_problem().status, 400);
}

#[test]
fn a_malformed_host_is_refused() {
    for host in
        ["", "a b", "localhost:x", "user@localhost", "localhost/", "localhost, localhost", "localhost:0", "%6cocalhost"]
    {
        let refused = local_api(host, None).unwrap_err();
        assert!(matches!(refused, GuardError::MalformedHost { .. }), "{host}");
        assert_eq!(refused.to_problem().status, 400);
    }
    assert!(check(Some(b"\xff"), None, RequestForm::Origin, &[]).is_err());
}

#[test]
fn a_proxied_call_may_name_its_own_target_and_no_other() {
    assert_eq!(proxied("erp.south.svc", None), Ok(()));
    assert_eq!(proxied("ERP.south.svc:443", Some("https://erp.south.svc")), Ok(()));
    assert_eq!(proxied("localhost:8470", None), Ok(()));
    assert!(matches!(proxied("evil.example", None), Err(GuardError::ForeignHost { .. })));
    assert!(matches!(proxied("erp.south.svc", Some("https://evil.example")), Err(GuardError::ForeignOrigin { .. })));
    let form = RequestForm::Absolute { host: "erp.south.svc" };
    assert_eq!(check(None, None, form, &[]), Ok(()));
}

#[test]
fn a_page_of_another_site_is_told_by_its_fetch_metadata() {
    assert!(is_cross_site(Some(b"cross-site")));
    assert!(is_cross_site(Some(b"same-site")));
    assert!(!is_cross_site(Some(b"same-origin")));
    assert!(!is_cross_site(Some(b"none")));
    assert!(!is_cross_site(None));
}
