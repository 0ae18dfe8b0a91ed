//! Writes the log that `fixtures/log-v1` holds, into a new folder: `cargo run -p disk --example log_fixture DIR`.
//!
//! The committed fixture is final; this shows how it came to be and serves as a pattern for the next major.

use std::path::PathBuf;

use disk::log::{Log, LogError, LogOptions};

fn write(dir: PathBuf) -> Result<(), LogError> {
    let (mut log, _) = Log::open(dir, *b"fixture endpoint", LogOptions::default())?;
    let pinned = log.append(17, &[b"still ", b"needed"])?;
    log.append(18, &[b"not needed"])?;
    log.pin(pinned);
    let checkpoint = [(16, pinned.to_bytes().to_vec()), (63, b"carried forward".to_vec())];
    log.roll(checkpoint.into_iter())?;
    log.append(64, &[])?;
    log.append(127, &[b"seven"])?;
    log.commit()?;
    log.append(128, &[&[0xa5; 5000]])?;
    log.append(255, &[b"1234", b"5678"])?;
    log.commit()
}

fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: log_fixture DIR");
        std::process::exit(2);
    };
    if let Err(error) = write(dir.into()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
