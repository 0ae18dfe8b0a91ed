//! Quotas, caches and the access log in the file.

use super::*;
use crate::{ByteSize, Cache, Quota};

const DESTINATIONS: &str = "destinations: [{host: erp.example, methods: [GET]}]";

#[test]
fn quotas_and_caches_are_read() {
    let text = outbound(&format!(
        "{DESTINATIONS}, quota: {{requestsPerMinute: 600, bytesPerDay: 5Gi, maxInFlight: 20}}, \
         callerQuota: {{bytesPerSecond: 64Ki}}, cache: {{enabled: true, bodyMax: 1Mi}}"
    ));
    let config = read_here(&format!("{text}log: {{access: true}}\nlimits: {{cacheBytes: 64Mi}}\n")).unwrap();
    let rule = &config.outbound.allow[0];
    let expected = Quota {
        requests_per_minute: Some(600),
        bytes_per_day: Some(ByteSize::gib(5)),
        max_in_flight: Some(20),
        ..Quota::default()
    };
    assert_eq!(rule.quota, expected);
    assert_eq!(rule.caller_quota, Quota { bytes_per_second: Some(ByteSize::kib(64)), ..Quota::default() });
    assert_eq!(rule.cache, Cache { enabled: true, body_max: ByteSize::mib(1), bytes_max: ByteSize::mib(16) });
    assert!(config.log.access);
    assert_eq!(config.limits.cache_bytes, ByteSize::mib(64));
}

#[test]
fn without_a_word_nothing_is_bounded_kept_or_logged() {
    let config = read_here(&outbound(DESTINATIONS)).unwrap();
    let rule = &config.outbound.allow[0];
    assert!(rule.quota.is_default() && rule.caller_quota.is_default() && !rule.cache.enabled && !config.log.access);
    let file: ConfigFile = serde_yaml::from_str(&outbound(DESTINATIONS)).unwrap();
    let written = file.to_yaml().unwrap();
    for word in ["quota", "callerQuota", "cache", "access", "cacheBytes"] {
        assert!(!written.contains(word), "{word}\n{written}");
    }
}

#[test]
fn contradictions_of_quotas_and_caches_are_caught() {
    for (fields, path, words) in [
        ("quota: {requestsPerMinute: 0}", "quota.requestsPerMinute", "is 0"),
        ("quota: {maxInFlight: 0}", "quota.maxInFlight", "is 0"),
        ("callerQuota: {maxInFlight: 257}", "callerQuota.maxInFlight", "limits.maxInFlight, 256"),
        ("quota: {bytesPerSecond: 1023}", "quota.bytesPerSecond", "at least 1Ki"),
        ("quota: {bytesPerDay: 0}", "quota.bytesPerDay", "is zero"),
        ("cache: {enabled: true, bodyMax: 2Mi}", "cache.bodyMax", "at most 1Mi"),
        ("cache: {enabled: true, bodyMax: 64Ki, bytesMax: 32Ki}", "cache.bodyMax", "larger than bytesMax"),
        ("cache: {enabled: true, bytesMax: 33Mi}", "cache.bytesMax", "limits.cacheBytes, 32Mi"),
    ] {
        let text = outbound(&format!("{DESTINATIONS}, {fields}"));
        let errors = read_here(&text).expect_err(&text);
        let [problem] = errors.problems() else { unreachable!("{text}\n{errors}") };
        assert_eq!(problem.path, format!("outbound.allow[0].{path}"), "{errors}");
        assert!(errors.to_string().contains(words), "{words}\n{errors}");
        assert!(!problem.remedy.is_empty() && problem.place.is_some(), "{errors}");
    }
    let errors = read_here(&with("limits: {cacheBytes: 1Ki}")).unwrap_err();
    assert_eq!(errors.problems()[0].path, "limits.cacheBytes");
    assert!(read_here(&outbound(&format!("{DESTINATIONS}, quota: {{bytesPerYear: 1}}"))).is_err());
}

#[test]
fn the_reference_names_the_fields_that_the_template_leaves_out() {
    let reference = include_str!("../../../../../docs/configuration.md");
    let rule = "outbound.allow[]";
    let quota = ["requestsPerMinute", "bytesPerSecond", "bytesPerDay", "maxInFlight"];
    let fields = quota.map(|name| format!("{rule}.quota.{name}")).into_iter().chain(
        ["quota", "callerQuota", "cache", "cache.enabled", "cache.bodyMax", "cache.bytesMax"]
            .map(|name| format!("{rule}.{name}")),
    );
    for field in fields.chain(["limits.cacheBytes", "log.access"].map(str::to_owned)) {
        assert!(reference.contains(&format!("| `{field}` |")), "`{field}` has no row in docs/configuration.md");
    }
}
