//! What a far side does to the calls of an inbound rule: header lists, credentials, the token endpoint, cookies.
//!
//! Invariants: a field that frames a message, or that only concerns one hop, is neither filtered nor added; a secret is the
//! name of a file; a secret goes to a token endpoint by TLS or stays on this machine. It reads no file. Test to read first:
//! `what_contradicts_itself_is_refused` in `far_side/tests.rs`.

use std::path::Path;

use ipnet::IpNet;
use url::Url;

use super::{folders, targets};
use crate::{
    far_side::{Cookies, Credential, FarSide, FieldList, Headers, Injected, OAuth, TokenEndpoint},
    file,
    problem::{Problems, Refusal},
};

/// Fields that frame or describe the content, or keep calls from going round in circles: no list drops them.
const ALWAYS_PASS: [&str; 6] =
    ["content-length", "content-type", "content-encoding", "content-range", "via", "cdn-loop"];
/// Fields that only concern one hop, frame the message, or are this program's to write: no rule adds them.
const NOT_INJECTED: [&str; 19] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "via",
    "cdn-loop",
    "forwarded",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
];

pub(super) fn far_side(
    field: &str,
    file: &file::InboundRule,
    addresses: &[IpNet],
    base_dir: &Path,
    problems: &mut Problems,
) -> FarSide {
    let credentials = file.credentials.iter();
    let credentials: Vec<Injected> = credentials
        .filter_map(|(name, credential)| {
            injected(&format!("{field}.credentials.{name}"), name, credential, base_dir, problems)
        })
        .collect();
    for (index, one) in credentials.iter().enumerate() {
        if credentials.iter().take(index).any(|other| other.field == one.field) {
            let at = format!("{field}.credentials");
            problems.add(at, format!("names `{}` in two spellings", one.field), "remove one of the two");
        }
    }
    let oauth = file.oauth.as_ref();
    let oauth = oauth.and_then(|oauth| endpoint(&format!("{field}.oauth"), oauth, addresses, base_dir, problems));
    let far = FarSide {
        request_headers: list(&format!("{field}.requestHeaders"), &file.request_headers, problems),
        response_headers: list(&format!("{field}.responseHeaders"), &file.response_headers, problems),
        credentials,
        pass_authorization: file.pass_authorization,
        oauth,
        cookies: file.cookies,
    };
    agree(field, file, &far, problems);
    far
}

/// What each of them allows and all of them do not.
fn agree(field: &str, file: &file::InboundRule, far: &FarSide, problems: &mut Problems) {
    let adds = |name: &str| far.credentials.iter().any(|one| one.field == name);
    if file.oauth.is_some() && adds("authorization") {
        problems.add(
            format!("{field}.credentials.authorization"),
            "would stand in the place of the token that `oauth` gets",
            "remove one of the two",
        );
    }
    if far.cookies == Cookies::Jar && adds("cookie") {
        problems.add(
            format!("{field}.credentials.cookie"),
            "would stand in the place of the cookies that `cookies: jar` keeps",
            "remove one of the two",
        );
    }
    if far.pass_authorization && file.credentials.is_empty() && file.oauth.is_none() {
        problems.add(
            format!("{field}.passAuthorization"),
            "has no use: a rule without credentials passes what its callers send",
            "remove it",
        );
    }
}

