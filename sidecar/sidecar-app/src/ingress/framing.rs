//! Looks at every request head on its way in, and lets the HTTP library see only those that it will take.
//!
//! What the library refuses by itself it answers with an empty response. So a head is held back until it is whole; one that
//! `heads` refuses is replaced by a request that this engine makes up, and the service answers that with the problem: in
//! its turn, after the responses to the good requests before it. Content is passed over by its length. After a chunked
//! body, and after a head that may open a byte stream, it looks no more: the connection is closed after that response.
//!
//! Invariants: what passes is not changed; nothing passes after a refused head; at most one head is held. Test to read
//! first: `a_refused_head_becomes_a_request_for_its_problem`.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use layer2_http::operation::Executed;
use layer2_http::problem::{Problem, ProblemKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::heads::{self, Next};

/// What stands for a refused head.
const MADE_UP: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nhoft-refused: 1\r\nconnection: close\r\n\r\n";
/// The field by which the service knows it.
const REFUSED_FIELD: &str = "hoft-refused";
/// Octets that are read at once into a head.
const READ_BYTES: usize = 8 * 1024;

/// Why a head of this connection was refused, for its service.
#[derive(Clone, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<Problem>>>);

impl Refusal {
    /// The problem, if the request is the one that stands for a refused head. A client that writes the field itself is told
    /// of a refusal at most, and only of its own.
    pub(super) fn of(&self, fields: &HeaderMap) -> Option<Problem> {
        if !fields.contains_key(REFUSED_FIELD) {
            return None;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, problem: Problem) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }
}

/// A stream whose request heads are looked at.
pub(super) struct FramingGuard<S> {
    inner: S,
    look: Look,
    /// Read, and not looked at: never more than a head and one read.
    held: BytesMut,
    /// Looked at, and not handed over.
    passed: BytesMut,
    refusal: Refusal,
    head_bytes_max: usize,
    head_time_max: Duration,
    /// Runs from the first octet of a head.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Within a head.
    Head {
        /// Octets that have no end in them.
        seen: usize,
        /// Of these, octets that were looked at as a beginning.
        judged: usize,
    },
    /// Within content of a known length.
    Content(u64),
    /// Not looking any more.
    Past,
    /// A head was refused: nothing more is read.
    Refused,
}

impl Look {
    const NEW_HEAD: Self = Self::Head { seen: 0, judged: 0 };
}

impl<S> FramingGuard<S> {
    /// Bounds a head in octets, and in time from its first one.
    pub(super) fn new(inner: S, head_bytes_max: usize, head_time_max: Duration) -> (Self, Refusal) {
        let refusal = Refusal::default();
        let guard = Self {
            inner,
            look: Look::NEW_HEAD,
            held: BytesMut::new(),
            passed: BytesMut::new(),
            refusal: refusal.clone(),
            head_bytes_max,
            head_time_max,
            deadline: None,
        };
        (guard, refusal)
    }

    /// The stream alone, and what was read of it and not handed over.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        let mut left = self.passed;
        left.extend_from_slice(&self.held);
        (self.inner, left)
    }

    /// Lets pass what may pass of what is held.
    fn advance(&mut self) {
        while !self.held.is_empty() {
            match self.look {
                Look::Refused => self.held.clear(),
                Look::Past => self.pass(self.held.len()),
                Look::Content(left) => {
                    let octets = usize::try_from(left).unwrap_or(usize::MAX).min(self.held.len());
                    self.pass(octets);
                    let left = left - octets as u64;
                    self.look = if left == 0 { Look::NEW_HEAD } else { Look::Content(left) };
                }
                Look::Head { seen, judged } => {
                    // An end may straddle two reads.
                    let from = seen.saturating_sub(3);
                    let Some(end) = head_end(&self.held[from..]).map(|end| end + from) else {
                        return self.beginning(judged);
                    };
                    self.head(end);
                }
            }
        }
    }

    /// A head has no end yet. Looked at whenever it has doubled, so that one that comes octet by octet costs little.
    fn beginning(&mut self, judged: usize) {
        let seen = self.held.len();
        let again = seen >= judged.saturating_mul(2);
        self.look = Look::Head { seen, judged: if again { seen } else { judged } };
        if seen > self.head_bytes_max {
            self.refuse(heads::too_large(self.head_bytes_max));
        } else if again && let Err(problem) = heads::judge_beginning(&self.held) {
            self.refuse(problem);
        }
    }

    /// A head of so many octets is whole.
    fn head(&mut self, octets: usize) {
        self.deadline = None;
        if octets > self.head_bytes_max {
            return self.refuse(heads::too_large(self.head_bytes_max));
        }
        match heads::judge(&self.held[..octets]) {
            Ok(next) => {
                self.pass(octets);
                self.look = match next {
                    Next::Head => Look::NEW_HEAD,
                    Next::Content(length) => Look::Content(length),
                    Next::Past => Look::Past,
                };
            }
            Err(problem) => self.refuse(problem),
        }
    }

    fn pass(&mut self, octets: usize) {
        let passing = self.held.split_to(octets);
        if self.passed.is_empty() { self.passed = passing } else { self.passed.unsplit(passing) }
    }

    fn refuse(&mut self, problem: Problem) {
        self.refusal.set(problem);
        self.passed.extend_from_slice(MADE_UP);
        self.look = Look::Refused;
        self.held = BytesMut::new();
        self.deadline = None;
    }

    /// Hands over what passed.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let octets = self.passed.len().min(buf.remaining());
        buf.put_slice(&self.passed.split_to(octets));
        if self.passed.is_empty() {
            // An idle connection holds no memory for heads.
            self.passed = BytesMut::new();
            if self.held.is_empty() {
                self.held = BytesMut::new();
            }
        }
    }
}

