//! How many connections the local port has at once: beyond the bound a connection waits for a moment, and is then
//! told so.
//!
//! Invariants: at most `limits.connections` are served; at most [`WAITING_MAX`] more are held, each for [`PATIENCE`]
//! and the time that its answer takes; all others wait in the listen queue. It looks at no request. Test to read
//! first: `one_too_many_is_told_so`.

use std::sync::Arc;
use std::time::Duration;

use layer2_http::operation::Executed;
use layer2_http::problem::{self, Problem, ProblemKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that may wait for a place.
const WAITING_MAX: usize = 64;
/// How long each of them does.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that is turned away may take to hear it.
const FAREWELL: Duration = Duration::from_secs(1);

/// The places of the port.
#[derive(Clone)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    max: usize,
    patience: Duration,
}

impl Crowd {
    pub(super) fn new(max: usize) -> Self {
        Self::with_patience(max, PATIENCE)
    }

    fn with_patience(max: usize, patience: Duration) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(max)), waiting: Arc::new(Semaphore::new(WAITING_MAX)), max, patience }
    }

    /// Waits until another connection may be accepted. `None` never: the semaphores are not closed.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).acquire_owned().await.ok()
    }

    /// A place for an accepted connection; `None` when there was none in time, and it was told so.
    pub(super) async fn enter<S>(
        &self,
        stream: &mut S,
        waiting: OwnedSemaphorePermit,
        pseudonym: &str,
    ) -> Option<OwnedSemaphorePermit>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let place = Arc::clone(&self.places).acquire_owned();
        if let Ok(place) = tokio::time::timeout(self.patience, place).await {
            return place.ok();
        }
        let _ = tokio::time::timeout(FAREWELL, turn_away(stream, self.max, pseudonym)).await;
        drop(waiting);
        None
    }
}

/// Answers whatever the connection asks for, and closes it. What it sends is read: unread octets would turn the end
/// of the connection into an error that overtakes the answer.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, max: usize, pseudonym: &str) {
    let detail = format!("{max} connections are open: use fewer, or raise limits.connections");
    let problem = Problem::new(ProblemKind::TooManyConnections, detail).executed(Executed::No).retry_after(1);
    let content = problem.to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\
         cache-control: no-store\r\nproxy-status: {}\r\nretry-after: 1\r\n\r\n",
        problem::CONTENT_TYPE,
        content.len(),
        problem.proxy_status_field(pseudonym),
    );
    if stream.write_all(&[head.as_bytes(), &content].concat()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut unread = [0; 1024];
    while let Ok(1..) = stream.read(&mut unread).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_too_many_is_told_so() {
        let crowd = Crowd::with_patience(1, Duration::from_millis(10));
        let (_client, mut first) = tokio::io::duplex(64);
        let waiting = crowd.room().await.unwrap();
        let place = crowd.enter(&mut first, waiting, "hoft-a").await.expect("a free place");

        let (mut client, mut second) = tokio::io::duplex(64);
        let waiting = crowd.room().await.unwrap();
        let (refused, answer) = tokio::join!(crowd.enter(&mut second, waiting, "hoft-a"), async {
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            client.shutdown().await.unwrap();
            answer
        });
        assert!(refused.is_none());
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("error=connection_limit_reached"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", content.len())), "{head}");
        let content: serde_json::Value = serde_json::from_str(content).unwrap();
        assert_eq!(content["type"], "urn:hoft:problem:too-many-connections");

        drop(place);
        let (_client, mut third) = tokio::io::duplex(64);
        let waiting = crowd.room().await.unwrap();
        assert!(crowd.enter(&mut third, waiting, "hoft-a").await.is_some());
    }
}