fn list(field: &str, file: &Headers, problems: &mut Problems) -> FieldList {
    match (&file.allow, &file.deny) {
        (None, None) => FieldList::All,
        (Some(allow), None) => FieldList::Only(patterns(&format!("{field}.allow"), allow, problems)),
        (None, Some(deny)) => {
            let denied = patterns(&format!("{field}.deny"), deny, problems);
            for (index, pattern) in denied.iter().enumerate() {
                if let Some(needed) = ALWAYS_PASS.iter().find(|name| matches(pattern, name)) {
                    problems.add(
                        format!("{field}.deny[{index}]"),
                        format!("`{pattern}` would drop {needed}, without which the message would be read wrongly"),
                        "remove it, or name the fields that are meant",
                    );
                }
            }
            FieldList::AllBut(denied)
        }
        (Some(_), Some(_)) => {
            problems.add(field, "has both lists", "write `allow`, or `deny`");
            FieldList::All
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

fn patterns(field: &str, listed: &[String], problems: &mut Problems) -> Vec<String> {
    let listed = listed.iter().enumerate();
    listed
        .filter_map(|(index, text)| {
            let start = text.strip_suffix('*').unwrap_or(text);
            let good = if text == "*" { false } else { is_token(start) };
            let checked = if good {
                Ok(text.to_ascii_lowercase())
            } else {
                Err(Refusal::new(format!("`{text}` is not a field name"), "write a name such as accept, or x-*"))
            };
            problems.take(format!("{field}[{index}]"), checked)
        })
        .collect()
}

/// Is this a token without `*` (RFC 9110 §5.6.2)?
fn is_token(text: &str) -> bool {
    let sign = |b: u8| b"!#$%&'+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || sign(b))
}

fn injected(field: &str, name: &str, file: &Credential, base_dir: &Path, problems: &mut Problems) -> Option<Injected> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        problems.add(field, format!("`{name}` is not a field name"), "write a name such as authorization or x-api-key");
        return None;
    }
    if NOT_INJECTED.contains(&lower.as_str()) || lower.starts_with("hoft-") {
        problems.add(field, format!("{lower} is for the engine to write"), "add fields that say who calls");
        return None;
    }
    if file.prefix.bytes().any(|b| !matches!(b, b' '..=b'~')) {
        problems.add(format!("{field}.prefix"), "has a character that no field value has", "write printable ASCII");
    }
    let path = folders::resolve(base_dir, &file.file, &format!("{field}.file"), problems);
    Some(Injected { field: lower, file: path, prefix: file.prefix.clone() })
}

fn endpoint(
    field: &str,
    file: &OAuth,
    addresses: &[IpNet],
    base_dir: &Path,
    problems: &mut Problems,
) -> Option<TokenEndpoint> {
    let url_field = format!("{field}.tokenUrl");
    let url = problems.take(url_field.as_str(), token_url(&file.token_url));
    if let Some(host) = url.as_ref().and_then(Url::host_str) {
        targets::is_reachable(&url_field, host, addresses, problems);
    }
    let id_is_plain = !file.client_id.is_empty() && file.client_id.bytes().all(|b| matches!(b, b' '..=b'~'));
    if !id_is_plain {
        problems.add(format!("{field}.clientId"), "is no client id", "write printable ASCII (RFC 6749 appendix A.1)");
    }
    if file.client_secret_file.is_none() && file.refresh_token_file.is_none() {
        problems.add(
            format!("{field}.clientSecretFile"),
            "is missing, and so is `refreshTokenFile`: there is nothing to get a token with",
            "name the file of the client's secret, or of a refresh token",
        );
    }
    // RFC 6749 appendices A.4 and A.5: printable ASCII without quotes and backslashes.
    let shown = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    for (name, text) in [("scope", &file.scope), ("audience", &file.audience)] {
        if text.as_ref().is_some_and(|text| text.is_empty() || !text.bytes().all(shown)) {
            problems.add(
                format!("{field}.{name}"),
                "is empty or has a character it cannot have",
                "write it, or remove it",
            );
        }
    }
    let mut path = |name: &str, path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| folders::resolve(base_dir, path, &format!("{field}.{name}"), problems))
    };
    let client_secret_file = path("clientSecretFile", &file.client_secret_file);
    let refresh_token_file = path("refreshTokenFile", &file.refresh_token_file);
    let ca_file = path("caFile", &file.ca_file);
    Some(TokenEndpoint {
        url: url?,
        client_id: file.client_id.clone(),
        client_secret_file,
        client_auth: file.client_auth,
        scope: file.scope.clone(),
        audience: file.audience.clone(),
        refresh_token_file,
        ca_file,
    })
}

fn token_url(text: &str) -> Result<Url, Refusal> {
    let example = "write a URL such as https://login.south.svc/oauth2/token";
    let refuse = |why: &str| {
        // What may hold a password is not repeated.
        let shown = if text.contains('@') { "the URL".to_owned() } else { format!("`{text}`") };
        Err(Refusal::new(format!("{shown} {why}"), example))
    };
    let Ok(url) = Url::parse(text) else { return refuse("is not a URL") };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("has a user or a password in it");
    }
    if url.fragment().is_some() {
        return refuse("has a fragment (RFC 6749 §3.2)");
    }
    if url.port() == Some(0) {
        return refuse("has port 0");
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        "http" => refuse("is not https: the client's secret would be sent in the clear (RFC 6749 §3.2)"),
        _ => refuse("is not https"),
    }
}
