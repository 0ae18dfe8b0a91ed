//! A byte stream between a connection and the two streams of an exchange: what is read becomes records, what arrives is written.
//!
//! Invariants: each read is a record of its own, sent at once; the end of one direction ends that direction only; what ends
//! any other way ends both, by a reset of the streams and of the connection, so that a stream that was cut never looks
//! complete; at most one read and one record are held. It knows neither HTTP nor who may open it: `ingress::tunnel` and
//! `egress::tunnel` do. Test to read first: `tests/line/tunnels.rs`.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::AppendError;
use crate::exchange::{RecordReader, RecordWriter};
use crate::record::{Incoming, ReadError};

/// Most octets of one read: a record's worth would only cost memory, as sockets give less at once.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A connection that can be ended in a way that its peer does not take for a good end.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// Makes closing it a reset.
    fn cut(&self);
}

impl Wire for TcpStream {
    fn cut(&self) {
        let _ = self.set_zero_linger();
    }
}

/// How a tunnel ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Nothing passed in either direction for so long.
    #[error("nothing passed for {} s", .0.as_secs())]
    Idle(Duration),
    /// The connection failed.
    #[error("the connection: {0}")]
    Connection(#[from] io::Error),
    /// The other side ended its stream, or it is gone.
    #[error("from the other side: {0}")]
    Incoming(#[from] ReadError),
    /// The other side takes no more, or it is gone.
    #[error("to the other side: {0}")]
    Outgoing(#[from] AppendError),
    /// It is not wanted any more.
    #[error("it is not wanted any more")]
    Stopped,
}

/// A tunnel that is open.
pub struct Tunnel {
    /// The connection at this end.
    pub wire: Box<dyn Wire>,
    /// What was read of it already.
    pub early: Bytes,
    /// What comes from the other side.
    pub incoming: RecordReader,
    /// What goes to the other side.
    pub outgoing: RecordWriter,
    /// How long it may be silent.
    pub idle: Duration,
}

impl Tunnel {
    /// Carries octets until both directions ended.
    ///
    /// # Errors
    /// When it ended in any other way; then the connection and both streams were reset.
    pub async fn carry(self, stop: &CancellationToken) -> Result<(), Ended> {
        let Self { wire, early, incoming, outgoing, idle } = self;
        let (mut from, mut to) = tokio::io::split(wire);
        let passed = Passed::new();
        let result = {
            let both = async {
                tokio::try_join!(leave(&mut from, early, outgoing, &passed), arrive(incoming, &mut to, &passed))
            };
            // What is dropped here before its end resets its stream.
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(Ended::Stopped),
                result = both => result.map(|_| ()),
                () = passed.nothing_for(idle) => Err(Ended::Idle(idle)),
            }
        };
        if result.is_err() {
            from.unsplit(to).cut();
        }
        result
    }
}

/// From the connection to the other side.
async fn leave(
    from: &mut (impl AsyncRead + Unpin),
    early: Bytes,
    mut outgoing: RecordWriter,
    passed: &Passed,
) -> Result<(), Ended> {
    let mut next = early;
    let mut buffer = BytesMut::new();
    loop {
        if !next.is_empty() {
            passed.note();
            // Not compressed: what passes is mostly encrypted, and nobody knows what it is.
            outgoing.data(next, false).await?;
        }
        buffer.reserve(READ_BYTES_MAX);
        let count = match from.read_buf(&mut buffer).await {
            // TLS that ends without saying so, as many servers' does. Only WebSockets have their TLS ended here, and whether one was
            // cut their own Close frame tells; a reset would take that frame back.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            count => count?,
        };
        if count == 0 {
            passed.note();
            return Ok(outgoing.finish().await?);
        }
        next = buffer.split().freeze();
    }
}

/// From the other side to the connection.
async fn arrive(mut incoming: RecordReader, to: &mut (impl AsyncWrite + Unpin), passed: &Passed) -> Result<(), Ended> {
    loop {
        match incoming.next().await? {
            Incoming::Data(content) => {
                to.write_all(&content).await?;
                to.flush().await?;
            }
            Incoming::End => {
                passed.note();
                return Ok(to.shutdown().await?);
            }
            // Nothing else has a meaning within a byte stream.
            Incoming::Head(_) | Incoming::Interim(_) | Incoming::Trailers(_) | Incoming::Other { .. } => {}
        }
        passed.note();
    }
}

/// When something passed last.
struct Passed {
    began: Instant,
    last_ms: AtomicU64,
}

impl Passed {
    fn new() -> Self {
        Self { began: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn note(&self) {
        let since_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since_ms, Ordering::Relaxed);
    }

    async fn nothing_for(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let Some(due) = self.began.checked_add(last.saturating_add(idle)) else {
                return std::future::pending().await;
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}
