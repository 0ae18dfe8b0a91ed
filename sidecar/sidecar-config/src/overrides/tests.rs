//! Starts that say otherwise than the file.

use std::path::Path;

use super::*;
use crate::{config::Config, problem::ConfigErrors, read::parse_with, section::EndpointKind};

const FILE: &str = "version: 1
local: {name: north, endpoint: \"3\", namespace: old, serviceAccount: old}
remote: {name: south, keys: [hoft1AAAA]}
identity: {secretFile: north.key}
folders: {outbox: out, inbox: in}
state: {folder: state}
";

fn started(overrides: &Overrides) -> Result<Config, ConfigErrors> {
    parse_with(FILE, "north.yaml", Path::new("/etc/hoft"), overrides)
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn what_a_start_says_replaces_the_file() {
    let local = started(&Overrides::default()).unwrap().local;
    assert_eq!((local.kind, local.endpoint.as_str()), (EndpointKind::Gateway, "3"));
    assert_eq!((local.namespace, local.service_account), (given("old"), given("old")));

    let uid = "0b5c1f7e-58a1-4a52-8f6e-0d3f9a6f7c11";
    let all = Overrides {
        endpoint: given(uid),
        kind: given("pod"),
        namespace: given("orders"),
        service_account: given("billing"),
    };
    let local = started(&all).unwrap().local;
    assert_eq!((local.kind, local.endpoint.as_str()), (EndpointKind::Pod, uid));
    assert_eq!((local.namespace, local.service_account), (given("orders"), given("billing")));
}

#[test]
fn what_a_start_says_wrongly_is_named_by_its_variable() {
    let none = Overrides::default();
    for (overrides, field, words) in [
        (Overrides { endpoint: given("x"), ..none.clone() }, "HOFT_ENDPOINT (--endpoint)", "ordinal"),
        (Overrides { endpoint: given(""), ..none.clone() }, "HOFT_ENDPOINT (--endpoint)", "ordinal"),
        (Overrides { kind: given("Pod"), ..none.clone() }, "HOFT_KIND (--kind)", "gateway or pod"),
        (Overrides { kind: given("pod"), ..none.clone() }, "HOFT_ENDPOINT (--endpoint)", "metadata.uid"),
        (
            Overrides { kind: given("pod"), endpoint: given("a_b"), ..none.clone() },
            "HOFT_ENDPOINT (--endpoint)",
            "write `a-b`",
        ),
        (Overrides { namespace: given("a.b"), ..none.clone() }, "HOFT_NAMESPACE (--namespace)", "namespace"),
        (
            Overrides { service_account: given(""), ..none.clone() },
            "HOFT_SERVICE_ACCOUNT (--service-account)",
            "is empty",
        ),
    ] {
        let errors = started(&overrides).unwrap_err();
        let [problem] = errors.problems() else { unreachable!("{errors}") };
        assert_eq!((problem.path.as_str(), problem.place), (field, None), "{errors}");
        assert!(errors.to_string().contains(words), "{errors}");
    }
}

#[test]
fn the_name_in_the_file_is_judged_by_the_kind_that_the_start_says() {
    let text = FILE.replace("\"3\"", "0b5c1f7e-58a1");
    let gateway = Overrides { kind: given("gateway"), ..Overrides::default() };
    let errors = parse_with(&text, "north.yaml", Path::new("/"), &gateway).unwrap_err();
    assert_eq!(errors.problems()[0].path, "local.endpoint", "{errors}");
}
