//! One engine for one log: an exclusive `flock` on `state.lock`, which names its holder.
//!
//! Invariants: the lock lives as long as the value and dies with the process, however it ends; the file is
//! never removed, since a removed lock file could be held twice. It does not lock across machines unless the
//! file system does (NFS does): there, ownership is decided elsewhere. Test: `second_log_is_refused_naming_the_first`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::LogError;

const NAME: &str = "state.lock";
/// Longer than anybody takes who asks for the holder, on the slowest machine.
const ASKING_MAX: Duration = Duration::from_secs(10);
/// How long an engine may take to let go that is just ending.
const LEAVING_MAX: Duration = Duration::from_millis(50);
/// Between two tries.
const STEP: Duration = Duration::from_millis(10);
/// More than this is not read of the holder's name.
const HOLDER_BYTES_MAX: u64 = 256;

/// The held lock.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    pub(super) fn acquire(dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(NAME);
        let failed = |source: io::Error| LogError::io(path.display().to_string(), "lock", source);
        let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow)
            .open(&path)
            .map_err(failed)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Locked { dir: dir.to_path_buf(), holder: holder(&file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The name is for people; a full disk must not keep the engine from starting.
        let named = file.set_len(0).and_then(|()| file.write_all_at(own_name().as_bytes(), 0));
        if let Err(error) = named {
            tracing::warn!(file = %path.display(), %error, "the lock is held but could not be labelled");
        }
        Ok(Self { _file: file })
    }
}

/// Takes the lock. Somebody who only asks who holds it holds it too, shared and for an instant: that must not keep an engine
/// from starting.
fn lock(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            taken_or_failed => return taken_or_failed,
        }
        let patience = match file.try_lock_shared() {
            Ok(()) => {
                file.unlock().map_err(TryLockError::Error)?;
                ASKING_MAX
            }
            Err(TryLockError::WouldBlock) => LEAVING_MAX,
            Err(failed) => return Err(failed),
        };
        if began.elapsed() > patience {
            return Err(TryLockError::WouldBlock);
        }
        std::thread::sleep(STEP);
    }
}

/// Who holds the lock of this folder, if somebody does. The lock is asked for, shared and for an instant; it is never waited for.
pub(super) fn holder_of(dir: &Path) -> Result<Option<String>, LogError> {
    let path = dir.join(NAME);
    let failed = |source: io::Error| LogError::io(path.display().to_string(), "ask who holds this", source);
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&file))),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => format!("process {}\n", std::process::id()),
        host => format!("process {} on {host}\n", std::process::id()),
    }
}

fn holder(file: &File) -> String {
    let mut bytes = Vec::new();
    let read = file.take(HOLDER_BYTES_MAX).read_to_end(&mut bytes);
    let text: String = String::from_utf8_lossy(&bytes).trim().chars().filter(|c| !c.is_control()).collect();
    match read {
        Ok(_) if !text.is_empty() => text,
        Ok(_) | Err(_) => "another process".to_owned(),
    }
}
