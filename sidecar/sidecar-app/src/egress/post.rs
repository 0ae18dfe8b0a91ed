//! Deliveries of callbacks: a POST to a receiver on this side, by the same connector as any call of the egress.
//!
//! Invariants: every address is checked before it is connected to, and the connection goes to the checked one; redirects are not followed,
//! no proxy variable is read; the whole attempt is bounded in time, and what is read of an answer in size. A message of a failure
//! names no URL. Test to read first: `a_delivery_is_answered_or_says_why_not`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::BodyExt;
use ipnet::IpNet;
use layer2_http::addresses::Networks;
use layer2_http::bhttp::SectionLimit;
use sidecar_config::CallbackRule;

use super::connector::Reach;
use super::tls::{self, SystemRoots};
use super::upstream::Upstream;
use crate::body;
use crate::driver::chain;

/// Octets of an answer that are read, so that the connection can be used again. More are of no interest.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Octets of an answer's header section.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Makes the deliveries of one rule.
pub struct Poster(Upstream);

/// What the receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Status of its answer.
    pub status: u16,
    /// Its Retry-After.
    pub retry_after: Option<String>,
}

/// The client of each rule, in their order. `denied`: networks that no wide entry of a rule reaches.
///
/// # Errors
/// When a rule's file of authorities cannot be used.
pub fn posters(rules: &[CallbackRule], denied: &[IpNet]) -> Result<Vec<Poster>> {
    let mut system = SystemRoots::default();
    let poster = |rule: &CallbackRule| {
        let tls = match &rule.ca_file {
            Some(file) => tls::trusting(file),
            None if rule.url.scheme() == "https" => system.config(),
            None => system.without_roots(),
        };
        let tls = tls.with_context(|| format!("callbacks.allow: rule `{}`", rule.name))?;
        let section = SectionLimit::new(HEADER_BYTES_MAX);
        let reach = Reach::new(Arc::new(Networks::new(rule.addresses.clone(), denied.to_vec())));
        Ok(Poster(Upstream::with(&reach, None, 0, section, tls)))
    };
    rules.iter().map(poster).collect()
}

impl Poster {
    /// One attempt.
    ///
    /// # Errors
    /// Says why there was no answer.
    pub async fn post(
        &self,
        target: &Uri,
        fields: &[(&'static str, String)],
        content_type: &'static str,
        content: Vec<u8>,
        time_max: Duration,
    ) -> Result<Posted, String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.insert(
                *name,
                HeaderValue::from_str(value).map_err(|_| format!("{name} has a character no field may have"))?,
            );
        }
        map.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        map.insert(USER_AGENT, HeaderValue::from_static(concat!("hoft/", env!("CARGO_PKG_VERSION"))));
        let mut request = Request::new(body::full(Bytes::from(content)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.clone();
        *request.headers_mut() = map;
        match tokio::time::timeout(time_max, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", time_max.as_secs_f64())),
        }
    }

    async fn exchange(&self, request: Request<body::BoxedBody>) -> Result<Posted, String> {
        let response = self.0.client.request(request).await.map_err(|error| chain(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let (mut content, mut read) = (response.into_body(), 0);
        // The status says all: whatever becomes of the rest, it stands.
        while let Some(Ok(frame)) = content.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(Posted { status, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidecar_config::{Name, Url};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn poster(addresses: &[&str]) -> Poster {
        let rule = CallbackRule {
            name: Name::new("shop").unwrap(),
            url: Url::parse("http://127.0.0.1/").unwrap(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            secret_files: Vec::new(),
            ca_file: None,
        };
        posters(&[rule], &[]).unwrap().remove(0)
    }

    async fn post(poster: &Poster, target: &str) -> Result<Posted, String> {
        let fields = [("webhook-id", "a".to_owned())];
        poster.post(&target.parse().unwrap(), &fields, "text/plain", b"x".to_vec(), Duration::from_secs(60)).await
    }

    /// A server that gives this answer to each connection, and what it was asked.
    async fn server(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=secret", listener.local_addr().unwrap());
        let (asked, seen) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = vec![0; 4096];
                let mut text = String::new();
                while !text.ends_with("\r\n\r\nx") {
                    let count = stream.read(&mut read).await.unwrap();
                    text.push_str(&String::from_utf8_lossy(&read[..count]));
                }
                // The test may be over.
                let _ = asked.send(text);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (url, seen)
    }

    #[tokio::test]
    async fn a_delivery_is_answered_or_says_why_not() {
        let poster = poster(&["127.0.0.1/32"]);
        let (url, mut seen) =
            server("HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
        let posted = post(&poster, &url).await.unwrap();
        assert_eq!(posted, Posted { status: 503, retry_after: Some("9".to_owned()) });
        let asked = seen.recv().await.unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("post /hook?token=secret http/1.1\r\n"), "{asked}");
        for field in ["webhook-id: a\r\n", "content-type: text/plain\r\n", "user-agent: hoft/", "content-length: 1\r\n"]
        {
            assert!(asked.contains(field), "{asked}");
        }
        // A redirect is an answer like any other: nobody goes there.
        let (elsewhere, mut reached) = server("HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n").await;
        let redirect =
            format!("HTTP/1.1 307 There\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let (url, _) = server(redirect.leak()).await;
        assert_eq!(post(&poster, &url).await.unwrap().status, 307);
        assert!(reached.try_recv().is_err());
        let (url, _) = server("what is this\r\n\r\n").await;
        assert!(!post(&poster, &url).await.unwrap_err().contains("secret"));
    }

    #[tokio::test]
    async fn an_address_that_is_not_listed_is_not_connected_to() {
        let (url, mut seen) = server("HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n").await;
        let by_name = url.replace("127.0.0.1", "localhost");
        for (addresses, target) in [(&[][..], &url), (&["10.0.0.0/8"][..], &url), (&[][..], &by_name)] {
            let said = post(&poster(addresses), target).await.unwrap_err();
            assert!(said.contains("loopback") && !said.contains("secret"), "{said}");
        }
        assert!(seen.try_recv().is_err());
    }
}
