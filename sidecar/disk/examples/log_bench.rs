//! What the log costs against a plain file on the same disk with the same group commit: `cargo run --release -p disk
//! --example log_bench -- FOLDER`.
//!
//! Ratios of one run are what counts: both take turns, and the middle one of the rounds is printed. Times on shared machines
//! say nothing by themselves.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use disk::log::{Log, LogOptions};

const ROUNDS: usize = 7;
const SMALL: usize = 1024;
const GROUP: usize = 64;
const GROUPS: usize = 200;
const PIECE: usize = 256 << 10;
const BODY: usize = 100 << 20;
const OWNER: [u8; 16] = [1; 16];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).ok_or("name a folder on the disk to be measured")?;
    let folder = Path::new(&folder).join(format!("log-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = measure(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn measure(folder: &Path) -> Result<()> {
    let small = noise(SMALL);
    compare("1 KiB appends, a sync per 64", (GROUPS * GROUP) as f64, "appends/s", || {
        Ok((log(folder, &small, GROUPS * GROUP, GROUP)?, plain(folder, &small, GROUPS * GROUP, GROUP)?))
    })?;
    compare("1 KiB appends, a sync each", 1000.0, "appends/s", || {
        Ok((log(folder, &small, 1000, 1)?, plain(folder, &small, 1000, 1)?))
    })?;
    let piece = noise(PIECE);
    let pieces = BODY / PIECE;
    compare("100 MiB body, a sync per MiB", 100.0, "MiB/s", || {
        Ok((log(folder, &piece, pieces, 4)?, plain(folder, &piece, pieces, 4)?))
    })?;
    compare("100 MiB body, one sync", 100.0, "MiB/s", || {
        Ok((log(folder, &piece, pieces, pieces)?, plain(folder, &piece, pieces, pieces)?))
    })?;
    recovery(folder, &piece)
}

/// Bytes that no file system can make small.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn compare(what: &str, amount: f64, unit: &str, mut round: impl FnMut() -> Result<(Duration, Duration)>) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (log, plain) = round()?;
        rounds.push((plain.as_secs_f64() / log.as_secs_f64(), log, plain));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, log, plain) = rounds[ROUNDS / 2];
    let [log, plain] = [log, plain].map(|time| amount / time.as_secs_f64());
    let (worst, best) = (rounds[0].0, rounds[ROUNDS - 1].0);
    println!("{what}: ratio {ratio:.2} ({worst:.2} to {best:.2}); log {log:.0} {unit}, plain file {plain:.0} {unit}");
    Ok(())
}

fn log(folder: &Path, payload: &[u8], count: usize, group: usize) -> Result<Duration> {
    let dir = folder.join("log");
    let (mut log, _) = Log::open(dir.clone(), OWNER, LogOptions { segment_bytes: 1 << 30 })?;
    let began = Instant::now();
    for n in 1..=count {
        log.append(17, &[payload])?;
        if n % group == 0 {
            log.commit()?;
        }
    }
    log.commit()?;
    let took = began.elapsed();
    drop(log);
    std::fs::remove_dir_all(dir)?;
    Ok(took)
}

fn plain(folder: &Path, payload: &[u8], count: usize, group: usize) -> Result<Duration> {
    let path = folder.join("plain");
    let mut file = File::create(&path)?;
    let began = Instant::now();
    for n in 1..=count {
        file.write_all(payload)?;
        if n % group == 0 {
            file.sync_data()?;
        }
    }
    file.sync_data()?;
    let took = began.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

fn recovery(folder: &Path, payload: &[u8]) -> Result<()> {
    let dir = folder.join("log");
    let (mut log, _) = Log::open(dir.clone(), OWNER, LogOptions::default())?;
    let mut places = Vec::new();
    for _ in 0..(1 << 30) / payload.len() {
        let place = log.append(17, &[payload])?;
        log.pin(place);
        places.push(place);
        if log.needs_checkpoint() {
            log.roll(places.iter().map(|place| (64, place.to_bytes().to_vec())))?;
        }
    }
    log.commit()?;
    drop(log);
    let began = Instant::now();
    let (log, recovered) = Log::open(dir.clone(), OWNER, LogOptions::default())?;
    let (segments, mut entries) = (recovered.segments, 0);
    for entry in recovered {
        entry?;
        entries += 1;
    }
    let opened = began.elapsed();
    for place in &places {
        log.reader().look(*place)?;
    }
    let (opened, looked) = (opened.as_secs_f64(), began.elapsed().as_secs_f64());
    println!(
        "1 GiB in {segments} segments: opened and {entries} entries read in {opened:.2} s, every place looked at in {looked:.2} s"
    );
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