/// Where a head ends: behind its empty line, with or without carriage returns.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let ends = [&b"\n\r\n"[..], &b"\n\n"[..]];
    ends.iter().filter_map(|end| Some(bytes.windows(end.len()).position(|window| window == *end)? + end.len())).min()
}

fn late(after: Duration) -> Problem {
    let detail = format!("the head was not whole after {} s", after.as_secs());
    Problem::new(ProblemKind::RequestTimeout, detail).executed(Executed::No)
}

impl<S: AsyncRead + Unpin> FramingGuard<S> {
    /// Content goes straight through; what was read beyond it is held.
    fn poll_content(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if let Look::Content(left) = self.look {
            let content = usize::try_from(left).unwrap_or(usize::MAX).min(read);
            self.held.extend_from_slice(&buf.filled()[before + content..]);
            buf.set_filled(before + content);
            let left = left - content as u64;
            self.look = if left == 0 { Look::NEW_HEAD } else { Look::Content(left) };
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on in a head. Ready with `false` at the end of the stream.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.held.reserve(READ_BYTES);
        match tokio_util::io::poll_read_buf(Pin::new(&mut self.inner), cx, &mut self.held) {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(false)),
            Poll::Ready(Ok(_)) => {
                self.advance();
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if self.held.is_empty() => {
                // Idle: no memory for heads.
                self.held = BytesMut::new();
                Poll::Pending
            }
            Poll::Pending => {
                let max = self.head_time_max;
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
                ready!(deadline.as_mut().poll(cx));
                self.refuse(late(max));
                Poll::Ready(Ok(true))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramingGuard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.held.is_empty() && this.passed.is_empty() && !matches!(this.look, Look::Head { .. }) {
                this.advance();
            }
            if !this.passed.is_empty() {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match this.look {
                // Not an end: that would cancel a good request that is still being answered. The server closes by itself.
                Look::Refused => return Poll::Pending,
                Look::Content(_) | Look::Past => return this.poll_content(cx, buf),
                Look::Head { .. } => {
                    if !ready!(this.poll_head(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FramingGuard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    //! The guard alone, with every way of cutting its input.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const HEAD_MAX: usize = 300;

    /// What passes of the octets when they come in such pieces, and what was refused.
    async fn passes(octets: &[u8], step: usize) -> (Vec<u8>, Option<Problem>) {
        let (mut client, server) = tokio::io::duplex(step);
        let (mut guard, refusal) = FramingGuard::new(server, HEAD_MAX, Duration::from_secs(60));
        let sent = octets.to_vec();
        let client = tokio::spawn(async move {
            let _ = client.write_all(&sent).await;
            let _ = client.shutdown().await;
            // Kept: an end of both directions is no matter of this test.
            client
        });
        let mut out = Vec::new();
        let mut piece = [0; 64];
        // A refused connection has no end: the server closes it.
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(Duration::from_millis(200), guard.read(&mut piece)).await {
            out.extend_from_slice(&piece[..read]);
        }
        drop(guard);
        let _ = client.await;
        let problem = refusal.0.lock().unwrap().take();
        (out, problem)
    }

    #[tokio::test]
    async fn a_refused_head_becomes_a_request_for_its_problem() {
        let good = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let bad = b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nGET /after HTTP/1.1\r\n\r\n";
        for step in [1, 2, 3, 7, 1000] {
            let (passed, problem) = passes(&[&good[..], bad].concat(), step).await;
            assert_eq!(String::from_utf8_lossy(&passed), String::from_utf8_lossy(&[&good[..], MADE_UP].concat()));
            assert_eq!(problem.unwrap().kind, ProblemKind::BadRequest);
        }
    }

    #[tokio::test]
    async fn what_is_good_passes_as_it_is() {
        let inner = "Content-Length: 1\r\nTransfer-Encoding: x\r\n\r\n..";
        let all = format!(
            "POST /1 HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}GET /2 HTTP/1.1\r\n\r\n\r\nGET /3 HTTP/1.1\nHost: a\n\n\
             POST /4 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nnot looked at\0\r\n\r\n",
            inner.len()
        );
        for step in [1, 2, 5, 64, 1000] {
            let (passed, problem) = passes(all.as_bytes(), step).await;
            assert_eq!(String::from_utf8_lossy(&passed), all);
            assert_eq!(problem, None);
        }
    }

    #[tokio::test]
    async fn a_head_beyond_the_bound_is_refused_before_it_ends() {
        let long = format!("GET / HTTP/1.1\r\nX-Long: {}\r\n\r\n", "v".repeat(HEAD_MAX));
        for step in [1, 90, 100_000] {
            let (passed, problem) = passes(long.as_bytes(), step).await;
            assert_eq!(String::from_utf8_lossy(&passed), String::from_utf8_lossy(MADE_UP));
            assert_eq!(problem.unwrap().kind, ProblemKind::FieldsTooLarge);
        }
    }

    #[tokio::test]
    async fn a_head_that_stops_is_refused_in_time_and_an_idle_connection_is_not() {
        let (mut client, server) = tokio::io::duplex(1000);
        let (mut guard, refusal) = FramingGuard::new(server, HEAD_MAX, Duration::from_millis(20));
        let mut piece = [0; 200];
        let idle = tokio::time::timeout(Duration::from_millis(100), guard.read(&mut piece)).await;
        assert!(idle.is_err(), "nothing was sent, and something passed");
        client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        let read = guard.read(&mut piece).await.unwrap();
        assert_eq!(&piece[..read], MADE_UP);
        let mut fields = HeaderMap::new();
        assert_eq!(refusal.of(&fields), None);
        fields.insert(REFUSED_FIELD, http::HeaderValue::from_static("1"));
        assert_eq!(refusal.of(&fields).unwrap().kind, ProblemKind::RequestTimeout);
        assert_eq!(refusal.of(&fields), None, "it is told once");
    }
}
