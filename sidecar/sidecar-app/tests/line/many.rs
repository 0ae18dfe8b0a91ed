//! Many calls at once that take long: each costs an engine little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Line, Options, destination, inbound, outbound};

const CALLS: usize = 2_000;
/// What an engine may hold in memory while they wait.
const MEMORY_MAX: u64 = 128 << 20;
/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server that reads each request, and answers when it may.
async fn serve(listener: TcpListener, arrived: Arc<AtomicUsize>, open: watch::Receiver<bool>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (arrived, mut open) = (Arc::clone(&arrived), open.clone());
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            arrived.fetch_add(1, Ordering::Relaxed);
            let _ = open.wait_for(|open| *open).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nslow").await;
        });
    }
}

async fn call(door: u16, upstream: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", door)).await?;
    let request =
        format!("GET http://127.0.0.1:{upstream}/ HTTP/1.1\r\nHost: 127.0.0.1:{upstream}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Lets this process, and the engines that it starts, open enough connections; false if the system does not.
fn enough_files() -> bool {
    let wanted = Some(3 * CALLS as u64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_none() || limit.current >= wanted {
        return true;
    }
    let raised = rustix::process::Rlimit { current: limit.maximum.min(Some(1 << 16)).or(Some(1 << 16)), ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).is_ok() && raised.current >= wanted
}

#[test]
fn two_thousand_slow_calls_at_once_take_bounded_memory() {
    assert!(enough_files(), "this system does not let a process open {} files: raise `ulimit -n`", 3 * CALLS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let upstream = listener.local_addr().unwrap().port();
    let (arrived, (opener, open)) = (Arc::new(AtomicUsize::new(0)), watch::channel(false));
    runtime.spawn(serve(listener, Arc::clone(&arrived), open));
    let most = u32::try_from(CALLS + 100).unwrap();
    let line = Line::start(&Options {
        near: Box::new(move |file| {
            (file.limits.max_in_flight, file.limits.connections) = (most, most);
            file.log.level = sidecar_config::LogLevel::Info;
            file.outbound.allow.push(outbound("slow", destination("http", "127.0.0.1", upstream), None));
        }),
        far: Box::new(move |file| {
            file.limits.max_in_flight = most;
            file.log.level = sidecar_config::LogLevel::Info;
            file.inbound.allow.push(inbound("slow", destination("http", "127.0.0.1", upstream)));
        }),
        ..Options::default()
    });
    let door = line.near.proxy_port();
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            calls.spawn(call(door, upstream));
        }
        let all_there = async {
            while arrived.load(Ordering::Relaxed) < CALLS {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = all_there => {}
            Some(answer) = calls.join_next() => panic!("a call ended before its answer: {answer:?}"),
            () = tokio::time::sleep(PATIENCE) => panic!("only {} calls arrived", arrived.load(Ordering::Relaxed)),
        }
        opener.send(true).unwrap();
        while let Some(answer) = calls.join_next().await {
            let answer = answer.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nslow"), "{answer}");
        }
    });
    for engine in [&line.near, &line.far] {
        match engine.peak_memory() {
            Some(peak) => {
                println!("`{}`: {CALLS} calls at once, peak {} KiB", engine.side, peak >> 10);
                assert!(peak <= MEMORY_MAX, "`{}` held {} MiB at its peak", engine.side, peak >> 20);
            }
            None => println!("SKIPPED the check of memory: this system has no /proc/PID/status"),
        }
    }
    line.assert_works();
}
