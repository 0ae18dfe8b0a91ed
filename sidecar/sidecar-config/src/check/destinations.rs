//! The destinations of a rule: schemes, hosts, ports, methods and paths.
//!
//! Invariant: a destination that passes can match some call, and what it matches is read the same way by every server.
//! It does not decide calls. Test to read first: `every_contradiction_is_caught` in `read/tests.rs`.

use crate::{
    file,
    problem::{Problems, Refusal},
    rule::{Destination, HostPattern, Scheme},
};

/// The IANA registry of methods (RFC 9110 §16.1), the common ones first, and PURGE of caches.
const METHODS: [&str; 40] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "PURGE",
];

pub(super) fn destinations(
    rule: &str,
    listed: &[file::Destination],
    problems: &mut Problems,
) -> Option<Vec<Destination>> {
    if listed.is_empty() {
        problems.add(
            format!("{rule}.destinations"),
            "is empty: the rule allows nothing",
            "name at least one destination",
        );
        return None;
    }
    let checked: Vec<Destination> = listed
        .iter()
        .enumerate()
        .filter_map(|(index, file)| destination(&format!("{rule}.destinations[{index}]"), file, problems))
        .collect();
    (checked.len() == listed.len()).then_some(checked)
}

fn destination(field: &str, file: &file::Destination, problems: &mut Problems) -> Option<Destination> {
    let schemes = each(&format!("{field}.schemes"), &file.schemes, "https", scheme, problems);
    let host = problems.take(format!("{field}.host"), HostPattern::parse(&file.host));
    let port = match (file.port, &schemes) {
        (Some(0), _) => {
            Err(Refusal::new("is 0, which is no port", "write the port, or remove the field for the scheme's own"))
        }
        (Some(port), _) => Ok(port),
        (None, Some(schemes)) => match schemes.as_slice() {
            [one] => Ok(one.default_port()),
            _ => Err(Refusal::new(
                "is missing, and http and https have different ones",
                "write the port, or one destination for each scheme",
            )),
        },
        // The schemes are refused already; there is no port to name.
        (None, None) => Ok(Scheme::Https.default_port()),
    };
    let port = problems.take(format!("{field}.port"), port);
    let methods = each(&format!("{field}.methods"), &file.methods, "GET", method, problems);
    if let Some(methods) = &methods
        && methods.len() > 1
        && methods.iter().any(|method| method == "*")
    {
        problems.add(
            format!("{field}.methods"),
            "has `*` beside other methods",
            "write only `*` for any method, or only the methods",
        );
    }
    let paths = each(&format!("{field}.paths"), &file.paths, "/", path, problems);
    Some(Destination { schemes: schemes?, host: host?, port: port?, methods: methods?, paths: paths? })
}

/// Checks a list that must not be empty; each value is kept once.
fn each<T: PartialEq>(
    field: &str,
    listed: &[String],
    example: &str,
    check: fn(&str) -> Result<T, Refusal>,
    problems: &mut Problems,
) -> Option<Vec<T>> {
    if listed.is_empty() {
        problems.add(
            field,
            "is empty: the destination allows nothing",
            format!("name what is allowed, such as [\"{example}\"]"),
        );
        return None;
    }
    let mut values = Vec::with_capacity(listed.len());
    let mut whole = true;
    for (index, text) in listed.iter().enumerate() {
        match problems.take(format!("{field}[{index}]"), check(text)) {
            Some(value) if !values.contains(&value) => values.push(value),
            Some(_) => {}
            None => whole = false,
        }
    }
    whole.then_some(values)
}

pub(super) fn scheme(text: &str) -> Result<Scheme, Refusal> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| scheme.as_str() == text)
        .ok_or_else(|| Refusal::new(format!("`{text}` is not a scheme that can be called"), "write http or https"))
}

fn method(text: &str) -> Result<String, Refusal> {
    if text == "*" || METHODS.contains(&text) {
        return Ok(text.to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let remedy = if METHODS.contains(&upper.as_str()) {
        format!("write {upper}: methods are case-sensitive")
    } else {
        "write methods such as GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS, or `*` for any".to_owned()
    };
    Err(Refusal::new(format!("`{text}` is not a method"), remedy))
}

fn path(text: &str) -> Result<String, Refusal> {
    let refuse = |why: &str, remedy: &str| Err(Refusal::new(format!("`{text}` {why}"), remedy));
    if !text.starts_with('/') {
        return refuse("does not begin with `/`", "write the beginning of a path, such as /v1/");
    }
    if text.bytes().any(|b| !b.is_ascii_graphic()) || text.contains(['\\', '?', '#', '*']) {
        return refuse(
            "has a character that no path prefix has",
            "write the beginning of a path, without query and wildcards; other characters percent-encoded",
        );
    }
    if !is_plain(text) {
        return refuse(
            "has `.`, `..` or an encoded slash, backslash or percent sign, which no allowed path has",
            "write the path as it is after they are resolved",
        );
    }
    Ok(text.to_owned())
}

/// Whether every server reads the path the same way: nothing in it is resolved or decoded into a separator.
pub(super) fn is_plain(path: &str) -> bool {
    let folded = path.to_ascii_lowercase();
    let hidden = ["%2f", "%5c", "%00", "%25"].iter().any(|code| folded.contains(code));
    let coded = folded.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes().take(2);
        digits.len() == 2 && digits.all(|b| b.is_ascii_hexdigit())
    });
    let dots = folded.split('/').any(|segment| {
        let name = segment.replace("%2e", ".").replace("%3b", ";");
        let name = name.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    });
    coded && !hidden && !dots
}

/// Whether a path is a prefix or beneath it, segment by segment.
pub(super) fn within(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix.trim_end_matches('/')) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}
