//! HTTP/2 without TLS on the local port (RFC 9113 §3.3, by prior knowledge), brought into the forms of HTTP/1.1.
//!
//! An HTTP/2 request always names scheme and authority, so a call of the local API must be told from a proxied one by where it
//! is addressed to: this port under one of its names, or anywhere else.
//! Invariants: `:authority` and Host name the same place; a cookie that came in pieces goes on as one field (RFC 9113 §8.2.3).
//! Test to read first: `a_request_to_this_port_is_told_from_a_proxied_one`.

use std::time::Duration;

use http::header::{COOKIE, HOST};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use layer2_http::guard::{self, RequestForm};
use layer2_http::problem::Problem;
use tokio::net::TcpStream;

use super::request::bad;

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a preface of which a part is there.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Does this connection begin as HTTP/2? Takes nothing of it; `None` if it ended before it said anything. The caller bounds the
/// wait: the server behind begins to count only when it is told the version.
pub(super) async fn begins(stream: &TcpStream) -> Option<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let octets = stream.peek(&mut seen).await.ok().filter(|octets| *octets > 0)?;
        if !PREFACE.starts_with(&seen[..octets]) {
            return Some(false);
        }
        if octets == PREFACE.len() {
            return Some(true);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

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

    #[tokio::test]
    async fn the_version_is_known_by_the_first_octets_however_they_come() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (pieces, version) in [
            (&[&b"G"[..], b"ET / HTTP/1.1\r\n\r\n"][..], Some(false)),
            (&[b"P", b"OST / HTTP/1.1\r\n\r\n"], Some(false)),
            (&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\nmore"], Some(true)),
            (&[b"PRI * HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], Some(false)),
            (&[], None),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let send = async {
                for piece in pieces {
                    client.write_all(piece).await.unwrap();
                    tokio::time::sleep(LOOK_AGAIN * 3).await;
                }
                client.shutdown().await.unwrap();
            };
            let (seen, ()) = tokio::join!(begins(&server), send);
            assert_eq!(seen, version, "{pieces:?}");
            let mut whole = Vec::new();
            server.read_to_end(&mut whole).await.unwrap();
            assert_eq!(whole, pieces.concat(), "nothing was taken");
        }
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
