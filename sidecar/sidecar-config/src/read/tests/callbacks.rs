//! The section `callbacks`: what is accepted, and what every refusal says.

use super::*;

fn rule(fields: &str) -> String {
    with(&format!("callbacks: {{allow: [{{name: shop, {fields}}}]}}"))
}

#[test]
fn callbacks_are_denied_unless_listed() {
    let config = read_here(LEAST).unwrap();
    assert_eq!(config.callbacks.allow, []);
    assert_eq!((config.callbacks.timeout, config.callbacks.in_flight), (Duration::from_secs(15), 4));
    assert_eq!(config.callbacks.retry.for_, Duration::from_secs(86_400));
    assert_eq!(config.callbacks.inline_max.as_u64(), 65_536);
}

#[test]
fn a_callback_rule_names_a_place_and_its_keys() {
    let text = rule(
        "url: 'http://LOCALHOST:9000/hooks', addresses: [127.0.0.1, '::1'], secretFiles: [shop.whsec, /run/next.whsec]",
    );
    let config = read_here(&text).unwrap();
    let [rule] = config.callbacks.allow.as_slice() else { panic!("{:?}", config.callbacks) };
    assert_eq!((rule.name.as_str(), rule.url.as_str()), ("shop", "http://localhost:9000/hooks"));
    assert_eq!(rule.secret_files, [PathBuf::from("/etc/hoft/shop.whsec"), PathBuf::from("/run/next.whsec")]);
    assert_eq!(rule.addresses.len(), 2);
    let more = "callbacks: {timeout: 2s, retry: {first: 1s, max: 10m, for: 72h}, inFlight: 1, inlineMax: 0}";
    let config = read_here(&with(more)).unwrap();
    assert_eq!(config.callbacks.retry.for_, Duration::from_secs(72 * 3_600));
    assert_eq!(config.callbacks.inline_max.as_u64(), 0);
}

#[test]
fn each_part_of_a_callback_rule_can_be_wrong() {
    let good = "url: 'https://shop.example/', secretFiles: [s]";
    assert!(read_here(&rule(good)).is_ok());
    for (text, path, says) in [
        (rule("secretFiles: [s]"), "", "url"),
        (rule("url: 'ftp://shop.example/', secretFiles: [s]"), "callbacks.allow[0].url", "neither http nor https"),
        (rule("url: 'https://u:p@shop.example/', secretFiles: [s]"), "callbacks.allow[0].url", "password"),
        (rule("url: 'https://shop.example/?k=v', secretFiles: [s]"), "callbacks.allow[0].url", "query"),
        (rule("url: 'https://shop.example/a%2fb', secretFiles: [s]"), "callbacks.allow[0].url", "encoded slash"),
        (rule("url: 'http://127.0.0.1:9/', secretFiles: [s]"), "callbacks.allow[0].url", "does not list"),
        (rule("url: 'http://localhost:9/', secretFiles: [s]"), "callbacks.allow[0].url", "does not list"),
        (rule("url: 'https://shop.example/'"), "callbacks.allow[0].secretFiles", "names 0 files"),
        (
            rule("url: 'https://shop.example/', secretFiles: [out/s]"),
            "callbacks.allow `shop`.secretFiles",
            "folders.outbox",
        ),
        (rule(&format!("{good}, addresses: [10.0.0.1/8]")), "callbacks.allow[0].addresses[0]", "bits set"),
        (rule(&format!("{good}, addresses: [0.0.0.0/0]")), "callbacks.allow[0].addresses[0]", "every address"),
        (rule("url: 'http://shop.example/', secretFiles: [s], caFile: ca.pem"), "callbacks.allow[0].caFile", "no use"),
        (
            with(&format!("callbacks: {{allow: [{{name: a, {good}}}, {{name: a, {good}}}]}}")),
            "callbacks.allow[1].name",
            "also the name",
        ),
        (with("callbacks: {timeout: 0s}"), "callbacks.timeout", ""),
        (with("callbacks: {inFlight: 0}"), "callbacks.inFlight", "is 0"),
        (with("callbacks: {inlineMax: 2Mi}"), "callbacks.inlineMax", ""),
        (with("callbacks: {retry: {first: 1ms}}"), "callbacks.retry", "pauses"),
        (with("callbacks: {retry: {first: 2h}}"), "callbacks.retry", "pauses"),
        (with("callbacks: {retry: {for: 73h}}"), "callbacks.retry.for", "too long"),
        (with("callbacks: {secret: x}"), "", "secret"),
    ] {
        let error = read_here(&text).unwrap_err();
        let problem = error.problems().iter().find(|problem| path.is_empty() || problem.path == path);
        let problem = problem.unwrap_or_else(|| panic!("{text}: nothing about {path}: {error}"));
        assert!(format!("{error}").contains(says), "{text}: {error}");
        assert!(!problem.message.is_empty());
    }
    let error = read_here(&rule("url: 'https://user:hunter2@shop.example/', secretFiles: [s]")).unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
}
