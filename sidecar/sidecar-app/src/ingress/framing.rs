//! Refuses requests whose length can be read in two ways, before the HTTP library repairs them (RFC 9112 §6.3, §11.2).
//!
//! hyper takes a request with both Content-Length and Transfer-Encoding, or with a length that is repeated, and drops one
//! of them silently. Nothing is smuggled by that here, because every request is framed anew, but whoever sends it is
//! either broken or trying: it gets a 400. This looks at the bytes of each head on their way in; content is passed over by
//! its length. After a chunked body it looks no more: the connection is closed after that response.
//!
//! Invariant: what passes is not changed, but for the head that is refused. It parses nothing but field names and one
//! number. Test to read first: `two_framings_become_a_bad_request`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Octets of a head that are looked at; the server behind has a smaller bound.
const HEAD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What the server behind answers with 400.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// A stream whose request heads are looked at.
pub(super) struct FramingGuard<S> {
    inner: S,
    look: Look,
}

#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Within a head; what was seen of it.
    Head(Vec<u8>),
    /// Within content of a known length.
    Content(u64),
    /// Not looking any more.
    Past,
    /// A head was refused: what stands for it is still to pass, then nothing more.
    Refused,
    /// What stands for it passed.
    Over,
}

impl<S> FramingGuard<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, look: Look::Head(Vec::new()) }
    }
}

impl Look {
    /// Takes what was read; how much of it may pass. What comes before a refused head is somebody's good request.
    fn take(&mut self, all: &[u8]) -> usize {
        let mut read = all;
        while !read.is_empty() {
            match self {
                Self::Past | Self::Refused | Self::Over => break,
                Self::Content(left) => {
                    let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                    *left -= passed as u64;
                    read = &read[passed..];
                    if *left == 0 {
                        *self = Self::Head(Vec::new());
                    }
                }
                Self::Head(seen) => {
                    // An end may straddle two reads.
                    let from = seen.len().saturating_sub(3);
                    let before = seen.len();
                    seen.extend_from_slice(read);
                    let Some(end) = head_end(&seen[from..]).map(|end| end + from) else {
                        if seen.len() > HEAD_BYTES_MAX {
                            *self = Self::Past;
                        }
                        break;
                    };
                    let head_at = all.len() - read.len();
                    read = &read[end - before..];
                    *self = after_head(&seen[..end]);
                    if *self == Self::Refused {
                        return head_at;
                    }
                }
            }
        }
        all.len()
    }
}

/// Where a head ends: behind its empty line, with or without carriage returns.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let ends = [&b"\n\r\n"[..], &b"\n\n"[..]];
    ends.iter().filter_map(|end| Some(bytes.windows(end.len()).position(|window| window == *end)? + end.len())).min()
}

/// What follows a head.
fn after_head(head: &[u8]) -> Look {
    let (mut lengths, mut codings) = (Vec::new(), 0);
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths.push(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
        }
    }
    match (lengths.as_slice(), codings) {
        ([], 0) => Look::Head(Vec::new()),
        ([], 1) => Look::Past,
        // A length that is no number is for the server behind to refuse.
        ([length], 0) => match std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()) {
            Some(0) => Look::Head(Vec::new()),
            Some(length) => Look::Content(length),
            None => Look::Past,
        },
        _ => Look::Refused,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramingGuard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.look {
            Look::Refused => {
                this.look = Look::Over;
                buf.put_slice(&REFUSED[..REFUSED.len().min(buf.remaining())]);
                return Poll::Ready(Ok(()));
            }
            // Not an end: that would cancel a good request that is still being answered. The server closes by itself.
            Look::Over => return Poll::Pending,
            Look::Head(_) | Look::Content(_) | Look::Past => {}
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result {
            let passes = this.look.take(&buf.filled()[before..]);
            buf.set_filled(before + passes);
            if passes == 0 && this.look == Look::Refused {
                // Nothing read would mean the end.
                this.look = Look::Over;
                buf.put_slice(&REFUSED[..REFUSED.len().min(buf.remaining())]);
            }
        }
        result
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
    use super::*;

    fn passes(bytes: &[u8], step: usize) -> bool {
        let mut look = Look::Head(Vec::new());
        bytes.chunks(step).all(|piece| look.take(piece) == piece.len() && look != Look::Refused)
    }

    #[test]
    fn what_comes_before_a_refused_head_passes() {
        let good = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let both = [&good[..], b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"].concat();
        let mut look = Look::Head(Vec::new());
        assert_eq!(look.take(&both), good.len());
        assert_eq!(look, Look::Refused);
    }

    #[test]
    fn two_framings_become_a_bad_request() {
        let heads: [&[u8]; 4] = [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n",
        ];
        for head in heads {
            for step in [1, 2, 3, 7, 1000] {
                assert!(!passes(head, step), "{}", String::from_utf8_lossy(head));
            }
        }
    }

    #[test]
    fn content_is_passed_over_and_the_next_head_is_looked_at() {
        let good = b"POST / HTTP/1.1\r\nContent-Length: 44\r\n\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n..GET / HTTP/1.1\r\n\r\n";
        let bad = [&good[..], b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"].concat();
        for step in [1, 2, 5, 1000] {
            assert!(passes(good, step));
            assert!(!passes(&bad, step));
        }
    }
}
