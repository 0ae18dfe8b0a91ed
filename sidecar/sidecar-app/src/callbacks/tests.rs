//! What rules let through, without a driver behind them.

use std::path::Path;

use disk::log::{Log, LogOptions, MemStorage};
use sidecar_config::{Callbacks as Section, ConfigFile, Folders, Layout, PublishSync};

use super::*;

/// Callbacks with these rules; each is a URL and the addresses it lists.
fn callbacks(folder: &Path, rules: &[(&str, &[&str])]) -> Arc<Callbacks> {
    let secret = folder.join("keys");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, mode).unwrap();
    let folders = Folders {
        outbox: "out".into(),
        inbox: "in".into(),
        layout: Layout::default(),
        publish_sync: PublishSync::default(),
    };
    let mut file = ConfigFile::new("north", "south", folders, "state".into());
    file.identity.secret_file = Some("north.key".into());
    file.remote.keys = vec!["hoft1AAAA".to_owned()];
    let allow = rules.iter().enumerate().map(|(index, (url, addresses))| sidecar_config::CallbackTarget {
        name: format!("rule-{index}"),
        url: (*url).to_owned(),
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        secret_files: vec![secret.clone()],
        ca_file: None,
    });
    file.callbacks = Section { allow: allow.collect(), ..Section::default() };
    let config = sidecar_config::parse(&file.to_yaml().unwrap(), "test.yaml", folder).unwrap();
    let (log, _) = Log::open_on(Arc::new(MemStorage::new()), [0; 16], LogOptions::default()).unwrap();
    let (events, _) = std::sync::mpsc::channel();
    Callbacks::new(&config, DriverHandle::new(events, log.reader())).unwrap().0
}

#[test]
fn a_url_is_allowed_only_if_it_begins_like_a_rule_and_its_address_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let some = callbacks(
        folder.path(),
        &[
            ("http://127.0.0.1:9000/hooks", &["127.0.0.0/8"]),
            ("https://shop.example/", &[]),
            ("http://localhost:9001/in/", &["127.0.0.1", "::1"]),
        ],
    );
    for url in [
        "http://127.0.0.1:9000/hooks",
        "http://127.0.0.1:9000/hooks/7?token=x",
        "https://shop.example/any/where",
        "https://SHOP.example:443",
        "http://localhost:9001/in/x",
    ] {
        assert_eq!(some.admit(Some(url), None), Ok(()), "{url}");
        assert_eq!(some.admit(None, Some(url)), Ok(()), "{url}");
    }
    for (url, status) in [
        ("http://127.0.0.1:9000/", 403),
        ("http://127.0.0.1:9000/hooksmith", 403),
        ("http://127.0.0.1:9000/hooks/../admin?secret=1", 403),
        ("http://127.0.0.1:9000/hooks/%2e%2e%2fadmin", 400),
        ("http://127.0.0.1:9002/hooks", 403),
        ("https://127.0.0.1:9000/hooks", 403),
        ("http://127.0.0.2:9000/hooks", 403),
        ("http://2130706433:9000/", 403),
        ("http://shop.example/", 403),
        ("https://shop.example.evil.test/", 403),
        ("https://evil.test/", 403),
        ("http://169.254.169.254/latest", 403),
        ("http://user:pass@127.0.0.1:9000/hooks", 400),
        ("ftp://shop.example/", 400),
    ] {
        let problem = some.admit(Some("https://shop.example/"), Some(url)).unwrap_err();
        assert_eq!(problem.status, status, "{url}: {}", problem.detail);
        assert_eq!(problem.executed, Some(Executed::No));
        assert!(!problem.detail.contains("secret=1"), "{}", problem.detail);
    }
    let none = callbacks(folder.path(), &[]);
    assert_eq!(none.admit(Some("https://shop.example/"), None).unwrap_err().status, 403);
    assert_eq!(none.admit(None, None), Ok(()));
}

#[test]
fn a_file_of_keys_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let rule = |file: &Path| CallbackRule {
        name: sidecar_config::Name::new("shop").unwrap(),
        url: sidecar_config::Url::parse("https://shop.example/").unwrap(),
        addresses: Vec::new(),
        secret_files: vec![file.to_owned(), file.to_owned()],
        ca_file: None,
    };
    let set_mode = |mode| {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    set_mode(0o644);
    assert!(signer(&rule(&file), false).unwrap_err().to_string().contains("chmod 600"));
    assert!(signer(&rule(&file), true).is_ok());
    set_mode(0o600);
    assert_eq!(format!("{:?}", signer(&rule(&file), false).unwrap()), "Signer of 2 keys");
    std::fs::write(&file, "hunter2").unwrap();
    let said = format!("{:#}", signer(&rule(&file), false).unwrap_err());
    assert!(said.contains("whsec_") && said.contains("keys") && !said.contains("hunter2"), "{said}");
}
