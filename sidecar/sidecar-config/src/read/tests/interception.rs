//! The section `interception`.

use super::*;

const RULE: &str = "outbound: {allow: [{name: erp, destinations: [{host: a.example, methods: [GET]}]}]}";

#[test]
fn interception_is_off_unless_it_is_switched_on() {
    assert!(!read_here(&with(RULE)).unwrap().interception.enabled);
    let config = read_here(&with(&format!("{RULE}\ninterception: {{enabled: true}}"))).unwrap();
    assert!(config.interception.enabled && config.interception.ca_file.is_none());
    let given = "interception: {enabled: true, caFile: ca.pem, keyFile: /keys/ca.key}";
    let config = read_here(&with(&format!("{RULE}\n{given}"))).unwrap();
    assert_eq!(config.interception.ca_file.as_deref(), Some(Path::new("/etc/hoft/ca.pem")));
    assert_eq!(config.interception.key_file.as_deref(), Some(Path::new("/keys/ca.key")));
}

#[test]
fn an_interception_that_could_not_work_is_refused() {
    for (text, field, says) in [
        (with("interception: {enabled: true}"), "interception.enabled", "scheme https"),
        (with(&format!("{RULE}\ninterception: {{enabled: true, caFile: ca.pem}}")), "interception.caFile", "keyFile"),
        (with(&format!("{RULE}\ninterception: {{keyFile: ca.key}}")), "interception.keyFile", "caFile"),
        (with(&format!("{RULE}\ninterception: {{caFile: ca.pem, keyFile: out/ca.key}}")), "interception.keyFile", ""),
    ] {
        let errors = read_here(&text).unwrap_err().to_string();
        assert!(errors.contains(field) && errors.contains(says), "{text}\n{errors}");
    }
}
