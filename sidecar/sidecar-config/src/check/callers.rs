//! Who calls: namespaces and service accounts of Kubernetes, here and in rules.
//!
//! Invariant: a name that passes is one that Kubernetes could give, so a typing error cannot look like a name that merely
//! never calls. It does not decide who calls: Kubernetes and the far side's word do.
//! Test to read first: `names_that_kubernetes_never_gives_are_refused`.

use crate::problem::{Problems, Refusal};

/// Longest name of a service account, in characters (RFC 1123 subdomain).
const SERVICE_ACCOUNT_CHARS_MAX: usize = 253;
/// Longest name of a namespace, in characters (RFC 1123 label).
const NAMESPACE_CHARS_MAX: usize = 63;

pub(super) fn namespace(text: &str) -> Result<String, Refusal> {
    if text.len() <= NAMESPACE_CHARS_MAX && is_label(text) {
        return Ok(text.to_owned());
    }
    Err(not_a("namespace", text, "write a name of a-z, 0-9 and -, such as `orders`; at most 63 characters"))
}

pub(super) fn service_account(text: &str) -> Result<String, Refusal> {
    if text.len() <= SERVICE_ACCOUNT_CHARS_MAX && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    let remedy = if text.contains(['/', ':']) {
        "write its name alone, such as `billing`: the namespace is that of the side's peering"
    } else if text == "*" {
        "remove the list to allow every caller"
    } else {
        "write a name of a-z, 0-9, - and ., such as `billing`"
    };
    Err(not_a("service account", text, remedy))
}

fn not_a(what: &str, text: &str, remedy: &str) -> Refusal {
    let message = if text.is_empty() { "is empty".to_owned() } else { format!("`{text}` is not the name of a {what}") };
    Refusal::new(message, remedy)
}

/// A list of service accounts; each is kept once.
pub(super) fn listed<'a>(fields: impl Iterator<Item = (String, &'a str)>, problems: &mut Problems) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (field, text) in fields {
        if let Some(name) = problems.take(field, service_account(text))
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_never_gives_are_refused() {
        for good in ["billing", "a", "0", "billing.v2", "a-b", &"x".repeat(253)] {
            assert_eq!(service_account(good).unwrap(), good);
        }
        for bad in ["", "Billing", "ns/billing", "a b", "-a", "a-", "a..b", ".a", "*", "ü", &"x".repeat(254)] {
            assert!(service_account(bad).is_err(), "{bad}");
        }
        for good in ["orders", "a-1", &"x".repeat(63)] {
            assert_eq!(namespace(good).unwrap(), good);
        }
        for bad in ["", "a.b", "A", "-a", &"x".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_namespace_before_the_name_is_told_apart() {
        let remedy = service_account("orders/billing").unwrap_err().remedy;
        assert!(remedy.contains("name alone"), "{remedy}");
    }
}
