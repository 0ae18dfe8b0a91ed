//! The client that measures: HTTP/1 over one connection that is kept.
//!
//! Invariant: an exchange counts only if its status is 200 and its whole body is right. It repeats nothing: whatever goes
//! wrong ends the measurement. Test to read first: `a_body_goes_up_and_another_comes_down`.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::pattern::{Check, Pattern, PatternBody};
use super::upstream::PATH;
use crate::demo::call::ROUTE;

/// Where the upstream is reached: by itself, or through the line.
#[derive(Clone, Debug)]
pub(super) struct Door {
    address: SocketAddr,
    prefix: String,
}

impl Door {
    /// The upstream itself.
    pub(super) const fn direct(upstream: SocketAddr) -> Self {
        Self { address: upstream, prefix: String::new() }
    }

    /// The route through an engine's local port.
    pub(super) fn through(proxy: SocketAddr) -> Self {
        Self { address: proxy, prefix: format!("/to/{ROUTE}") }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When nobody listens.
    pub(super) async fn connect(&self, pattern: &Pattern) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.with_context(|| format!("{} cannot be connected to", self.address))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let task = tokio::spawn(async move {
            // The exchange that it breaks reports it.
            let _ = connection.await;
        });
        Ok(Connection { door: self.clone(), pattern: pattern.clone(), sender, task })
    }
}

/// One connection; it closes when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    door: Door,
    pattern: Pattern,
    sender: SendRequest<PatternBody>,
    task: JoinHandle<()>,
}

impl Connection {
    /// Fetches `size` octets.
    ///
    /// # Errors
    /// When the exchange breaks, is refused, or brings something else.
    pub(super) async fn down(&mut self, size: u64) -> Result<()> {
        self.exchange(Method::GET, 0, size).await
    }

    /// Sends `size` octets.
    ///
    /// # Errors
    /// When the exchange breaks, is refused, or arrived as something else.
    pub(super) async fn up(&mut self, size: u64) -> Result<()> {
        self.exchange(Method::POST, size, 0).await
    }

    async fn exchange(&mut self, method: Method, up: u64, down: u64) -> Result<()> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{PATH}?size={down}", self.door.prefix))
            .header(http::header::HOST, self.door.address.to_string())
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .body(self.pattern.body(up))?;
        self.sender.ready().await.context("the connection was closed")?;
        let response = self.sender.send_request(request).await.context("the exchange broke")?;
        let (head, mut body) = response.into_parts();
        let mut check = Check::new(&self.pattern);
        let mut beginning = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the response broke off")?;
            let Some(data) = frame.data_ref() else { continue };
            check.add(data);
            if head.status != http::StatusCode::OK {
                beginning.extend_from_slice(data);
            }
        }
        if head.status != http::StatusCode::OK {
            bail!("it was answered with {}: {}", head.status, String::from_utf8_lossy(&beginning));
        }
        if check.length() != Some(down) {
            bail!("the response was not the one that the upstream sends");
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::super::upstream::Upstream;
    use super::*;

    #[tokio::test]
    async fn a_body_goes_up_and_another_comes_down() {
        let pattern = Pattern::new();
        let upstream = Upstream::start(&pattern).await.unwrap();
        let mut connection = Door::direct(upstream.address).connect(&pattern).await.unwrap();
        connection.up(3_000_000).await.unwrap();
        connection.down(5_000_000).await.unwrap();
        connection.down(0).await.unwrap();
    }

    #[tokio::test]
    async fn a_refused_call_is_an_error_with_its_words() {
        let pattern = Pattern::new();
        let upstream = Upstream::start(&pattern).await.unwrap();
        let door = Door { prefix: "/else".to_owned(), ..Door::direct(upstream.address) };
        let error = door.connect(&pattern).await.unwrap().down(10).await.unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }
}
