//! Takes TCP connections, a bounded number at once, until told to stop.
//!
//! Invariants: connections over the limit wait in the listen queue; a failed accept is tried again after a pause; at the
//! end, connections get a moment to finish. Test to read first: `tests::connections_over_the_limit_wait`.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a failed accept: it fails again at once while descriptors are short.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long connections may take to finish after the end.
const GRACE: Duration = Duration::from_secs(5);

/// Hands every connection to `handle`, at most `limit` at once; `port` is its name in the log.
pub(crate) async fn each_connection<F>(
    listener: TcpListener,
    limit: usize,
    port: &'static str,
    stop: CancellationToken,
    handle: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(limit));
    let accept = async || {
        let slot = std::sync::Arc::clone(&slots).acquire_owned().await.map_err(std::io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        std::io::Result::Ok((stream, slot))
    };
    while let Some(accepted) = stop.run_until_cancelled(accept()).await {
        match accepted {
            Ok((stream, slot)) => {
                let handling = handle(stream);
                tasks.spawn(async move {
                    handling.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, port, "a connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    tasks.close();
    let _ = timeout(GRACE, tasks.wait()).await;
}

#[cfg(test)]
mod tests {
    //! On loopback.
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn connections_over_the_limit_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (said, mut hears) = mpsc::unbounded_channel();
        let (go, gate) = tokio::sync::watch::channel(0_u32);
        let serving = tokio::spawn(each_connection(listener, 1, "test", stop.clone(), move |_stream| {
            let (said, mut gate) = (said.clone(), gate.clone());
            async move {
                said.send("begun").unwrap();
                let _ = gate.changed().await;
                said.send("ended").unwrap();
            }
        }));
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        assert_eq!(hears.recv().await, Some("begun"));
        go.send_replace(1);
        assert_eq!(hears.recv().await, Some("ended"), "the second begins only when the first ended");
        assert_eq!(hears.recv().await, Some("begun"));
        stop.cancel();
        go.send_replace(2);
        serving.await.unwrap();
        assert_eq!(hears.recv().await, Some("ended"), "what was begun is finished");
    }
}
