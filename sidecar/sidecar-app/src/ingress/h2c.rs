//! HTTP/2 without TLS on the local port (RFC 9113 §3.3, by prior knowledge), brought into the forms of HTTP/1.1.
//!
//! An HTTP/2 request always names scheme and authority, so a call of the local API must be told from a proxied one by where it
//! is addressed to: this port under one of its names, or anywhere else.
//! Invariants: `:authority` and Host name the same place; a cookie that came in pieces goes on as one field (RFC 9113 §8.2.3).
//! Test to read first: `a_request_to_this_port_is_told_from_a_proxied_one`.

use http::header::{COOKIE, HOST};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use layer2_http::guard::{self, RequestForm};
use layer2_http::problem::Problem;

use super::request::bad;

/// Brings a request into the forms of HTTP/1.1. `port` is this one, `names` those under which it is addressed.
///
/// # Errors
/// When Host contradicts `:authority`.
pub(super) fn normalized<B>(mut request: Request<B>, port: u16, names: &[String]) -> Result<Request<B>, Problem> {
    join_cookies(request.headers_mut())?;
    let Some(authority) = request.uri().authority().cloned() else { return Ok(request) };
    let mut hosts = request.headers().get_all(HOST).iter();
    let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if !hosts.next().is_none_or(same) || hosts.next().is_some() {
        return Err(bad("Host is not the same as :authority"));
    }
    if request.method() == Method::CONNECT || !is_this_port(&authority, port, names) {
        return Ok(request);
    }
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| bad(error.to_string()))?;
    request.headers_mut().insert(HOST, host);
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    Ok(request)
}

fn is_this_port(authority: &Authority, port: u16, names: &[String]) -> bool {
    let named = names.iter().any(|name| name.eq_ignore_ascii_case(authority.host()));
    let ours = guard::check(Some(authority.as_str().as_bytes()), None, RequestForm::Origin, names).is_ok();
    // A name of this machine with another port is somebody else's on the far side.
    ours && (named || authority.port_u16().unwrap_or(80) == port)
}

fn join_cookies(fields: &mut HeaderMap) -> Result<(), Problem> {
    let pieces: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1 {
        let whole = HeaderValue::from_bytes(&pieces.join(&b"; "[..])).map_err(|error| bad(error.to_string()))?;
        fields.insert(COOKIE, whole);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(uri: &str, fields: &[(&str, &str)]) -> Option<Request<()>> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        normalized(request.body(()).unwrap(), 8470, &["gate.test".to_owned()]).ok()
    }

    #[test]
    fn a_request_to_this_port_is_told_from_a_proxied_one() {
        for (uri, normalized) in [
            ("http://localhost:8470/to/erp/x?q=1", "/to/erp/x?q=1"),
            ("http://127.0.0.1:8470/v1/operations", "/v1/operations"),
            ("http://gate.test/to/erp/", "/to/erp/"),
            ("http://localhost:9000/x", "http://localhost:9000/x"),
            ("http://localhost/x", "http://localhost/x"),
            ("https://erp.test/x", "https://erp.test/x"),
        ] {
            assert_eq!(normal(uri, &[]).unwrap().uri().to_string(), normalized);
        }
        let own = normal("http://localhost:8470/x", &[]).unwrap();
        assert_eq!(own.headers()[HOST], "localhost:8470");
    }

    #[test]
    fn a_host_that_contradicts_the_authority_is_refused() {
        assert!(normal("http://erp.test/x", &[("host", "ERP.test")]).is_some());
        assert!(normal("http://erp.test/x", &[("host", "other.test")]).is_none());
        assert!(normal("http://erp.test/x", &[("host", "erp.test"), ("host", "erp.test")]).is_none());
    }

    #[test]
    fn a_cookie_in_pieces_goes_on_whole() {
        let request = normal("http://erp.test/x", &[("cookie", "a=1"), ("cookie", "b=2")]).unwrap();
        assert_eq!(request.headers().get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
