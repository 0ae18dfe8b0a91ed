//! A connection that remembers when it was opened and how long that took.
//!
//! A failed call on a connection that is older than the call may only mean that the upstream had closed it for idleness;
//! the time it took to open goes into the response's timings. It changes no byte. Test to read first:
//! `tests::an_idle_connection_that_was_closed_is_replaced_for_a_repeatable_call`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// When a connection was opened; found in the extensions of a response, and in the connection info of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    /// When it was ready.
    pub(super) at: Instant,
    /// From the start of the name lookup to the end of the TLS handshake.
    pub(super) took: Duration,
}

/// A connection and its birth.
pub(super) struct Stamped<T> {
    inner: T,
    opened: Opened,
}

impl<T> Stamped<T> {
    /// Stamps a connection that is ready and whose opening began at `began`.
    pub(super) fn new(inner: T, began: Instant) -> Self {
        let at = Instant::now();
        Self { inner, opened: Opened { at, took: at.saturating_duration_since(began) } }
    }
}

impl<T> Stamped<T> {
    /// The connection alone.
    pub(super) fn into_inner(self) -> T {
        self.inner
    }

    /// How long it took to open.
    pub(super) const fn took(&self) -> Duration {
        self.opened.took
    }
}

impl<T: Connection> Connection for Stamped<T> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.opened)
    }
}

impl<T: Read + Unpin> Read for Stamped<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Stamped<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }
}
